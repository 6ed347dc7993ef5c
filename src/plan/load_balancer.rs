//! Target groups, TargetGroupBindings and CloudWatch alarms.
//!
//! Source: ELB user guide "Target groups for your Application Load Balancers"; aws-load-balancer-controller
//! `apis/elbv2/v1beta1/targetgroupbinding_types.go`; CloudWatch "Using Amazon CloudWatch alarms".

use super::ids::{TargetGroupId, ZoneId};
use crate::engine::Span;
use crate::rules::labels::LabelSelector;

/// A target group of the standalone load balancer.
#[derive(Clone, Debug, PartialEq)]
pub struct TargetGroup {
    /// Its name in the scenario.
    pub name: String,
    /// `deregistration_delay.timeout_seconds`, AWS default 300 s.
    pub deregistration_delay: Span,
    /// Health check.
    pub health_check: HealthCheck,
    /// `slow_start.duration_seconds`, zero for off.
    pub slow_start: Span,
    /// Routing algorithm.
    pub algorithm: RoutingAlgorithm,
    /// Sticky sessions; `None`: off.
    pub stickiness: Option<Stickiness>,
    /// Cross-zone routing, on by default.
    pub cross_zone: bool,
    /// Load balancer nodes that check targets, one a zone unless given.
    pub nodes: u32,
    /// Zones that the load balancer is enabled in; empty: all. A target elsewhere is `unused`.
    pub zones: Vec<ZoneId>,
}

/// Sticky sessions by the load balancer's cookie, and the clients that hold it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Stickiness {
    /// `stickiness.lb_cookie.duration_seconds`.
    pub duration: Span,
    /// Clients that send requests at a time.
    pub clients: u32,
    /// Mean length of a client's session: a new one has no cookie.
    pub session: Span,
}

/// Health check of a target group. AWS defaults: 30 s, 5 s, 5, 2.
#[derive(Clone, Debug, PartialEq)]
pub struct HealthCheck {
    /// Path asked for.
    pub path: String,
    /// Between checks of one load-balancer node.
    pub interval: Span,
    /// Until a check counts as failed.
    pub timeout: Span,
    /// Successes in a row for an *unhealthy* target to become healthy; a new target needs one.
    pub healthy_threshold: u32,
    /// Failures in a row to become unhealthy.
    pub unhealthy_threshold: u32,
}

/// How requests are spread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RoutingAlgorithm {
    /// The default.
    RoundRobin,
    /// The target with the fewest requests in flight.
    LeastOutstandingRequests,
    /// Random by weight.
    WeightedRandom,
}

/// A TargetGroupBinding.
#[derive(Clone, Debug, PartialEq)]
pub struct TargetGroupBindingSpec {
    /// `metadata.namespace`.
    pub namespace: String,
    /// `metadata.name`.
    pub name: String,
    /// `spec.targetGroupARN` or `targetGroupName` as written.
    pub target_group_reference: String,
    /// The target group in the plan.
    pub target_group: TargetGroupId,
    /// `spec.serviceRef.name`.
    pub service_name: String,
    /// `spec.serviceRef.port`: number or name.
    pub service_port: String,
    /// `spec.targetType: instance` (default ip).
    pub instance_targets: bool,
    /// `spec.nodeSelector` for instance targets.
    pub node_selector: Option<LabelSelector>,
}

/// A CloudWatch alarm.
#[derive(Clone, Debug, PartialEq)]
pub struct AlarmSpec {
    /// `AlarmName`, else the logical id.
    pub name: String,
    /// `MetricName`.
    pub metric: String,
    /// `Namespace`.
    pub namespace: String,
    /// `Statistic` or `ExtendedStatistic`.
    pub statistic: String,
    /// `Period`.
    pub period: Span,
    /// `EvaluationPeriods` (N).
    pub evaluation_periods: u32,
    /// `DatapointsToAlarm` (M), default N.
    pub datapoints_to_alarm: u32,
    /// `Threshold`.
    pub threshold: f64,
    /// `ComparisonOperator`.
    pub comparison: Comparison,
    /// `TreatMissingData`.
    pub missing: MissingData,
    /// Target group that the alarm watches; assumed where the template has no dimensions.
    pub target_group: Option<TargetGroupId>,
    /// `Dimensions` with plain values.
    pub dimensions: Vec<(String, String)>,
}

/// `ComparisonOperator`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comparison {
    /// `GreaterThanOrEqualToThreshold`.
    GreaterOrEqual,
    /// `GreaterThanThreshold`.
    Greater,
    /// `LessThanThreshold`.
    Less,
    /// `LessThanOrEqualToThreshold`.
    LessOrEqual,
}

/// `TreatMissingData`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MissingData {
    /// The default.
    Missing,
    /// Counts as good.
    NotBreaching,
    /// Counts as bad.
    Breaching,
    /// The state stays.
    Ignore,
}
