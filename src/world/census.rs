//! How many pods of which class are where, kept with every change so that nobody has to count pods.
//!
//! A class is the pods of one template and one controller. Pods that hold room on their node are counted: bound, and
//! neither finished nor gone. By node for what concerns one node; by kind of node (nodes of the same taints and of the
//! same labels but for the host's name) for what concerns all of them: a cluster has few kinds, however many nodes and
//! pods. kube-scheduler counts pods anew in each cycle, by sixteen goroutines; what it finds is the same. The laws
//! ([`World::check`]) hold a recount against it.

use super::id_set::NodeSet;
use super::room::Room;
use super::{NodeId, Owner, PodId, World};
use crate::plan::{ImageId, TemplateId};
use crate::rules::labels::Labels;
use crate::rules::taint::Taint;
use std::borrow::Cow;
use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The label that kinds of nodes do not tell apart: they know only whether it is there.
pub const HOSTNAME_LABEL: &str = "kubernetes.io/hostname";

/// Pods of one class in one place.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PodCount {
    /// All that hold room.
    pub pods: u32,
    /// Those of them that are being deleted.
    pub terminating: u32,
}

impl PodCount {
    /// Pods that are not being deleted.
    pub fn staying(self) -> i64 {
        i64::from(self.pods) - i64::from(self.terminating)
    }

    fn add(&mut self, other: PodCount) {
        self.pods += other.pods;
        self.terminating += other.terminating;
    }

    fn take(&mut self, other: PodCount) {
        self.pods -= other.pods;
        self.terminating -= other.terminating;
    }
}

/// The pods of one template and one controller.
#[derive(Clone, Debug)]
pub struct PodClass {
    /// Their template.
    pub template: TemplateId,
    /// Their controller.
    pub owner: Owner,
    /// The nodes that hold some, gone ones included.
    pub nodes: NodeSet,
    /// By kind of node, in their order; without nodes that are gone. Pods of a class are on nodes of few kinds at a time.
    kinds: Vec<(u32, PodCount)>,
}

impl PodClass {
    fn place_of(&self, kind: u32) -> Result<usize, usize> {
        self.kinds.binary_search_by_key(&kind, |&(kind, _)| kind)
    }

    /// More of its pods are on nodes of a kind.
    fn add_of_kind(&mut self, kind: u32, count: PodCount) {
        match self.place_of(kind) {
            Ok(place) => self.kinds[place].1.add(count),
            Err(place) => self.kinds.insert(place, (kind, count)),
        }
    }

    /// Fewer are.
    fn take_of_kind(&mut self, kind: u32, count: PodCount) {
        if let Ok(place) = self.place_of(kind) {
            self.kinds[place].1.take(count);
            if self.kinds[place].1.pods == 0 {
                self.kinds.remove(place);
            }
        }
    }
}

/// What a node holds of one class.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held {
    /// Position of the class.
    pub class: u32,
    /// Its template.
    pub template: TemplateId,
    /// How many.
    pub count: PodCount,
}

/// Nodes with the same labels (but for the host's name) and taints.
#[derive(Clone, Debug)]
pub struct NodeKind {
    /// Labels of the first such node: the host's name is its own, and kinds do not tell it from others.
    pub labels: Arc<Labels>,
    /// Taints.
    pub taints: Vec<Taint>,
    /// Nodes of this kind that exist.
    pub nodes: u32,
}

/// Where a pod is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Listed {
    class: u32,
    node: NodeId,
    terminating: bool,
}

/// Counts of pods by class, node and kind of node.
#[derive(Clone, Debug, Default)]
pub struct Census {
    classes: Vec<PodClass>,
    /// Classes of each template.
    of_template: Vec<Vec<u32>>,
    on_node: Vec<Vec<Held>>,
    kinds: Vec<NodeKind>,
    /// Sets of labels in the order of what kinds know of them; by set its labels and its kinds.
    label_sets: Vec<(Arc<Labels>, u32)>,
    set_labels: Vec<Arc<Labels>>,
    kinds_of_set: Vec<Vec<u32>>,
    /// Labels of a node when it was counted last, and their set: other labels are other memory.
    labelled: Vec<Option<(Arc<Labels>, u32)>>,
    /// `None`: the node is gone.
    kind_of: Vec<Option<u32>>,
    listed: Vec<Option<Listed>>,
    /// Nodes that exist and have an image, by image.
    with_image: Vec<NodeSet>,
    /// Room of each node.
    pub(super) rooms: Vec<Room>,
    /// Nodes that are cordoned.
    pub(super) cordoned: NodeSet,
    /// How often each node changed.
    versions: Vec<u32>,
    /// And all of them.
    changes: u64,
    generation: u64,
}

