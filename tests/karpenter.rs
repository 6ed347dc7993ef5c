//! The scenarios of Karpenter's behaviours keep what they say.

use crate::support::{load, root};
use kubelapse::study::{run_once, verdicts};

fn keeps(name: &str) {
    let plan = load(&root().join("scenarios/karpenter").join(format!("{name}.yaml")));
    let verdicts = verdicts(&plan, &run_once(&plan, 0, false), name);
    assert!(!verdicts.failed && !verdicts.undecided, "{}", verdicts.text);
}

#[test]
fn consolidation_churn() {
    keeps("consolidation-churn");
}

#[test]
fn expiry_storm_in_v1_and_in_v1beta1() {
    keeps("expiry-storm");
    keeps("expiry-storm-v1beta1");
}

#[test]
fn capacity_shortage() {
    keeps("capacity-shortage");
}

#[test]
fn budget_on_a_schedule() {
    keeps("budget-schedule");
}

#[test]
fn spot_pool_lost() {
    keeps("spot-pool-lost");
    keeps("spot-pool-at-peak");
}

#[test]
fn rebalance() {
    keeps("rebalance");
}

#[test]
fn volumes_now_and_before_1_0() {
    keeps("volumes");
    keeps("volumes-v0");
}

#[test]
fn node_repair() {
    keeps("node-repair");
}

#[test]
fn burstable_in_both_modes() {
    keeps("burstable");
    keeps("burstable-unlimited");
}

#[test]
fn launch_storm() {
    keeps("launch-storm");
}

#[test]
fn prefix_delegation() {
    keeps("prefix-delegation");
}

#[test]
fn spot_prices() {
    keeps("spot-prices");
}

#[test]
fn drift() {
    keeps("drift");
}

/// A new file in the folder is run by this test as well.
#[test]
fn every_scenario_of_the_folder_is_named_here() {
    let entries = std::fs::read_dir(root().join("scenarios/karpenter")).expect("the folder is there");
    let mut names: Vec<String> = (entries.flatten())
        .filter_map(|entry| Some(entry.file_name().to_str()?.strip_suffix(".yaml")?.to_string()))
        .collect();
    names.sort();
    let known = [
        "budget-schedule",
        "burstable",
        "burstable-unlimited",
        "capacity-shortage",
        "consolidation-churn",
        "drift",
        "expiry-storm",
        "expiry-storm-v1beta1",
        "launch-storm",
        "node-repair",
        "prefix-delegation",
        "rebalance",
        "spot-pool-at-peak",
        "spot-pool-lost",
        "spot-prices",
        "volumes",
        "volumes-v0",
    ];
    assert_eq!(names, known);
}
