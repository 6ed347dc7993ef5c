//! Where nodes are: their zones, read off their labels once for as long as those stay.
//!
//! In: nodes. Out: the number of a node's zone, and how many nodes of each zone are Ready. Source:
//! `pkg/controller/nodelifecycle/node_lifecycle_controller.go` (`GetZoneKey`, `getNodeConditions`).

use super::zones::Zones;
use crate::rules::labels::Labels;
use crate::world::{Node, World};
use std::sync::Arc;

const EXCLUDED: &str = "node.kubernetes.io/exclude-disruption";
const ZONE_LABELS: [&str; 2] = ["topology.kubernetes.io/region", "topology.kubernetes.io/zone"];

/// What the labels of a node say.
#[derive(Clone, Debug)]
struct Place {
    /// The labels: others are other memory.
    labels: Arc<Labels>,
    zone: usize,
    /// It counts for the state of its zone.
    counts: bool,
}

impl Place {
    fn of(labels: &Arc<Labels>, zones: &mut Zones) -> Place {
        let zone = zones.number_of(ZONE_LABELS.map(|label| labels.get(label).unwrap_or_default()));
        Place { labels: labels.clone(), zone, counts: !labels.contains_key(EXCLUDED) }
    }
}

/// Places of all nodes.
#[derive(Debug, Default)]
pub struct Places {
    /// By node.
    places: Vec<Option<Place>>,
    /// By zone; only its memory is used again.
    counts: Vec<(usize, usize)>,
}

impl Places {
    fn of(&mut self, zones: &mut Zones, node: &Node) -> &Place {
        let index = node.id.index();
        if self.places.len() <= index {
            self.places.resize(index + 1, None);
        }
        let known = &mut self.places[index];
        if known.as_ref().is_some_and(|place| !Arc::ptr_eq(&place.labels, &node.labels)) {
            *known = None;
        }
        known.get_or_insert_with(|| Place::of(&node.labels, zones))
    }

    /// The zone that a node is known to be in, unless its labels have changed since.
    pub fn known_zone(&self, node: &Node) -> Option<usize> {
        let known = self.places.get(node.id.index())?.as_ref()?;
        Arc::ptr_eq(&known.labels, &node.labels).then_some(known.zone)
    }

    /// The zone of a node.
    pub fn zone_of(&mut self, zones: &mut Zones, node: &Node) -> usize {
        self.of(zones, node).zone
    }

    /// Ready and other nodes of each zone.
    pub fn counts(&mut self, zones: &mut Zones, world: &World) -> &[(usize, usize)] {
        let mut counts = std::mem::take(&mut self.counts);
        counts.clear();
        for node in world.nodes.iter().filter(|node| node.gone.is_none()) {
            let &Place { zone, counts: is_counted, .. } = self.of(zones, node);
            counts.resize(zones.count(), (0, 0));
            let (ready, not_ready) = &mut counts[zone];
            *ready += usize::from(is_counted && node.is_ready());
            *not_ready += usize::from(is_counted && !node.is_ready());
        }
        counts.resize(zones.count(), (0, 0));
        self.counts = counts;
        &self.counts
    }
}
