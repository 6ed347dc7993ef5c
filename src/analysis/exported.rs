//! What the cluster's exporters and CloudWatch would have shown at an instant of the run, under the real names.
//!
//! In: histories, series, syncs of autoscalers, and the world's datapoints. Out: points with labels, for `series.csv` and the
//! OpenMetrics file. Left out: labels whose values nothing here knows (`reason` of created NodeClaims), metrics for each pod.

use super::Analysis;
use super::history::NodeHistory;
use crate::engine::{Span, Time};
use crate::plan::{AlbMetric, Metric, MetricKind, Plan, TargetGroupId};
use crate::record::Recorder;
use crate::world::World;

/// Karpenter's summaries have these quantiles.
pub const QUANTILES: [f64; 5] = [0.0, 0.5, 0.9, 0.99, 1.0];
/// The load balancer reports once a minute.
pub const ALB_PERIOD: Span = Span::from_secs(60);

/// One value of a metric.
#[derive(Clone, Debug, PartialEq)]
pub struct Point {
    /// Its labels.
    pub labels: Vec<(&'static str, String)>,
    /// Its value.
    pub value: Value,
}

/// A value.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// A number.
    Number(f64),
    /// Durations in seconds, ascending.
    Durations(Vec<f64>),
}

/// What was found out about a run, and the instant that is asked about.
#[derive(Clone, Copy)]
pub struct Moment<'a> {
    /// What the run was given.
    pub plan: &'a Plan,
    /// The world at the end.
    pub world: &'a World,
    /// What happened.
    pub recorder: &'a Recorder,
    /// What it means.
    pub analysis: &'a Analysis,
    /// The instant.
    pub at: Time,
}

/// The points of a metric. Its label sets are the same at every instant.
pub fn points(metric: &Metric, moment: Moment) -> Vec<Point> {
    match metric.name {
        "karpenter_cluster_state_node_count" => {
            let exists =
                |node: &&NodeHistory| is_between(node.initial, node.launched.or(node.created), node.gone, moment.at);
            vec![number(Vec::new(), moment.analysis.history.nodes.iter().filter(exists).count() as f64)]
        }
        name if name.starts_with("karpenter_") => by_pool(metric, name, moment),
        name if name.starts_with("kube_deployment_") => workloads(name, "deployment", moment),
        name if name.starts_with("kube_statefulset_") => workloads(name, "statefulset", moment),
        name => autoscalers(name, moment),
    }
}

