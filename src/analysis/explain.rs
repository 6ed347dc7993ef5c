//! The decisions that concern a thing or a moment: what `explain` shows.
//!
//! In: a finished record with explanations, and a question. Out: entries in order of time. Syncs of an autoscaler that
//! change nothing and go the same way are drawn together, so that twenty quiet minutes are one entry.

use crate::engine::Time;
use crate::plan::{HpaId, Plan};
use crate::record::decision::{HpaCourse, HpaDecision};
use crate::record::{Decision, Recorder};
use crate::world::{NodeId, PodId, World};

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Question {
    /// Decisions about this pod.
    pub pod: Option<PodId>,
    /// Decisions about this node.
    pub node: Option<NodeId>,
    /// Decisions of this autoscaler.
    pub hpa: Option<HpaId>,
    /// What was decided last at this moment.
    pub at: Option<Time>,
}

/// One thing to be told.
#[derive(Clone, Debug, PartialEq)]
pub enum Said<'a> {
    /// A decision with all that was seen.
    Decision(&'a Decision),
    /// Several syncs that changed nothing, all for the same reason: the first, the last, and how many.
    Quiet(&'a HpaDecision, &'a HpaDecision, usize),
    /// A sentence, how often it was said in a row, and when for the last time.
    Note(&'a str, usize, Time),
}

/// An entry and its time.
pub type Entry<'a> = (Time, Said<'a>);

/// Names in which a question can be put.
pub fn pod_named(world: &World, name: &str) -> Option<PodId> {
    world.pods.iter().map(|pod| pod.id).find(|&pod| world.pod_name(pod) == name)
}

/// A node by its name, or by that of its NodeClaim.
pub fn node_named(world: &World, name: &str) -> Option<NodeId> {
    let claimed = |node: &crate::world::Node| node.claim.is_some_and(|claim| *world.claim(claim).name == *name);
    world.nodes.iter().find(|node| *node.name == *name || claimed(node)).map(|node| node.id)
}

/// An autoscaler by its name.
pub fn hpa_named(world: &World, name: &str) -> Option<HpaId> {
    world.hpas.iter().find(|hpa| hpa.spec.name == name).map(|hpa| hpa.id)
}

/// The answer: entries in order of time.
pub fn answer<'a>(plan: &Plan, world: &World, recorder: &'a Recorder, question: &Question) -> Vec<Entry<'a>> {
    let words = words(world, question);
    let decisions = recorder.decisions.iter().filter(|(_, decision)| concerns(world, decision, question));
    let decisions = decisions.map(|(at, decision)| (*at, Said::Decision(decision)));
    let narrowed = question.pod.is_some() || question.node.is_some();
    let wanted = |text: &str| {
        if narrowed {
            words.iter().any(|word| mentions(text, word))
        } else {
            question.hpa.is_none() && question.at.is_some()
        }
    };
    let notes = recorder.explanations.iter().filter(|(_, text)| wanted(text));
    let mut entries: Vec<Entry> = decisions.chain(notes.map(|(at, text)| (*at, Said::Note(text, 1, *at)))).collect();
    entries.sort_by_key(|(at, _)| *at);
    if let Some(at) = question.at {
        return around(plan, entries, at);
    }
    drawn_together(entries)
}

/// The names under which notes speak of what is asked about.
fn words(world: &World, question: &Question) -> Vec<String> {
    let pod = question.pod.map(|pod| world.pod_name(pod));
    let node = question.node.map(|node| world.node(node));
    let claim = node.and_then(|node| node.claim).map(|claim| world.claim(claim).name.to_string());
    pod.into_iter().chain(node.map(|node| node.name.to_string())).chain(claim).collect()
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

fn concerns(world: &World, decision: &Decision, question: &Question) -> bool {
    if let Some(pod) = question.pod
        && !decision.pods().contains(&pod)
    {
        return false;
    }
    if let Some(node) = question.node {
        let victims = match decision {
            Decision::Hpa(_) => return false,
            Decision::ScaleDown(choice) => choice.victims.iter(),
        };
        if !victims.clone().any(|(pod, _)| world.pod(*pod).node == Some(node)) {
            return false;
        }
    }
    match (question.hpa, decision) {
        (None, _) => true,
        (Some(hpa), Decision::Hpa(sync)) => sync.hpa == hpa,
        (Some(hpa), Decision::ScaleDown(choice)) => {
            let target = world.hpas[hpa.index()].target;
            target.is_some() && world.replica_sets[choice.replica_set.index()].deployment == target
        }
    }
}

/// The last sync of each autoscaler that had begun by then, and everything that was decided since the first of them.
fn around<'a>(plan: &Plan, entries: Vec<Entry<'a>>, at: Time) -> Vec<Entry<'a>> {
    let sync_of = |said: &Said<'a>| match said {
        Said::Decision(Decision::Hpa(sync)) => Some(sync.hpa),
        Said::Decision(Decision::ScaleDown(_)) | Said::Quiet(..) | Said::Note(..) => None,
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
        if let (Said::Note(text, ..), Some((_, Said::Note(earlier, count, last)))) = (&said, drawn.last_mut())
            && text == earlier
        {
            (*count, *last) = (*count + 1, at);
            continue;
        }
        if let Said::Decision(Decision::Hpa(sync)) = said {
            let last = drawn.last_mut().map(|(_, said)| said);
            match last {
                Some(Said::Quiet(first, last, count)) if alike(first, sync) => {
                    (*last, *count) = (sync, *count + 1);
                    continue;
                }
                Some(earlier) => {
                    if let Said::Decision(Decision::Hpa(first)) = earlier
                        && alike(first, sync)
                    {
                        *earlier = Said::Quiet(first, sync, 2);
                        continue;
                    }
                }
                None => {}
            }
        }
        drawn.push((at, said));
    }
    drawn
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
