//! The market for EC2 capacity: shocks that take the instances of a pool together, shortages, lone interruptions.
//!
//! ```text
//!  a pool (type or family, zone): capacity ─ lifetime ─► shock: notices within minutes, nothing to buy ─ outage ─► capacity
//!                                 plenty ─► shortage: nothing to buy, what runs goes on ─ outage ─► plenty
//!  InstanceLaunched ─ alone ─► notice of that instance
//!  a lead before shock or notice ─► rebalance recommendations, to some; others get one for nothing
//! ```
//!
//! Source: arXiv 2604.16457: more than 92 % of co-interruptions in one type and zone fall within three minutes, so the pool has
//! the clock, not the instance. The numbers come with the plan ([`CapacityPool`]). A run begins at a random instant of a pool's
//! history. Nothing of it happens without noise. Scripted interruptions come from the script. Left out: that a pool feels
//! what is bought from it. Prices move by themselves, as they do since 2017: they are no sign of interruptions.

use crate::components::{Cx, Event as Any};
use crate::engine::{Purpose, Random, Span};
use crate::plan::timing::normal_quantile;
use crate::plan::{CapacityPool, CapacityPoolId, CapacityType, Distribution};
use crate::world::capacity::Want;
use crate::world::{Instance, InstanceId, InstanceState, PriceId};

const LIFETIME: Purpose = Purpose::named("spot.lifetime");
const OUTAGE: Purpose = Purpose::named("spot.outage");
const PLENTY: Purpose = Purpose::named("spot.plenty");
const SHORTAGE: Purpose = Purpose::named("spot.shortage");
const BEGIN: Purpose = Purpose::named("spot.begin");
const STRUCK: Purpose = Purpose::named("spot.struck");
const MEMBER: Purpose = Purpose::named("spot.member");
const SPREAD: Purpose = Purpose::named("spot.spread");
const ALONE: Purpose = Purpose::named("spot.alone");
const WARNED: Purpose = Purpose::named("spot.warned");
const LEAD: Purpose = Purpose::named("spot.lead");
const PRICE_AT: Purpose = Purpose::named("spot.price_at");
const PRICE_STEP: Purpose = Purpose::named("spot.price_step");
const FALSE_ALARM: Purpose = Purpose::named("spot.false_alarm");

/// The history of a pool from which the instant of the start is taken: so many spells of each kind.
const HISTORY: u64 = 128;

/// Its memory: spells so far, by pool.
#[derive(Default)]
pub struct SpotMarket {
    shocks: Vec<u64>,
    shortages: Vec<u64>,
    /// Changes so far, by price.
    moves: Vec<u64>,
}

/// Why it may be woken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Event {
    /// A shock strikes a pool.
    Shock(CapacityPoolId),
    /// Its capacity is back.
    Back(CapacityPoolId),
    /// A shortage of a pool begins.
    Shortage(CapacityPoolId),
    /// It ends.
    Plenty(CapacityPoolId),
    /// An instance was launched.
    Launched(InstanceId),
    /// An instance gets its notice.
    Notice(InstanceId),
    /// EC2 sees a shock of a pool coming.
    Warning(CapacityPoolId),
    /// An instance gets a rebalance recommendation.
    Rebalance(InstanceId),
    /// A price moves.
    Move(PriceId),
}

impl SpotMarket {
    /// Schedules the first events: each pool is somewhere in its history, and what runs at the start has its capacity.
    pub fn start(&mut self, cx: &mut Cx) {
        let Some(random) = cx.random else { return };
        let pools = cx.plan.capacity_pools.all();
        self.shocks = vec![HISTORY; pools.len()];
        self.shortages = vec![HISTORY; pools.len()];
        let first = self.first_shocks(cx, random);
        for (index, (pool, shocks)) in pools.iter().zip(first).enumerate() {
            let (id, key) = (CapacityPoolId::at(index), pool.key());
            let (sells, left) = shocks;
            cx.world.set_pool_want(id, Want::Shock, !sells);
            if sells {
                self.await_shock(cx, id, left);
            } else {
                later(cx, left, Event::Back(id));
            }
            let shortages = History::draw(random, key, (&pool.plenty, &pool.outage), (PLENTY, SHORTAGE), false);
            let (sells, left) = shortages.at(random.uniform(BEGIN, key ^ 1));
            cx.world.set_pool_want(id, Want::Shortage, !sells);
            later(cx, left, if sells { Event::Shortage(id) } else { Event::Plenty(id) });
        }
        self.moves = vec![0; cx.world.prices.all().len()];
        (0..self.moves.len()).map(PriceId::at).for_each(|price| self.await_move(cx, price));
        let running: Vec<InstanceId> = cx.world.instances.iter().map(|instance| instance.id).collect();
        running.into_iter().for_each(|instance| launched(cx, instance));
    }

