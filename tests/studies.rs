//! Many runs: the same for any number of threads, common chance, sweeps that go on after a kill, and the README's gates.

use crate::support::{root, shipped};
use kubelapse::analysis::observed::Observed;
use kubelapse::analysis::sample::{Sample, Wanted};
use kubelapse::analysis::statistics::variance;
use kubelapse::engine::{Purpose, Random};
use kubelapse::plan::{Plan, TrafficMode};
use kubelapse::rules::expectation::{Measure, Scope, parse};
use kubelapse::scenario::{LoadOptions, load, study};
use kubelapse::study::replications::{Control, replicate};
use kubelapse::study::{sweep, what_if};
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::AtomicBool;

const FLUID: &str = "{ mode: fluid, curve: [{ at: 0s, rate: 8/s }, { at: 5m, rate: 30/s }] }";

fn noisy() -> Plan {
    let mut plan = Plan { noise: true, ..shipped("scale-up") };
    plan.apps.iter_mut().for_each(|app| app.mode = TrafficMode::Fluid);
    plan
}

fn with_control<R>(antithetic: bool, work: impl FnOnce(Control) -> R) -> R {
    let stop = AtomicBool::new(false);
    work(Control { stop: &stop, done: &|| (), check: false, antithetic })
}

fn samples(threads: usize, count: u64) -> Vec<Sample> {
    let mut wanted = Wanted { fan: true, budget: true, ..Wanted::default() };
    let _ = [Measure::TimeToServe, Measure::LostRequests, Measure::Cost].map(|m| wanted.quantity(m, &Scope::default()));
    let (plan, pool) = (noisy(), rayon_pool(threads));
    with_control(false, |control| pool.install(|| replicate(&plan, 0..count, &wanted, control)))
}

fn rayon_pool(threads: usize) -> rayon::ThreadPool {
    rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads start")
}

#[test]
fn runs_are_the_same_for_any_number_of_threads() {
    let one = samples(1, 5);
    assert_eq!(one, samples(2, 5));
    assert_ne!(one[0], one[1], "chance is on");
    // The stages of a run sum to its measure, to the microsecond.
    for sample in &one {
        let sum: u64 = sample.causes[0].as_ref().expect("a step was served").iter().sum();
        assert_eq!(Some(sum as f64 / 1e6), sample.values[0].map(Observed::at_most));
    }
}

/// Oracle 37: identical policies differ by exactly 0 in every replication; an antithetic pair of one uniform stage has
/// variance 0.
#[test]
fn identical_scenarios_differ_by_exactly_nothing() {
    let plan = noisy();
    let (runs, found) = with_control(false, |control| what_if::compare(&plan, &plan.clone(), 3, control));
    assert_eq!(runs, 3);
    assert!(found.len() > 20, "{}", found.len());
    for one in found {
        assert_eq!((one.differing, one.difference.point), (0, 0.0));
        // A measure that only one of the runs has is no sample: its interval is open.
        if one.pairs > 1 {
            assert_eq!((one.difference.low, one.difference.high), (0.0, 0.0));
        }
    }
    let pair = |run: u64| {
        let random = Random::new(37, run);
        let stage = |random: Random| 15.0 * random.uniform(Purpose::named("sync"), 0);
        (stage(random) + stage(random.antithetic())) / 2.0
    };
    assert!(variance(&(0..1_000).map(pair).collect::<Vec<f64>>()) < 1e-25);
}

