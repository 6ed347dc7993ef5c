//! Values with units, each read from a text: durations, rates, percentages, distributions. Failures say where in the text.

use crate::engine::Span;
use crate::plan::Distribution;
use crate::plan::timing::{PRESETS, STAGES, Timings};

/// Where and why a text is no such value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnitError {
    /// Byte offset in the text.
    pub offset: usize,
    /// A few words for under the place.
    pub message: String,
    /// What to write instead.
    pub help: Option<String>,
}

impl UnitError {
    /// An error at a byte.
    pub fn new(offset: usize, message: impl Into<String>) -> UnitError {
        UnitError { offset, message: message.into(), help: None }
    }

    /// Adds advice.
    pub fn help(mut self, help: impl Into<String>) -> UnitError {
        self.help = Some(help.into());
        self
    }

    fn shifted(mut self, by: usize) -> UnitError {
        self.offset += by;
        self
    }
}

/// Units in microseconds; longer names first where one begins with another.
const UNITS: [(&str, f64); 8] =
    [("ns", 1e-3), ("us", 1.0), ("µs", 1.0), ("ms", 1e3), ("s", 1e6), ("m", 60e6), ("h", 3600e6), ("d", 86400e6)];

/// A duration as Go writes it (`1h30m`, `500ms`, `1.5s`), with `d` for days. `0` needs no unit.
///
/// # Errors
/// Where the text is no duration.
pub fn duration(text: &str) -> Result<Span, UnitError> {
    if text.trim() == "0" {
        return Ok(Span::ZERO);
    }
    if text.trim().is_empty() {
        return Err(UnitError::new(0, "no number here").help("write it like 15s, 1m30s or 500ms"));
    }
    if let Some(rest) = text.trim_start().strip_prefix('-') {
        return Err(UnitError::new(text.len() - rest.len() - 1, "a duration cannot be negative"));
    }
    let mut at = text.len() - text.trim_start().len();
    let end = text.trim_end().len();
    let mut micros = 0.0;
    while at < end {
        let rest = &text[at..end];
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let value = rest[..digits]
            .parse::<f64>()
            .map_err(|_| UnitError::new(at, "no number here").help("write it like 15s, 1m30s or 500ms"))?;
        let unit_text = &rest[digits..];
        let length = unit_text.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(unit_text.len());
        let unit = &unit_text[..length];
        let Some(&(_, factor)) = UNITS.iter().find(|(name, _)| *name == unit) else {
            return Err(if unit.is_empty() {
                UnitError::new(at, "no unit").help(format!("write {}s for seconds", &rest[..digits]))
            } else {
                UnitError::new(at + digits, "unknown unit").help("units are ns, us, ms, s, m, h and d")
            });
        };
        micros += value * factor;
        at += digits + length;
    }
    // Three centuries: longer means a slip of the keyboard, and keeps sums far from the largest number.
    if micros > 1e16 {
        return Err(UnitError::new(0, "too long"));
    }
    Ok(Span::from_seconds(micros / 1e6))
}

/// A rate, in events a second: `8/s`, `480/min`, `3600/h`, `100/d`. `0` needs no unit.
///
/// # Errors
/// Where the text is no rate.
pub fn rate(text: &str) -> Result<f64, UnitError> {
    let Some((number, unit)) = text.split_once('/') else {
        let trimmed = text.trim();
        let short = [("rps", "s"), ("qps", "s"), ("rpm", "min"), ("qpm", "min")];
        let meant = short.iter().find_map(|(name, unit)| Some((trimmed.strip_suffix(name)?, unit)));
        if let Some((number, unit)) = meant.filter(|(number, _)| plain_number(number, 0).is_ok()) {
            let start = text.find(trimmed).unwrap_or(0) + number.len();
            return Err(UnitError::new(start, "unknown unit").help(format!("write {}/{unit}", number.trim())));
        }
        return match plain_number(text, 0)? {
            0.0 => Ok(0.0),
            _ => Err(UnitError::new(0, "no unit").help(format!("write {}/s for so many a second", text.trim()))),
        };
    };
    let factor = match unit.trim() {
        "s" | "sec" | "second" => 1.0,
        "m" | "min" | "minute" => 1.0 / 60.0,
        "h" | "hour" => 1.0 / 3600.0,
        "d" | "day" => 1.0 / 86400.0,
        _ => return Err(UnitError::new(number.len() + 1, "unknown unit").help("units are /s, /min, /h and /d")),
    };
    let value = plain_number(number, 0)?;
    if !(0.0..=1e7).contains(&(value * factor)) {
        return Err(UnitError::new(0, "must be from 0 to 1e7 a second"));
    }
    Ok(value * factor)
}

