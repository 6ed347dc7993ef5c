//! `spot_market:`, the market for EC2 capacity: how often pools of it are shocked, and when they sell nothing.
//!
//! In: the section, and the instance types of the plan. Out: the plan's capacity pools, one for each type (or family) and zone.
//! Sources: Spot Instance Advisor for rates, arXiv 2604.16457 for what comes together; numbers in `plan/flags.rs`.

use super::Draft;
use super::cluster::find_zone;
use super::diagnostic::Diagnostic;
use super::reader::{self, Fields};
use super::units::{self, UnitError};
use super::yaml::Node;
use crate::catalog::price::{INTERRUPTION_BANDS, interrupted_in_a_month};
use crate::engine::Span;
use crate::plan::{CapacityPool, CapacityPools, CapacityType, Distribution, InstanceTypeId, PriceMoves, ZoneId};
use std::collections::BTreeMap;

/// Hours of a month, as the Spot Instance Advisor's bands are turned into rates.
const MONTH_HOURS: f64 = 720.0;

/// How often an instance is interrupted.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Hazard {
    /// As the Spot Instance Advisor says of its type.
    Advisor,
    /// So often an hour.
    PerHour(f64),
}

/// What is said of a pool.
#[derive(Clone, Debug, PartialEq)]
struct Settings {
    hazard: Hazard,
    lifetime: Option<Distribution>,
    together: f64,
    share: f64,
    spread: Distribution,
    returns: Distribution,
    shortage: f64,
    on_demand_shortage: f64,
    rebalance: Rebalance,
}

/// Rebalance recommendations.
#[derive(Clone, Debug, PartialEq)]
struct Rebalance {
    /// So many interruptions follow one.
    recall: f64,
    /// So many of them are followed by an interruption.
    precision: f64,
    lead: Distribution,
}

/// An exception for the pools of a type, a zone, or both.
struct Override<'n> {
    instance_type: Option<String>,
    zone: Option<ZoneId>,
    node: &'n Node,
    settings: Settings,
}

/// Reads the section.
pub(crate) fn read(node: &Node, draft: &mut Draft) {
    let Some(mut fields) = Fields::of(node, "spot_market", &mut draft.problems) else { return };
    let flags = draft.plan.flags.spot.clone();
    let (shape, scale) = flags.outage;
    let default = Settings {
        hazard: Hazard::Advisor,
        lifetime: None,
        together: flags.together,
        share: flags.share,
        spread: Distribution::Uniform(Span::ZERO, flags.spread),
        returns: Distribution::Weibull { shape, scale },
        shortage: flags.shortage,
        on_demand_shortage: 0.0,
        rebalance: Rebalance {
            recall: flags.rebalance.0,
            precision: flags.rebalance.1,
            lead: Distribution::Lognormal { median: flags.rebalance_lead.0, sigma: flags.rebalance_lead.1 },
        },
    };
    let by_family = fields.choice("by", &[("type", false), ("family", true)], &mut draft.problems).unwrap_or(false);
    let settings = settings(&mut fields, default, draft);
    if let Some(node) = fields.get("prices") {
        prices(node, draft);
    }
    let overrides: Vec<Override> = fields
        .list("pools", &mut draft.problems)
        .iter()
        .enumerate()
        .filter_map(|(index, item)| exception(item, index, &settings, draft))
        .collect();
    fields.finish(&mut draft.problems);
    if !draft.plan.noise {
        let text = "spot_market is chance: in a run without noise nothing comes of it";
        draft
            .problems
            .push(Diagnostic::note("N107", node.place, text).help("use --noise on, or faults for one sure event"));
    }
    place(by_family, &settings, &overrides, draft);
}

