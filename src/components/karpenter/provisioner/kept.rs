//! The plan of the pass before, for a pass that sees the same: a pod that waits for its node triggers a pass every ten seconds,
//! and between two of them mostly nothing has changed that a plan depends on.
//!
//! In: what a pass looks at. Out: the plan of the last pass, if that looked at the same. Nodes are compared by the count of
//! their changes ([`Census::versions`]) once they are initialised, and before by what a pass reads of them; of those that leave
//! nothing is read but the pods that need another place, unless pods have rules about others. A machine whose node has come since
//! may be to the pods what it was before, and the one that a plan bought takes, once it is launched, the pods that it was bought
//! for. Whatever else may be replaced is compared by the very memory that was looked at. A plan that buys is never the next one
//! (prices order its types), and plans of a time in which offerings are avoided are not kept.
//!
//! [`Census::versions`]: crate::world::census::Census::versions

mod since;

use super::memo::{Memo, Pools};
use super::packing::{Refusal, Results};
use super::topology::{may_repel, topology_keys};
use crate::components::karpenter::cluster::{
    Catalog, Market, is_claim_leaving, is_leaving, lasting_taints, on_their_way,
};
use crate::plan::{Plan, PodTemplate, TemplateId, Volumes};
use crate::rules::labels::Labels;
use crate::rules::resources::Resources;
use crate::rules::taint::Taint;
use crate::world::census::Held;
use crate::world::{ClaimId, Node, NodeId, PodId, World};
use std::sync::Arc;

/// A node, or a machine on its way, by what tells that anything about it has changed.
#[derive(PartialEq)]
struct Machine {
    node: Option<NodeId>,
    claim: Option<ClaimId>,
    /// It takes no pods, and its own need another place.
    leaving: bool,
    state: State,
}

/// What a pass reads of a machine.
#[derive(PartialEq)]
enum State {
    /// A launched claim without a node stays as it is.
    Launched,
    /// Nothing is planned on a node that leaves, and no rule asks for its pods.
    Leaving,
    /// A node, by the count of its changes.
    Version(u32),
    /// A node that is not initialised yet changes much that no pass reads: taints that pass by themselves.
    Coming(Box<Coming>),
}

/// What a pass reads of a node that is not initialised yet.
#[derive(PartialEq)]
struct Coming {
    registered: bool,
    taints: Vec<Taint>,
    labels: Memory<Labels>,
    allocatable: Resources,
    requested: Resources,
    held: Vec<Held>,
}

/// What is the same as long as it is in the same place, where it is kept.
#[derive(Clone)]
struct Memory<T>(Arc<T>);

