//! The reference pages in `docs/` name everything that a user can write or gets.

use crate::support::{root, shipped};
use kubelapse::plan::timing::STAGES;
use kubelapse::rules::expectation::Measure;
use kubelapse::scenario::controllers;
use kubelapse::study;
use serde_json::Value;
use std::fs;

/// A page with every run of white space as one space, so that wrapped lines are found.
fn page(name: &str) -> String {
    let text = fs::read_to_string(root().join("docs").join(name)).expect("the page is there");
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// What of these the page does not hold in the form that `written` gives it.
fn missing<'a>(page: &str, words: impl IntoIterator<Item = &'a str>, written: fn(&str) -> String) -> Vec<&'a str> {
    words.into_iter().filter(|word| !page.contains(&written(word))).collect()
}

fn code(word: &str) -> String {
    format!("`{word}`")
}

/// The word as first cell of a row.
fn row(word: &str) -> String {
    format!("| `{word}` |")
}

#[test]
fn every_delay_measure_and_flag_is_described() {
    let page = page("scenario.md");
    let none: [&str; 0] = [];
    assert_eq!(missing(&page, STAGES.iter().map(|stage| stage.key), |key| format!("**`{key}`**")), none);
    assert_eq!(missing(&page, STAGES.iter().flat_map(|stage| stage.presets), code), none);
    assert_eq!(missing(&page, STAGES.iter().map(|stage| stage.source), str::to_string), none);
    assert_eq!(missing(&page, Measure::ALL.iter().map(|measure| measure.name()), row), none);
    assert_eq!(missing(&page, controllers::NAMES.iter().copied(), row), none);
}

/// Keys of fixed meaning; the keys of these three are names and causes.
fn keys(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(map) => {
            for (key, inner) in map {
                found.push(key.clone());
                match key.as_str() {
                    "requests" => inner.as_object().into_iter().flatten().for_each(|(_, tally)| keys(tally, found)),
                    "critical_path_s" | "lost_by_cause" => {}
                    _ => keys(inner, found),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| keys(item, found)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[test]
fn every_file_column_and_key_of_a_result_is_described() {
    let page = page("outputs.md");
    let plan = shipped("scale-up");
    let (files, _) = study::report(&plan, &study::run_once(&plan, 0, false));
    for (name, bytes) in &files {
        assert!(page.contains(&code(name)), "{name} is not described");
        if name.ends_with(".json") {
            let mut found = Vec::new();
            keys(&serde_json::from_slice(bytes).expect("JSON"), &mut found);
            assert_eq!(missing(&page, found.iter().map(String::as_str), code), [""; 0], "{name}");
        }
        let Some(section) = name.ends_with(".csv").then(|| format!("## {name} ")) else { continue };
        let section = page.split(&section).nth(1).expect("a section for each table").split(" ## ").next();
        let text = String::from_utf8_lossy(bytes);
        let columns = text.lines().nth(1).expect("a header").split(',');
        let of_deployment = |column| plan.deployments.iter().find_map(|d| str::strip_prefix(column, &d.name)?.get(1..));
        let columns = columns.map(|column| of_deployment(column).unwrap_or(column));
        assert_eq!(missing(section.unwrap_or_default(), columns, row), [""; 0], "{name}");
    }
}
