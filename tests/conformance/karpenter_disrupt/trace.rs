//! The loop and its queue over time; everything else is written by the case.

use super::answer::{compare_command, compare_reasons};
use super::refresh;
use crate::Case;
use crate::karpenter_cluster::{Cluster, items, node_pool, text};
use crate::stage;
use kubelapse::components::karpenter::cluster::{Catalog, disrupted_taint, state_nodes};
use kubelapse::components::karpenter::disruption::method::Method;
use kubelapse::components::karpenter::disruption::queue::Standing;
use kubelapse::components::karpenter::disruption::simulation::Scene;
use kubelapse::components::karpenter::disruption::{Disruption, Event as Loop};
use kubelapse::components::karpenter::node_claim;
use kubelapse::components::wiring::moves_memo;
use kubelapse::components::{Cx, Event};
use kubelapse::engine::{Queue, Span, Time};
use kubelapse::plan::{MicroDollars, TemplateId};
use kubelapse::record::{Detail, Recorder, VerdictKind};
use kubelapse::world::{ClaimId, DisruptionReason, NewNode, NodeClaim, NodeId, NodeReadiness, PodId, PodPhase};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Changes of a validation come so long after it began.
const MIDST: u64 = 7;

/// Replays a trace.
pub fn replay(case: &Case, cluster: Cluster) -> Result<(), String> {
    let mut play = Play::new(case, cluster);
    for (index, (step, wanted)) in items(&case.input["steps"]).iter().zip(items(&case.expect["steps"])).enumerate() {
        play.step(step, wanted).map_err(|difference| format!("step {index} at {}: {difference}", step["t"]))?;
    }
    Ok(())
}

struct Play<'c> {
    case: &'c Case,
    cluster: Cluster,
    disruption: Disruption,
    queue: Queue<Event>,
    recorder: Recorder,
    /// Claims that have their name, and how many the trace has created.
    named: (usize, u32),
    /// What was seen of each set at the step before.
    sets: BTreeMap<&'static str, Vec<String>>,
}