impl<T> PartialEq for Memory<T> {
    fn eq(&self, other: &Memory<T>) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl State {
    /// It is still that of a node.
    fn is_of(&self, world: &World, node: &Node) -> bool {
        let claim = node.claim.map(|id| world.claim(id)).filter(|claim| claim.initialized.is_none());
        let same = match (self, claim) {
            (State::Version(version), None) => *version == world.census().versions()[node.id.index()],
            (State::Coming(coming), Some(claim)) => {
                coming.registered == claim.registered.is_some()
                    && Arc::ptr_eq(&coming.labels.0, &node.labels)
                    && coming.requested == node.requested
                    && coming.allocatable == node.allocatable
                    && coming.held == world.census().on(node.id)
                    && coming.taints == *lasting_taints(node, Some(claim), false)
            }
            _ => false,
        };
        debug_assert_eq!(same, *self == State::of(world, node));
        same
    }

    fn of(world: &World, node: &Node) -> State {
        let Some(claim) = node.claim.map(|id| world.claim(id)).filter(|claim| claim.initialized.is_none()) else {
            return State::Version(world.census().versions()[node.id.index()]);
        };
        State::Coming(Box::new(Coming {
            registered: claim.registered.is_some(),
            taints: lasting_taints(node, Some(claim), false).into_owned(),
            labels: Memory(node.labels.clone()),
            allocatable: node.allocatable.clone(),
            requested: node.requested.clone(),
            held: world.census().on(node.id).to_vec(),
        }))
    }
}

/// Some of these pods have rules about others, or some pod keeps others away: then the pods of all nodes count.
fn have_rules(world: &World, pods: &[PodId]) -> bool {
    let mut plain: Option<TemplateId> = None;
    let mut has_rules = |&pod: &PodId| {
        let template = world.pod(pod).template;
        let is_plain = plain == Some(template) || topology_keys(world.template(template)).next().is_none();
        plain = is_plain.then_some(template);
        !is_plain
    };
    may_repel(world) || pods.iter().any(&mut has_rules)
}

/// The machines that a pass plans with, in the order of their objects. `rules`: the pods of all nodes count.
fn machines(world: &World, rules: bool) -> impl Iterator<Item = Machine> {
    let nodes = world.nodes.iter().filter(|node| node.gone.is_none());
    let of_nodes = nodes.map(move |node| {
        let leaving = is_leaving(world, node.id);
        let state = if leaving && !rules { State::Leaving } else { State::of(world, node) };
        Machine { node: Some(node.id), claim: node.claim, leaving, state }
    });
    let launched = on_their_way(world).filter(|claim| claim.instance.is_some());
    of_nodes.chain(launched.map(|claim| {
        let leaving = is_claim_leaving(claim);
        Machine { node: None, claim: Some(claim.id), leaving, state: State::Launched }
    }))
}

/// What has become of the machines of a plan.
#[derive(Debug, Default)]
struct Since {
    /// Claims of those whose nodes have come, in order of their ids.
    come: Vec<ClaimId>,
    /// Claims that were launched.
    launched: Vec<ClaimId>,
}

impl Since {
    /// Since there were these machines; `None`: the machines of now are others in more than that.
    fn of(world: &World, rules: bool, known: &[Machine]) -> Option<Since> {
        let (nodes, launched) = known.split_at(known.partition_point(|machine| machine.node.is_some()));
        let is_node = |machine: &Machine, node: &Node| {
            let leaving = is_leaving(world, node.id);
            (machine.node, machine.claim, machine.leaving) == (Some(node.id), node.claim, leaving)
                && if leaving && !rules { machine.state == State::Leaving } else { machine.state.is_of(world, node) }
        };
        let (mut nodes, mut since) = (nodes.iter(), Since::default());
        for node in world.nodes.iter().filter(|node| node.gone.is_none()) {
            match nodes.next() {
                Some(machine) if is_node(machine, node) => {}
                Some(_) => return None,
                None => since.come.push(node.claim?),
            }
        }
        since.come.sort_unstable();
        let come = &since.come;
        let has_come = |machine: &&Machine| machine.claim.is_some_and(|claim| come.binary_search(&claim).is_ok());
        if nodes.next().is_some() || launched.iter().filter(has_come).count() < come.len() {
            return None;
        }
        let mut left = launched.iter().filter(|machine| !has_come(machine));
        for claim in on_their_way(world).filter(|claim| claim.instance.is_some()) {
            let known = (None, Some(claim.id), is_claim_leaving(claim));
            match left.next() {
                Some(machine) if (machine.node, machine.claim, machine.leaving) == known => {}
                Some(_) => return None,
                None => since.launched.push(claim.id),
            }
        }
        left.next().is_none().then_some(since)
    }
}

/// A plan, with all that it was made from.
pub struct Kept {
    pods: Vec<(PodId, Memory<PodTemplate>)>,
    /// The pods of all nodes counted.
    rules: bool,
    machines: Vec<Machine>,
    pools: Arc<Pools>,
    volumes: Arc<Volumes>,
    results: Arc<Results>,
}

impl Kept {
    /// What a pass for these pods planned, those of machines that leave included; `None`: it may not be kept.
    pub fn of(world: &World, memo: &Memo, pods: &[PodId], results: &Arc<Results>) -> Option<Kept> {
        let by_price = |refusals: &Vec<Refusal>| refusals.contains(&Refusal::TruncatedMinValues);
        let is_avoided = world.unavailable_offerings.is_any_avoided(world.now);
        let rules = have_rules(world, pods);
        let buys = !results.claims.is_empty();
        if is_avoided
            || (buys && (rules || !since::buys_for_the_rest(results)))
            || results.errors.iter().any(|(_, refusals)| by_price(refusals))
        {
            return None;
        }
        Some(Kept {
            rules,
            pods: pods.iter().map(|&pod| (pod, Memory(world.template_of(pod).clone()))).collect(),
            machines: machines(world, rules).collect(),
            pools: memo.last_pools()?,
            volumes: world.volumes.clone(),
            results: results.clone(),
        })
    }