impl Census {
    /// Changes whenever a node appears, vanishes or gets other labels.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// All classes there ever were, by position.
    pub fn classes(&self) -> &[PodClass] {
        &self.classes
    }

    /// The classes of a template.
    pub fn classes_of(&self, template: usize) -> &[u32] {
        self.of_template.get(template).map_or(&[], Vec::as_slice)
    }

    /// The nodes that hold pods of some of these classes, gone ones included.
    pub fn nodes_of(&self, classes: &[u32]) -> Cow<'_, NodeSet> {
        let nodes = |&class: &u32| &self.classes[class as usize].nodes;
        if let [only] = classes {
            return Cow::Borrowed(nodes(only));
        }
        let mut all = NodeSet::new();
        classes.iter().for_each(|class| all.unite(nodes(class)));
        Cow::Owned(all)
    }

    /// What a node holds.
    #[inline]
    pub fn on(&self, node: NodeId) -> &[Held] {
        self.on_node.get(node.index()).map_or(&[], Vec::as_slice)
    }

    /// Kinds of which a node exists, with their positions.
    pub fn kinds(&self) -> impl Iterator<Item = (u32, &NodeKind)> {
        (0..).zip(&self.kinds).filter(|(_, kind)| kind.nodes > 0)
    }

    /// The kind at a position.
    pub fn kind(&self, kind: u32) -> &NodeKind {
        &self.kinds[kind as usize]
    }

    /// All kinds there ever were, by position.
    pub fn all_kinds(&self) -> &[NodeKind] {
        &self.kinds
    }

    /// The kind of a node; `None`: it is gone.
    #[inline]
    pub fn kind_of(&self, node: NodeId) -> Option<u32> {
        self.kind_of.get(node.index()).copied().flatten()
    }

    /// Pods of a class on the nodes of a kind.
    pub fn of_kind(&self, class: u32, kind: u32) -> PodCount {
        let class = &self.classes[class as usize];
        class.place_of(kind).map_or_else(|_| PodCount::default(), |place| class.kinds[place].1)
    }

    /// Pods of a class by kind of node.
    pub fn by_kind(&self, class: u32) -> impl Iterator<Item = (u32, PodCount)> + '_ {
        self.classes[class as usize].kinds.iter().copied()
    }

    /// Nodes that exist and have an image.
    pub fn nodes_with(&self, image: ImageId) -> &NodeSet {
        static NONE: NodeSet = NodeSet::new();
        self.with_image.get(image.index()).unwrap_or(&NONE)
    }

    /// Allocatable and requested of a node.
    #[inline]
    pub fn room(&self, node: NodeId) -> &Room {
        &self.rooms[node.index()]
    }

    /// The node is cordoned.
    #[inline]
    pub fn is_cordoned(&self, node: NodeId) -> bool {
        self.cordoned.contains(node)
    }

    /// By node: changes, and is never what it was, whenever the node's room, cordon, kind or pods change. Never 0.
    #[inline]
    pub fn versions(&self) -> &[u32] {
        &self.versions
    }

    /// Changes whenever the version of some node does.
    #[inline]
    pub fn changes(&self) -> u64 {
        self.changes
    }

    pub(super) fn touch(&mut self, node: NodeId) {
        self.changes += 1;
        if self.versions.len() <= node.index() {
            self.versions.resize(node.index() + 1, 0);
        }
        self.versions[node.index()] += 1;
    }

    fn class(&mut self, template: TemplateId, owner: Owner) -> u32 {
        if self.of_template.len() <= template.index() {
            self.of_template.resize(template.index() + 1, Vec::new());
        }
        let classes = &self.classes;
        let known = &mut self.of_template[template.index()];
        if let Some(&class) = known.iter().find(|&&class| classes[class as usize].owner == owner) {
            return class;
        }
        let class = u32::try_from(self.classes.len()).unwrap_or(u32::MAX);
        known.push(class);
        self.classes.push(PodClass { template, owner, nodes: NodeSet::new(), kinds: Vec::new() });
        class
    }

    fn enlist(&mut self, at: Listed) {
        self.touch(at.node);
        let one = PodCount { pods: 1, terminating: u32::from(at.terminating) };
        if self.on_node.len() <= at.node.index() {
            self.on_node.resize(at.node.index() + 1, Vec::new());
        }
        let class = &mut self.classes[at.class as usize];
        let held = &mut self.on_node[at.node.index()];
        match held.iter_mut().find(|held| held.class == at.class) {
            Some(held) => held.count.add(one),
            None => {
                held.push(Held { class: at.class, template: class.template, count: one });
                class.nodes.insert(at.node);
            }
        }
        if let Some(kind) = self.kind_of[at.node.index()] {
            class.add_of_kind(kind, one);
        }
    }

    fn strike(&mut self, at: Listed) {
        self.touch(at.node);
        let one = PodCount { pods: 1, terminating: u32::from(at.terminating) };
        let class = &mut self.classes[at.class as usize];
        let held = &mut self.on_node[at.node.index()];
        if let Some(position) = held.iter().position(|held| held.class == at.class) {
            held[position].count.take(one);
            if held[position].count.pods == 0 {
                held.remove(position);
                class.nodes.remove(at.node);
            }
        }
        if let Some(kind) = self.kind_of[at.node.index()] {
            class.take_of_kind(kind, one);
        }
    }

    fn kind_id(&mut self, node: NodeId, labels: &Arc<Labels>, taints: &[Taint]) -> u32 {
        if self.labelled.len() <= node.index() {
            self.labelled.resize(node.index() + 1, None);
        }
        let set = match &self.labelled[node.index()] {
            Some((counted, set)) if Arc::ptr_eq(counted, labels) => *set,
            _ => self.label_set(labels),
        };
        self.labelled[node.index()] = Some((labels.clone(), set));
        let of_set = &self.kinds_of_set[set as usize];
        if let Some(&kind) = of_set.iter().find(|&&kind| self.kinds[kind as usize].taints == taints) {
            return kind;
        }
        let next = u32::try_from(self.kinds.len()).unwrap_or(u32::MAX);
        let labels = self.set_labels[set as usize].clone();
        self.kinds.push(NodeKind { labels, taints: taints.to_vec(), nodes: 0 });
        self.kinds_of_set[set as usize].push(next);
        next
    }

    /// The set of labels of a node. Copying labels is dear: they are compared as they are.
    fn label_set(&mut self, labels: &Arc<Labels>) -> u32 {
        match self.label_sets.binary_search_by(|(known, _)| compare_as_kinds_know(known, labels)) {
            Ok(position) => self.label_sets[position].1,
            Err(position) => {
                let next = u32::try_from(self.kinds_of_set.len()).unwrap_or(u32::MAX);
                self.kinds_of_set.push(Vec::new());
                self.set_labels.push(labels.clone());
                self.label_sets.insert(position, (labels.clone(), next));
                next
            }
        }
    }

    /// A node is of another kind from now on.
    fn move_node(&mut self, node: NodeId, kind: Option<u32>) {
        if self.kind_of.len() <= node.index() {
            self.kind_of.resize(node.index() + 1, None);
        }
        let before = std::mem::replace(&mut self.kind_of[node.index()], kind);
        if before == kind {
            return;
        }
        before.into_iter().for_each(|kind| self.kinds[kind as usize].nodes -= 1);
        kind.into_iter().for_each(|kind| self.kinds[kind as usize].nodes += 1);
        for held in self.on_node.get(node.index()).into_iter().flatten() {
            let class = &mut self.classes[held.class as usize];
            before.into_iter().for_each(|kind| class.take_of_kind(kind, held.count));
            kind.into_iter().for_each(|kind| class.add_of_kind(kind, held.count));
        }
    }
}

