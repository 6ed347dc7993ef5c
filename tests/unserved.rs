//! Pods that no node could ever take: claims about them fail, and the screen says why.

use crate::support::root;
use kubelapse::analysis::expectation::judge_run;
use kubelapse::engine::Span;
use kubelapse::plan::Plan;
use kubelapse::scenario::vary::Setting;
use kubelapse::scenario::{LoadOptions, load};
use kubelapse::study;
use kubelapse::study::gates::{Length, report};
use kubelapse::study::replications::Control;
use std::sync::atomic::AtomicBool;

/// The gate of the scale-up with an instance type that does not exist, and a load that falls again after two minutes: the
/// autoscaler takes the pods back before the end.
fn mistyped() -> Plan {
    let set = |field: &str, value: &str| Setting { field: field.to_string(), value: value.to_string() };
    let options = LoadOptions {
        set: vec![
            set("NodePool/wordpress-nodepool.spec.template.spec.requirements[2].values", "[t3.medum]"),
            set("traffic.wordpress.curve", "[{ at: 0s, rate: 8/s }, { at: 5m, rate: 30/s }, { at: 7m, rate: 2/s }]"),
        ],
        ..LoadOptions::default()
    };
    match load(&root().join("scenarios/gates/scale-up.yaml"), &options) {
        Ok(loaded) => loaded.plan,
        Err(problems) => panic!("{}", problems.render(false)),
    }
}

#[test]
fn a_pool_that_can_never_serve_fails_the_gate_though_its_pods_are_taken_back() {
    let stop = AtomicBool::new(false);
    let control = Control { stop: &stop, done: &|| (), check: false, antithetic: false };
    let report = report(&mistyped(), "scale-up.yaml", Length::Fixed(60), control);
    assert!(report.failed());
    let verdicts: Vec<(&str, &str)> = report.lines.iter().map(|line| (&*line.check, line.verdict.name())).collect();
    let expected = [
        ("median(time_to_serve) <= 3m", "fails"),
        ("p95(time_to_serve) <= 3m", "fails"),
        ("share(unscheduled_pods > 0) <= 2%", "fails"),
    ];
    assert_eq!(verdicts, expected);
    assert!(report.lines[0].interval.starts_with("at least 8m"), "{}", report.lines[0].interval);
}

/// A gate that pods without a node break says why they have none, whether it speaks of one run or of many.
#[test]
fn a_gate_that_fails_says_why_pods_have_no_node() {
    let set = |field: &str, value: &str| Setting { field: field.to_string(), value: value.to_string() };
    let stop = AtomicBool::new(false);
    for gate in ["unscheduled_pods == 0", "share(unscheduled_pods > 0) <= 2%"] {
        let settings = vec![
            set("NodePool/wordpress-nodepool.spec.template.spec.requirements[2].values", "[t3.medum]"),
            set("expect", &format!("['{gate}']")),
        ];
        let options = LoadOptions { set: settings, ..LoadOptions::default() };
        let loaded = load(&root().join("scenarios/gates/scale-up.yaml"), &options);
        let plan = loaded.map(|loaded| loaded.plan).unwrap_or_else(|problems| panic!("{}", problems.render(false)));
        let control = Control { stop: &stop, done: &|| (), check: false, antithetic: false };
        let report = report(&plan, "scale-up.yaml", Length::Fixed(60), control);
        assert!(report.failed(), "{gate}");
        let told = report.remarks.iter().any(|remark| remark.starts_with("wordpress: Karpenter had no node for "));
        assert!(told, "{gate}: {:?}", report.remarks);
    }
}

/// A node that loses its last pod and stays because its pool is not consolidated is a wait that does not end: the claim that such
/// nodes go within half a minute fails, and is not passed over.
#[test]
fn an_empty_node_that_stays_fails_the_claim_that_it_goes() {
    let verdict = |consolidate_after: &str| {
        let set = |field: &str, value: &str| Setting { field: field.to_string(), value: value.to_string() };
        let settings = vec![
            set("NodePool/wordpress-nodepool.spec.disruption.consolidateAfter", consolidate_after),
            set("claims", "[]"),
            set("expect", "[node_termination_after_empty <= 9m]"),
        ];
        let options = LoadOptions { set: settings, ..LoadOptions::default() };
        let loaded = load(&root().join("scenarios/scale-down.yaml"), &options);
        let plan = loaded.map(|loaded| loaded.plan).unwrap_or_else(|problems| panic!("{}", problems.render(false)));
        let outcome = study::run_once(&plan, 0, false);
        let analysis = kubelapse::analysis::analyze(&plan, &outcome.world, &outcome.recorder);
        let judged = judge_run(&plan.expectations[0], &plan, &outcome.world, &analysis);
        (judged.verdict.name(), judged.explanation)
    };
    let (held, text) = verdict("30s");
    assert_eq!(held, "holds", "{text}");
    let (held, text) = verdict("Never");
    assert_eq!(held, "fails", "{text}");
    assert!(text.starts_with("at least 9m") && text.ends_with("then the run ended"), "{text}");
}

