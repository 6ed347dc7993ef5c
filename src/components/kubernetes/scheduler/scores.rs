//! The default scores, each normalised to 0..100 and weighted.
//!
//! Source: `pkg/scheduler/framework/plugins/{noderesources,tainttoleration,nodeaffinity,imagelocality}`; weights:
//! `apis/config/v1/default_plugins.go`.

use super::reading::untolerated_preferences;
use super::view::View;
use super::{inter_pod, spread};
use crate::plan::{ImageId, PodTemplate};
use crate::world::room::{CPU, MEMORY};
use crate::world::{Node, NodeId, PodId, World};

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

/// The scores of all plugins that have something to say.
pub fn scores(view: &View, pod: PodId, feasible: &[NodeId]) -> Vec<PluginScores> {
    let template = view.template(pod);
    let world = view.world;
    let mut all = Vec::with_capacity(7);
    let mut put = |scorer: Scorer, mut values: Vec<i64>| {
        if scorer.weight() != 1 {
            values.iter_mut().for_each(|value| *value *= scorer.weight());
        }
        all.push((scorer, values));
    };
    put(Scorer::TaintToleration, reversed(preferences(view, template, pod, feasible)));
    if !template.affinity.node_preferred.is_empty() {
        put(Scorer::NodeAffinity, scaled(each(world, feasible, |node| preferred_affinity(template, node))));
    }
    let used: Vec<[(i64, i64); 2]> = feasible.iter().map(|&node| requested(view, template, node)).collect();
    put(Scorer::NodeResourcesFit, least_allocated(view, pod, feasible, &used));
    if let Some(values) = spread::scores(view, pod, feasible) {
        put(Scorer::PodTopologySpread, values);
    }
    if let Some(values) = inter_pod::scores(view, pod, feasible) {
        put(Scorer::InterPodAffinity, values);
    }
    if template.requests.cpu.0 != 0 || template.requests.memory.0 != 0 {
        put(Scorer::BalancedAllocation, used.iter().map(|used| balanced_score(used)).collect());
    }
    put(Scorer::ImageLocality, image_locality(view, template, feasible));
    all
}

fn each(world: &World, feasible: &[NodeId], rule: impl Fn(&Node) -> i64) -> Vec<i64> {
    feasible.iter().map(|&node| rule(world.node(node))).collect()
}

/// 100 x score div max; unchanged if max is 0.
fn scaled(mut scores: Vec<i64>) -> Vec<i64> {
    let maximum = scores.iter().copied().max().unwrap_or(0);
    if maximum != 0 {
        scores.iter_mut().for_each(|score| *score = 100 * *score / maximum);
    }
    scores
}

/// 100 less that; all 100 if max is 0.
fn reversed(mut scores: Vec<i64>) -> Vec<i64> {
    let maximum = scores.iter().copied().max().unwrap_or(0);
    let rule = |score: i64| if maximum == 0 { 100 } else { 100 - 100 * score / maximum };
    scores.iter_mut().for_each(|score| *score = rule(*score));
    scores
}

/// Untolerated PreferNoSchedule taints of each feasible node.
fn preferences(view: &View, template: &PodTemplate, pod: PodId, feasible: &[NodeId]) -> Vec<i64> {
    let verdicts = view.verdicts(pod);
    if !verdicts.is_empty() && verdicts.iter().all(|verdict| verdict.preferences == 0) {
        return vec![0; feasible.len()];
    }
    let of_kind = |kind: u32| verdicts.get(kind as usize).map(|verdict| verdict.preferences);
    let of_node = |&node: &NodeId| {
        let known = view.world.census().kind_of(node).and_then(of_kind);
        let count = known.unwrap_or_else(|| untolerated_preferences(template, &view.world.node(node).taints));
        i64::from(count)
    };
    feasible.iter().map(of_node).collect()
}

fn preferred_affinity(template: &PodTemplate, node: &Node) -> i64 {
    let terms = template.affinity.node_preferred.iter();
    terms.filter(|(_, term)| term.matches(&node.name, &node.labels)).map(|(weight, _)| i64::from(*weight)).sum()
}

/// CPU and memory requested on a node with the pod, each with what there is.
fn requested(view: &View, template: &PodTemplate, node: NodeId) -> [(i64, i64); 2] {
    let room = view.world.census().room(node);
    let mut cpu = room.requested[CPU] + template.requests.cpu.0;
    let mut memory = room.requested[MEMORY] + template.requests.memory.0;
    if view.assumed.is_on(node) {
        for requests in view.assumed.on(node).iter().map(|&pod| &view.template(pod).requests) {
            cpu += requests.cpu.0;
            memory += requests.memory.0;
        }
    }
    [(cpu, room.allocatable[CPU]), (memory, room.allocatable[MEMORY])]
}

fn least_allocated(view: &View, pod: PodId, feasible: &[NodeId], used: &[[(i64, i64); 2]]) -> Vec<i64> {
    if !view.cluster.any_surplus {
        return used.iter().map(|used| least_allocated_score(used)).collect();
    }
    let facts = &view.cluster.templates;
    let own = facts[view.template_index(pod)].own_surplus;
    let score = |(&node, used): (&NodeId, &[(i64, i64); 2])| {
        let mut used = *used;
        let held = view.world.census().on(node).iter();
        let bound = held.map(|held| (facts[held.template.index()].surplus, i64::from(held.count.pods)));
        let assumed = view.assumed.on(node).iter().map(|&other| (facts[view.template_index(other)].surplus, 1));
        for (surplus, count) in bound.chain(assumed).chain([(own, 1)]) {
            used[0].0 += surplus.0 * count;
            used[1].0 += surplus.1 * count;
        }
        least_allocated_score(&used)
    };
    feasible.iter().zip(used).map(score).collect()
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
fn image_locality(view: &View, template: &PodTemplate, feasible: &[NodeId]) -> Vec<i64> {
    let containers = template.init_containers.iter().chain(&template.containers);
    let count = containers.clone().count() as i64;
    let images = containers.filter_map(|container| container.image_id);
    let mut sums = vec![0_i64; feasible.len()];
    for image in images {
        let Some(spec) = view.plan.images.get(image.index()) else { continue };
        if spec.size.0 == 0 {
            continue;
        }
        let (having, total) = nodes_with(view, image, spec.cached);
        let scaled = (spec.size.0 as f64 * (having as f64 / total.max(1) as f64)) as i64;
        let there = view.world.census().nodes_with(image);
        for (sum, &node) in sums.iter_mut().zip(feasible) {
            if spec.cached || there.contains(node) {
                *sum += scaled;
            }
        }
    }
    sums.iter().map(|&sum| image_score(sum, count)).collect()
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
        assert_eq!(scaled(vec![1, 2, 3]), [33, 66, 100]);
        assert_eq!(scaled(vec![0, 0]), [0, 0]);
        assert_eq!(reversed(vec![0, 1, 3]), [100, 67, 0]);
        assert_eq!(reversed(vec![0, 0]), [100, 100]);
        assert_eq!(image_score(23 << 20, 1), 0);
        assert_eq!(image_score(2000 << 20, 1), 100);
    }
}
