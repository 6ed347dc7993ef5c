//! Metrics by their real names: what the load balancer gives to CloudWatch, what Karpenter and kube-state-metrics export.
//!
//! Sources: ELB user guide "CloudWatch metrics for your Application Load Balancer"; Karpenter "Metrics" (names of 1.x);
//! kube-state-metrics `docs/metrics`. Names that people write and that nothing exports lead to the real one.

/// A metric of `AWS/ApplicationELB`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AlbMetric {
    /// `HealthyHostCount`.
    HealthyHosts,
    /// `UnHealthyHostCount`.
    UnhealthyHosts,
    /// `RequestCount`.
    Requests,
    /// `RequestCountPerTarget`.
    RequestsPerTarget,
    /// `TargetResponseTime`, seconds.
    ResponseTime,
    /// `HTTPCode_Target_2XX_Count`.
    Target2xx,
    /// `HTTPCode_Target_5XX_Count`.
    Target5xx,
    /// `HTTPCode_ELB_5XX_Count`.
    Elb5xx,
    /// `HTTPCode_ELB_502_Count`.
    Elb502,
    /// `HTTPCode_ELB_503_Count`.
    Elb503,
    /// `HTTPCode_ELB_504_Count`.
    Elb504,
    /// `TargetConnectionErrorCount`.
    ConnectionErrors,
}

impl AlbMetric {
    /// Of all of them.
    pub const NAMESPACE: &str = "AWS/ApplicationELB";

    /// All of them.
    pub const ALL: [AlbMetric; 12] = [
        AlbMetric::HealthyHosts,
        AlbMetric::UnhealthyHosts,
        AlbMetric::Requests,
        AlbMetric::RequestsPerTarget,
        AlbMetric::ResponseTime,
        AlbMetric::Target2xx,
        AlbMetric::Target5xx,
        AlbMetric::Elb5xx,
        AlbMetric::Elb502,
        AlbMetric::Elb503,
        AlbMetric::Elb504,
        AlbMetric::ConnectionErrors,
    ];

    /// As CloudWatch writes it.
    pub const fn name(self) -> &'static str {
        match self {
            AlbMetric::HealthyHosts => "HealthyHostCount",
            AlbMetric::UnhealthyHosts => "UnHealthyHostCount",
            AlbMetric::Requests => "RequestCount",
            AlbMetric::RequestsPerTarget => "RequestCountPerTarget",
            AlbMetric::ResponseTime => "TargetResponseTime",
            AlbMetric::Target2xx => "HTTPCode_Target_2XX_Count",
            AlbMetric::Target5xx => "HTTPCode_Target_5XX_Count",
            AlbMetric::Elb5xx => "HTTPCode_ELB_5XX_Count",
            AlbMetric::Elb502 => "HTTPCode_ELB_502_Count",
            AlbMetric::Elb503 => "HTTPCode_ELB_503_Count",
            AlbMetric::Elb504 => "HTTPCode_ELB_504_Count",
            AlbMetric::ConnectionErrors => "TargetConnectionErrorCount",
        }
    }

    /// The metric of that name.
    pub fn named(name: &str) -> Option<AlbMetric> {
        AlbMetric::ALL.into_iter().find(|metric| metric.name() == name)
    }

    /// The statistic that means something: a level has an average, a count a sum.
    pub const fn statistic(self) -> &'static str {
        match self {
            AlbMetric::HealthyHosts | AlbMetric::UnhealthyHosts | AlbMetric::ResponseTime => "Average",
            _ => "Sum",
        }
    }

    /// Whether a statistic of it is known here; of others its usual one stands in.
    pub fn has(self, statistic: &str) -> bool {
        match self {
            AlbMetric::HealthyHosts | AlbMetric::UnhealthyHosts => {
                ["Average", "Minimum", "Maximum"].contains(&statistic)
            }
            AlbMetric::ResponseTime => statistic == self.statistic() || percentile(statistic).is_some(),
            _ => statistic == self.statistic(),
        }
    }
}

/// The share that a percentile statistic such as `p99` or `p99.9` asks for.
pub fn percentile(statistic: &str) -> Option<f64> {
    let digits =
        statistic.strip_prefix('p').filter(|digits| digits.starts_with(|first: char| first.is_ascii_digit()))?;
    digits.parse().ok().filter(|percent| (0.0..=100.0).contains(percent)).map(|percent: f64| percent / 100.0)
}

/// How a metric grows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetricKind {
    /// A level.
    Gauge,
    /// Only upwards.
    Counter,
    /// Quantiles of durations.
    Summary,
}

/// A metric that a program of the cluster exports.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Metric {
    /// Its name.
    pub name: &'static str,
    /// How it grows.
    pub kind: MetricKind,
    /// What it is.
    pub help: &'static str,
}

const fn metric(name: &'static str, kind: MetricKind, help: &'static str) -> Metric {
    Metric { name, kind, help }
}

