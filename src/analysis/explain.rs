//! The decisions that concern a thing or a moment, in the order of time: what `explain` shows.
//!
//! In: a finished record with explanations, and a question. Out: entries: decisions, the facts between them that make them a
//! story, the verdicts of Karpenter's disruption, sentences. Syncs of an autoscaler that change nothing and go the same way
//! are drawn together, so that twenty quiet minutes are one entry; so are attempts that fail the same way.

mod related;

use crate::engine::Time;
use crate::plan::{HpaId, Plan};
use crate::record::decision::{Attempt, Checked, HpaCourse, HpaDecision, Placement};
use crate::record::{Decision, Fact, Recorder, Verdict};
use crate::world::{Change, ClaimId, NodeId, PodId, TargetId, World};
use related::Story;

/// A machine as Karpenter knows it: one that was never launched has no node, one that it does not own no claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Machine {
    /// Its node.
    pub node: Option<NodeId>,
    /// Its NodeClaim.
    pub claim: Option<ClaimId>,
}

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Question {
    /// The story of this pod.
    pub pod: Option<PodId>,
    /// The story of this node, or of a NodeClaim that has none.
    pub node: Option<Machine>,
    /// The story of these registrations with a target group.
    pub targets: Vec<TargetId>,
    /// Decisions of this autoscaler.
    pub hpa: Option<HpaId>,
    /// What was decided last at this moment; of a thing's story, what comes until then.
    pub at: Option<Time>,
}

impl Question {
    /// It asks about a thing.
    pub fn is_about_a_thing(&self) -> bool {
        self.pod.is_some() || self.node.is_some() || !self.targets.is_empty()
    }
}

