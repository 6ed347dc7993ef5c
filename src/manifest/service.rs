//! Service. Source: `pkg/apis/core/v1/defaults.go` (`SetDefaults_Service`).

use super::common::{PROTOCOLS, labels, metadata, texts};
use crate::plan::{Families, ServicePort, ServiceSpec, TargetPort};
use crate::rules::labels::LabelSelector;
use crate::scenario::diagnostic::Problems;
use crate::scenario::reader::{self, Fields};
use crate::scenario::yaml::Node;

/// A Service.
pub fn read_service(node: &Node, problems: &mut Problems) -> Option<ServiceSpec> {
    let mut object = Fields::of(node, "service", problems)?;
    let metadata = metadata(&mut object, problems)?;
    object.required("spec", problems)?;
    let deleting = object.fields("metadata", problems)?.get("deletionTimestamp").is_some();
    let mut fields = object.fields("spec", problems)?;
    let labels = labels(&mut fields, "selector", problems);
    let cluster_ip = fields.text("clusterIP", problems).unwrap_or_default();
    let kind = fields.text("type", problems).unwrap_or_default();
    let distribution = fields.text("trafficDistribution", problems).unwrap_or_default();
    Some(ServiceSpec {
        namespace: metadata.namespace,
        name: metadata.name,
        selector: (!labels.is_empty()).then(|| LabelSelector::from_labels(&labels)),
        ports: ports(&mut fields, problems),
        publish_not_ready: fields.boolean("publishNotReadyAddresses", problems).unwrap_or(false),
        prefer_close: matches!(distribution.as_str(), "PreferClose" | "PreferSameZone" | "PreferSameNode"),
        prefer_node: distribution == "PreferSameNode",
        labels: metadata.labels,
        headless: cluster_ip == "None",
        external_name: kind == "ExternalName",
        families: families(&mut fields, &cluster_ip, problems),
        node_ports: node_ports(&mut fields, &kind, problems),
        deleting,
    })
}

/// `nodePort` of each port of a Service that has such ports, in the order of the ports that are read.
fn node_ports(fields: &mut Fields<'_>, kind: &str, problems: &mut Problems) -> Vec<u16> {
    if !matches!(kind, "NodePort" | "LoadBalancer") {
        return Vec::new();
    }
    let path = fields.at("ports");
    let items = fields.list("ports", problems).iter().enumerate();
    let with_port = items.filter(|(_, item)| item.get("port").is_some());
    let number = |(index, item): (usize, &Node)| {
        let node = item.get("nodePort")?;
        reader::integer_in(node, &format!("{path}[{index}].nodePort"), 0, 65_535, problems)
    };
    with_port.map(number).map(|number| number.unwrap_or(0) as u16).collect()
}

/// As the API server defaults them in a cluster whose first family is IPv4.
fn families(fields: &mut Fields<'_>, cluster_ip: &str, problems: &mut Problems) -> Families {
    let written = texts(fields, "ipFamilies", problems);
    let has = |family: &str| written.iter().any(|text| text == family);
    let both = fields.text("ipFamilyPolicy", problems).is_some_and(|policy| policy.ends_with("DualStack"));
    match (has("IPv4"), has("IPv6")) {
        (false, false) => {
            let ipv6 = cluster_ip.contains(':');
            Families { ipv4: !ipv6 || both, ipv6: ipv6 || both }
        }
        (ipv4, ipv6) => Families { ipv4, ipv6 },
    }
}

fn ports(fields: &mut Fields<'_>, problems: &mut Problems) -> Vec<ServicePort> {
    let path = fields.at("ports");
    let items = fields.list("ports", problems);
    let mut ports = Vec::new();
    for (index, item) in items.iter().enumerate() {
        let Some(mut inner) = Fields::of(item, format!("{path}[{index}]"), problems) else { continue };
        inner.required("port", problems);
        let Some(port) = inner.integer_in("port", 1, 65_535, problems) else { continue };
        let target = match inner.get("targetPort") {
            None => Some(TargetPort::Number(port as u16)),
            Some(node) if node.text().is_some_and(|text| text.starts_with(|c: char| c.is_ascii_alphabetic())) => {
                reader::text(node, &inner.at("targetPort"), problems).map(TargetPort::Name)
            }
            Some(node) => reader::integer_in(node, &inner.at("targetPort"), 0, 65_535, problems)
                .map(|number| TargetPort::Number(if number == 0 { port } else { number } as u16)),
        };
        if let Some(target) = target {
            ports.push(ServicePort {
                name: inner.text("name", problems).unwrap_or_default(),
                port: port as u16,
                target,
                protocol: inner.choice("protocol", &PROTOCOLS, problems).unwrap_or_default(),
                app_protocol: inner.text("appProtocol", problems),
            });
        }
    }
    ports
}