fn number(labels: Vec<(&'static str, String)>, value: f64) -> Point {
    Point { labels, value: Value::Number(value) }
}

fn is_between(initial: bool, begin: Option<Time>, end: Option<Time>, at: Time) -> bool {
    (initial || begin.is_some_and(|begin| begin <= at)) && end.is_none_or(|end| end > at)
}

/// Metrics with the label `nodepool`, and those without it that only Karpenter has.
fn by_pool(metric: &Metric, name: &str, moment: Moment) -> Vec<Point> {
    let Moment { plan, world, analysis, at, .. } = moment;
    if name == "karpenter_pods_startup_duration_seconds" {
        let pods = analysis.history.pods.iter().filter(|pod| !pod.initial);
        let durations = pods.filter_map(|pod| Some((pod.created, pod.ready?))).filter(|&(_, ready)| ready <= at);
        return vec![Point { labels: Vec::new(), value: sorted(durations) }];
    }
    let pools = plan.node_pools.iter().enumerate();
    let of_pool = |index: usize| {
        let belongs =
            move |node: &&NodeHistory| node.claim.is_some_and(|claim| world.claim(claim).pool.index() == index);
        analysis.history.nodes.iter().filter(belongs)
    };
    let happened = |time: Option<Time>| time.is_some_and(|time| time <= at);
    let mut found = Vec::new();
    for (index, pool) in pools {
        let mut labels = vec![("nodepool", pool.name.clone())];
        let count = |counts: &dyn Fn(&NodeHistory) -> bool| of_pool(index).filter(|node| counts(node)).count() as f64;
        let value = match name {
            "karpenter_nodepools_usage" => {
                labels.push(("resource_type", "nodes".to_string()));
                count(&|node| is_between(node.initial, node.claimed, node.gone, at))
            }
            "karpenter_nodeclaims_created_total" => count(&|node| happened(node.claimed)),
            "karpenter_nodeclaims_disrupted_total" => count(&|node| node.disrupted.is_some_and(|(time, _)| time <= at)),
            "karpenter_nodes_created_total" => count(&|node| happened(node.registered)),
            "karpenter_nodes_terminated_total" => count(&|node| node.node.is_some() && happened(node.gone)),
            _ if metric.kind == MetricKind::Summary => {
                let ended = of_pool(index).filter_map(|node| Some((node.deleting?, node.gone?)));
                found.push(Point { labels, value: sorted(ended.filter(|&(_, gone)| gone <= at)) });
                continue;
            }
            // karpenter_nodeclaims_terminated_total
            _ => count(&|node| happened(node.gone)),
        };
        found.push(number(labels, value));
    }
    found
}

fn sorted(spans: impl Iterator<Item = (Time, Time)>) -> Value {
    let mut seconds: Vec<f64> = spans.map(|(from, to)| to.since(from).seconds()).collect();
    seconds.sort_unstable_by(f64::total_cmp);
    Value::Durations(seconds)
}

/// A quantile of durations as Prometheus summaries give it; `None`: there are none.
pub fn quantile(ascending: &[f64], share: f64) -> Option<f64> {
    let rank = (share * ascending.len() as f64).ceil() as usize;
    ascending.get(rank.saturating_sub(1)).copied()
}

/// Metrics of Deployments, or of StatefulSets: `kind` is the label.
fn workloads(name: &str, kind: &'static str, moment: Moment) -> Vec<Point> {
    let sample = moment.analysis.series.at(moment.at);
    let specs = moment.plan.deployments.iter().zip(&sample.replicas).filter(|(spec, _)| spec.word() == kind);
    specs
        .map(|(spec, replicas)| {
            let count = match name {
                "kube_deployment_spec_replicas" | "kube_statefulset_replicas" => replicas.desired,
                "kube_deployment_status_replicas" | "kube_statefulset_status_replicas" => replicas.existing,
                _ => replicas.ready,
            };
            number(vec![("namespace", spec.namespace.clone()), (kind, spec.name.clone())], f64::from(count))
        })
        .collect()
}

fn autoscalers(name: &str, moment: Moment) -> Vec<Point> {
    let syncs = &moment.recorder.hpa_syncs;
    let before = syncs.partition_point(|&(time, _, _)| time <= moment.at);
    let last = |index: usize| syncs[..before].iter().rev().find(|(_, hpa, _)| hpa.index() == index);
    let hpas = moment.world.hpas.iter().enumerate();
    hpas.map(|(index, hpa)| {
        let status = last(index).map(|(_, _, status)| status);
        let count = match name {
            "kube_horizontalpodautoscaler_spec_min_replicas" => hpa.spec.min_replicas,
            "kube_horizontalpodautoscaler_spec_max_replicas" => hpa.spec.max_replicas,
            "kube_horizontalpodautoscaler_status_current_replicas" => status.map_or(0, |status| status.current),
            _ => status.map_or(0, |status| status.desired),
        };
        let labels =
            vec![("namespace", hpa.spec.namespace.clone()), ("horizontalpodautoscaler", hpa.spec.name.clone())];
        number(labels, f64::from(count))
    })
    .collect()
}

/// The latest datapoint of a target group's metric that is visible at an instant: its minute has ended and is published. A
/// minute becomes visible in the middle of the range in which publication takes.
pub fn visible(plan: &Plan, world: &World, group: TargetGroupId, metric: AlbMetric, at: Time) -> Option<f64> {
    let minute = visible_minute(plan, at)?;
    let from = plan.start + ALB_PERIOD * minute;
    world.datapoint(plan, group, (metric, metric.statistic()), (from, from + ALB_PERIOD))
}

/// The number of that minute.
pub fn visible_minute(plan: &Plan, at: Time) -> Option<u64> {
    let (least, most) = plan.flags.serving.publication;
    let lag = least + most.saturating_sub(least).half();
    let passed = at.since(plan.start).saturating_sub(lag);
    (passed.micros() / ALB_PERIOD.micros()).checked_sub(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analysis::played;
    use crate::plan::{METRICS, find_metric};

    #[test]
    fn counts_of_nodes_agree_with_the_series() {
        let run = played::run();
        let analysis = run.analysis();
        let moment =
            |at| Moment { plan: &run.plan, world: &run.world, recorder: &run.recorder, analysis: &analysis, at };
        let count = find_metric("karpenter_nodes_total").expect("an alias");
        for second in 0..1200 {
            let at = run.plan.start + Span::from_secs(second);
            let launched = |node: &&NodeHistory| {
                node.claimed.is_some_and(|time| time <= at) && node.launched.is_none_or(|time| time > at)
            };
            let only_claimed = analysis.history.nodes.iter().filter(launched).count() as i32;
            let nodes = analysis.series.at(at).nodes.total() - only_claimed;
            assert_eq!(points(count, moment(at)), [number(Vec::new(), f64::from(nodes))], "second {second}");
        }
        let end = moment(run.plan.until);
        for metric in METRICS {
            let early: Vec<_> = points(&metric, moment(run.plan.start)).into_iter().map(|point| point.labels).collect();
            let late: Vec<_> = points(&metric, end).into_iter().map(|point| point.labels).collect();
            assert_eq!(early, late, "{}", metric.name);
        }
    }

    #[test]
    fn a_minute_is_visible_a_minute_and_a_half_after_its_end() {
        let plan = Plan::empty(Time::from_unix_seconds(0), Span::from_secs(600));
        let minute = |seconds| visible_minute(&plan, plan.start + Span::from_secs(seconds));
        assert_eq!([0, 149, 150, 209, 210].map(minute), [None, None, Some(0), Some(0), Some(1)]);
    }

    #[test]
    fn quantiles_are_values_that_were_seen() {
        let seconds = [1.0, 2.0, 3.0, 4.0];
        assert_eq!(QUANTILES.map(|share| quantile(&seconds, share)), [1.0, 2.0, 4.0, 4.0, 4.0].map(Some));
        assert_eq!(quantile(&[], 0.5), None);
    }
}
