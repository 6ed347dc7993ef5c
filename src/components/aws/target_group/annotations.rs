//! Annotations of an object, reduced to a list: there are few, and each patch of a binding copies them.

use std::rc::Rc;

/// Names and values, in the order of the names, each once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Annotations(Vec<(Rc<str>, Rc<str>)>);

impl Annotations {
    /// The value of an annotation.
    pub fn get(&self, name: &str) -> Option<&Rc<str>> {
        self.find(name).map(|(_, value)| value)
    }

    /// Name and value of an annotation.
    pub fn find(&self, name: &str) -> Option<&(Rc<str>, Rc<str>)> {
        self.0.iter().find(|(other, _)| std::ptr::eq(&**other, name) || **other == *name)
    }

    /// Writes an annotation.
    pub fn insert(&mut self, name: Rc<str>, value: Rc<str>) {
        match self.0.binary_search_by(|(other, _)| other.cmp(&name)) {
            Ok(place) => self.0[place].1 = value,
            Err(place) => self.0.insert(place, (name, value)),
        }
    }
}

impl Extend<(Rc<str>, Rc<str>)> for Annotations {
    fn extend<I: IntoIterator<Item = (Rc<str>, Rc<str>)>>(&mut self, annotations: I) {
        annotations.into_iter().for_each(|(name, value)| self.insert(name, value));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_of_writes_makes_no_difference() {
        let of = |pairs: &[(&str, &str)]| {
            let mut annotations = Annotations::default();
            annotations.extend(pairs.iter().map(|&(name, value)| (name.into(), value.into())));
            annotations
        };
        let annotations = of(&[("b", "1"), ("a", "2"), ("b", "3")]);
        assert_eq!(annotations, of(&[("a", "2"), ("b", "3")]));
        assert_eq!(annotations.get("b").map(|value| &**value), Some("3"));
        assert_eq!(annotations.get("c"), None);
    }
}
