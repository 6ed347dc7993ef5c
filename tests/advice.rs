//! What a run advises and what it takes from the error budget: from what was seen and what the scenario says, nothing else.

use crate::support::root;
use kubelapse::analysis::error_budget::of_run;
use kubelapse::analysis::right_sizing::advice;
use kubelapse::engine::Span;
use kubelapse::plan::Plan;
use kubelapse::rules::quantity::Bytes;
use kubelapse::scenario::vary::Setting;
use kubelapse::scenario::{LoadOptions, load};
use kubelapse::study;

/// The gate of the scale-up without chance, with fields set.
fn gate(set: &[(&str, &str)]) -> Result<Plan, String> {
    let setting = |(field, value): &(&str, &str)| Setting { field: field.to_string(), value: value.to_string() };
    let set = set.iter().map(setting).collect();
    let options = LoadOptions { set, noise: Some(false), until: Some(Span::from_secs(480)), ..LoadOptions::default() };
    let loaded = load(&root().join("scenarios/gates/scale-up.yaml"), &options);
    loaded.map(|loaded| loaded.plan).map_err(|problems| problems.render(false))
}

#[test]
fn memory_is_advised_only_where_the_scenario_says_how_much_is_used() {
    let memory = |set: &[(&str, &str)]| {
        let plan = gate(set).unwrap();
        let outcome = study::run_once(&plan, 0, false);
        let all = advice(&plan, &outcome.world);
        let [one] = &all[..] else { panic!("{all:?}") };
        assert!(one.target.cpu.is_some());
        let (_, text) = study::report(&plan, &outcome);
        (one.target.memory, one.above_limit(), text.contains("does not say how much is used"))
    };
    assert_eq!(memory(&[]), (None, (false, false), true), "512Mi requested say nothing of use");
    let (advised, above, dash) = memory(&[("services.wordpress.memory", "300Mi")]);
    // The 90th percentile in buckets that grow by 5 %, and 15 % more.
    assert!(advised.is_some_and(|bytes| (Bytes(340 << 20)..Bytes(380 << 20)).contains(&bytes)), "{advised:?}");
    assert_eq!((above, dash), ((false, false), false));
    let (_, above, _) = memory(&[("services.wordpress.memory", "1000Mi")]);
    assert_eq!(above, (false, true), "the limit is 1Gi");
}

/// A run that a limit stops has advice from what was seen until then.
#[test]
fn a_run_that_is_stopped_early_still_advises() {
    let mut plan = gate(&[]).unwrap();
    let whole = study::run_once(&plan, 0, false);
    plan.limits.events_max = whole.events / 2;
    let outcome = study::run_once(&plan, 0, false);
    assert!(outcome.limit.is_some());
    let samples =
        |outcome: &kubelapse::components::Outcome| advice(&plan, &outcome.world).first().map(|one| one.samples);
    let (early, all) = (samples(&outcome), samples(&whole));
    assert!(early > Some(0) && early <= all, "{early:?} of {all:?}");
}

/// Losing as much takes three times as much of 99 % over a day as of 99.9 % over 30 days: 0.001 * 30 / (0.01 * 1).
#[test]
fn the_error_budget_is_that_of_the_scenario() {
    let share = |set: &[(&str, &str)]| {
        let plan = gate(set).unwrap();
        let outcome = study::run_once(&plan, 0, false);
        let budget = of_run(&plan, &outcome.world);
        assert!(budget.lost > 0.0);
        (budget.share, budget.seconds_in_violation)
    };
    let (usual, seconds) = share(&[]);
    let (own, fewer) = share(&[("error_budget.objective", "99%"), ("error_budget.period", "1d")]);
    assert!((own / usual - 3.0).abs() < 1e-9, "{own} {usual}");
    assert!(fewer <= seconds);
    for (field, value) in
        [("error_budget.objective", "100%"), ("error_budget.period", "1m"), ("error_budget.objectiv", "99%")]
    {
        let said = gate(&[(field, value)]).expect_err("it is refused");
        assert!(said.contains("error["), "{said}");
    }
}
