//! Autoscalers, budgets and metrics: objects of the API server with their status. Deployments are in `rollout.rs`.

use super::World;
use super::change::Change;
use super::ids::PodId;
use crate::engine::{Span, Time};
use crate::plan::{DeploymentId, HpaId, HpaSpec, PdbId, PdbSpec};
use std::sync::Arc;

/// An autoscaler.
#[derive(Clone, Debug)]
pub struct Hpa {
    /// Its id in the plan.
    pub id: HpaId,
    /// Its spec.
    pub spec: Arc<HpaSpec>,
    /// The Deployment it scales, if it is one of the plan's.
    pub target: Option<DeploymentId>,
    /// When it was created.
    pub created: Time,
    /// The last sync.
    pub status: HpaStatus,
    /// `status.currentMetrics` in the order of the spec; `None` for a metric that failed.
    pub metrics: Vec<Option<MetricValue>>,
    /// The object exists.
    pub exists: bool,
    /// Grows with each creation, edit and deletion: a status is only written to the object that was read.
    pub version: u32,
    /// What the last sync told in events.
    pub outcome: HpaOutcome,
}

/// What a sync of an autoscaler tells in events.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct HpaOutcome {
    /// When a worker took it up.
    pub began: Time,
    /// Reasons of the events, in order.
    pub events: Vec<&'static str>,
    /// The size that was written.
    pub scaled: Option<i32>,
    /// Reason text of SuccessfulRescale.
    pub why: String,
}

/// What the last sync of an autoscaler saw and did.
#[derive(Clone, Copy, Debug, PartialEq, Default)]
pub struct HpaStatus {
    /// `status.currentReplicas`.
    pub current: i32,
    /// `status.desiredReplicas`.
    pub desired: i32,
    /// Average utilisation of the first resource metric, percent.
    pub utilization: Option<i32>,
    /// `status.lastScaleTime`.
    pub last_scale: Option<Time>,
    /// The raw proposal of the metrics; `None`: they were not asked or gave none.
    pub proposal: Option<i32>,
    /// The proposal after stabilisation.
    pub stabilized: Option<i32>,
    /// Oldest and newest resource sample that was seen.
    pub samples: Option<(Time, Time)>,
    /// Condition AbleToScale.
    pub able_to_scale: Option<HpaCondition>,
    /// Condition ScalingActive.
    pub scaling_active: Option<HpaCondition>,
    /// Condition ScalingLimited.
    pub scaling_limited: Option<HpaCondition>,
}

impl HpaStatus {
    /// Whether the API would show the same: only then is no status written.
    pub fn is_same_in_api(&self, other: &HpaStatus) -> bool {
        let shown = |status: &HpaStatus| {
            let conditions = (status.able_to_scale, status.scaling_active, status.scaling_limited);
            (status.current, status.desired, status.last_scale, conditions)
        };
        shown(self) == shown(other)
    }
}

/// One entry of `status.currentMetrics`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct MetricValue {
    /// `averageUtilization`, percent.
    pub average_utilization: Option<i32>,
    /// `averageValue`, milli-units.
    pub average_value: Option<i64>,
    /// `value`, milli-units.
    pub value: Option<i64>,
}

/// A condition of an autoscaler.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HpaCondition {
    /// True or False.
    pub status: bool,
    /// Why.
    pub reason: HpaReason,
}

