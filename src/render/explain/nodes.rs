//! Karpenter and EC2: where pods are to go, what is bought and why nothing else, which nodes go and why others stay.

use super::{Page, few};
use crate::engine::Time;
use crate::record::decision::{Disruption, Launch, Offer, Placement, Planned, Removed, Stage, Unplaced};
use crate::record::{Subject, Verdict, VerdictKind};
use crate::render::text::{plural, tenths};
use crate::world::DisruptionReason;
use std::collections::BTreeMap;

/// Reasons and offers that are told before the rest is counted.
const TOLD_MAX: usize = 6;

impl Page<'_> {
    /// Where a pass puts pods; `again`: how often it said so in a row, and when for the last time.
    pub(super) fn placement(&mut self, at: Time, placement: &Placement, again: Option<(usize, Time)>) {
        let again = again.map(|(count, last)| format!(" ({count} times, until {})", self.clock(last)));
        let again = again.unwrap_or_default();
        match placement {
            Placement::New(planned) => self.planned(at, planned),
            Placement::Existing { name, initialized, pods, .. } => {
                let pods = self.names(pods);
                let which = if *initialized { "" } else { ", which is on its way" };
                let text = format!("Karpenter expects {pods} on node {name}{which}: it buys nothing for them{again}");
                self.single(at, &text);
            }
            Placement::Nowhere(unplaced) => self.unplaced(at, unplaced, &again),
        }
    }

    fn planned(&mut self, at: Time, planned: &Planned) {
        let pool = self.pool(planned.pool);
        let text = match planned.claim {
            Some(claim) => format!("Karpenter creates NodeClaim {}", self.world.claim(claim).name),
            None => format!("Karpenter wants a node of NodePool {pool} and may not: the pool is over its limits"),
        };
        self.heading(at, &text);
        self.fact("for pods", &self.names(&planned.pods));
        for (index, (why, count)) in planned.nodes.iter().enumerate() {
            let label = if index == 0 { "no room on" } else { "" };
            self.fact(label, &format!("{}: {why}", plural(*count, "node")));
        }
        let over: Vec<String> =
            planned.passed_over.iter().map(|(pool, why)| format!("{}: {why}", self.pool(*pool))).collect();
        let over = if over.is_empty() { String::new() } else { format!("; passed over {}", over.join(", ")) };
        self.fact("NodePool", &format!("{pool}{over}"));
        let cheapest: Vec<String> = planned.cheapest.iter().map(|offer| self.offer(offer)).collect();
        let (options, allowed) = (planned.options, planned.allowed);
        let text =
            format!("{options} of the {allowed} instance types of the NodePool; cheapest: {}", cheapest.join(", "));
        self.fact("may become", &text);
        for (index, out) in planned.out.iter().take(TOLD_MAX).enumerate() {
            let label = if index == 0 { "may not" } else { "" };
            let example = &self.plan.instance_type(out.example).name;
            self.fact(label, &format!("{} (such as {example}): {}", out.count, out.why));
        }
    }

    fn unplaced(&mut self, at: Time, unplaced: &Unplaced, again: &str) {
        let pod = self.world.pod_name(unplaced.pod);
        self.heading(at, &format!("Karpenter has no node for pod {pod}{again}"));
        if let Some(why) = &unplaced.why {
            self.fact("because", why);
        }
        for (pool, why) in &unplaced.pools {
            let pool = self.pool(*pool);
            self.fact("NodePool", &format!("{pool}: {why}"));
        }
    }

    pub(super) fn launch(&mut self, at: Time, launch: &Launch) {
        let claim = self.world.claim(launch.claim).name.clone();
        match &launch.launched {
            Some(offer) => {
                let offer = self.offer(offer);
                self.heading(at, &format!("EC2 launches {offer} for NodeClaim {claim}"));
            }
            None => {
                self.heading(at, &format!("EC2 has no capacity for NodeClaim {claim}: it is given up"));
            }
        }
        let kind = launch.launched.or(launch.refused.first().copied()).map_or("", |one| one.capacity_type.name());
        let listed = match launch.listed {
            0 => "nothing: no offering is left".to_string(),
            1 => format!("1 {kind} offering"),
            count => format!("{count} {kind} offerings (a type in a zone), cheapest first"),
        };
        self.fact("asked for", &listed);
        if !launch.refused.is_empty() {
            self.fact("no capacity", &self.offers(&launch.refused));
            let until = self.clock(launch.until);
            self.fact("  so", &format!("Karpenter does not ask for these again before {until}"));
        }
        if !launch.avoided.is_empty() {
            let text = format!("{}: they had no capacity a short while ago", self.offers(&launch.avoided));
            self.fact("not asked for", &text);
        }
        if launch.launched.is_none() {
            self.fact("next", "the pods trigger Karpenter again, and it plans without what had no capacity");
        }
    }

    /// Offers by zone and capacity type: `t3.large, t3.xlarge spot in us-east-1a`.
    fn offers(&self, offers: &[Offer]) -> String {
        let mut by: BTreeMap<(&str, &str), Vec<String>> = BTreeMap::new();
        for offer in offers {
            let key = (offer.capacity_type.name(), self.plan.zones[offer.zone.index()].as_str());
            by.entry(key).or_default().push(self.plan.instance_type(offer.instance_type).name.clone());
        }
        let groups =
            by.into_iter().map(|((kind, zone), types)| format!("{kind} in {zone}: {}", few(types.into_iter())));
        groups.collect::<Vec<_>>().join("; ")
    }

    fn offer(&self, offer: &Offer) -> String {
        let (name, zone) = (&self.plan.instance_type(offer.instance_type).name, &self.plan.zones[offer.zone.index()]);
        format!("{} {name} in {zone} at ${:.4}/h", offer.capacity_type.name(), offer.price.dollars())
    }

    fn pool(&self, pool: crate::plan::NodePoolId) -> String {
        self.world.node_pools[pool.index()].name.clone()
    }

    pub(super) fn disruption(&mut self, at: Time, command: &Disruption) {
        let nodes: Vec<String> = command.removed.iter().map(|one| self.node(one.node)).collect();
        let nodes = few(nodes.into_iter());
        let what = if command.replacements.is_empty() { "remove" } else { "replace" };
        let node = if command.removed.len() == 1 { "node" } else { "nodes" };
        let text = match command.stage {
            Stage::Found(_) => format!("Karpenter would {what} {node} {nodes}: {}", why(command)),
            Stage::Started => format!("Karpenter begins to {what} {node} {nodes}: {}", why(command)),
            Stage::GivenUp(_) => format!("Karpenter no longer wants to {what} {node} {nodes}"),
        };
        self.heading(at, &text);
        match command.stage {
            Stage::Found(until) => {
                let wait = tenths(until.since(at));
                self.fact(
                    "found by",
                    &format!("{}; it looks again in {wait} whether that still holds", command.method),
                );
            }
            Stage::Started => self.fact("found by", command.method),
            Stage::GivenUp(why) => return self.fact("because", given_up(why)),
        }
        self.exchange(command);
    }

    /// What goes, what comes, and what that saves.
    fn exchange(&mut self, command: &Disruption) {
        let price: f64 = command.removed.iter().map(|one| self.paid(one)).sum();
        let pods: usize = command.removed.iter().map(|one| one.pods.len()).sum();
        let moving =
            if pods == 0 { "no pod has to move".to_string() } else { format!("{} to move", plural(pods, "pod")) };
        self.fact("cost", &format!("${price:.4}/h; {moving}"));
        for (index, (types, cheapest)) in command.replacements.iter().enumerate() {
            let name = command.created.get(index).map(|&claim| format!("NodeClaim {}, ", self.world.claim(claim).name));
            let cheapest = cheapest.map_or(String::new(), |offer| format!("; cheapest: {}", self.offer(&offer)));
            let text = format!("{}{}{cheapest}", name.unwrap_or_default(), plural(*types, "instance type"));
            self.fact("instead", &text);
        }
        if !command.takers.is_empty() && pods > 0 {
            self.fact("room on", &few(command.takers.iter().map(ToString::to_string)));
        }
    }

    /// What a node costs an hour. Karpenter knows no price of a type that its NodePool does not allow any more.
    fn paid(&self, removed: &Removed) -> f64 {
        let claim = self.world.node(removed.node).claim.filter(|_| removed.price == 0.0);
        let instance = claim.and_then(|claim| self.world.claim(claim).instance);
        instance.map_or(removed.price, |id| self.world.instances[id.index()].price.dollars())
    }

    pub(super) fn verdict(&mut self, at: Time, verdict: &Verdict) {
        let subject = match verdict.subject {
            Subject::Node(node) => format!("node {}", self.node(node)),
            Subject::Pool(pool) => format!("NodePool {}", self.pool(pool)),
        };
        let what = match verdict.kind {
            VerdictKind::Blocked => "Karpenter does not disrupt",
            VerdictKind::Unconsolidatable => "Karpenter does not consolidate",
            VerdictKind::Rejected => "Karpenter drops its plan for",
        };
        self.single(at, &format!("{what} {subject}: {}", verdict.text(self.world)));
    }
}

/// Why nodes go.
const fn why(command: &Disruption) -> &'static str {
    match command.reason {
        DisruptionReason::Empty => "empty, no pod would have to move",
        DisruptionReason::Underutilized if command.replacements.is_empty() => "its pods fit on other nodes",
        DisruptionReason::Underutilized => "its pods fit on something cheaper",
        DisruptionReason::Drifted => "drifted from its NodePool or EC2NodeClass",
        other => other.name(),
    }
}

/// Why a command is not valid any more.
fn given_up(why: &str) -> &str {
    match why {
        "churn" => "pods came or left meanwhile: it is no candidate any more (churn)",
        "budget" => "the disruption budget does not allow it any more (budget)",
        "scheduling" => "the pods would go elsewhere by now (scheduling)",
        other => other,
    }
}