    /// By pool: whether it has capacity at the start, and how long that stays so.
    fn first_shocks(&self, cx: &mut Cx, random: &Random) -> Vec<(bool, Span)> {
        let pools = cx.plan.capacity_pools.all();
        let occupied: Vec<bool> =
            (0..pools.len()).map(|index| members(cx, CapacityPoolId::at(index)).next().is_some()).collect();
        let history = |(pool, &occupied): (&CapacityPool, &bool)| {
            History::draw(random, pool.key(), (&pool.lifetime, &pool.outage), (LIFETIME, OUTAGE), occupied)
        };
        let histories: Vec<History> = pools.iter().zip(&occupied).map(history).collect();
        let uniform = |index: usize| random.uniform(BEGIN, pools[index].key());
        let free = |index: usize| histories[index].at(uniform(index));
        let Some(condition) = cx.plan.shock_condition else { return (0..pools.len()).map(free).collect() };
        let ends = (condition.from.seconds(), condition.to.seconds());
        let chance = |index: usize| if occupied[index] { histories[index].chance(ends) } else { 0.0 };
        let (first, likelihood) = pick(random, &(0..pools.len()).map(chance).collect::<Vec<_>>(), condition.strikes);
        cx.world.likelihood = likelihood;
        // Those before the first that is struck are spared, those behind it are free.
        let first = first.unwrap_or(pools.len());
        let drawn = |index: usize| match index {
            _ if !occupied[index] || index > first || likelihood <= 0.0 => free(index),
            _ => histories[index].given(ends, index == first, uniform(index)),
        };
        (0..pools.len()).map(drawn).collect()
    }

    /// Observe, decide, apply, schedule.
    pub fn handle(&mut self, cx: &mut Cx, event: Event) {
        match event {
            Event::Shock(id) => self.shock(cx, id),
            Event::Back(id) => {
                cx.world.set_pool_want(id, Want::Shock, false);
                let pool = cx.plan.capacity_pools.get(id);
                let span = spell(cx, pool, &pool.lifetime, LIFETIME, self.shocks[id.index()]);
                self.await_shock(cx, id, span);
            }
            Event::Shortage(id) => {
                cx.world.set_pool_want(id, Want::Shortage, true);
                let pool = cx.plan.capacity_pools.get(id);
                self.shortages[id.index()] += 1;
                let span = spell(cx, pool, &pool.outage, SHORTAGE, self.shortages[id.index()]);
                later(cx, span, Event::Plenty(id));
            }
            Event::Plenty(id) => {
                cx.world.set_pool_want(id, Want::Shortage, false);
                let pool = cx.plan.capacity_pools.get(id);
                let span = spell(cx, pool, &pool.plenty, PLENTY, self.shortages[id.index()]);
                later(cx, span, Event::Shortage(id));
            }
            Event::Launched(instance) => launched(cx, instance),
            Event::Notice(instance) => cx.world.interrupt_instance(instance),
            Event::Warning(id) => self.warn(cx, id),
            Event::Rebalance(instance) => cx.world.recommend_rebalance(instance),
            Event::Move(price) => self.move_price(cx, price),
        }
    }

    /// The next change of a price.
    fn await_move(&self, cx: &mut Cx, id: PriceId) {
        if let (Some(random), Some(moves)) = (cx.random, &cx.plan.price_moves) {
            let key = price_key(cx, id).wrapping_add(self.moves[id.index()]);
            later(cx, moves.every.draw(random, PRICE_AT, key), Event::Move(id));
        }
    }

