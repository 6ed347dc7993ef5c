//! A first scenario for manifests that somebody has: which services get traffic, what stands at the start, and what holds today.
//!
//! ```text
//!  manifests ─► plan ─► a run without load: the nodes that Karpenter buys for these pods ─► nodes at the start
//!            └─► autoscalers and Services ─► traffic that uses two fifths of what their pods request, then more
//!  all of it ─► a run: of some bounds the tightest that hold ─► `expect:`
//! ```
//! In: paths of manifests as a scenario names them. Out: the text of a scenario, which runs and whose expectations hold. What no
//! manifest says is assumed, and the text says so (`assumed.rs`: NodePools, EC2NodeClasses and PriorityClasses that are missing). A
//! folder may hold several versions of an object: the first is taken, the files of the others are left out.

mod assumed;

use super::gates::{self, Length};
use super::replications::Control;
use super::run_once;
use crate::plan::{DeploymentSpec, Plan};
use crate::rules::expectation::{Expectation, Verdict, parse};
use crate::rules::requirement::NodeOperator;
use crate::rules::requirements::{ZONE, is_restricted, is_well_known, normalized};
use crate::scenario::{self, LoadOptions, Loaded, Problems};
use assumed::Assumed;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::AtomicBool;

/// CPU of a request that nobody has measured, milliseconds.
const REQUEST_MILLIS: u64 = 50;
/// Requests that a pod works on at once, where nobody has said so: as where a scenario says nothing.
const WORKERS: u32 = 10;
/// Start of a process that nobody has measured, seconds: an interpreter with its application, not a virtual machine that warms up.
const START_SECONDS: u64 = 3;
/// What a pod without a request of CPU is taken to be given, millicores.
const UNSAID_MILLICORES: i64 = 250;
/// No machine has more CPU, millicores (u7i-12tb.224xlarge, `catalog/instance_types.txt`): a request beyond it is a slip in its unit,
/// and no load comes of that.
const MACHINE_MILLICORES: i64 = 896_000;
/// Most requests a second that are assumed: a tenth of what a rate may be.
const RATE_MAX: f64 = 1e6;
/// Load at the start, as a share of what the pods request.
const BASE_SHARE: f64 = 0.4;
/// By so much the load rises where an autoscaler can answer, and where none can.
const RISES: (f64, f64) = (2.5, 1.5);
/// The type of nodes where no NodePool says one.
const PLAIN_TYPE: &str = "m6i.large";
/// Most nodes that are assumed.
const NODES_MAX: usize = 500;
/// Bounds of which the first that holds is written.
const BOUNDS: [&[&str]; 3] = [
    &[
        "time_to_serve <= 1m",
        "time_to_serve <= 2m",
        "time_to_serve <= 3m",
        "time_to_serve <= 5m",
        "time_to_serve <= 10m",
    ],
    &["unscheduled_pods == 0"],
    &["lost_requests == 0", "lost_requests <= 10", "lost_requests <= 100", "lost_requests <= 1000"],
];

/// A folder of manifests, or a single one, as a scenario names them.
pub struct Found {
    /// One name for all, if nothing else is there.
    pub whole: Option<String>,
    /// Each by name.
    pub files: Vec<String>,
}

/// A scenario to begin with.
pub struct Starter {
    /// Its text.
    pub text: String,
    /// Name and text of a manifest beside it with what is assumed, if anything is.
    pub assumed: Option<(&'static str, String)>,
    /// Manifests that are left out, and why.
    pub left_out: Vec<(String, String)>,
    /// Pods that find no node, and why.
    pub without_node: Vec<String>,
    /// What is usually expected and does not hold, with what was measured.
    pub broken: Vec<String>,
    /// It, read: with the warnings that its manifests cause.
    pub loaded: Loaded,
}

/// A service that gets traffic.
struct Served {
    name: String,
    base: u64,
    peak: u64,
    replicas: Option<i32>,
    is_unsaid: bool,
}

/// What is read so far.
struct Bench<'p> {
    path: &'p Path,
    found: &'p [Found],
    assumed: Assumed,
    left_out: Vec<(String, String)>,
}