/// The order of labels as a kind knows them: of the host's name only that it is there. Most texts are shared, and those need not be read.
fn compare_as_kinds_know(one: &Labels, other: &Labels) -> Ordering {
    let mut others = other.texts();
    for (key, value) in one.texts() {
        let Some((other_key, other_value)) = others.next() else { return Ordering::Greater };
        let keys = if Arc::ptr_eq(key, other_key) { Ordering::Equal } else { key.cmp(other_key) };
        let values = || if **key == *HOSTNAME_LABEL { Ordering::Equal } else { value.cmp(other_value) };
        let order = keys.then_with(|| if Arc::ptr_eq(value, other_value) { Ordering::Equal } else { values() });
        if order.is_ne() {
            return order;
        }
    }
    if others.next().is_some() { Ordering::Less } else { Ordering::Equal }
}

impl World {
    /// Counts of pods by class, node and kind of node.
    #[inline]
    pub fn census(&self) -> &Census {
        &self.census
    }

    /// Where a pod counts, from what is written about it.
    fn place_in_census(&self, pod: PodId) -> Option<(NodeId, bool)> {
        let entry = &self.pods[pod.index()];
        let node = entry.node.filter(|_| entry.gone.is_none())?;
        (!self.nodes[node.index()].released.contains(&pod)).then_some((node, entry.deleting_since.is_some()))
    }

