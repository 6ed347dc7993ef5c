//! What a pod asks of a node, and what it gives up step by step when nothing fits.
//!
//! Source: core `pkg/scheduling/requirements.go` (`NewPodRequirements`), `provisioning/scheduling/preferences.go`,
//! `Provisioner.Validate`.

use super::volumes::{self, Attached};
use crate::plan::{CapacityType, PodTemplate, Protocol, Volumes};
use crate::rules::labels::is_label_value;
use crate::rules::requirement::{NodeOperator, NodeRequirement, NodeSelectorTerm};
use crate::rules::requirements::{CAPACITY_TYPE, HOSTNAME, NODE_POOL, Requirements, is_restricted, normalized};
use crate::rules::taint::{TaintEffect, Toleration, TolerationOperator};
use std::sync::Arc;

/// Capacity types that exist.
/// What a pod asks of a node.
pub struct Wishes {
    /// Its template, without what it gave up.
    pub template: Arc<PodTemplate>,
    /// What of it counts as a rule about other pods: with `--preference-policy Ignore`, no preference does.
    pub rules: Arc<PodTemplate>,
    /// Requirements, the heaviest preference included.
    pub requirements: Requirements,
    /// Requirements that relaxation never drops.
    pub strict: Requirements,
    /// Ports of the host.
    pub ports: Vec<HostPort>,
    /// What its volumes ask, any of it; empty: nothing.
    pub volumes: Vec<Requirements>,
    /// What it attaches; `None`: that cannot be found out.
    pub attached: Option<Attached>,
}

impl Wishes {
    /// Wishes of the pods of a template. `ignored`: preferences count for nothing.
    pub fn of(template: Arc<PodTemplate>, known: &Volumes, ignored: bool) -> Wishes {
        let strict = requirements(&template, false);
        let soft = !ignored && !template.affinity.node_preferred.is_empty();
        let all = if soft { requirements(&template, true) } else { strict.clone() };
        let mut rules = template.clone();
        if ignored {
            without_preferences(Arc::make_mut(&mut rules));
        }
        Wishes {
            requirements: all,
            strict,
            ports: host_ports(&template),
            volumes: volumes::alternatives(known, &template),
            attached: volumes::attached(known, &template),
            rules,
            template,
        }
    }
}

/// A port of the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostPort {
    ip: String,
    port: u16,
    protocol: Protocol,
}

impl HostPort {
    /// Same port and protocol on the same address, or on all of them.
    pub fn clashes(&self, other: &HostPort) -> bool {
        let any = |ip: &str| ip.is_empty() || ip == "0.0.0.0" || ip == "::";
        self.port == other.port
            && self.protocol == other.protocol
            && (self.ip == other.ip || any(&self.ip) || any(&other.ip))
    }
}

/// Pods of a template may ask for hosts by name, themselves or by where their volumes are.
pub fn may_name_hosts(template: &PodTemplate) -> bool {
    let affinity = &template.affinity;
    let terms = affinity.node_required.iter().flatten().chain(affinity.node_preferred.iter().map(|(_, term)| term));
    !template.volume_claims.is_empty()
        || template.node_selector.contains_key(HOSTNAME)
        || terms.flat_map(|term| &term.expressions).any(|expression| expression.key == HOSTNAME)
}

/// Host ports of a pod, as Karpenter sees them: not those of init containers (`GetHostPorts`).
pub fn host_ports(template: &PodTemplate) -> Vec<HostPort> {
    let ports = template.containers.iter().flat_map(|container| &container.ports);
    ports
        .filter(|port| port.host_port != 0)
        .map(|port| HostPort { ip: port.host_ip.clone(), port: port.host_port, protocol: port.protocol })
        .collect()
}

/// Some port of one set clashes with one of the other.
pub fn any_clash(one: &[HostPort], two: &[HostPort]) -> bool {
    one.iter().any(|port| two.iter().any(|other| port.clashes(other)))
}

