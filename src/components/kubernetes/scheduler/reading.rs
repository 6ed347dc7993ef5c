//! What a template asks of nodes and of other pods, worked out once: kube-scheduler puts selectors to every pod in every
//! cycle, here they are put to every template, and once.
//!
//! In: templates, Services, kinds of nodes. Out: which templates a constraint or a term selects, and what taints and
//! labels of each kind of node mean to the template. It holds as long as templates and Services are those it was made
//! for ([`super::view::Cluster::is_outdated`]); new kinds of nodes are added when they appear.

use super::filters::{matches_labels, tolerates};
use super::standing::Standings;
use super::view::View;
use super::{inter_pod, spread};
use crate::plan::PodTemplate;
use crate::rules::taint::{Taint, TaintEffect, tolerated};
use crate::world::World;
use crate::world::census::{Census, NodeKind};
use std::cell::RefCell;

/// The templates whose pods something selects.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Selection {
    by_template: Vec<bool>,
    templates: Vec<usize>,
}

impl Selection {
    /// The templates that fit.
    pub fn of(world: &World, fits: impl Fn(&PodTemplate) -> bool) -> Selection {
        let by_template: Vec<bool> = world.templates.iter().map(|template| fits(template)).collect();
        let templates = (0..by_template.len()).filter(|&index| by_template[index]).collect();
        Selection { by_template, templates }
    }

    /// One template.
    pub fn only(world: &World, template: usize) -> Selection {
        let mut by_template = vec![false; world.templates.len()];
        by_template[template] = true;
        Selection { by_template, templates: vec![template] }
    }

    /// It selects pods of a template.
    pub fn has(&self, template: usize) -> bool {
        self.by_template[template]
    }

    /// It selects none.
    pub fn is_empty(&self) -> bool {
        self.templates.is_empty()
    }

    /// The classes of pods that it selects.
    pub fn classes<'v>(&'v self, census: &'v Census) -> impl Iterator<Item = u32> + Clone + use<'v> {
        self.templates.iter().flat_map(|&template| census.classes_of(template)).copied()
    }
}

/// What a kind of node is to a template.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// All taints that would keep it away are tolerated.
    pub tolerates: bool,
    /// Selector and required node affinity match.
    pub matches: bool,
    /// Taints with PreferNoSchedule that it does not tolerate.
    pub preferences: u32,
}

impl Verdict {
    fn of(template: &PodTemplate, kind: &NodeKind) -> Verdict {
        Verdict {
            tolerates: tolerates(template, &kind.taints),
            matches: matches_labels(template, "", &kind.labels),
            preferences: untolerated_preferences(template, &kind.taints),
        }
    }
}

/// Taints with PreferNoSchedule that a template does not tolerate.
pub fn untolerated_preferences(template: &PodTemplate, taints: &[Taint]) -> u32 {
    let preferences = taints.iter().filter(|taint| taint.effect == TaintEffect::PreferNoSchedule);
    u32::try_from(preferences.filter(|taint| !tolerated(&template.tolerations, taint)).count()).unwrap_or(u32::MAX)
}

/// What one template asks.
#[derive(Clone, Debug)]
pub struct Reading {
    /// What kinds of nodes are to it, as soon as one is asked for.
    verdicts: RefCell<Vec<Option<Verdict>>>,
    /// How nodes stood to its pods.
    pub standings: RefCell<Standings>,
    /// Its spread constraints, or the defaults.
    pub spread: spread::Reading,
    /// Its affinity terms, and those of others that concern it.
    pub inter_pod: inter_pod::Reading,
}

impl Reading {
    /// What the template at a position asks.
    pub fn of(view: &View, template: usize) -> Reading {
        Reading {
            verdicts: RefCell::default(),
            standings: RefCell::default(),
            spread: spread::Reading::of(view.world, &view.world.templates[template]),
            inter_pod: inter_pod::Reading::of(view, template),
        }
    }

    /// What a kind of node is to it.
    fn verdict(&self, template: &PodTemplate, census: &Census, kind: u32) -> Verdict {
        let mut known = self.verdicts.borrow_mut();
        if known.len() <= kind as usize {
            known.resize(census.all_kinds().len(), None);
        }
        *known[kind as usize].get_or_insert_with(|| Verdict::of(template, census.kind(kind)))
    }
}

