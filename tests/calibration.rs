//! The default preset against recorded NodeClaims: the fit half of `karpenter_nodeclaim_stages.csv`, and node launches quoted
//! in public threads. Run with `--nocapture` to read the report.

use crate::support::{shared, written};
use kubelapse::engine::{Span, Time};
use kubelapse::plan::{Distribution, Plan, Stage};
use kubelapse::study::run_once;
use kubelapse::world::NodeClaim;
use std::collections::BTreeMap;
use std::sync::OnceLock;

/// One recorded stage: its column, the delay of the preset that it is, and the seconds that Karpenter's own rest adds to it:
/// it sleeps one second after it has noted that the node is Ready (`nodeclaim/lifecycle/controller.go`), then it is initialized.
const STAGES: [(&str, Stage, f64); 3] = [
    ("created_to_launched_s", Stage::NodeClaimLaunch, 0.0),
    ("launched_to_registered_s", Stage::InstanceBoot, 0.0),
    ("registered_to_initialized_s", Stage::NodeReady, 1.0),
];

/// The rows of a table as maps from column to cell.
fn table(text: &str) -> Vec<BTreeMap<String, String>> {
    csv::Reader::from_reader(text.as_bytes()).deserialize().map(|row| row.expect("a row of the table")).collect()
}

/// The cells of a column that hold a duration; a stage of no length was not reached.
fn column(rows: &[BTreeMap<String, String>], name: &str) -> Vec<f64> {
    rows.iter().filter_map(|row| row[name].parse().ok()).filter(|value: &f64| *value > 0.0).collect()
}

fn recorded() -> Option<Vec<BTreeMap<String, String>>> {
    shared("data/karpenter_nodeclaim_stages.csv").map(|text| table(&text))
}

/// A Deployment whose pods fill a node each, scaled up at 10 s and down to nothing at 400 s, with noise.
fn fleet(name: &str, nodes: u32) -> Plan {
    let manifests = r"
apiVersion: apps/v1
kind: Deployment
metadata: { name: app }
spec:
  replicas: 0
  selector: { matchLabels: { app: app } }
  template:
    metadata: { labels: { app: app } }
    spec:
      terminationGracePeriodSeconds: 0
      containers:
        - { name: app, image: app, resources: { requests: { cpu: 1500m } } }
---
apiVersion: karpenter.sh/v1
kind: NodePool
metadata: { name: pool }
spec:
  template:
    spec:
      nodeClassRef: { group: karpenter.k8s.aws, kind: EC2NodeClass, name: default }
      requirements: [{ key: node.kubernetes.io/instance-type, operator: In, values: [c7gd.large] }]
  disruption: { consolidateAfter: 0s, budgets: [{ nodes: 100% }] }
---
apiVersion: karpenter.k8s.aws/v1
kind: EC2NodeClass
metadata: { name: default }
spec:
  amiSelectorTerms: [{ alias: al2023@latest }]
  role: node
  subnetSelectorTerms: [{ tags: { a: b } }]
  securityGroupSelectorTerms: [{ tags: { a: b } }]
";
    let scenario = format!(
        "name: fleet\nmanifests: [manifests.yaml]\nrun: {{ until: 15m, noise: on }}\nactions:\n  - {{ at: 10s, scale: {{ \
         deployment: app, replicas: {nodes} }} }}\n  - {{ at: 400s, scale: {{ deployment: app, replicas: 0 }} }}\n"
    );
    written(name, manifests, &scenario)
}

/// Values by stage.
type Stages = BTreeMap<&'static str, Vec<f64>>;

/// What the simulated NodeClaims took for each recorded stage, ascending.
fn simulated() -> &'static Stages {
    static STAGES: OnceLock<Stages> = OnceLock::new();
    STAGES.get_or_init(simulate)
}

