//! Prices: on demand as listed, spot as listed less the recorded saving, or less a median where none is recorded. And how often
//! spot instances are interrupted, by the bands of the Spot Instance Advisor of June 2025.

use super::{Row, rows};
use std::collections::BTreeMap;
use std::sync::LazyLock;

/// A user's own price of a type, USD an hour.
#[derive(Clone, Copy, Debug, PartialEq, Default)]
pub struct PriceOverride {
    /// On demand.
    pub on_demand: Option<f64>,
    /// Spot.
    pub spot: Option<f64>,
}

/// Median saving by family, and by category.
static SAVINGS: LazyLock<BTreeMap<String, f64>> = LazyLock::new(|| {
    let mut groups: BTreeMap<String, Vec<f64>> = BTreeMap::new();
    for row in rows() {
        if let Some(saving) = row.spot_saving {
            // A family ends in a digit or more, a category never does: they cannot meet in one map.
            for group in [row.family(), row.category()] {
                groups.entry(group.to_string()).or_default().push(saving);
            }
        }
    }
    groups.into_iter().map(|(group, mut savings)| (group, median(&mut savings))).collect()
});

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    if values.len() % 2 == 1 { values[middle] } else { (values[middle - 1] + values[middle]) / 2.0 }
}

/// The saving of spot over on demand in percent, and whether it is an estimate.
pub fn spot_saving(row: &Row) -> (f64, bool) {
    match row.spot_saving {
        Some(saving) => (saving, false),
        None => {
            let group = SAVINGS.get(row.family()).or_else(|| SAVINGS.get(row.category()));
            // Over the whole table the median saving is about 60 %; only a user's own type can get here.
            (group.copied().unwrap_or(60.0), true)
        }
    }
}

/// Bands of the Spot Instance Advisor: how they are written, and the share of instances interrupted in a month that stands for
/// each: its middle, and 30 % for the open one.
pub const INTERRUPTION_BANDS: [(&str, f64); 5] =
    [("<5%", 0.025), ("5-10%", 0.075), ("10-15%", 0.125), ("15-20%", 0.175), (">20%", 0.3)];

/// The share of a type's spot instances that is interrupted in a month: as recorded, or the median of its family, of its
/// category, of all.
pub fn interrupted_in_a_month(name: &str) -> f64 {
    let share = |row: &Row| row.interruption_band.map(|band| INTERRUPTION_BANDS[band].1);
    let own = rows().iter().find(|row| row.name == name);
    if let Some(share) = own.and_then(share) {
        return share;
    }
    let kin = |is_kin: &dyn Fn(&Row) -> bool| {
        let mut shares: Vec<f64> = rows().iter().filter(|row| is_kin(row)).filter_map(share).collect();
        (!shares.is_empty()).then(|| median(&mut shares))
    };
    let family = |own: &Row| kin(&|row| row.family() == own.family());
    let category = |own: &Row| kin(&|row| row.category() == own.category());
    own.and_then(family).or_else(|| own.and_then(category)).or_else(|| kin(&|_| true)).unwrap_or(0.125)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::find;

    #[test]
    fn types_have_their_own_band_or_that_of_their_kin() {
        let of = interrupted_in_a_month;
        assert_eq!((of("t3.medium"), of("t3.large"), of("t3.xlarge")), (0.025, 0.075, 0.125));
        let newer = rows().iter().find(|row| row.interruption_band.is_none()).unwrap();
        assert!((0.025..=0.3).contains(&of(&newer.name)) && (0.025..=0.3).contains(&of("my.large")));
    }

    #[test]
    fn a_recorded_saving_is_taken_and_a_missing_one_is_the_median_of_its_kin() {
        assert_eq!(spot_saving(find("t3.medium").unwrap()), (56.0, false));
        let unknown = Row { spot_saving: None, ..find("t3.medium").unwrap().clone() };
        // t3: 79, 69, 65, 56, 62, 60, 65.
        assert_eq!(spot_saving(&unknown), (65.0, true));
        let newer = rows().iter().find(|row| row.spot_saving.is_none() && row.category() == "m").unwrap();
        let (saving, estimate) = spot_saving(newer);
        assert!(estimate && (30.0..90.0).contains(&saving), "{saving}");
        let own = Row { name: "my.large".to_string(), spot_saving: None, ..newer.clone() };
        assert_eq!(spot_saving(&own), (60.0, true));
    }
}