    /// A step up or down, and some of the way back to where it was at the start.
    fn move_price(&mut self, cx: &mut Cx, id: PriceId) {
        let (Some(random), Some(moves)) = (cx.random, &cx.plan.price_moves) else { return };
        let key = price_key(cx, id).wrapping_add(self.moves[id.index()]);
        let normal = normal_quantile(random.uniform(PRICE_STEP, key));
        let walk = cx.world.prices.get(id).walk * (1.0 - moves.pull) + moves.step * normal;
        self.moves[id.index()] += 1;
        cx.world.walk_price(cx.plan, id, walk);
        self.await_move(cx, id);
    }

    /// The next shock of a pool, and a lead before it the moment in which EC2 can see it coming.
    fn await_shock(&self, cx: &mut Cx, id: CapacityPoolId, span: Span) {
        later(cx, span, Event::Shock(id));
        let pool = cx.plan.capacity_pools.get(id);
        let lead = spell(cx, pool, &pool.lead, LEAD, self.shocks[id.index()]);
        if lead < span && pool.warned > 0.0 {
            later(cx, span.saturating_sub(lead), Event::Warning(id));
        }
    }

    /// Some of those that run get a recommendation.
    fn warn(&self, cx: &mut Cx, id: CapacityPoolId) {
        let number = self.shocks[id.index()];
        let members: Vec<(InstanceId, u64)> =
            members(cx, id).map(|instance| (instance.id, key(cx, instance) ^ number << 40)).collect();
        for (instance, key) in members {
            if cx.chance(WARNED, key, cx.plan.capacity_pools.get(id).warned) {
                cx.world.recommend_rebalance(instance);
            }
        }
    }

    /// The capacity is needed elsewhere: each instance of the pool goes with a given chance, within minutes.
    fn shock(&mut self, cx: &mut Cx, id: CapacityPoolId) {
        let pool = cx.plan.capacity_pools.get(id);
        self.shocks[id.index()] += 1;
        let number = self.shocks[id.index()];
        let struck: Vec<(InstanceId, u64)> =
            members(cx, id).map(|instance| (instance.id, key(cx, instance) ^ number << 40)).collect();
        for (instance, key) in struck {
            if let (Some(random), true) = (cx.random, cx.chance(MEMBER, key, pool.share)) {
                later(cx, pool.spread.draw(random, SPREAD, key), Event::Notice(instance));
            }
        }
        cx.world.set_pool_want(id, Want::Shock, true);
        let span = spell(cx, pool, &pool.outage, OUTAGE, number);
        later(cx, span, Event::Back(id));
    }
}

/// The key of a price's draws: FNV-1a of its name, so that other prices leave them as they are.
fn price_key(cx: &Cx, id: PriceId) -> u64 {
    let name = &cx.world.prices.get(id).name;
    name.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3))
}

/// Running instances of a pool.
fn members<'c>(cx: &'c Cx, id: CapacityPoolId) -> impl Iterator<Item = &'c Instance> {
    cx.world.instances.iter().filter(move |instance| {
        let Instance { instance_type, zone, capacity_type, .. } = **instance;
        instance.state == InstanceState::Running
            && cx.plan.capacity_pools.of(instance_type, zone, capacity_type) == Some(id)
    })
}

/// The key of an instance's draws: its claim's, or its own number.
fn key(cx: &Cx, instance: &Instance) -> u64 {
    instance.claim.map_or(1 << 39 | u64::from(instance.id.0), |claim| cx.world.claim(claim).key())
}

/// The clock of a lone interruption.
fn launched(cx: &mut Cx, id: InstanceId) {
    let instance = &cx.world.instances[id.index()];
    let Instance { instance_type, zone, capacity_type, .. } = *instance;
    let Some(pool) = cx.plan.capacity_pools.of(instance_type, zone, capacity_type) else { return };
    if let (Some(random), CapacityType::Spot) = (cx.random, capacity_type) {
        let (pool, key) = (cx.plan.capacity_pools.get(pool), key(cx, instance));
        let span = pool.alone.draw(random, ALONE, key);
        later(cx, span, Event::Notice(id));
        let lead = pool.lead.draw(random, LEAD, key);
        if lead < span && cx.chance(WARNED, key, pool.warned) {
            later(cx, span.saturating_sub(lead), Event::Rebalance(id));
        }
        later(cx, pool.false_alarm.draw(random, FALSE_ALARM, key), Event::Rebalance(id));
    }
}