/// A sweep that was killed while it wrote its journal is gone on with by the same command, to the same bytes.
#[test]
fn a_killed_sweep_goes_on_to_the_same_bytes() {
    let folder = std::env::temp_dir().join(format!("kubelapse-sweep-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let text = "name: small\nbase: scale-up.yaml\nruns: 2\nvary:\n  - field: services.wordpress.workers\n    \
                values: [10, 11]\nmeasure: [mean(time_to_serve), mean(cost)]\n";
    // Beside the scenarios it names, for paths may not leave their root.
    let scenarios = folder.join("scenarios");
    std::fs::create_dir_all(scenarios.join("wordpress")).unwrap();
    std::fs::copy(root().join("scenarios/scale-up.yaml"), scenarios.join("scale-up.yaml")).unwrap();
    for entry in std::fs::read_dir(root().join("scenarios/wordpress")).unwrap().flatten() {
        if entry.path().is_file() {
            std::fs::copy(entry.path(), scenarios.join("wordpress").join(entry.file_name())).unwrap();
        }
    }
    let path = scenarios.join("small.yaml");
    std::fs::write(&path, text).unwrap();
    // What the killed sweep had written.
    let read = study::load(&path, None).unwrap_or_else(|problems| panic!("{}", problems.render(false)));
    let set =
        vec![kubelapse::scenario::vary::Setting { field: "traffic.wordpress".to_string(), value: FLUID.to_string() }];
    let prepared = what_if::prepare(read, None, &LoadOptions { set, ..LoadOptions::default() });
    let prepared = prepared.unwrap_or_else(|problems| panic!("{}", problems.render(false)));
    let journal = Mutex::new(sweep::head(&prepared.key));
    let append = |line: &str| {
        journal.lock().unwrap().push_str(line);
        Ok(())
    };
    let nothing = sweep::Finished::default();
    with_control(false, |control| prepared.run(nothing, control, append)).unwrap().expect("it was not stopped");
    let journal = journal.into_inner().unwrap();
    let results = |journal: Option<&str>, threads: &str| {
        let out = folder.join("out");
        std::fs::create_dir_all(&out).unwrap();
        if let Some(journal) = journal {
            std::fs::write(out.join(".small-sweep.journal"), journal).unwrap();
        }
        let run = Command::new(env!("CARGO_BIN_EXE_kubelapse"))
            .args(["sweep", "--set", &format!("traffic.wordpress={FLUID}"), "--threads", threads, "--out"])
            .arg(&out)
            .arg(&path)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&run.stderr).into_owned();
        assert!(run.status.success(), "{said}");
        assert!(!out.join(".small-sweep.journal").exists());
        let file = |name| std::fs::read(out.join("small-sweep").join(name)).unwrap();
        let files = ["results.csv", "sweep.svg", "sweep.png"].map(file);
        (files, said)
    };
    let (whole, said) = results(None, "2");
    assert!(!said.contains("going on"), "{said}");
    let first = journal.match_indices('\n').nth(1).expect("a line for each point").0;
    let (resumed, said) = results(Some(&journal[..first + 9]), "1");
    assert!(said.contains("2 of 4 runs are done"), "{said}");
    assert!(resumed == whole);
    std::fs::remove_dir_all(&folder).unwrap();
}

/// A real SIGKILL while the sweep writes its journal: the same command goes on, and ends in the bytes of a sweep that nobody killed.
#[test]
fn a_sweep_killed_for_good_goes_on_to_the_same_bytes() {
    let folder = std::env::temp_dir().join(format!("kubelapse-kill-{}", std::process::id()));
    let study = root().join("scenarios/studies/consolidate-after.yaml");
    let sweep = |out: &std::path::Path| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_kubelapse"));
        command.args(["sweep", "--quiet", "--until", "21m", "--runs", "2", "--threads", "1", "--out"]);
        command.arg(out).arg(&study);
        command
    };
    let results = |out: &std::path::Path| {
        let mut files: Vec<_> = std::fs::read_dir(out).unwrap().map(|entry| entry.unwrap().path()).collect();
        files.sort();
        assert_eq!(files.len(), 1, "no journal is left: {files:?}");
        let mut inside: Vec<_> = std::fs::read_dir(&files[0]).unwrap().map(|entry| entry.unwrap().path()).collect();
        inside.sort();
        inside
            .into_iter()
            .map(|path| (path.file_name().unwrap().to_owned(), std::fs::read(&path).unwrap()))
            .collect::<Vec<_>>()
    };
    let (whole, killed) = (folder.join("whole"), folder.join("killed"));
    assert!(sweep(&whole).status().unwrap().success());
    let mut child = sweep(&killed).spawn().unwrap();
    let journal = || {
        let journal = std::fs::read_dir(&killed)
            .ok()?
            .flatten()
            .find(|entry| entry.file_name().to_string_lossy().ends_with(".journal"));
        std::fs::read_to_string(journal?.path()).ok()
    };
    // The head and two points.
    while journal().is_none_or(|text| text.lines().count() < 3) {
        assert!(child.try_wait().unwrap().is_none(), "it was over before it could be killed");
        std::thread::yield_now();
    }
    child.kill().unwrap();
    assert!(!child.wait().unwrap().success());
    let lines = journal().expect("the journal of what is finished stays").lines().count();
    assert!(lines >= 3, "{lines}");
    assert!(sweep(&killed).status().unwrap().success());
    assert!(results(&killed) == results(&whole));
    std::fs::remove_dir_all(&folder).unwrap();
}