    /// What a pass for these pods would plan, those of machines that leave included; `None`: something has changed. `tells`:
    /// somebody reads of which nodes a plan speaks.
    pub fn plan_of(
        &mut self,
        (plan, world, catalog): (&Plan, &World, &Catalog),
        (memo, tells): (&Memo, bool),
        pods: &[PodId],
    ) -> Option<Arc<Results>> {
        let is_same = |((known, template), &pod): (&(PodId, Memory<PodTemplate>), &PodId)| {
            *known == pod && Arc::ptr_eq(&template.0, world.template_of(pod))
        };
        let asks_the_same = self.pods.len() == pods.len()
            && self.pods.iter().zip(pods).all(is_same)
            && self.rules == have_rules(world, pods);
        if !asks_the_same {
            return None;
        }
        let Since { come, launched } = Since::of(world, self.rules, &self.machines)?;
        let holds = Arc::ptr_eq(&self.volumes, &world.volumes)
            && !world.unavailable_offerings.is_any_avoided(world.now)
            && Arc::ptr_eq(&self.pools, &memo.pools(plan, world, catalog, &Market::of(plan, world, catalog)));
        let scene = (plan, world, memo);
        match (&come[..], &launched[..], &self.results.claims[..]) {
            _ if !holds => return None,
            ([], [], []) => return Some(self.results.clone()),
            _ if tells || self.rules => return None,
            ([], &[claim], [bought]) => self.results = Arc::new(self.with_launched(scene, bought, pods, claim)?),
            (come, [], []) if self.are_as_before(scene, pods, come) => {}
            _ => return None,
        }
        self.machines = machines(world, self.rules).collect();
        Some(self.results.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::super::packing::Options;
    use super::super::{plan_pass, waiting};
    use super::*;
    use crate::components::karpenter::fixture::{edit_pool, node, pods, small_plan};
    use crate::engine::Span;
    use crate::plan::{CapacityType, TemplateId};
    use crate::rules::taint::{Taint, TaintEffect};

    /// Whatever a plan depends on, a change of it makes the next pass plan anew; time alone does not.
    #[test]
    fn a_plan_is_kept_until_something_changes_that_it_depends_on() {
        let plan = small_plan();
        let catalog = Catalog::of(&plan);
        let mut world = World::new(&plan);
        let claim = node(&plan, &mut world, "t3.xlarge", CapacityType::OnDemand, 1);
        let id = world.claim(claim).node.expect("the fixture made it");
        let first = pods(&mut world, TemplateId(0), 2)[0];
        let (options, mut kept) = (Options::default(), None);
        let (_, before) = plan_pass((&plan, &world, &catalog), options.clone(), &mut kept);
        assert_eq!((before.claims.len(), before.existing[0].pods.len()), (0, 2));
        world.now += Span::from_secs(10);
        let (_, after) = plan_pass((&plan, &world, &catalog), options.clone(), &mut kept);
        assert!(Arc::ptr_eq(&before, &after), "nothing has changed");
        let mut kept = kept.expect("it buys nothing");
        let mut edited = plan.clone();
        edit_pool(&mut edited, |pool| pool.weight += 1);
        let until = world.now + Span::from_secs(1);
        let changes: [&dyn Fn(&mut World); 7] = [
            &|world| world.add_taint(id, Taint::new("soft", TaintEffect::PreferNoSchedule)),
            &|world| world.set_unschedulable(id, true),
            &|world| world.set_node_label(id, "key", "value"),
            &|world| world.node_pools.clone_from(&edited.node_pools),
            &|world| world.bind_pod(first, id),
            &|world| world.volumes = Arc::new(Volumes::clone(&world.volumes)),
            &|world| {
                let offering = ("t3.medium", crate::plan::ZoneId(0), CapacityType::Spot);
                world.unavailable_offerings.mark(world.now, offering, (until, until));
            },
        ];
        for (number, change) in changes.into_iter().enumerate() {
            let mut world = world.clone();
            change(&mut world);
            let (pods, _) = waiting(&world, &options.memo);
            let plan = kept.plan_of((&plan, &world, &catalog), (&options.memo, false), &pods);
            assert!(plan.is_none(), "change {number}");
        }
    }

    #[test]
    fn what_runs_on_a_node_that_leaves_concerns_nobody_but_pods_with_rules() {
        let plan = small_plan();
        let catalog = Catalog::of(&plan);
        let mut world = World::new(&plan);
        node(&plan, &mut world, "t3.xlarge", CapacityType::OnDemand, 1);
        let claim = node(&plan, &mut world, "t3.xlarge", CapacityType::OnDemand, 0);
        let leaving = world.claim(claim).node.expect("the fixture made it");
        world.delete_claim(claim, crate::world::DisruptionReason::Empty);
        let pods = pods(&mut world, TemplateId(0), 2);
        let keeps = |world: &mut World| {
            let (options, mut kept) = (Options::default(), None);
            let (_, before) = plan_pass((&plan, world, &catalog), options.clone(), &mut kept);
            world.add_taint(leaving, Taint::new("soft", TaintEffect::PreferNoSchedule));
            let (waiting, _) = waiting(world, &options.memo);
            assert_eq!(waiting, pods);
            let mut kept = kept.expect("it buys nothing");
            let after = kept.plan_of((&plan, world, &catalog), (&options.memo, false), &waiting);
            after.is_some_and(|after| Arc::ptr_eq(&before, &after))
        };
        assert!(keeps(&mut world.clone()));
        let mut apart = crate::components::karpenter::fixture::template(500, 256);
        apart.affinity.anti_required.push(crate::plan::PodAffinityTerm {
            selector: None,
            topology_key: "topology.kubernetes.io/zone".to_string(),
            namespaces: Default::default(),
            namespace_selector: None,
        });
        world.templates.push(Arc::new(apart));
        assert!(!keeps(&mut world));
    }
}
