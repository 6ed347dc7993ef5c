//! Axes, legends and captions of charts: from numbers to the shapes of a drawing.

use super::timeline::canvas::{Anchor, Colour, Drawing, text_width};
use crate::rules::expectation::Unit;

/// Colour of text.
pub const INK: Colour = Colour::hex(0x24292f);
/// Colour of axes and captions.
pub const AXIS: Colour = Colour::hex(0x6b7280);
/// Colour of grid lines.
pub const GRID: Colour = Colour::hex(0xe5e7eb);
/// Colours of parts, told apart in print and by most eyes (after Okabe and Ito, darkened).
pub const PALETTE: [Colour; 17] = [
    Colour::hex(0x56616d),
    Colour::hex(0x8a94a0),
    Colour::hex(0xb59a00),
    Colour::hex(0xcc7a00),
    Colour::hex(0xd55e00),
    Colour::hex(0x0072b2),
    Colour::hex(0x5aa9d6),
    Colour::hex(0x009e73),
    Colour::hex(0x6fbf9b),
    Colour::hex(0xa0522d),
    Colour::hex(0xb5579a),
    Colour::hex(0x7d3c98),
    Colour::hex(0x2e5fa3),
    Colour::hex(0x4f7f3f),
    Colour::hex(0x937d00),
    Colour::hex(0xa8323e),
    Colour::hex(0x3d3d3d),
];

/// An empty picture with its title.
pub fn drawing(width: f64, height: f64, title: &str, description: &str) -> Drawing {
    let (title, description) = (title.to_string(), description.to_string());
    let mut out = Drawing { width, height, title: title.clone(), description, shapes: Vec::new() };
    out.rect([0.0, 0.0, width, height], Colour::hex(0xffffff), "");
    out.text((20.0, 30.0), (17.0, true), Anchor::Start, INK, title);
    out
}

/// The line at the foot that says where a picture comes from.
pub fn caption(out: &mut Drawing, text: &str) {
    let at = (out.width - 12.0, out.height - 8.0);
    out.text(at, (9.0, false), Anchor::End, AXIS, text);
}

/// Coloured squares with their meaning, in a row.
pub fn legend(out: &mut Drawing, mut x: f64, y: f64, entries: &[(Colour, &str)]) {
    for (colour, words) in entries {
        out.rect([x, y - 10.0, 12.0, 12.0], *colour, "");
        out.text((x + 18.0, y), (12.0, false), Anchor::Start, INK, *words);
        x += 18.0 + text_width(words, 12.0, false) + 22.0;
    }
}

/// A plane of two axes.
#[derive(Clone, Copy, Debug)]
pub struct Frame {
    area: [f64; 4],
    x: (f64, f64),
    y: (f64, f64),
}

impl Frame {
    /// The plane in `area` (left, top, width, height) of values from `x.0` to `x.1` and `y.0` to `y.1`.
    pub fn new(area: [f64; 4], x: (f64, f64), y: (f64, f64)) -> Frame {
        Frame { area, x, y }
    }

    /// Where a point of the plane lies on the picture.
    pub fn at(&self, x: f64, y: f64) -> (f64, f64) {
        let [left, top, width, height] = self.area;
        let part = |value: f64, (from, to): (f64, f64)| if to > from { (value - from) / (to - from) } else { 0.5 };
        (left + width * part(x, self.x).clamp(0.0, 1.0), top + height * (1.0 - part(y, self.y).clamp(0.0, 1.0)))
    }

    /// Horizontal position, top and bottom of an upright line.
    pub fn vertical(&self, x: f64) -> (f64, f64, f64) {
        let [_, top, _, height] = self.area;
        (self.at(x, self.y.0).0, top, top + height)
    }

    /// Axes with these ticks: below and at the left, each a place on its axis and its words. Words that would run into
    /// those before them are left out.
    pub fn draw(&self, out: &mut Drawing, (below, x): (&str, &[Tick]), (above, y): (&str, &[Tick])) {
        let [left, top, width, height] = self.area;
        for (tick, words) in y {
            let (_, y) = self.at(self.x.0, *tick);
            out.line(vec![(left, y), (left + width, y)], GRID, 1.0, false);
            out.text((left - 6.0, y + 4.0), (11.0, false), Anchor::End, AXIS, words.clone());
        }
        let mut free = f64::MIN;
        for (tick, words) in x {
            let (x, _) = self.at(*tick, self.y.0);
            out.line(vec![(x, top), (x, top + height)], GRID, 1.0, false);
            let half = text_width(words, 11.0, false) / 2.0;
            if x - half >= free {
                out.text((x, top + height + 16.0), (11.0, false), Anchor::Middle, AXIS, words.clone());
                free = x + half + 6.0;
            }
        }
        out.line(vec![(left, top), (left, top + height), (left + width, top + height)], AXIS, 1.0, false);
        out.text((left + width, top + height + 32.0), (11.0, false), Anchor::End, AXIS, below);
        out.text((left - 40.0, top - 10.0), (11.0, true), Anchor::Start, AXIS, above);
    }

