//! What manifests do not say about applications: target groups, work a request, images, delays, and the load.

use super::build::default_target_group;
use super::cluster::{find, find_zone};
use super::curve::{self, CORES};
use super::diagnostic::{Diagnostic, Place, Problems, nearest};
use super::reader::{self, Fields};
use super::yaml::{Entry, Node};
use super::{Draft, timings, units};
use crate::engine::Span;
use crate::plan::flags::ServingFlags;
use crate::plan::timing::{PRESETS, STAGES};
use crate::plan::{
    App, Clients, Curve, Demand, DeploymentId, Distribution, Drains, Rise, RoutingAlgorithm, ServiceSpec, Stickiness,
    TargetGroupId, TrafficMode, WarmUp,
};
use crate::rules::quantity::{Bytes, Millicores};
use std::sync::Arc;

/// What becomes of requests after SIGTERM.
const DRAINS: [(&str, Drains); 3] =
    [("false", Drains::No), ("true", Drains::InFlight), ("listening", Drains::Listening)];

/// `timings:`, a preset and single stages.
pub(crate) fn read_timings(node: &Node, draft: &mut Draft) {
    let problems = &mut draft.problems;
    if Fields::of(node, "timings", problems).is_none() {
        return;
    }
    if let Some(preset) = node.get("preset") {
        let names: Vec<(&str, &str)> = PRESETS.iter().map(|name| (*name, *name)).collect();
        if let Some(found) = reader::choice(preset, "timings.preset", &names, problems).and_then(timings) {
            draft.plan.timings = found;
        }
    }
    read_stages(node, "", draft);
}

/// Stages by their keys, which hold dots; `instance: { boot: 20s }` is `instance.boot: 20s`, as a setting from outside writes it.
fn read_stages(node: &Node, before: &str, draft: &mut Draft) {
    for entry in node.entries().iter().filter(|entry| &*entry.key != "preset") {
        let key = format!("{before}{}", entry.key);
        if let Some(row) = STAGES.iter().find(|row| row.key == key) {
            if let Some(distribution) =
                draft.files.distribution(&entry.value, &format!("timings.{key}"), &mut draft.problems)
            {
                draft.plan.timings.set(row.stage, distribution);
            }
        } else if STAGES.iter().any(|row| row.key.strip_prefix(&*key).is_some_and(|rest| rest.starts_with('.')))
            && !entry.value.entries().is_empty()
        {
            read_stages(&entry.value, &format!("{key}."), draft);
        } else {
            let known = STAGES.iter().map(|row| row.key).chain(["preset"]);
            draft.problems.push(
                Diagnostic::error("E010", entry.key_place, format!("`timings` has no stage `{key}`"))
                    .label("unknown stage")
                    .suggest(&key, known)
                    .meant_behind(before),
            );
        }
    }
}

/// `target_groups:`, by name.
pub(crate) fn read_target_groups(node: &Node, draft: &mut Draft) {
    if Fields::of(node, "target_groups", &mut draft.problems).is_none() {
        return;
    }
    for entry in node.entries() {
        let mut group = default_target_group(entry.key.to_string(), draft.plan.zones.len());
        if !entry.value.is_null()
            && let Some(mut fields) =
                Fields::of(&entry.value, format!("target_groups.{}", entry.key), &mut draft.problems)
        {
            read_group(&mut fields, &mut group, &mut draft.problems);
            let zones = fields.list("zones", &mut draft.problems);
            fields.finish(&mut draft.problems);
            let path = format!("target_groups.{}.zones", entry.key);
            group.zones = zones.iter().filter_map(|zone| find_zone(zone, &path, draft)).collect();
        }
        draft.plan.target_groups.push(group);
    }
}

