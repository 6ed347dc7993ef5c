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

/// Codes as the source writes them, `E012`; a text of its tests has one that is none.
fn codes(text: &str) -> impl Iterator<Item = &str> {
    let is_code = |word: &&str| {
        let digits = word.strip_prefix(['E', 'W', 'N']).unwrap_or_default();
        digits.len() == 3 && digits.bytes().all(|byte| byte.is_ascii_digit()) && *word != "N001"
    };
    text.split(['"', '`']).filter(is_code)
}

/// Every code of a diagnostic is in the list of codes, and every code of the list is given somewhere.
#[test]
fn every_code_of_a_diagnostic_is_described() {
    fn sources(folder: &std::path::Path, found: &mut String) {
        for entry in fs::read_dir(folder).expect("a folder of the source").flatten() {
            let path = entry.path();
            if path.is_dir() {
                sources(&path, found);
            } else if path.extension().is_some_and(|end| end == "rs") {
                found.push_str(&fs::read_to_string(&path).expect("a source"));
            }
        }
    }
    let (mut source, page) = (String::new(), page("scenario.md"));
    sources(&root().join("src"), &mut source);
    let given: std::collections::BTreeSet<&str> = codes(&source).collect();
    assert!(given.len() > 50, "{given:?}");
    assert_eq!(missing(&page, given.iter().copied(), row), [""; 0], "not described");
    let list = page.split("## Diagnostics").nth(1).expect("the list of codes");
    let described: Vec<&str> = codes(list).filter(|code| !given.contains(code)).collect();
    assert_eq!(described, [""; 0], "given nowhere");
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
        let groups = plan.target_groups.iter().map(|group| &group.name);
        let names: Vec<&String> = plan.deployments.iter().map(|deployment| &deployment.name).chain(groups).collect();
        let of_deployment = |column| names.iter().find_map(|name| str::strip_prefix(column, name.as_str())?.get(1..));
        let columns = columns.map(|column| of_deployment(column).unwrap_or(column));
        assert_eq!(missing(section.unwrap_or_default(), columns, row), [""; 0], "{name}");
    }
}

/// Instants of `output/README.md` that are no events: phases of loops, and looks of the disruption loop that change nothing.
const NO_EVENTS: [&str; 8] = ["7.5", "292.5", "307.5", "322.5", "625", "635", "645", "670"];

/// How the derivation calls what `events.csv` calls otherwise.
const CALLED: [(&str, &str); 29] = [
    ("the HPA sees", "synced"),
    ("asks for", "scaled"),
    ("the HPA proposes", "synced"),
    ("11 to 7", "scaled"),
    ("7 to 3", "scaled"),
    ("is resized", "scaled"),
    ("pod 4, then pod 5", "created"),
    ("is unschedulable", "unschedulable"),
    ("batch closes", "batch closed"),
    ("NodeClaim `", "created"),
    ("launched:", "launched"),
    ("Node object", "created"),
    ("registered:", "registered"),
    ("Ready:", "Ready"),
    ("taint goes", "taints changed"),
    ("bound:", "bound"),
    ("sandbox and address", "address"),
    ("image is there", "images pulled"),
    ("container started", "container started"),
    ("phase Running", "phase"),
    ("the endpoint is", "endpoints changed"),
    ("registered with the target group", "registered"),
    ("healthy", "state"),
    ("in service:", "first request"),
    ("the target is draining", "state"),
    ("no new requests", "no longer routed to"),
    ("is evicted", "deletion requested"),
    ("is gone", "gone"),
    ("drained;", "drained"),
];

/// Every bold instant of the derivation is an event of its scenario's results, and one of the kind that the sentence names.
#[test]
fn every_instant_of_the_derivation_is_in_the_results() {
    let text = fs::read_to_string(root().join("output/README.md")).expect("the derivation is there");
    let (mut checked, mut named) = (0, 0);
    for section in text.split("\n## ") {
        let head = section.lines().next().unwrap_or_default();
        let derived = ["Up:", "Down:", "Replacement:"].iter().any(|kind| head.starts_with(kind));
        let scenario = crate::support::SHIPPED.into_iter().find(|name| head.contains(&format!("`{name}`")));
        let Some(scenario) = scenario.filter(|_| derived) else { continue };
        let path = root().join("output").join(scenario).join("events.csv");
        let events = fs::read_to_string(path).expect("the results are there");
        let rows: Vec<Vec<&str>> = events.lines().map(|line| line.split(',').collect()).collect();
        for item in section.split("\n- **").skip(1) {
            let (times, sentence) = item.split_once("**").expect("a bold instant");
            let times = times.split(", ").filter(|time| *time != "…" && !NO_EVENTS.contains(time));
            let at: Vec<(&str, Vec<&str>)> = times
                .map(|time| (time, rows.iter().filter(|row| row[0] == time).map(|row| row[3]).collect()))
                .collect();
            let begin = sentence.split_whitespace().collect::<Vec<_>>().join(" ");
            for (time, found) in &at {
                assert!(!found.is_empty(), "{scenario} has no event at {time}: {begin}");
                checked += 1;
            }
            let clause: String = begin.chars().take(48).collect();
            let first = CALLED.iter().filter_map(|(words, what)| Some((clause.find(words)?, what))).min();
            if let (Some((_, what)), false) = (first, at.is_empty()) {
                assert!(
                    at.iter().any(|(_, found)| found.contains(what)),
                    "{scenario}: no `{what}` at {times:?}",
                    times = at
                );
                named += 1;
            }
        }
    }
    assert!(checked >= 55 && named >= 20, "{checked} instants, {named} with their events");
}

/// The scenario with which the page begins runs as it stands.
#[test]
fn the_smallest_scenario_runs() {
    let page = fs::read_to_string(root().join("docs/scenario.md")).expect("the page is there");
    let block = |name: &str| {
        let after = page.split(&format!("`{name}`:\n\n```yaml\n")).nth(1).expect("a block after its name");
        after.split("\n```").next().expect("it ends").to_string()
    };
    let plan = crate::support::written("smallest", &block("manifests.yaml"), &block("web.yaml"));
    let outcome = study::run_once(&plan, 0, false);
    let (files, summary) = study::report(&plan, &outcome);
    assert!(!files.is_empty() && summary.starts_with("web:"), "{summary}");
    let scaled =
        |fact: &kubelapse::record::Fact| matches!(fact.change, kubelapse::world::Change::DeploymentScaled { .. });
    assert!(outcome.recorder.facts.iter().any(scaled), "it shows what it is for");
}

/// What the README gives under `expect:` is what a scenario may say.
#[test]
fn the_expectations_of_the_readme_are_read() {
    let text = fs::read_to_string(root().join("README.md")).expect("the README is there");
    let mut blocks = 0;
    for block in text.split("\n    expect:\n").skip(1) {
        blocks += 1;
        let lines = block.lines().map_while(|line| line.strip_prefix("      - "));
        let found: Vec<&str> = lines.collect();
        assert!(!found.is_empty());
        for line in found {
            let path = root().join("scenarios").join("scale-up.yaml");
            let set =
                kubelapse::scenario::vary::Setting { field: "expect".to_string(), value: format!("[\"{line}\"]") };
            let options = kubelapse::scenario::LoadOptions { set: vec![set], ..Default::default() };
            let plan =
                kubelapse::scenario::load(&path, &options).unwrap_or_else(|p| panic!("{}", p.render(false))).plan;
            assert_eq!(plan.expectations[0].text, line);
        }
    }
    assert_eq!(blocks, 1);
}
