//! A study: a base scenario, the fields that are varied, what is measured and what must hold.
//!
//! In: a YAML file. Out: a [`Study`], or every problem at once. Steps are exact: decimals are counted, not added as floats.

use super::LoadOptions;
use super::diagnostic::{Diagnostic, Place, Problems, Source};
use super::files::{self, Files};
use super::kind::{self, Kind};
use super::mend::{self, Mend};
use super::reader::{self, Fields};
use super::yaml::{Node, Value};
use crate::rules::expectation::{self, Expectation, ExpectationError};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Most values of one field.
const VALUES_MAX: usize = 10_000;
/// Most points of a grid.
const POINTS_MAX: usize = 1_000_000;
/// Replications a point where nothing else is said: enough for a p95 with an interval of some percent.
const RUNS: u64 = 200;

/// A field with the values that it takes.
#[derive(Clone, Debug, PartialEq)]
pub struct Parameter {
    /// What people call it.
    pub name: String,
    /// The field, see [`super::vary::Setting`].
    pub field: String,
    /// Its values, as YAML.
    pub values: Vec<String>,
    /// Where the field is named in the study, and where each value, or all of them.
    pub(crate) places: (Place, Vec<Place>),
}

impl Parameter {
    /// Where the study has a stretch of `field=value`.
    pub(crate) fn place(&self, value: &str, of_setting: Place) -> Place {
        let index = self.values.iter().position(|own| own == value).unwrap_or(0);
        let (field, values) = &self.places;
        let begins = self.field.len() as u32 + 1;
        if of_setting.start >= begins {
            return values.get(index).or(values.first()).copied().unwrap_or(*field);
        }
        // A field in quotes begins behind the first of them.
        let quote = u32::from((field.end - field.start) as usize > self.field.len());
        let part = |at: u32| (field.start + quote + at).min(field.end);
        Place {
            start: part(of_setting.start),
            end: part(of_setting.end),
            column: field.column + quote + of_setting.start,
            ..*field
        }
    }
}

/// A study.
#[derive(Clone, Debug)]
pub struct Study {
    /// Its name: the folder of its results.
    pub name: String,
    /// The question it answers.
    pub about: String,
    /// The scenario that is varied.
    pub base: PathBuf,
    /// Replications a point.
    pub runs: u64,
    /// What is varied; the grid is their product, the last one fastest.
    pub vary: Vec<Parameter>,
    /// What is measured at each point.
    pub measure: Vec<Expectation>,
    /// What a point must hold.
    pub hold: Vec<Expectation>,
    /// Of the points that hold, the one with the least of this is the answer.
    pub minimise: Option<Expectation>,
    /// Hash of the study file.
    pub hash: String,
    /// The study file.
    pub(crate) source: Source,
}

impl Study {
    /// How many points the grid has.
    pub fn points(&self) -> usize {
        self.vary.iter().map(|parameter| parameter.values.len()).product()
    }

    /// The values at a point of the grid.
    pub fn values_at(&self, point: usize) -> Vec<&str> {
        let (mut rest, mut values) = (point, vec![""; self.vary.len()]);
        for (value, parameter) in values.iter_mut().zip(&self.vary).rev() {
            *value = &parameter.values[rest % parameter.values.len()];
            rest /= parameter.values.len();
        }
        values
    }

    /// Everything that is measured at a point, once each.
    pub fn quantities(&self) -> Vec<&Expectation> {
        self.measure.iter().chain(&self.minimise).chain(&self.hold).collect()
    }
}

/// Reads a study.
///
/// # Errors
/// All problems, if there is any.
pub fn load(path: &Path, root: Option<&Path>) -> Result<Study, Problems> {
    mend::read(|mends| load_mended(path, root, mends), |_| Problems::new())
}