impl Bench<'_> {
    fn read(&self, text: &str) -> Result<Loaded, Problems> {
        let assumed = self.assumed.text();
        let beside: Vec<(&str, &str)> = assumed.iter().map(|text| (assumed::FILE, text.as_str())).collect();
        scenario::load_text(self.path, text, &beside, &LoadOptions::default())
    }

    /// The section that names the manifests.
    fn named(&self) -> String {
        let is_left = |file: &&String| self.left_out.iter().all(|(left, _)| left != *file);
        let mut names: Vec<&String> = Vec::new();
        for found in self.found {
            match &found.whole {
                Some(whole) if found.files.iter().all(|file| is_left(&file)) => names.push(whole),
                _ => names.extend(found.files.iter().filter(is_left)),
            }
        }
        names.dedup();
        let lines: String = names.iter().map(|name| format!("  - {}\n", quoted(name))).collect();
        let assumed = self.assumed.text().map(|_| format!("  - {} # assumed\n", assumed::FILE)).unwrap_or_default();
        format!("manifests:\n{lines}{assumed}")
    }

    /// Leaves out files that hold what others hold, and assumes what is missing. False if that is not all that is wrong.
    fn mend(&mut self, problems: &Problems) -> bool {
        let before = (self.left_out.len(), self.assumed.clone());
        for (error, source) in problems.errors() {
            let (Some(source), Some(place)) = (source, error.place) else { continue };
            if error.code == "E021" && error.related.iter().all(|(first, _)| first.file != place.file) {
                let file = self.found.iter().flat_map(|found| &found.files).find(|file| shows(&source.path, file));
                let first = error.related.first().and_then(|(first, _)| problems.sources.get(first.file.0 as usize));
                let first = first.map(|first| format!(", first in {}", first.path)).unwrap_or_default();
                if let Some(file) = file.filter(|file| self.left_out.iter().all(|(left, _)| left != *file)) {
                    self.left_out.push((file.clone(), format!("{}{first}", error.message)));
                }
            } else if error.code == "E016" && error.message.contains(" names EC2NodeClass ") {
                self.assumed.classes.insert(problems.excerpt(place).trim_matches(['\'', '"']).to_string());
            } else if error.code == "E016"
                && error.meant.is_none()
                && let Some((_, class)) = error.message.split_once("no PriorityClass `")
            {
                self.assumed.priorities.insert(class.trim_end_matches('`').to_string());
            }
        }
        before != (self.left_out.len(), self.assumed.clone())
    }
}

/// A path for people is that of a file that a scenario names.
fn shows(shown: &str, name: &str) -> bool {
    let name = name.trim_start_matches("../");
    shown == name || shown.strip_suffix(name).is_some_and(|rest| rest.ends_with('/'))
}

