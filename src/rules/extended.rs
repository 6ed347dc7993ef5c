//! Amounts of resources beyond cpu, memory, storage and pod slots, by name.
//!
//! In: names with amounts. Out: an amount by its name, and all of them in order of the names. Hardly anything has any, so that
//! copies and ends of resource lists cost nothing as long as there are none.

use std::fmt;

/// Whole units by name.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Extended {
    /// Sorted by name; each name once.
    entries: Vec<(String, i64)>,
}

impl Extended {
    fn place(&self, name: &str) -> Result<usize, usize> {
        self.entries.binary_search_by(|(other, _)| other.as_str().cmp(name))
    }

    /// The amount of that name.
    pub fn get(&self, name: &str) -> Option<&i64> {
        self.place(name).ok().map(|place| &self.entries[place].1)
    }

    /// The same, to be changed.
    pub fn get_mut(&mut self, name: &str) -> Option<&mut i64> {
        self.place(name).ok().map(|place| &mut self.entries[place].1)
    }

    /// Writes an amount in the place of what was there.
    pub fn insert(&mut self, name: String, amount: i64) {
        *self.get_or_insert(name, amount) = amount;
    }

    /// The amount of that name; what is absent is put in as `amount`.
    pub fn get_or_insert(&mut self, name: String, amount: i64) -> &mut i64 {
        let place = self.place(&name).unwrap_or_else(|place| {
            self.entries.insert(place, (name, amount));
            place
        });
        &mut self.entries[place].1
    }

    /// Keeps those of which that is true.
    pub fn retain(&mut self, mut keeps: impl FnMut(&String, &mut i64) -> bool) {
        self.entries.retain_mut(|(name, amount)| keeps(name, amount));
    }

    /// Names and amounts, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&String, &i64)> {
        self.entries.iter().map(|(name, amount)| (name, amount))
    }

    /// The same, with amounts to be changed.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (&String, &mut i64)> {
        self.entries.iter_mut().map(|(name, amount)| (&*name, amount))
    }

    /// Names, in order.
    pub fn keys(&self) -> impl Iterator<Item = &String> {
        self.entries.iter().map(|(name, _)| name)
    }

    /// Amounts, by name.
    pub fn values(&self) -> impl Iterator<Item = &i64> {
        self.entries.iter().map(|(_, amount)| amount)
    }

    /// There are none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

impl fmt::Debug for Extended {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_map().entries(self.iter()).finish()
    }
}

impl Extend<(String, i64)> for Extended {
    fn extend<Entries: IntoIterator<Item = (String, i64)>>(&mut self, entries: Entries) {
        entries.into_iter().for_each(|(name, amount)| self.insert(name, amount));
    }
}

impl FromIterator<(String, i64)> for Extended {
    fn from_iter<Entries: IntoIterator<Item = (String, i64)>>(entries: Entries) -> Extended {
        let mut extended = Extended::default();
        extended.extend(entries);
        extended
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_kept_in_order_and_once() {
        let named = |name: &str, amount| (name.to_string(), amount);
        let mut extended: Extended = [named("b", 1), named("a", 2), named("b", 3)].into_iter().collect();
        assert_eq!(format!("{extended:?}"), r#"{"a": 2, "b": 3}"#);
        assert_eq!((extended.get("b"), extended.get("c")), (Some(&3), None));
        *extended.get_or_insert("c".to_string(), 0) += 5;
        *extended.get_or_insert("a".to_string(), 0) += 5;
        extended.retain(|_, amount| *amount != 3);
        assert!(extended.iter().map(|(name, amount)| (name.as_str(), *amount)).eq([("a", 7), ("c", 5)]));
        assert!(!extended.is_empty() && extended.get_mut("b").is_none());
    }
}
