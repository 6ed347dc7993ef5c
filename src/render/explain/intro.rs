//! Who a story is about, before it begins.

use super::Page;
use crate::plan::{Budget, ConsolidationPolicy};
use crate::render::text::line;
use crate::world::{InstanceState, PodId, TargetId};

impl Page<'_> {
    pub(super) fn intro(&mut self) {
        let question = self.question;
        if let Some(pod) = question.pod {
            let text = self.pod_intro(pod);
            self.paragraph(&text);
        }
        if let Some(machine) = question.node {
            let text = self.machine_intro(machine);
            self.paragraph(&text);
        }
        if let Some(&target) = question.targets.first() {
            let text = self.target_intro(target);
            self.paragraph(&text);
        }
        if question.pod.is_none() && question.node.is_none() && question.targets.is_empty() && question.hpa.is_none() {
            self.faults();
        }
    }

    /// What the scenario breaks, as far as the question goes.
    fn faults(&mut self) {
        let plan = self.plan;
        let until = self.question.at.unwrap_or(plan.until).min(plan.until);
        let struck: Vec<_> = plan.faults.iter().filter(|fault| fault.at <= until).collect();
        if struck.is_empty() {
            return;
        }
        self.paragraph("Faults that struck:");
        for fault in struck {
            let end = match fault.until {
                Some(end) if end <= plan.until => format!(", until {}", end.since(plan.start)),
                Some(_) => ", until after the end of the run".to_string(),
                None => String::new(),
            };
            let text = format!("{}: {}{end}", fault.at.since(plan.start), fault.words(plan));
            line(&mut self.out, "  ", &text);
        }
    }

    fn paragraph(&mut self, text: &str) {
        self.out.push('\n');
        line(&mut self.out, "", text);
    }

    fn pod_intro(&self, pod: PodId) -> String {
        let (entry, template) = (self.world.pod(pod), self.world.template_of(pod));
        let owner = self.world.owner_name(pod).unwrap_or_else(|| "nobody".to_string());
        let (cpu, memory) = (template.requests.cpu, template.requests.memory);
        let before = if entry.created < self.plan.start { "; it was there before the run began" } else { "" };
        format!("pod/{} belongs to {owner} and requests {cpu} cpu, {memory} memory{before}.", self.world.pod_name(pod))
    }

    fn machine_intro(&self, machine: crate::analysis::explain::Machine) -> String {
        let Some(claim) = machine.claim.map(|claim| self.world.claim(claim)) else {
            let node = machine.node.map_or(String::new(), |node| self.node(node));
            return format!("node/{node} is not Karpenter's: nothing buys, consolidates or drains it.");
        };
        let claim_name = &claim.name;
        let name = machine.node.map_or_else(
            || format!("nodeclaim/{claim_name}"),
            |node| format!("node/{} is of NodeClaim {claim_name}", self.node(node)),
        );
        let instance = claim.instance.map(|instance| &self.world.instances[instance.index()]);
        let what = instance.map_or_else(
            || " never had an instance".to_string(),
            |instance| {
                let of_type = &self.plan.instance_type(instance.instance_type).name;
                let (kind, zone) = (instance.capacity_type.name(), &self.plan.zones[instance.zone.index()]);
                let state = match instance.state {
                    InstanceState::Running => "runs",
                    InstanceState::ShuttingDown => "is shutting down",
                    InstanceState::Terminated => "is terminated",
                };
                let price = instance.price.dollars();
                let article = if kind.starts_with('o') { "an" } else { "a" };
                format!(", {article} {kind} {of_type} in {zone} at ${price:.4}/h that {state} at the end of the run")
            },
        );
        let pool = &self.world.node_pools[claim.pool.index()];
        let policy = match pool.consolidation_policy {
            ConsolidationPolicy::WhenEmpty => "WhenEmpty",
            ConsolidationPolicy::WhenEmptyOrUnderutilized => "WhenEmptyOrUnderutilized",
            ConsolidationPolicy::Balanced => "Balanced",
        };
        let after = pool.consolidate_after.map_or("Never".to_string(), |after| after.to_string());
        let budgets: Vec<String> = pool.budgets.iter().map(in_words).collect();
        let budgets = if budgets.is_empty() { "none".to_string() } else { budgets.join(", ") };
        format!(
            "{name}{what}. Its NodePool {} consolidates {policy} after {after}; disruption budgets: {budgets}.",
            pool.name
        )
    }

    fn target_intro(&self, target: TargetId) -> String {
        let entry = &self.world.targets[target.index()];
        let group = &self.plan.target_groups[entry.group.index()];
        let check = &group.health_check;
        format!(
            "target/{}:{} is pod/{} in target group {}: each of {} load-balancer nodes asks {} every {}; {} success admits a new \
             target, {} failures in a row take it out, {} successes bring it back; deregistered it drains for {}.",
            entry.address,
            entry.port,
            self.world.pod_name(entry.pod),
            group.name,
            group.nodes,
            check.path,
            check.interval,
            1,
            check.unhealthy_threshold,
            check.healthy_threshold,
            group.deregistration_delay
        )
    }
}

/// `10%`, `0 (Underutilized; 0 9 * * * for 8h)`.
fn in_words(budget: &Budget) -> String {
    let reasons = budget.reasons.as_ref().map(|reasons| reasons.join(", "));
    let window = budget.schedule.as_ref().map(|schedule| {
        let length = budget.duration.map_or_else(String::new, |length| format!(" for {length}"));
        format!("{schedule}{length}")
    });
    let conditions: Vec<String> = reasons.into_iter().chain(window).collect();
    let conditions = if conditions.is_empty() { String::new() } else { format!(" ({})", conditions.join("; ")) };
    format!("{}{conditions}", budget.nodes)
}