/// Settings of a target group that nothing sends to or registers with are for nobody.
pub(crate) fn say_unused_groups(node: &Node, draft: &mut Draft) {
    let plan = &draft.plan;
    let used = |name: &str| {
        let Some(group) = plan.target_groups.iter().position(|group| group.name == name).map(TargetGroupId::at) else {
            return true;
        };
        plan.bindings.iter().any(|binding| binding.target_group == group)
            || plan.apps.iter().any(|app| app.target_group == Some(group))
            || plan.alarms.iter().any(|alarm| alarm.target_group == Some(group))
    };
    let (used, unused): (Vec<&Entry>, Vec<&Entry>) = node.entries().iter().partition(|entry| used(&entry.key));
    for entry in unused {
        let text = format!("no TargetGroupBinding and no service names the target group `{}`", entry.key);
        let near = nearest(&entry.key, used.iter().map(|entry| &*entry.key));
        let help = near.map_or_else(
            || "a TargetGroupBinding names its group in `targetGroupARN`, a service in `target_group`".to_string(),
            |near| format!("did you mean `{near}`, which is here as well?"),
        );
        let warning = Diagnostic::warning("W162", entry.key_place, text).label("it changes nothing").help(help);
        draft.problems.push(warning);
    }
}

fn read_group(fields: &mut Fields<'_>, group: &mut crate::plan::TargetGroup, problems: &mut Problems) {
    const ALGORITHMS: [(&str, RoutingAlgorithm); 3] = [
        ("round_robin", RoutingAlgorithm::RoundRobin),
        ("least_outstanding_requests", RoutingAlgorithm::LeastOutstandingRequests),
        ("weighted_random", RoutingAlgorithm::WeightedRandom),
    ];
    let delay = fields.duration("deregistration_delay", problems);
    if let Some(delay) = bounded(fields, "deregistration_delay", delay, 0, 3600, problems) {
        group.deregistration_delay = delay;
    }
    let slow_start = fields.duration("slow_start", problems);
    if let Some(slow_start) = bounded(fields, "slow_start", slow_start, 0, 900, problems) {
        group.slow_start = slow_start;
    }
    group.algorithm = fields.choice("algorithm", &ALGORITHMS, problems).unwrap_or(group.algorithm);
    if !group.slow_start.is_zero() && group.algorithm != RoutingAlgorithm::RoundRobin {
        let message = format!("{}: AWS has slow start only with algorithm round_robin", fields.path);
        problems.error("E015", fields.place_at(&["slow_start"]), message);
    }
    group.stickiness = stickiness(fields, problems);
    group.cross_zone = fields.boolean("cross_zone", problems).unwrap_or(true);
    if let Some(nodes) = fields.integer_in("nodes", 1, 1000, problems) {
        group.nodes = nodes as u32;
    }
    let Some(mut check) = fields.fields("health_check", problems) else { return };
    let health = &mut group.health_check;
    if let Some(path) = check.text("path", problems) {
        health.path = path;
    }
    let interval = check.duration("interval", problems);
    health.interval = bounded(&mut check, "interval", interval, 5, 300, problems).unwrap_or(health.interval);
    let timeout = check.duration("timeout", problems);
    health.timeout = bounded(&mut check, "timeout", timeout, 2, 120, problems).unwrap_or(health.timeout);
    if let Some(count) = check.integer_in("healthy", 2, 10, problems) {
        health.healthy_threshold = count as u32;
    }
    if let Some(count) = check.integer_in("unhealthy", 2, 10, problems) {
        health.unhealthy_threshold = count as u32;
    }
    if health.timeout >= health.interval {
        let message = format!("{}: AWS wants a timeout that is shorter than the interval", check.path);
        problems.error("E015", check.place_at(&["timeout"]), message);
    }
    check.finish(problems);
}

