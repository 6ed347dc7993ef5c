//! The house rules of ARCHITECTURE.md, checked on the source text.

use std::fs;
use std::path::{Path, PathBuf};

fn files_below(folder: &str) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut folders = vec![PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(folder)];
    while let Some(folder) = folders.pop() {
        let mut entries: Vec<_> = fs::read_dir(&folder).into_iter().flatten().flatten().map(|e| e.path()).collect();
        entries.sort();
        for path in entries {
            if path.is_dir() { folders.push(path) } else { files.push(path) }
        }
    }
    files.sort();
    files
}

fn sources() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    files_below("src")
        .into_iter()
        .filter(|path| path.extension().is_some_and(|extension| extension == "rs"))
        .map(|path| {
            let name = path.strip_prefix(root).expect("below the root").to_string_lossy().replace('\\', "/");
            (name, fs::read_to_string(&path).expect("a readable source file"))
        })
        .collect()
}

/// The code of a file: no comments, no tests.
fn code(text: &str) -> String {
    let body = text.split("#[cfg(test)]").next().unwrap_or_default();
    body.lines().map(|line| line.split("//").next().unwrap_or_default()).collect::<Vec<_>>().join("\n")
}

/// Folder of `src` -> the other folders that it may use.
const MAY_USE: &[(&str, &[&str])] = &[
    ("engine", &[]),
    ("rules", &[]),
    ("plan", &["engine", "rules"]),
    ("world", &["engine", "plan", "rules"]),
    ("record", &["engine", "plan", "rules", "world"]),
    ("components", &["engine", "plan", "record", "rules", "world"]),
    ("catalog", &["plan", "rules", "engine"]),
    ("manifest", &["catalog", "engine", "plan", "rules", "scenario"]),
    ("scenario", &["catalog", "engine", "manifest", "plan", "record", "rules"]),
    ("analysis", &["engine", "plan", "record", "rules", "world"]),
    ("render", &["analysis", "engine", "plan", "record", "rules", "world"]),
    ("study", &["analysis", "components", "engine", "plan", "record", "render", "rules", "scenario", "world"]),
    (
        "cli",
        &[
            "analysis",
            "catalog",
            "components",
            "engine",
            "plan",
            "record",
            "render",
            "rules",
            "scenario",
            "study",
            "world",
        ],
    ),
];

#[test]
fn modules_use_only_what_lies_below_them() {
    let mut wrong = Vec::new();
    for (name, text) in sources() {
        let Some(folder) = name.strip_prefix("src/").and_then(|rest| rest.split_once('/')).map(|(folder, _)| folder)
        else {
            continue;
        };
        let (_, allowed) = MAY_USE.iter().find(|(from, _)| *from == folder).expect("every folder has a row in MAY_USE");
        for (to, _) in MAY_USE.iter().filter(|(to, _)| *to != folder && !allowed.contains(to)) {
            if code(&text).contains(&format!("crate::{to}::")) || code(&text).contains(&format!("use crate::{to};")) {
                wrong.push(format!("{name} uses crate::{to}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn components_meet_only_in_the_world() {
    let mut wrong = Vec::new();
    let groups = ["kubernetes", "karpenter", "aws", "clients"];
    for (name, text) in sources() {
        let Some(rest) = name.strip_prefix("src/components/") else { continue };
        let Some((group, file)) = rest.split_once('/') else { continue };
        let own = file.split(['/', '.']).next().unwrap_or_default();
        // The wiring is where two of them are known, in one file or several.
        if file.ends_with("tests.rs") || group == "wiring" {
            continue;
        }
        for line in code(&text).lines() {
            for other in groups {
                let Some((_, after)) = line.split_once(&format!("{other}::")) else { continue };
                let component = after.split("::").next().unwrap_or_default().trim_end_matches(';');
                // What several parts of one program share is no component; and Karpenter's disruption asks the same
                // program's provisioner what would happen (upstream: `SimulateScheduling`).
                let shared = ["cluster", "fixture", "testbed"].contains(&component);
                let asks = (own, component) == ("disruption", "provisioner");
                if other != group || !(component == own || shared || asks) {
                    wrong.push(format!("{name}: {}", line.trim()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn outside_crates_stay_where_they_belong() {
    let mut wrong = Vec::new();
    let homes: [(&str, &[&str]); 9] = [
        ("clap", &["src/cli/", "src/main.rs"]),
        ("plotters", &["src/render/"]),
        ("serde_yaml", &["src/scenario/", "src/manifest/"]),
        ("saphyr_parser", &["src/scenario/", "src/manifest/"]),
        ("annotate_snippets", &["src/scenario/"]),
        ("rayon", &["src/study/", "src/cli/"]),
        ("indicatif", &["src/cli/"]),
        ("ctrlc", &["src/cli/"]),
        ("quick_junit", &["src/render/"]),
    ];
    for (name, text) in sources() {
        for (name_of_crate, places) in homes {
            let used = code(&text).contains(&format!("{name_of_crate}::"));
            if used && !places.iter().any(|place| name.starts_with(place)) {
                wrong.push(format!("{name} uses {name_of_crate}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn nothing_below_the_edge_reads_a_clock_a_file_or_the_environment() {
    let mut wrong = Vec::new();
    for (name, text) in sources() {
        let pure = ["engine", "plan", "rules", "world", "components", "record", "analysis", "render"];
        if !pure.iter().any(|folder| name.starts_with(&format!("src/{folder}/"))) {
            continue;
        }
        for forbidden in
            ["std::fs", "std::env", "Instant::now", "SystemTime", "std::thread", "std::net", "println!", "eprintln!"]
        {
            if code(&text).contains(forbidden) {
                wrong.push(format!("{name} uses {forbidden}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn only_the_world_changes_a_phase() {
    let mut wrong = Vec::new();
    for (name, text) in sources() {
        if name.starts_with("src/world/") || name.ends_with("tests.rs") {
            continue;
        }
        let fields = [".phase = ", ".readiness = ", ".process = ", ".gone = ", ".deleting_since = ", ".launched = "];
        for line in code(&text).lines() {
            if fields.iter().any(|field| line.contains(field)) && line.contains("world") {
                wrong.push(format!("{name}: {}", line.trim()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn text_files_are_utf8_with_short_lines() {
    let mut wrong = Vec::new();
    let folders = ["src", "tests", "benches", "examples", "scenarios", "docs", ".ci"];
    let mut files: Vec<PathBuf> = folders.iter().flat_map(|folder| files_below(folder)).collect();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    files.extend(
        ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md", "output/README.md"].map(|f| root.join(f)),
    );
    for path in files {
        let binary = path.extension().is_some_and(|e| ["ttf", "png", "gz"].iter().any(|binary| e == *binary));
        if binary || path.components().any(|part| part.as_os_str() == "vectors") {
            continue;
        }
        match fs::read(&path).map(String::from_utf8) {
            Ok(Ok(text)) => {
                for (number, line) in (1..).zip(text.lines()).filter(|(_, line)| line.chars().count() > 140) {
                    wrong.push(format!("{}:{number}: {} characters", path.display(), line.chars().count()));
                }
            }
            _ => wrong.push(format!("{} is not UTF-8 text", path.display())),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_module_says_what_it_is() {
    let silent: Vec<String> =
        sources().into_iter().filter(|(_, text)| !text.starts_with("//!")).map(|(name, _)| name).collect();
    assert!(silent.is_empty(), "no head comment: {silent:?}");
}