/// The metrics of the cluster that are known here.
pub const METRICS: [Metric; 19] = [
    metric("karpenter_cluster_state_node_count", MetricKind::Gauge, "Nodes in the cluster state of Karpenter."),
    metric("karpenter_nodepools_usage", MetricKind::Gauge, "What a NodePool uses, by resource."),
    metric("karpenter_nodeclaims_created_total", MetricKind::Counter, "NodeClaims created."),
    metric("karpenter_nodeclaims_terminated_total", MetricKind::Counter, "NodeClaims terminated."),
    metric("karpenter_nodeclaims_disrupted_total", MetricKind::Counter, "NodeClaims disrupted."),
    metric("karpenter_nodes_created_total", MetricKind::Counter, "Nodes created by Karpenter."),
    metric("karpenter_nodes_terminated_total", MetricKind::Counter, "Nodes terminated by Karpenter."),
    metric(
        "karpenter_pods_startup_duration_seconds",
        MetricKind::Summary,
        "Time from the creation of a pod until it is Ready.",
    ),
    metric(
        "karpenter_nodes_termination_duration_seconds",
        MetricKind::Summary,
        "Time from the deletion of a node until it is gone.",
    ),
    metric("kube_deployment_spec_replicas", MetricKind::Gauge, "Replicas that a Deployment asks for."),
    metric("kube_deployment_status_replicas", MetricKind::Gauge, "Pods of a Deployment."),
    metric("kube_deployment_status_replicas_ready", MetricKind::Gauge, "Ready pods of a Deployment."),
    metric("kube_statefulset_replicas", MetricKind::Gauge, "Replicas that a StatefulSet asks for."),
    metric("kube_statefulset_status_replicas", MetricKind::Gauge, "Pods of a StatefulSet."),
    metric("kube_statefulset_status_replicas_ready", MetricKind::Gauge, "Ready pods of a StatefulSet."),
    metric(
        "kube_horizontalpodautoscaler_spec_min_replicas",
        MetricKind::Gauge,
        "Replicas that an autoscaler keeps at least.",
    ),
    metric(
        "kube_horizontalpodautoscaler_spec_max_replicas",
        MetricKind::Gauge,
        "Replicas that an autoscaler sets at most.",
    ),
    metric(
        "kube_horizontalpodautoscaler_status_current_replicas",
        MetricKind::Gauge,
        "Replicas that an autoscaler last saw.",
    ),
    metric(
        "kube_horizontalpodautoscaler_status_desired_replicas",
        MetricKind::Gauge,
        "Replicas that an autoscaler last asked for.",
    ),
];

/// Names that nothing exports, and the real ones. Karpenter: those of older versions are others, and dashboards ask for them.
const ALIASES: [(&str, &str); 6] = [
    ("karpenter_nodes_total", "karpenter_cluster_state_node_count"),
    ("karpenter_nodes_created", "karpenter_nodes_created_total"),
    ("karpenter_nodes_terminated", "karpenter_nodes_terminated_total"),
    ("karpenter_nodeclaims_created", "karpenter_nodeclaims_created_total"),
    ("karpenter_pods_startup_time_seconds", "karpenter_pods_startup_duration_seconds"),
    ("karpenter_nodes_termination_time_seconds", "karpenter_nodes_termination_duration_seconds"),
];

/// The metric of the cluster with that name, or with the real name of that alias.
pub fn find_metric(name: &str) -> Option<&'static Metric> {
    let alias = ALIASES.iter().find(|(alias, _)| *alias == name);
    let real = alias.map_or(name, |(_, real)| real);
    METRICS.iter().find(|metric| metric.name == real)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_alias_leads_to_a_metric_and_is_none_itself() {
        for (alias, real) in ALIASES {
            assert_eq!(find_metric(alias).map(|metric| metric.name), Some(real));
            assert!(METRICS.iter().all(|metric| metric.name != alias));
        }
        assert_eq!(find_metric("karpenter_nodes"), None);
    }

    #[test]
    fn metrics_of_the_load_balancer_are_found_by_their_names_only() {
        assert!(AlbMetric::ALL.iter().all(|&metric| AlbMetric::named(metric.name()) == Some(metric)));
        assert_eq!(AlbMetric::named("UnhealthyHostCount"), None, "CloudWatch knows capitals");
        assert!(AlbMetric::HealthyHosts.has("Minimum") && !AlbMetric::HealthyHosts.has("p99"));
        assert!(AlbMetric::ResponseTime.has("p99.9") && !AlbMetric::ResponseTime.has("tm99"));
    }

    #[test]
    fn percentiles_are_shares() {
        assert_eq!(["p50", "p99.9", "p100"].map(percentile), [Some(0.5), Some(99.9 / 100.0), Some(1.0)]);
        assert_eq!(["p", "p101", "p-1", "pinf", "Average", "tm90"].map(percentile), [None; 6]);
    }
}