/// Reasons of an autoscaler's conditions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HpaReason {
    /// AbleToScale: the scale was read, and nothing further happened.
    SucceededGetScale,
    /// AbleToScale: the target cannot be read.
    FailedGetScale,
    /// AbleToScale: the new size could not be written.
    FailedUpdateScale,
    /// AbleToScale: nothing was held back.
    ReadyForNewScale,
    /// AbleToScale: an earlier higher proposal holds.
    ScaleDownStabilized,
    /// AbleToScale: an earlier lower proposal holds.
    ScaleUpStabilized,
    /// AbleToScale: a new size was written.
    SucceededRescale,
    /// ScalingActive: the metrics gave a count.
    ValidMetricFound,
    /// ScalingActive: the target is at zero.
    ScalingDisabled,
    /// ScalingActive: the target's selector is empty or none.
    InvalidSelector,
    /// ScalingActive: another autoscaler's selector matches a common pod.
    AmbiguousSelector,
    /// ScalingActive: a resource metric failed.
    FailedGetResourceMetric,
    /// ScalingActive: a container's resource metric failed.
    FailedGetContainerResourceMetric,
    /// ScalingActive: a metric of pods failed.
    FailedGetPodsMetric,
    /// ScalingActive: a metric of an object failed.
    FailedGetObjectMetric,
    /// ScalingActive: an external metric failed.
    FailedGetExternalMetric,
    /// ScalingActive: a metric source that the controller does not know.
    InvalidMetricSourceType,
    /// ScalingLimited: no.
    DesiredWithinRange,
    /// ScalingLimited: `minReplicas`.
    TooFewReplicas,
    /// ScalingLimited: `maxReplicas`.
    TooManyReplicas,
    /// ScalingLimited: growth is limited.
    ScaleUpLimit,
    /// ScalingLimited: shrinking is limited.
    ScaleDownLimit,
}

impl HpaReason {
    /// As the API writes it.
    pub const fn name(self) -> &'static str {
        match self {
            HpaReason::SucceededGetScale => "SucceededGetScale",
            HpaReason::FailedGetScale => "FailedGetScale",
            HpaReason::FailedUpdateScale => "FailedUpdateScale",
            HpaReason::ReadyForNewScale => "ReadyForNewScale",
            HpaReason::ScaleDownStabilized => "ScaleDownStabilized",
            HpaReason::ScaleUpStabilized => "ScaleUpStabilized",
            HpaReason::SucceededRescale => "SucceededRescale",
            HpaReason::ValidMetricFound => "ValidMetricFound",
            HpaReason::ScalingDisabled => "ScalingDisabled",
            HpaReason::InvalidSelector => "InvalidSelector",
            HpaReason::AmbiguousSelector => "AmbiguousSelector",
            HpaReason::FailedGetResourceMetric => "FailedGetResourceMetric",
            HpaReason::FailedGetContainerResourceMetric => "FailedGetContainerResourceMetric",
            HpaReason::FailedGetPodsMetric => "FailedGetPodsMetric",
            HpaReason::FailedGetObjectMetric => "FailedGetObjectMetric",
            HpaReason::FailedGetExternalMetric => "FailedGetExternalMetric",
            HpaReason::InvalidMetricSourceType => "InvalidMetricSourceType",
            HpaReason::DesiredWithinRange => "DesiredWithinRange",
            HpaReason::TooFewReplicas => "TooFewReplicas",
            HpaReason::TooManyReplicas => "TooManyReplicas",
            HpaReason::ScaleUpLimit => "ScaleUpLimit",
            HpaReason::ScaleDownLimit => "ScaleDownLimit",
        }
    }
}

/// A budget.
#[derive(Clone, Debug)]
pub struct Pdb {
    /// Its id in the plan.
    pub id: PdbId,
    /// Its spec.
    pub spec: Arc<PdbSpec>,
    /// `status.currentHealthy`.
    pub current_healthy: i32,
    /// `status.desiredHealthy`.
    pub desired_healthy: i32,
    /// `status.expectedPods`.
    pub expected_pods: i32,
    /// `status.disruptionsAllowed`.
    pub disruptions_allowed: i32,
    /// `status.disruptedPods`: evicted pods and when (whole seconds).
    pub disrupted: Vec<(PodId, Time)>,
    /// The status answers to the present spec.
    pub observed: bool,
    /// Reason of the condition DisruptionAllowed; `None`: it was never set.
    pub reason: Option<PdbReason>,
}

/// Reasons of a budget's condition DisruptionAllowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PdbReason {
    /// Something may be disrupted.
    SufficientPods,
    /// Nothing may be disrupted now.
    InsufficientPods,
    /// A controller of the pods cannot be found.
    SyncFailed,
}

