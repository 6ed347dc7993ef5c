//! A measured value that may be known from below only: a wait that was broken off has lasted so long, and nobody knows how
//! long it would have lasted.
//!
//! In: what a run shows. Out: the least and the most that it may be. Statistics take both ends and assume nothing of what lies
//! between: pods are taken back for reasons that have to do with their wait (load falls, a rollout begins), so estimators
//! that suppose otherwise (Kaplan and Meier's) would be wrong. Source: Manski, Partial Identification of Probability
//! Distributions, chapter 1. Left out: values known from above only.

use std::fmt::Write;

/// A value of one run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Observed {
    /// The value, or what it is at least. Infinite: it has not come to an end.
    pub at_least: f64,
    /// It was broken off: nothing is known above.
    pub open: bool,
}

impl Observed {
    /// A value that is known.
    pub const fn exact(value: f64) -> Observed {
        Observed { at_least: value, open: false }
    }

    /// The most that it may be.
    pub fn at_most(self) -> f64 {
        if self.open { f64::INFINITY } else { self.at_least }
    }

    /// The longer of two, as far as it is known.
    pub fn longer(self, other: Observed) -> Observed {
        Observed { at_least: self.at_least.max(other.at_least), open: self.open || other.open }
    }

    /// Its bits, for a journal: `+` at the end says that it is open.
    pub fn write(self, line: &mut String) {
        let _ = write!(line, "{:x}{}", self.at_least.to_bits(), if self.open { "+" } else { "" });
    }

    /// The same read back.
    pub fn read(word: &str) -> Option<Observed> {
        let bits = word.strip_suffix('+');
        let at_least = f64::from_bits(u64::from_str_radix(bits.unwrap_or(word), 16).ok()?);
        Some(Observed { at_least, open: bits.is_some() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_of_several_is_open_if_one_is() {
        let (short, open) = (Observed::exact(90.0), Observed { at_least: 20.0, open: true });
        assert_eq!(short.longer(open), Observed { at_least: 90.0, open: true });
        assert_eq!((short.longer(open).at_most(), short.at_most()), (f64::INFINITY, 90.0));
        for value in [short, open, Observed::exact(f64::INFINITY)] {
            let mut line = String::new();
            value.write(&mut line);
            assert_eq!(Observed::read(&line), Some(value), "{line}");
        }
        assert_eq!(Observed::read("+"), None);
    }
}
