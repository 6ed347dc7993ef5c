//! Where nodes are: their zones, read off their labels once for as long as those stay.
//!
//! In: nodes. Out: the name of a node's zone, and how many nodes of each zone are Ready. Source:
//! `pkg/controller/nodelifecycle/node_lifecycle_controller.go` (`GetZoneKey`, `getNodeConditions`).

use super::zones::ZoneName;
use crate::rules::labels::Labels;
use crate::world::{Node, World};
use std::collections::BTreeMap;
use std::sync::Arc;

const EXCLUDED: &str = "node.kubernetes.io/exclude-disruption";
const ZONE_LABELS: [&str; 2] = ["topology.kubernetes.io/region", "topology.kubernetes.io/zone"];

/// What the labels of a node say.
#[derive(Clone, Debug)]
struct Place {
    /// The labels: others are other memory.
    labels: Arc<Labels>,
    zone: [String; 2],
    /// It counts for the state of its zone.
    counts: bool,
}

impl Place {
    fn of(labels: &Arc<Labels>) -> Place {
        let zone = ZONE_LABELS.map(|label| labels.get(label).unwrap_or_default().to_string());
        Place { labels: labels.clone(), zone, counts: !labels.contains_key(EXCLUDED) }
    }
}

/// Places of all nodes.
#[derive(Debug, Default)]
pub struct Places(Vec<Option<Place>>);

impl Places {
    fn of(&mut self, node: &Node) -> &Place {
        let index = node.id.index();
        if self.0.len() <= index {
            self.0.resize(index + 1, None);
        }
        let known = &mut self.0[index];
        if known.as_ref().is_some_and(|place| !Arc::ptr_eq(&place.labels, &node.labels)) {
            *known = None;
        }
        known.get_or_insert_with(|| Place::of(&node.labels))
    }

    /// The zone of a node.
    pub fn zone_of(&mut self, node: &Node) -> ZoneName<'_> {
        name(&self.of(node).zone)
    }

    /// Ready and other nodes of each zone that has nodes.
    pub fn counts(&mut self, world: &World) -> BTreeMap<ZoneName<'_>, (usize, usize)> {
        let living = || world.nodes.iter().filter(|node| node.gone.is_none());
        for node in living() {
            self.of(node);
        }
        let mut counts: BTreeMap<ZoneName, (usize, usize)> = BTreeMap::new();
        for node in living() {
            let Some(place) = self.0[node.id.index()].as_ref().filter(|place| place.counts) else { continue };
            let (ready, not_ready) = counts.entry(name(&place.zone)).or_default();
            if node.is_ready() { *ready += 1 } else { *not_ready += 1 }
        }
        counts
    }
}

fn name(zone: &[String; 2]) -> ZoneName<'_> {
    [&zone[0], &zone[1]]
}