/// The load comes at 5 min and its pods serve some two minutes later: a run of six minutes shows that they wait, not for how long.
#[test]
fn a_run_that_ends_too_early_decides_only_what_is_certain() {
    let set = |field: &str, value: &str| Setting { field: field.to_string(), value: value.to_string() };
    let settings = [
        set("run.until", "6m"),
        set(
            "expect",
            "[p95(time_to_serve) <= 3m, p95(time_to_serve) <= 5s, median(time_to_serve) >= 10s, time_to_serve <= 3m]",
        ),
    ];
    let options = LoadOptions { set: settings.to_vec(), ..LoadOptions::default() };
    let loaded = load(&root().join("scenarios/gates/scale-up.yaml"), &options);
    let plan = loaded.map(|loaded| loaded.plan).unwrap_or_else(|problems| panic!("{}", problems.render(false)));
    let stop = AtomicBool::new(false);
    let control = Control { stop: &stop, done: &|| (), check: false, antithetic: false };
    let report = report(&plan, "scale-up.yaml", Length::Fixed(100), control);
    let lines = &report.lines[report.lines.len() - 4..];
    let verdicts: Vec<&str> = lines.iter().map(|line| line.verdict.name()).collect();
    assert_eq!(verdicts, ["undecided", "fails", "holds", "undecided"]);
    let said = &lines[0].explanation;
    for words in
        ["had not ended when the run did", "counted as ended then it holds", "a later `until` under `run` would tell"]
    {
        assert!(said.contains(words), "{said}");
    }
}

/// Two pods are made 5m8.3s into the run; five minutes of stabilisation after the load fell (7m, seen at 8m9s) they go again.
#[test]
fn the_screen_says_how_long_they_waited_and_why_there_was_no_node() {
    let plan = Plan { noise: false, ..mistyped() };
    let outcome = study::run_once(&plan, 0, false);
    let analysis = kubelapse::analysis::analyze(&plan, &outcome.world, &outcome.recorder);
    let [step] = &analysis.steps[..] else { panic!("{:?}", analysis.steps) };
    assert_eq!((step.served, step.pods.len()), (None, 2));
    assert!(step.broken_off_after().is_some_and(|waited| waited > Span::from_secs(420)), "{step:?}");
    assert_eq!((analysis.totals.unscheduled, analysis.totals.let_go_unscheduled), (0, 2));
    let (_, text) = study::report(&plan, &outcome);
    let words: Vec<&str> = text.split_whitespace().collect();
    let text = words.join(" ");
    for said in [
        "1 of 1 scaling step let go before all of its pods served",
        "2 pods let go by",
        "no NodePool has a usable instance type",
        "2 pods let go that waited for a node",
    ] {
        assert!(text.contains(said), "{said}: {text}");
    }
    assert!(!text.contains("no pod was created"), "{text}");
}

/// A name that the container does not have: each attempt of the kubelet is an error, so what was Ready stays so and what is new
/// never is.
#[test]
fn a_readiness_probe_on_a_port_that_is_not_there_lets_no_new_pod_serve() {
    let readiness = "Deployment/wordpress.spec.template.spec.containers[0].readinessProbe.httpGet.port";
    let set = Setting { field: readiness.to_string(), value: "htpp".to_string() };
    let options = LoadOptions { set: vec![set], ..LoadOptions::default() };
    let loaded = load(&root().join("scenarios/scale-up.yaml"), &options);
    let plan = loaded.map(|loaded| loaded.plan).unwrap_or_else(|problems| panic!("{}", problems.render(false)));
    let outcome = study::run_once(&plan, 0, true);
    let analysis = kubelapse::analysis::analyze(&plan, &outcome.world, &outcome.recorder);
    assert!(!analysis.steps.is_empty() && analysis.steps.iter().all(|step| step.served.is_none()));
    let mut made = analysis.steps.iter().flat_map(|step| &step.pods);
    assert!(made.all(|made| !outcome.world.pod(made.pod).is_ready()));
}
