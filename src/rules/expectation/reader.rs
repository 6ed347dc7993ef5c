//! From text to an [`Expectation`]: a reader that says where and why it stops, and what was probably meant.

use super::{Bound, Comparison, Expectation, ExpectationError, Measure, Scope, Statistic, Subject, Unit};

/// Reads an expectation.
///
/// # Errors
/// The first thing that is wrong.
pub fn parse(text: &str) -> Result<Expectation, ExpectationError> {
    let mut reader = Reader { text, at: 0 };
    let subject = reader.subject()?;
    let mut scope = Scope::default();
    reader.scope(subject.measure(), &mut scope)?;
    let bound = reader.bound(subject)?;
    reader.scope(subject.measure(), &mut scope)?;
    reader.space();
    if reader.at < text.len() {
        return Err(reader.error(reader.at, "nothing more is expected here", None));
    }
    Ok(Expectation { text: text.trim().to_string(), subject, bound, scope })
}

/// Reads what an expectation is about, without a bound: `p95(time_to_serve) of step 2`. It admits every value.
///
/// # Errors
/// The first thing that is wrong.
pub fn parse_quantity(text: &str) -> Result<Expectation, ExpectationError> {
    let mut reader = Reader { text, at: 0 };
    let subject = reader.subject()?;
    let mut scope = Scope::default();
    reader.scope(subject.measure(), &mut scope)?;
    reader.space();
    if reader.at < text.len() {
        return Err(reader.error(
            reader.at,
            "nothing more is expected here: this is what is measured, without a bound",
            None,
        ));
    }
    if !subject.is_about_runs() {
        let help = format!("p95({})", text.trim());
        return Err(reader.error(0, "of many runs one says which: a percentile, mean, min, max or share", Some(help)));
    }
    let bound = Bound::Compare(Comparison::GreaterOrEqual, f64::NEG_INFINITY);
    Ok(Expectation { text: text.trim().to_string(), subject, bound, scope })
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Reader<'a> {
    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn space(&mut self) {
        let rest = self.rest();
        self.at += rest.len() - rest.trim_start().len();
    }

    fn error(&self, offset: usize, message: impl Into<String>, suggestion: Option<String>) -> ExpectationError {
        ExpectationError { offset, message: message.into(), suggestion }
    }

    fn take(&mut self, sign: &str) -> bool {
        self.space();
        let found = self.rest().starts_with(sign);
        if found {
            self.at += sign.len();
        }
        found
    }

    fn need(&mut self, sign: &str) -> Result<(), ExpectationError> {
        if self.take(sign) { Ok(()) } else { Err(self.error(self.at, format!("`{sign}` is missing"), None)) }
    }

    /// The longest run of characters that satisfy `part`, from here on.
    fn run(&mut self, part: impl Fn(char) -> bool) -> (usize, &'a str) {
        self.space();
        let start = self.at;
        let rest = self.rest();
        let length = rest.find(|character: char| !part(character)).unwrap_or(rest.len());
        self.at += length;
        (start, &rest[..length])
    }

    fn name(&mut self) -> (usize, &'a str) {
        self.run(is_of_name)
    }

    fn subject(&mut self) -> Result<Subject, ExpectationError> {
        let (start, name) = self.name();
        if !self.take("(") {
            return self.measure(start, name).map(Subject::Each);
        }
        let subject = if name == "share" {
            let (start, name) = self.name();
            let measure = self.measure(start, name)?;
            self.space();
            if self.rest().starts_with(')') {
                let suggestion = format!("share({name} {})", above(measure.unit()));
                return Err(self.error(self.at, "a share is one of runs: of which?", Some(suggestion)));
            }
            let comparison = self.comparison()?;
            Subject::Share(measure, comparison, self.value(measure.unit())?)
        } else {
            let statistic = self.statistic(start, name)?;
            let (start, name) = self.name();
            Subject::Statistic(statistic, self.measure(start, name)?)
        };
        self.need(")")?;
        Ok(subject)
    }

    fn statistic(&self, start: usize, name: &str) -> Result<Statistic, ExpectationError> {
        let percentile = name.strip_prefix('p').and_then(|digits| digits.parse::<f64>().ok());
        match (name, percentile) {
            ("mean", _) => Ok(Statistic::Mean),
            ("median", _) => Ok(Statistic::Percentile(50.0)),
            ("min", _) => Ok(Statistic::Min),
            ("max", _) => Ok(Statistic::Max),
            (_, Some(percent)) if percent > 0.0 && percent < 100.0 => Ok(Statistic::Percentile(percent)),
            (_, Some(_)) => Err(self.error(start, "a percentile lies between 0 and 100", Some("p95".to_string()))),
            _ => {
                let known = ["mean", "median", "min", "max", "share", "p95"];
                let average = matches!(name, "avg" | "average").then(|| "mean".to_string());
                let guess = average.or_else(|| nearest(name, known.into_iter()));
                Err(self.error(start, format!("`{name}` is not a statistic"), guess))
            }
        }
    }

    fn measure(&self, start: usize, name: &str) -> Result<Measure, ExpectationError> {
        if name.is_empty() {
            return Err(self.error(start, "a measure is missing", Some("time_to_serve".to_string())));
        }
        // Two words of which the first is a statistic: `p95 time_to_serve`.
        let next = self.rest().trim_start();
        let next = &next[..next.find(|character: char| !is_of_name(character)).unwrap_or(next.len())];
        if Measure::named(next).is_some() && self.statistic(start, name).is_ok() {
            let message = format!("the measure of a statistic stands in parentheses: `{name}({next})`");
            return Err(self.error(start, message, Some(format!("{name}({next})"))));
        }
        Measure::named(name).ok_or_else(|| {
            let guess = nearest(name, Measure::ALL.iter().map(|measure| measure.name()));
            self.error(start, format!("`{name}` is not a measure"), guess)
        })
    }

    fn comparison(&mut self) -> Result<Comparison, ExpectationError> {
        self.space();
        for (slip, sign) in [("=<", "<="), ("=>", ">=")] {
            if self.rest().starts_with(slip) {
                return Err(self.error(self.at, format!("`{slip}` is no comparison"), Some(sign.to_string())));
            }
        }
        for (sign, comparison) in Comparison::SIGNS {
            if self.take(sign) {
                return Ok(comparison);
            }
        }
        Err(self.error(self.at, "a comparison is missing", Some("<=".to_string())))
    }

    fn bound(&mut self, subject: Subject) -> Result<Bound, ExpectationError> {
        self.space();
        let start = self.at;
        if self.rest().starts_with("in ") {
            self.at += 2;
            let low = self.value(subject.unit())?;
            self.need("..")?;
            let high = self.value(subject.unit())?;
            if low > high {
                return Err(self.error(start, "the range ends before it begins", None));
            }
            return Ok(Bound::Within(low, high));
        }
        let comparison = self.comparison()?;
        self.space();
        let word = self.rest().split_whitespace().next().unwrap_or("");
        if let Some((counts, shares)) = counted_as_share(subject).filter(|_| share(word).is_some() && word != "0") {
            let start = self.text.find(counts.name()).unwrap_or(start);
            let message = format!("it is a count; as a share of requests it is `{}`", shares.name());
            return Err(self.error(start, message, Some(shares.name().to_string())));
        }
        self.value(subject.unit()).map(|value| Bound::Compare(comparison, value))
    }

    fn value(&mut self, unit: Unit) -> Result<f64, ExpectationError> {
        self.space();
        let start = self.at;
        let dollar = self.take("$");
        let rest = self.rest();
        let end = rest.find("..").unwrap_or(rest.len());
        let stop = |character: char| !(character.is_ascii_alphanumeric() || matches!(character, '.' | '%' | '-'));
        let word = &rest[..rest[..end].find(stop).unwrap_or(end)];
        self.at += word.len();
        let value = match unit {
            Unit::Seconds => seconds(word),
            Unit::Count => word.parse().ok(),
            Unit::Dollars => word.parse().ok(),
            Unit::Share => share(word).filter(|share| (0.0..=1.0).contains(share)),
        };
        let plain = !dollar || unit == Unit::Dollars;
        value.filter(|value: &f64| value.is_finite() && plain).ok_or_else(|| self.no_value(unit, word, start))
    }

    /// What is wrong with a word that is no value of the unit.
    fn no_value(&self, unit: Unit, word: &str, start: usize) -> ExpectationError {
        let bare: Option<f64> = word.parse().ok();
        let (what, suggestion) = match unit {
            Unit::Seconds if bare.is_some() => {
                // A unit after a space was meant to stand beside the number.
                let apart = self.rest().split_whitespace().next().unwrap_or("");
                let joined = format!("{word}{apart}");
                let whole = if seconds(&joined).is_some() { joined } else { format!("{word}s") };
                ("a duration needs a unit", Some(whole))
            }
            Unit::Seconds => ("a duration is expected", Some("3m".to_string())),
            Unit::Count => ("a number is expected", None),
            Unit::Share => match (share(word), bare) {
                (Some(share), _) if share < 0.0 => ("a share is 0% at least", None),
                (Some(_), _) => ("a share is 100% at most", Some("100%".to_string())),
                // 0.05 is five in a hundred, 5 probably is as well.
                (None, Some(part)) if part > 0.0 && part < 1.0 => ("a share needs a `%`", Some(Unit::Share.show(part))),
                (None, Some(_)) => ("a share needs a `%`", Some(format!("{word}%"))),
                (None, None) => ("a share is expected", Some("1%".to_string())),
            },
            Unit::Dollars => ("an amount of dollars is expected", Some(dollars(word))),
        };
        self.error(start, if word.is_empty() { "a value is missing" } else { what }, suggestion)
    }

    /// A part of the run that the measure is not told of: the number would be another than the text says.
    fn untold(&self, measure: Measure, kind: &str, offset: usize) -> Result<(), ExpectationError> {
        let (is_told, part) = match kind {
            "step" => (measure.has_step(), "scaling step"),
            "deployment" => (measure.has_deployment(), "Deployment"),
            "window" => (measure.has_window(), "window"),
            _ => return Ok(()),
        };
        let name = measure.name();
        match (is_told, measure.has_window()) {
            (true, _) => Ok(()),
            (false, true) => Err(self.error(offset, format!("{name} cannot be told of one {part}"), None)),
            (false, false) => Err(self.error(offset, format!("{name} is told for a whole run only"), None)),
        }
    }

    fn scope(&mut self, measure: Measure, scope: &mut Scope) -> Result<(), ExpectationError> {
        loop {
            self.space();
            if !self.rest().starts_with("of ") {
                return Ok(());
            }
            let begin = self.at;
            self.at += 2;
            let (start, kind) = self.name();
            self.untold(measure, kind, begin)?;
            match kind {
                "step" => {
                    let (start, number) = self.name();
                    let step = number.parse().ok().filter(|&step| step > 0);
                    scope.step = Some(step.ok_or_else(|| {
                        self.error(start, "the number of a step is expected, counted from 1", Some("1".to_string()))
                    })?);
                }
                "deployment" => {
                    let (start, name) =
                        self.run(|character| character.is_alphanumeric() || matches!(character, '-' | '.'));
                    if name.is_empty() {
                        return Err(self.error(start, "the name of a Deployment is missing", None));
                    }
                    scope.deployment = Some(name.to_string());
                }
                "window" => {
                    let from = self.value(Unit::Seconds)?;
                    self.need("..")?;
                    let end = self.at;
                    let to = self.value(Unit::Seconds)?;
                    if to <= from || from < 0.0 {
                        return Err(self.error(end, "the window ends before it begins", None));
                    }
                    scope.window = Some(((from * 1e6).round() as u64, (to * 1e6).round() as u64));
                }
                _ => {
                    let guess = nearest(kind, ["step", "deployment", "window"].into_iter());
                    return Err(self.error(start, format!("`of {kind}` is unknown"), guess));
                }
            }
        }
    }
}

