//! What the controller remembers of availability zones: they are named only for addresses outside the VPC.
//!
//! Source: aws-load-balancer-controller `pkg/targetgroupbinding/resource_manager.go` (`needsPodAZCache`, `nodeAZCache`).

use super::objects::{Name, Objects};
use crate::engine::{Span, Time};
use std::collections::BTreeMap;
use std::rc::Rc;

/// The memory.
#[derive(Clone, Debug, Default)]
pub struct Zones {
    /// Bindings whose registration with zone `all` was refused, until when.
    needed: BTreeMap<Name, Time>,
    /// Zones of nodes by name, until when.
    nodes: BTreeMap<Rc<str>, (Rc<str>, Time)>,
}

impl Zones {
    /// Registrations of a binding need the zones of nodes.
    pub fn need(&mut self, name: &Name, now: Time, memory: Span) {
        self.needed.insert(name.clone(), now + memory);
    }

    /// Whether they do.
    pub fn are_needed(&self, name: &Name, now: Time) -> bool {
        self.needed.get(name).is_some_and(|&until| now < until)
    }

    /// The zone label of a node; nothing where it has none.
    ///
    /// # Errors
    /// The pod has no node, or that does not exist.
    pub fn of_node(
        &mut self,
        node: &Rc<str>,
        copies: &Objects,
        now: Time,
        memory: Span,
    ) -> Result<Option<Rc<str>>, &'static str> {
        if let Some((zone, _)) = self.nodes.get(node).filter(|&&(_, until)| now < until) {
            return Ok(Some(zone.clone()));
        }
        let object = copies.nodes.get(node).ok_or("the pod has no node")?;
        let zone = object.labels.get("topology.kubernetes.io/zone").map(Rc::<str>::from);
        if let Some(zone) = &zone {
            self.nodes.insert(node.clone(), (zone.clone(), now + memory));
        }
        Ok(zone)
    }
}