/// The scenario at `path`, which need not be there yet, for these manifests.
///
/// # Errors
/// All problems of the manifests that remain.
pub fn derive(path: &Path, found: &[Found]) -> Result<Starter, Problems> {
    let mut bench = Bench { path, found, assumed: Assumed::default(), left_out: Vec::new() };
    let mut bare = loop {
        match bench.read(&bench.named()) {
            Ok(loaded) => break loaded,
            Err(problems) if bench.mend(&problems) => {}
            Err(problems) => return Err(problems),
        }
    };
    if bare.plan.node_pools.is_empty() && !plain_nodes_will_do(&bench)? {
        bench.assumed.pool = Some(own_labels(&bare.plan));
        bare = bench.read(&bench.named())?;
    }
    let (named, cluster) = (bench.named(), place_of(&bare));
    let bare = bench.read(&format!("{named}cluster:\n{cluster}"))?.plan;
    let served = served(&bare);
    let (services, traffic) = load(&served);
    // Pods that an autoscaler or a load brings are there when the run begins, and need nodes.
    let with =
        |nodes: &str| Ok(bench.read(&format!("{named}cluster:\n{cluster}{nodes}{}{services}", groups(&bare)))?.plan);
    let nodes = nodes(&with("")?, &with)?;
    let mut text = head(&bare, &served);
    text += &format!("{named}\n# The cluster when the run begins.\ncluster:\n{cluster}{nodes}");
    text += &groups(&bare);
    text += &services;
    text += &traffic;
    text += "\nrun: { until: 20m }\n";
    let plan = bench.read(&text)?.plan;
    let (expected, broken) = expectations(&plan);
    text += &expected;
    let loaded = bench.read(&text)?;
    let assumed = bench.assumed.text().map(|text| (assumed::FILE, text));
    let without_node = super::without_node(&plan, &run_once(&plan, 0, false));
    Ok(Starter { text, assumed, left_out: bench.left_out, without_node, broken, loaded })
}

/// Labels that pods ask of their nodes, and that nodes have only where somebody gives them.
fn own_labels(plan: &Plan) -> BTreeMap<String, String> {
    let selected = plan.templates.iter().flat_map(|template| &template.node_selector);
    let own = selected.filter(|(key, _)| !is_well_known(normalized(key)) && !is_restricted(normalized(key)));
    own.map(|(key, value)| (key.to_string(), value.to_string())).collect()
}

/// Whether plain nodes would take every pod, however many of them it takes.
fn plain_nodes_will_do(bench: &Bench) -> Result<bool, Problems> {
    let lines = format!("cluster:\n  nodes: [{{ instance_type: {PLAIN_TYPE}, count: {NODES_MAX} }}]\n");
    let plan = bench.read(&format!("{}{lines}", bench.named()))?.plan;
    Ok(!waits(&plan))
}

/// Some pod has no node when the run has begun.
fn waits(plan: &Plan) -> bool {
    let world = run_once(&Plan { until: plan.start + FITS, ..plan.clone() }, 0, false).world;
    world.pods.iter().any(|pod| pod.unschedulable && pod.gone.is_none())
}

/// A path in quotes where YAML would take it for something else.
fn quoted(text: &str) -> String {
    let plain = text.chars().all(|c| c.is_ascii_alphanumeric() || "-_./".contains(c)) && !text.starts_with('-');
    if plain { text.to_string() } else { format!("'{}'", text.replace('\'', "''")) }
}

fn head(plan: &Plan, served: &[Served]) -> String {
    let name = served.first().map(|one| one.name.as_str()).or(plan.deployments.first().map(|one| one.name.as_str()));
    let name = name.unwrap_or("first").replace('/', "-");
    format!(
        "# A first scenario for these manifests. What they do not say is assumed, and marked so: put in what you know.\n\
         # docs/scenario.md has every key.\n\
         name: {name}\n\n"
    )
}

/// Region and zones, as NodePools ask for them; else the region that ARNs and registries of the manifests name.
fn place_of(loaded: &Loaded) -> String {
    let plan = &loaded.plan;
    let asked = plan.node_pools.iter().flat_map(|pool| &pool.requirements);
    let asked = asked.filter(|one| one.key == ZONE && one.operator == NodeOperator::In).flat_map(|one| &one.values);
    let mut zones: Vec<&str> = asked.map(String::as_str).collect();
    zones.sort_unstable();
    zones.dedup();
    let region = zones.first().map(|zone| zone.trim_end_matches(|c: char| c.is_ascii_lowercase()));
    match region.filter(|region| zones.iter().all(|zone| zone.starts_with(region))) {
        Some(region) => format!("  region: {region}\n  zones: [{}]\n", zones.join(", ")),
        None => match loaded.region_named() {
            Some((region, from)) => {
                format!("  region: {region} # as {from} of the manifests say; its zones are assumed\n")
            }
            None => "  region: us-east-1 # assumed\n".to_string(),
        },
    }
}