/// Sticky sessions. A cookie's duration alone does not say how long targets keep their clients: that needs the number of
/// clients and the length of their sessions.
fn stickiness(fields: &mut Fields<'_>, problems: &mut Problems) -> Option<Stickiness> {
    let node = fields.get("stickiness")?;
    if node.text().is_some() {
        fields.duration("stickiness", problems)?;
        let text = "without clients and session, stickiness is not modelled: requests go to targets as without it";
        let help = "write { duration: 1h, clients: 500, session: 10m }";
        problems.push(Diagnostic::note("N106", node.place, text).help(help));
        return None;
    }
    let mut inner = fields.fields("stickiness", problems)?;
    for key in ["duration", "clients", "session"] {
        inner.required(key, problems);
    }
    let duration = inner.duration("duration", problems);
    let duration = bounded(&mut inner, "duration", duration, 1, 604_800, problems);
    let session = inner.duration("session", problems);
    let session = bounded(&mut inner, "session", session, 1, 604_800, problems);
    let clients = inner.integer_in("clients", 1, 1_000_000, problems);
    inner.finish(problems);
    Some(Stickiness { duration: duration?, clients: clients? as u32, session: session? })
}

/// A duration within what AWS allows, in seconds.
fn bounded(
    fields: &mut Fields<'_>,
    key: &'static str,
    value: Option<Span>,
    low: u64,
    high: u64,
    problems: &mut Problems,
) -> Option<Span> {
    let value = value?;
    if (Span::from_secs(low)..=Span::from_secs(high)).contains(&value) {
        return Some(value);
    }
    let node = fields.get(key).unwrap_or(fields.node());
    reader::out_of_range(node, &fields.at(key), &format!("from {low}s to {high}s, the limits of AWS"), problems);
    None
}

/// `images:`, by the name that manifests use.
pub(crate) fn read_images(node: &Node, draft: &mut Draft) {
    if Fields::of(node, "images", &mut draft.problems).is_none() {
        return;
    }
    for entry in node.entries() {
        let problems = &mut draft.problems;
        let path = format!("images.{}", entry.key);
        let Some(mut fields) = Fields::of(&entry.value, path, problems) else { continue };
        let size = fields.quantity("size", problems).map(|size| Bytes(size.units_ceil().clamp(0, 1 << 50)));
        let pull = fields.get("pull").and_then(|node| draft.files.distribution(node, &fields.at("pull"), problems));
        let cached = fields.boolean("cached", problems).unwrap_or(false);
        fields.finish(problems);
        match draft.plan.images.iter_mut().find(|image| image.name == *entry.key) {
            Some(image) => {
                image.size = size.unwrap_or(image.size);
                image.pull = pull;
                image.cached = cached;
            }
            None => {
                let names = draft.plan.images.iter().map(|image| image.name.as_str());
                let message = format!("images: no container uses `{}`", entry.key);
                problems.push(
                    Diagnostic::error("E016", entry.key_place, message).suggest(&entry.key, names).missing_object(),
                );
            }
        }
    }
    // Images that nodes hold from the start get the sizes said here.
    for node in &mut draft.plan.nodes {
        for (name, size) in &mut node.images {
            if let Some(image) = draft.plan.images.iter().find(|image| image.name == *name) {
                *size = image.size;
            }
        }
    }
}