/// `prices`: fixed, moving, or how they move.
fn prices(node: &Node, draft: &mut Draft) {
    let flags = draft.plan.flags.spot.clone();
    let every = Distribution::Exponential { mean: flags.price_change };
    let mut moves = PriceMoves { every, step: flags.price_step, pull: flags.price_pull };
    match node.text() {
        Some("fixed" | "off" | "false") => return,
        Some("moving" | "on" | "true") => {}
        _ => {
            let Some(mut fields) = Fields::of(node, "spot_market.prices", &mut draft.problems) else { return };
            moves.every = distribution(&mut fields, "every", draft).unwrap_or(moves.every);
            moves.step = share(&mut fields, "step", 1.0, draft).unwrap_or(moves.step);
            moves.pull = share(&mut fields, "pull", 1.0, draft).unwrap_or(moves.pull);
            fields.finish(&mut draft.problems);
        }
    }
    draft.plan.price_moves = Some(moves);
}

/// The fields that the section and its exceptions share, over what holds otherwise.
fn settings(fields: &mut Fields<'_>, base: Settings, draft: &mut Draft) -> Settings {
    let mut own = base;
    if let Some(node) = fields.get("interruptions") {
        let path = fields.at("interruptions");
        let expected = "advisor, off, scarce, a band, a share a month such as 5%, or a rate such as 0.05/h";
        match reader::unit(node, &path, expected, interruptions, &mut draft.problems) {
            Some(Interruptions::Scarce) => {
                let (shape, scale) = draft.plan.flags.spot.scarce;
                own.lifetime = Some(Distribution::Weibull { shape, scale });
            }
            Some(Interruptions::Hazard(hazard)) => (own.hazard, own.lifetime) = (hazard, None),
            None => {}
        }
    }
    if let Some(node) = fields.get("lifetime") {
        if fields.get("interruptions").is_some() {
            let message = format!("{}: says both `interruptions` and `lifetime`", fields.path);
            draft.problems.error("E018", node.place, message);
        }
        own.lifetime = distribution(fields, "lifetime", draft);
    }
    own.together = share(fields, "together", 1.0, draft).unwrap_or(own.together);
    own.share = share(fields, "share", 1.0, draft).unwrap_or(own.share);
    own.spread = distribution(fields, "spread", draft).unwrap_or(own.spread);
    own.returns = distribution(fields, "returns", draft).unwrap_or(own.returns);
    own.shortage = share(fields, "shortage", 0.9, draft).unwrap_or(own.shortage);
    own.on_demand_shortage = share(fields, "on_demand_shortage", 0.9, draft).unwrap_or(own.on_demand_shortage);
    if let Some(node) = fields.get("rebalance") {
        rebalance(node, &fields.at("rebalance"), &mut own.rebalance, draft);
    }
    own
}

/// `rebalance: off`, or how good the recommendations are.
fn rebalance(node: &Node, path: &str, own: &mut Rebalance, draft: &mut Draft) {
    if matches!(node.text(), Some("off" | "false")) {
        own.recall = 0.0;
        return;
    }
    let Some(mut fields) = Fields::of(node, path, &mut draft.problems) else { return };
    own.recall = share(&mut fields, "recall", 1.0, draft).unwrap_or(own.recall);
    if let Some(precision) = share(&mut fields, "precision", 1.0, draft) {
        own.precision = precision;
        if precision < 0.01 {
            let node = fields.get("precision").unwrap_or(node);
            reader::out_of_range(node, &fields.at("precision"), "from 1% to 100%", &mut draft.problems);
        }
    }
    own.lead = distribution(&mut fields, "lead", draft).unwrap_or_else(|| own.lead.clone());
    fields.finish(&mut draft.problems);
}

/// What `interruptions` can say.
enum Interruptions {
    Hazard(Hazard),
    Scarce,
}

