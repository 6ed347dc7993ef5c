//! The library in five lines: read a scenario, run it, print the screen that the command prints.

use kubelapse::scenario::{self, LoadOptions};
use kubelapse::study;
use std::path::Path;

fn main() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios/scale-up.yaml");
    match scenario::load(&path, &LoadOptions::default()) {
        Ok(loaded) => {
            let outcome = study::run_once(&loaded.plan, 0, false);
            let (_files, screen) = study::report(&loaded.plan, &outcome);
            print!("{screen}");
        }
        Err(problems) => eprint!("{}", problems.render(false)),
    }
}
