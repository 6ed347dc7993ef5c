//! The committed results of the shipped scenarios are what a run writes, byte for byte, on any number of threads.

use crate::support::{SHIPPED, root};
use kubelapse::components::Sim;
use kubelapse::record::Detail;
use kubelapse::scenario::{self, LoadOptions};
use std::fs;
use std::path::Path;
use std::process::Command;

fn files(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let mut files: Vec<_> = fs::read_dir(folder)
        .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
        .map(|entry| entry.expect("a folder entry").path())
        .map(|path| {
            (path.file_name().expect("a name").to_string_lossy().into_owned(), fs::read(&path).expect("a file"))
        })
        .collect();
    files.sort();
    files
}

#[test]
fn committed_results_are_reproduced_byte_for_byte() {
    let out = std::env::temp_dir().join(format!("kubelapse-determinism-{}", std::process::id()));
    for threads in ["1", "2"] {
        for name in SHIPPED {
            let scenario = root().join("scenarios").join(format!("{name}.yaml"));
            let status = Command::new(env!("CARGO_BIN_EXE_kubelapse"))
                .args(["run", "--quiet", "--noise", "off", "--threads", threads, "--out"])
                .arg(&out)
                .arg(&scenario)
                .status()
                .expect("the binary starts");
            assert!(status.success());
            let (committed, fresh) = (files(&root().join("output").join(name)), files(&out.join(name)));
            let names = |files: &[(String, Vec<u8>)]| files.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
            assert_eq!(names(&committed), names(&fresh));
            for ((file, old), (_, new)) in committed.iter().zip(&fresh) {
                assert!(old == new, "output/{name}/{file} differs from what {threads} thread(s) write");
            }
        }
    }
    fs::remove_dir_all(&out).expect("the temporary folder goes");
}

/// Keeping explanations may cost time, and lets shortcuts be taken less often; it may not change what happens.
#[test]
fn an_explained_run_is_the_same_run() {
    for name in SHIPPED {
        for noise in [false, true] {
            let path = root().join("scenarios").join(format!("{name}.yaml"));
            let options = LoadOptions { noise: Some(noise), ..LoadOptions::default() };
            let plan = match scenario::load(&path, &options) {
                Ok(loaded) => loaded.plan,
                Err(problems) => panic!("{}", problems.render(false)),
            };
            let run = |detail| {
                let outcome = Sim::new(&plan, 3, detail).run();
                (outcome.events, outcome.event_hash)
            };
            assert_eq!(run(Detail::Facts), run(Detail::Explain), "{name}, noise {noise}");
        }
    }
}