/// What kinds of nodes are to the pods of a template.
#[derive(Clone, Copy)]
pub struct Verdicts<'a> {
    reading: &'a Reading,
    template: &'a PodTemplate,
    census: &'a Census,
}

impl<'a> Verdicts<'a> {
    /// By what the template asks.
    pub fn new(reading: &'a Reading, template: &'a PodTemplate, census: &'a Census) -> Verdicts<'a> {
        Verdicts { reading, template, census }
    }

    /// That of a kind.
    pub fn of(self, kind: u32) -> Verdict {
        self.reading.verdict(self.template, self.census, kind)
    }
}

#[cfg(test)]
mod tests {
    use super::super::decide::decide;
    use super::super::view::{Assumed, Cluster};
    use super::*;
    use crate::components::kubernetes::testbed::{self, Testbed, node, plan, template};
    use crate::plan::{PodAffinityTerm, ServiceSpec, TopologySpread};
    use crate::rules::labels::{LabelSelector, Labels};
    use crate::rules::taint::Taint;
    use crate::world::NodeId;

    fn labels(name: &str) -> Labels {
        Labels::from([("app".to_string(), name.to_string())])
    }

    /// Pods that spread, pods that keep apart, pods that prefer company, pods with nothing to say.
    fn templates() -> Vec<PodTemplate> {
        let mut templates =
            ["web", "web", "db", "web"].map(|name| PodTemplate { labels: labels(name), ..template(10) });
        let selector = Some(LabelSelector::from_labels(&labels("web")));
        let constraint = |hard, key: &str| TopologySpread {
            max_skew: 1,
            topology_key: key.into(),
            hard,
            selector: selector.clone(),
            min_domains: None,
            honor_affinity: true,
            honor_taints: true,
            match_label_keys: Vec::new(),
        };
        let term = |key: &str| PodAffinityTerm {
            selector: selector.clone(),
            topology_key: key.into(),
            namespaces: Default::default(),
            namespace_selector: None,
        };
        let (zone, host) = ("topology.kubernetes.io/zone", "kubernetes.io/hostname");
        templates[0].topology_spread = vec![constraint(true, zone), constraint(false, host)];
        templates[1].affinity.anti_preferred = vec![(7, term(host))];
        templates[2].affinity.anti_required = vec![term(host)];
        templates.to_vec()
    }

    #[test]
    fn what_is_kept_over_changes_decides_as_what_is_read_anew() {
        let plan = plan(templates());
        let mut world = World::new(&plan);
        for index in 0..8 {
            Testbed::ready_node(&mut world, node(&format!("n{index}"), 1000, ["x", "y", "z"][index % 3]));
        }
        let mut kept = Cluster::of(&world);
        let mut generation = world.census().generation();
        let assumed = Assumed::default();
        for step in 0..60_u32 {
            match step {
                10 => world.add_taint(NodeId(1), Taint::new("soft", TaintEffect::PreferNoSchedule)),
                20 => world.add_taint(NodeId(2), Taint::new("hard", TaintEffect::NoSchedule)),
                30 => {
                    let namespace = plan.templates[0].namespace.clone();
                    let selector = Some(LabelSelector::from_labels(&labels("web")));
                    world.create_service(ServiceSpec { namespace, selector, ..ServiceSpec::default() });
                }
                40 => world.set_unschedulable(NodeId(3), true),
                45 => world.set_node_label(NodeId(4), "topology.kubernetes.io/zone", "w"),
                50 => world.remove_taint(NodeId(2), &Taint::new("hard", TaintEffect::NoSchedule)),
                _ => {}
            }
            if kept.is_outdated(&world) || generation != world.census().generation() {
                kept.renew(&world);
                generation = world.census().generation();
            }
            let pod = testbed::new_pod(&mut world, step % 4);
            let decision = |cluster: &Cluster| {
                let view = View { plan: &plan, world: &world, cluster, assumed: &assumed, nominated: &[] };
                let decision = decide(&view, pod, step as usize);
                (decision.feasible, decision.refused, decision.scores)
            };
            assert_eq!(decision(&kept), decision(&Cluster::of(&world)), "step {step}");
            world.bind_pod(pod, NodeId(step * 5 % 8));
        }
    }
}
