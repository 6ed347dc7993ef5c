//! What exporters of the cluster show at the present instant, for alarms that watch it: levels and counts of Karpenter and of
//! kube-state-metrics.
//!
//! In: nodes, NodeClaims, Deployments, autoscalers. Out: the value of a metric, summed over the label sets that fit. Sources: as
//! `plan/metric.rs`. Left out: summaries, which an agent hands on as one metric a quantile.

use super::World;
use crate::plan::{Metric, MetricKind, Plan};

impl World {
    /// The value of a metric now; `chosen` are labels with the values that are meant, of which unknown ones say nothing.
    /// `None`: no label set fits, or the metric is no number.
    pub fn cluster_metric(&self, plan: &Plan, metric: &Metric, chosen: &[(String, String)]) -> Option<f64> {
        if metric.kind == MetricKind::Summary {
            return None;
        }
        let fits = |label: &str, value: &str| chosen.iter().all(|(name, wanted)| name != label || wanted == value);
        let named = |namespace: &str, label: &str, name: &str| fits("namespace", namespace) && fits(label, name);
        match metric.name {
            "karpenter_cluster_state_node_count" => {
                let nodes = self.nodes.iter().filter(|node| node.gone.is_none()).count();
                let launched = |claim: &&super::NodeClaim| {
                    claim.gone.is_none() && claim.launched.is_some() && claim.node.is_none()
                };
                Some((nodes + self.claims.iter().filter(launched).count()) as f64)
            }
            name if name.starts_with("karpenter_") => {
                let pools = plan.node_pools.iter().enumerate().filter(|(_, pool)| fits("nodepool", &pool.name));
                sum(pools.map(|(index, _)| self.of_pool(name, index)))
            }
            name if name.starts_with("kube_deployment_") || name.starts_with("kube_statefulset_") => {
                let chosen = self.deployments.iter().filter(|deployment| {
                    let (spec, label) = (&deployment.spec, deployment.spec.word());
                    deployment.exists
                        && name.starts_with(&format!("kube_{label}_"))
                        && named(&spec.namespace, label, &spec.name)
                });
                sum(chosen.map(|deployment| match name {
                    "kube_deployment_spec_replicas" | "kube_statefulset_replicas" => deployment.replicas.into(),
                    "kube_deployment_status_replicas" | "kube_statefulset_status_replicas" => {
                        deployment.status.replicas.into()
                    }
                    _ => f64::from(deployment.status.ready),
                }))
            }
            name => {
                let chosen = self
                    .hpas
                    .iter()
                    .filter(|hpa| hpa.exists && named(&hpa.spec.namespace, "horizontalpodautoscaler", &hpa.spec.name));
                sum(chosen.map(|hpa| match name {
                    "kube_horizontalpodautoscaler_spec_min_replicas" => hpa.spec.min_replicas.into(),
                    "kube_horizontalpodautoscaler_spec_max_replicas" => hpa.spec.max_replicas.into(),
                    "kube_horizontalpodautoscaler_status_current_replicas" => hpa.status.current.into(),
                    _ => f64::from(hpa.status.desired),
                }))
            }
        }
    }

    fn of_pool(&self, name: &str, pool: usize) -> f64 {
        let claims = self.claims.iter().filter(|claim| claim.pool.index() == pool);
        let count = match name {
            "karpenter_nodepools_usage" => claims.filter(|claim| claim.gone.is_none()).count(),
            "karpenter_nodeclaims_created_total" => claims.count(),
            "karpenter_nodeclaims_disrupted_total" => claims.filter(|claim| claim.deletion_reason.is_some()).count(),
            "karpenter_nodes_created_total" => claims.filter(|claim| claim.registered.is_some()).count(),
            "karpenter_nodes_terminated_total" => {
                claims.filter(|claim| claim.node.is_some() && claim.gone.is_some()).count()
            }
            // karpenter_nodeclaims_terminated_total
            _ => claims.filter(|claim| claim.gone.is_some()).count(),
        };
        count as f64
    }
}

fn sum(values: impl Iterator<Item = f64>) -> Option<f64> {
    values.fold(None, |sum: Option<f64>, value| Some(sum.unwrap_or(0.0) + value))
}