fn load_mended(path: &Path, root: Option<&Path>, mends: Vec<Mend>) -> Result<Study, Problems> {
    let mut problems = Problems::new();
    let (mut files, file) = match Files::new(path, root, BTreeMap::new()) {
        Ok((files, file)) => (files.with_mends(mends), file),
        Err(error) => {
            files::report(error, None, &mut problems);
            return Err(problems);
        }
    };
    let (id, documents) = files.documents(&file, None, &mut problems);
    let Some(document) = documents.first() else {
        if !problems.has_errors() {
            problems.error("E011", Place::top(id), "the study is empty");
        }
        return Err(problems);
    };
    if !kind::is(Kind::Study, document, &files.shown(&file), &mut problems) {
        return Err(problems);
    }
    let stem = path.file_stem().map_or_else(|| "study".to_string(), |stem| stem.to_string_lossy().to_string());
    let study = read(document, stem, &files, &mut problems);
    match study {
        Some(study) if !problems.has_errors() => {
            let source = problems.sources[id.0 as usize].clone();
            Ok(Study { hash: files.hash(), source, ..study })
        }
        Some(study) => {
            // What is wrong with its base is said as well.
            let options = LoadOptions { root: root.map(Path::to_path_buf), ..LoadOptions::default() };
            let of_base = super::load(&study.base, &options).err();
            of_base.iter().for_each(|of_base| problems.adopt_all(of_base));
            Err(problems)
        }
        None => Err(problems),
    }
}

fn read(document: &Node, stem: String, files: &Files, problems: &mut Problems) -> Option<Study> {
    let mut fields = Fields::of_file(document, Kind::Study, problems)?;
    let name_node = fields.get("name");
    let name = fields.text("name", problems).unwrap_or(stem);
    let plain = name.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c));
    if let Some(node) = name_node.filter(|_| !plain || name.is_empty() || name.starts_with('.')) {
        problems.error("E015", node.place, "name: a name is made of letters, digits, -, _ and .");
    }
    let about = fields.text("about", problems).unwrap_or_default();
    let base = fields.required("base", problems).and_then(|node| {
        let written = reader::text(node, "base", problems)?;
        let wrong = |error| files::report_path(error, &written, node, files, problems);
        let found = files.resolve(&written).map_err(wrong).ok()?;
        // As people see it, so that its own problems are found from where they are.
        Some(PathBuf::from(files.shown(&found)))
    });
    let runs = fields.integer_in("runs", 1, 10_000_000, problems).map_or(RUNS, |runs| runs.unsigned_abs());
    let items = fields.required("vary", problems).map_or(&[][..], |node| reader::list(node, "vary", problems));
    let vary: Vec<Parameter> =
        items.iter().enumerate().filter_map(|(index, item)| parameter(item, index, problems)).collect();
    if items.is_empty() && fields.get("vary").is_some() {
        problems.error("E015", fields.place_at(&["vary"]), "vary: a study varies at least one field");
    }
    let points = vary.iter().try_fold(1usize, |points, one| points.checked_mul(one.values.len()));
    if points.is_none_or(|points| points > POINTS_MAX) {
        problems.error("E015", fields.place_at(&["vary"]), format!("vary: more than {POINTS_MAX} points"));
    }
    let measure = statements("measure", fields.list("measure", problems), expectation::parse_quantity, problems);
    let hold = statements("hold", fields.list("hold", problems), parse_hold, problems);
    let minimise = fields.get("minimise").map(std::slice::from_ref).unwrap_or_default();
    let minimise = statements("minimise", minimise, expectation::parse_quantity, problems);
    for key in ["maximise", "maximize"] {
        let Some(node) = fields.get(key) else { continue };
        let message = format!("{key}: a study looks for the least of something");
        let help = "put what must be large under hold:, such as hold: [share(time_to_serve <= 3m) >= 95%]";
        problems.push(Diagnostic::error("E010", node.place, message).label("unknown field").help(help));
    }
    if measure.is_empty() && hold.is_empty() && !problems.has_errors() {
        problems.error("E011", fields.place(), "the study measures nothing: write measure: or hold:");
    }
    fields.finish(problems);
    let minimise = minimise.into_iter().next();
    Some(Study {
        name,
        about,
        base: base?,
        runs,
        vary,
        measure,
        hold,
        minimise,
        hash: String::new(),
        source: Source::default(),
    })
}

