//! What faults do while they are in force, and how they are called.
//!
//! In: the faults of a plan and which of them are in force. Out: answers to what components ask (is this zone lost, is this
//! call denied), and words for events and explanations. Each question is a fold over a short list.

use super::ids::{AppId, InstanceTypeId, TargetGroupId, ZoneId};
use super::script::{Fault, FaultKind, NodeChoice, PodCall};
use super::{CapacityType, Plan};
use crate::engine::Time;

/// Calls of the load balancer controller to AWS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoadBalancerCall {
    /// `DescribeTargetHealth`.
    Describe,
    /// `RegisterTargets`.
    Register,
    /// `DeregisterTargets`.
    Deregister,
}

impl LoadBalancerCall {
    /// As IAM writes the action.
    pub const fn name(self) -> &'static str {
        match self {
            LoadBalancerCall::Describe => "DescribeTargetHealth",
            LoadBalancerCall::Register => "RegisterTargets",
            LoadBalancerCall::Deregister => "DeregisterTargets",
        }
    }
}

/// A program that runs controllers and can be down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Program {
    /// aws-load-balancer-controller.
    LoadBalancerController,
    /// Karpenter.
    Karpenter,
    /// kube-controller-manager.
    ControllerManager,
    /// kube-scheduler.
    Scheduler,
}

impl Program {
    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Program::LoadBalancerController => "aws-load-balancer-controller",
            Program::Karpenter => "karpenter",
            Program::ControllerManager => "kube-controller-manager",
            Program::Scheduler => "kube-scheduler",
        }
    }
}

/// A condition of a node that EKS's node monitoring agent looks after, False when something is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum NodeProblem {
    /// AcceleratedHardwareReady.
    AcceleratedHardware,
    /// StorageReady.
    Storage,
    /// NetworkingReady.
    Networking,
    /// KernelReady.
    Kernel,
    /// ContainerRuntimeReady.
    ContainerRuntime,
}

impl NodeProblem {
    /// All.
    pub const ALL: [NodeProblem; 5] = [
        NodeProblem::AcceleratedHardware,
        NodeProblem::Storage,
        NodeProblem::Networking,
        NodeProblem::Kernel,
        NodeProblem::ContainerRuntime,
    ];

    /// The condition, as the API writes it.
    pub const fn condition(self) -> &'static str {
        match self {
            NodeProblem::AcceleratedHardware => "AcceleratedHardwareReady",
            NodeProblem::Storage => "StorageReady",
            NodeProblem::Networking => "NetworkingReady",
            NodeProblem::Kernel => "KernelReady",
            NodeProblem::ContainerRuntime => "ContainerRuntimeReady",
        }
    }

    /// That it is False, in words.
    pub const fn words(self) -> &'static str {
        match self {
            NodeProblem::AcceleratedHardware => "condition AcceleratedHardwareReady is False",
            NodeProblem::Storage => "condition StorageReady is False",
            NodeProblem::Networking => "condition NetworkingReady is False",
            NodeProblem::Kernel => "condition KernelReady is False",
            NodeProblem::ContainerRuntime => "condition ContainerRuntimeReady is False",
        }
    }
}

/// Which part of a request takes longer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum SlowPart {
    /// All of it.
    #[default]
    All,
    /// Only what it waits for: a database, DNS, another service.
    Wait,
    /// Only what it computes.
    Cpu,
}

/// What comes from the load balancer to a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Passage {
    /// A health check.
    Check,
    /// A request.
    Request,
}

/// The faults in force.
#[derive(Clone, Copy)]
pub struct InForce<'a> {
    faults: &'a [Fault],
    active: &'a [bool],
}