    /// After every change of a pod that may change where it counts, or as what.
    pub(super) fn count_pod(&mut self, pod: PodId) {
        let place = self.place_in_census(pod);
        let (template, owner) = (self.pods[pod.index()].template, self.pods[pod.index()].owner);
        let census = &mut self.census;
        if census.listed.len() <= pod.index() {
            census.listed.resize(pod.index() + 1, None);
        }
        let now = place.map(|(node, terminating)| Listed { class: census.class(template, owner), node, terminating });
        let before = std::mem::replace(&mut census.listed[pod.index()], now);
        if before != now {
            before.into_iter().for_each(|at| census.strike(at));
            now.into_iter().for_each(|at| census.enlist(at));
        }
    }

    /// After every change of a node's labels or taints, and when it appears or vanishes.
    pub(super) fn count_node(&mut self, node: NodeId, relabelled: bool) {
        let entry = &self.nodes[node.index()];
        let kind = entry.gone.is_none().then(|| self.census.kind_id(node, &entry.labels, &entry.taints));
        self.census.move_node(node, kind);
        self.note_room(node);
        self.census.generation += u64::from(relabelled);
    }

    /// A node has an image from now on, or it vanishes with all it has.
    pub(super) fn count_images(&mut self, node: NodeId, images: &[ImageId], appear: bool) {
        for image in images {
            if self.census.with_image.len() <= image.index() {
                self.census.with_image.resize(image.index() + 1, NodeSet::new());
            }
            let nodes = &mut self.census.with_image[image.index()];
            if appear {
                nodes.insert(node)
            } else {
                nodes.remove(node)
            };
        }
    }

