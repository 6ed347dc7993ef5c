//! Pools as a pass uses them: types that can be had, what daemons take of each, limits.
//!
//! Source: core `provisioning/scheduling/{nodeclaimtemplate,scheduler}.go` (`NewScheduler`, `buildDaemonOverheadGroups`,
//! `filterByRemainingResources`, `subtractMax`).

use super::preferences::{self, HostPort};
use crate::components::karpenter::cluster::{Catalog, Market, StateNode, Wanted, lacking_min_values};
use crate::plan::{DaemonSetId, DaemonSetSpec, InstanceTypeId, NodePoolId, NodePoolSpec, Plan, PodTemplate};
use crate::rules::requirements::{Requirement, Requirements};
use crate::rules::resources::{ResourceList, Resources};
use crate::rules::taint::{Taint, TaintEffect, tolerated};
use crate::world::{Owner, Pod, PodId, World};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// A pool that nodes may be created of.
pub struct Template {
    /// The pool.
    pub pool: NodePoolId,
    /// Its spec.
    pub spec: Arc<NodePoolSpec>,
    /// Requirements of its nodes.
    pub requirements: Requirements,
    /// Its types, by the daemons that run on them.
    pub groups: Vec<DaemonGroup>,
}

/// Types that the same daemons run on.
#[derive(Clone)]
pub struct DaemonGroup {
    /// What the daemons take.
    pub overhead: Arc<Overhead>,
    /// Types, in the provider's order.
    pub types: Vec<InstanceTypeId>,
}

/// What the daemons of a node take.
#[derive(Clone, Default)]
pub struct Overhead {
    /// Resources.
    pub requests: Resources,
    /// Ports of the host.
    pub ports: Vec<HostPort>,
}

/// The pod of a DaemonSet. Looking for nodes that it runs on changes it for the rest of the pass (as upstream).
pub struct Daemon {
    /// What it is: the newest pod of the set, or what the set's template says while there is none.
    pub template: Arc<PodTemplate>,
    /// Node selector with each required term of node affinity in turn.
    alternatives: Vec<Requirements>,
    /// The first term that was not found wanting yet.
    first: usize,
    /// It was offered to a pool: from then on it minds no taint of effect PreferNoSchedule.
    lenient: bool,
    ports: Vec<HostPort>,
}

/// Whether every pod of a DaemonSet is of its set's template, as a rule: only pods that are new are looked at.
#[derive(Default)]
pub struct AsWritten {
    /// Of so many pods it is known, with these sets and so many edits.
    pods: usize,
    sets: Vec<Arc<DaemonSetSpec>>,
    edits: u64,
}

impl AsWritten {
    /// True where all are, those included that are gone.
    pub fn holds(&mut self, world: &World) -> bool {
        let same = self.sets.len() == world.daemon_sets.len()
            && self.sets.iter().zip(&world.daemon_sets).all(|(one, two)| Arc::ptr_eq(one, two));
        if !same || self.edits != world.pod_edits() || self.pods > world.pods.len() {
            *self = AsWritten { pods: 0, sets: world.daemon_sets.clone(), edits: world.pod_edits() };
        }
        let is_as_written = |pod: &&Pod| match pod.owner {
            Owner::DaemonSet(set) => world.daemon_sets.get(set.index()).is_none_or(|set| set.template == pod.template),
            Owner::ReplicaSet(_) | Owner::Bare => true,
        };
        self.pods += world.pods[self.pods..].iter().take_while(is_as_written).count();
        self.pods == world.pods.len()
    }
}

impl Daemon {
    /// What [`Daemon::examples`] finds where every pod is as its set says.
    pub fn as_written(world: &World) -> impl Iterator<Item = [&Arc<PodTemplate>; 2]> {
        let written = |set: DaemonSetId| world.template(world.daemon_sets[set.index()].template);
        world.present_daemon_sets().map(move |set| [written(set), written(set)])
    }