fn parse_hold(text: &str) -> Result<Expectation, ExpectationError> {
    let read = expectation::parse(text)?;
    if read.subject.is_about_runs() {
        return Ok(read);
    }
    let message = "a point has many runs: say a percentile, mean, min, max or share of them".to_string();
    Err(ExpectationError { offset: 0, message, suggestion: Some(format!("p95({})", read.subject.measure().name())) })
}

fn statements(
    path: &str,
    items: &[Node],
    parse: fn(&str) -> Result<Expectation, ExpectationError>,
    problems: &mut Problems,
) -> Vec<Expectation> {
    let mut read = Vec::new();
    for node in items {
        let Some(text) = reader::text(node, path, problems) else { continue };
        match parse(&text) {
            Ok(statement) => read.push(statement),
            Err(error) => {
                let place = reader::inside(node, error.offset, problems);
                let help = error.suggestion.map(|suggestion| format!("did you mean `{suggestion}`?"));
                let message = format!("{path}: {} cannot be measured", node.describe());
                problems.push(Diagnostic::error("E019", place, message).label(error.message).maybe_help(help));
            }
        }
    }
    read
}

fn parameter(node: &Node, index: usize, problems: &mut Problems) -> Option<Parameter> {
    let mut fields = Fields::of(node, format!("vary[{index}]"), problems)?;
    let field = fields.required_text("field", problems);
    let name = fields.text("name", problems);
    let mut places = Vec::new();
    let values = match fields.get("values") {
        Some(list) => {
            let path = fields.at("values");
            let items = reader::list(list, &path, problems);
            if items.is_empty() {
                problems.error("E015", list.place, format!("{path}: at least one value is needed"));
            }
            places.extend(items.iter().map(|item| item.place));
            items.iter().filter_map(|item| scalar(item, &path, problems)).collect()
        }
        None => {
            places.extend(fields.get("from").map(|from| from.place));
            steps(&mut fields, problems)
        }
    };
    let places = (fields.get("field").map_or(node.place, |field| field.place), places);
    fields.finish(problems);
    let field = field?;
    let name = name.unwrap_or_else(|| field.rsplit('.').next().unwrap_or(&field).to_string());
    Some(Parameter { name, field, values, places })
}

/// A value as it will be written into the field.
fn scalar(node: &Node, path: &str, problems: &mut Problems) -> Option<String> {
    match &node.value {
        Value::Scalar(scalar) if scalar.quoted => Some(format!("'{}'", scalar.text.replace('\'', "''"))),
        Value::Scalar(scalar) => Some(scalar.text.to_string()),
        Value::Null | Value::Sequence(_) | Value::Mapping(_) => {
            reader::wrong_type(node, path, "a value such as 4 or 30s", problems);
            None
        }
    }
}

/// `from`, `to` and `step`, counted exactly.
fn steps(fields: &mut Fields<'_>, problems: &mut Problems) -> Vec<String> {
    let mut bounds = Vec::new();
    for key in ["from", "to", "step"] {
        let Some(node) = fields.required(key, problems) else { continue };
        let read = node.text().and_then(Decimal::parse);
        if read.is_none() {
            reader::wrong_type(node, &fields.at(key), "a number, with or without a unit, such as 0.5 or 30s", problems);
        }
        bounds.extend(read.map(|read| (read, node)));
    }
    let [(from, _), (to, last), (step, stride)] = &bounds[..] else { return Vec::new() };
    if from.unit != to.unit || from.unit != step.unit {
        let message = format!("{}: from, to and step are written in the same unit", fields.path);
        problems.error("E013", last.place, message);
        return Vec::new();
    }
    match Decimal::range(from, to, step) {
        Some(values) => values,
        None => {
            let message = format!("{}: the step leads from `from` to `to` in 1 to {VALUES_MAX} values", fields.path);
            problems.error("E015", stride.place, message);
            Vec::new()
        }
    }
}

