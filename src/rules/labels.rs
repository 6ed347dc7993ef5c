//! Labels and label selectors. Source: apimachinery `pkg/labels/selector.go`, `pkg/apis/meta/v1/helpers.go`.

use std::collections::BTreeMap;

/// Labels or annotations of an object.
pub type Labels = BTreeMap<String, String>;

/// Whether a text can be the value of a label: up to 63 letters, digits, `-`, `_` and `.`, a letter or digit at both
/// ends; or nothing.
pub fn is_label_value(text: &str) -> bool {
    let ends = |end: Option<u8>| end.is_none_or(|byte| byte.is_ascii_alphanumeric());
    text.len() <= 63
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'))
        && ends(text.bytes().next())
        && ends(text.bytes().last())
}

/// One requirement of a label selector.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LabelRequirement {
    /// Label name.
    pub key: String,
    /// How `values` are compared.
    pub operator: LabelOperator,
    /// Values of `In` and `NotIn`; empty otherwise.
    pub values: Vec<String>,
}

/// How a label selector compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LabelOperator {
    /// The label exists and has one of the values.
    In,
    /// The label is absent or has none of the values.
    NotIn,
    /// The label exists.
    Exists,
    /// The label is absent.
    DoesNotExist,
}

/// A label selector: all requirements must hold. Without requirements it matches everything; an absent selector
/// (`Option::None` where one is held) matches nothing.
#[derive(Clone, Debug, PartialEq, Eq, Default, PartialOrd, Ord)]
pub struct LabelSelector {
    /// `matchLabels` (as `In` with one value) and `matchExpressions`, in that order.
    pub requirements: Vec<LabelRequirement>,
}

impl LabelSelector {
    /// The selector of a `matchLabels` map, or of a Service's `spec.selector`.
    pub fn from_labels(labels: &Labels) -> LabelSelector {
        let requirements = labels
            .iter()
            .map(|(key, value)| LabelRequirement {
                key: key.clone(),
                operator: LabelOperator::In,
                values: vec![value.clone()],
            })
            .collect();
        LabelSelector { requirements }
    }

    /// Whether an object with these labels is selected.
    pub fn matches(&self, labels: &Labels) -> bool {
        self.requirements.iter().all(|requirement| requirement.matches(labels))
    }

    /// True for the selector that selects everything.
    pub fn is_empty(&self) -> bool {
        self.requirements.is_empty()
    }
}

impl LabelRequirement {
    /// Whether these labels meet the requirement.
    pub fn matches(&self, labels: &Labels) -> bool {
        let value = labels.get(&self.key);
        match self.operator {
            LabelOperator::In => value.is_some_and(|value| self.values.contains(value)),
            LabelOperator::NotIn => value.is_none_or(|value| !self.values.contains(value)),
            LabelOperator::Exists => value.is_some(),
            LabelOperator::DoesNotExist => value.is_none(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn absent_labels_satisfy_not_in_and_does_not_exist() {
        let labels = Labels::from([("app".to_string(), "web".to_string())]);
        let requirement = |key: &str, operator, values: &[&str]| LabelRequirement {
            key: key.to_string(),
            operator,
            values: values.iter().map(ToString::to_string).collect(),
        };
        assert!(requirement("app", LabelOperator::In, &["web", "api"]).matches(&labels));
        assert!(!requirement("app", LabelOperator::NotIn, &["web"]).matches(&labels));
        assert!(requirement("tier", LabelOperator::NotIn, &["web"]).matches(&labels));
        assert!(requirement("tier", LabelOperator::DoesNotExist, &[]).matches(&labels));
        assert!(!requirement("tier", LabelOperator::Exists, &[]).matches(&labels));
        assert!(LabelSelector::default().matches(&labels), "an empty selector selects everything");
        assert!(LabelSelector::from_labels(&labels).matches(&labels));
    }
}