    /// The census is what a recount finds.
    pub(super) fn check_census(&self) -> Result<(), String> {
        let census = &self.census;
        let mut by_node: Vec<BTreeMap<u32, PodCount>> = vec![BTreeMap::new(); self.nodes.len()];
        for pod in &self.pods {
            if let Some((node, terminating)) = self.place_in_census(pod.id) {
                let mut classes = census.classes_of(pod.template.index()).iter();
                let class = classes.find(|&&class| census.classes[class as usize].owner == pod.owner);
                let &class = class.ok_or_else(|| format!("pod {} is of no class", self.pod_name(pod.id)))?;
                let one = PodCount { pods: 1, terminating: u32::from(terminating) };
                by_node[node.index()].entry(class).or_default().add(one);
            }
        }
        let mut by_kind: BTreeMap<(u32, u32), PodCount> = BTreeMap::new();
        let mut nodes = vec![0; census.kinds.len()];
        for node in &self.nodes {
            let mut held = BTreeMap::new();
            let kind = census.kind_of[node.id.index()];
            kind.into_iter().for_each(|kind| nodes[kind as usize] += 1);
            for of_class in census.on(node.id) {
                let class = &census.classes[of_class.class as usize];
                held.insert(of_class.class, of_class.count);
                if let Some(kind) = kind {
                    by_kind.entry((of_class.class, kind)).or_default().add(of_class.count);
                }
                if !class.nodes.contains(node.id) {
                    return Err(format!("node {} is not among those of a class that it holds", node.name));
                }
            }
            if held != by_node[node.id.index()] {
                return Err(format!("node {}: the census counts {held:?}", node.name));
            }
            let alike = |kind: &NodeKind| compare_as_kinds_know(&kind.labels, &node.labels).is_eq();
            let fits = |kind: u32| alike(census.kind(kind)) && census.kind(kind).taints == node.taints;
            if kind.is_some() != node.gone.is_none() || !kind.is_none_or(fits) {
                return Err(format!("node {} is not of its kind", node.name));
            }
        }
        let counted = (0..).zip(&census.classes);
        let kept = counted.flat_map(|(id, class)| class.kinds.iter().map(move |&(kind, count)| ((id, kind), count)));
        if kept.collect::<BTreeMap<(u32, u32), PodCount>>() != by_kind {
            return Err("the census by kind of node is not the sum of its nodes".to_string());
        }
        if !census.kinds.iter().map(|kind| kind.nodes).eq(nodes) {
            return Err("the census counts other nodes of a kind than there are".to_string());
        }
        self.check_images()?;
        self.check_rooms()
    }

    fn check_images(&self) -> Result<(), String> {
        let mut with_image = vec![NodeSet::new(); self.census.with_image.len()];
        for node in self.nodes.iter().filter(|node| node.gone.is_none()) {
            for image in &node.images {
                with_image.resize(with_image.len().max(image.index() + 1), NodeSet::new());
                with_image[image.index()].insert(node.id);
            }
        }
        let same = |(one, other): (&NodeSet, &NodeSet)| one.iter().eq(other.iter());
        if with_image.len() == self.census.with_image.len() && with_image.iter().zip(&self.census.with_image).all(same)
        {
            return Ok(());
        }
        Err("the nodes that have an image are not those that are counted".to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::components::kubernetes::testbed::{self, Testbed, node, plan, template};
    use crate::engine::Span;
    use crate::rules::taint::TaintEffect;
    use crate::world::DeleteCause;

    #[test]
    fn the_census_follows_pods_and_nodes() {
        let mut world = World::new(&plan(vec![template(10)]));
        let nodes = ["a", "b", "c"].map(|name| Testbed::ready_node(&mut world, node(name, 1000, "x")));
        let pods = [0, 0, 1].map(|place: usize| {
            let pod = testbed::new_pod(&mut world, 0);
            world.bind_pod(pod, nodes[place]);
            pod
        });
        let counts = |world: &World| -> Vec<(u32, u32)> {
            let held =
                |node: &NodeId| world.census().on(*node).iter().map(|held| held.count).next().unwrap_or_default();
            nodes.iter().map(held).map(|count| (count.pods, count.terminating)).collect()
        };
        let by_kind = |world: &World| world.census().by_kind(0).map(|(_, count)| count.pods).collect::<Vec<_>>();
        assert_eq!(counts(&world), [(2, 0), (1, 0), (0, 0)]);
        assert_eq!(by_kind(&world), [3], "names of hosts do not make kinds");
        world.delete_pod(pods[0], Some(Span::from_secs(30)), DeleteCause::User);
        assert_eq!(counts(&world)[0], (2, 1));
        world.add_taint(nodes[1], Taint::new("k", TaintEffect::NoSchedule));
        assert_eq!(by_kind(&world), [2, 1]);
        let generation = world.census().generation();
        world.remove_node(nodes[1]);
        assert_eq!(by_kind(&world), [2], "pods of a node that is gone belong to no kind");
        assert_ne!(world.census().generation(), generation);
        world.remove_pod(pods[0]);
        world.remove_pod(pods[2]);
        assert_eq!(counts(&world), [(1, 0), (0, 0), (0, 0)]);
        assert_eq!(world.check(), Ok(()));
        world.nodes[0].taints.push(Taint::new("k", TaintEffect::NoSchedule));
        assert_eq!(world.check(), Err("node a is not of its kind".to_string()), "a change behind its back is found");
    }
}
