//! Typed reading of a tree: fields of a mapping with their types, each failure a problem with the place and the path.
//!
//! In: nodes. Out: values, or `None` after a problem was noted, so that one pass finds every mistake. In our own sections a
//! key that nobody asked for is an error; in foreign manifests it is ignored.

use super::diagnostic::{Diagnostic, Place, Problems, nearest};
use super::kind::Kind;
use super::units;
use super::yaml::{Node, Value};
use crate::engine::Span;
use crate::rules::quantity::{Quantity, QuantityError};

/// The fields of a mapping.
pub struct Fields<'n> {
    node: &'n Node,
    /// What the whole file is called, for messages.
    file: &'static str,
    /// Path for messages, such as `cluster.nodes[0]`.
    pub path: String,
    known: Vec<&'static str>,
}

impl<'n> Fields<'n> {
    /// The fields of a mapping; a problem if it is none.
    pub fn of(node: &'n Node, path: impl Into<String>, problems: &mut Problems) -> Option<Fields<'n>> {
        let path = path.into();
        match node.value {
            Value::Mapping(_) => Some(Fields { node, file: "the file", path, known: Vec::new() }),
            Value::Null | Value::Scalar(_) | Value::Sequence(_) => {
                wrong_type(node, &path, "a mapping of fields", problems);
                None
            }
        }
    }

    /// The fields of a whole file of that kind.
    pub(crate) fn of_file(node: &'n Node, kind: Kind, problems: &mut Problems) -> Option<Fields<'n>> {
        Fields::of(node, "", problems).map(|fields| Fields { file: kind.name(), ..fields })
    }

    /// The mapping itself.
    pub fn node(&self) -> &'n Node {
        self.node
    }

    /// The place of the mapping.
    pub fn place(&self) -> Place {
        self.node.place
    }

    /// The place of the value at a path of keys; of the mapping, if it is not written.
    pub fn place_at(&self, path: &[&str]) -> Place {
        path.iter().try_fold(self.node, |node, key| node.get(key)).map_or(self.place(), |node| node.place)
    }

    /// The path of a field.
    pub fn at(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_string() } else { format!("{}.{key}", self.path) }
    }