/// One thing to be told.
#[derive(Clone, Debug, PartialEq)]
pub enum Said<'a> {
    /// A decision with all that was seen.
    Decision(&'a Decision),
    /// Several syncs that changed nothing, all for the same reason: the first, the last, and how many.
    Quiet(&'a HpaDecision, &'a HpaDecision, usize),
    /// Several attempts that found no place for the same pod for the same reasons: how many, and when the last one ended.
    Waiting(&'a Attempt, usize, Time),
    /// Pods that are expected on a node that has room for them: how many times, and when for the last time.
    Expected(&'a Placement, usize, Time),
    /// Health checks that came out alike at several nodes of the load balancer: those nodes.
    Checks(&'a Checked, Vec<usize>),
    /// Something that happened.
    Fact(Change),
    /// What Karpenter's disruption says of a node or a NodePool.
    Verdict(&'a Verdict),
    /// A sentence, how often it was said in a row, and when for the last time.
    Note(&'a str, usize, Time),
}

/// An entry and its time.
pub type Entry<'a> = (Time, Said<'a>);

/// The pods of a name, from the first to the last: one of a StatefulSet comes back under the name it had.
pub fn pods_named(world: &World, name: &str) -> Vec<PodId> {
    world.pods.iter().map(|pod| pod.id).filter(|&pod| world.pod_name(pod) == name).collect()
}

/// Of the pods of one name the one that a moment belongs to: the last that was created by then, or else the first.
pub fn life_at(world: &World, lives: &[PodId], at: Time) -> Option<PodId> {
    let begun = lives.iter().rev().find(|&&pod| world.pod(pod).created <= at);
    begun.or(lives.first()).copied()
}

/// A node by its name, or by that of its NodeClaim.
pub fn node_named(world: &World, name: &str) -> Option<Machine> {
    let of_node = world.nodes.iter().find(|node| *node.name == *name);
    let of_claim = || world.claims.iter().find(|claim| *claim.name == *name);
    let node = of_node.map(|node| Machine { node: Some(node.id), claim: node.claim });
    node.or_else(|| of_claim().map(|claim| Machine { node: claim.node, claim: Some(claim.id) }))
}

/// Registrations by address, by address and port, or by the name of their pod.
pub fn targets_named(world: &World, name: &str) -> Vec<TargetId> {
    let is_meant = |target: &&crate::world::Target| {
        let address = target.address.to_string();
        name == address || name == format!("{address}:{}", target.port) || name == world.pod_name(target.pod)
    };
    world.targets.iter().filter(is_meant).map(|target| target.id).collect()
}

/// An autoscaler by its name.
pub fn hpa_named(world: &World, name: &str) -> Option<HpaId> {
    world.hpas.iter().find(|hpa| hpa.spec.name == name).map(|hpa| hpa.id)
}

/// The answer: entries in order of time.
pub fn answer<'a>(plan: &Plan, world: &World, recorder: &'a Recorder, question: &Question) -> Vec<Entry<'a>> {
    let story = Story::of(plan.start, world, recorder, question);
    let words = words(world, question);
    let decisions = recorder.decisions.iter().filter(|(_, decision)| story.has_decision(decision));
    let decisions = decisions.map(|(at, decision)| (*at, Said::Decision(decision)));
    let wanted = |text: &str| {
        if question.is_about_a_thing() {
            words.iter().any(|word| mentions(text, word))
        } else {
            question.hpa.is_none() && question.at.is_some()
        }
    };
    // Notes speak of a pod by its name, which another may have had before.
    let lives = question.pod.map_or_else(Vec::new, |pod| pods_named(world, &world.pod_name(pod)));
    let own = |at: Time| lives.len() < 2 || life_at(world, &lives, at) == question.pod;
    let notes = recorder.explanations.iter().filter(|(at, text)| wanted(text) && own(*at));
    let facts = recorder.facts.iter().filter(|fact| story.has_fact(fact.at, fact.change));
    let verdicts = recorder.verdicts.iter().filter(|(at, verdict)| story.has_verdict(*at, verdict));
    // What is decided at an instant comes after what made a node a candidate, and before what follows from it at once.
    let (causes, facts): (Vec<&Fact>, Vec<&Fact>) = facts.partition(|fact| is_cause(fact.change));
    let mut entries: Vec<Entry> = causes.into_iter().map(|fact| (fact.at, Said::Fact(fact.change))).collect();
    entries.extend(decisions);
    entries.extend(verdicts.map(|(at, verdict)| (*at, Said::Verdict(verdict))));
    entries.extend(notes.map(|(at, text)| (*at, Said::Note(text, 1, *at))));
    entries.extend(facts.into_iter().map(|fact| (fact.at, Said::Fact(fact.change))));
    entries.sort_by_key(|(at, _)| *at);
    match question.at {
        Some(at) if question.is_about_a_thing() => {
            entries.retain(|(time, _)| *time <= at);
            drawn_together(entries)
        }
        Some(at) => around(plan, entries, at),
        None => drawn_together(entries),
    }
}

/// It makes a node a candidate for disruption, which the same pass may act on.
const fn is_cause(change: Change) -> bool {
    matches!(change, Change::ClaimConsolidatable(_, true) | Change::ClaimDrifted(_, true))
}

/// The names under which notes speak of what is asked about.
fn words(world: &World, question: &Question) -> Vec<String> {
    let pod = question.pod.map(|pod| world.pod_name(pod));
    let machine = question.node.unwrap_or_default();
    let node = machine.node.map(|node| world.node(node).name.to_string());
    let claim = machine.claim.map(|claim| world.claim(claim).name.to_string());
    let addresses = question.targets.iter().map(|target| world.targets[target.index()].address.to_string());
    pod.into_iter().chain(node).chain(claim).chain(addresses).collect()
}

/// Whether a text names something: as a whole word, so that `web-1` is not found in `web-11`.
fn mentions(text: &str, word: &str) -> bool {
    let part = |character: char| character.is_alphanumeric() || character == '-' || character == '.';
    text.match_indices(word).any(|(start, _)| {
        let before = text[..start].chars().next_back();
        let mut after = text[start + word.len()..].chars();
        let next = after.next();
        // A full stop ends a sentence, or goes on in a name.
        let ends = next.is_none_or(|c| !part(c) || (c == '.' && after.next().is_none_or(|c| !part(c))));
        ends && before.is_none_or(|character| !part(character))
    })
}

/// The last sync of each autoscaler that had begun by then, and everything that was decided since the first of them.
fn around<'a>(plan: &Plan, entries: Vec<Entry<'a>>, at: Time) -> Vec<Entry<'a>> {
    let sync_of = |said: &Said<'a>| match said {
        Said::Decision(Decision::Hpa(sync)) => Some(sync.hpa),
        _ => None,
    };
    let mut last = std::collections::BTreeMap::new();
    for (index, (time, said)) in entries.iter().enumerate().filter(|(_, (time, _))| *time <= at) {
        if let Some(hpa) = sync_of(said) {
            last.insert(hpa, (index, *time));
        }
    }
    let since = last.values().map(|(_, time)| *time).min().unwrap_or(at.back(plan.flags.hpa.sync_period));
    let kept = |index: usize, said: &Said<'a>| match sync_of(said) {
        Some(hpa) => last.get(&hpa).is_some_and(|(kept, _)| *kept == index),
        None => true,
    };
    let entries = entries.into_iter().enumerate().filter(|(_, (time, _))| (since..=at).contains(time));
    entries.filter(|(index, (_, said))| kept(*index, said)).map(|(_, entry)| entry).collect()
}