/// `services:`, `traffic:` and `load:`; all three by the name of the Deployment.
pub(crate) fn read_apps(services: Option<&Node>, traffic: Option<&Node>, load: Option<&Node>, draft: &mut Draft) {
    let (mut names, mut unknown) = (Vec::new(), Vec::new());
    for (section, node) in [("services", services), ("traffic", traffic), ("load", load)] {
        let Some(node) = node.filter(|node| Fields::of(node, section, &mut draft.problems).is_some()) else { continue };
        for entry in node.entries() {
            if names.iter().any(|(name, _)| *name == &*entry.key) {
                continue;
            }
            if let Some(deployment) = find_deployment(&entry.key, entry.key_place, section, draft) {
                if let Some((other, _)) = names.iter().find(|(_, known)| *known == deployment) {
                    let message = format!("{section}: `{}` is the Deployment `{other}` as well", entry.key);
                    let diagnostic = Diagnostic::error("E021", entry.key_place, message).label("named twice");
                    draft.problems.push(diagnostic.help(format!("write `{other}` in all sections")));
                    continue;
                }
                names.push((&*entry.key, deployment));
            } else {
                unknown.push((section, entry));
            }
        }
    }
    for (name, deployment) in names {
        let service = services.and_then(|node| node.get(name));
        let traffic_node = traffic.and_then(|node| node.get(name)).filter(|node| !node.is_null());
        let load_node = load.and_then(|node| node.get(name)).filter(|node| !node.is_null());
        let of_traffic = traffic.and_then(|node| node.entries().iter().find(|entry| &*entry.key == name));
        let of_traffic = of_traffic.filter(|_| traffic_node.is_some()).map(|entry| entry.key_place);
        let mut app = read_app(name, deployment, service, of_traffic, draft);
        if let Some(node) = traffic_node {
            super::traffic::read(node, &format!("traffic.{name}"), &mut app, draft);
        }
        if traffic_node.is_some() {
            say_hopeless(&app, service, &mut draft.problems);
        }
        if let Some(node) = load_node {
            if traffic_node.is_some() {
                let message = format!("load.{name}: its pods use these cores, and no request counts besides");
                let warning = Diagnostic::warning("W165", node.place, message).label("it has traffic, too");
                draft.problems.push(warning.help("leave out `load` to have the CPU follow from the requests"));
            }
            let (path, window) = (format!("load.{name}"), draft.window());
            app.cores = curve::read(node, &path, &CORES, window, &mut draft.files, &mut draft.problems);
        }
        draft.plan.apps.push(app);
    }
    unknown.into_iter().for_each(|(section, entry)| look_through(section, entry, draft));
}

/// What is said of a Deployment that is not there, for the mistakes in it.
fn look_through(section: &str, entry: &Entry, draft: &mut Draft) {
    let mut nobody = default_app(&entry.key, DeploymentId::at(0), 0);
    let (node, path) = (&entry.value, format!("{section}.{}", entry.key));
    match section {
        _ if node.is_null() => {}
        "services" => {
            let Some(mut fields) = Fields::of(node, path, &mut draft.problems) else { return };
            fields.get("target_group");
            fields.integer_in("replicas", 0, 10_000, &mut draft.problems);
            read_work(&mut fields, &mut nobody, draft);
            fields.finish(&mut draft.problems);
        }
        "traffic" => super::traffic::read(node, &path, &mut nobody, draft),
        _ => {
            let window = draft.window();
            curve::read(node, &path, &CORES, window, &mut draft.files, &mut draft.problems);
        }
    }
}

/// A Deployment by `name` or `namespace/name`.
pub(crate) fn find_deployment(
    name: &str,
    place: super::diagnostic::Place,
    section: &str,
    draft: &mut Draft,
) -> Option<DeploymentId> {
    let deployments = &draft.plan.deployments;
    let (namespace, plain) = name.split_once('/').map_or((None, name), |(space, name)| (Some(space), name));
    let matches: Vec<usize> = (deployments.iter().enumerate())
        .filter(|(_, spec)| spec.name == plain && namespace.is_none_or(|space| space == spec.namespace))
        .map(|(index, _)| index)
        .collect();
    let diagnostic = match matches.as_slice() {
        [only] => return Some(DeploymentId::at(*only)),
        [] => Diagnostic::error("E016", place, format!("{section}: no manifest holds a Deployment `{name}`"))
            .label("unknown Deployment")
            .suggest(name, deployments.iter().map(|spec| spec.name.as_str()))
            .missing_object(),
        _ => Diagnostic::error("E016", place, format!("{section}: several namespaces hold a Deployment `{name}`"))
            .help("write namespace/name"),
    };
    draft.problems.push(diagnostic);
    None
}

