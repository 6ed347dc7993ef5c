//! A small sorted set of label values. A copy shares the memory: requirements are copied far more often than changed.

use std::sync::Arc;

/// Values in order of their bytes, each once.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Values(Arc<[Arc<str>]>);

impl Values {
    /// No value.
    pub fn none() -> Values {
        Values::default()
    }

    /// One value.
    pub fn one(value: Arc<str>) -> Values {
        Values(Arc::new([value]))
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// None.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether a value is among them.
    #[inline]
    pub fn contains(&self, value: &str) -> bool {
        match &*self.0 {
            [only] => **only == *value,
            all => all.binary_search_by(|other| (**other).cmp(value)).is_ok(),
        }
    }

    /// The smallest.
    pub fn first(&self) -> Option<&Arc<str>> {
        self.0.first()
    }

    /// All, in order.
    pub fn iter(&self) -> std::slice::Iter<'_, Arc<str>> {
        self.0.iter()
    }

    /// Those that `keep` accepts; the same memory when it accepts all.
    pub fn filtered(&self, keep: impl Fn(&str) -> bool) -> Values {
        if self.0.iter().all(|value| keep(value)) {
            return self.clone();
        }
        Values(self.0.iter().filter(|value| keep(value)).cloned().collect())
    }

    /// Those of both.
    pub fn union(&self, other: &Values) -> Values {
        if other.0.iter().all(|value| self.contains(value)) {
            return self.clone();
        }
        self.0.iter().chain(other.0.iter()).cloned().collect()
    }
}

impl FromIterator<Arc<str>> for Values {
    fn from_iter<I: IntoIterator<Item = Arc<str>>>(values: I) -> Values {
        let mut all: Vec<Arc<str>> = values.into_iter().collect();
        all.sort_unstable();
        all.dedup();
        Values(all.into())
    }
}

impl<'a> IntoIterator for &'a Values {
    type Item = &'a Arc<str>;
    type IntoIter = std::slice::Iter<'a, Arc<str>>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(all: &[&str]) -> Values {
        all.iter().map(|&value| Arc::from(value)).collect()
    }

    #[test]
    fn values_are_a_set() {
        let set = values(&["b", "a", "b"]);
        assert_eq!(set, values(&["a", "b"]));
        assert!(set.contains("a") && !set.contains("c") && set.len() == 2);
        assert_eq!(set.filtered(|value| value != "a"), values(&["b"]));
        assert_eq!(set.union(&values(&["c", "a"])), values(&["a", "b", "c"]));
    }
}
