//! CPU credits of burstable machines (T2, T3, T3a, T4g): a balance that the baseline fills and use above it drains.
//!
//! In: what the pods of a node have used. Out: the balance, whether the machine is held at its baseline (mode standard), and what
//! surplus credits cost (mode unlimited). A credit is a vCPU-minute. Source: EC2 user guide, "Key concepts for burstable
//! performance instances". Left out: CPU of the machine itself (boot, image pulls, kubelet).

use super::{Change, Instance, InstanceId, NodeId, PodId, World};
use crate::engine::{Span, Time};
use crate::plan::{InstanceType, MicroDollars, Plan};
use std::collections::BTreeMap;

/// Nanocores of a thousandth of a core.
const MILLICORE: i128 = 1_000_000;
/// A credit, in microseconds times nanocores.
const CREDIT: i128 = 60_000_000 * 1_000_000_000;

/// The credits of one instance. Amounts are microseconds times nanocores, exact.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credits {
    /// What it has; below zero: surplus that it has used.
    balance: i128,
    /// Surplus that was billed.
    billed: i128,
    /// Earned at this rate, nanocores.
    earns: i128,
    /// All its vCPUs, nanocores.
    whole: i128,
    /// What it can accrue.
    most: i128,
    /// Price of a vCPU-hour of surplus.
    price: MicroDollars,
    /// Counted until.
    until: Time,
    /// What its pods had used then.
    seen: BTreeMap<PodId, u128>,
    /// It is held at its baseline.
    throttled: bool,
}

impl Credits {
    /// A new machine's: none, or launch credits of a T2.
    fn new(plan: &Plan, kind: &InstanceType, launched: Time) -> Credits {
        let flags = &plan.flags.credits;
        let whole = i128::from(kind.vcpus) * 1_000 * MILLICORE;
        let earns = i128::from(kind.burst_baseline_millis) * i128::from(kind.vcpus) * MILLICORE;
        let of = |prefix: &str| kind.name.starts_with(prefix);
        let launch = if of("t2.") { i128::from(flags.launch_credits) * i128::from(kind.vcpus) * CREDIT } else { 0 };
        let price = MicroDollars(if of("t4g.") { flags.surplus_price_graviton } else { flags.surplus_price });
        let most = earns * i128::from(flags.accrual.micros());
        let (seen, throttled) = (BTreeMap::new(), false);
        Credits { balance: launch.min(most), billed: 0, earns, whole, most, price, until: launched, seen, throttled }
    }

    /// The balance in credits; below zero: surplus.
    pub fn balance(&self) -> f64 {
        self.balance as f64 / CREDIT as f64
    }

    /// It is held at its baseline.
    pub fn is_throttled(&self) -> bool {
        self.throttled
    }

    /// Time passes in which so much is used. Without `unlimited` there is no surplus.
    fn pass(&mut self, now: Time, used: i128, unlimited: bool) {
        let span = i128::from(now.since(self.until).micros());
        self.until = self.until.max(now);
        self.balance = (self.balance + self.earns * span - used).min(self.most);
        if !unlimited {
            self.balance = self.balance.max(0);
        }
        // Surplus beyond what it can earn in a day is billed.
        let beyond = (-self.most - self.balance).max(0);
        self.balance += beyond;
        self.billed += beyond;
    }

    /// Surplus that is billed, or would be if it ended now.
    fn surplus(&self) -> MicroDollars {
        let owed = self.billed + (-self.balance).max(0);
        let hours = 3_600_000_000 * 1_000_000_000;
        MicroDollars(i64::try_from((owed * i128::from(self.price.0) + hours / 2) / hours).unwrap_or(i64::MAX))
    }

    /// How long the balance lasts at a rate of use; `None`: for ever.
    fn lasts(&self, nanocores: i128) -> Option<Span> {
        let drain = nanocores - self.earns;
        (drain > 0).then(|| Span::from_micros(u64::try_from(self.balance.max(0) / drain).unwrap_or(u64::MAX)))
    }
}

impl Instance {
    /// What its surplus CPU credits cost.
    pub fn surplus(&self) -> MicroDollars {
        self.credits.as_ref().map_or(MicroDollars(0), Credits::surplus)
    }
}

impl World {
    /// Credits of a burstable machine are counted from its launch on; one that ran before did nothing until now.
    pub fn begin_credits(&mut self, plan: &Plan, id: InstanceId) {
        let entry = &mut self.instances[id.index()];
        let kind = plan.instance_type(entry.instance_type);
        if kind.burst_baseline_millis > 0 && entry.credits.is_none() {
            entry.credits = Some(Credits::new(plan, kind, entry.launched));
        }
    }