/// A share: `5%`, or a plain number such as `0.05`.
///
/// # Errors
/// Where the text is no share.
pub fn share(text: &str) -> Result<f64, UnitError> {
    match text.trim().strip_suffix('%') {
        Some(number) => Ok(plain_number(number, 0)? / 100.0),
        None => plain_number(text, 0),
    }
}

fn plain_number(text: &str, offset: usize) -> Result<f64, UnitError> {
    match text.trim().parse::<f64>() {
        Ok(value) if value.is_finite() => Ok(value),
        _ => Err(UnitError::new(offset, "no number here")),
    }
}

/// Gives the recorded values of `empirical(FILE)`, or says why it cannot.
pub type Recorded<'f> = &'f mut dyn FnMut(&str) -> Result<Vec<Span>, String>;

/// A distribution: `3s`, `never`, `lognormal(median=2.8s, sigma=0.15)`, `uniform(0s, 15s)`, `normal(mean=3s, sd=1s)`,
/// `exponential(mean=3s)`, `weibull(shape=0.6, scale=1h)`, `mixture(0.9: 3s, 0.1: 30s)`, `empirical(file.csv)`.
///
/// # Errors
/// Where the text is no distribution.
pub fn distribution(text: &str, recorded: Recorded<'_>) -> Result<Distribution, UnitError> {
    nested_distribution(text, 0, recorded)
}

const FAMILIES: [&str; 8] =
    ["lognormal", "uniform", "normal", "exponential", "weibull", "mixture", "empirical", "never"];

fn nested_distribution(text: &str, depth: usize, recorded: Recorded<'_>) -> Result<Distribution, UnitError> {
    let lead = text.len() - text.trim_start().len();
    let trimmed = text.trim();
    if trimmed == "never" {
        return Ok(Distribution::Never);
    }
    let Some(open) = trimmed.find('(') else {
        if trimmed.starts_with(|c: char| c.is_ascii_alphabetic()) {
            return Err(unknown_family(trimmed).shifted(lead));
        }
        return duration(trimmed).map(Distribution::Constant).map_err(|error| error.shifted(lead));
    };
    let family = trimmed[..open].trim_end();
    let Some(inner) = trimmed[open + 1..].strip_suffix(')') else {
        return Err(UnitError::new(lead + trimmed.len(), "the parenthesis is not closed").help("end it with )"));
    };
    if depth > 8 {
        return Err(UnitError::new(lead, "nested too deeply"));
    }
    let arguments = Arguments { family, parts: split(inner), end: inner.len() };
    let result = match family {
        "lognormal" => arguments.named(["median", "sigma"]).and_then(|[median, sigma]| {
            Ok(Distribution::Lognormal { median: positive_duration(median)?, sigma: number_in(sigma, 0.0, 10.0)? })
        }),
        "uniform" => arguments.named(["low", "high"]).and_then(|[low, high]| {
            let (from, to) = (spanned(low)?, spanned(high)?);
            if to < from {
                Err(UnitError::new(high.0, "less than the lower bound"))
            } else {
                Ok(Distribution::Uniform(from, to))
            }
        }),
        "normal" => arguments
            .named(["mean", "sd"])
            .and_then(|[mean, sd]| Ok(Distribution::Normal { mean: spanned(mean)?, sd: spanned(sd)? })),
        "exponential" => arguments
            .named(["mean"])
            .and_then(|[mean]| Ok(Distribution::Exponential { mean: positive_duration(mean)? })),
        "weibull" => arguments.named(["shape", "scale"]).and_then(|[shape, scale]| {
            Ok(Distribution::Weibull { shape: number_in(shape, 0.01, 100.0)?, scale: positive_duration(scale)? })
        }),
        "mixture" => mixture(&arguments, depth, recorded),
        "empirical" => empirical(inner, recorded),
        _ => return Err(unknown_family(family).shifted(lead)),
    };
    result.map_err(|error| error.shifted(lead + open + 1))
}

fn unknown_family(word: &str) -> UnitError {
    let help = super::diagnostic::suggestion(word, FAMILIES)
        .unwrap_or_else(|| "write 3s, never, or lognormal(median=2.8s, sigma=0.15)".to_string());
    UnitError::new(0, "unknown distribution").help(help)
}