    /// Of every DaemonSet the template of its newest pod, and that of the set.
    pub fn examples(world: &World) -> Vec<[&Arc<PodTemplate>; 2]> {
        let written = |set: DaemonSetId| world.template(world.daemon_sets[set.index()].template);
        let mut pods = world.living.iter().map(|pod| world.pod(pod));
        let is_as_written = |pod: &Pod| match pod.owner {
            Owner::DaemonSet(set) => {
                let set = world.daemon_sets.get(set.index());
                set.is_none_or(|set| Arc::ptr_eq(world.template(set.template), world.template(pod.template)))
            }
            Owner::ReplicaSet(_) | Owner::Bare => true,
        };
        // As a rule no pod is of another template than its set.
        if pods.all(is_as_written) {
            return Daemon::as_written(world).collect();
        }
        let mut newest: Vec<Option<PodId>> = vec![None; world.daemon_sets.len()];
        for pod in world.living.iter().map(|pod| world.pod(pod)) {
            let Owner::DaemonSet(set) = pod.owner else { continue };
            // Pods of a set that is gone are nobody's example.
            let Some(present) = newest.get_mut(set.index()) else { continue };
            let created = |id: PodId| world.pod(id).created.whole_second();
            if present.is_none_or(|other| created(pod.id) > created(other)) {
                *present = Some(pod.id);
            }
        }
        let of_set =
            |set: DaemonSetId| [newest[set.index()].map_or(written(set), |pod| world.template_of(pod)), written(set)];
        world.present_daemon_sets().map(of_set).collect()
    }

    /// A daemon of every DaemonSet.
    pub fn all(examples: &[[&Arc<PodTemplate>; 2]]) -> Vec<Daemon> {
        let all = examples.iter().map(|[template, written]| Daemon::of(template, written));
        all.filter(|daemon| !daemon.template.claims_devices).collect()
    }

    /// The required terms are those of the set: its controller puts others into its pods.
    fn of(template: &Arc<PodTemplate>, written: &PodTemplate) -> Daemon {
        let selector = Requirements::of_labels(&template.node_selector);
        let terms = written.affinity.node_required.as_ref().or(template.affinity.node_required.as_ref());
        let alternatives = match terms {
            Some(terms) if !terms.is_empty() => terms
                .iter()
                .map(|term| {
                    let mut requirements = selector.clone();
                    requirements.add_all(&Requirements::of(&term.expressions));
                    requirements
                })
                .collect(),
            _ => vec![selector],
        };
        let ports = preferences::host_ports(template);
        Daemon { template: template.clone(), alternatives, first: 0, lenient: false, ports }
    }

    /// Whether it would run on an existing node, by the first of its terms that is left.
    pub fn runs_on(&self, node: &StateNode) -> bool {
        self.tolerates(&node.taints) && self.alternatives[self.first].met_by_labels(node.labels)
    }

    fn tolerates(&self, taints: &[Taint]) -> bool {
        let soft = |taint: &Taint| self.lenient && taint.effect == TaintEffect::PreferNoSchedule;
        taints.iter().all(|taint| soft(taint) || tolerated(&self.template.tolerations, taint))
    }

    /// Whether it would run on a type of a pool; terms that fail are gone, but for the last.
    fn runs_on_type(&mut self, taints: &[Taint], pool: &Requirements, of_type: &Requirements) -> bool {
        self.lenient = true;
        if !self.tolerates(taints) {
            return false;
        }
        loop {
            let asked = &self.alternatives[self.first];
            if asked.is_empty() || (pool.compatible(asked, true) && of_type.intersects(asked)) {
                return true;
            }
            if self.first + 1 == self.alternatives.len() {
                return false;
            }
            self.first += 1;
        }
    }
}