fn simulate() -> Stages {
    let (plan, mut stages) = (fleet("calibration-fleet", 100), Stages::new());
    let between = |from: Option<Time>, to: Option<Time>| Some(to?.since(from?).seconds());
    for replication in 0..3 {
        for claim in &run_once(&plan, replication, false).world.claims {
            let NodeClaim { created, launched, registered, initialized, deleting_since, gone, .. } = claim;
            for (name, value) in [
                ("created_to_launched_s", between(Some(*created), *launched)),
                ("launched_to_registered_s", between(*launched, *registered)),
                ("registered_to_initialized_s", between(*registered, *initialized)),
                ("created_to_initialized_s", between(Some(*created), *initialized)),
                ("node_termination_s", between(*deleting_since, *gone)),
            ] {
                stages.entry(name).or_default().push(value.expect("every node comes and goes"));
            }
        }
    }
    stages.values_mut().for_each(|values| values.sort_by(f64::total_cmp));
    stages
}

/// The share of values within a band.
fn share(values: &[f64], (low, high): (f64, f64)) -> f64 {
    values.iter().filter(|value| (low..=high).contains(*value)).count() as f64 / values.len() as f64
}

/// The 90 % band of a distribution.
fn band(distribution: &Distribution) -> (f64, f64) {
    (distribution.quantile(0.05).seconds(), distribution.quantile(0.95).seconds())
}

/// The 90 % band of simulated values in order.
fn simulated_band(sorted: &[f64]) -> (f64, f64) {
    let at = |p: f64| sorted[(sorted.len() as f64 * p) as usize];
    (at(0.05), at(0.95))
}

#[test]
fn the_recorded_stages_lie_inside_the_bands_of_the_default_preset() {
    let Some(rows) = recorded() else { return };
    let plan = fleet("calibration-bands", 1);
    println!("stage                        rows  preset's 90 % band  rows inside  simulated inside");
    for (name, simulated) in simulated() {
        // A stage of the preset, or what the components make of several.
        let stage = STAGES.iter().find(|(column, ..)| column == name);
        let own = stage.map_or(simulated_band(simulated), |&(_, stage, rest)| {
            let (low, high) = band(plan.timings.distribution(stage));
            (low + rest, high + rest)
        });
        let values = column(&rows, name);
        let (inside, passed) = (share(&values, own), share(simulated, own));
        println!(
            "{name:<28} {:>4}  {:>7.2} to {:>7.2} s  {:>5.1} %  {:>15.1} %",
            values.len(),
            own.0,
            own.1,
            inside * 100.0,
            passed * 100.0
        );
        assert!((0.85..=0.95).contains(&inside), "{name}: {inside} of the rows within {own:?}");
        // What the components make of the stage is the stage: the 99.9 % interval of a share of 90 % among so many nodes.
        let within = 3.29 * (0.9 * 0.1 / simulated.len() as f64).sqrt();
        assert!((passed - 0.9).abs() <= within, "{name}: {passed} of the simulated nodes within {own:?}");
    }
}

/// A mixture of log-normal distributions: weight, logarithm of the median, sigma.
type Parts = Vec<(f64, f64, f64)>;

fn parts(distribution: &Distribution) -> Parts {
    match distribution {
        Distribution::Lognormal { median, sigma } => vec![(1.0, median.seconds().ln(), *sigma)],
        Distribution::Mixture(all) => {
            let part = |(weight, part): &(f64, Distribution)| (*weight, parts(part)[0].1, parts(part)[0].2);
            all.iter().map(part).collect()
        }
        other => panic!("a node's delays are log-normal or mixtures of such: {other:?}"),
    }
}

fn distribution(parts: &Parts) -> Distribution {
    let lognormal = |median: f64, sigma| Distribution::Lognormal { median: Span::from_seconds(median.exp()), sigma };
    Distribution::Mixture(parts.iter().map(|&(weight, median, sigma)| (weight, lognormal(median, sigma))).collect())
}

