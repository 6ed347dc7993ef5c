//! Decisions as their controllers saw them, for `explain`: kept only when somebody asks ([`super::Detail::Explain`]).
//!
//! In: what a component knew at the moment it decided. Out: a list in order of time, which `analysis::explain` narrows down
//! to a thing and `render::explain` shows. A controller that wants more than a sentence ([`super::Recorder::explain`])
//! adds a variant to [`Decision`] here and a section there.

mod checks;
mod nodes;
mod scheduling;

pub use checks::{Checked, Tried};
pub use nodes::{Disruption, Launch, Offer, Out, Placement, Planned, Removed, Stage, Unplaced};
pub use scheduling::{Attempt, Ended, Rejected, Scored};

use crate::engine::Time;
use crate::plan::HpaId;
use crate::world::{HpaReason, PodId, ReplicaSetId};

/// One decision.
#[derive(Clone, Debug, PartialEq)]
pub enum Decision {
    /// A sync of an autoscaler.
    Hpa(HpaDecision),
    /// A ReplicaSet chose pods to delete.
    ScaleDown(ScaleDown),
    /// The scheduler tried a pod.
    Scheduling(Attempt),
    /// Karpenter found (or did not find) a place for pods.
    Placement(Placement),
    /// EC2 was asked for an instance.
    Launch(Launch),
    /// Karpenter wants nodes to go.
    Disruption(Disruption),
    /// Probes or health checks changed what is thought of a container or a target.
    Checked(Checked),
}

/// What a sync of an autoscaler saw, and what became of it.
#[derive(Clone, Debug, PartialEq)]
pub struct HpaDecision {
    /// Which.
    pub hpa: HpaId,
    /// When a worker took it up.
    pub began: Time,
    /// `spec.replicas` of the target as read; `None`: it could not be read.
    pub current: Option<i32>,
    /// Pods that the selector matches.
    pub pods: usize,
    /// The metrics in the order of the spec; none where they were not asked.
    pub metrics: Vec<MetricSeen>,
    /// What came of the metrics.
    pub course: HpaCourse,
    /// The size to be written, if it differs from the present one.
    pub scale_to: Option<i32>,
    /// Reason text of the rescale.
    pub why: String,
}

/// One metric as a sync saw it.
#[derive(Clone, Debug, PartialEq)]
pub struct MetricSeen {
    /// What the events call it.
    pub name: String,
    /// The mean or the whole value, as the API writes it.
    pub value: String,
    /// What is aimed at.
    pub target: String,
    /// Oldest and newest sample.
    pub samples: Option<(Time, Time)>,
    /// When it was answered.
    pub at: Time,
    /// The calculation, or why there was none.
    pub result: Result<MetricResult, &'static str>,
}

/// The calculation of one metric.
#[derive(Clone, Debug, PartialEq)]
pub struct MetricResult {
    /// Value to target, over the pods that count.
    pub ratio: f64,
    /// The same after unready and missing pods were filled in, where they were.
    pub refilled: Option<f64>,
    /// The first ratio is within the tolerance, or the second is.
    pub tolerated: bool,
    /// Pods by what their samples are worth, where pods matter.
    pub groups: Option<PodGroups>,
    /// Replicas proposed.
    pub replicas: i32,
}

/// Pods by what their samples are worth.
#[derive(Clone, Debug, PartialEq)]
pub struct PodGroups {
    /// How many samples count.
    pub ready: usize,
    /// They count as using nothing on the way up, and not at all on the way down.
    pub unready: Vec<PodId>,
    /// Without a sample: full on the way down, idle on the way up.
    pub missing: Vec<PodId>,
    /// Terminating and failed: not counted.
    pub ignored: Vec<PodId>,
}

/// Which way a sync went.
#[derive(Clone, Debug, PartialEq)]
pub enum HpaCourse {
    /// The target could not be read.
    Unreadable,
    /// At zero, and `minReplicas` is not zero.
    Disabled,
    /// Above `maxReplicas`: metrics are not asked.
    AboveMax(i32),
    /// Below `minReplicas`: metrics are not asked.
    BelowMin(i32),
    /// No usable metrics.
    Failed(HpaReason),
    /// The metrics proposed a count.
    Proposed {
        /// The largest proposal.
        proposal: i32,
        /// The metric that made it.
        metric: String,
        /// After stabilisation.
        stabilized: i32,
        /// Reason of AbleToScale.
        able: HpaReason,
        /// The earlier proposal that held it: its size and its time.
        held_by: Option<(i32, Time)>,
        /// After policies and bounds.
        replicas: i32,
        /// Reason of ScalingLimited.
        limit: HpaReason,
    },
}

/// The choice of pods to delete.
#[derive(Clone, Debug, PartialEq)]
pub struct ScaleDown {
    /// Whose pods.
    pub replica_set: ReplicaSetId,
    /// Active pods before.
    pub active: usize,
    /// The pods that go, first choice first, each with the criterion that put it before the first pod that stays.
    pub victims: Vec<(PodId, String)>,
    /// The pod that would have been next.
    pub spared: Option<PodId>,
}

impl Decision {
    /// Pods that the decision is about or names.
    pub fn pods(&self) -> Vec<PodId> {
        match self {
            Decision::Hpa(sync) => {
                let groups = sync.metrics.iter().filter_map(|metric| metric.result.as_ref().ok()?.groups.as_ref());
                groups
                    .flat_map(|groups| [&groups.unready, &groups.missing, &groups.ignored])
                    .flatten()
                    .copied()
                    .collect()
            }
            Decision::ScaleDown(choice) => choice.victims.iter().map(|(pod, _)| *pod).chain(choice.spared).collect(),
            Decision::Scheduling(attempt) => attempt.victims().iter().copied().chain([attempt.pod]).collect(),
            Decision::Placement(placement) => placement.pods().to_vec(),
            Decision::Launch(_) => Vec::new(),
            Decision::Disruption(command) => command.removed.iter().flat_map(|one| one.pods.iter().copied()).collect(),
            Decision::Checked(checked) => vec![checked.pod],
        }
    }
}