/// One template per pool that has usable types: weight descending, then name descending.
pub fn templates(
    plan: &Plan,
    world: &World,
    (catalog, market): (&Catalog, &Market),
    daemons: &mut [Daemon],
) -> Vec<Template> {
    let mut pools: Vec<(NodePoolId, &Arc<NodePoolSpec>)> =
        world.node_pools.iter().enumerate().map(|(index, spec)| (NodePoolId::at(index), spec)).collect();
    pools.retain(|(_, spec)| is_eligible(spec));
    pools.sort_by(|one, two| two.1.weight.cmp(&one.1.weight).then_with(|| two.1.name.cmp(&one.1.name)));
    let mut templates = Vec::new();
    for (pool, spec) in pools {
        let facts = catalog.pool(plan, world, pool);
        let wanted = Wanted::of(plan, &facts.requirements);
        let types: Vec<InstanceTypeId> =
            facts.types.iter().copied().filter(|&id| market.is_offered(id, &wanted)).collect();
        let lacking = !lacking_min_values(catalog, &types, &facts.requirements).is_empty();
        if types.is_empty() || (lacking && !plan.flags.karpenter.min_values_best_effort) {
            continue;
        }
        let requirements = facts.requirements.clone();
        let groups = daemon_groups(catalog, spec, &requirements, types, daemons);
        templates.push(Template { pool, spec: spec.clone(), requirements, groups });
    }
    templates
}

/// Whether nodes are created of a pool when pods wait: it is usable and not static.
pub fn is_eligible(spec: &NodePoolSpec) -> bool {
    spec.replicas.is_none() && spec.usable
}

/// Pools that the provider has instance types for.
pub fn offering(plan: &Plan, world: &World) -> Vec<NodePoolId> {
    let pools = world.node_pools.iter().enumerate().filter(|(_, spec)| is_eligible(spec));
    let pools = pools.map(|(index, _)| NodePoolId::at(index));
    pools.filter(|pool| plan.pool_types.get(pool.index()).is_some_and(|types| !types.is_empty())).collect()
}

/// Types grouped by the daemons that would run on them.
fn daemon_groups(
    catalog: &Catalog,
    spec: &NodePoolSpec,
    requirements: &Requirements,
    types: Vec<InstanceTypeId>,
    daemons: &mut [Daemon],
) -> Vec<DaemonGroup> {
    let mut registered = requirements.clone();
    registered.add("karpenter.sh/registered", Requirement::any_of(["true"]));
    registered.add("karpenter.sh/initialized", Requirement::any_of(["true"]));
    let mut groups: Vec<(Vec<bool>, Vec<InstanceTypeId>)> = Vec::new();
    for id in types {
        let of_type = catalog.requirements(id);
        let runs: Vec<bool> =
            daemons.iter_mut().map(|daemon| daemon.runs_on_type(&spec.taints, &registered, of_type)).collect();
        match groups.iter_mut().find(|(other, _)| *other == runs) {
            Some((_, types)) => types.push(id),
            None => groups.push((runs, vec![id])),
        }
    }
    groups
        .into_iter()
        .map(|(runs, types)| {
            let mut overhead = Overhead::default();
            for (daemon, _) in daemons.iter().zip(runs).filter(|(_, runs)| *runs) {
                overhead.requests += &daemon.template.requests;
                overhead.ports.extend(daemon.ports.iter().cloned());
            }
            DaemonGroup { overhead: Arc::new(overhead), types }
        })
        .collect()
}

/// What is left of the limits of each pool.
pub fn remaining_limits<'n>(
    world: &World,
    nodes: impl Iterator<Item = &'n StateNode<'n>> + Clone,
) -> BTreeMap<NodePoolId, ResourceList> {
    let mut remaining = BTreeMap::new();
    for (index, spec) in world.node_pools.iter().enumerate() {
        let Some(limits) = &spec.limits else { continue };
        let mut left = limits.clone();
        for node in nodes.clone().filter(|node| node.pool == Some(NodePoolId::at(index))) {
            subtract(&mut left, &node.capacity);
            if let Some(nodes) = left.extended.get_mut("nodes") {
                *nodes -= 1;
            }
        }
        remaining.insert(NodePoolId::at(index), left);
    }
    remaining
}