/// Node selector and the first required term of node affinity; with `preferred` also the heaviest preference.
pub fn requirements(template: &PodTemplate, preferred: bool) -> Requirements {
    let mut requirements = Requirements::of_labels(&template.node_selector);
    let heaviest = heaviest(&template.affinity.node_preferred).filter(|_| preferred);
    if let Some(index) = heaviest {
        requirements.add_all(&Requirements::of(&template.affinity.node_preferred[index].1.expressions));
    }
    if let Some(term) = template.affinity.node_required.as_ref().and_then(|terms| terms.first()) {
        requirements.add_all(&Requirements::of(&term.expressions));
    }
    requirements
}

/// The first of the heaviest terms.
fn heaviest<T>(terms: &[(i32, T)]) -> Option<usize> {
    let most = terms.iter().map(|(weight, _)| *weight).max()?;
    terms.iter().position(|(weight, _)| *weight == most)
}

/// Drops every preference at once (`--preference-policy Ignore`).
fn without_preferences(template: &mut PodTemplate) {
    template.affinity.node_preferred.clear();
    template.affinity.pod_preferred.clear();
    template.affinity.anti_preferred.clear();
    template.topology_spread.retain(|spread| spread.hard);
}

/// One step of relaxation, the first that applies; what was given up, or `None` when nothing is left.
pub fn relax(template: &mut PodTemplate, tolerate_preferences: bool) -> Option<&'static str> {
    let affinity = &mut template.affinity;
    if let Some(terms) = affinity.node_required.as_mut().filter(|terms| terms.len() > 1) {
        terms.remove(0);
        return Some("a required node affinity term (another one is left)");
    }
    if let Some(index) = heaviest(&affinity.pod_preferred) {
        affinity.pod_preferred.remove(index);
        return Some("a preferred pod affinity term");
    }
    if let Some(index) = heaviest(&affinity.anti_preferred) {
        affinity.anti_preferred.remove(index);
        return Some("a preferred pod anti-affinity term");
    }
    if let Some(index) = heaviest(&affinity.node_preferred) {
        affinity.node_preferred.remove(index);
        return Some("a preferred node affinity term");
    }
    if let Some(index) = template.topology_spread.iter().position(|spread| !spread.hard) {
        template.topology_spread.swap_remove(index);
        return Some("a ScheduleAnyway topology spread constraint");
    }
    let toleration = Toleration {
        key: String::new(),
        operator: TolerationOperator::Exists,
        value: String::new(),
        effect: Some(TaintEffect::PreferNoSchedule),
        seconds: None,
    };
    if tolerate_preferences && !template.tolerations.contains(&toleration) {
        template.tolerations.push(toleration);
        return Some("respect for PreferNoSchedule taints");
    }
    None
}

/// Why Karpenter will not even try to place a pod.
pub fn refusal(template: &PodTemplate) -> Option<String> {
    let required = template.affinity.node_required.iter().flatten();
    let fields = required.clone().any(|term: &NodeSelectorTerm| !term.fields.is_empty());
    if fields {
        return Some("node affinity has matchFields".to_string());
    }
    let preferred = template.affinity.node_preferred.iter().map(|(_, term)| term);
    let mut expressions = required.clone().chain(preferred).flat_map(|term| &term.expressions);
    let names_pool = template.node_selector.contains_key(NODE_POOL) || expressions.any(|asked| asked.key == NODE_POOL);
    let of_pool = names_pool.then(|| requirements(template, true));
    let of_pool = of_pool.as_ref().and_then(|asked| asked.get(NODE_POOL));
    if of_pool.is_some_and(|pool| pool.operator() == NodeOperator::DoesNotExist) {
        return Some("it asks for a node without NodePool".to_string());
    }
    let one = |(key, value): (&str, &str)| flaw(key, NodeOperator::In, &[value.to_string()]);
    let many = |asked: &NodeRequirement| flaw(&asked.key, asked.operator, &asked.values);
    let expressions = required.flat_map(|term| &term.expressions);
    template.node_selector.iter().find_map(one).or_else(|| expressions.clone().find_map(many))
}

