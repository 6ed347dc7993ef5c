//! `traffic:` of one Deployment: a curve of requests or users, how requests arrive, and what clients do when they fail.

use super::Draft;
use super::curve::{self, Measure, RATE};
use super::diagnostic::{Diagnostic, Problems};
use super::reader::{self, Fields};
use super::units::{self, UnitError};
use super::yaml::{Node, Value};
use crate::engine::Span;
use crate::plan::{App, Clients, Distribution, Retries, TrafficMode};

/// Users of a closed loop.
pub(crate) const USERS: Measure = Measure { key: "users", expected: "a number of users such as 5", parse: users };

fn users(text: &str) -> Result<f64, UnitError> {
    match text.trim().parse::<f64>() {
        Ok(count) if (0.0..=f64::from(Clients::USERS_MAX)).contains(&count) => Ok(count),
        _ => Err(UnitError::new(0, format!("write a number from 0 to {}", Clients::USERS_MAX))),
    }
}

/// Traffic of one application: a curve, or a mapping that holds one.
pub(crate) fn read(node: &Node, path: &str, app: &mut App, draft: &mut Draft) {
    let window = draft.window();
    let mut curve = Some((node, path.to_string(), &RATE));
    if let Value::Mapping(_) = node.value
        && let Some(mut fields) = Fields::of(node, path, &mut draft.problems)
    {
        curve = read_clients(&mut fields, app, draft);
        fields.finish(&mut draft.problems);
    }
    let Some((node, path, measure)) = curve else { return };
    let read = curve::read(node, &path, measure, window, &mut draft.files, &mut draft.problems);
    app.traffic = read.unwrap_or_default();
}

type Source<'n> = (&'n Node, String, &'static Measure);

/// Everything but the curve; and which curve there is.
fn read_clients<'n>(fields: &mut Fields<'n>, app: &mut App, draft: &mut Draft) -> Option<Source<'n>> {
    const MODES: [(&str, TrafficMode); 2] = [("requests", TrafficMode::Requests), ("fluid", TrafficMode::Fluid)];
    let problems = &mut draft.problems;
    app.mode = fields.choice("mode", &MODES, problems).unwrap_or_default();
    let clients = &mut app.clients;
    if let Some(node) = fields.get("arrivals") {
        clients.variation = arrivals(node, &fields.at("arrivals"), problems).unwrap_or(1.0);
    }
    clients.timeout = fields.duration("timeout", problems).filter(|timeout| !timeout.is_zero());
    clients.hold = fields.duration("hold", problems).unwrap_or(Span::ZERO);
    clients.retries = retries(fields, problems);
    let (curve, users, think) = (fields.get("curve"), fields.get("users"), fields.get("think"));
    if let Some(node) = think {
        clients.think = draft.files.distribution(node, &fields.at("think"), problems);
        if clients.think.as_ref().is_some_and(|think| think.mean() >= Span::MAX) {
            reader::out_of_range(node, &fields.at("think"), "a time that ends", problems);
        }
    }
    let single = [
        ("arrivals", fields.get("arrivals")),
        ("timeout", fields.get("timeout")),
        ("hold", fields.get("hold")),
        ("retries", fields.get("retries")),
        ("users", users),
    ];
    if app.mode == TrafficMode::Fluid {
        for (key, node) in single.into_iter().filter_map(|(key, node)| node.map(|node| (key, node))) {
            let message = format!("{}: a flow has no single requests, which `{key}` is about", fields.path);
            problems.push(Diagnostic::error("E018", node.place, message).help("leave `mode: fluid` out"));
        }
    }
    match (curve, users) {
        (Some(_), Some(node)) => {
            let message = format!("{}: `curve` and `users` exclude each other", fields.path);
            problems.push(Diagnostic::error("E018", node.place, message));
            None
        }
        (None, Some(node)) => {
            fields.required("think", problems);
            app.clients.think.get_or_insert(Distribution::Constant(Span::from_secs(1)));
            Some((node, fields.at("users"), &USERS))
        }
        (Some(node), None) => {
            if let Some(think) = think {
                let message = format!("{}: `think` goes with `users`", fields.path);
                problems.push(Diagnostic::error("E018", think.place, message));
                app.clients.think = None;
            }
            Some((node, fields.at("curve"), &RATE))
        }
        (None, None) => {
            fields.required("curve", problems);
            None
        }
    }
}

/// `poisson`, `even`, or a coefficient of variation.
fn arrivals(node: &Node, path: &str, problems: &mut Problems) -> Option<f64> {
    match node.text() {
        Some("poisson") => Some(1.0),
        Some("even") => Some(0.0),
        _ => {
            let parse = |text: &str| match text.parse::<f64>() {
                Ok(variation) if (0.0..=100.0).contains(&variation) => Ok(variation),
                _ => Err(UnitError::new(0, "write poisson, even, or a coefficient of variation from 0 to 100")),
            };
            reader::unit(node, path, "a way to arrive such as poisson, even or 2.5", parse, problems)
        }
    }
}

/// `retries:`, a number or a mapping.
fn retries(fields: &mut Fields<'_>, problems: &mut Problems) -> Option<Retries> {
    let node = fields.get("retries")?;
    let mut retries = Retries::default();
    if let Value::Scalar(_) = node.value {
        retries.max = fields.integer_in("retries", 0, 1000, problems)? as u32;
        return (retries.max > 0).then_some(retries);
    }
    let mut inner = fields.fields("retries", problems)?;
    if let Some(max) = inner.integer_in("max", 0, 1000, problems) {
        retries.max = max as u32;
    }
    retries.backoff = inner.duration("backoff", problems).unwrap_or(retries.backoff);
    retries.backoff_max = inner.duration("backoff_max", problems).unwrap_or(retries.backoff_max.max(retries.backoff));
    if let Some(factor) = inner.number("factor", problems) {
        if (1.0..=100.0).contains(&factor) {
            retries.factor = factor;
        } else {
            let node = inner.get("factor").unwrap_or(inner.node());
            reader::out_of_range(node, &inner.at("factor"), "from 1 to 100", problems);
        }
    }
    retries.jitter = inner.boolean("jitter", problems).unwrap_or(true);
    if let Some(node) = inner.get("budget") {
        let path = inner.at("budget");
        let budget = reader::unit(node, &path, "a share such as 10%", units::share, problems);
        retries.budget = budget.filter(|budget| {
            let within = (0.0..=10.0).contains(budget);
            if !within {
                reader::out_of_range(node, &path, "from 0% to 1000%", problems);
            }
            within
        });
    }
    inner.finish(problems);
    (retries.max > 0).then_some(retries)
}
