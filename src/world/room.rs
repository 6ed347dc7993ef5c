//! What the scheduler asks of every node in every cycle: how much room it has, in one line of the processor's cache.
//!
//! A copy of what the nodes themselves say, written with every change; [`World::check`] holds the nodes against it.

use super::{NodeId, World};
use crate::rules::resources::Resources;

/// Pods, CPU, memory and ephemeral storage.
pub type Amounts = [i64; 4];

/// Places of CPU and memory among them.
pub const CPU: usize = 1;
/// Memory's.
pub const MEMORY: usize = 2;

/// The amounts of resources that every node has.
pub fn amounts(resources: &Resources) -> Amounts {
    [resources.pods, resources.cpu.0, resources.memory.0, resources.ephemeral_storage.0]
}

/// The room of one node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(align(64))]
pub struct Room {
    /// What the node has.
    pub allocatable: Amounts,
    /// What its pods request.
    pub requested: Amounts,
}

impl World {
    /// After every change of a node's allocatable, of the requests of its pods, or of its cordon.
    pub(super) fn note_room(&mut self, node: NodeId) {
        let entry = &self.nodes[node.index()];
        let census = &mut self.census;
        census.touch(node);
        if census.rooms.len() <= node.index() {
            census.rooms.resize(node.index() + 1, Room::default());
        }
        census.rooms[node.index()] =
            Room { allocatable: amounts(&entry.allocatable), requested: amounts(&entry.requested) };
        if entry.unschedulable {
            census.cordoned.insert(node)
        } else {
            census.cordoned.remove(node)
        };
    }

    /// Rooms and cordons are those of the nodes.
    pub(super) fn check_rooms(&self) -> Result<(), String> {
        for node in &self.nodes {
            let room = Room { allocatable: amounts(&node.allocatable), requested: amounts(&node.requested) };
            if *self.census.room(node.id) != room || self.census.is_cordoned(node.id) != node.unschedulable {
                return Err(format!("node {}: its room or its cordon is not what the scheduler reads", node.name));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::components::kubernetes::testbed::{self, Testbed, node, plan, template};
    use crate::world::{NodeId, PodPhase};

    #[test]
    fn rooms_follow_pods_and_nodes_and_a_change_behind_their_back_is_found() {
        let mut world = World::new(&plan(vec![template(300)]));
        let id = Testbed::ready_node(&mut world, node("a", 1000, "x"));
        let pods = [0, 0].map(|template| testbed::new_pod(&mut world, template));
        pods.iter().for_each(|&pod| world.bind_pod(pod, id));
        assert_eq!((world.census().room(id).allocatable[CPU], world.census().room(id).requested[CPU]), (1000, 600));
        world.set_pod_phase(pods[0], PodPhase::Succeeded);
        world.set_unschedulable(id, true);
        assert_eq!((world.census().room(id).requested[CPU], world.census().is_cordoned(id)), (300, true));
        assert_eq!(world.check(), Ok(()));
        world.nodes[NodeId(0).index()].unschedulable = false;
        assert_eq!(world.check(), Err("node a: its room or its cordon is not what the scheduler reads".to_string()));
    }
}
