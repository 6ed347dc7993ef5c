//! The default scores, each normalised to 0..100 and weighted.
//!
//! Source: `pkg/scheduler/framework/plugins/{noderesources,tainttoleration,nodeaffinity,imagelocality}`; weights:
//! `apis/config/v1/default_plugins.go`.

use super::filters::Filters;
use super::inter_pod;
use super::spread::SoftSpread;
use super::standing::Standing;
use super::view::View;
use crate::plan::{ImageId, PodTemplate};
use crate::rules::requirement::NodeSelectorTerm;
use crate::world::room::{CPU, MEMORY};
use crate::world::{NodeId, PodId, World};
use std::cell::OnceCell;

/// Bounds of ImageLocality, bytes.
const IMAGE_MIN: i64 = 23 << 20;
const IMAGE_MAX_PER_CONTAINER: i64 = 1000 << 20;

/// Plugins that score, in the order in which kube-scheduler runs them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scorer {
    /// Untolerated PreferNoSchedule taints.
    TaintToleration,
    /// Preferred node affinity.
    NodeAffinity,
    /// Least allocated CPU and memory.
    NodeResourcesFit,
    /// Soft spread constraints.
    PodTopologySpread,
    /// Preferred pod affinity.
    InterPodAffinity,
    /// CPU and memory used alike.
    BalancedAllocation,
    /// Images that are there.
    ImageLocality,
}

impl Scorer {
    /// As kube-scheduler names it.
    pub const fn name(self) -> &'static str {
        match self {
            Scorer::TaintToleration => "TaintToleration",
            Scorer::NodeAffinity => "NodeAffinity",
            Scorer::NodeResourcesFit => "NodeResourcesFit",
            Scorer::PodTopologySpread => "PodTopologySpread",
            Scorer::InterPodAffinity => "InterPodAffinity",
            Scorer::BalancedAllocation => "NodeResourcesBalancedAllocation",
            Scorer::ImageLocality => "ImageLocality",
        }
    }

    /// Its weight.
    pub const fn weight(self) -> i64 {
        match self {
            Scorer::TaintToleration => 3,
            Scorer::NodeAffinity | Scorer::PodTopologySpread | Scorer::InterPodAffinity => 2,
            Scorer::NodeResourcesFit | Scorer::BalancedAllocation | Scorer::ImageLocality => 1,
        }
    }
}

/// The weighted scores of one plugin, by feasible node.
pub type PluginScores = (Scorer, Vec<i64>);

/// What every node is looked at for, for the scores that a node gets by itself.
pub struct Appraisal<'a> {
    template: &'a PodTemplate,
    /// What defaults add to the pod's requests.
    own_surplus: (i64, i64),
    pod: PodId,
    /// Soft constraints; found out for the first node that takes the pod.
    spread: OnceCell<SoftSpread<'a>>,
}

