//! Pods and pod templates, with what the API server fills in.
//!
//! Source: `pkg/apis/core/v1/defaults.go`; admission plugins `Priority`, `DefaultTolerationSeconds`; DaemonSet controller
//! `util/daemonset_util.go` (`AddOrUpdateDaemonPodTolerations`). Left out: volumes other than claims, security, service
//! accounts, environment.

use super::common::{self, labels, metadata, requirements, resources, selector, texts};
use crate::engine::Span;
use crate::plan::{
    Affinity, Container, ContainerPort, PodAffinityTerm, PodController, PodTemplate, Probe, ProbeHandler,
    RestartPolicy, TopologySpread,
};
use crate::rules::quantity::{Bytes, Millicores};
use crate::rules::requirement::NodeSelectorTerm;
use crate::rules::resources::ResourceList;
use crate::rules::taint::{TaintEffect, Toleration, TolerationOperator};
use crate::scenario::diagnostic::{Diagnostic, Problems};
use crate::scenario::reader::Fields;
use crate::scenario::yaml::Node;
use std::collections::BTreeMap;

/// A Pod object.
pub fn read_pod(node: &Node, problems: &mut Problems) -> Option<PodTemplate> {
    let mut object = Fields::of(node, "pod", problems)?;
    let metadata = metadata(&mut object, problems)?;
    let mut template = PodTemplate {
        namespace: metadata.namespace,
        labels: metadata.labels,
        annotations: metadata.annotations,
        ..PodTemplate::default()
    };
    template.controller = controller(&mut object, problems);
    object.required("spec", problems)?;
    spec(&mut object.fields("spec", problems)?, &mut template, problems);
    Some(template)
}

/// `metadata.ownerReferences`, as far as it matters.
fn controller(object: &mut Fields<'_>, problems: &mut Problems) -> PodController {
    let Some(mut metadata) = object.fields("metadata", problems) else { return PodController::Other };
    let path = metadata.at("ownerReferences");
    let owners = metadata.list("ownerReferences", problems);
    let found = owners.iter().find_map(|owner| {
        let mut owner = Fields::of(owner, path.clone(), problems)?;
        let (version, kind) = (owner.text("apiVersion", problems)?, owner.text("kind", problems)?);
        match (version.as_str(), kind.as_str()) {
            ("apps/v1", "StatefulSet") => Some(PodController::StatefulSet),
            ("v1", "Node") => Some(PodController::Node),
            _ => None,
        }
    });
    found.unwrap_or_default()
}

/// `spec.template` of a workload in a namespace.
pub fn read_template(node: &Node, path: &str, namespace: &str, problems: &mut Problems) -> Option<PodTemplate> {
    let mut fields = Fields::of(node, path, problems)?;
    let mut template = PodTemplate { namespace: namespace.to_string(), ..PodTemplate::default() };
    if let Some(mut metadata) = fields.fields("metadata", problems) {
        template.labels = labels(&mut metadata, "labels", problems);
        template.annotations = labels(&mut metadata, "annotations", problems);
    }
    fields.required("spec", problems)?;
    spec(&mut fields.fields("spec", problems)?, &mut template, problems);
    Some(template)
}