/// Deployments that an autoscaler scales or a Service sends to; all, if there is none such.
fn served(plan: &Plan) -> Vec<Served> {
    let scaled = |spec: &DeploymentSpec| {
        plan.hpas.iter().find(|hpa| hpa.target_name == spec.name && hpa.namespace == spec.namespace)
    };
    let reached =
        |spec: &DeploymentSpec| plan.services.iter().any(|service| service.selects(plan.template(spec.template)));
    let wanted: Vec<&DeploymentSpec> =
        plan.deployments.iter().map(AsRef::as_ref).filter(|spec| scaled(spec).is_some() || reached(spec)).collect();
    let all: Vec<&DeploymentSpec> = plan.deployments.iter().map(AsRef::as_ref).collect();
    let one = |spec: &&DeploymentSpec| {
        let hpa = scaled(spec);
        let replicas =
            hpa.map_or(spec.replicas, |hpa| spec.replicas.clamp(hpa.min_replicas.max(1), hpa.max_replicas)).max(1);
        let requested = plan.template(spec.template).requests.cpu.0;
        let millicores = if requested > 0 { requested.min(MACHINE_MILLICORES) } else { UNSAID_MILLICORES };
        let rate = BASE_SHARE * f64::from(replicas) * millicores as f64 / REQUEST_MILLIS as f64;
        let rise = if hpa.is_some_and(|hpa| hpa.max_replicas > replicas) { RISES.0 } else { RISES.1 };
        let rate = rate.min(RATE_MAX / rise);
        let unique = plan.deployments.iter().filter(|other| other.name == spec.name).count() == 1;
        Served {
            name: if unique { spec.name.clone() } else { format!("{}/{}", spec.namespace, spec.name) },
            base: (rate.round() as u64).max(1),
            peak: ((rate * rise).round() as u64).max(2),
            replicas: (replicas != spec.replicas).then_some(replicas),
            is_unsaid: requested == 0,
        }
    };
    (if wanted.is_empty() { all } else { wanted }).iter().map(one).collect()
}

/// Nodes at the start: what Karpenter buys for the pods, or as many of a plain type as they need.
fn nodes(bare: &Plan, with: &dyn Fn(&str) -> Result<Plan, Problems>) -> Result<String, Problems> {
    if bare.node_pools.is_empty() {
        let mut count = 1;
        loop {
            let lines = format!(
                "  nodes: # assumed: no NodePool is among the manifests\n    - {{ instance_type: {PLAIN_TYPE}, count: {count} }}\n"
            );
            if count >= NODES_MAX || !waits(&with(&lines)?) {
                return Ok(lines);
            }
            count = (count + count.div_ceil(4)).min(NODES_MAX);
        }
    }
    let world = run_once(bare, 0, false).world;
    let mut counts: BTreeMap<String, u64> = BTreeMap::new();
    for node in world.nodes.iter().filter(|node| node.gone.is_none()) {
        let label = |key: &str| node.labels.get(key).unwrap_or_default();
        let line = format!(
            "node_pool: {}, instance_type: {}, capacity_type: {}, zone: {}",
            label("karpenter.sh/nodepool"),
            label("node.kubernetes.io/instance-type"),
            label("karpenter.sh/capacity-type"),
            label(ZONE)
        );
        *counts.entry(line).or_default() += 1;
    }
    if counts.is_empty() {
        return Ok(String::new());
    }
    let lines: String = counts.iter().map(|(line, count)| format!("    - {{ {line}, count: {count} }}\n")).collect();
    Ok(format!("  nodes: # assumed: what Karpenter buys for these pods\n{lines}"))
}

/// So long shows whether pods find room.
const FITS: crate::engine::Span = crate::engine::Span::from_secs(60);