fn spell(cx: &Cx, pool: &CapacityPool, length: &Distribution, purpose: Purpose, number: u64) -> Span {
    cx.random.map_or(Span::MAX, |random| length.draw(random, purpose, pool.key().wrapping_add(number)))
}

fn later(cx: &mut Cx, span: Span, event: Event) {
    if cx.now + span <= cx.plan.until {
        cx.after(span, Any::SpotMarket(event));
    }
}

/// Which pool is the first in the list that is struck, of pools that are so with these chances; and the chance that some
/// is, or (without `strikes`) that none is.
fn pick(random: &Random, chances: &[f64], strikes: bool) -> (Option<usize>, f64) {
    let none: f64 = chances.iter().map(|chance| 1.0 - chance).product();
    if !strikes {
        return (None, none);
    }
    let mut left = random.uniform(STRUCK, 0) * (1.0 - none);
    let mut spared = 1.0;
    for (index, chance) in chances.iter().enumerate() {
        left -= spared * chance;
        spared *= 1.0 - chance;
        if left <= 0.0 && *chance > 0.0 {
            return (Some(index), 1.0 - none);
        }
    }
    (chances.iter().rposition(|chance| *chance > 0.0), 1.0 - none)
}

/// Spells of capacity and of none, one after the other; a run begins at a random instant of them. A pool that has instances
/// begins in one of capacity.
struct History {
    /// Whether it sells, and for how many seconds.
    spells: Vec<(bool, f64)>,
}

impl History {
    fn draw(
        random: &Random,
        key: u64,
        (up, down): (&Distribution, &Distribution),
        (of_up, of_down): (Purpose, Purpose),
        occupied: bool,
    ) -> History {
        if *up == Distribution::Never {
            return History { spells: Vec::new() };
        }
        // What never comes back has not gone yet.
        let occupied = occupied || *down == Distribution::Never;
        let spells = (0..HISTORY).flat_map(|number| {
            let key = key.wrapping_add(number);
            let down = if occupied { Span::ZERO } else { down.draw(random, of_down, key) };
            [(true, up.draw(random, of_up, key).seconds()), (false, down.seconds())]
        });
        History { spells: spells.collect() }
    }

    /// The instant at this share of it: whether the pool sells then, and how long that stays so.
    fn at(&self, share: f64) -> (bool, Span) {
        if self.spells.is_empty() {
            return (true, Span::MAX);
        }
        let mut left = share * self.spells.iter().map(|(_, seconds)| seconds).sum::<f64>();
        for &(sells, seconds) in &self.spells {
            left -= seconds;
            if left <= 0.0 {
                return (sells, Span::from_seconds(-left));
            }
        }
        (true, Span::ZERO)
    }

    /// The chance that capacity ends within so many seconds from a random instant of it.
    fn chance(&self, (from, to): (f64, f64)) -> f64 {
        let inside = |seconds: f64| (seconds.min(to) - from).max(0.0);
        let all: f64 = self.spells.iter().map(|(_, seconds)| seconds).sum();
        if all > 0.0 { self.spells.iter().map(|(_, seconds)| inside(*seconds)).sum::<f64>() / all } else { 0.0 }
    }

    /// As [`History::at`], of the instants from which capacity ends within those seconds, or of the others.
    fn given(&self, (from, to): (f64, f64), inside: bool, share: f64) -> (bool, Span) {
        // What is left of a spell at an instant that counts: from here to there.
        let pieces = |seconds: f64| {
            let within = (from.min(seconds), to.min(seconds));
            if inside { [within, (seconds, seconds)] } else { [(0.0, within.0), (within.1, seconds)] }
        };
        let pieces = || self.spells.iter().flat_map(|(_, seconds)| pieces(*seconds));
        let mut left = share * pieces().map(|(low, high)| high - low).sum::<f64>();
        for (low, high) in pieces() {
            left -= high - low;
            if left <= 0.0 && high > low {
                return (true, Span::from_seconds(high + left));
            }
        }
        self.at(share)
    }
}

#[cfg(test)]
mod tests;
