//! What passes find out from templates and pools alone, kept from one pass to the next.
//!
//! Each entry holds what it was made from, and counts only for that very memory: who edits a pool, a template or a
//! DaemonSet makes a new one. Where anything is sold out, or the newest pod of a DaemonSet is of another template, it is found
//! out anew. A memo belongs to one plan, as the catalogue does.

use super::packing::asked_keys;
use super::pools::{self, AsWritten, Daemon, Template};
use super::preferences::{self, Wishes};
use super::volumes;
use crate::components::karpenter::cluster::burdens::Burdens;
use crate::components::karpenter::cluster::{Catalog, Market, StateNode, pool_type, zone_named};
use crate::plan::{
    CapacityType, InstanceTypeId, NodePoolId, NodePoolSpec, Plan, PodTemplate, TemplateId, Volumes, ZoneId,
};
use crate::rules::labels::Labels;
use crate::rules::requirements::{CAPACITY_TYPE, INSTANCE_TYPE, Requirements, ZONE, normalized};
use crate::world::{NodeClaim, NodeId, World};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};

/// Labels that anything in a pass asks existing nodes for.
pub type Keys = Arc<BTreeSet<Arc<str>>>;

/// The memo; its copies are one and the same.
#[derive(Clone, Default)]
pub struct Memo(Arc<Mutex<Known>>);

impl std::fmt::Debug for Memo {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Memo")
    }
}

#[derive(Default)]
struct Known {
    wishes: BTreeMap<TemplateId, (Arc<PodTemplate>, Arc<Wishes>)>,
    keys: Option<(Vec<Arc<PodTemplate>>, Keys)>,
    pools: Option<Arc<Pools>>,
    as_written: AsWritten,
    /// By node.
    labels: Vec<Option<(Arc<Labels>, Asked)>>,
    /// By claim that is launched and not registered.
    coming: Vec<Option<Asked>>,
    /// What was found fit to be planned with last, with the volumes of then.
    sound: Option<(Arc<PodTemplate>, Arc<Volumes>)>,
    /// By node.
    offerings: Vec<Option<(Arc<Labels>, NodeOffering)>>,
    burdens: Arc<Burdens>,
}

/// What labels say, of those that anybody asks for.
#[derive(Clone)]
struct Asked {
    keys: Keys,
    requirements: Requirements,
}

/// What the labels of a node say of what was bought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NodeOffering {
    /// Its type, as its pool has it.
    pub instance_type: Option<InstanceTypeId>,
    /// Its zone.
    pub zone: Option<ZoneId>,
    /// How it is paid.
    pub capacity_type: Option<CapacityType>,
    /// It has a label for that.
    pub has_capacity_type: bool,
    /// It has a label for its zone.
    pub has_zone: bool,
}

impl NodeOffering {
    /// Of the labels of a node of a pool.
    pub fn of(plan: &Plan, pool: NodePoolId, labels: &Labels) -> NodeOffering {
        let (kind, zone) = (labels.get(CAPACITY_TYPE), labels.get(ZONE));
        NodeOffering {
            instance_type: labels.get(INSTANCE_TYPE).and_then(|name| pool_type(plan, pool, name)),
            zone: zone.and_then(|name| zone_named(plan, name)),
            capacity_type: kind.and_then(|name| CapacityType::ALL.into_iter().find(|kind| kind.name() == name)),
            has_capacity_type: kind.is_some(),
            has_zone: zone.is_some(),
        }
    }
}

/// Pools that nodes may be created of, and the daemons that come with them.
pub struct Pools {
    /// The pools and the daemons that they were made from.
    specs: Vec<Arc<NodePoolSpec>>,
    examples: Vec<[Arc<PodTemplate>; 2]>,
    /// Templates of nodes, in the order in which they are tried.
    pub templates: Vec<Template>,
    /// Daemons, as looking for types that they run on has left them.
    pub daemons: Vec<Daemon>,
}

impl Pools {
    /// They were made from the pools and the daemons of now. `written`: every pod of a DaemonSet is as its set says.
    fn are_of(&self, world: &World, written: bool) -> bool {
        let alike = |known: &[Arc<PodTemplate>; 2], now: &[&Arc<PodTemplate>; 2]| {
            known.iter().zip(now).all(|(one, two)| Arc::ptr_eq(one, two))
        };
        let mut known = self.examples.iter();
        let mut is_next = |now: [&Arc<PodTemplate>; 2]| known.next().is_some_and(|known| alike(known, &now));
        let all_are = if written {
            Daemon::as_written(world).all(&mut is_next)
        } else {
            Daemon::examples(world).into_iter().all(&mut is_next)
        };
        all_are && known.next().is_none() && are_same(&self.specs, &world.node_pools)
    }
}

