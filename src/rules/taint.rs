//! Taints and tolerations. Source: `k8s.io/api/core/v1/toleration.go` (`ToleratesTaint`).

use std::sync::Arc;

/// What a taint does to pods that do not tolerate it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TaintEffect {
    /// New pods are not placed.
    NoSchedule,
    /// New pods are placed elsewhere if possible.
    PreferNoSchedule,
    /// New pods are not placed and running ones are deleted.
    NoExecute,
}

impl TaintEffect {
    /// As the API writes it.
    pub const fn name(self) -> &'static str {
        match self {
            TaintEffect::NoSchedule => "NoSchedule",
            TaintEffect::PreferNoSchedule => "PreferNoSchedule",
            TaintEffect::NoExecute => "NoExecute",
        }
    }
}

/// A taint of a node. Nodes and what is known of them are copied often: copies share their texts.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Taint {
    /// Label-like name.
    pub key: Arc<str>,
    /// Value, often empty.
    pub value: Arc<str>,
    /// What it does.
    pub effect: TaintEffect,
}

impl Taint {
    /// A taint without value.
    pub fn new(key: &str, effect: TaintEffect) -> Taint {
        Taint { key: key.into(), value: Arc::default(), effect }
    }

    /// Same key and effect: the API server's identity of a taint.
    pub fn is_same(&self, other: &Taint) -> bool {
        self.key == other.key && self.effect == other.effect
    }
}

/// How a toleration compares its value with that of the taint.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TolerationOperator {
    /// The same value (the default).
    #[default]
    Equal,
    /// Any value.
    Exists,
    /// Integers, the taint's is smaller. Lt and Gt: gate TaintTolerationComparisonOperators, alpha since Kubernetes 1.35.
    Lt,
    /// Integers, the taint's is larger.
    Gt,
}

/// A toleration of a pod.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Toleration {
    /// Taint key; empty with Exists means every key.
    pub key: String,
    /// How values compare.
    pub operator: TolerationOperator,
    /// Value compared by all operators but Exists.
    pub value: String,
    /// Only this effect; `None`: every effect.
    pub effect: Option<TaintEffect>,
    /// For how many seconds a NoExecute taint is tolerated; `None`: for ever.
    pub seconds: Option<i64>,
}

impl Toleration {
    /// Whether this toleration covers `taint`.
    #[inline]
    pub fn tolerates(&self, taint: &Taint) -> bool {
        self.effect.is_none_or(|effect| effect == taint.effect)
            && (self.key.is_empty() || *self.key == *taint.key)
            && self.suits_value(taint)
    }

    #[inline]
    fn suits_value(&self, taint: &Taint) -> bool {
        match self.operator {
            TolerationOperator::Exists => true,
            TolerationOperator::Equal => *self.value == *taint.value,
            TolerationOperator::Lt | TolerationOperator::Gt => self.suits_integer(taint),
        }
    }

    /// The gate of these operators is mostly off.
    #[cold]
    fn suits_integer(&self, taint: &Taint) -> bool {
        let Some((own, of_taint)) = canonical_integer(&self.value).zip(canonical_integer(&taint.value)) else {
            return false;
        };
        if self.operator == TolerationOperator::Lt { of_taint < own } else { of_taint > own }
    }
}

/// An integer without sign of plus or leading zeros. Source: `k8s.io/apimachinery` `validation.IsDecimalInteger`.
fn canonical_integer(text: &str) -> Option<i64> {
    text.parse::<i64>().ok().filter(|value| value.to_string() == text)
}

/// Whether any of the tolerations covers `taint`.
#[inline]
pub fn tolerated(tolerations: &[Toleration], taint: &Taint) -> bool {
    tolerations.iter().any(|toleration| toleration.tolerates(taint))
}

/// The first NoSchedule or NoExecute taint that keeps a pod away, in the node's order.
pub fn first_untolerated<'a>(taints: &'a [Taint], tolerations: &[Toleration]) -> Option<&'a Taint> {
    taints.iter().find(|taint| taint.effect != TaintEffect::PreferNoSchedule && !tolerated(tolerations, taint))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn toleration(key: &str, exists: bool, value: &str, effect: Option<TaintEffect>) -> Toleration {
        let operator = if exists { TolerationOperator::Exists } else { TolerationOperator::Equal };
        Toleration { key: key.into(), operator, value: value.into(), effect, seconds: None }
    }

    #[test]
    fn comparisons_are_of_canonical_integers() {
        let taint = |value: &str| Taint { value: value.into(), ..Taint::new("sla", TaintEffect::NoSchedule) };
        let compares = |operator, value: &str| Toleration { operator, ..toleration("sla", false, value, None) };
        assert!(compares(TolerationOperator::Gt, "900").tolerates(&taint("950")));
        assert!(!compares(TolerationOperator::Gt, "950").tolerates(&taint("950")));
        assert!(compares(TolerationOperator::Lt, "999").tolerates(&taint("-1")));
        for odd in ["+9", "09", "x", "", "9223372036854775808"] {
            assert!(!compares(TolerationOperator::Lt, odd).tolerates(&taint("1")), "{odd:?} is no integer");
        }
    }

    #[test]
    fn equal_compares_the_value_and_exists_does_not() {
        let taint = Taint { value: "wordpress".into(), ..Taint::new("workload-type", TaintEffect::NoSchedule) };
        assert!(toleration("workload-type", false, "wordpress", None).tolerates(&taint));
        assert!(!toleration("workload-type", false, "batch", None).tolerates(&taint));
        assert!(toleration("workload-type", true, "", Some(TaintEffect::NoSchedule)).tolerates(&taint));
        assert!(!toleration("workload-type", true, "", Some(TaintEffect::NoExecute)).tolerates(&taint));
        assert!(toleration("", true, "", None).tolerates(&taint), "no key with Exists tolerates everything");
        // The API refuses it; who matches them (`Toleration.ToleratesTaint`) compares values only.
        assert!(toleration("", false, "wordpress", None).tolerates(&taint));
        assert!(!toleration("", false, "", None).tolerates(&taint));
    }

    #[test]
    fn a_preference_never_keeps_a_pod_away() {
        let taints = [Taint::new("a", TaintEffect::PreferNoSchedule), Taint::new("b", TaintEffect::NoExecute)];
        assert_eq!(first_untolerated(&taints, &[]).map(|taint| &*taint.key), Some("b"));
    }
}
