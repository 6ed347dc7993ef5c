//! Requirements on node labels, as pods and NodePools write them.
//!
//! Source: `k8s.io/component-helpers/scheduling/corev1/nodeaffinity`; Karpenter `pkg/apis/v1/nodepool.go`.

use super::labels::{Labels, is_label_value};

/// How a node requirement compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum NodeOperator {
    /// The label has one of the values.
    In,
    /// The label is absent or has none of the values.
    NotIn,
    /// The label exists.
    Exists,
    /// The label is absent.
    DoesNotExist,
    /// The label is an integer greater than the value.
    Gt,
    /// The label is an integer less than the value.
    Lt,
    /// At least (Karpenter only).
    Gte,
    /// At most (Karpenter only).
    Lte,
}

impl NodeOperator {
    /// As the API writes it.
    pub const fn name(self) -> &'static str {
        match self {
            NodeOperator::In => "In",
            NodeOperator::NotIn => "NotIn",
            NodeOperator::Exists => "Exists",
            NodeOperator::DoesNotExist => "DoesNotExist",
            NodeOperator::Gt => "Gt",
            NodeOperator::Lt => "Lt",
            NodeOperator::Gte => "Gte",
            NodeOperator::Lte => "Lte",
        }
    }
}

/// One requirement on a node label.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeRequirement {
    /// Label name.
    pub key: String,
    /// How `values` are compared.
    pub operator: NodeOperator,
    /// Values; one integer for the comparisons.
    pub values: Vec<String>,
    /// Karpenter: at least so many distinct values must remain.
    pub min_values: Option<u32>,
}

impl NodeRequirement {
    /// A requirement without `minValues`.
    pub fn new(key: &str, operator: NodeOperator, values: &[&str]) -> NodeRequirement {
        let values = values.iter().map(ToString::to_string).collect();
        NodeRequirement { key: key.to_string(), operator, values, min_values: None }
    }

    /// Whether a node with these labels meets it.
    pub fn matches(&self, labels: &Labels) -> bool {
        let value = labels.get(&self.key);
        let integer = |compare: fn(i64, i64) -> bool| {
            let label = value.and_then(|value| value.parse::<i64>().ok());
            let bound = self.values.first().and_then(|bound| bound.parse::<i64>().ok());
            matches!((label, bound), (Some(label), Some(bound)) if compare(label, bound))
        };
        match self.operator {
            NodeOperator::In => value.is_some_and(|value| self.values.iter().any(|one| one == value)),
            NodeOperator::NotIn => value.is_none_or(|value| !self.values.iter().any(|one| one == value)),
            NodeOperator::Exists => value.is_some(),
            NodeOperator::DoesNotExist => value.is_none(),
            NodeOperator::Gt => integer(|label, bound| label > bound),
            NodeOperator::Lt => integer(|label, bound| label < bound),
            NodeOperator::Gte => integer(|label, bound| label >= bound),
            NodeOperator::Lte => integer(|label, bound| label <= bound),
        }
    }
}

/// A node selector term: all expressions and fields must hold. A term with neither matches nothing.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct NodeSelectorTerm {
    /// `matchExpressions`.
    pub expressions: Vec<NodeRequirement>,
    /// `matchFields`; the only field is `metadata.name`.
    pub fields: Vec<NodeRequirement>,
}

impl NodeSelectorTerm {
    /// Whether the node `name` with these labels matches. A value that can be no label is an error upstream, and
    /// matches nothing, `NotIn` included.
    pub fn matches(&self, name: &str, labels: &Labels) -> bool {
        if self.expressions.is_empty() && self.fields.is_empty() {
            return false;
        }
        let mut values = self.expressions.iter().flat_map(|expression| &expression.values);
        if values.any(|value| !is_label_value(value)) {
            return false;
        }
        self.expressions.iter().all(|expression| expression.matches(labels))
            && self.fields.iter().all(|field| {
                // A field requirement with several values is an error upstream, and matches nothing.
                let [value] = field.values.as_slice() else { return false };
                field.key == "metadata.name" && (value == name) == (field.operator == NodeOperator::In)
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comparisons_need_integers_and_an_empty_term_matches_nothing() {
        let labels = Labels::from([("cpu".to_string(), "4".to_string()), ("zone".to_string(), "a".to_string())]);
        let matches = |operator, value: &str| NodeRequirement::new("cpu", operator, &[value]).matches(&labels);
        assert!(matches(NodeOperator::Gt, "3") && !matches(NodeOperator::Gt, "4"));
        assert!(matches(NodeOperator::Gte, "4") && matches(NodeOperator::Lte, "4") && matches(NodeOperator::Lt, "5"));
        assert!(!NodeRequirement::new("zone", NodeOperator::Gt, &["1"]).matches(&labels));
        assert!(!NodeSelectorTerm::default().matches("n1", &labels));
        let field = NodeRequirement::new("metadata.name", NodeOperator::In, &["n1"]);
        let term = NodeSelectorTerm { expressions: vec![], fields: vec![field] };
        assert!(term.matches("n1", &labels) && !term.matches("n2", &labels));
    }
}