impl Known {
    /// What the labels of a node say, if that is known of those that it has.
    fn asked(&self, world: &World, state: &StateNode, keys: &Keys) -> Option<&Asked> {
        let asked = match (unregistered(world, state), state.node) {
            (Some(claim), _) if claim.launched.is_some() => self.coming.get(claim.id.index())?.as_ref()?,
            (Some(_), _) | (None, None) => return None,
            (None, Some(node)) => {
                let (labels, asked) = self.labels.get(node.index())?.as_ref()?;
                Arc::ptr_eq(labels, &world.node(node).labels).then_some(asked)?
            }
        };
        Arc::ptr_eq(&asked.keys, keys).then_some(asked)
    }
}

/// The claim of a node that is not registered yet: its labels count.
fn unregistered<'w>(world: &'w World, state: &StateNode) -> Option<&'w NodeClaim> {
    state.claim.map(|id| world.claim(id)).filter(|claim| claim.registered.is_none())
}

fn put<T: Clone>(all: &mut Vec<Option<T>>, index: usize, entry: T) {
    if all.len() <= index {
        all.resize(index + 1, None);
    }
    all[index] = Some(entry);
}

fn are_same<T>(one: &[Arc<T>], two: &[Arc<T>]) -> bool {
    one.len() == two.len() && one.iter().zip(two).all(|(one, two)| Arc::ptr_eq(one, two))
}