/// A load model of which nothing is said.
pub(crate) fn default_app(name: &str, deployment: DeploymentId, memory: i64) -> App {
    App {
        name: name.to_string(),
        deployment,
        target_group: None,
        cpu_per_request: Span::ZERO,
        wait_per_request: Span::ZERO,
        demand: Demand::default(),
        // Apache's listen backlog is 511; ten workers is what two hundred MiB of PHP processes allow in 512 MiB or so.
        workers: 10,
        queue: 511,
        start: Distribution::Constant(Span::ZERO),
        // Apache's workers leave within about a second of SIGTERM.
        stop: Distribution::Constant(Span::from_secs(1)),
        drains: Drains::No,
        idle_cpu: Millicores(0),
        memory,
        memory_is_given: false,
        latency_objective: Span::from_secs(1),
        cores: None,
        cores_per_pod: None,
        load_group: None,
        traffic: Curve::default(),
        clients: Clients::default(),
        mode: TrafficMode::Requests,
        probes_wait: None,
        keep_alive: None,
    }
}

fn read_app(
    name: &str,
    deployment: DeploymentId,
    node: Option<&Node>,
    traffic: Option<Place>,
    draft: &mut Draft,
) -> App {
    let template = draft.plan.templates[draft.plan.deployments[deployment.index()].template.index()].clone();
    let mut app = default_app(name, deployment, template.requests.memory.0);
    app.target_group = bound_group(deployment, draft);
    let Some(node) = node.filter(|node| !node.is_null()) else {
        if let Some(place) = traffic {
            let message = format!("services: `{name}` gets traffic, but how much work a request is, is not said");
            let help = format!("write services: {{ {name}: {{ cpu_per_request: 100ms }} }}");
            draft.problems.push(Diagnostic::error("E011", place, message).help(help));
        }
        return app;
    };
    let Some(mut fields) = Fields::of(node, format!("services.{name}"), &mut draft.problems) else { return app };
    if traffic.is_some() {
        fields.required("cpu_per_request", &mut draft.problems);
    }
    if let Some(node) = fields.get("target_group") {
        app.target_group = if node.text() == Some("none") {
            None
        } else {
            let names: Vec<&str> = draft.plan.target_groups.iter().map(|group| group.name.as_str()).collect();
            find(node, &fields.at("target_group"), "target group", &names, &mut draft.problems).map(TargetGroupId::at)
        };
        say_unbound(node, app.target_group, draft);
    }
    read_work(&mut fields, &mut app, draft);
    let limit = template.containers.first().and_then(|container| container.limits.memory);
    if let Some(limit) = limit.filter(|limit| app.memory_is_given && limit.0 < app.memory) {
        say_beyond_limit(&mut fields, limit, &mut draft.problems);
    }
    if let Some(replicas) = fields.integer_in("replicas", 0, 10_000, &mut draft.problems) {
        // What the autoscaler had made of the manifest's count before the run begins.
        Arc::make_mut(&mut draft.plan.deployments[deployment.index()]).replicas = replicas as i32;
    }
    fields.finish(&mut draft.problems);
    app
}

/// Nobody registers targets in a group that no binding names.
fn say_unbound(node: &Node, group: Option<TargetGroupId>, draft: &mut Draft) {
    let Some(group) = group.filter(|group| draft.plan.bindings.iter().all(|one| one.target_group != *group)) else {
        return;
    };
    let name = &draft.plan.target_groups[group.index()].name;
    let text =
        format!("no TargetGroupBinding fills the target group `{name}`: each request to it is answered with 503");
    let help =
        "add a TargetGroupBinding of that name whose Service selects the pods; without one, leave `target_group` out";
    draft.problems.push(Diagnostic::warning("W161", node.place, text).help(help));
}