impl<'a> Appraisal<'a> {
    /// For a pod.
    pub fn new(view: &View<'a>, pod: PodId) -> Appraisal<'a> {
        let own_surplus = view.cluster.templates[view.template_index(pod)].own_surplus;
        Appraisal { template: view.template(pod), own_surplus, pod, spread: OnceCell::new() }
    }

    fn spread(&self, view: &View<'a>) -> &SoftSpread<'a> {
        self.spread.get_or_init(|| SoftSpread::new(view, self.pod))
    }

    /// How a node that takes the pod stands.
    pub fn appraise(&self, filters: &Filters<'a>, node: NodeId) -> Standing {
        let view = &filters.view;
        let used = self.requested(view, node);
        let least = if view.cluster.any_surplus { self.filled(view, node, used) } else { used };
        let narrow = |score: i64| i32::try_from(score).unwrap_or(i32::MAX);
        Standing {
            least: narrow(least_allocated_score(&least)),
            preferred: narrow(preferred_affinity(self.template, view.world, node)),
            held: self.spread(view).held(view, node),
            preferences: filters.preferences(node),
            balanced: narrow(balanced_score(&used)),
        }
    }

    /// CPU and memory requested on a node with the pod, each with what there is.
    fn requested(&self, view: &View, node: NodeId) -> [(i64, i64); 2] {
        let room = view.world.census().room(node);
        let mut cpu = room.requested[CPU] + self.template.requests.cpu.0;
        let mut memory = room.requested[MEMORY] + self.template.requests.memory.0;
        if view.assumed.is_on(node) {
            for requests in view.assumed.on(node).iter().map(|&pod| &view.template(pod).requests) {
                cpu += requests.cpu.0;
                memory += requests.memory.0;
            }
        }
        [(cpu, room.allocatable[CPU]), (memory, room.allocatable[MEMORY])]
    }

    /// The same with defaults for what pods do not request.
    fn filled(&self, view: &View, node: NodeId, mut used: [(i64, i64); 2]) -> [(i64, i64); 2] {
        let facts = &view.cluster.templates;
        let held = view.world.census().on(node).iter();
        let bound = held.map(|held| (facts[held.template.index()].surplus, i64::from(held.count.pods)));
        let assumed = view.assumed.on(node).iter().map(|&other| (facts[view.template_index(other)].surplus, 1));
        for (surplus, count) in bound.chain(assumed).chain([(self.own_surplus, 1)]) {
            used[0].0 += surplus.0 * count;
            used[1].0 += surplus.1 * count;
        }
        used
    }
}

/// The sums of the scores of feasible nodes, and the scores of each plugin if somebody wants to know them.
pub struct Sums {
    total: Vec<i64>,
    /// What all nodes get alike.
    alike: i64,
    told: Option<Vec<PluginScores>>,
}

impl Sums {
    /// Of so many nodes.
    pub fn new(nodes: usize, tells: bool) -> Sums {
        Sums { total: vec![0; nodes], alike: 0, told: tells.then(|| Vec::with_capacity(7)) }
    }

    /// What a plugin gives to each node, before its weight.
    fn add(&mut self, scorer: Scorer, scores: impl Iterator<Item = i64>) {
        let weight = scorer.weight();
        let sums = self.total.iter_mut().zip(scores);
        match &mut self.told {
            None => sums.for_each(|(sum, score)| *sum += score * weight),
            Some(told) => {
                let weighted = sums.map(|(sum, score)| {
                    *sum += score * weight;
                    score * weight
                });
                told.push((scorer, weighted.collect()));
            }
        }
    }

    /// What a plugin gives to all nodes alike.
    fn add_alike(&mut self, scorer: Scorer, score: i64) {
        self.alike += score * scorer.weight();
        if let Some(told) = &mut self.told {
            told.push((scorer, vec![score * scorer.weight(); self.total.len()]));
        }
    }

    /// By node; by plugin and node.
    pub fn finish(mut self) -> (Vec<i64>, Vec<PluginScores>) {
        self.total.iter_mut().for_each(|sum| *sum += self.alike);
        (self.total, self.told.unwrap_or_default())
    }
}

/// Adds the scores of all plugins that have something to say, for feasible nodes that stand so.
pub fn add_scores<'a>(
    view: &View<'a>,
    pod: PodId,
    appraisal: Appraisal<'a>,
    feasible: &[NodeId],
    standings: &[Standing],
    sums: &mut Sums,
) {
    let template = view.template(pod);
    match standings.iter().fold(0, |most, standing| standing.preferences.max(most)) {
        0 => sums.add_alike(Scorer::TaintToleration, 100),
        most => {
            let rule = |standing: &Standing| reversed(i64::from(standing.preferences), i64::from(most));
            sums.add(Scorer::TaintToleration, standings.iter().map(rule));
        }
    }
    if !template.affinity.node_preferred.is_empty() {
        let most = standings.iter().map(|standing| i64::from(standing.preferred)).max().unwrap_or(0);
        let rule = |standing: &Standing| scaled(i64::from(standing.preferred), most);
        sums.add(Scorer::NodeAffinity, standings.iter().map(rule));
    }
    sums.add(Scorer::NodeResourcesFit, standings.iter().map(|standing| i64::from(standing.least)));
    let spread = appraisal.spread.into_inner().unwrap_or_else(|| SoftSpread::new(view, pod));
    if let Some(cells) = spread.scores(view, feasible, standings) {
        sums.add(Scorer::PodTopologySpread, cells.scores());
    }
    if let Some(values) = inter_pod::scores(view, pod, feasible) {
        sums.add(Scorer::InterPodAffinity, values.into_iter());
    }
    if template.requests.cpu.0 != 0 || template.requests.memory.0 != 0 {
        sums.add(Scorer::BalancedAllocation, standings.iter().map(|standing| i64::from(standing.balanced)));
    }
    add_image_locality(view, template, feasible, sums);
}

/// 100 x score div max; unchanged if max is 0.
fn scaled(score: i64, maximum: i64) -> i64 {
    if maximum == 0 { score } else { 100 * score / maximum }
}

/// 100 less that; 100 if max is 0.
fn reversed(score: i64, maximum: i64) -> i64 {
    if maximum == 0 { 100 } else { 100 - 100 * score / maximum }
}

fn preferred_affinity(template: &PodTemplate, world: &World, node: NodeId) -> i64 {
    let terms = template.affinity.node_preferred.iter();
    let matches = |term: &NodeSelectorTerm| {
        let node = world.node(node);
        term.matches(&node.name, &node.labels)
    };
    terms.filter(|(_, term)| matches(term)).map(|(weight, _)| i64::from(*weight)).sum()
}

/// LeastAllocated over (requested, allocatable) pairs of weight 1.
pub fn least_allocated_score(resources: &[(i64, i64)]) -> i64 {
    let (mut sum, mut weights) = (0, 0);
    for &(requested, allocatable) in resources.iter().filter(|(_, allocatable)| *allocatable != 0) {
        sum += if requested > allocatable { 0 } else { (allocatable - requested) * 100 / allocatable };
        weights += 1;
    }
    match weights {
        0 => 0,
        2 => sum / 2,
        weights => sum / weights,
    }
}

/// BalancedAllocation (up to 1.35) over two resources at most: half the distance of the fractions, taken from 1.
pub fn balanced_score(resources: &[(i64, i64)]) -> i64 {
    let fraction = |&(requested, allocatable): &(i64, i64)| (requested as f64 / allocatable as f64).min(1.0);
    let mut fractions = resources.iter().filter(|(_, allocatable)| *allocatable != 0).map(fraction);
    let deviation = match (fractions.next(), fractions.next(), fractions.next()) {
        (Some(one), Some(other), None) => ((one - other) / 2.0).abs(),
        _ => 0.0,
    };
    ((1.0 - deviation) * 100.0) as i64
}

/// Images of all containers, weighted by the share of nodes that have them.
fn add_image_locality(view: &View, template: &PodTemplate, feasible: &[NodeId], sums: &mut Sums) {
    let containers = template.init_containers.iter().chain(&template.containers);
    let count = containers.clone().count() as i64;
    // What every node has, and what some have.
    let (mut everywhere, mut somewhere) = (0, Vec::new());
    for image in containers.filter_map(|container| container.image_id) {
        let Some(spec) = view.plan.images.get(image.index()).filter(|spec| spec.size.0 != 0) else { continue };
        let (having, total) = nodes_with(view, image, spec.cached);
        let scaled = (spec.size.0 as f64 * (having as f64 / total.max(1) as f64)) as i64;
        if spec.cached {
            everywhere += scaled;
        } else if having > 0 {
            somewhere.push((view.world.census().nodes_with(image), scaled));
        }
    }
    if somewhere.is_empty() {
        return sums.add_alike(Scorer::ImageLocality, image_score(everywhere, count));
    }
    let mut last = (everywhere, image_score(everywhere, count));
    let score = |&node: &NodeId| {
        let there = somewhere.iter().filter(|(nodes, _)| nodes.contains(node));
        let sum = everywhere + there.map(|(_, scaled)| scaled).sum::<i64>();
        if sum != last.0 {
            last = (sum, image_score(sum, count));
        }
        last.1
    };
    sums.add(Scorer::ImageLocality, feasible.iter().map(score));
}

/// Nodes that have an image, and all nodes.
fn nodes_with(view: &View, image: ImageId, cached: bool) -> (usize, usize) {
    let nodes = view.order();
    let there = view.world.census().nodes_with(image);
    match (cached, view.is_current()) {
        (true, _) => (nodes.len(), nodes.len()),
        (false, true) => (there.len(), nodes.len()),
        (false, false) => (nodes.iter().filter(|&&node| there.contains(node)).count(), nodes.len()),
    }
}

/// ImageLocality of a sum of scaled sizes.
pub fn image_score(sum: i64, containers: i64) -> i64 {
    let maximum = IMAGE_MAX_PER_CONTAINER * containers;
    if maximum <= IMAGE_MIN {
        return 0;
    }
    100 * (sum.clamp(IMAGE_MIN, maximum) - IMAGE_MIN) / (maximum - IMAGE_MIN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worked_example() {
        // Node 4000m / 10000 B, pod 3000m / 5000 B, otherwise empty.
        let used = [(3000, 4000), (5000, 10_000)];
        assert_eq!(least_allocated_score(&used), 37, "cpu 25, memory 50");
        assert_eq!(balanced_score(&used), 87, "half of 0.75 - 0.5 is 0.125");
        assert_eq!(least_allocated_score(&[(5000, 4000), (0, 10_000)]), 50, "over the allocatable scores 0");
        assert_eq!(least_allocated_score(&[(1, 0), (5000, 10_000)]), 50, "allocatable 0 is left out");
    }

    #[test]
    fn normalisation_divides_whole_numbers() {
        assert_eq!([1, 2, 3].map(|score| scaled(score, 3)), [33, 66, 100]);
        assert_eq!(scaled(0, 0), 0);
        assert_eq!([0, 1, 3].map(|score| reversed(score, 3)), [100, 67, 0]);
        assert_eq!(reversed(0, 0), 100);
        assert_eq!(image_score(23 << 20, 1), 0);
        assert_eq!(image_score(2000 << 20, 1), 100);
    }
}