/// Two syncs of one autoscaler that leave the size alone for the same reason.
fn alike(one: &HpaDecision, other: &HpaDecision) -> bool {
    let reason = |sync: &HpaDecision| match &sync.course {
        HpaCourse::Proposed { proposal, able, limit, held_by, .. } => {
            (0, Some((*proposal, *able, *limit, held_by.is_some())), None)
        }
        HpaCourse::Unreadable => (1, None, None),
        HpaCourse::Disabled => (2, None, None),
        HpaCourse::AboveMax(_) => (3, None, None),
        HpaCourse::BelowMin(_) => (4, None, None),
        HpaCourse::Failed(reason) => (5, None, Some(*reason)),
    };
    let still = |sync: &HpaDecision| sync.scale_to.is_none();
    one.hpa == other.hpa && still(one) && still(other) && one.current == other.current && reason(one) == reason(other)
}

fn drawn_together(entries: Vec<Entry<'_>>) -> Vec<Entry<'_>> {
    let mut drawn: Vec<Entry> = Vec::new();
    for (at, said) in entries {
        let joined = drawn.last().and_then(|(_, earlier)| joined(earlier, at, &said));
        match (joined, drawn.last_mut()) {
            (Some(joined), Some((_, earlier))) => *earlier = joined,
            _ => drawn.push((at, said)),
        }
    }
    drawn
}

/// An entry and the next one as one, where they say the same.
fn joined<'a>(earlier: &Said<'a>, at: Time, next: &Said<'a>) -> Option<Said<'a>> {
    match (earlier, next) {
        (Said::Note(text, count, _), Said::Note(again, ..)) if text == again => Some(Said::Note(text, count + 1, at)),
        (Said::Decision(Decision::Hpa(first)), Said::Decision(Decision::Hpa(sync))) if alike(first, sync) => {
            Some(Said::Quiet(first, sync, 2))
        }
        (Said::Quiet(first, _, count), Said::Decision(Decision::Hpa(sync))) if alike(first, sync) => {
            Some(Said::Quiet(first, sync, count + 1))
        }
        (Said::Decision(Decision::Scheduling(first)), Said::Decision(Decision::Scheduling(attempt)))
            if first.repeats(attempt) =>
        {
            Some(Said::Waiting(first, 2, at))
        }
        (Said::Waiting(first, count, _), Said::Decision(Decision::Scheduling(attempt))) if first.repeats(attempt) => {
            Some(Said::Waiting(first, count + 1, at))
        }
        (Said::Decision(Decision::Placement(first)), Said::Decision(Decision::Placement(placement)))
            if first.repeats(placement) =>
        {
            Some(Said::Expected(first, 2, at))
        }
        (Said::Expected(first, count, _), Said::Decision(Decision::Placement(placement)))
            if first.repeats(placement) =>
        {
            Some(Said::Expected(first, count + 1, at))
        }
        (Said::Decision(Decision::Checked(first)), Said::Decision(Decision::Checked(check)))
            if check.is_echo_of(first) =>
        {
            let nodes = [first, check].into_iter().filter_map(|one| one.target).map(|(_, node)| node);
            Some(Said::Checks(first, nodes.collect()))
        }
        (Said::Checks(first, nodes), Said::Decision(Decision::Checked(check))) if check.is_echo_of(first) => {
            let nodes = nodes.iter().copied().chain(check.target.map(|(_, node)| node));
            Some(Said::Checks(first, nodes.collect()))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_found_as_a_whole_word_only() {
        assert!(mentions("pod web-r1-1: 0/3 nodes are available", "web-r1-1"));
        assert!(mentions("is refused for web-r1-1.", "web-r1-1"));
        assert!(!mentions("pod web-r1-11 waits", "web-r1-1"));
        assert!(!mentions("pod my-web-r1-1 waits", "web-r1-1"));
        assert!(!mentions("node ip-1.internal", "ip-1"));
    }
}