impl<'c> Play<'c> {
    fn new(case: &'c Case, mut cluster: Cluster) -> Play<'c> {
        cluster.world.take_journal(&mut Vec::new());
        let (queue, recorder) = (Queue::new(), Recorder::new(Detail::Explain));
        let named = (cluster.world.claims.len(), 0);
        let disruption = Disruption::default();
        let mut play = Play { case, cluster, disruption, queue, recorder, named, sets: BTreeMap::new() };
        play.hand(|disruption, cx| disruption.start(cx));
        play
    }

    /// The component does something.
    fn hand<T>(&mut self, act: impl FnOnce(&mut Disruption, &mut Cx) -> T) -> T {
        let Play { cluster: Cluster { plan, world, .. }, queue, recorder, disruption, .. } = self;
        let done = act(disruption, &mut Cx { now: world.now, plan, world, queue, recorder, random: None });
        self.inform();
        done
    }

    /// Informers are immediate.
    fn inform(&mut self) {
        let mut journal = Vec::new();
        self.cluster.world.take_journal(&mut journal);
        let moved = journal.into_iter().any(|change| moves_memo(change, &self.cluster.world));
        if moved {
            self.hand(|disruption, cx| disruption.handle(cx, Loop::Unconsolidated));
        }
    }

    fn at(&mut self, now: Time) {
        self.cluster.world.now = now;
        refresh(&mut self.cluster);
        self.inform();
    }

    fn changes(&mut self, list: &Value) -> Result<(), String> {
        for change in items(list) {
            self.change(change).map_err(|error| format!("{change}: {error}"))?;
            refresh(&mut self.cluster);
            self.inform();
        }
        Ok(())
    }

    fn step(&mut self, step: &Value, wanted: &Value) -> Result<(), String> {
        self.at(stage::moment(&step["t"]));
        self.changes(&step["do"])?;
        match step["run"].as_str() {
            Some("disrupt") => self.pass(step, wanted)?,
            Some(_) => self.poll(wanted)?,
            None => {}
        }
        self.compare_sets(wanted)
    }

    fn pass(&mut self, step: &Value, wanted: &Value) -> Result<(), String> {
        self.hand(|disruption, cx| disruption.look(cx));
        let mut waits = 0;
        while let Some(at) = self.disruption.waits_until() {
            let began = self.cluster.world.now;
            for second in 1..at.since(began).whole_seconds() {
                self.at(began + Span::from_secs(second));
                if second == MIDST {
                    self.changes(&step["waits"][waits])?;
                }
            }
            self.cluster.world.now = at;
            self.hand(|disruption, cx| disruption.handle(cx, Loop::Validate));
            waits += 1;
        }
        self.name_claims();
        self.compare_pass(wanted, waits)
    }

    /// New claims are named in the order of their creation.
    fn name_claims(&mut self) {
        let world = &mut self.cluster.world;
        for claim in &mut world.claims[self.named.0..] {
            self.named.1 += 1;
            let pool = &world.node_pools[claim.pool.index()].name;
            claim.name = format!("{pool}-{:05}", self.named.1).into();
        }
        self.named.0 = world.claims.len();
    }

    fn compare_pass(&self, wanted: &Value, waits: usize) -> Result<(), String> {
        let world = &self.cluster.world;
        let error = self.disruption.error().unwrap_or_default();
        let requeue = error.is_empty().then(|| self.disruption.next_look().since(world.now).seconds());
        let end = world.now.since(stage::ORIGIN).seconds();
        for (what, wanted, found) in [
            ("error", json!(text(&wanted["error"])), json!(error)),
            ("waits", json!(wanted["waits"].as_u64().unwrap_or(0)), json!(waits)),
            ("end", json!(wanted["end"].as_f64()), json!(end)),
            ("requeueAfter", json!(wanted["requeueAfter"].as_f64()), json!(requeue)),
        ] {
            if wanted != found {
                return Err(format!("{what}: {wanted} expected, {found} found"));
            }
        }
        self.compare_started(wanted)?;
        for (what, kind) in [
            ("unconsolidatable", VerdictKind::Unconsolidatable),
            ("blocked", VerdictKind::Blocked),
            ("validationRejected", VerdictKind::Rejected),
        ] {
            compare_reasons(&self.cluster, &wanted[what], self.disruption.notes(), kind, what)?;
        }
        Ok(())
    }

    fn compare_started(&self, wanted: &Value) -> Result<(), String> {
        let Cluster { plan, world, .. } = &self.cluster;
        let (catalog, nodes, held) = (Catalog::of(plan), state_nodes(plan, world), BTreeSet::new());
        let scene = Scene { plan, world, catalog: &catalog, nodes: &nodes, held: &held, memo: &Default::default() };
        let (wanted, started) = (items(&wanted["commands"]), &self.disruption.notes().started);
        if wanted.len() != started.len() {
            let found: Vec<&Method> = started.iter().map(|(_, method, _)| method).collect();
            return Err(format!("{wanted:?} expected, {found:?} started"));
        }
        for (wanted, (id, method, found)) in wanted.iter().zip(started) {
            let kind = match method {
                Method::Emptiness | Method::EmptyNodes => "empty",
                Method::MultiNode => "multi",
                Method::SingleNode => "single",
                Method::Expiration | Method::StaticDrift | Method::Drift => "",
            };
            let under_way = self.disruption.commands().under_way().iter().find(|command| command.id == *id);
            let claims = under_way.map(|command| command.replacements.iter().map(|(claim, _)| world.claim(*claim)));
            let claims: Vec<&str> = claims.into_iter().flatten().map(|claim| &*claim.name).collect();
            for (what, wanted, found) in [
                ("id", wanted["id"].clone(), json!(format!("cmd{id}"))),
                ("method", wanted["method"].clone(), json!(method.budget_reason())),
                ("type", json!(text(&wanted["type"])), json!(kind)),
                ("claims", wanted.get("claims").cloned().unwrap_or(json!([])), json!(claims)),
            ] {
                if wanted != found {
                    return Err(format!("{what}: {wanted} expected, {found} found"));
                }
            }
            compare_command(&self.cluster, scene, wanted, found, None, *method == Method::Emptiness)?;
        }
        Ok(())
    }

    fn poll(&mut self, wanted: &Value) -> Result<(), String> {
        let standings = self.hand(|disruption, cx| disruption.look_at_commands(cx));
        let name = |standing: &Standing| match standing {
            Standing::Waiting => "waiting",
            Standing::Succeeded => "succeeded",
            Standing::Failed => "failed",
        };
        let found = standings.iter().map(|(id, standing)| json!({"id": format!("cmd{id}"), "state": name(standing)}));
        let found = Value::Array(found.collect());
        let wanted = wanted.get("queue").cloned().unwrap_or(json!([]));
        if wanted == found { Ok(()) } else { Err(format!("queue: {wanted} expected, {found} found")) }
    }

    fn compare_sets(&mut self, wanted: &Value) -> Result<(), String> {
        let world = &self.cluster.world;
        let names = |holds: &dyn Fn(&NodeClaim) -> bool| {
            let found = world.claims.iter().filter(|claim| claim.gone.is_none() && holds(claim));
            let mut names: Vec<String> = found.map(|claim| claim.name.to_string()).collect();
            names.sort();
            names
        };
        let tainted = world.nodes.iter().filter(|node| node.gone.is_none() && node.has_taint(disrupted_taint()));
        let mut tainted: Vec<String> = tainted.map(|node| node.name.to_string()).collect();
        tainted.sort();
        let found = [
            ("tainted", tainted),
            ("deleting", names(&|claim| claim.deleting_since.is_some())),
            ("nominated", names(&|claim| claim.nominated_until > world.now)),
            ("consolidatable", names(&|claim| claim.consolidatable.is_some())),
            ("drifted", names(&|claim| claim.drifted.is_some())),
        ];
        for (what, found) in found {
            let before = self.sets.insert(what, found.clone()).unwrap_or_default();
            let wanted = wanted.get(what).cloned().unwrap_or_else(|| json!(before));
            if wanted != json!(found) {
                return Err(format!("{what}: {wanted} expected, {found:?} found"));
            }
        }
        Ok(())
    }

    fn claim(&self, name: &Value) -> Result<ClaimId, String> {
        let is = |claim: &&NodeClaim| claim.gone.is_none() && *name == json!(&*claim.name);
        self.cluster.world.claims.iter().find(is).map(|claim| claim.id).ok_or_else(|| format!("no claim {name}"))
    }

    fn node(&self, name: &Value) -> Result<NodeId, String> {
        let nodes = &self.cluster.world.nodes;
        let found = nodes.iter().find(|node| node.gone.is_none() && *name == json!(&*node.name));
        found.map(|node| node.id).ok_or_else(|| format!("no node {name}"))
    }

    fn pod(&self, name: &Value) -> Result<PodId, String> {
        let pods = &self.cluster.world.pods;
        let is = |pod: PodId| *name == json!(self.cluster.full_name(pod));
        let found = pods.iter().find(|pod| pod.gone.is_none() && is(pod.id)).map(|pod| pod.id);
        found.ok_or_else(|| format!("no pod {name}"))
    }

    fn pod_event(&mut self, pod: PodId) {
        node_claim::note_pod_event(&self.cluster.plan, &mut self.cluster.world, pod);
    }

    fn change(&mut self, change: &Value) -> Result<(), String> {
        match change["op"].as_str().unwrap_or_default() {
            "createPod" | "bindPod" | "deletePod" | "podPhase" | "annotatePod" => self.change_pod(change),
            "launch" | "initialize" | "deleteClaim" | "removeNode" | "removeClaim" => self.change_claim(change),
            "node" => {
                let node = self.node(&change["node"])?;
                for (key, value) in change["annotations"].as_object().into_iter().flatten() {
                    self.cluster.world.set_node_annotation(node, key, value.as_str());
                }
                if let Some(ready) = change["ready"].as_bool() {
                    let readiness = if ready { NodeReadiness::Ready } else { NodeReadiness::NotReady };
                    self.cluster.world.set_node_readiness(node, readiness);
                }
                Ok(())
            }
            "pdb" => {
                let full = |name: &str, namespace: &str| [name.to_string(), format!("{namespace}/{name}")];
                let pdbs = &mut self.cluster.world.pdbs;
                let is = |name: [String; 2]| name.iter().any(|name| change["pdb"] == json!(name));
                let found = pdbs.iter_mut().find(|pdb| is(full(&pdb.spec.name, &pdb.spec.namespace)));
                let allowed = change["disruptionsAllowed"].as_i64().and_then(|number| i32::try_from(number).ok());
                found.ok_or("no such budget")?.disruptions_allowed = allowed.ok_or("no number")?;
                Ok(())
            }
            "nodePool" => self.change_pool(change),
            "nominate" => {
                let claim = self.cluster.world.node(self.node(&change["node"])?).claim.ok_or("not managed")?;
                let until = self.cluster.world.now + self.cluster.plan.flags.karpenter.nomination;
                self.cluster.world.nominate_claim(claim, until);
                Ok(())
            }
            "offering" => {
                let plan = &mut self.cluster.plan;
                let zones = plan.zones.clone();
                let entry = plan.instance_types.iter_mut().find(|entry| change["instanceType"] == json!(entry.name));
                for offering in &mut Arc::make_mut(entry.ok_or("no such type")?).offerings {
                    let same = change["zone"] == json!(zones[offering.zone.index()])
                        && change["capacityType"] == json!(offering.capacity_type.name());
                    if same {
                        offering.available = change["available"].as_bool().unwrap_or(offering.available);
                        let price = change["price"].as_f64().map(MicroDollars::from_dollars);
                        offering.price = price.unwrap_or(offering.price);
                    }
                }
                Ok(())
            }
            other => Err(format!("unknown change {other}")),
        }
    }

    /// `spec.disruption` is replaced as it is, without defaults.
    fn change_pool(&mut self, change: &Value) -> Result<(), String> {
        let pools = items(&self.case.input["nodePools"]);
        let written = pools.iter().find(|pool| pool["metadata"]["name"] == change["nodePool"]);
        let mut written = written.ok_or("no such pool")?.clone();
        written["spec"]["disruption"] = change["disruption"].clone();
        for (key, absent) in [("budgets", json!([])), ("consolidateAfter", json!("Never"))] {
            if change["disruption"][key].is_null() {
                written["spec"]["disruption"][key] = absent;
            }
        }
        let pool = self.cluster.pool(&text(&change["nodePool"])).ok_or("no such pool")?;
        self.cluster.world.update_node_pool(pool, Arc::new(node_pool(&written)?));
        Ok(())
    }

    fn change_pod(&mut self, change: &Value) -> Result<(), String> {
        if change["op"] == "createPod" {
            let node = change["pod"]["spec"]["nodeName"].as_str().map(|name| self.node(&json!(name))).transpose()?;
            let pod = self.cluster.add_pod(&change["pod"], node, node.is_some())?;
            self.pod_event(pod);
            return Ok(());
        }
        let pod = self.pod(&change["pod"])?;
        let world = &mut self.cluster.world;
        match change["op"].as_str().unwrap_or_default() {
            "bindPod" => {
                let node = self.node(&change["node"])?;
                let world = &mut self.cluster.world;
                world.bind_pod(pod, node);
                world.set_pod_phase(pod, PodPhase::Running);
                world.set_pod_ready(pod, true);
                self.pod_event(pod);
            }
            "deletePod" => {
                self.pod_event(pod);
                self.cluster.world.remove_pod(pod);
            }
            "podPhase" => {
                let phase = match change["phase"].as_str() {
                    Some("Succeeded") => PodPhase::Succeeded,
                    Some("Failed") => PodPhase::Failed,
                    _ => PodPhase::Running,
                };
                world.set_pod_phase(pod, phase);
                if world.pod(pod).is_finished() {
                    self.pod_event(pod);
                }
            }
            _ => {
                let mut template = (**world.template_of(pod)).clone();
                for (key, value) in change["annotations"].as_object().into_iter().flatten() {
                    match value.as_str() {
                        Some(value) => template.annotations.insert(key.clone(), value.to_string()),
                        None => template.annotations.remove(key),
                    };
                }
                let id = TemplateId::at(world.templates.len());
                world.templates.push(Arc::new(template));
                world.update_pod(pod, id);
            }
        }
        Ok(())
    }

    fn change_claim(&mut self, change: &Value) -> Result<(), String> {
        let name = if change["claim"].is_null() { &change["node"] } else { &change["claim"] };
        let claim = self.claim(name)?;
        match change["op"].as_str().unwrap_or_default() {
            "launch" => self.cluster.launch(claim, change),
            "initialize" => {
                self.initialize(claim);
                Ok(())
            }
            "deleteClaim" => {
                self.cluster.world.delete_claim(claim, DisruptionReason::User);
                Ok(())
            }
            _ => {
                let world = &mut self.cluster.world;
                if let Some(node) = world.claim(claim).node {
                    world.remove_node(node);
                }
                world.remove_claim(claim);
                Ok(())
            }
        }
    }

    /// The Node of a claim appears, registered, Ready and initialized.
    fn initialize(&mut self, id: ClaimId) {
        let Cluster { plan, world, .. } = &mut self.cluster;
        let claim = world.claim(id).clone();
        let instance = claim.instance.map(|instance| &world.instances[instance.index()]);
        let entry = instance.map(|instance| plan.instance_type(instance.instance_type).clone());
        let mut labels = claim.labels.clone();
        for (key, value) in [
            ("kubernetes.io/hostname", &*claim.name),
            ("karpenter.sh/registered", "true"),
            ("karpenter.sh/initialized", "true"),
        ] {
            labels.insert(key.to_string(), value.to_string());
        }
        let node = world.create_node(NewNode {
            name: claim.name.clone(),
            labels,
            taints: claim.taints.clone(),
            allocatable: entry.as_ref().map(|entry| entry.allocatable.clone()).unwrap_or_default(),
            capacity: entry.map(|entry| entry.capacity.clone()).unwrap_or_default(),
            claim: Some(id),
            instance: claim.instance,
            zone: instance.map(|instance| instance.zone),
        });
        world.set_node_readiness(node, NodeReadiness::Ready);
        world.register_claim(id);
        world.initialize_claim(id);
    }
}