fn is_of_name(character: char) -> bool {
    character.is_alphanumeric() || matches!(character, '_' | '.')
}

/// How an amount is written that somebody wrote otherwise: `25c` for cents, or with the name of the currency.
fn dollars(word: &str) -> String {
    let digits = word.find(|character: char| !(character.is_ascii_digit() || character == '.')).unwrap_or(word.len());
    match (word[..digits].parse::<f64>(), &word[digits..]) {
        (Ok(cents), "c" | "ct" | "cent" | "cents") => format!("${:.2}", cents / 100.0),
        (Ok(_), "USD" | "usd" | "dollars" | "dollar") => format!("${}", &word[..digits]),
        _ => "$0.50".to_string(),
    }
}

/// What a share of runs could be about: those above something.
fn above(unit: Unit) -> &'static str {
    match unit {
        Unit::Seconds => "> 3m",
        Unit::Count => "> 0",
        Unit::Share => "> 1%",
        Unit::Dollars => "> $0.50",
    }
}

/// A count of requests that is a measure as a share of them, too.
fn counted_as_share(subject: Subject) -> Option<(Measure, Measure)> {
    let pairs = [(Measure::LostRequests, Measure::LostShare), (Measure::SlowRequests, Measure::SlowShare)];
    pairs.into_iter().find(|&(counts, _)| subject.unit() == Unit::Count && counts == subject.measure())
}