    /// The mark of an axis at the left that does not begin at zero: a break near its foot, and words that say so.
    pub fn broken(&self, out: &mut Drawing) {
        let [left, top, _, height] = self.area;
        let foot = top + height;
        out.rect([left - 4.0, foot - 11.0, 8.0, 5.0], Colour::hex(0xffffff), "the axis does not begin at zero");
        for y in [foot - 11.0, foot - 6.0] {
            out.line(vec![(left - 5.0, y + 2.5), (left + 5.0, y - 2.5)], AXIS, 1.2, false);
        }
        out.text(
            (left - 40.0, foot + 32.0),
            (10.0, false),
            Anchor::Start,
            AXIS,
            "the axis is broken: it does not begin at 0",
        );
    }

    /// A dashed line at the height of a bound, with its words above the right end.
    pub fn level(&self, out: &mut Drawing, value: f64, words: &str, colour: Colour) {
        let [left, top, width, _] = self.area;
        let (_, y) = self.at(self.x.0, value);
        out.line(vec![(left, y), (left + width, y)], colour, 1.5, true);
        let base = if y - top < 16.0 { y + 13.0 } else { y - 5.0 };
        out.text((left + width - 4.0, base), (11.0, false), Anchor::End, colour, words);
    }
}

/// A place on an axis with its words.
pub type Tick = (f64, String);

/// Ticks at round values of a unit: 0, 1m, 2m; $0.01, $0.02; 5%.
pub fn ticks(unit: Unit, range: (f64, f64), count: usize) -> Vec<Tick> {
    let round = match unit {
        Unit::Seconds => time_ticks(range, count),
        Unit::Count | Unit::Share | Unit::Dollars => round_ticks(range, count),
    };
    // Sums of steps are not quite round; dollars have as many digits at every tick.
    let apart = round.windows(2).map(|pair| pair[1] - pair[0]).fold(f64::INFINITY, f64::min);
    let digits = if apart.is_finite() { (-apart.log10()).ceil().clamp(2.0, 6.0) as usize } else { 2 };
    let words = |value: f64| match unit {
        Unit::Dollars => format!("${value:.digits$}"),
        Unit::Seconds | Unit::Count | Unit::Share => unit.show((value * 1e9).round() / 1e9),
    };
    round.into_iter().map(|value| (value, words(value))).collect()
}

/// Round values of time: steps that a clock has.
fn time_ticks((from, to): (f64, f64), count: usize) -> Vec<f64> {
    const STEPS: [f64; 16] = [
        1.0, 2.0, 5.0, 10.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 900.0, 1_800.0, 3_600.0, 7_200.0, 21_600.0,
        86_400.0,
    ];
    let rough = (to - from) / count as f64;
    match STEPS.into_iter().find(|&step| step >= rough) {
        Some(step) if rough > 0.5 => {
            ((from / step).ceil() as i64..=(to / step).floor() as i64).map(|tick| tick as f64 * step).collect()
        }
        _ => round_ticks((from, to), count),
    }
}

/// A number without needless digits.
pub fn short(value: f64) -> String {
    let text = if value.abs() >= 100.0 { format!("{value:.0}") } else { format!("{value:.4}") };
    if !text.contains('.') {
        return text;
    }
    let text = text.trim_end_matches('0').trim_end_matches('.');
    if text == "-0" { "0".to_string() } else { text.to_string() }
}

/// About `count` round values within a range.
pub fn round_ticks((from, to): (f64, f64), count: usize) -> Vec<f64> {
    let rough = (to - from) / count as f64;
    if rough <= 0.0 || !rough.is_finite() {
        return vec![from];
    }
    let power = 10f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].into_iter().map(|factor| factor * power).find(|&step| step >= rough);
    let step = step.unwrap_or(rough);
    let (first, last) = ((from / step).ceil() as i64, (to / step).floor() as i64);
    (first..=last).map(|tick| tick as f64 * step).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_within() {
        assert_eq!(round_ticks((0.0, 20.0), 5), [0.0, 5.0, 10.0, 15.0, 20.0]);
        assert_eq!(round_ticks((93.0, 117.0), 5), [95.0, 100.0, 105.0, 110.0, 115.0]);
        assert_eq!(short(0.25), "0.25");
        assert_eq!(short(1_000.0), "1000");
    }

    #[test]
    fn ticks_have_units_and_differ() {
        let words = |unit, range| ticks(unit, range, 5).into_iter().map(|(_, words)| words).collect::<Vec<_>>();
        assert_eq!(
            words(Unit::Dollars, (0.0, 0.000_25)),
            ["$0.00000", "$0.00005", "$0.00010", "$0.00015", "$0.00020", "$0.00025"]
        );
        assert_eq!(words(Unit::Seconds, (0.0, 130.0)), ["0s", "30s", "1m", "1m30s", "2m"]);
        assert_eq!(words(Unit::Share, (0.0, 0.04)), ["0%", "1%", "2%", "3%", "4%"]);
    }

    #[test]
    fn a_point_lies_where_the_axes_say() {
        let frame = Frame::new([10.0, 20.0, 100.0, 50.0], (0.0, 10.0), (0.0, 1.0));
        assert_eq!(frame.at(5.0, 0.0), (60.0, 70.0));
        assert_eq!(frame.at(10.0, 1.0), (110.0, 20.0));
        assert_eq!(frame.at(-5.0, 2.0), (10.0, 20.0));
    }
}
