//! Annotations of a binding: the two that the controller reads and writes, and a list of the others. Each patch of a binding
//! copies them.

use std::rc::Rc;

/// Annotation with the checkpoint of the last full reconcile. Source: `pkg/annotations/constants.go`.
const CHECKPOINT: &str = "elbv2.k8s.aws/checkpoint";

/// Annotation with the second in which that was written.
const CHECKPOINT_TIMESTAMP: &str = "elbv2.k8s.aws/checkpoint-timestamp";

/// Names and values, each once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Annotations {
    /// The checkpoint of the last full reconcile.
    pub checkpoint: Option<Rc<str>>,
    /// When that was written.
    pub written: Option<Second>,
    /// The others, in the order of their names.
    others: Vec<(Rc<str>, Rc<str>)>,
}

/// A value that says a second.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Second {
    /// Since 1970, as the controller writes it.
    Number(u64),
    /// Anything else.
    Other(Rc<str>),
}

impl From<Rc<str>> for Second {
    fn from(text: Rc<str>) -> Second {
        let number = text.parse().ok().filter(|number: &u64| *number.to_string() == *text);
        number.map_or_else(|| Second::Other(text), Second::Number)
    }
}

impl Annotations {
    /// Writes an annotation.
    pub fn insert(&mut self, name: Rc<str>, value: Rc<str>) {
        match &*name {
            CHECKPOINT => self.checkpoint = Some(value),
            CHECKPOINT_TIMESTAMP => self.written = Some(value.into()),
            _ => match self.others.binary_search_by(|(other, _)| other.cmp(&name)) {
                Ok(place) => self.others[place].1 = value,
                Err(place) => self.others.insert(place, (name, value)),
            },
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

    fn of(pairs: &[(&str, &str)]) -> Annotations {
        let mut annotations = Annotations::default();
        annotations.extend(pairs.iter().map(|&(name, value)| (name.into(), value.into())));
        annotations
    }

    #[test]
    fn the_order_of_writes_makes_no_difference() {
        assert_eq!(of(&[("b", "1"), ("a", "2"), ("b", "3")]), of(&[("a", "2"), ("b", "3")]));
        assert_ne!(of(&[("b", "1")]), of(&[("b", "2")]));
    }

    #[test]
    fn a_second_that_is_written_in_another_way_is_another_value() {
        let written = |value| of(&[(CHECKPOINT, "c"), (CHECKPOINT_TIMESTAMP, value)]).written;
        assert_eq!(written("17"), Some(Second::Number(17)));
        assert_eq!(written("017"), Some(Second::Other("017".into())));
        assert_eq!(of(&[(CHECKPOINT, "c")]).checkpoint.as_deref(), Some("c"));
    }
}