fn read_work(fields: &mut Fields<'_>, app: &mut App, draft: &mut Draft) {
    if let Some((mean, spread)) = read_need(fields, "cpu_per_request", draft) {
        (app.cpu_per_request, app.demand.cpu) = (mean, spread);
    }
    if let Some((mean, spread)) = read_need(fields, "wait_per_request", draft) {
        (app.wait_per_request, app.demand.wait) = (mean, spread);
    }
    let problems = &mut draft.problems;
    app.demand.rise = rise(fields, problems);
    app.demand.warm_up = warm_up(fields, problems);
    if let Some(workers) = fields.integer_in("workers", 1, 100_000, problems) {
        app.workers = workers as u32;
    }
    if let Some(queue) = fields.integer_in("queue", 0, 10_000_000, problems) {
        app.queue = queue as u32;
    }
    for key in ["start", "stop"] {
        let Some(node) = fields.get(key) else { continue };
        let Some(found) = draft.files.distribution(node, &fields.at(key), problems) else { continue };
        if key == "start" { app.start = found } else { app.stop = found }
    }
    app.drains = fields.choice("drains", &DRAINS, problems).unwrap_or(app.drains);
    if let Some(cpu) = fields.quantity("idle_cpu", problems) {
        app.idle_cpu = Millicores(cpu.milli_ceil().clamp(0, 1_000_000_000));
    }
    if let Some(memory) = fields.quantity("memory", problems) {
        app.memory = memory.units_ceil().clamp(0, 1 << 50);
        app.memory_is_given = true;
    }
    if let Some(cores) = fields.number("cores_per_pod", problems) {
        if !(1e-3..=1024.0).contains(&cores) {
            let node = fields.get("cores_per_pod").unwrap_or(fields.node());
            reader::out_of_range(node, &fields.at("cores_per_pod"), "from 0.001 to 1024 cores", problems);
        }
        app.cores_per_pod = Some(cores);
    }
    app.latency_objective = fields.duration("latency_objective", problems).unwrap_or(app.latency_objective);
    app.probes_wait = fields.boolean("probes_wait", problems);
    app.keep_alive = keep_alive(fields, problems);
}

/// A container that uses more memory than its limit is killed by the kernel, which is not modelled.
fn say_beyond_limit(fields: &mut Fields<'_>, limit: Bytes, problems: &mut Problems) {
    let Some(node) = fields.get("memory") else { return };
    let (path, megabytes) = (fields.at("memory"), limit.0 >> 20);
    let text = format!("{path}: {} is above the memory limit of the container, {megabytes}Mi", node.describe());
    let warning = Diagnostic::warning("W163", node.place, text).label("a cluster would kill it (OOMKilled)");
    problems.push(warning.help("running out of memory is not modelled: its pods run on here"));
}

/// Requests that take longer than anybody waits for them: nearly always a unit that says minutes (`m`) for milliseconds (`ms`).
fn say_hopeless(app: &App, service: Option<&Node>, problems: &mut Problems) {
    let waited = ServingFlags::default().idle_timeout;
    let waited = app.clients.timeout.map_or(waited, |timeout| timeout.min(waited));
    for (key, mean) in [("cpu_per_request", app.cpu_per_request), ("wait_per_request", app.wait_per_request)] {
        let Some(node) = service.and_then(|service| service.get(key)).filter(|_| mean > waited) else { continue };
        let text = format!(
            "services.{}.{key}: a request takes {mean} on average, and its client gives up after {waited}: none is served",
            app.name
        );
        let minutes = node.text().and_then(|text| text.strip_suffix('m')).filter(|text| text.parse::<f64>().is_ok());
        let meant = minutes.map(|number| format!("`m` is minutes: did you mean `{number}ms`?"));
        problems.push(Diagnostic::warning("W164", node.place, text).maybe_help(meant));
    }
}

/// What a request needs: the mean, and the distribution if requests differ.
fn read_need(fields: &mut Fields<'_>, key: &'static str, draft: &mut Draft) -> Option<(Span, Option<Distribution>)> {
    let node = fields.get(key)?;
    let path = fields.at(key);
    let found = draft.files.distribution(node, &path, &mut draft.problems)?;
    let mean = found.mean();
    if mean > Span::from_secs(86_400) {
        reader::out_of_range(node, &path, "a day at most, on average", &mut draft.problems);
        return None;
    }
    let constant = matches!(found, Distribution::Constant(_));
    Some((mean, (!constant).then_some(found)))
}