impl Memo {
    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.lock().expect("nobody panics while holding it")
    }

    /// What the pods of a template wish for before they give anything up.
    pub fn wishes(
        &self,
        (plan, volumes): (&Plan, &Volumes),
        id: TemplateId,
        template: &Arc<PodTemplate>,
    ) -> Arc<Wishes> {
        let mut known = self.known();
        if let Some((_, wishes)) = known.wishes.get(&id).filter(|(made_from, _)| Arc::ptr_eq(made_from, template)) {
            return wishes.clone();
        }
        let ignored = plan.flags.karpenter.ignore_preferences;
        let wishes = Arc::new(Wishes::of(template.clone(), volumes, ignored));
        known.wishes.insert(id, (template.clone(), wishes.clone()));
        wishes
    }

    /// Labels that pods of these templates ask for.
    pub fn keys(&self, volumes: &Volumes, templates: &[Arc<PodTemplate>]) -> Keys {
        let mut known = self.known();
        if let Some((_, keys)) = known.keys.as_ref().filter(|(made_from, _)| are_same(made_from, templates)) {
            return keys.clone();
        }
        let mut keys = asked_keys(templates.iter().map(|template| &**template));
        keys.extend(volumes::keys(volumes).map(|key| Arc::from(normalized(key))));
        let keys = Arc::new(keys);
        known.keys = Some((templates.to_vec(), keys.clone()));
        keys
    }

    /// Why pods of a template are not planned with.
    pub fn refusal(&self, volumes: &Arc<Volumes>, template: &Arc<PodTemplate>) -> Option<String> {
        let is_known = |(known, with): &(Arc<PodTemplate>, Arc<Volumes>)| {
            Arc::ptr_eq(known, template) && Arc::ptr_eq(with, volumes)
        };
        if self.known().sound.as_ref().is_some_and(is_known) {
            return None;
        }
        let refusal = preferences::refusal(template).or_else(|| volumes::refusal(volumes, template));
        if refusal.is_none() {
            self.known().sound = Some((template.clone(), volumes.clone()));
        }
        refusal
    }

    /// What the labels of a node say, of those that anybody asks for. Until it is registered its labels are those of its claim,
    /// which stay from the launch on.
    pub fn labels(
        &self,
        world: &World,
        state: &StateNode,
        keys: &Keys,
        made: impl Fn() -> Requirements,
    ) -> Requirements {
        let mut known = self.known();
        if let Some(asked) = known.asked(world, state, keys) {
            debug_assert_eq!(asked.requirements, made());
            return asked.requirements.clone();
        }
        let requirements = made();
        let asked = Asked { keys: keys.clone(), requirements: requirements.clone() };
        match (unregistered(world, state), state.node) {
            (Some(claim), _) if claim.launched.is_some() => put(&mut known.coming, claim.id.index(), asked),
            (Some(_), _) | (None, None) => {}
            (None, Some(node)) => put(&mut known.labels, node.index(), (world.node(node).labels.clone(), asked)),
        }
        requirements
    }

    /// What was bought for a node of a pool; a node keeps its pool.
    pub fn offering(&self, plan: &Plan, world: &World, pool: NodePoolId, node: NodeId) -> NodeOffering {
        let mut known = self.known();
        if known.offerings.len() <= node.index() {
            known.offerings.resize(node.index() + 1, None);
        }
        let (labels, entry) = (&world.node(node).labels, &mut known.offerings[node.index()]);
        match entry.as_ref().filter(|(made_from, _)| Arc::ptr_eq(made_from, labels)) {
            Some((_, offering)) => {
                debug_assert_eq!(*offering, NodeOffering::of(plan, pool, labels));
                *offering
            }
            None => entry.insert((labels.clone(), NodeOffering::of(plan, pool, labels))).1,
        }
    }

    /// What the disruption of pods has to reckon with.
    pub fn burdens(&self, world: &World) -> Arc<Burdens> {
        let burdens = &mut self.known().burdens;
        if !burdens.are_of(world) {
            Arc::make_mut(burdens).refresh(world);
        }
        burdens.clone()
    }

    /// The pools of the last pass in which nothing was sold out.
    pub fn last_pools(&self) -> Option<Arc<Pools>> {
        self.known().pools.clone()
    }

    /// The pools of this instant.
    pub fn pools(&self, plan: &Plan, world: &World, catalog: &Catalog, market: &Market) -> Arc<Pools> {
        let mut known = self.known();
        let written = known.as_written.holds(world);
        debug_assert!(!written || Daemon::as_written(world).eq(Daemon::examples(world)));
        if let Some(pools) = known.pools.as_ref().filter(|pools| market.is_whole() && pools.are_of(world, written)) {
            return pools.clone();
        }
        let examples: Vec<[&Arc<PodTemplate>; 2]> =
            if written { Daemon::as_written(world).collect() } else { Daemon::examples(world) };
        let mut daemons = Daemon::all(&examples);
        let templates = pools::templates(plan, world, (catalog, market), &mut daemons);
        let examples = examples.into_iter().map(|example| example.map(Arc::clone)).collect();
        let pools = Arc::new(Pools { specs: world.node_pools.clone(), examples, templates, daemons });
        if market.is_whole() {
            known.pools = Some(pools.clone());
        }
        pools
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::components::karpenter::fixture::{edit_pool, small_plan};

    /// What is kept is what would be found out anew, before and after a pool was edited or a type sold out.
    #[test]
    fn what_is_kept_counts_for_the_same_pools_only() {
        let plan = small_plan();
        let (catalog, memo, mut world) = (Catalog::of(&plan), Memo::default(), World::new(&plan));
        let pools =
            |memo: &Memo, world: &World| memo.pools(&plan, world, &catalog, &Market::of(&plan, world, &catalog));
        let before = pools(&memo, &world);
        assert!(Arc::ptr_eq(&before, &pools(&memo, &world)));
        let mut edited = plan.clone();
        edit_pool(&mut edited, |pool| pool.weight += 1);
        world.node_pools = edited.node_pools.clone();
        let after = pools(&memo, &world);
        assert!(!Arc::ptr_eq(&before, &after));
        assert_eq!(after.templates[0].spec.weight, before.templates[0].spec.weight + 1);
        let fresh = pools(&Memo::default(), &world);
        assert_eq!(after.templates[0].requirements, fresh.templates[0].requirements);
        assert_eq!(after.templates[0].pool, NodePoolId(0));
    }

    #[test]
    fn a_template_that_was_replaced_is_looked_at_again() {
        let plan = small_plan();
        let (memo, id) = (Memo::default(), TemplateId(0));
        let one = Arc::new(PodTemplate::default());
        let two = Arc::new(PodTemplate { node_selector: [("a", "b")].into(), ..PodTemplate::default() });
        let known = (&plan, &plan.volumes);
        assert!(memo.wishes(known, id, &one).requirements.is_empty());
        assert!(memo.wishes(known, id, &two).requirements.get("a").is_some());
        assert!(memo.keys(known.1, std::slice::from_ref(&two)).contains("a"));
        assert!(!memo.keys(known.1, &[one]).contains("a"));
    }
}
