//! Metrics from outside the cluster that autoscalers read, and what they switch on from zero.

use super::app::Curve;
use super::ids::DeploymentId;
use crate::engine::Span;
use crate::rules::labels::Labels;

/// A series of an external metric.
#[derive(Clone, Debug, PartialEq)]
pub struct ExternalMetric {
    /// Its name in the metrics API.
    pub name: String,
    /// Labels of the series.
    pub labels: Labels,
    /// What it truly is, over time.
    pub value: Curve,
    /// The adapter's source looks at it so often; what it serves is as old as that.
    pub every: Span,
    /// The mean over so long is served (a rate over a window); zero: the value itself.
    pub window: Span,
}

/// A Deployment that a trigger takes from and to zero, as KEDA does.
#[derive(Clone, Debug, PartialEq)]
pub struct Activation {
    /// Which.
    pub deployment: DeploymentId,
    /// The series that decides (position in the plan).
    pub metric: usize,
    /// It is active above this.
    pub threshold: f64,
    /// Replicas that an activation writes, at least 1.
    pub replicas: i32,
    /// The trigger is looked at so often.
    pub poll: Span,
    /// Back to zero so long after the trigger was last active.
    pub cooldown: Span,
}
