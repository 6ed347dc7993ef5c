//! Facts of a run as happenings.

use super::{Happening, Kind, Near, Timeline};
use crate::engine::{Span, Time};
use crate::plan::{MetricSpec, Plan};
use crate::record::{Fact, Recorder};
use crate::world::{Change, ClaimId, DeleteCause, NodeReadiness, Owner, PodPhase, World};
use std::collections::BTreeSet;

/// What a run says happens; `trigger` is the zero of its times.
pub fn predicted(plan: &Plan, world: &World, recorder: &Recorder, trigger: Time) -> Timeline {
    let mut reader =
        Reader { plan, world, trigger, happenings: Vec::new(), seen: BTreeSet::new(), of_daemon_sets: BTreeSet::new() };
    for action in &plan.actions {
        reader.push(action.at, Kind::Action, String::new(), String::new());
    }
    for (at, hpa, _) in &recorder.hpa_syncs {
        reader.push(*at, Kind::Synced, world.hpas[hpa.index()].spec.name.clone(), String::new());
    }
    for (at, pod) in &recorder.refused_evictions {
        reader.push(*at, Kind::EvictionRefused, format!("pod-{}", pod.0), String::new());
    }
    let facts = &recorder.facts;
    let mut index = 0;
    while index < facts.len() {
        index += reader.fact(facts, index);
    }
    let rest = |&(until, pod, rest): &(Time, crate::world::PodId, Span)| {
        (until.micros() as i64 - trigger.micros() as i64, format!("pod-{}", pod.0), rest.micros() as i64)
    };
    let rests = recorder.rested_evictions.iter().map(rest).collect();
    Timeline { near: near(plan, world, recorder, trigger), rests, ..Timeline::of(reader.happenings) }
}

/// A value so near to a boundary may lie on its other side.
const NEAR: f64 = 0.01;

/// Syncs whose decision a value of one percent more or less would have changed.
fn near(plan: &Plan, world: &World, recorder: &Recorder, trigger: Time) -> Vec<Near> {
    let mut all = near_looks(plan, world, recorder, trigger);
    for (at, hpa, status) in &recorder.hpa_syncs {
        let spec = &world.hpas[hpa.index()].spec;
        let targets = spec.metrics.iter().find_map(|metric| match metric {
            MetricSpec::Resource { target, .. } | MetricSpec::ContainerResource { target, .. } => {
                target.average_utilization
            }
            _ => None,
        });
        let (Some(utilization), Some(target)) = (status.utilization, targets) else { continue };
        let ratio = f64::from(utilization) / f64::from(target.max(1));
        let tolerance = plan.flags.hpa.tolerance;
        let wanted = ratio * f64::from(status.current);
        let whole = wanted.round().max(1.0);
        let tolerated = |edge: f64| (edge, ratio, format!("{:.0} %, which is tolerated", edge * f64::from(target)));
        let replicas = (whole, wanted, format!("what takes {whole:.0} replicas"));
        let boundaries = [tolerated(1.0 + tolerance), tolerated(1.0 - tolerance), replicas];
        let distance = |(boundary, value, _): &(f64, f64, String)| (value / boundary - 1.0).abs();
        let nearest = boundaries.into_iter().min_by(|a, b| distance(a).total_cmp(&distance(b)));
        if let Some(boundary) = nearest.filter(|one| distance(one) <= NEAR) {
            all.push(Near {
                at: at.micros() as i64 - trigger.micros() as i64,
                distance: distance(&boundary) / NEAR,
                words: format!("{} was {:.2} % from {}", spec.name, distance(&boundary) * 100.0, boundary.2),
                period: plan.flags.hpa.sync_period,
            });
        }
    }
    all
}

/// The phase of the node controller's loop is only known to within so much.
pub const LOOK_KNOWN: Span = Span::from_millis(800);

/// Nodes that became Ready so near to a look of the node controller that a look more or less may have come between.
fn near_looks(plan: &Plan, world: &World, recorder: &Recorder, trigger: Time) -> Vec<Near> {
    let flags = &plan.flags.controllers;
    let (Some(start), period) = (flags.node_monitor_start, flags.node_monitor_period) else { return Vec::new() };
    let near = |fact: &Fact| {
        let Change::NodeReady(node, NodeReadiness::Ready) = fact.change else { return None };
        world.node(node).claim?;
        let since = fact.at.since(plan.start + start).micros() % period.micros().max(1);
        let off = Span::from_micros(since.min(period.micros() - since));
        let words = format!("a node was Ready {:.2} s from a look of the node controller", off.seconds());
        let at = fact.at.micros() as i64 - trigger.micros() as i64;
        (off <= LOOK_KNOWN).then(|| Near { at, distance: off.seconds() / LOOK_KNOWN.seconds(), words, period })
    };
    recorder.facts.iter().filter_map(near).collect()
}