impl<'a> InForce<'a> {
    /// `active` says of each fault of the plan whether it is in force.
    pub fn new(plan: &'a Plan, active: &'a [bool]) -> InForce<'a> {
        InForce { faults: &plan.faults, active }
    }

    fn faults(self) -> impl Iterator<Item = &'a Fault> {
        self.faults.iter().zip(self.active).filter(|&(_, &active)| active).map(|(fault, _)| fault)
    }

    fn any(self, matches: impl Fn(&FaultKind) -> bool) -> bool {
        self.faults().any(|fault| matches(&fault.kind))
    }

    /// The application of a target group answers health checks with an error.
    pub fn fails_checks(self, group: TargetGroupId) -> bool {
        self.any(|kind| *kind == FaultKind::HealthCheckFails(group))
    }

    /// A security group drops what comes from the load balancer to targets of a group.
    pub fn drops(self, group: TargetGroupId, passage: Passage) -> bool {
        self.any(|kind| match *kind {
            FaultKind::SecurityGroupBlocks { target_group, only_checks } => {
                target_group == group && (passage == Passage::Check || !only_checks)
            }
            _ => false,
        })
    }

    /// No address is left in the subnet of a zone.
    pub fn lacks_addresses(self, zone: Option<ZoneId>) -> bool {
        self.any(|kind| matches!(*kind, FaultKind::SubnetFull(of) if of.is_none() || of == zone))
    }

    /// A zone is lost.
    pub fn has_lost(self, zone: ZoneId) -> bool {
        self.any(|kind| *kind == FaultKind::ZoneFailure(zone))
    }

    /// IAM denies a call to the load balancer controller.
    pub fn denies(self, call: LoadBalancerCall) -> bool {
        self.any(|kind| matches!(*kind, FaultKind::ControllerDenied(of) if of.is_none() || of == Some(call)))
    }

    /// The share of calls to the load balancer's API that are throttled.
    pub fn throttled(self) -> f64 {
        let share = |fault: &Fault| match fault.kind {
            FaultKind::LoadBalancerThrottling(share) => Some(share),
            _ => None,
        };
        self.faults().filter_map(share).fold(0.0, f64::max)
    }

    /// A program is down, and until when (`None`: for good).
    pub fn is_down(self, program: Program) -> Option<Option<Time>> {
        let mut ends = self.faults().filter(|fault| fault.kind == FaultKind::ControllerDown(program)).map(|f| f.until);
        let first = ends.next()?;
        Some(ends.fold(first, |latest, end| Some(latest?.max(end?))))
    }

    /// Image pulls take so many times as long.
    pub fn pull_factor(self) -> f64 {
        let factor = |fault: &Fault| match fault.kind {
            FaultKind::SlowRegistry(factor) => Some(factor),
            _ => None,
        };
        self.faults().filter_map(factor).product()
    }

    /// Spot prices are so many times what they were; `is_meant` says whether a fault about that type and zone counts.
    pub fn price_factor(self, is_meant: impl Fn(Option<InstanceTypeId>, Option<ZoneId>) -> bool) -> f64 {
        let factor = |fault: &Fault| match fault.kind {
            FaultKind::SpotPrice { instance_type, zone, factor } if is_meant(instance_type, zone) => Some(factor),
            _ => None,
        };
        self.faults().filter_map(factor).product()
    }

    /// A part of an application's requests takes so many times as long.
    pub fn slowdown(self, app: AppId, part: SlowPart) -> f64 {
        let factor = |fault: &Fault| match fault.kind {
            FaultKind::Slowdown(of, factor, slow) if of == app && (slow == part || slow == SlowPart::All) => {
                Some(factor)
            }
            _ => None,
        };
        self.faults().filter_map(factor).product()
    }
}

impl NodeChoice {
    /// Which node is meant, in words.
    pub(super) fn words(&self) -> String {
        match self {
            NodeChoice::Named(name) => format!("node {name}"),
            NodeChoice::Fullest => "the fullest node".to_string(),
            NodeChoice::Recorded { claim, .. } => format!("the node of NodeClaim {}", claim + 1),
            NodeChoice::All => "all nodes".to_string(),
        }
    }
}

