//! CPU credits of burstable machines (T2, T3, T3a, T4g): a balance that the baseline fills and use above it drains.
//!
//! In: what the pods of a node have used. Out: the balance, whether the machine is held at its baseline (mode standard), and what
//! surplus credits cost (mode unlimited). A credit is a vCPU-minute. Source: EC2 user guide, "Key concepts for burstable
//! performance instances". Left out: CPU of the machine itself (boot, image pulls, kubelet).

use super::{Change, Instance, InstanceId, NodeId, World};
use crate::engine::{Span, Time};
use crate::plan::{InstanceType, MicroDollars, Plan};

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
    /// What pods had used on its node then, nanoseconds.
    seen: u128,
    /// Mode unlimited.
    unlimited: bool,
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
        let (seen, throttled, unlimited) = (0, false, flags.mode.is_unlimited(&kind.name));
        let balance = launch.min(most);
        Credits { balance, billed: 0, earns, whole, most, price, until: launched, seen, unlimited, throttled }
    }

    /// The balance in credits; below zero: surplus.
    pub fn balance(&self) -> f64 {
        self.balance as f64 / CREDIT as f64
    }

    /// It is held at its baseline.
    pub fn is_throttled(&self) -> bool {
        self.throttled
    }

    /// Time passes in which so much is used. In mode standard there is no surplus.
    fn pass(&mut self, now: Time, used: i128) {
        let span = i128::from(now.since(self.until).micros());
        self.until = self.until.max(now);
        self.balance = (self.balance + self.earns * span - used).min(self.most);
        if !self.unlimited {
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

    /// For so long the balance can neither overflow nor fall to where surplus is billed for good, whatever the pods do: until then
    /// it makes no difference when it is counted.
    fn undisturbed(&self) -> Span {
        let most = |amount: i128, rate: i128| if rate > 0 { amount.max(0) / rate } else { i128::from(u32::MAX) };
        let overflows = most(self.most - self.balance, self.earns);
        let is_billed = most(self.most + self.balance, self.whole - self.earns);
        Span::from_micros(u64::try_from(overflows.min(is_billed)).unwrap_or(u64::MAX / 2))
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
        let Some(mut credits) = self.instances[id.index()].credits.take() else { return flags.period };
        let (mut total, mut rate) = (node.map_or(0, |node| self.node(node).cpu_of_gone), 0_i128);
        for &pod in node.iter().flat_map(|&node| &self.node(node).pods) {
            total += self.cpu_used(pod);
            rate += self.cpu.get(pod.index()).map_or(0, |meter| i128::from(meter.rate()));
        }
        let used = total.saturating_sub(std::mem::replace(&mut credits.seen, total));
        credits.pass(now, i128::try_from(used).unwrap_or(i128::MAX) * MILLICORE);
        if credits.unlimited {
            let next = credits.undisturbed().max(flags.slow_period);
            self.instances[id.index()].credits = Some(credits);
            return next;
        }
        let period = i128::from(flags.period.micros());
        let throttled = if credits.throttled {
            credits.balance < (credits.whole - credits.earns) * period
        } else {
            credits.balance == 0 && rate > credits.earns
        };
        let changed = std::mem::replace(&mut credits.throttled, throttled) != throttled;
        let cap = throttled.then(|| u64::try_from(credits.earns).unwrap_or(u64::MAX));
        // Once it is gone there is nothing to wait for.
        let next = credits.lasts(rate).filter(|left| !throttled && !left.is_zero());
        self.instances[id.index()].credits = Some(credits);
        let there = node.filter(|&node| self.node(node).gone.is_none());
        if let Some(node) = there.filter(|_| changed) {
            self.nodes[node.index()].cpu_cap = cap;
            self.push(Change::NodeThrottled(node, throttled));
        }
        next.map_or(flags.period, |left| left.min(flags.period)).max(Span::from_millis(100))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::flags::CreditMode;
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

    fn credits(name: &str, vcpus: u32, millis: u32, mode: CreditMode) -> Credits {
        let mut plan = Plan::empty(START, Span::from_secs(10));
        plan.flags.credits.mode = mode;
        Credits::new(&plan, &kind(name, vcpus, millis), START)
    }

    /// EC2 user guide: a t3.medium earns 24 credits an hour, and can accrue 576.
    #[test]
    fn a_t3_medium_earns_24_credits_an_hour_and_accrues_576() {
        let mut one = credits("t3.medium", 2, 200, CreditMode::Standard);
        assert_eq!(one.balance(), 0.0, "no launch credits");
        one.pass(START + Span::from_secs(3_600), 0);
        assert_eq!(one.balance(), 24.0);
        one.pass(START + Span::from_secs(360_000), 0);
        assert_eq!(one.balance(), 576.0);
        assert_eq!(credits("t2.medium", 2, 200, CreditMode::Default).balance(), 60.0, "30 launch credits a vCPU");
    }

    /// Two vCPUs at full use for an hour: 120 credits, of which 24 are earned; the others are surplus, 96 vCPU-minutes at 5 cents
    /// an hour. In mode standard there is none.
    #[test]
    fn use_above_the_baseline_is_surplus_in_mode_unlimited() {
        let whole = 120 * CREDIT;
        let mut one = credits("t3.medium", 2, 200, CreditMode::Default);
        one.pass(START + Span::from_secs(3_600), whole);
        assert_eq!((one.balance(), one.surplus()), (-96.0, MicroDollars(80_000)));
        // What it earns later pays it back.
        one.pass(START + Span::from_secs(18_000), 0);
        assert_eq!((one.balance(), one.surplus()), (0.0, MicroDollars(0)));
        let mut other = credits("t3.medium", 2, 200, CreditMode::Standard);
        other.pass(START + Span::from_secs(3_600), whole);
        assert_eq!((other.balance(), other.surplus()), (0.0, MicroDollars(0)));
        // More than a day's earnings is billed for good.
        let mut busy = credits("t3.medium", 2, 200, CreditMode::Unlimited);
        busy.pass(START + Span::from_secs(36_000), 1_200 * CREDIT);
        busy.pass(START + Span::from_secs(720_000), 0);
        assert_eq!(busy.surplus(), MicroDollars((1_200 - 240 - 576) * 50_000 / 60));
    }

    /// A new t3.medium overflows after a day at the earliest, and is billed for good after 576 credits at 96 an hour.
    #[test]
    fn what_machines_in_mode_unlimited_owe_need_not_be_counted_for_hours() {
        let one = credits("t3.medium", 2, 200, CreditMode::Default);
        assert_eq!(one.undisturbed(), Span::from_secs(6 * 3_600));
        assert!(one.unlimited && !credits("t2.medium", 2, 200, CreditMode::Default).unlimited);
        // Counted once or every minute: the same.
        let (mut often, mut once) = (one.clone(), one);
        for minute in 1..=120_u64 {
            let used = if minute % 3 == 0 { 0 } else { 2 * CREDIT };
            often.pass(START + Span::from_secs(60 * minute), used);
        }
        once.pass(START + Span::from_secs(7_200), 160 * CREDIT);
        assert_eq!((often.balance(), often.surplus()), (once.balance(), once.surplus()));
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