    /// Counts the credits of a machine until now; when to look again. In mode standard a machine without credits is held at its
    /// baseline until it has earned what it could spend until the next look.
    pub fn count_credits(&mut self, plan: &Plan, id: InstanceId, node: Option<NodeId>) -> Span {
        let (flags, now) = (&plan.flags.credits, self.now);
        let unlimited = flags.unlimited.unwrap_or(true);
        let Some(mut credits) = self.instances[id.index()].credits.take() else { return flags.period };
        let there: Vec<PodId> = node.map(|node| self.node(node).pods.clone()).unwrap_or_default();
        let mut used = 0;
        for (pod, before) in std::mem::take(&mut credits.seen) {
            used += self.cpu_used(pod).saturating_sub(before);
        }
        let (mut rate, mut seen) = (0_i128, BTreeMap::new());
        for pod in there {
            seen.insert(pod, self.cpu_used(pod));
            rate += self.cpu.get(pod.index()).map_or(0, |meter| i128::from(meter.rate()));
        }
        credits.seen = seen;
        credits.pass(now, i128::try_from(used).unwrap_or(i128::MAX) * MILLICORE, unlimited);
        let period = i128::from(flags.period.micros());
        let throttled = if unlimited {
            false
        } else if credits.throttled {
            credits.balance < (credits.whole - credits.earns) * period
        } else {
            credits.balance == 0 && rate > credits.earns
        };
        let changed = std::mem::replace(&mut credits.throttled, throttled) != throttled;
        let cap = throttled.then(|| u64::try_from(credits.earns).unwrap_or(u64::MAX));
        // Once it is gone there is nothing to wait for.
        let next = credits.lasts(rate).filter(|left| !unlimited && !throttled && !left.is_zero());
        self.instances[id.index()].credits = Some(credits);
        if let Some(node) = node.filter(|_| changed) {
            self.nodes[node.index()].cpu_cap = cap;
            self.push(Change::NodeThrottled(node, throttled));
        }
        next.map_or(flags.period, |left| left.min(flags.period)).max(Span::from_millis(100))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{CapacityType, InstanceTypeId, ZoneId};

    const START: Time = Time::from_unix_seconds(1_000);

    fn kind(name: &str, vcpus: u32, millis: u32) -> InstanceType {
        InstanceType {
            name: name.to_string(),
            labels: Default::default(),
            requirements: Vec::new(),
            capacity: Default::default(),
            allocatable: Default::default(),
            offerings: Vec::new(),
            network_interfaces: 3,
            addresses_per_interface: 6,
            network_mbps: 0,
            burst_baseline_millis: millis,
            vcpus,
            spot_price_is_estimate: false,
        }
    }

    fn credits(name: &str, vcpus: u32, millis: u32) -> Credits {
        Credits::new(&Plan::empty(START, Span::from_secs(10)), &kind(name, vcpus, millis), START)
    }

    /// EC2 user guide: a t3.medium earns 24 credits an hour, and can accrue 576.
    #[test]
    fn a_t3_medium_earns_24_credits_an_hour_and_accrues_576() {
        let mut one = credits("t3.medium", 2, 200);
        assert_eq!(one.balance(), 0.0, "no launch credits");
        one.pass(START + Span::from_secs(3_600), 0, false);
        assert_eq!(one.balance(), 24.0);
        one.pass(START + Span::from_secs(360_000), 0, false);
        assert_eq!(one.balance(), 576.0);
        assert_eq!(credits("t2.medium", 2, 200).balance(), 60.0, "30 launch credits a vCPU");
    }

    /// Two vCPUs at full use for an hour: 120 credits, of which 24 are earned; the others are surplus, 96 vCPU-minutes at 5 cents
    /// an hour. In mode standard there is none.
    #[test]
    fn use_above_the_baseline_is_surplus_in_mode_unlimited() {
        let whole = 120 * CREDIT;
        let mut one = credits("t3.medium", 2, 200);
        one.pass(START + Span::from_secs(3_600), whole, true);
        assert_eq!((one.balance(), one.surplus()), (-96.0, MicroDollars(80_000)));
        // What it earns later pays it back.
        one.pass(START + Span::from_secs(18_000), 0, true);
        assert_eq!((one.balance(), one.surplus()), (0.0, MicroDollars(0)));
        let mut other = credits("t3.medium", 2, 200);
        other.pass(START + Span::from_secs(3_600), whole, false);
        assert_eq!((other.balance(), other.surplus()), (0.0, MicroDollars(0)));
        // More than a day's earnings is billed for good.
        let mut busy = credits("t3.medium", 2, 200);
        busy.pass(START + Span::from_secs(36_000), 1_200 * CREDIT, true);
        busy.pass(START + Span::from_secs(720_000), 0, true);
        assert_eq!(busy.surplus(), MicroDollars((1_200 - 240 - 576) * 50_000 / 60));
    }

    #[test]
    fn machines_of_other_families_have_none() {
        let mut plan = Plan::empty(START, Span::from_secs(10));
        plan.instance_types.push(std::sync::Arc::new(kind("m5.large", 2, 0)));
        let mut world = World::new(&plan);
        let price = MicroDollars(1);
        let id = world.launch_instance(None, InstanceTypeId(0), ZoneId(0), CapacityType::OnDemand, price);
        world.begin_credits(&plan, id);
        assert_eq!(world.instances[id.index()].credits, None);
    }
}