/// Takes amounts off a list: what is not limited stays so.
pub fn subtract(list: &mut ResourceList, amounts: &Resources) {
    if let Some(cpu) = &mut list.cpu {
        cpu.0 -= amounts.cpu.0;
    }
    if let Some(memory) = &mut list.memory {
        memory.0 -= amounts.memory.0;
    }
    if let Some(storage) = &mut list.ephemeral_storage {
        storage.0 -= amounts.ephemeral_storage.0;
    }
    if let Some(pods) = &mut list.pods {
        *pods -= amounts.pods;
    }
    for (name, left) in list.extended.iter_mut() {
        *left -= amounts.extended(name);
    }
}

/// No amount exceeds what is left.
pub fn within_limits(amounts: &Resources, left: &ResourceList) -> bool {
    left.cpu.is_none_or(|limit| amounts.cpu <= limit)
        && left.memory.is_none_or(|limit| amounts.memory <= limit)
        && left.ephemeral_storage.is_none_or(|limit| amounts.ephemeral_storage <= limit)
        && left.pods.is_none_or(|limit| amounts.pods <= limit)
        && left.extended.iter().all(|(name, &limit)| amounts.extended(name) <= limit)
}

/// Whether the nodes of a pool exceed its limits already, so that nothing may be created.
pub fn exceeds_limits(world: &World, nodes: &[StateNode], pool: NodePoolId) -> bool {
    exceeded_limit(world, nodes, pool).is_some()
}

/// The limit of a pool that its nodes exceed already, in the words of the error.
pub fn exceeded_limit(world: &World, nodes: &[StateNode], pool: NodePoolId) -> Option<String> {
    let limits = world.node_pools[pool.index()].limits.as_ref()?;
    let mut used = Resources::default();
    for node in nodes.iter().filter(|node| node.pool == Some(pool) && !node.leaving) {
        used += &*node.capacity;
        *used.extended.get_or_insert("nodes".to_string(), 0) += 1;
    }
    let named = |name: &str, limit: String, used: String| {
        format!("resource usage exceeds limit (limit={limit}, resource-name={name}, usage={used})")
    };
    let cpu = limits.cpu.filter(|limit| used.cpu > *limit);
    let memory = limits.memory.filter(|limit| used.memory > *limit);
    let storage = limits.ephemeral_storage.filter(|limit| used.ephemeral_storage > *limit);
    let pods = limits.pods.filter(|limit| used.pods > *limit);
    let other = limits.extended.iter().find(|(name, limit)| used.extended(name) > **limit);
    cpu.map(|limit| named("cpu", limit.to_string(), used.cpu.to_string()))
        .or_else(|| memory.map(|limit| named("memory", limit.to_string(), used.memory.to_string())))
        .or_else(|| storage.map(|l| named("ephemeral-storage", l.to_string(), used.ephemeral_storage.to_string())))
        .or_else(|| pods.map(|limit| named("pods", limit.to_string(), used.pods.to_string())))
        .or_else(|| other.map(|(name, limit)| named(name, limit.to_string(), used.extended(name).to_string())))
}

/// The smaller of both, resource by resource.
pub fn minimum(one: &Resources, two: &Resources) -> Resources {
    let names: BTreeSet<&String> = one.extended.keys().chain(two.extended.keys()).collect();
    Resources {
        cpu: one.cpu.min(two.cpu),
        memory: one.memory.min(two.memory),
        ephemeral_storage: one.ephemeral_storage.min(two.ephemeral_storage),
        pods: one.pods.min(two.pods),
        extended: names.into_iter().map(|name| (name.clone(), one.extended(name).min(two.extended(name)))).collect(),
    }
}