/// The table of the README: a row for each gate, with the verdict that the gate expects. `.ci/run` compares all of it.
#[test]
fn the_table_of_the_readme_has_the_gates_and_their_answers() {
    let readme = std::fs::read_to_string(root().join("README.md")).unwrap();
    let table = readme.split("<!-- gates -->\n").nth(1).and_then(|rest| rest.split("<!-- /gates -->").next()).unwrap();
    let rows: Vec<&str> = table.lines().filter(|line| line.starts_with("| gate-")).collect();
    let claims: Vec<&str> = table.lines().filter(|line| line.starts_with("- gate-")).collect();
    let mut expected = Vec::new();
    for name in ["scale-down", "scale-up", "spot-replacement"] {
        let path = root().join(format!("scenarios/gates/{name}.yaml"));
        let plan = load(&path, &LoadOptions::default()).unwrap_or_else(|p| panic!("{}", p.render(false))).plan;
        for claim in &plan.claims {
            assert_eq!(parse(&claim.check.text).unwrap(), claim.check);
            expected.push(format!("| {} | `{}` | {} |", plan.name, claim.check.text, claim.expect.name()));
            let told = format!("- {}, `{}`: {}", plan.name, claim.check.text, claim.text);
            assert!(claims.contains(&told.as_str()), "{told}\nis missing from\n{table}");
        }
        let holds = plan.expectations.iter().map(|check| format!("| {} | `{}` | holds |", plan.name, check.text));
        expected.extend(holds);
    }
    assert_eq!(rows.len(), expected.len(), "{table}");
    for (row, start) in rows.iter().zip(expected) {
        assert!(row.starts_with(&start), "{row}\ndoes not begin with\n{start}");
    }
}

/// The pause pods of the study about spare capacity find room, or buy it: otherwise they would hold none.
#[test]
fn pause_pods_hold_room_on_nodes_of_the_service() {
    let path = root().join("scenarios/studies/with-headroom.yaml");
    let set = kubelapse::scenario::vary::Setting {
        field: "Deployment/headroom.spec.replicas".to_string(),
        value: "2".to_string(),
    };
    let options = LoadOptions { set: vec![set], ..LoadOptions::default() };
    let plan = load(&path, &options).unwrap_or_else(|problems| panic!("{}", problems.render(false))).plan;
    let world = kubelapse::study::run_once(&plan, 0, false).world;
    let pause = world.pods.iter().filter(|pod| world.pod_name(pod.id).starts_with("headroom"));
    assert!(pause.filter(|pod| pod.node.is_some()).count() >= 2);
}

/// Of a step that the run has not, nothing is known: not even that there are no such steps.
#[test]
fn a_statement_about_a_step_that_never_came_is_undecided() {
    let plan = shipped("scale-up");
    let outcome = kubelapse::study::run_once(&plan, 0, false);
    let analysis = kubelapse::analysis::analyze(&plan, &outcome.world, &outcome.recorder);
    let verdict = |text: &str| {
        let check = parse(text).unwrap();
        kubelapse::analysis::expectation::judge_run(&check, &plan, &outcome.world, &analysis).verdict.name()
    };
    for text in ["steps == 0 of step 99", "time_to_serve <= 1h of step 99", "detection <= 1h of step 99"] {
        assert_eq!(verdict(text), "undecided", "{text}");
    }
    assert_eq!(verdict("phase.boot <= 1h of step 99 of deployment wordpress"), "undecided");
    assert_eq!(verdict("steps == 1 of step 1"), "holds");
}
