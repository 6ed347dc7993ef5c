//! The labels of an object: few, sorted by name, and their texts shared by all copies.
//!
//! In: names with values. Out: a value by its name. An object has a dozen labels; going through them by length, and comparing
//! only where the length is right, finds one sooner than a tree does, and a copy copies no text.

use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;

/// Labels or annotations of an object.
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Labels {
    /// Sorted by name; each name once.
    entries: Vec<(Arc<str>, Arc<str>)>,
}

impl Labels {
    /// No labels.
    pub const fn new() -> Labels {
        Labels { entries: Vec::new() }
    }

    fn place(&self, name: &str) -> Option<usize> {
        self.entries.iter().position(|(other, _)| **other == *name)
    }

    /// The value of a label.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.text(name).map(|value| &**value)
    }

    /// The same, to be shared.
    pub fn text(&self, name: &str) -> Option<&Arc<str>> {
        self.place(name).map(|place| &self.entries[place].1)
    }

    /// There is a label of that name.
    pub fn contains_key(&self, name: &str) -> bool {
        self.place(name).is_some()
    }

    /// Adds a label, or gives it another value.
    pub fn insert(&mut self, name: impl Into<Arc<str>>, value: impl Into<Arc<str>>) {
        let (name, value) = (name.into(), value.into());
        match self.entries.binary_search_by(|(other, _)| other.cmp(&name)) {
            Ok(place) => self.entries[place].1 = value,
            Err(place) => self.entries.insert(place, (name, value)),
        }
    }

    /// A copy with one more label, or another value for it.
    pub fn with(&self, name: impl Into<Arc<str>>, value: impl Into<Arc<str>>) -> Labels {
        let mut labels = Labels { entries: Vec::with_capacity(self.entries.len() + 1) };
        labels.entries.extend_from_slice(&self.entries);
        labels.insert(name, value);
        labels
    }

    /// Adds a label unless there is one of that name.
    pub fn insert_missing(&mut self, name: &str, value: &str) {
        if !self.contains_key(name) {
            self.insert(name, value);
        }
    }

    /// Adds all labels of another object, whose values count where both have a label.
    pub fn merge(&mut self, other: Labels) {
        let mut own = std::mem::take(&mut self.entries).into_iter().peekable();
        self.entries.reserve(own.len() + other.entries.len());
        for entry in other.entries {
            while let Some(before) = own.next_if(|(name, _)| *name < entry.0) {
                self.entries.push(before);
            }
            own.next_if(|(name, _)| *name == entry.0);
            self.entries.push(entry);
        }
        self.entries.extend(own);
    }

    /// Names that only one of both has, or whose values differ, in order. Copies share their texts, and what is shared is not read.
    pub fn differing<'l>(&'l self, other: &'l Labels) -> impl Iterator<Item = &'l str> {
        let (mut own, mut others) = (self.texts().peekable(), other.texts().peekable());
        let is_same = |one: &Arc<str>, two: &Arc<str>| Arc::ptr_eq(one, two) || one == two;
        std::iter::from_fn(move || {
            loop {
                let order = match (own.peek(), others.peek()) {
                    (None, None) => return None,
                    (Some(_), None) => Ordering::Less,
                    (None, Some(_)) => Ordering::Greater,
                    (Some((one, _)), Some((two, _))) if Arc::ptr_eq(one, two) => Ordering::Equal,
                    (Some((one, _)), Some((two, _))) => one.cmp(two),
                };
                let differs = match order {
                    Ordering::Less => own.next(),
                    Ordering::Greater => others.next(),
                    Ordering::Equal => {
                        let (one, two) = (own.next()?, others.next()?);
                        Some(one).filter(|_| !is_same(one.1, two.1))
                    }
                };
                if let Some((name, _)) = differs {
                    return Some(&**name);
                }
            }
        })
    }

    /// Takes a label away.
    pub fn remove(&mut self, name: &str) {
        self.entries.retain(|(other, _)| **other != *name);
    }

    /// Keeps those of which that is true.
    pub fn retain(&mut self, keeps: impl Fn(&str, &str) -> bool) {
        self.entries.retain(|(name, value)| keeps(name, value));
    }

    /// Names and values, by name.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (&str, &str)> + ExactSizeIterator + Clone {
        self.entries.iter().map(|(name, value)| (&**name, &**value))
    }

    /// The same, to be shared.
    pub fn texts(&self) -> impl ExactSizeIterator<Item = (&Arc<str>, &Arc<str>)> {
        self.entries.iter().map(|(name, value)| (name, value))
    }

    /// Names, in order.
    pub fn keys(&self) -> impl Iterator<Item = &str> + Clone {
        self.iter().map(|(name, _)| name)
    }

    /// Values, by name.
    pub fn values(&self) -> impl Iterator<Item = &str> + Clone {
        self.iter().map(|(_, value)| value)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// There are none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

impl fmt::Debug for Labels {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_map().entries(self.iter()).finish()
    }
}