fn spec(fields: &mut Fields<'_>, template: &mut PodTemplate, problems: &mut Problems) {
    const RESTART: [(&str, RestartPolicy); 3] =
        [("Always", RestartPolicy::Always), ("OnFailure", RestartPolicy::OnFailure), ("Never", RestartPolicy::Never)];
    template.init_containers = containers(fields, "initContainers", problems);
    if fields.required("containers", problems).is_some() {
        template.containers = containers(fields, "containers", problems);
        if template.containers.is_empty() && !problems.has_errors() {
            problems.error("E011", fields.place(), format!("`{}` has no containers", fields.path));
        }
    }
    if let Some(mut inner) = fields.fields("resources", problems) {
        template.pod_limits = resources(&mut inner, "limits", problems);
        template.pod_requests = resources(&mut inner, "requests", problems);
        default_pod_requests(template);
    }
    template.overhead = resources(fields, "overhead", problems);
    let selected = labels(fields, "nodeSelector", problems);
    template.node_selector =
        selected.iter().map(|(key, value)| (common::known_label(key.to_string()), value)).collect();
    template.affinity = fields.fields("affinity", problems).map_or_else(Affinity::default, |f| affinity(f, problems));
    template.tolerations = common::tolerations(fields, problems);
    template.topology_spread = topology_spread(fields, problems);
    template.priority_class = fields.text("priorityClassName", problems).filter(|name| !name.is_empty());
    template.priority = fields.integer_in("priority", i32::MIN.into(), i32::MAX.into(), problems).unwrap_or(0) as i32;
    let preemption = [("PreemptLowerPriority", true), ("Never", false)];
    template.preempts = fields.choice("preemptionPolicy", &preemption, problems).unwrap_or(true);
    template.scheduling_gates = named_items(fields, "schedulingGates", "name", problems);
    template.readiness_gates = named_items(fields, "readinessGates", "conditionType", problems);
    let grace = fields.seconds("terminationGracePeriodSeconds", problems);
    template.termination_grace = grace.unwrap_or(Span::from_secs(30));
    template.restart_policy = fields.choice("restartPolicy", &RESTART, problems).unwrap_or_default();
    template.host_network = fields.boolean("hostNetwork", problems).unwrap_or(false);
    template.hostname = fields.text("hostname", problems).unwrap_or_default();
    template.subdomain = fields.text("subdomain", problems).unwrap_or_default();
    template.volume_claims = volume_claims(fields, problems);
    template.claims_devices = !fields.list("resourceClaims", problems).is_empty();
    template.node_name = fields.text("nodeName", problems).filter(|name| !name.is_empty());
    template.requests = template.count();
    // Of a grace period that cannot be read nothing follows.
    if grace.is_some() || fields.get("terminationGracePeriodSeconds").is_none() {
        say_long_hooks(fields, template, problems);
    }
}

/// A preStop hook that takes all of the grace period: the process is killed without having been asked to stop.
fn say_long_hooks(fields: &mut Fields<'_>, template: &PodTemplate, problems: &mut Problems) {
    let grace = template.termination_grace;
    for container in &template.containers {
        let Some(hook) = container.pre_stop.filter(|&hook| hook >= grace && !hook.is_zero()) else { continue };
        let said = fields.get("terminationGracePeriodSeconds").or_else(|| fields.get("containers"));
        let place = said.map_or(fields.place(), |node| node.place);
        let text = format!(
            "container {}: its preStop hook sleeps {} s, and it is killed {} s after its deletion",
            container.name,
            hook.decimal(),
            grace.decimal()
        );
        let help =
            "terminationGracePeriodSeconds (30 s by default) is for the hook and the end of the process together";
        problems.push(Diagnostic::warning("W166", place, text).help(help));
    }
}

fn named_items(fields: &mut Fields<'_>, key: &'static str, name: &'static str, problems: &mut Problems) -> Vec<String> {
    let path = fields.at(key);
    let items = fields.list(key, problems);
    items.iter().filter_map(|item| Fields::of(item, path.clone(), problems)?.text(name, problems)).collect()
}

fn volume_claims(fields: &mut Fields<'_>, problems: &mut Problems) -> Vec<String> {
    let path = fields.at("volumes");
    let items = fields.list("volumes", problems);
    items
        .iter()
        .filter_map(|item| {
            let mut volume = Fields::of(item, path.clone(), problems)?;
            volume.fields("persistentVolumeClaim", problems)?.text("claimName", problems)
        })
        .collect()
}