/// `keep_alive: 5s`.
fn keep_alive(fields: &mut Fields<'_>, problems: &mut Problems) -> Option<Span> {
    let span = fields.duration("keep_alive", problems)?;
    if !(Span::from_secs(1)..=Span::from_secs(86_400)).contains(&span) {
        let node = fields.get("keep_alive").unwrap_or(fields.node());
        reader::out_of_range(node, &fields.at("keep_alive"), "from 1s to 24h", problems);
        return None;
    }
    let idle = ServingFlags::default().idle_timeout;
    if let Some(node) = fields.get("keep_alive").filter(|_| span < idle) {
        let text = format!(
            "`{}` is shorter than the idle time-out of the load balancer ({} s): a request now and then meets a connection that \
             is just closing, and gets a 502",
            fields.at("keep_alive"),
            idle.whole_seconds()
        );
        problems.push(Diagnostic::warning("W160", node.place, text));
    }
    Some(span)
}

/// `cpu_rises: { by: 25%, at: 20 }`.
fn rise(fields: &mut Fields<'_>, problems: &mut Problems) -> Option<Rise> {
    let mut inner = fields.fields("cpu_rises", problems)?;
    let node = inner.required("by", problems);
    inner.required("at", problems);
    let path = inner.at("by");
    let by = node.and_then(|node| reader::unit(node, &path, "a share such as 25%", units::share, problems));
    let at = inner.integer_in("at", 2, 100_000, problems);
    inner.finish(problems);
    let (node, by) = (node?, by?);
    if !(0.0..=100.0).contains(&by) {
        reader::out_of_range(node, &path, "from 0% to 10000%", problems);
        return None;
    }
    Some(Rise { by, at: at? as u32 })
}

/// `warm_up: { factor: 3, for: 60s }`.
fn warm_up(fields: &mut Fields<'_>, problems: &mut Problems) -> Option<WarmUp> {
    let mut inner = fields.fields("warm_up", problems)?;
    let node = inner.required("factor", problems);
    inner.required("for", problems);
    let factor = inner.number("factor", problems);
    let lasts = inner.duration("for", problems);
    inner.finish(problems);
    let (node, factor) = (node?, factor?);
    if !(1.0..=1000.0).contains(&factor) {
        reader::out_of_range(node, &format!("{}.warm_up.factor", fields.path), "from 1 to 1000", problems);
        return None;
    }
    Some(WarmUp { factor, lasts: lasts? })
}

/// The target group that a binding's Service leads to, if it selects the Deployment's pods. A Service that selects nothing at
/// all is taken to be meant for the one Deployment of its namespace that no Service selects, or for that of its own name: what
/// its binding fills stays empty, and AWS answers with 503.
fn bound_group(deployment: DeploymentId, draft: &Draft) -> Option<TargetGroupId> {
    let plan = &draft.plan;
    let spec = &plan.deployments[deployment.index()];
    let template = &plan.templates[spec.template.index()];
    let service_of = |binding: &crate::plan::TargetGroupBindingSpec| {
        let named = |service: &&Arc<ServiceSpec>| {
            service.name == binding.service_name && service.namespace == binding.namespace
        };
        plan.services.iter().find(named)
    };
    let selecting =
        || plan.bindings.iter().find(|one| service_of(one).is_some_and(|service| service.selects(template)));
    let is_unselected = |template: &crate::plan::PodTemplate| !plan.services.iter().any(|one| one.selects(template));
    let meant = || {
        let alone = (plan.deployments.iter())
            .map(|other| &plan.templates[other.template.index()])
            .filter(|other| other.namespace == template.namespace && is_unselected(other));
        let is_only_one = alone.count() == 1;
        plan.bindings.iter().filter(|_| is_unselected(template)).find(|binding| {
            let lonely = service_of(binding).filter(|service| {
                service.namespace == template.namespace
                    && service.selector.is_some()
                    && !plan.templates.iter().any(|template| service.selects(template))
            });
            lonely.is_some_and(|service| is_only_one || service.name == spec.name)
        })
    };
    let binding = selecting().or_else(meant)?;
    (binding.target_group.index() < plan.target_groups.len()).then_some(binding.target_group)
}