fn groups(plan: &Plan) -> String {
    if plan.target_groups.is_empty() {
        return String::new();
    }
    let mut out = "\n# Assumed: the defaults of AWS. `aws elbv2 describe-target-groups` and `describe-target-group-attributes` say yours.\n\
                   target_groups:\n"
        .to_string();
    for group in &plan.target_groups {
        let (check, delay) = (&group.health_check, group.deregistration_delay.whole_seconds());
        out += &format!(
            "  {}:\n    deregistration_delay: {delay}s\n    \
             health_check: {{ path: {}, interval: {}, timeout: {}, healthy: {}, unhealthy: {} }}\n",
            group.name, check.path, check.interval, check.timeout, check.healthy_threshold, check.unhealthy_threshold
        );
    }
    out
}

/// The sections of services and of traffic.
fn load(served: &[Served]) -> (String, String) {
    if served.is_empty() {
        return (String::new(), String::new());
    }
    let mut services =
        "\n# Assumed: what a request costs a pod (measure CPU seconds used, divided by requests served), how many a pod works\n\
         # on at once, and how long its process takes from its start to the first answer.\n\
         services:\n"
            .to_string();
    for one in served {
        let replicas = one.replicas.map(|replicas| format!(", replicas: {replicas}")).unwrap_or_default();
        let unsaid = if one.is_unsaid { " # its pods request no CPU" } else { "" };
        services += &format!(
            "  {}: {{ cpu_per_request: {REQUEST_MILLIS}ms, workers: {WORKERS}, start: {START_SECONDS}s{replicas} }}{unsaid}\n",
            one.name
        );
    }
    let mut traffic =
        "\n# Assumed: requests over time, two fifths of what the pods request and then more.\ntraffic:\n".to_string();
    for one in served {
        let (name, base, peak) = (&one.name, one.base, one.peak);
        traffic += &format!("  {name}: [{{ at: 0s, rate: {base}/s }}, {{ at: 5m, rate: {peak}/s }}]\n");
    }
    (services, traffic)
}

/// Of each kind of bound the tightest that holds in this run, as text; and of the kinds that fail at all bounds the loosest.
fn expectations(plan: &Plan) -> (String, Vec<String>) {
    let all: Vec<Expectation> = BOUNDS.iter().copied().flatten().filter_map(|text| parse(text).ok()).collect();
    let plan = Plan { expectations: all, claims: Vec::new(), ..plan.clone() };
    let stop = AtomicBool::new(false);
    let control = Control { stop: &stop, done: &|| (), check: false, antithetic: false };
    let report = gates::report(&plan, "", Length::Fixed(1), control);
    let holds = |text: &&str| report.lines.iter().any(|line| line.check == **text && line.verdict == Verdict::Holds);
    let kept: Vec<&str> = BOUNDS.iter().filter_map(|kind| kind.iter().find(|text| holds(text)).copied()).collect();
    let fails = |text: &str| report.lines.iter().find(|line| line.check == text && line.verdict == Verdict::Fails);
    let loosest = BOUNDS.iter().filter(|kind| !kind.iter().any(holds)).filter_map(|kind| fails(kind.last()?));
    let broken: Vec<String> = loosest.map(|line| format!("{}: it is {}", line.check, line.interval)).collect();
    let left = if broken.is_empty() {
        String::new()
    } else {
        let lines: String = broken.iter().map(|words| format!("#   {words}\n")).collect();
        format!("# Left out, as it does not hold (`kubelapse run` shows why):\n{lines}")
    };
    if kept.is_empty() {
        let head = "\n# Nothing usual holds with these assumptions. Write here what must hold.\n";
        return (format!("{head}{left}expect: []\n"), broken);
    }
    let lines: String = kept.iter().map(|text| format!("  - {text}\n")).collect();
    let head =
        "\n# What holds with these assumptions. p95(time_to_serve) <= 4m would speak of many runs with chance.\n";
    (format!("{head}{left}expect:\n{lines}"), broken)
}