/// Why a requirement on a node cannot be used. Source: `pkg/apis/v1/nodeclaim_validation.go` (`ValidateRequirement`).
fn flaw(key: &str, operator: NodeOperator, values: &[String]) -> Option<String> {
    let key = normalized(key);
    if is_restricted(key) {
        return Some(format!("label {key} is restricted"));
    }
    let name = key.rsplit_once('/').map_or(key, |(_, name)| name);
    if name.is_empty() || !is_label_value(name) {
        return Some(format!("{key} is no label name"));
    }
    if let Some(value) = values.iter().find(|value| !is_label_value(value)) {
        return Some(format!("{value} is no value of label {key}"));
    }
    let sound = match operator {
        NodeOperator::In if key == CAPACITY_TYPE => {
            values.iter().any(|value| CapacityType::ALL.iter().any(|kind| kind.name() == value))
        }
        NodeOperator::In => !values.is_empty(),
        NodeOperator::Gt | NodeOperator::Lt | NodeOperator::Gte | NodeOperator::Lte => {
            matches!(values, [only] if only.parse::<i64>().is_ok_and(|bound| bound >= 0))
        }
        NodeOperator::NotIn | NodeOperator::Exists | NodeOperator::DoesNotExist => true,
    };
    (!sound).then(|| format!("no value of label {key} can be what it asks for"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{PodAffinityTerm, TopologySpread};

    fn term(key: &str) -> NodeSelectorTerm {
        NodeSelectorTerm { expressions: vec![NodeRequirement::new(key, NodeOperator::Exists, &[])], fields: vec![] }
    }

    fn spread(hard: bool, key: &str) -> TopologySpread {
        TopologySpread {
            max_skew: 1,
            topology_key: key.to_string(),
            hard,
            selector: None,
            min_domains: None,
            honor_affinity: true,
            honor_taints: false,
            match_label_keys: vec![],
        }
    }

    #[test]
    fn preferences_go_in_the_order_of_upstream() {
        let mut pod = PodTemplate::default();
        let affinity = PodAffinityTerm {
            selector: None,
            namespaces: vec![],
            namespace_selector: None,
            topology_key: "zone".to_string(),
        };
        pod.affinity.node_required = Some(vec![term("a"), term("b")]);
        pod.affinity.pod_preferred = vec![(1, affinity.clone())];
        pod.affinity.anti_preferred = vec![(1, affinity)];
        pod.affinity.node_preferred = vec![(1, term("light")), (9, term("heavy"))];
        pod.topology_spread = vec![spread(false, "x"), spread(true, "y"), spread(false, "z")];
        assert!(requirements(&pod, true).get("heavy").is_some() && requirements(&pod, true).get("light").is_none());
        assert!(requirements(&pod, false).get("heavy").is_none(), "strict requirements know no preference");
        let mut steps = Vec::new();
        while let Some(step) = relax(&mut pod, true) {
            steps.push(step.split_whitespace().take(4).collect::<Vec<_>>().join(" "));
        }
        assert_eq!(
            steps,
            [
                "a required node affinity",
                "a preferred pod affinity",
                "a preferred pod anti-affinity",
                "a preferred node affinity",
                "a preferred node affinity",
                "a ScheduleAnyway topology spread",
                "a ScheduleAnyway topology spread",
                "respect for PreferNoSchedule taints",
            ]
        );
        assert_eq!(pod.affinity.node_required, Some(vec![term("b")]), "the first term went, the last one stays");
        assert_eq!(pod.topology_spread.len(), 1);
    }

    #[test]
    fn host_ports_clash_on_any_address() {
        let port = |ip: &str, port, protocol| HostPort { ip: ip.to_string(), port, protocol };
        let http = port("10.0.0.1", 80, Protocol::Tcp);
        assert!(http.clashes(&port("", 80, Protocol::Tcp)) && http.clashes(&http));
        assert!(!http.clashes(&port("10.0.0.2", 80, Protocol::Tcp)));
        assert!(!http.clashes(&port("", 80, Protocol::Udp)) && !http.clashes(&port("", 81, Protocol::Tcp)));
    }

    #[test]
    fn pods_that_ask_for_a_host_name_are_left_alone() {
        let mut pod = PodTemplate::default();
        assert_eq!(refusal(&pod), None);
        pod.node_selector.insert("kubernetes.io/hostname".to_string(), "n1".to_string());
        assert!(refusal(&pod).is_some());
    }
}