/// Maximum likelihood by expectation and maximisation, from the preset's own numbers on.
fn refit(start: &Parts, logs: &[f64]) -> Parts {
    let mut fit = start.clone();
    for _ in 0..12 {
        let mut sums = vec![(0.0, 0.0, 0.0); fit.len()];
        for &x in logs {
            let density = |&(weight, mean, sigma): &(f64, f64, f64)| {
                weight / sigma * (-0.5 * ((x - mean) / sigma).powi(2)).exp() + 1e-300
            };
            let densities: Vec<f64> = fit.iter().map(density).collect();
            let whole: f64 = densities.iter().sum();
            for (sum, density) in sums.iter_mut().zip(densities) {
                let part = density / whole;
                *sum = (sum.0 + part, sum.1 + part * x, sum.2 + part * x * x);
            }
        }
        let count = logs.len() as f64;
        let part = |(weight, first, second): (f64, f64, f64)| {
            let mean = first / weight;
            // A part that holds one row would collapse on it.
            (weight / count, mean, (second / weight - mean * mean).max(0.0).sqrt().max(0.03))
        };
        fit = sums.into_iter().map(part).collect();
    }
    fit
}

/// The share of rows inside the 90 % band of a fit to rows of other groups.
fn held_out(start: &Parts, rows: &[(f64, String)]) -> f64 {
    let mut groups: Vec<&String> = rows.iter().map(|(_, group)| group).collect();
    groups.sort();
    groups.dedup();
    let mut inside = 0;
    for group in groups {
        let rest: Vec<f64> = rows.iter().filter(|(_, other)| other != group).map(|(value, _)| value.ln()).collect();
        let (low, high) = band(&distribution(&refit(start, &rest)));
        let own = rows.iter().filter(|(_, other)| other == group);
        inside += own.filter(|(value, _)| (low..=high).contains(value)).count();
    }
    inside as f64 / rows.len() as f64
}

/// Each row against a band fitted to all others, and each zone against a band fitted to the other two: what the preset's
/// shape promises for nodes that it has not seen.
#[test]
fn leave_one_out_report() {
    let Some(rows) = recorded() else { return };
    let plan = fleet("calibration-left-out", 1);
    println!("inside a 90 % band fitted to      all others   the other zones");
    for (name, stage, rest) in STAGES {
        let start = parts(plan.timings.distribution(stage));
        let keyed = |key: &dyn Fn(usize) -> String| {
            let cells =
                rows.iter().enumerate().filter_map(|(index, row)| Some((row[name].parse::<f64>().ok()? - rest, index)));
            let cells = cells.filter(|(value, _)| *value > 0.0);
            cells.map(|(value, index)| (value, key(index))).collect::<Vec<_>>()
        };
        let rows_out = held_out(&start, &keyed(&|index| index.to_string()));
        let zones_out = held_out(&start, &keyed(&|index| rows[index]["zone"].clone()));
        println!("{name:<32} {:>8.1} %      {:>8.1} %", rows_out * 100.0, zones_out * 100.0);
        assert!((0.85..=0.95).contains(&rows_out), "{name}: a fit to the other rows holds {rows_out}");
    }
}

/// Nodes of other people, of other years and regions, that the preset was not fitted to: a check from outside. They are few
/// and chosen by who published them, so the median is held to a few seconds and the band only told.
#[test]
fn launches_quoted_in_public_threads_have_the_median_of_the_preset() {
    let Some(text) = shared("data/karpenter_node_launch_timelines.csv") else { return };
    let rows: Vec<_> = table(&text).into_iter().filter(|row| !row["instance_type"].starts_with('g')).collect();
    let mut quoted = column(&rows, "created_to_initialized_s");
    quoted.sort_by(f64::total_cmp);
    let simulated = &simulated()["created_to_initialized_s"];
    let (median, own) = (quoted[quoted.len() / 2], simulated[simulated.len() / 2]);
    let (low, high) = simulated_band(simulated);
    let inside = (share(&quoted, (low, high)) * quoted.len() as f64).round();
    println!("created to initialized: {} quoted nodes, median {median:.1} s; simulated {own:.1} s", quoted.len());
    println!("simulated 90 % band {low:.1} to {high:.1} s: {inside} of them inside");
    assert!((own - median).abs() <= 2.0, "{own} against {median}");
}
