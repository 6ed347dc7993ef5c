//! Readiness gates: the pod condition that says what the load balancer thinks of the pod's target.
//!
//! Source: aws-load-balancer-controller `pkg/targetgroupbinding/resource_manager.go`
//! (`updateTargetHealthPodConditionForPod`, `calculateReadinessGateTransition`).

use super::objects::{GatePatch, Pod, Status};
use super::targets::Health;
use crate::engine::Time;
use std::rc::Rc;

/// Status of a gate by the health of the target; a pod without the gate needs nothing.
pub fn status(pod: &Pod, gate: &str, health: Option<&Health>) -> Status {
    match health {
        _ if !pod.has_gate(gate) => Status::True,
        None => Status::Unknown,
        Some(health) if &*health.state == "healthy" => Status::True,
        Some(_) => Status::False,
    }
}

/// The patch that brings the condition of a gated pod into line, computed against the controller's copy of the pod, so
/// that what another copy holds beside it can survive. `None`: the copy is as it should be.
pub fn patch(pod: &Pod, gate: &Rc<str>, health: Option<&Health>, now: Time) -> Option<GatePatch> {
    let nothing = || Rc::<str>::from("");
    let status = status(pod, gate, health);
    let reason = health.map_or_else(nothing, |health| health.reason.clone());
    let text = health.map_or_else(nothing, |health| health.text.clone());
    let (uid, kind) = (pod.uid.clone(), gate.clone());
    let present = now.whole_second();
    let Some(copy) = pod.condition(gate) else {
        // Empty fields of a new condition are not written at all.
        let written = |field: Rc<str>| (!field.is_empty()).then_some(field);
        let (reason, text) = (written(reason), written(text));
        return Some(GatePatch { uid, kind, status: Some(status), reason, text, since: Some(present) });
    };
    let turned = copy.status != status;
    if !turned && copy.reason == reason && copy.text == text {
        return None;
    }
    Some(GatePatch {
        uid,
        kind,
        status: turned.then_some(status),
        reason: (copy.reason != reason).then_some(reason),
        text: (copy.text != text).then_some(text),
        since: (turned && copy.since != Some(present)).then_some(present),
    })
}