impl serde::Serialize for Labels {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.iter())
    }
}

impl<Name: Into<Arc<str>>, Value: Into<Arc<str>>> Extend<(Name, Value)> for Labels {
    fn extend<Entries: IntoIterator<Item = (Name, Value)>>(&mut self, entries: Entries) {
        entries.into_iter().for_each(|(name, value)| self.insert(name, value));
    }
}

impl<Name: Into<Arc<str>>, Value: Into<Arc<str>>> FromIterator<(Name, Value)> for Labels {
    fn from_iter<Entries: IntoIterator<Item = (Name, Value)>>(entries: Entries) -> Labels {
        let mut labels = Labels::new();
        labels.extend(entries);
        labels
    }
}

impl<Name: Into<Arc<str>>, Value: Into<Arc<str>>, const COUNT: usize> From<[(Name, Value); COUNT]> for Labels {
    fn from(entries: [(Name, Value); COUNT]) -> Labels {
        entries.into_iter().collect()
    }
}

impl IntoIterator for Labels {
    type Item = (Arc<str>, Arc<str>);
    type IntoIter = std::vec::IntoIter<(Arc<str>, Arc<str>)>;

    fn into_iter(self) -> Self::IntoIter {
        self.entries.into_iter()
    }
}

impl<'a> IntoIterator for &'a Labels {
    type Item = (&'a str, &'a str);
    type IntoIter =
        std::iter::Map<std::slice::Iter<'a, (Arc<str>, Arc<str>)>, fn(&(Arc<str>, Arc<str>)) -> (&str, &str)>;

    fn into_iter(self) -> Self::IntoIter {
        self.entries.iter().map(|(name, value)| (&**name, &**value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_has_one_value_and_names_are_in_order() {
        let mut labels = Labels::from([("zone", "b"), ("app", "web"), ("zone", "a")]);
        labels.insert_missing("app", "other");
        labels.insert_missing("tier", "front");
        assert_eq!(labels.iter().collect::<Vec<_>>(), [("app", "web"), ("tier", "front"), ("zone", "a")]);
        assert_eq!((labels.get("zone"), labels.get("zon"), labels.contains_key("tier")), (Some("a"), None, true));
        let mut merged = Labels::from([("a", "1"), ("tier", "back"), ("zz", "2")]);
        merged.merge(labels.clone());
        let all = [("a", "1"), ("app", "web"), ("tier", "front"), ("zone", "a"), ("zz", "2")];
        assert_eq!(merged, Labels::from(all));
        let differing: Vec<&str> = merged.differing(&labels).collect();
        assert_eq!(differing, ["a", "zz"]);
        labels.insert("tier", "middle");
        assert_eq!(labels.differing(&merged).collect::<Vec<_>>(), ["a", "tier", "zz"]);
        labels.insert("tier", "front");
        labels.remove("app");
        labels.retain(|_, value| value != "a");
        assert_eq!(labels, Labels::from([("tier", "front")]));
        assert_eq!(format!("{labels:?}"), r#"{"tier": "front"}"#);
    }
}
