//! What the controller meets outside itself: the API server, EC2 and the load balancer; and what it tells of its work.

use super::objects::{Binding, BindingPatch, Condition, GatePatch, Name, Patched, Pod, Refused};
use super::targets::{Known, Registration, Target};
use crate::engine::Span;
use std::rc::Rc;

/// What answers at once. Calls to the load balancer take their time and are answered through
/// [`super::controller::Controller::answer`].
pub trait Outside {
    /// Patches a binding.
    ///
    /// # Errors
    /// The API server refuses.
    fn patch_binding(&mut self, name: &Name, patch: &BindingPatch) -> Result<Patched<Binding>, Refused>;

    /// Patches a condition of a pod.
    ///
    /// # Errors
    /// The API server refuses.
    fn patch_pod(&mut self, name: &Name, patch: &GatePatch) -> Result<Patched<Pod>, Refused>;

    /// Security-group work of a reconcile succeeds.
    fn networking_succeeds(&mut self) -> bool;

    /// An address lies within the VPC; `None`: it is no address.
    fn is_in_vpc(&self, address: &str) -> Option<bool>;

    /// What is added to the delay of a deferred reconcile, up to `max`.
    fn deferral_jitter(&mut self, name: &Name, max: Span) -> Span;

    /// Something happened in the work on a binding.
    fn note(&mut self, name: &Name, note: Note);
}

/// A call to the load balancer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// The target group.
    pub group: Rc<str>,
    /// What is asked.
    pub action: Action,
}

/// What a call asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// DescribeTargetHealth; `None`: of the whole group.
    Describe(Option<Rc<Vec<Target>>>),
    /// RegisterTargets.
    Register(Rc<Vec<Registration>>),
    /// DeregisterTargets.
    Deregister(Rc<Vec<Target>>),
}

impl std::fmt::Display for Action {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Action::Describe(None) => formatter.write_str("DescribeTargetHealth of the whole group"),
            Action::Describe(Some(targets)) => write!(formatter, "DescribeTargetHealth of {} targets", targets.len()),
            Action::Register(targets) => {
                write!(formatter, "RegisterTargets of {}", listed(targets.iter().map(|one| &one.target)))
            }
            Action::Deregister(targets) => write!(formatter, "DeregisterTargets of {}", listed(targets.iter())),
        }
    }
}

/// `10.0.0.4:80, 10.0.0.5:80`.
fn listed<'a>(targets: impl Iterator<Item = &'a Target>) -> String {
    targets.map(|target| format!("{}:{}", target.id, target.port)).collect::<Vec<_>>().join(", ")
}

/// An error of a call, after the client's own retries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AwsError {
    /// Error code.
    pub code: Rc<str>,
    /// Message.
    pub text: Rc<str>,
}

impl AwsError {
    /// The API refuses for now.
    pub fn throttled() -> AwsError {
        AwsError { code: "Throttling".into(), text: "Rate exceeded".into() }
    }

    /// IAM does not allow an action.
    pub fn denied(action: &str) -> AwsError {
        let text = format!("User is not authorized to perform: elasticloadbalancing:{action}");
        AwsError { code: "AccessDenied".into(), text: text.into() }
    }

    /// The target group or its targets are gone: a cleanup has nothing to do.
    pub fn means_gone(&self) -> bool {
        matches!(&*self.code, "TargetGroupNotFound" | "InvalidTarget" | "ValidationError")
    }

    /// A registration needs the zone of each address.
    pub fn wants_zones(&self) -> bool {
        &*self.code == "ValidationError" && self.text.contains("you must specify an Availability Zone")
    }
}

/// The answer to a call: what is described, nothing for the other actions.
pub type Answer = Result<Vec<Known>, AwsError>;

/// Reason of an event about a binding. Source: `pkg/k8s/events.go`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventReason {
    /// The reconcile succeeded.
    SuccessfullyReconciled,
    /// It failed.
    FailedReconcile,
    /// There is no Service, port or Endpoints object.
    BackendNotFound,
    /// Security-group work failed.
    FailedNetworkReconcile,
    /// The finalizer could not be added.
    FailedAddFinalizer,
    /// The finalizer could not be taken away.
    FailedRemoveFinalizer,
    /// The status could not be written.
    FailedUpdateStatus,
    /// Targets or gates could not be cleaned up.
    FailedCleanup,
}

impl EventReason {
    /// As the API writes it.
    pub const fn name(self) -> &'static str {
        match self {
            EventReason::SuccessfullyReconciled => "SuccessfullyReconciled",
            EventReason::FailedReconcile => "FailedReconcile",
            EventReason::BackendNotFound => "BackendNotFound",
            EventReason::FailedNetworkReconcile => "FailedNetworkReconcile",
            EventReason::FailedAddFinalizer => "FailedAddFinalizer",
            EventReason::FailedRemoveFinalizer => "FailedRemoveFinalizer",
            EventReason::FailedUpdateStatus => "FailedUpdateStatus",
            EventReason::FailedCleanup => "FailedCleanup",
        }
    }
}

/// How a reconcile ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Well.
    Ok,
    /// Again after this.
    Requeue(Span),
    /// Again after the back-off.
    Error,
    /// It panicked: as an error.
    Panic,
}

/// What happened in the work on a binding.
#[derive(Clone, Debug, PartialEq)]
pub enum Note {
    /// A reconcile began.
    Start,
    /// The finalizer was added or taken away.
    Finalizer(bool),
    /// A pod's condition was patched.
    Gate {
        /// The pod.
        pod: Name,
        /// The condition afterwards.
        condition: Condition,
        /// It is another than before.
        changed: bool,
    },
    /// The checkpoint was patched.
    Checkpoint {
        /// The new one.
        value: Rc<str>,
        /// The binding is another than before.
        changed: bool,
        /// By the deferred reconciler.
        deferred: bool,
    },
    /// The status was patched.
    Status {
        /// The binding afterwards.
        binding: Rc<Binding>,
        /// It is another than before.
        changed: bool,
    },
    /// An event was recorded.
    Event(EventReason),
    /// Nothing to do.
    Skip,
    /// A reconcile ended.
    Done(Outcome),
}