struct Reader<'a> {
    plan: &'a Plan,
    world: &'a World,
    trigger: Time,
    happenings: Vec<Happening>,
    seen: BTreeSet<(Kind, String)>,
    /// Pods of DaemonSets.
    of_daemon_sets: BTreeSet<String>,
}

impl Reader<'_> {
    fn push(&mut self, at: Time, kind: Kind, subject: String, detail: String) {
        let at = at.micros() as i64 - self.trigger.micros() as i64;
        self.happenings.push(Happening { at, kind, subject, detail });
    }

    /// What happens to a thing once.
    fn once(&mut self, at: Time, kind: Kind, subject: String, detail: String) {
        if self.seen.insert((kind, subject.clone())) {
            self.push(at, kind, subject, detail);
        }
    }

    /// Reads a fact; how many facts it took.
    fn fact(&mut self, facts: &[Fact], index: usize) -> usize {
        let Fact { at, change } = facts[index];
        let pod = |pod: crate::world::PodId| format!("pod-{}", pod.0);
        let node = |node: crate::world::NodeId| format!("node-{}", node.0);
        let claim = |claim: ClaimId| format!("claim-{}", claim.0);
        let none = String::new;
        match change {
            Change::DeploymentScaled { deployment, from, to, .. } => {
                let name = self.plan.deployments[deployment.index()].name.clone();
                self.push(at, Kind::Scaled, name, format!("{from} -> {to}"));
            }
            Change::PodCreated(id) => {
                if matches!(self.world.pod(id).owner, Owner::DaemonSet(_)) {
                    self.of_daemon_sets.insert(pod(id));
                }
                self.once(at, Kind::PodCreated, pod(id), none());
            }
            Change::HpaSynced(id) => {
                self.push(at, Kind::SyncEnded, self.world.hpas[id.index()].spec.name.clone(), none());
            }
            // The recorder tells of every message of the condition.
            Change::PodUnschedulable(id) | Change::PodUnschedulableMessage(id) => {
                self.push(at, Kind::PodUnschedulable, pod(id), none())
            }
            Change::PodBound(id) => {
                let on = self.world.pod(id).node.map_or_else(none, node);
                self.once(at, Kind::PodScheduled, pod(id), on);
            }
            Change::PodChanged(id) if self.seen.contains(&(Kind::PodScheduled, pod(id))) => {
                self.once(at, Kind::PodAcknowledged, pod(id), none());
            }
            Change::PodPhase(id, PodPhase::Running) => self.once(at, Kind::PodRunning, pod(id), none()),
            Change::PodReady(id, true) => self.once(at, Kind::PodReady, pod(id), none()),
            Change::PodDeleting(id, cause) => self.once(at, Kind::PodDeleting, pod(id), cause_words(cause).to_string()),
            Change::PodGone(id) => self.once(at, Kind::PodGone, pod(id), none()),
            Change::BatchClosed(_) => self.push(at, Kind::BatchClosed, none(), none()),
            Change::ClaimCreated(id) => {
                let entry = self.world.claim(id);
                let (requests, types) = (&entry.requests, entry.instance_types.len().to_string());
                let words = claim_words(requests.cpu.0, requests.memory.0, requests.pods, &types);
                self.once(at, Kind::ClaimCreated, claim(id), words);
            }
            Change::ClaimLaunched(id) => self.once(at, Kind::ClaimLaunched, claim(id), self.type_of(id)),
            Change::ClaimRegistered(id) => self.once(at, Kind::ClaimRegistered, claim(id), none()),
            Change::ClaimInitialized(id) => self.once(at, Kind::ClaimInitialized, claim(id), none()),
            Change::ClaimConsolidatable(id, true) => self.push(at, Kind::ClaimConsolidatable, claim(id), none()),
            Change::ClaimDeleting(id, _) => self.once(at, Kind::ClaimDeleting, claim(id), none()),
            Change::ClaimGone(id) => self.once(at, Kind::ClaimGone, claim(id), none()),
            Change::NodeCreated(id) => {
                let kind = self.world.node(id).claim.map_or_else(|| "static".to_string(), |claim| self.type_of(claim));
                self.once(at, Kind::NodeCreated, node(id), kind);
            }
            Change::NodeReady(id, NodeReadiness::Ready) => self.once(at, Kind::NodeReady, node(id), none()),
            Change::NodeTaints(id) => self.push(at, Kind::NodeTaints, node(id), none()),
            Change::NodeDeleting(id) => self.once(at, Kind::NodeDeleting, node(id), none()),
            Change::NodeGone(id) => self.once(at, Kind::NodeGone, node(id), none()),
            Change::ClaimDisrupted(..) => return self.command(facts, index),
            _ => {}
        }
        1
    }

    fn type_of(&self, claim: ClaimId) -> String {
        let instance = self.world.claim(claim).instance.map(|instance| &self.world.instances[instance.index()]);
        instance.map_or_else(String::new, |one| self.plan.instance_type(one.instance_type).name.clone())
    }

    /// A command: its candidates follow each other, its replacements were created just before.
    fn command(&mut self, facts: &[Fact], index: usize) -> usize {
        let Fact { at, change } = facts[index];
        let Change::ClaimDisrupted(_, reason) = change else { return 1 };
        let same =
            |fact: &&Fact| fact.at == at && matches!(fact.change, Change::ClaimDisrupted(_, other) if other == reason);
        let candidates: Vec<ClaimId> = (facts[index..].iter())
            .take_while(same)
            .filter_map(|fact| if let Change::ClaimDisrupted(id, _) = fact.change { Some(id) } else { None })
            .collect();
        let earlier = facts[..index].iter().rev().take_while(|fact| fact.at == at);
        let created = earlier.filter_map(|fact| match fact.change {
            Change::ClaimCreated(id) => Some(id),
            _ => None,
        });
        let name = |id: &crate::plan::InstanceTypeId| self.plan.instance_type(*id).name.as_str();
        let mut options: Vec<String> = created
            .map(|id| options_words(self.world.claim(id).instance_types.iter().map(name).collect(), 0))
            .collect();
        options.sort_unstable();
        let mut types: Vec<String> = candidates.iter().map(|&id| self.type_of(id)).collect();
        types.sort_unstable();
        let types: Vec<&str> = types.iter().map(String::as_str).collect();
        let pods = self.pods_on(&candidates, at);
        self.push(at, Kind::Command, reason.name().to_string(), command_words(&types, pods, &options));
        candidates.len().max(1)
    }

    /// Pods that were on the nodes of these claims then.
    fn pods_on(&self, claims: &[ClaimId], at: Time) -> u64 {
        let nodes: BTreeSet<String> =
            claims.iter().filter_map(|&claim| Some(format!("node-{}", self.world.claim(claim).node?.0))).collect();
        let until = at.micros() as i64 - self.trigger.micros() as i64;
        let mut there = BTreeSet::new();
        for one in self.happenings.iter().filter(|one| one.at <= until) {
            match one.kind {
                // Karpenter counts those that must go elsewhere.
                _ if self.of_daemon_sets.contains(&one.subject) => {}
                Kind::PodScheduled if nodes.contains(&one.detail) => drop(there.insert(one.subject.as_str())),
                Kind::PodDeleting | Kind::PodGone => drop(there.remove(one.subject.as_str())),
                _ => {}
            }
        }
        there.len() as u64
    }
}