/// Where pod-level limits are given, a missing pod-level request becomes what the containers request, or else the limit
/// (`defaultPodRequests`).
fn default_pod_requests(template: &mut PodTemplate) {
    let limits = template.pod_limits.clone();
    if limits.is_empty() {
        return;
    }
    let cpu = template.containers_request(|requests| requests.cpu.map(|cpu| cpu.0)).map(Millicores);
    let memory = template.containers_request(|requests| requests.memory.map(|memory| memory.0)).map(Bytes);
    let huge_pages = |name: &&String| name.starts_with("hugepages-");
    let mut huge: Vec<(String, i64)> = Vec::new();
    let entries = template.containers.iter().chain(&template.init_containers);
    for name in
        entries.flat_map(|entry| entry.requests.extended.keys()).chain(limits.extended.keys()).filter(huge_pages)
    {
        let requested = template.containers_request(|requests| requests.extended.get(name).copied());
        huge.extend(requested.or(limits.extended.get(name).copied()).map(|amount| (name.clone(), amount)));
    }
    let requests = &mut template.pod_requests;
    requests.cpu = requests.cpu.or(cpu).or(limits.cpu);
    requests.memory = requests.memory.or(memory).or(limits.memory);
    for (name, amount) in huge {
        requests.extended.get_or_insert(name, amount);
    }
}

/// Limits are copied into missing requests (`SetDefaults_Pod`).
fn with_limits(mut requests: ResourceList, limits: &ResourceList) -> ResourceList {
    requests.cpu = requests.cpu.or(limits.cpu);
    requests.memory = requests.memory.or(limits.memory);
    requests.ephemeral_storage = requests.ephemeral_storage.or(limits.ephemeral_storage);
    for (name, amount) in limits.extended.iter() {
        requests.extended.get_or_insert(name.clone(), *amount);
    }
    requests
}

fn containers(fields: &mut Fields<'_>, key: &'static str, problems: &mut Problems) -> Vec<Container> {
    let path = fields.at(key);
    let items = fields.list(key, problems);
    let mut found = Vec::new();
    for (index, item) in items.iter().enumerate() {
        if let Some(container) = container(item, format!("{path}[{index}]"), problems) {
            found.push(container);
        }
    }
    found
}

fn container(node: &Node, path: String, problems: &mut Problems) -> Option<Container> {
    let mut fields = Fields::of(node, path, problems)?;
    let mut container = Container {
        name: fields.required_text("name", problems)?,
        image: fields.text("image", problems).unwrap_or_default(),
        restartable: fields.text("restartPolicy", problems).as_deref() == Some("Always"),
        ..Container::default()
    };
    if let Some(mut inner) = fields.fields("resources", problems) {
        container.limits = resources(&mut inner, "limits", problems);
        container.requests = with_limits(resources(&mut inner, "requests", problems), &container.limits);
        check_limits(&container, &inner, problems);
    }
    container.ports = ports(&mut fields, problems);
    container.startup = probe(&mut fields, ("startupProbe", NEVER_STARTED), &container.ports, problems);
    container.readiness = probe(&mut fields, ("readinessProbe", NEVER_READY), &container.ports, problems);
    container.liveness = probe(&mut fields, ("livenessProbe", NEVER_KILLED), &container.ports, problems);
    if let Some(mut lifecycle) = fields.fields("lifecycle", problems)
        && let Some(mut hook) = lifecycle.fields("preStop", problems)
    {
        container.pre_stop = Some(pre_stop(&mut hook, problems));
    }
    Some(container)
}

/// The API server refuses requests above limits.
fn check_limits(container: &Container, fields: &Fields<'_>, problems: &mut Problems) {
    let above = |request: Option<i64>, limit: Option<i64>| matches!((request, limit), (Some(r), Some(l)) if r > l);
    let cpu = above(container.requests.cpu.map(|c| c.0), container.limits.cpu.map(|c| c.0));
    let memory = above(container.requests.memory.map(|b| b.0), container.limits.memory.map(|b| b.0));
    for (wrong, name) in [(cpu, "cpu"), (memory, "memory")] {
        if wrong {
            let message = format!("{}: the request of {name} is above its limit", fields.path);
            let place = fields.place_at(&["requests", name]);
            problems.push(Diagnostic::error("E015", place, message).help("the API server refuses this"));
        }
    }
}

