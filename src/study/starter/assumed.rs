//! What manifests name and do not hold: nodes for Karpenter to buy, and priorities.
//!
//! In: names of EC2NodeClasses and PriorityClasses that are missing, and whether a NodePool is. Out: a manifest with
//! what is assumed of them.
//! Left out: anything of their own account, such as subnets, which decides nothing here.

use std::collections::{BTreeMap, BTreeSet};

/// The file that holds it, beside the scenario.
pub const FILE: &str = "assumed.yaml";
/// The name of what no manifest names.
const NAME: &str = "default";

/// What is assumed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Assumed {
    /// EC2NodeClasses that NodePools name.
    pub classes: BTreeSet<String>,
    /// A NodePool, as there is none and pods ask for nodes that only Karpenter would have: the labels that its nodes get.
    pub pool: Option<BTreeMap<String, String>>,
    /// PriorityClasses that pods name.
    pub priorities: BTreeSet<String>,
}

impl Assumed {
    /// The manifest; `None`: nothing is assumed.
    pub fn text(&self) -> Option<String> {
        let mut classes = self.classes.clone();
        if self.pool.is_some() {
            classes.insert(NAME.to_string());
        }
        let mut parts: Vec<String> = classes.iter().map(|name| class(name)).collect();
        if let Some(labels) = &self.pool {
            parts.insert(0, pool(labels));
        }
        parts.extend(self.priorities.iter().map(|name| priority(name)));
        let head = "# Assumed: the manifests do not hold it. Put yours in its place:\n\
                    # `kubectl get nodepools,ec2nodeclasses,priorityclasses -o yaml`.\n";
        (!parts.is_empty()).then(|| format!("{head}{}", parts.join("---\n")))
    }
}

/// That of pods without any: nothing gives way to them.
fn priority(name: &str) -> String {
    format!("apiVersion: scheduling.k8s.io/v1\nkind: PriorityClass\nmetadata: {{ name: {name} }}\nvalue: 0\n")
}

fn class(name: &str) -> String {
    format!(
        "apiVersion: karpenter.k8s.aws/v1
kind: EC2NodeClass
metadata: {{ name: {name} }}
spec:
  amiSelectorTerms: [{{ alias: al2023@latest }}]
  role: assumed
  subnetSelectorTerms: [{{ tags: {{ karpenter.sh/discovery: assumed }} }}]
  securityGroupSelectorTerms: [{{ tags: {{ karpenter.sh/discovery: assumed }} }}]
"
    )
}

/// The NodePool of Karpenter's guide ("Getting Started"), with both architectures and both ways to pay.
fn pool(labels: &BTreeMap<String, String>) -> String {
    let lines: String = labels.iter().map(|(key, value)| format!("        {key}: '{value}'\n")).collect();
    let metadata = if labels.is_empty() { String::new() } else { format!("    metadata:\n      labels:\n{lines}") };
    format!(
        "apiVersion: karpenter.sh/v1
kind: NodePool
metadata: {{ name: {NAME} }}
spec:
  template:
{metadata}    spec:
      nodeClassRef: {{ group: karpenter.k8s.aws, kind: EC2NodeClass, name: {NAME} }}
      requirements:
        - {{ key: kubernetes.io/arch, operator: In, values: [amd64, arm64] }}
        - {{ key: kubernetes.io/os, operator: In, values: [linux] }}
        - {{ key: karpenter.sh/capacity-type, operator: In, values: [spot, on-demand] }}
        - {{ key: karpenter.k8s.aws/instance-category, operator: In, values: [c, m, r] }}
        - {{ key: karpenter.k8s.aws/instance-generation, operator: Gt, values: ['2'] }}
  disruption: {{ consolidationPolicy: WhenEmptyOrUnderutilized, consolidateAfter: 1m }}
"
    )
}
