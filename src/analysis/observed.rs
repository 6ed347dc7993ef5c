//! A measured value that may be known from below only: a wait that was broken off, by a scale-down or by the end of the run,
//! has lasted so long, and nobody knows how long it would have lasted.
//!
//! In: what a run shows. Out: the least and the most that it may be. Statistics take both ends and assume nothing of what lies
//! between: pods are taken back for reasons that have to do with their wait (load falls, a rollout begins), so estimators
//! that suppose otherwise (Kaplan and Meier's) would be wrong. Source: Manski, Partial Identification of Probability
//! Distributions, chapter 1. Left out: values known from above only.

use crate::engine::Time;
use std::fmt::Write;

/// What broke a wait off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cut {
    /// Fewer pods were wanted: those that were waited for were let go.
    LetGo,
    /// The run ended before it did.
    RunEnded,
}

/// A value of one run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Observed {
    /// The value, or what it is at least.
    pub at_least: f64,
    /// It was broken off: nothing is known above.
    pub cut: Option<Cut>,
}

impl Observed {
    /// A value that is known.
    pub const fn exact(value: f64) -> Observed {
        Observed { at_least: value, cut: None }
    }

    /// A value that was broken off when it was so long.
    pub const fn cut(at_least: f64, cut: Cut) -> Observed {
        Observed { at_least, cut: Some(cut) }
    }

    /// A wait that ended after so long, or had not when the run ended.
    pub fn wait(since: Time, end: Option<Time>, run_ended: Time) -> Observed {
        match end {
            Some(end) => Observed::exact(end.since(since).seconds()),
            None => Observed::cut(run_ended.since(since).seconds(), Cut::RunEnded),
        }
    }

    /// It was broken off.
    pub const fn is_open(self) -> bool {
        self.cut.is_some()
    }

    /// The most that it may be.
    pub fn at_most(self) -> f64 {
        if self.is_open() { f64::INFINITY } else { self.at_least }
    }

    /// The longer of two, as far as it is known.
    pub fn longer(self, other: Observed) -> Observed {
        Observed { at_least: self.at_least.max(other.at_least), cut: self.cut.max(other.cut) }
    }

    /// Its bits, for a journal: `+` at the end says that it was let go, `~` that the run ended.
    pub fn write(self, line: &mut String) {
        let sign = match self.cut {
            None => "",
            Some(Cut::LetGo) => "+",
            Some(Cut::RunEnded) => "~",
        };
        let _ = write!(line, "{:x}{sign}", self.at_least.to_bits());
    }

    /// The same read back.
    pub fn read(word: &str) -> Option<Observed> {
        let cut = match word.chars().last()? {
            '+' => Some(Cut::LetGo),
            '~' => Some(Cut::RunEnded),
            _ => None,
        };
        let bits = word.trim_end_matches(['+', '~']);
        Some(Observed { at_least: f64::from_bits(u64::from_str_radix(bits, 16).ok()?), cut })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_of_several_is_open_if_one_is() {
        let (short, open) = (Observed::exact(90.0), Observed::cut(20.0, Cut::LetGo));
        assert_eq!(short.longer(open), Observed::cut(90.0, Cut::LetGo));
        assert_eq!((short.longer(open).at_most(), short.at_most()), (f64::INFINITY, 90.0));
        for value in [short, open, Observed::cut(20.5, Cut::RunEnded)] {
            let mut line = String::new();
            value.write(&mut line);
            assert_eq!(Observed::read(&line), Some(value), "{line}");
        }
        assert_eq!(Observed::read("+"), None);
    }
}