    /// A field, if it is written and not null.
    pub fn get(&mut self, key: &'static str) -> Option<&'n Node> {
        if !self.known.contains(&key) {
            self.known.push(key);
        }
        self.node.get(key).filter(|node| !node.is_null())
    }

    /// A field that must be there.
    pub fn required(&mut self, key: &'static str, problems: &mut Problems) -> Option<&'n Node> {
        let found = self.get(key);
        if found.is_none() {
            let owner = if self.path.is_empty() { "the file".to_string() } else { format!("`{}`", self.path) };
            let place = self.node.place;
            let place = Place { end: place.start, ..place };
            problems.push(
                Diagnostic::error("E011", place, format!("{owner} lacks `{key}`"))
                    .label(format!("`{key}` is missing"))
                    .about_key(self.node.place, key),
            );
        }
        found
    }

    /// A nested mapping.
    pub fn fields(&mut self, key: &'static str, problems: &mut Problems) -> Option<Fields<'n>> {
        let node = self.get(key)?;
        Fields::of(node, self.at(key), problems)
    }

    /// The items of a list; nothing if absent.
    pub fn list(&mut self, key: &'static str, problems: &mut Problems) -> &'n [Node] {
        self.get(key).map_or(&[], |node| list(node, &self.at(key), problems))
    }

    /// A text; a number counts as one, with or without quotes.
    pub fn text(&mut self, key: &'static str, problems: &mut Problems) -> Option<String> {
        let node = self.get(key)?;
        text(node, &self.at(key), problems)
    }

    /// A text that must be there.
    pub fn required_text(&mut self, key: &'static str, problems: &mut Problems) -> Option<String> {
        let node = self.required(key, problems)?;
        text(node, &self.at(key), problems)
    }

    /// A whole number.
    pub fn integer(&mut self, key: &'static str, problems: &mut Problems) -> Option<i64> {
        let node = self.get(key)?;
        integer(node, &self.at(key), problems)
    }

    /// A whole number in bounds.
    pub fn integer_in(&mut self, key: &'static str, low: i64, high: i64, problems: &mut Problems) -> Option<i64> {
        let node = self.get(key)?;
        integer_in(node, &self.at(key), low, high, problems)
    }

    /// A number.
    pub fn number(&mut self, key: &'static str, problems: &mut Problems) -> Option<f64> {
        let node = self.get(key)?;
        number(node, &self.at(key), problems)
    }

    /// true or false.
    pub fn boolean(&mut self, key: &'static str, problems: &mut Problems) -> Option<bool> {
        let node = self.get(key)?;
        boolean(node, &self.at(key), problems)
    }

    /// `on` or `off`; true and false are the same.
    pub fn on_or_off(&mut self, key: &'static str, problems: &mut Problems) -> Option<bool> {
        let node = self.get(key)?;
        let found = node.text().and_then(as_boolean);
        if found.is_none() {
            wrong_type(node, &self.at(key), "on or off", problems);
        }
        found
    }

    /// A duration with unit.
    pub fn duration(&mut self, key: &'static str, problems: &mut Problems) -> Option<Span> {
        let node = self.get(key)?;
        duration(node, &self.at(key), problems)
    }

    /// A count of whole seconds, as Kubernetes' `...Seconds` fields are.
    pub fn seconds(&mut self, key: &'static str, problems: &mut Problems) -> Option<Span> {
        let node = self.get(key)?;
        let value = match duration_for_seconds(node) {
            Some(seconds) => {
                let said = of_wrong_type(node, &self.at(key), "a whole number");
                problems.push(said.help(format!("write it as seconds, without a unit: {seconds}")));
                return None;
            }
            None => integer_in(node, &self.at(key), 0, i64::from(u32::MAX), problems)?,
        };
        Some(Span::from_secs(value.unsigned_abs()))
    }

    /// A quantity.
    pub fn quantity(&mut self, key: &'static str, problems: &mut Problems) -> Option<Quantity> {
        let node = self.get(key)?;
        quantity(node, &self.at(key), problems)
    }

    /// One of several words.
    pub fn choice<T: Copy>(&mut self, key: &'static str, choices: &[(&str, T)], problems: &mut Problems) -> Option<T> {
        let node = self.get(key)?;
        choice(node, &self.at(key), choices, problems)
    }

    /// Some key was not asked for.
    pub(super) fn has_unknown(&self) -> bool {
        self.node.entries().iter().any(|entry| !self.known.contains(&&*entry.key))
    }

    /// Every key that was not asked for is an error, with the key that may have been meant.
    pub fn finish(self, problems: &mut Problems) {
        for entry in self.node.entries() {
            if self.known.contains(&&*entry.key) {
                continue;
            }
            let owner = if self.path.is_empty() { self.file.to_string() } else { format!("`{}`", self.path) };
            let said = Diagnostic::error("E010", entry.key_place, format!("{owner} has no field `{}`", entry.key))
                .label("unknown field")
                .suggest(&entry.key, self.known.iter().copied());
            problems.push(match nearest(&entry.key, self.known.iter().copied()) {
                Some(near) => said.about_key(self.node.place, near),
                None => said,
            });
        }
    }
}

/// The problem that a node is of another type.
pub fn wrong_type(node: &Node, path: &str, expected: &str, problems: &mut Problems) {
    problems.push(of_wrong_type(node, path, expected));
}

fn of_wrong_type(node: &Node, path: &str, expected: &str) -> Diagnostic {
    let path = if path.is_empty() { "the file" } else { path };
    Diagnostic::error("E012", node.place, format!("{path}: expected {expected}, found {}", node.describe()))
        .label(format!("expected {expected}"))
}

/// The same for a number, which in quotes is a text.
fn wrong_number(node: &Node, path: &str, expected: &str, problems: &mut Problems) {
    let said = of_wrong_type(node, path, expected);
    problems.push(match node.text().filter(|text| text.parse::<f64>().is_ok_and(f64::is_finite)) {
        Some(text) if matches!(&node.value, Value::Scalar(scalar) if scalar.quoted) => {
            said.help(format!("write it without quotes: {text}"))
        }
        _ => said,
    });
}

/// The seconds of a duration, such as `45s`, where Kubernetes wants their number.
fn duration_for_seconds(node: &Node) -> Option<u64> {
    let span = units::duration(node.text()?).ok().filter(|span| !span.is_zero())?;
    let is_whole = Span::from_secs(span.whole_seconds()) == span;
    (is_whole && node.text()?.parse::<f64>().is_err()).then(|| span.whole_seconds())
}

/// The items of a list.
pub fn list<'n>(node: &'n Node, path: &str, problems: &mut Problems) -> &'n [Node] {
    match &node.value {
        Value::Sequence(items) => items,
        Value::Null => &[],
        Value::Scalar(_) | Value::Mapping(_) => {
            wrong_type(node, path, "a list", problems);
            &[]
        }
    }
}

/// A text.
pub fn text(node: &Node, path: &str, problems: &mut Problems) -> Option<String> {
    let found = node.text().map(str::to_string);
    if found.is_none() {
        wrong_type(node, path, "a text", problems);
    }
    found
}

/// A text where Kubernetes takes nothing else: `1`, `true` must stand in quotes.
pub fn strict_text(node: &Node, path: &str, problems: &mut Problems) -> Option<String> {
    if let Value::Scalar(scalar) = &node.value
        && !scalar.quoted
        && (scalar.text.parse::<f64>().is_ok() || as_boolean(&scalar.text).is_some())
    {
        let message = format!("{path}: expected a text, found {}", node.describe());
        problems.push(
            Diagnostic::error("E012", node.place, message)
                .label("expected a text")
                .help(format!("the API server refuses this: write it in quotes, \"{}\"", scalar.text)),
        );
        return None;
    }
    text(node, path, problems)
}

/// A whole number.
pub fn integer(node: &Node, path: &str, problems: &mut Problems) -> Option<i64> {
    let found = match &node.value {
        Value::Scalar(scalar) if !scalar.quoted => {
            let text = scalar.text.strip_prefix('+').unwrap_or(&scalar.text);
            text.parse::<i64>().ok().or_else(|| {
                let value = text.parse::<f64>().ok()?;
                // JSON writers give 3.0 and 1e3 for whole numbers.
                (value.fract() == 0.0 && value.abs() < 9e15).then_some(value as i64)
            })
        }
        Value::Null | Value::Scalar(_) | Value::Sequence(_) | Value::Mapping(_) => None,
    };
    if found.is_none() {
        wrong_number(node, path, "a whole number", problems);
    }
    found
}

/// A whole number in bounds.
pub fn integer_in(node: &Node, path: &str, low: i64, high: i64, problems: &mut Problems) -> Option<i64> {
    let value = integer(node, path, problems)?;
    if (low..=high).contains(&value) {
        return Some(value);
    }
    out_of_range(node, path, &format!("from {low} to {high}"), problems);
    None
}

/// The problem that a value is out of bounds.
pub fn out_of_range(node: &Node, path: &str, bounds: &str, problems: &mut Problems) {
    problems.push(
        Diagnostic::error("E015", node.place, format!("{path}: {} is out of range", node.describe()))
            .label(format!("must be {bounds}")),
    );
}

/// A finite number.
pub fn number(node: &Node, path: &str, problems: &mut Problems) -> Option<f64> {
    let found = match &node.value {
        Value::Scalar(scalar) if !scalar.quoted => scalar.text.parse::<f64>().ok().filter(|value| value.is_finite()),
        Value::Null | Value::Scalar(_) | Value::Sequence(_) | Value::Mapping(_) => None,
    };
    if found.is_none() {
        wrong_number(node, path, "a number", problems);
    }
    found
}

/// true or false.
pub fn boolean(node: &Node, path: &str, problems: &mut Problems) -> Option<bool> {
    let found = match &node.value {
        Value::Scalar(scalar) if !scalar.quoted => as_boolean(&scalar.text),
        Value::Null | Value::Scalar(_) | Value::Sequence(_) | Value::Mapping(_) => None,
    };
    if found.is_none() {
        wrong_type(node, path, "true or false", problems);
    }
    found
}

/// What Kubernetes' YAML reader takes for a boolean.
fn as_boolean(text: &str) -> Option<bool> {
    match text {
        "true" | "True" | "TRUE" | "yes" | "Yes" | "YES" | "on" | "On" | "ON" => Some(true),
        "false" | "False" | "FALSE" | "no" | "No" | "NO" | "off" | "Off" | "OFF" => Some(false),
        _ => None,
    }
}

/// A text read by one of the unit parsers; its failure points into the text.
pub fn unit<T>(
    node: &Node,
    path: &str,
    expected: &str,
    parse: impl FnOnce(&str) -> Result<T, units::UnitError>,
    problems: &mut Problems,
) -> Option<T> {
    let Some(text) = node.text() else {
        wrong_type(node, path, expected, problems);
        return None;
    };
    match parse(text) {
        Ok(value) => Some(value),
        Err(error) => {
            let place = inside(node, error.offset, problems);
            problems.push(
                Diagnostic::error("E013", place, format!("{path}: {} is not {expected}", node.describe()))
                    .label(error.message)
                    .maybe_help(error.help),
            );
            None
        }
    }
}

/// The place of a byte inside a scalar, if the scalar stands in the file as it reads; else the whole scalar.
pub fn inside(node: &Node, offset: usize, problems: &Problems) -> Place {
    let Some(text) = node.text() else { return node.place };
    let raw = problems.excerpt(node.place);
    let Some(skip) = raw.find(text) else { return node.place };
    let offset = offset.min(text.len());
    if raw[..skip].contains('\n') || text[..offset].contains('\n') || offset == 0 {
        return node.place;
    }
    let start = node.place.start + (skip + offset) as u32;
    let end = (node.place.start + (skip + text.len()) as u32).max(start);
    let column = node.place.column + raw[..skip].chars().count() as u32 + text[..offset].chars().count() as u32;
    Place { start, end, column, ..node.place }
}

/// A duration with unit.
pub fn duration(node: &Node, path: &str, problems: &mut Problems) -> Option<Span> {
    unit(node, path, "a duration such as 15s or 1m30s", units::duration, problems)
}

/// A quantity.
pub fn quantity(node: &Node, path: &str, problems: &mut Problems) -> Option<Quantity> {
    let expected = "a quantity such as 250m or 512Mi";
    let parse = |text: &str| {
        Quantity::parse(text).map_err(|error| {
            let start = text.find(|c: char| !c.is_ascii_digit() && !".+-".contains(c)).unwrap_or(0);
            match error {
                QuantityError::NoNumber => units::UnitError::new(0, "no number here"),
                QuantityError::TooLarge => units::UnitError::new(0, "larger than 2^63"),
                QuantityError::Suffix => units::UnitError::new(start, "unknown suffix")
                    .help("suffixes are n, u, m, k, M, G, T, P, E and Ki, Mi, Gi, Ti, Pi, Ei"),
            }
        })
    };
    unit(node, path, expected, parse, problems)
}

/// One of several words.
pub fn choice<T: Copy>(node: &Node, path: &str, choices: &[(&str, T)], problems: &mut Problems) -> Option<T> {
    let Some(word) = node.text() else {
        wrong_type(node, path, "a word", problems);
        return None;
    };
    if let Some(&(_, value)) = choices.iter().find(|(name, _)| *name == word) {
        return Some(value);
    }
    problems.push(
        Diagnostic::error("E014", node.place, format!("{path}: `{word}` is not known"))
            .label("unknown value")
            .suggest(word, choices.iter().map(|(name, _)| *name)),
    );
    None
}