/// Who deletes a pod that its own controller does not.
fn cause_words(cause: DeleteCause) -> &'static str {
    match cause {
        DeleteCause::Eviction => "eviction",
        DeleteCause::Taint => "taint",
        DeleteCause::NodeGone => "node gone",
        DeleteCause::Preemption => "preemption",
        DeleteCause::ScaleDown
        | DeleteCause::Rollout
        | DeleteCause::DaemonSet
        | DeleteCause::User
        | DeleteCause::Forced => "",
    }
}

/// A NodeClaim in words.
pub(super) fn claim_words(millicores: i64, bytes: i64, pods: i64, types: &str) -> String {
    format!("{millicores}m, {}Mi, {pods} pods, {types} types", bytes >> 20)
}

/// Types that Karpenter's log names of a replacement, at most. Source: core
/// `pkg/controllers/provisioning/scheduling/nodeclaim.go` (`InstanceTypeList`).
const NAMED_TYPES: usize = 5;

/// The types that a replacement may have: their names, or of many, of which a log names some in no order, how many.
pub(super) fn options_words(mut names: Vec<&str>, others: usize) -> String {
    let count = names.len() + others;
    if count > NAMED_TYPES {
        return format!("{count} types");
    }
    names.sort_unstable();
    names.join("|")
}

/// A command in words.
pub(super) fn command_words(types: &[&str], pods: u64, replacements: &[String]) -> String {
    let what = if replacements.is_empty() {
        "delete".to_string()
    } else {
        format!("replace by {}", replacements.join(" and "))
    };
    format!("{what}: {} with {pods} pods", types.join(", "))
}

#[cfg(test)]
mod tests {
    use super::options_words;

    #[test]
    fn of_more_types_than_a_log_names_only_the_number_counts() {
        assert_eq!(options_words(vec!["m-2x", "c-2x"], 0), "c-2x|m-2x");
        let all = vec!["a", "b", "c", "d", "e", "f"];
        assert_eq!(options_words(all, 0), options_words(vec!["a", "c", "d", "e", "f"], 1));
    }
}
