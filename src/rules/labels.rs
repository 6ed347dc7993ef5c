//! Labels and label selectors. Source: apimachinery `pkg/labels/selector.go`, `pkg/apis/meta/v1/helpers.go`.

pub use super::label_map::Labels;

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
                key: key.to_string(),
                operator: LabelOperator::In,
                values: vec![value.to_string()],
            })
            .collect();
        LabelSelector { requirements }
    }

    /// The selector that a text such as `app=web,tier in (a,b),!old` writes; `None`: it is none.
    pub fn parse(text: &str) -> Option<LabelSelector> {
        let mut requirements = Vec::new();
        let mut rest = text.trim();
        while !rest.is_empty() {
            let open = rest.find('(').unwrap_or(rest.len());
            let mut end = rest.find(',').unwrap_or(rest.len());
            if open < end {
                let close = open + rest[open..].find(')')?;
                end = close + rest[close..].find(',').unwrap_or(rest.len() - close);
            }
            requirements.push(LabelRequirement::parse(rest[..end].trim())?);
            rest = match rest.get(end + 1..) {
                Some(rest) if rest.trim().is_empty() => return None,
                Some(rest) => rest.trim(),
                None => "",
            };
        }
        Some(LabelSelector { requirements })
    }

    /// Whether an object with these labels is selected.
    #[inline]
    pub fn matches(&self, labels: &Labels) -> bool {
        self.requirements.iter().all(|requirement| requirement.matches(labels))
    }

    /// True for the selector that selects everything.
    pub fn is_empty(&self) -> bool {
        self.requirements.is_empty()
    }
}

impl LabelRequirement {
    fn parse(text: &str) -> Option<LabelRequirement> {
        let requirement = |key: &str, operator, values: Vec<String>| {
            let letter = |c: char| c.is_ascii_alphanumeric() || "-_./".contains(c);
            let key = key.trim();
            let valid = !key.is_empty() && key.chars().all(letter);
            let valid = valid && values.iter().all(|value| value.chars().all(letter));
            valid.then(|| LabelRequirement { key: key.to_string(), operator, values })
        };
        let one = |value: &str| vec![value.trim().to_string()];
        if let Some(list) = text.strip_suffix(')') {
            let (head, list) = list.split_once('(')?;
            let values = list.split(',').map(|value| value.trim().to_string()).collect();
            let (key, operator) = head.trim().split_once(char::is_whitespace)?;
            let operator = match operator.trim() {
                "in" => LabelOperator::In,
                "notin" => LabelOperator::NotIn,
                _ => return None,
            };
            return requirement(key, operator, values);
        }
        if let Some((key, value)) = text.split_once("!=") {
            return requirement(key, LabelOperator::NotIn, one(value));
        }
        if let Some((key, value)) = text.split_once("==").or_else(|| text.split_once('=')) {
            return requirement(key, LabelOperator::In, one(value));
        }
        if let Some(key) = text.strip_prefix('!') {
            return requirement(key, LabelOperator::DoesNotExist, Vec::new());
        }
        requirement(text, LabelOperator::Exists, Vec::new())
    }

    /// Whether these labels meet the requirement.
    pub fn matches(&self, labels: &Labels) -> bool {
        let value = labels.get(&self.key);
        match self.operator {
            LabelOperator::In => value.is_some_and(|value| self.values.iter().any(|one| one == value)),
            LabelOperator::NotIn => value.is_none_or(|value| !self.values.iter().any(|one| one == value)),
            LabelOperator::Exists => value.is_some(),
            LabelOperator::DoesNotExist => value.is_none(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selectors_are_read_from_text() {
        let labels = Labels::from([("app".to_string(), "web".to_string())]);
        let selects = |text| LabelSelector::parse(text).map(|selector| selector.matches(&labels));
        for text in ["app=web", "app in (db, web),!old", "app != db", "app", "app notin (db),app==web"] {
            assert_eq!(selects(text), Some(true), "{text}");
        }
        for text in ["app=db", "app=web,tier=db", "!app", "app in (a,b)"] {
            assert_eq!(selects(text), Some(false), "{text}");
        }
        for text in ["app in (", "app=web,", "=web", "app near (web)"] {
            assert_eq!(selects(text), None, "{text}");
        }
    }

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
