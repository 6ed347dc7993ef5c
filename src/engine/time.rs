//! Instants and durations of a run, in whole microseconds.
//!
//! `Time + Span = Time` and `Time - Time = Span`; nothing else compiles. No float is ever on the clock:
//! [`Span::from_seconds`] is the one place that rounds.

use std::fmt;
use std::hint::cold_path;
use std::ops::{Add, AddAssign, Mul, Sub};

const MICROS_PER_SECOND: u64 = 1_000_000;

/// An instant: microseconds since 1970-01-01T00:00:00Z, so that objects older than the run have ordinary timestamps
/// and schedules in UTC need no conversion.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Time(u64);

/// A duration of at least zero, in microseconds.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Span(u64);

impl Time {
    /// 1970-01-01T00:00:00Z. The "zero time" of objects that have none.
    pub const ZERO: Time = Time(0);
    /// Later than every event.
    pub const MAX: Time = Time(u64::MAX);

    /// The instant so many microseconds after 1970-01-01T00:00:00Z.
    pub const fn from_micros(micros: u64) -> Time {
        Time(micros)
    }

    /// The instant so many whole seconds after 1970-01-01T00:00:00Z.
    pub const fn from_unix_seconds(seconds: u64) -> Time {
        Time(seconds * MICROS_PER_SECOND)
    }

    /// Microseconds since 1970-01-01T00:00:00Z.
    pub const fn micros(self) -> u64 {
        self.0
    }

    /// The same instant as the API server stores it (`metav1.Time`): cut to the whole second.
    pub const fn whole_second(self) -> Time {
        Time(self.0 - self.0 % MICROS_PER_SECOND)
    }

    /// The span since `earlier`, zero if `earlier` is later.
    pub const fn since(self, earlier: Time) -> Span {
        Span(self.0.saturating_sub(earlier.0))
    }

    /// This instant less `span`, not before 1970.
    pub const fn back(self, span: Span) -> Time {
        Time(self.0.saturating_sub(span.0))
    }

    /// Signed seconds from `origin`, for people and files.
    pub fn seconds_from(self, origin: Time) -> f64 {
        if self >= origin { (self - origin).seconds() } else { -(origin - self).seconds() }
    }

    /// Signed seconds from `origin` as an exact decimal with as few digits as it needs, such as `12.0635` or `-3600`.
    pub fn decimal_from(self, origin: Time) -> String {
        if self >= origin { (self - origin).decimal() } else { format!("-{}", (origin - self).decimal()) }
    }
}

impl Span {
    /// No time at all.
    pub const ZERO: Span = Span(0);
    /// Longer than any run.
    pub const MAX: Span = Span(u64::MAX / 4);

    /// So many microseconds.
    pub const fn from_micros(micros: u64) -> Span {
        Span(micros)
    }

    /// So many milliseconds.
    pub const fn from_millis(millis: u64) -> Span {
        Span(millis * 1_000)
    }

    /// So many whole seconds.
    pub const fn from_secs(seconds: u64) -> Span {
        Span(seconds * MICROS_PER_SECOND)
    }

    /// The nearest whole microsecond to `seconds`; zero for negative numbers and NaN, [`Span::MAX`] beyond it.
    /// The only place where a float becomes a time.
    pub fn from_seconds(seconds: f64) -> Span {
        let micros = seconds * MICROS_PER_SECOND as f64;
        if micros >= Span::MAX.0 as f64 {
            cold_path();
            return Span::MAX;
        }
        // What `round` does, without a call: from a half on upwards. Large numbers are whole already; NaN becomes zero.
        let whole = micros.max(0.0) as i64;
        Span(whole as u64 + u64::from(micros - whole as f64 >= 0.5))
    }

    /// Microseconds.
    pub const fn micros(self) -> u64 {
        self.0
    }

    /// Seconds as a float, for statistics and rates.
    pub fn seconds(self) -> f64 {
        // Signed: a machine converts those in one step. Nothing is longer than `MAX`.
        self.0.min(Span::MAX.0) as i64 as f64 / MICROS_PER_SECOND as f64
    }

    /// Whole seconds, cut.
    pub const fn whole_seconds(self) -> u64 {
        self.0 / MICROS_PER_SECOND
    }

    /// Half of it, cut to the microsecond.
    pub const fn half(self) -> Span {
        Span(self.0 / 2)
    }

    /// `self - other`, or zero.
    pub const fn saturating_sub(self, other: Span) -> Span {
        Span(self.0.saturating_sub(other.0))
    }

    /// True for no time at all.
    pub const fn is_zero(self) -> bool {
        self.0 == 0
    }