fn ports(fields: &mut Fields<'_>, problems: &mut Problems) -> Vec<ContainerPort> {
    let path = fields.at("ports");
    let items = fields.list("ports", problems);
    items
        .iter()
        .filter_map(|item| {
            let mut port = Fields::of(item, path.clone(), problems)?;
            port.required("containerPort", problems)?;
            Some(ContainerPort {
                name: port.text("name", problems).unwrap_or_default(),
                port: port.integer_in("containerPort", 1, 65_535, problems)? as u16,
                host_port: port.integer_in("hostPort", 0, 65_535, problems).unwrap_or(0) as u16,
                host_ip: port.text("hostIP", problems).unwrap_or_default(),
                protocol: port.choice("protocol", &common::PROTOCOLS, problems).unwrap_or_default(),
            })
        })
        .collect()
}

const NEVER_STARTED: &str = "its containers never count as started: no new pod becomes Ready";
const NEVER_READY: &str = "no new pod becomes Ready";
const NEVER_KILLED: &str = "the kubelet can never find it dead";

/// Whether a probe names a port that its container does not have; said so. The kubelet throws the result of each attempt away
/// (`pkg/kubelet/prober/worker.go`, `doProbe`; `pkg/probe/util.go`, `ResolveContainerPort`).
fn lacks_port(probe: &mut Fields<'_>, leads_to: &str, known: &[ContainerPort], problems: &mut Problems) -> bool {
    let Some((node, wanted)) = probe.get("port").and_then(|node| Some((node, node.text()?))) else { return false };
    let names = || known.iter().map(|port| port.name.as_str()).filter(|name| !name.is_empty());
    if wanted.parse::<i64>().is_ok() || names().any(|name| name == wanted) {
        return false;
    }
    let text = format!("{}: the container has no port named `{wanted}`", probe.path);
    let help = crate::scenario::diagnostic::suggestion(wanted, names());
    let help = help.unwrap_or_else(|| "give the containerPort that name, or write its number".to_string());
    problems.push(Diagnostic::warning("W141", node.place, text).label(leads_to).help(help));
    true
}