/// A decimal with its unit: 1.50s is 150 hundredths of `s`.
#[derive(Clone, Debug, PartialEq)]
struct Decimal {
    digits: i128,
    places: u32,
    unit: String,
}

impl Decimal {
    fn parse(text: &str) -> Option<Decimal> {
        let end = text.find(|c: char| !(c.is_ascii_digit() || ".-+".contains(c))).unwrap_or(text.len());
        let (number, unit) = text.split_at(end);
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        let plain = unit.chars().all(|c| c.is_ascii_alphabetic() || "%/".contains(c));
        if fraction.len() > 12 || number.len() > 24 || !plain || number.is_empty() {
            return None;
        }
        let digits = format!("{whole}{fraction}").parse().ok()?;
        Some(Decimal { digits, places: fraction.len() as u32, unit: unit.to_string() })
    }

    fn at(&self, places: u32) -> i128 {
        self.digits * 10i128.pow(places - self.places)
    }

    /// From .. to in equal steps, both ends included where the steps meet them.
    fn range(from: &Decimal, to: &Decimal, step: &Decimal) -> Option<Vec<String>> {
        let places = from.places.max(to.places).max(step.places);
        let (first, last, step) = (from.at(places), to.at(places), step.at(places));
        if step == 0 || (last - first) * step < 0 || (last - first) / step >= VALUES_MAX as i128 {
            return None;
        }
        let count = (last - first) / step;
        Some((0..=count).map(|index| show(first + index * step, places, &from.unit)).collect())
    }
}

fn show(digits: i128, places: u32, unit: &str) -> String {
    let scale = 10i128.pow(places);
    let sign = if digits < 0 { "-" } else { "" };
    let (whole, fraction) = (digits.abs() / scale, digits.abs() % scale);
    let fraction = if places == 0 { String::new() } else { format!(".{fraction:0width$}", width = places as usize) };
    let number = format!("{sign}{whole}{fraction}");
    let number = if number.contains('.') { number.trim_end_matches('0').trim_end_matches('.') } else { &number };
    format!("{number}{unit}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::diagnostic::FileId;

    fn range(from: &str, to: &str, step: &str) -> Option<Vec<String>> {
        let read = |text| Decimal::parse(text).unwrap();
        Decimal::range(&read(from), &read(to), &read(step))
    }

    #[test]
    fn steps_are_exact_decimals() {
        // Ten times 0.1 as floats is 0.9999999999999999.
        let values = range("0", "1", "0.1").unwrap();
        assert_eq!((values.len(), values[3].as_str(), values[10].as_str()), (11, "0.3", "1"));
        assert_eq!(range("15s", "60s", "15s").unwrap(), ["15s", "30s", "45s", "60s"]);
        assert_eq!(range("3", "1", "-1").unwrap(), ["3", "2", "1"]);
        assert_eq!(range("0.5", "2", "1").unwrap(), ["0.5", "1.5"]);
        assert_eq!(range("0", "1", "0"), None);
        assert_eq!(range("1", "0", "1"), None);
    }

    #[test]
    fn the_last_parameter_runs_fastest() {
        let parameter = |values: &[&str]| Parameter {
            name: String::new(),
            field: String::new(),
            values: values.iter().map(|value| value.to_string()).collect(),
            places: (Place::top(FileId(0)), Vec::new()),
        };
        let study = Study {
            name: String::new(),
            about: String::new(),
            base: PathBuf::new(),
            runs: 1,
            vary: vec![parameter(&["a", "b"]), parameter(&["1", "2", "3"])],
            measure: Vec::new(),
            hold: Vec::new(),
            minimise: None,
            hash: String::new(),
            source: Source::default(),
        };
        assert_eq!(study.points(), 6);
        assert_eq!((study.values_at(0), study.values_at(5)), (vec!["a", "1"], vec!["b", "3"]));
        assert_eq!(study.values_at(3), ["b", "1"]);
    }
}