    /// Seconds as an exact decimal with as few digits as it needs, such as `2.8` or `15`.
    pub fn decimal(self) -> String {
        let (whole, rest) = (self.0 / MICROS_PER_SECOND, self.0 % MICROS_PER_SECOND);
        if rest == 0 {
            return whole.to_string();
        }
        let digits = format!("{rest:06}");
        format!("{whole}.{}", digits.trim_end_matches('0'))
    }
}

impl Add<Span> for Time {
    type Output = Time;
    fn add(self, span: Span) -> Time {
        Time(self.0.saturating_add(span.0))
    }
}

impl AddAssign<Span> for Time {
    fn add_assign(&mut self, span: Span) {
        *self = *self + span;
    }
}

impl Sub<Time> for Time {
    type Output = Span;
    fn sub(self, earlier: Time) -> Span {
        debug_assert!(self >= earlier, "a span cannot be negative");
        Span(self.0.saturating_sub(earlier.0))
    }
}

impl Add for Span {
    type Output = Span;
    fn add(self, other: Span) -> Span {
        Span(self.0.saturating_add(other.0))
    }
}

impl AddAssign for Span {
    fn add_assign(&mut self, other: Span) {
        *self = *self + other;
    }
}

impl Mul<u64> for Span {
    type Output = Span;
    fn mul(self, factor: u64) -> Span {
        Span(self.0.saturating_mul(factor))
    }
}

impl fmt::Debug for Time {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "@{}s", Span(self.0).decimal())
    }
}

impl fmt::Debug for Span {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

impl fmt::Display for Span {
    /// For people: `350ms`, `12.4s`, `2m31.2s`, `1h05m`.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let micros = self.0;
        if micros == 0 {
            formatter.write_str("0s")
        } else if micros < 1_000 {
            write!(formatter, "{micros}us")
        } else if micros < MICROS_PER_SECOND {
            write!(formatter, "{}ms", trimmed(micros as f64 / 1_000.0))
        } else if micros < 60 * MICROS_PER_SECOND {
            write!(formatter, "{}s", trimmed(self.seconds()))
        } else if micros < 3_600 * MICROS_PER_SECOND {
            let minutes = micros / (60 * MICROS_PER_SECOND);
            let rest = micros % (60 * MICROS_PER_SECOND);
            if rest == 0 {
                write!(formatter, "{minutes}m")
            } else {
                write!(formatter, "{minutes}m{}s", trimmed(rest as f64 / MICROS_PER_SECOND as f64))
            }
        } else {
            let minutes = micros / (60 * MICROS_PER_SECOND);
            let rest = Span(micros % (60 * MICROS_PER_SECOND));
            let seconds = if rest.0 == 0 { String::new() } else { format!("{}s", trimmed(rest.seconds())) };
            write!(formatter, "{}h{:02}m{}", minutes / 60, minutes % 60, seconds)
        }
    }
}

/// At most three decimals, no trailing zeros.
fn trimmed(value: f64) -> String {
    let text = format!("{value:.3}");
    text.trim_end_matches('0').trim_end_matches('.').to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounds_to_the_nearest_microsecond_and_never_below_zero() {
        assert_eq!(Span::from_seconds(2.8), Span::from_micros(2_800_000));
        assert_eq!(Span::from_seconds(0.000_000_6), Span::from_micros(1));
        assert_eq!(Span::from_seconds(0.000_000_499_999_999_999_9), Span::ZERO);
        assert_eq!(Span::from_seconds(2.000_000_5), Span::from_micros(2_000_001));
        assert_eq!(Span::from_seconds(-1.0), Span::ZERO);
        assert_eq!(Span::from_seconds(f64::NAN), Span::ZERO);
        assert_eq!(Span::from_seconds(f64::INFINITY), Span::MAX);
    }

    #[test]
    fn whole_seconds_are_cut_as_the_api_server_does() {
        assert_eq!(Time::from_micros(5_999_999).whole_second(), Time::from_micros(5_000_000));
    }

    #[test]
    fn speaks_to_people_and_to_files() {
        assert_eq!(Span::from_millis(151_204).to_string(), "2m31.204s");
        assert_eq!(Span::from_secs(3_900).to_string(), "1h05m");
        assert_eq!(Span::from_secs(3_930).to_string(), "1h05m30s");
        assert_eq!(Span::from_millis(350).to_string(), "350ms");
        assert_eq!(Span::from_micros(12_063_500).decimal(), "12.0635");
        let origin = Time::from_unix_seconds(100);
        assert_eq!(Time::from_unix_seconds(97).decimal_from(origin), "-3");
    }
}