fn interruptions(text: &str) -> Result<Interruptions, UnitError> {
    let monthly = |share: f64| Interruptions::Hazard(Hazard::PerHour(hazard(share)));
    if let Some((_, share)) = INTERRUPTION_BANDS.iter().find(|(band, _)| *band == text) {
        return Ok(monthly(*share));
    }
    match text {
        "advisor" => Ok(Interruptions::Hazard(Hazard::Advisor)),
        "off" | "false" => Ok(Interruptions::Hazard(Hazard::PerHour(0.0))),
        "scarce" => Ok(Interruptions::Scarce),
        _ if text.contains('/') => {
            let hourly = units::rate(text)? * 3600.0;
            if hourly <= 3600.0 {
                return Ok(Interruptions::Hazard(Hazard::PerHour(hourly)));
            }
            Err(UnitError::new(0, "more than one a second"))
        }
        _ if text.ends_with('%') => match units::share(text)? {
            share if (0.0..=0.999).contains(&share) => Ok(monthly(share)),
            _ => Err(UnitError::new(0, "a share of a month's instances is from 0% to 99.9%")),
        },
        _ => {
            let bands = INTERRUPTION_BANDS.map(|(band, _)| band).join(", ");
            Err(UnitError::new(0, "unknown word").help(format!("the bands of the Spot Instance Advisor are {bands}")))
        }
    }
}

/// The rate an hour at which that share is interrupted in a month.
fn hazard(share_a_month: f64) -> f64 {
    -(1.0 - share_a_month).ln() / MONTH_HOURS
}

fn share(fields: &mut Fields<'_>, key: &'static str, most: f64, draft: &mut Draft) -> Option<f64> {
    let node = fields.get(key)?;
    let path = fields.at(key);
    let value = reader::unit(node, &path, "a share such as 92% or 0.92", units::share, &mut draft.problems)?;
    if (0.0..=most).contains(&value) {
        return Some(value);
    }
    reader::out_of_range(node, &path, &format!("from 0% to {}%", most * 100.0), &mut draft.problems);
    None
}

fn distribution(fields: &mut Fields<'_>, key: &'static str, draft: &mut Draft) -> Option<Distribution> {
    let node = fields.get(key)?;
    let path = fields.at(key);
    let found = draft.files.distribution(node, &path, &mut draft.problems)?;
    if found.quantile(0.999).is_zero() {
        reader::out_of_range(node, &path, "longer than nothing", &mut draft.problems);
        return None;
    }
    Some(found)
}

fn exception<'n>(item: &'n Node, index: usize, base: &Settings, draft: &mut Draft) -> Option<Override<'n>> {
    let mut fields = Fields::of(item, format!("spot_market.pools[{index}]"), &mut draft.problems)?;
    let type_node = fields.get("instance_type");
    let path = fields.at("instance_type");
    let instance_type = type_node.and_then(|node| super::cluster::find_type(node, &path, draft));
    let instance_type = instance_type.map(|id| draft.plan.instance_type(id).name.clone());
    let zone_node = fields.get("zone");
    let path = fields.at("zone");
    let zone = zone_node.and_then(|node| find_zone(node, &path, draft));
    let settings = settings(&mut fields, base.clone(), draft);
    if type_node.is_none() && zone_node.is_none() {
        let message = format!("{}: needs `instance_type`, `zone`, or both", fields.path);
        draft.problems.error("E011", item.place, message);
    }
    fields.finish(&mut draft.problems);
    let understood = type_node.is_some() == instance_type.is_some() && zone_node.is_some() == zone.is_some();
    understood.then_some(Override { instance_type, zone, node: item, settings })
}