impl Fault {
    /// What goes wrong, in words.
    pub fn words(&self, plan: &Plan) -> String {
        let zone = |zone: &Option<ZoneId>| zone.map(|zone| format!(" in {}", plan.zones[zone.index()]));
        let kind = |id: &Option<super::InstanceTypeId>| id.map(|id| format!(" {}", plan.instance_type(id).name));
        let group = |id: TargetGroupId| &plan.target_groups[id.index()].name;
        match &self.kind {
            FaultKind::SpotInterruption { instance_type, zone: of } => format!(
                "EC2 takes back spot instances{}{}",
                kind(instance_type).unwrap_or_default(),
                zone(of).unwrap_or_default()
            ),
            FaultKind::RebalanceRecommendation { instance_type, zone: of } => format!(
                "EC2 recommends to replace spot instances{}{}",
                kind(instance_type).unwrap_or_default(),
                zone(of).unwrap_or_default()
            ),
            FaultKind::SpotPrice { instance_type, zone: of, factor } => format!(
                "spot prices{}{} are {factor} times what they were",
                kind(instance_type).map(|name| format!(" of{name}")).unwrap_or_default(),
                zone(of).unwrap_or_default()
            ),
            FaultKind::NodeFailure(NodeChoice::All) => "all nodes fail".to_string(),
            FaultKind::NodeFailure(choice) => format!("{} fails", choice.words()),
            FaultKind::NodeUnhealthy { node, problem } => {
                let condition = problem.map_or("Ready", NodeProblem::condition);
                format!("condition {condition} of {} is False", node.words())
            }
            FaultKind::InsufficientCapacity { instance_type, zone: of, capacity_type } => format!(
                "EC2 has no{}{} capacity{}",
                capacity_type.map(CapacityType::name).map(|name| format!(" {name}")).unwrap_or_default(),
                kind(instance_type).unwrap_or_default(),
                zone(of).unwrap_or_default()
            ),
            FaultKind::HealthCheckFails(id) => {
                format!("health checks of target group {} are answered with an error", group(*id))
            }
            FaultKind::SecurityGroupBlocks { target_group, only_checks } => format!(
                "a security group drops {} the load balancer to target group {}",
                if *only_checks { "health checks from" } else { "everything from" },
                group(*target_group)
            ),
            FaultKind::SubnetFull(of) => {
                format!("the subnets{} have no free addresses", zone(of).unwrap_or_default())
            }
            FaultKind::ZoneFailure(of) => format!("zone {} is lost", plan.zones[of.index()]),
            FaultKind::ControllerDenied(call) => {
                let call = call.map_or("its AWS calls", LoadBalancerCall::name);
                format!("IAM denies {call} to the load balancer controller")
            }
            FaultKind::LoadBalancerThrottling(share) => {
                format!("the load balancer's API throttles {}% of the calls", (share * 1e3).round() / 1e1)
            }
            FaultKind::ControllerDown(program) => format!("{} is down", program.name()),
            FaultKind::Slowdown(app, factor, part) => {
                let what = match part {
                    SlowPart::All => "requests",
                    SlowPart::Wait => "dependencies",
                    SlowPart::Cpu => "computations",
                };
                format!("{what} of {} take {factor} times as long", plan.apps[app.index()].name)
            }
            FaultKind::SlowRegistry(factor) => format!("image pulls take {factor} times as long"),
            FaultKind::PodCallsFail(PodCall::Create) => "creations of pods fail".to_string(),
            FaultKind::PodCallsFail(PodCall::Delete) => "deletions of pods fail".to_string(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::Span;

    #[test]
    fn factors_multiply_and_the_latest_end_counts() {
        let start = Time::from_unix_seconds(1_000);
        let mut plan = Plan::empty(start, Span::from_secs(100));
        let app = AppId(0);
        let kinds = [
            FaultKind::Slowdown(app, 3.0, SlowPart::All),
            FaultKind::Slowdown(app, 5.0, SlowPart::Wait),
            FaultKind::Slowdown(app, 100.0, SlowPart::All),
            FaultKind::ControllerDown(Program::Karpenter),
            FaultKind::ControllerDown(Program::Karpenter),
        ];
        plan.faults.extend(kinds.map(|kind| Fault { at: start, until: Some(start + Span::from_secs(10)), kind }));
        plan.faults[4].until = Some(start + Span::from_secs(20));
        let force = InForce::new(&plan, &[true, true, false, true, true]);
        assert_eq!([SlowPart::Wait, SlowPart::Cpu].map(|part| force.slowdown(app, part)), [15.0, 3.0]);
        assert_eq!(force.slowdown(AppId(1), SlowPart::Cpu), 1.0);
        assert_eq!(force.is_down(Program::Karpenter), Some(Some(start + Span::from_secs(20))));
        assert_eq!(force.is_down(Program::Scheduler), None);
        plan.faults[3].until = None;
        assert_eq!(InForce::new(&plan, &[false, false, false, true, true]).is_down(Program::Karpenter), Some(None));
    }
}
