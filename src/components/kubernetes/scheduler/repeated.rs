//! A pod that asks what the one before it asked, of nodes that are as they were, hears the same refusals: a ReplicaSet makes
//! many pods at once, and where there is no room for the first there is none for the next.
//!
//! In: a decision that found no node, and all that it was made from. Out: the same decision for the next pod, if that sees
//! the same. Pods of whose own something is read (ports, volumes, nominations, selectors of controllers elsewhere) are tried
//! anew, and so are those that come while a pod is assumed on a node.

use super::decide::Decision;
use super::view::View;
use crate::plan::TemplateId;
use crate::world::{Owner, PodId};

/// All that a decision for a plain pod depends on, by what tells that it has changed.
#[derive(Clone, Debug, PartialEq)]
pub struct Inputs {
    template: TemplateId,
    owner: Owner,
    start: usize,
    /// Of nodes, and of the pods on them.
    changes: u64,
    /// Of which nodes there are, with which labels.
    generation: u64,
    services: u64,
}

impl Inputs {
    /// What a decision for a pod depends on; `None`: on more than that.
    pub fn of(view: &View, pod: PodId, start: usize) -> Option<Inputs> {
        let (world, entry) = (view.world, view.world.pod(pod));
        let plain = !view.cluster.templates[entry.template.index()].ports
            && view.template(pod).volume_claims.is_empty()
            && entry.pinned.is_none()
            && entry.nominated.is_none()
            && !world.controller_selectors.contains_key(&pod);
        let alone = view.assumed.all().is_empty() && view.nominated.is_empty() && view.is_current();
        (plain && alone).then(|| Inputs {
            template: entry.template,
            owner: entry.owner,
            start,
            changes: world.census().changes(),
            generation: world.census().generation(),
            services: world.services_version(),
        })
    }
}

/// A decision that found no node.
pub struct Refused {
    /// What it was made from.
    pub inputs: Inputs,
    /// What it says.
    pub decision: Decision,
}

impl Refused {
    /// The decision, kept with what it was made from; `None`: it found a node, or depends on more than that.
    pub fn of(inputs: Option<Inputs>, decision: Decision) -> Option<Refused> {
        let found_none = decision.feasible.is_empty();
        inputs.filter(|_| found_none).map(|inputs| Refused { inputs, decision })
    }
}