impl PdbReason {
    /// As the API writes it.
    pub const fn name(self) -> &'static str {
        match self {
            PdbReason::SufficientPods => "SufficientPods",
            PdbReason::InsufficientPods => "InsufficientPods",
            PdbReason::SyncFailed => "SyncFailed",
        }
    }
}

/// What the resource metrics API serves for a pod.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PodMetrics {
    /// End of the window, whole seconds.
    pub timestamp: Time,
    /// Length of the window.
    pub window: Span,
    /// Per container of the template: cpu in nanocores and memory in bytes.
    pub containers: Vec<ContainerUsage>,
}

/// Usage of a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ContainerUsage {
    /// Container (position in the template's containers, then its init containers).
    pub container: u16,
    /// CPU, nanocores.
    pub cpu_nanocores: Option<i64>,
    /// Memory, bytes.
    pub memory_bytes: Option<i64>,
}

impl World {
    /// Writes `status.currentMetrics` of an autoscaler.
    pub fn set_hpa_metrics(&mut self, hpa: HpaId, metrics: impl Iterator<Item = Option<MetricValue>>) {
        let kept = &mut self.hpas[hpa.index()].metrics;
        kept.clear();
        kept.extend(metrics);
    }

    /// Writes the status of an autoscaler, if it is still the object that was read; whether it was.
    pub fn set_hpa_status(&mut self, hpa: HpaId, read: u32, status: HpaStatus) -> bool {
        let entry = &mut self.hpas[hpa.index()];
        let same = entry.exists && entry.version == read;
        if same {
            entry.status = status;
        }
        same
    }

    /// A sync of an autoscaler has ended.
    pub fn note_hpa_sync(&mut self, hpa: HpaId) {
        self.push(Change::HpaSynced(hpa));
    }

    /// What the sync that is being recorded told in events.
    pub fn set_hpa_outcome(&mut self, hpa: HpaId, outcome: HpaOutcome) {
        self.hpas[hpa.index()].outcome = outcome;
    }

    /// Creates an autoscaler during a run; one of the same name that was deleted returns with an empty status.
    pub fn create_hpa(&mut self, spec: Arc<HpaSpec>) -> HpaId {
        let same = |hpa: &Hpa| hpa.spec.namespace == spec.namespace && hpa.spec.name == spec.name;
        let index = self.hpas.iter().position(same).unwrap_or(self.hpas.len());
        let target = self.deployments.iter().position(|entry| spec.scales(&entry.spec)).map(DeploymentId::at);
        let entry = Hpa {
            id: HpaId::at(index),
            spec,
            target,
            created: self.now,
            status: HpaStatus::default(),
            metrics: Vec::new(),
            exists: true,
            version: self.hpas.get(index).map_or(0, |former| former.version + 1),
            outcome: HpaOutcome::default(),
        };
        if index < self.hpas.len() {
            self.hpas[index] = entry;
        } else {
            self.hpas.push(entry);
        }
        self.push(Change::HpaChanged(HpaId::at(index)));
        HpaId::at(index)
    }

    /// Deletes an autoscaler.
    pub fn delete_hpa(&mut self, hpa: HpaId) {
        self.hpas[hpa.index()].exists = false;
        self.hpas[hpa.index()].version += 1;
        self.push(Change::HpaChanged(hpa));
    }

    /// Edits an autoscaler.
    pub fn update_hpa(&mut self, hpa: HpaId, spec: Arc<HpaSpec>) {
        let target = self.deployments.iter().find(|entry| spec.scales(&entry.spec)).map(|entry| entry.id);
        let entry = &mut self.hpas[hpa.index()];
        (entry.spec, entry.target) = (spec, target);
        entry.version += 1;
        self.push(Change::HpaChanged(hpa));
    }