/// A piece of a text with its byte offset.
type Piece<'t> = (usize, &'t str);

/// Splits at commas outside parentheses.
fn split(inner: &str) -> Vec<Piece<'_>> {
    let (mut parts, mut start, mut level) = (Vec::new(), 0, 0_usize);
    for (at, c) in inner.char_indices() {
        match c {
            '(' => level += 1,
            ')' => level = level.saturating_sub(1),
            ',' if level == 0 => {
                parts.push((start, &inner[start..at]));
                start = at + 1;
            }
            _ => {}
        }
    }
    if !inner[start..].trim().is_empty() || !parts.is_empty() {
        parts.push((start, &inner[start..]));
    }
    parts
}

struct Arguments<'t> {
    family: &'t str,
    parts: Vec<Piece<'t>>,
    end: usize,
}

impl<'t> Arguments<'t> {
    /// Arguments by name or, without names, in order.
    fn named<const N: usize>(&self, names: [&str; N]) -> Result<[Piece<'t>; N], UnitError> {
        let mut found: [Option<Piece<'t>>; N] = [None; N];
        for (position, &(offset, part)) in self.parts.iter().enumerate() {
            let lead = part.len() - part.trim_start().len();
            let (index, value) = match part.split_once('=') {
                Some((name, value)) => {
                    let Some(index) = names.iter().position(|known| *known == name.trim()) else {
                        let help = super::diagnostic::suggestion(name.trim(), names);
                        let error = UnitError::new(offset + lead, "unknown parameter");
                        return Err(UnitError { help, ..error });
                    };
                    (index, (offset + name.len() + 1, value))
                }
                None => (position, (offset, part)),
            };
            if index >= N {
                return Err(UnitError::new(offset + lead, format!("{} takes {N}", self.family)));
            }
            if found[index].replace(value).is_some() {
                return Err(UnitError::new(offset + lead, format!("`{}` is given twice", names[index])));
            }
        }
        let missing = found.iter().position(Option::is_none);
        if let Some(index) = missing {
            return Err(UnitError::new(self.end, format!("`{}` is missing", names[index])));
        }
        Ok(found.map(|piece| piece.unwrap_or((0, ""))))
    }
}

fn spanned((offset, text): Piece<'_>) -> Result<Span, UnitError> {
    duration(text).map_err(|error| error.shifted(offset))
}

fn positive_duration(piece: Piece<'_>) -> Result<Span, UnitError> {
    let span = spanned(piece)?;
    if span.is_zero() { Err(UnitError::new(piece.0, "must be more than zero")) } else { Ok(span) }
}

fn number_in((offset, text): Piece<'_>, low: f64, high: f64) -> Result<f64, UnitError> {
    let value = plain_number(text, offset)?;
    if (low..=high).contains(&value) {
        Ok(value)
    } else {
        Err(UnitError::new(offset, format!("must be from {low} to {high}")))
    }
}

fn mixture(arguments: &Arguments<'_>, depth: usize, recorded: Recorded<'_>) -> Result<Distribution, UnitError> {
    let mut parts = Vec::new();
    for &(offset, part) in &arguments.parts {
        let Some((weight, value)) = part.split_once(':') else {
            return Err(UnitError::new(offset, "no weight").help("write mixture(0.9: 3s, 0.1: 30s)"));
        };
        let share = share(weight).map_err(|error| error.shifted(offset))?;
        if !(0.0..=1.0).contains(&share) {
            return Err(UnitError::new(offset, "a weight is from 0 to 1"));
        }
        let distribution = nested_distribution(value, depth + 1, &mut *recorded)
            .map_err(|error| error.shifted(offset + weight.len() + 1))?;
        parts.push((share, distribution));
    }
    let sum: f64 = parts.iter().map(|(weight, _)| weight).sum();
    if (sum - 1.0).abs() > 1e-9 {
        return Err(UnitError::new(0, format!("the weights sum to {sum}, not to 1")));
    }
    parts.retain(|(weight, _)| *weight > 0.0);
    Ok(Distribution::Mixture(parts))
}

fn empirical(inner: &str, recorded: Recorded<'_>) -> Result<Distribution, UnitError> {
    let name = inner.trim().trim_matches(['"', '\'']);
    let mut values = recorded(name).map_err(|message| UnitError::new(0, message))?;
    if values.is_empty() {
        return Err(UnitError::new(0, "the file holds no values"));
    }
    values.sort_unstable();
    Ok(Distribution::Empirical(values))
}

/// Recorded values are in no preset.
pub fn no_recordings(_: &str) -> Result<Vec<Span>, String> {
    Err("recorded values cannot be read here".to_string())
}

/// The delays of a preset by name (`tuned`, `default`, `heavy`).
pub fn timings(preset: &str) -> Option<Timings> {
    let column = PRESETS.iter().position(|name| *name == preset)?;
    let read = |text: &str| distribution(text, &mut no_recordings).expect("presets are tested");
    Some(Timings::new(STAGES.iter().map(|row| read(row.presets[column])).collect()))
}

/// A UTC timestamp, `2026-01-05T00:00:00Z` or `2026-01-05`, as seconds since 1970.
///
/// # Errors
/// Where the text is no timestamp.
pub fn timestamp(text: &str) -> Result<u64, UnitError> {
    let wrong = || UnitError::new(0, "no timestamp").help("write it like 2026-01-05T00:00:00Z");
    let (date, clock) = text.trim().split_once(['T', ' ']).unwrap_or((text.trim(), "00:00:00Z"));
    let numbers = |text: &str, by: char| -> Option<[u64; 3]> {
        let parts: Vec<u64> = text.split(by).map(|part| part.parse().ok()).collect::<Option<_>>()?;
        parts.try_into().ok()
    };
    let clock = clock.strip_suffix('Z').or_else(|| clock.strip_suffix("+00:00")).ok_or_else(wrong)?;
    let [year, month, day] = numbers(date, '-').ok_or_else(wrong)?;
    let [hour, minute, second] = numbers(clock, ':').ok_or_else(wrong)?;
    let month_days = [31, if is_leap(year) { 29 } else { 28 }, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let in_range =
        (1971..=2999).contains(&year) && (1..=12).contains(&month) && hour < 24 && minute < 60 && second < 60;
    if !in_range || day == 0 || day > month_days[month as usize - 1] {
        return Err(wrong());
    }
    let years: u64 = (1970..year).map(|year| if is_leap(year) { 366 } else { 365 }).sum();
    let days = years + month_days[..month as usize - 1].iter().sum::<u64>() + day - 1;
    Ok(days * 86_400 + hour * 3_600 + minute * 60 + second)
}

fn is_leap(year: u64) -> bool {
    year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Stage;

    fn read(text: &str) -> Result<Distribution, UnitError> {
        distribution(text, &mut no_recordings)
    }

    #[test]
    fn durations_are_those_of_go_and_days() {
        let micros = |text| duration(text).map(Span::micros);
        assert_eq!(micros("1h30m"), Ok(5_400_000_000));
        assert_eq!(micros("500ms"), Ok(500_000));
        assert_eq!(micros("1.5s"), Ok(1_500_000));
        assert_eq!(micros("2d"), Ok(172_800_000_000));
        assert_eq!(micros("1m1ms"), Ok(60_001_000));
        assert_eq!(micros("0"), Ok(0));
        assert_eq!(duration("15").unwrap_err().help.unwrap(), "write 15s for seconds");
        assert_eq!(duration("3 parsecs").unwrap_err().offset, 1);
        assert_eq!(duration("-3s").unwrap_err().message, "a duration cannot be negative");
        assert!(duration("").is_err() && duration("s").is_err() && duration("1.2.3s").is_err());
        assert!(duration("99999999999999999999d").is_err());
    }

    #[test]
    fn what_a_duration_shows_to_people_reads_back_as_the_same() {
        for micros in [1_000, 350_000, 12_063_000, 151_204_000, 3_930_000_000, 90_061_000_000] {
            let span = Span::from_micros(micros);
            assert_eq!(duration(&span.to_string()), Ok(span));
        }
    }

    #[test]
    fn rates_and_shares() {
        assert_eq!(rate("10rps").map_err(|error| (error.offset, error.help)), Err((2, Some("write 10/s".to_string()))));
        assert_eq!(rate("480/min"), Ok(8.0));
        assert_eq!(rate("8/s"), Ok(8.0));
        assert_eq!(rate("0"), Ok(0.0));
        let bare = rate("8").expect_err("nobody knows whether a second or a minute is meant");
        assert_eq!(bare.help.as_deref(), Some("write 8/s for so many a second"));
        assert!(
            rate("1e8/s").is_err() && rate("8/fortnight").is_err() && rate("-1/s").is_err() && rate("nan").is_err()
        );
        assert_eq!(share("5%"), Ok(0.05));
    }

    #[test]
    fn every_preset_parses_and_a_known_one_has_its_quantiles() {
        for preset in PRESETS {
            let timings = timings(preset).unwrap();
            for row in &STAGES {
                let [low, middle, high] = [0.05, 0.5, 0.95].map(|p| timings.distribution(row.stage).quantile(p));
                assert!(low <= middle && middle <= high && high < Span::from_secs(3600), "{preset} {}", row.key);
                assert_eq!(timings.median(row.stage), middle);
            }
        }
        let image = timings("default").unwrap().distribution(Stage::ImagePull).clone();
        assert_eq!(image.median(), Span::from_secs(12));
        assert!((image.quantile(0.9).seconds() - 21.4).abs() < 0.1, "p90 21 s");
        assert!(timings("deafult").is_none());
    }

    #[test]
    fn distributions_read_as_written() {
        assert_eq!(read("3s"), Ok(Distribution::Constant(Span::from_secs(3))));
        assert_eq!(read("never"), Ok(Distribution::Never));
        assert_eq!(read("uniform(0s, 15s)"), Ok(Distribution::Uniform(Span::ZERO, Span::from_secs(15))));
        let lognormal = Distribution::Lognormal { median: Span::from_millis(2800), sigma: 0.15 };
        assert_eq!(read("lognormal(median=2.8s, sigma=0.15)"), Ok(lognormal.clone()));
        assert_eq!(read(" lognormal( sigma = 0.15 , median = 2.8s ) "), Ok(lognormal.clone()));
        let expected = Distribution::Mixture(vec![(0.9, Distribution::Constant(Span::from_secs(3))), (0.1, lognormal)]);
        assert_eq!(read("mixture(90%: 3s, 10%: lognormal(median=2.8s, sigma=0.15))"), Ok(expected));
        let hour = Span::from_secs(3600);
        assert_eq!(read("weibull(shape=0.6, scale=1h)"), Ok(Distribution::Weibull { shape: 0.6, scale: hour }));
        assert_eq!(read("exponential(mean=1h)"), Ok(Distribution::Exponential { mean: hour }));
        assert_eq!(read("normal(mean=1h, sd=0s)"), Ok(Distribution::Normal { mean: hour, sd: Span::ZERO }));
        let mut recorded = |name: &str| {
            assert_eq!(name, "boot.csv");
            Ok(vec![Span::from_secs(5), Span::from_secs(3)])
        };
        let values = vec![Span::from_secs(3), Span::from_secs(5)];
        assert_eq!(distribution("empirical(boot.csv)", &mut recorded), Ok(Distribution::Empirical(values)));
    }

    #[test]
    fn mistakes_in_distributions_point_at_the_place() {
        let error = |text: &str| read(text).unwrap_err();
        let found = error("lognormal(median=2.8s, sgma=0.15)");
        assert_eq!((found.offset, found.help.as_deref()), (23, Some("did you mean `sigma`?")));
        assert_eq!(error("lognormal(median=2.8s)").message, "`sigma` is missing");
        assert_eq!(error("lognormal(median=0s, sigma=1)").message, "must be more than zero");
        assert_eq!(error("lognorm(median=1s, sigma=1)").help.as_deref(), Some("did you mean `lognormal`?"));
        assert_eq!(error("uniform(5s, 1s)").message, "less than the lower bound");
        assert_eq!(error("uniform(1s, 2s, 3s)").message, "uniform takes 2");
        assert!(error("mixture(0.5: 3s, 0.4: 4s)").message.contains("sum to 0.9"));
        assert_eq!(error("uniform(0s, 15s").message, "the parenthesis is not closed");
        let nested = format!("{}3s{}", "mixture(1: ".repeat(5000), ")".repeat(5000));
        assert_eq!(error(&nested).message, "nested too deeply");
        for text in ["", "(", ")", "mixture()", "uniform(,)", "lognormal(=)", "µ", "3µ", "empirical()"] {
            assert!(read(text).is_err(), "{text}");
        }
    }

    #[test]
    fn timestamps_are_utc() {
        assert_eq!(timestamp("2026-01-05T00:00:00Z"), Ok(1_767_571_200));
        assert_eq!(timestamp("2024-02-29"), Ok(1_709_164_800));
        assert!(timestamp("2026-02-29").is_err() && timestamp("2026-13-01").is_err() && timestamp("now").is_err());
    }
}