fn probe(
    fields: &mut Fields<'_>,
    (key, lost): (&'static str, &str),
    ports: &[ContainerPort],
    problems: &mut Problems,
) -> Option<Probe> {
    let mut inner = fields.fields(key, problems)?;
    let http = inner.fields("httpGet", problems);
    let handler = if let Some(mut http) = http {
        let path = http.text("path", problems).unwrap_or_else(|| "/".to_string());
        if lacks_port(&mut http, lost, ports, problems) { ProbeHandler::NoPort } else { ProbeHandler::Http(path) }
    } else if let Some(mut tcp) = inner.fields("tcpSocket", problems) {
        if lacks_port(&mut tcp, lost, ports, problems) { ProbeHandler::NoPort } else { ProbeHandler::Tcp }
    } else if inner.get("exec").is_some() {
        ProbeHandler::Exec
    } else if inner.get("grpc").is_some() {
        ProbeHandler::Grpc
    } else {
        let message = format!("{}: a probe needs one of httpGet, tcpSocket, exec, grpc", inner.path);
        problems.error("E011", inner.place(), message);
        return None;
    };
    // Zero means "not given" to the API server.
    let mut at_least_one = |key, default| {
        inner.integer_in(key, 0, 1_000_000, problems).filter(|&value| value > 0).unwrap_or(default).unsigned_abs()
    };
    let period = Span::from_secs(at_least_one("periodSeconds", 10));
    let timeout = Span::from_secs(at_least_one("timeoutSeconds", 1));
    let success_threshold = at_least_one("successThreshold", 1) as u32;
    let failure_threshold = at_least_one("failureThreshold", 3) as u32;
    Some(Probe {
        handler,
        initial_delay: inner.seconds("initialDelaySeconds", problems).unwrap_or(Span::ZERO),
        period,
        timeout,
        success_threshold,
        failure_threshold,
        termination_grace: inner.seconds("terminationGracePeriodSeconds", problems),
    })
}

/// The length of a preStop hook. Only sleeps are understood; another command is taken as instantaneous, and said so.
fn pre_stop(hook: &mut Fields<'_>, problems: &mut Problems) -> Span {
    if let Some(mut sleep) = hook.fields("sleep", problems) {
        return sleep.seconds("seconds", problems).unwrap_or(Span::ZERO);
    }
    let place = hook.place();
    if let Some(mut exec) = hook.fields("exec", problems) {
        let words = texts_loosely(&mut exec, problems).join(" ");
        if let Some(span) = slept(&words) {
            return span;
        }
    }
    let text = "of preStop hooks only sleeps are modelled: this one takes no time here";
    problems.push(Diagnostic::warning("W120", place, text));
    Span::ZERO
}

fn texts_loosely(exec: &mut Fields<'_>, problems: &mut Problems) -> Vec<String> {
    exec.list("command", problems).iter().filter_map(|item| item.text().map(str::to_string)).collect()
}

/// The sum of all `sleep N` in a command line; `None` without any.
fn slept(command: &str) -> Option<Span> {
    let words: Vec<&str> =
        command.split(|c: char| c.is_whitespace() || ";&|()\"'".contains(c)).filter(|word| !word.is_empty()).collect();
    let mut total = None;
    for pair in words.windows(2) {
        if pair[0] == "sleep" || pair[0].ends_with("/sleep") {
            let text = pair[1];
            let with_unit =
                if text.ends_with(|c: char| c.is_ascii_digit()) { format!("{text}s") } else { text.to_string() };
            if let Ok(span) = crate::scenario::units::duration(&with_unit) {
                total = Some(total.unwrap_or(Span::ZERO) + span);
            }
        }
    }
    total
}

fn affinity(mut fields: Fields<'_>, problems: &mut Problems) -> Affinity {
    const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";
    const PREFERRED: &str = "preferredDuringSchedulingIgnoredDuringExecution";
    let mut affinity = Affinity::default();
    if let Some(mut node) = fields.fields("nodeAffinity", problems) {
        if let Some(mut required) = node.fields(REQUIRED, problems) {
            let path = required.at("nodeSelectorTerms");
            let terms = required.list("nodeSelectorTerms", problems);
            affinity.node_required = Some(terms.iter().filter_map(|term| node_term(term, &path, problems)).collect());
        }
        affinity.node_preferred = weighted(&mut node, PREFERRED, "preference", node_term, problems);
    }
    if let Some(mut pod) = fields.fields("podAffinity", problems) {
        affinity.pod_required = pod_terms(&mut pod, REQUIRED, problems);
        affinity.pod_preferred = weighted(&mut pod, PREFERRED, "podAffinityTerm", pod_term, problems);
    }
    if let Some(mut anti) = fields.fields("podAntiAffinity", problems) {
        affinity.anti_required = pod_terms(&mut anti, REQUIRED, problems);
        affinity.anti_preferred = weighted(&mut anti, PREFERRED, "podAffinityTerm", pod_term, problems);
    }
    affinity
}

fn weighted<T>(
    fields: &mut Fields<'_>,
    key: &'static str,
    inner: &'static str,
    read: fn(&Node, &str, &mut Problems) -> Option<T>,
    problems: &mut Problems,
) -> Vec<(i32, T)> {
    let path = fields.at(key);
    let items = fields.list(key, problems);
    items
        .iter()
        .enumerate()
        .filter_map(|(index, item)| {
            let mut entry = Fields::of(item, format!("{path}[{index}]"), problems)?;
            entry.required("weight", problems)?;
            let weight = entry.integer_in("weight", 1, 100, problems)?;
            let node = entry.required(inner, problems)?;
            Some((weight as i32, read(node, &entry.at(inner), problems)?))
        })
        .collect()
}

fn node_term(node: &Node, path: &str, problems: &mut Problems) -> Option<NodeSelectorTerm> {
    let mut fields = Fields::of(node, path, problems)?;
    Some(NodeSelectorTerm {
        expressions: requirements(&mut fields, "matchExpressions", false, problems),
        fields: requirements(&mut fields, "matchFields", false, problems),
    })
}

fn pod_terms(fields: &mut Fields<'_>, key: &'static str, problems: &mut Problems) -> Vec<PodAffinityTerm> {
    let path = fields.at(key);
    fields.list(key, problems).iter().filter_map(|item| pod_term(item, &path, problems)).collect()
}

fn pod_term(node: &Node, path: &str, problems: &mut Problems) -> Option<PodAffinityTerm> {
    let mut fields = Fields::of(node, path, problems)?;
    Some(PodAffinityTerm {
        selector: selector(&mut fields, "labelSelector", problems),
        namespaces: texts(&mut fields, "namespaces", problems),
        namespace_selector: selector(&mut fields, "namespaceSelector", problems),
        topology_key: fields.required_text("topologyKey", problems)?,
    })
}

fn topology_spread(fields: &mut Fields<'_>, problems: &mut Problems) -> Vec<TopologySpread> {
    let path = fields.at("topologySpreadConstraints");
    let items = fields.list("topologySpreadConstraints", problems);
    let policy = [("Honor", true), ("Ignore", false)];
    items
        .iter()
        .enumerate()
        .filter_map(|(index, item)| {
            let mut spread = Fields::of(item, format!("{path}[{index}]"), problems)?;
            for key in ["maxSkew", "whenUnsatisfiable"] {
                spread.required(key, problems)?;
            }
            Some(TopologySpread {
                max_skew: spread.integer_in("maxSkew", 1, i32::MAX.into(), problems)? as i32,
                topology_key: spread.required_text("topologyKey", problems)?,
                hard: spread.choice(
                    "whenUnsatisfiable",
                    &[("DoNotSchedule", true), ("ScheduleAnyway", false)],
                    problems,
                )?,
                selector: selector(&mut spread, "labelSelector", problems),
                min_domains: spread.integer_in("minDomains", 1, i32::MAX.into(), problems).map(|count| count as i32),
                honor_affinity: spread.choice("nodeAffinityPolicy", &policy, problems).unwrap_or(true),
                honor_taints: spread.choice("nodeTaintsPolicy", &policy, problems).unwrap_or(false),
                match_label_keys: texts(&mut spread, "matchLabelKeys", problems),
            })
        })
        .collect()
}

const NOT_READY: &str = "node.kubernetes.io/not-ready";
const UNREACHABLE: &str = "node.kubernetes.io/unreachable";

/// Priority of the classes that every cluster has.
pub const SYSTEM_CLASSES: [(&str, i32); 2] =
    [("system-cluster-critical", 2_000_000_000), ("system-node-critical", 2_000_001_000)];

/// What admission adds to a pod: its priority, and how long it stays on a node that is not ready or unreachable.
pub fn admit(
    template: &mut PodTemplate,
    classes: &BTreeMap<String, i32>,
    default_class: Option<&str>,
    toleration: Span,
) {
    if template.priority_class.is_none() {
        template.priority_class = default_class.map(str::to_string);
    }
    if let Some(priority) = template.priority_class.as_ref().and_then(|name| classes.get(name)) {
        template.priority = *priority;
    }
    for key in [NOT_READY, UNREACHABLE] {
        let covered = template.tolerations.iter().any(|toleration| {
            (toleration.key == key || toleration.key.is_empty())
                && toleration.effect.is_none_or(|effect| effect == TaintEffect::NoExecute)
        });
        if !covered {
            let seconds = Some(toleration.whole_seconds() as i64);
            template.tolerations.push(exists(key, TaintEffect::NoExecute, seconds));
        }
    }
}

/// The tolerations that the DaemonSet controller gives its pods.
pub fn admit_daemon(template: &mut PodTemplate) {
    let mut added = vec![
        exists(NOT_READY, TaintEffect::NoExecute, None),
        exists(UNREACHABLE, TaintEffect::NoExecute, None),
        exists("node.kubernetes.io/disk-pressure", TaintEffect::NoSchedule, None),
        exists("node.kubernetes.io/memory-pressure", TaintEffect::NoSchedule, None),
        exists("node.kubernetes.io/pid-pressure", TaintEffect::NoSchedule, None),
        exists("node.kubernetes.io/unschedulable", TaintEffect::NoSchedule, None),
    ];
    if template.host_network {
        added.push(exists("node.kubernetes.io/network-unavailable", TaintEffect::NoSchedule, None));
    }
    for toleration in added {
        let same = |other: &Toleration| {
            other.key == toleration.key && other.effect == toleration.effect && other.operator == toleration.operator
        };
        if !template.tolerations.iter().any(same) {
            template.tolerations.push(toleration);
        }
    }
}

fn exists(key: &str, effect: TaintEffect, seconds: Option<i64>) -> Toleration {
    Toleration {
        key: key.to_string(),
        operator: TolerationOperator::Exists,
        value: String::new(),
        effect: Some(effect),
        seconds,
    }
}

/// Reads one text for tests of this module and its neighbours.
#[cfg(test)]
pub(super) fn document(text: &str) -> (Node, Problems) {
    let mut problems = Problems::new();
    let file = problems.add_source("test.yaml", text.into());
    let node = crate::scenario::yaml::parse_one(file, text, &mut problems).expect("the test's text is a document");
    (node, problems)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::quantity::{Bytes, Millicores};

    #[test]
    fn a_pod_in_json_reads_as_in_yaml_with_defaults() {
        let json = r#"{"metadata": {"name": "p", "labels": {"app": "w"}}, "spec": {"containers": [{"name": "c",
            "resources": {"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "500m"}},
            "readinessProbe": {"httpGet": {"path": "/healthz", "port": 80}, "periodSeconds": 0}}]}}"#;
        let (node, mut problems) = document(json);
        let pod = read_pod(&node, &mut problems).unwrap();
        assert_eq!(problems.render(false), "");
        let container = &pod.containers[0];
        assert_eq!(container.requests.cpu, Some(Millicores(500)));
        assert_eq!(container.requests.memory, Some(Bytes(1 << 30)), "the limit is copied into the request");
        let probe = container.readiness.as_ref().unwrap();
        assert_eq!((probe.period, probe.timeout), (Span::from_secs(10), Span::from_secs(1)));
        assert_eq!((probe.success_threshold, probe.failure_threshold), (1, 3));
        assert_eq!(pod.requests.pods, 1);
        assert_eq!(pod.termination_grace, Span::from_secs(30));
    }

    #[test]
    fn admission_adds_priority_and_tolerations_once() {
        let classes = BTreeMap::from([("high".to_string(), 1000)]);
        let mut pod = PodTemplate { priority_class: Some("high".to_string()), ..PodTemplate::default() };
        admit(&mut pod, &classes, None, Span::from_secs(300));
        assert_eq!(pod.priority, 1000);
        let seconds: Vec<_> = pod.tolerations.iter().map(|t| (t.key.as_str(), t.seconds)).collect();
        assert_eq!(seconds, [(NOT_READY, Some(300)), (UNREACHABLE, Some(300))]);
        let mut daemon = PodTemplate::default();
        admit_daemon(&mut daemon);
        admit(&mut daemon, &classes, None, Span::from_secs(300));
        assert_eq!(daemon.tolerations.len(), 6, "a DaemonSet's pods stay for ever");
        assert!(daemon.tolerations.iter().all(|toleration| toleration.seconds.is_none()));
    }

    #[test]
    fn sleeps_are_found_in_commands() {
        assert_eq!(slept("/bin/sh -c sleep 15"), Some(Span::from_secs(15)));
        assert_eq!(slept("/bin/sleep 5 && nginx -s quit; sleep 2"), Some(Span::from_secs(7)));
        assert_eq!(slept("nginx -s quit"), None);
    }

    #[test]
    fn a_number_for_a_label_is_refused_as_by_the_api_server() {
        let text = "metadata: {name: p, labels: {v: 1}}\nspec: {containers: [{name: c}]}\n";
        let (node, mut problems) = document(text);
        read_pod(&node, &mut problems);
        assert!(problems.render(false).contains("write it in quotes"), "{}", problems.render(false));
    }
}