    /// An operator applies an autoscaler of the plan that was not there yet.
    pub fn apply_hpa(&mut self, hpa: HpaId) {
        let now = self.now;
        let entry = &mut self.hpas[hpa.index()];
        (entry.exists, entry.created, entry.status) = (true, now, HpaStatus::default());
        entry.version += 1;
        self.push(Change::HpaChanged(hpa));
    }

    /// Creates a budget, without a status yet.
    pub fn create_pdb(&mut self, spec: Arc<PdbSpec>) -> PdbId {
        let id = PdbId::at(self.pdbs.len());
        self.pdbs.push(Pdb {
            id,
            spec,
            current_healthy: 0,
            desired_healthy: 0,
            expected_pods: 0,
            disruptions_allowed: 0,
            disrupted: Vec::new(),
            observed: false,
            reason: None,
        });
        self.push(Change::PdbChanged(id));
        id
    }

    /// Edits a budget.
    pub fn update_pdb(&mut self, pdb: PdbId, spec: Arc<PdbSpec>) {
        let entry = &mut self.pdbs[pdb.index()];
        // Only another spec is a new generation.
        entry.observed &= entry.spec == spec;
        entry.spec = spec;
        self.push(Change::PdbChanged(pdb));
    }

    /// Writes a budget's status.
    pub fn set_pdb_status(&mut self, pdb: PdbId, healthy: i32, desired: i32, expected: i32, allowed: i32) {
        let entry = &mut self.pdbs[pdb.index()];
        let before = (entry.current_healthy, entry.desired_healthy, entry.expected_pods, entry.disruptions_allowed);
        entry.current_healthy = healthy;
        entry.desired_healthy = desired;
        entry.expected_pods = expected;
        entry.disruptions_allowed = allowed;
        entry.observed = true;
        entry.reason = Some(if allowed > 0 { PdbReason::SufficientPods } else { PdbReason::InsufficientPods });
        if before != (healthy, desired, expected, allowed) {
            self.candidates_version += u64::from(before.3 == 0 && allowed != 0);
            self.push(Change::PdbStatus(pdb));
        }
    }

    /// A sync of a budget failed: nothing is allowed until the next one; the rest of the status stays.
    pub fn fail_pdb(&mut self, pdb: PdbId) {
        let entry = &mut self.pdbs[pdb.index()];
        let before = (entry.disruptions_allowed, entry.reason);
        entry.disruptions_allowed = 0;
        entry.reason = Some(PdbReason::SyncFailed);
        if before != (0, entry.reason) {
            self.push(Change::PdbStatus(pdb));
        }
    }

    /// Replaces the evicted pods that a budget remembers.
    pub fn set_disrupted(&mut self, pdb: PdbId, disrupted: Vec<(PodId, Time)>) {
        self.pdbs[pdb.index()].disrupted = disrupted;
    }

    /// Serves (or withdraws) a pod's metrics.
    pub fn set_pod_metrics(&mut self, pod: PodId, metrics: Option<PodMetrics>) {
        if self.pod_metrics.len() < self.pods.len() {
            self.pod_metrics.resize(self.pods.len(), None);
        }
        if metrics.is_some() {
            self.measured.insert(pod)
        } else {
            self.measured.remove(pod)
        };
        self.pod_metrics[pod.index()] = metrics;
    }

    /// The metrics of a pod that exists, which are served from now on: to be written in place of what was served before.
    #[inline]
    pub fn serve_pod_metrics(&mut self, pod: PodId) -> &mut PodMetrics {
        debug_assert!(self.living.contains(pod), "metrics of a pod that is gone");
        if self.pod_metrics.len() <= pod.index() {
            self.pod_metrics.resize(self.pods.len(), None);
        }
        let served = &mut self.pod_metrics[pod.index()];
        if served.is_none() {
            self.measured.insert(pod);
        }
        served.get_or_insert_default()
    }

    /// What the resource metrics API serves for a pod.
    #[inline]
    pub fn metrics_of(&self, pod: PodId) -> Option<&PodMetrics> {
        self.pod_metrics.get(pod.index()).and_then(Option::as_ref)
    }
}