/// `2m18.5s` in seconds, by way of whole microseconds.
fn seconds(word: &str) -> Option<f64> {
    if word == "0" {
        return Some(0.0);
    }
    let (mut rest, mut micros) = (word, 0.0);
    while !rest.is_empty() {
        let digits = rest.find(|character: char| !(character.is_ascii_digit() || character == '.'))?;
        let number: f64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let letters = rest.find(|character: char| character.is_ascii_digit()).unwrap_or(rest.len());
        let factor = match &rest[..letters] {
            "h" => 3_600e6,
            "m" => 60e6,
            "s" => 1e6,
            "ms" => 1e3,
            "us" => 1.0,
            _ => return None,
        };
        rest = &rest[letters..];
        micros += (number * factor).round();
    }
    (!word.is_empty()).then_some(micros / 1e6)
}

/// `1%` as 0.01; nothing is nothing in any unit.
fn share(word: &str) -> Option<f64> {
    if word == "0" {
        return Some(0.0);
    }
    let percent: f64 = word.strip_suffix('%')?.parse().ok()?;
    Some(percent / 100.0)
}

/// The candidate that differs least from `name`, if it differs by less than half.
fn nearest<'a>(name: &str, candidates: impl Iterator<Item = &'a str>) -> Option<String> {
    let best = candidates.map(|candidate| (distance(name, candidate), candidate)).min()?;
    let close = best.0 * 2 <= name.chars().count().max(best.1.len()) && best.0 < best.1.len();
    (close || (name.len() > 2 && best.1.contains(name))).then(|| best.1.to_string())
}

/// Levenshtein distance.
fn distance(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (number, one) in left.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = number + 1;
        for (index, &other) in right.iter().enumerate() {
            let replaced = diagonal + usize::from(one != other);
            diagonal = row[index + 1];
            row[index + 1] = replaced.min(row[index] + 1).min(diagonal + 1);
        }
    }
    row[right.len()]
}