/// Makes the pools. Of several exceptions that mean a pool the last counts.
fn place(by_family: bool, settings: &Settings, overrides: &[Override<'_>], draft: &mut Draft) {
    let mut groups: BTreeMap<(String, ZoneId), Vec<InstanceTypeId>> = BTreeMap::new();
    for (index, entry) in draft.plan.instance_types.iter().enumerate() {
        for zone in (0..draft.plan.zones.len()).map(ZoneId::at) {
            let family = entry.name.split('.').next().unwrap_or(&entry.name);
            let group = if by_family { family } else { &entry.name };
            groups.entry((group.to_string(), zone)).or_default().push(InstanceTypeId::at(index));
        }
    }
    let mut pools = Vec::new();
    for ((group, zone), types) in groups {
        let name_of = |id: &InstanceTypeId| draft.plan.instance_type(*id).name.as_str();
        let own = overrides.iter().rev().find(|one| {
            one.zone.is_none_or(|other| other == zone)
                && one.instance_type.as_deref().is_none_or(|name| types.iter().any(|id| name_of(id) == name))
        });
        let settings = own.map_or(settings, |own| &own.settings);
        let monthly = types.iter().map(|id| interrupted_in_a_month(name_of(id))).sum::<f64>() / types.len() as f64;
        let zone_name = &draft.plan.zones[zone.index()];
        let market = |capacity_type: CapacityType| {
            let name = format!("{} {group} {zone_name}", capacity_type.name());
            pool(name, capacity_type, (zone, types.clone()), settings, monthly)
        };
        pools.extend([CapacityType::Spot, CapacityType::OnDemand].into_iter().filter_map(market));
    }
    for one in overrides {
        let used = |entry: &CapacityPool| {
            one.zone.is_none_or(|zone| zone == entry.zone)
                && entry
                    .types
                    .iter()
                    .any(|id| one.instance_type.as_deref().is_none_or(|n| n == draft.plan.instance_type(*id).name))
        };
        if one.settings != *settings && !pools.iter().any(used) {
            let text = "spot_market.pools: nothing of this can be bought by the node pools of the scenario";
            draft.problems.push(Diagnostic::note("N107", one.node.place, text));
        }
    }
    draft.plan.capacity_pools = CapacityPools::new(pools);
}

/// One pool, unless it never fails.
fn pool(
    name: String,
    capacity_type: CapacityType,
    (zone, types): (ZoneId, Vec<InstanceTypeId>),
    settings: &Settings,
    monthly: f64,
) -> Option<CapacityPool> {
    let spot = capacity_type == CapacityType::Spot;
    let hourly = match settings.hazard {
        Hazard::Advisor => hazard(monthly),
        Hazard::PerHour(rate) => rate,
    };
    let every = |hourly: f64| {
        let mean = Span::from_seconds(3600.0 / hourly.max(1e-9));
        if spot && hourly > 1e-9 { Distribution::Exponential { mean } } else { Distribution::Never }
    };
    let (lifetime, alone) = match &settings.lifetime {
        Some(lifetime) if spot => (lifetime.clone(), Distribution::Never),
        _ => (every(hourly * settings.together / settings.share.max(1e-6)), every(hourly * (1.0 - settings.together))),
    };
    let short = if spot { settings.shortage } else { settings.on_demand_shortage };
    let plenty = if short > 0.0 {
        Distribution::Exponential { mean: Span::from_seconds(mean(&settings.returns) * (1.0 - short) / short) }
    } else {
        Distribution::Never
    };
    let never = [&lifetime, &alone, &plenty].into_iter().all(|one| *one == Distribution::Never);
    let Settings { share, spread, returns, rebalance: Rebalance { recall, precision, lead }, .. } = settings.clone();
    let rate = |distribution: &Distribution| match distribution {
        Distribution::Never => 0.0,
        other => 3600.0 / mean(other).max(1e-3),
    };
    let recommended = recall * (rate(&lifetime) * share + rate(&alone));
    let pool = CapacityPool {
        name,
        capacity_type,
        zone,
        types,
        false_alarm: every(recommended * (1.0 - precision) / precision.max(0.01)),
        lifetime,
        share,
        spread,
        outage: returns,
        plenty,
        alone,
        warned: if spot { recall } else { 0.0 },
        lead,
    };
    (!never).then_some(pool)
}

/// The mean in seconds, over a thousand quantiles.
fn mean(distribution: &Distribution) -> f64 {
    (0..1000).map(|index| distribution.quantile((f64::from(index) + 0.5) / 1000.0).seconds()).sum::<f64>() / 1000.0
}
