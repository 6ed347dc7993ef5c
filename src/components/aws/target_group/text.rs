//! Texts that are compared far more often than they are made: ids of targets, addresses, specs.

use crate::engine::StableHasher;
use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::ops::Deref;
use std::rc::Rc;

/// A shared text that knows its hash and its beginning: most comparisons look at no letter of it.
#[derive(Clone)]
pub struct Text(Rc<Inner>);

struct Inner {
    text: Box<str>,
    hash: u64,
    /// The first sixteen bytes of the text and a colon, as a number; 0 if the text has a colon itself.
    head: u128,
}

impl Text {
    /// [`hash_of_text`] of it.
    pub fn hash_value(&self) -> u64 {
        self.0.hash
    }

    /// Both are one text in one place of memory.
    pub fn is_shared_with(&self, other: &Text) -> bool {
        Rc::ptr_eq(&self.0, &other.0)
    }

    /// Its beginning as a number: of two ids whose beginnings differ and are not 0, the one with the lesser is first.
    pub fn beginning(&self) -> u128 {
        self.0.head
    }

    /// The order of two ids with their ports as the strings `id:port`.
    #[inline]
    pub fn order_with_ports(one: (&Text, u16), two: (&Text, u16)) -> Ordering {
        let (left, right) = (&*one.0.0, &*two.0.0);
        if std::ptr::eq(left, right) && one.1 == two.1 {
            return Ordering::Equal;
        }
        // Without colons in them, two ids differ before the first of them ends, colon included: the ports do not count.
        if left.head != right.head && left.head != 0 && right.head != 0 {
            return left.head.cmp(&right.head);
        }
        order_of_strings((one.0, one.1), (two.0, two.1))
    }
}

impl<T: Into<Box<str>>> From<T> for Text {
    fn from(text: T) -> Text {
        let text: Box<str> = text.into();
        let (mut head, length) = ([0; 16], text.len().min(16));
        if !text.contains(':') {
            head[..length].copy_from_slice(&text.as_bytes()[..length]);
            head[length..].iter_mut().take(1).for_each(|place| *place = b':');
        }
        let hash = hash_of_text(StableHasher::default(), &text).finish();
        Text(Rc::new(Inner { text, hash, head: u128::from_be_bytes(head) }))
    }
}

impl Deref for Text {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0.text
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&**self, formatter)
    }
}

impl fmt::Display for Text {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self)
    }
}

impl PartialEq for Text {
    fn eq(&self, other: &Text) -> bool {
        Rc::ptr_eq(&self.0, &other.0) || self.0.hash == other.0.hash && self.0.text == other.0.text
    }
}

impl Eq for Text {}

impl Hash for Text {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.0.hash);
    }
}

/// The order of the strings `id:port`, without making them.
#[cold]
fn order_of_strings(one: (&str, u16), two: (&str, u16)) -> Ordering {
    let common = one.0.len().min(two.0.len());
    match one.0.as_bytes()[..common].cmp(&two.0.as_bytes()[..common]) {
        Ordering::Equal if one.0.len() == two.0.len() && one.1 == two.1 => Ordering::Equal,
        // One id is the beginning of the other: the colon and the ports count.
        Ordering::Equal => {
            let rest = |(id, port): (&str, u16)| format!("{}:{port}", &id[common..]);
            rest(one).cmp(&rest(two))
        }
        differs => differs,
    }
}

/// Takes a text into a hash, eight bytes at a time.
pub fn hash_of_text(mut hasher: StableHasher, text: &str) -> StableHasher {
    let (words, rest) = text.as_bytes().as_chunks::<8>();
    words.iter().for_each(|word| hasher.write_u64(u64::from_le_bytes(*word)));
    let last = rest.iter().fold(0, |last, &byte| last << 8 | u64::from(byte));
    hasher.write_u64(last);
    hasher.write_u64(text.len() as u64);
    hasher
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_with_ports_are_ordered_as_their_strings() {
        let all = [
            ("10.0.0.1", 80),
            ("10.0.0.12", 8),
            ("10.0.0.1", 8080),
            ("10.0.0.2", 80),
            ("10.0.0.1", 9),
            ("i-1", 1),
            ("i-0123456789abcdef0", 1),
            ("i-0123456789abcdef1", 1),
            ("i-0123456789abcde", 1),
            ("fe80", 80),
            ("fe80:1", 80),
            ("fe80::1", 80),
            ("", 1),
        ];
        let string = |(id, port): (&str, u16)| format!("{id}:{port}");
        for one in all {
            for two in all {
                let (left, right) = (Text::from(one.0), Text::from(two.0));
                let order = Text::order_with_ports((&left, one.1), (&right, two.1));
                assert_eq!(order, string(one).cmp(&string(two)), "{one:?} {two:?}");
                assert_eq!(left == right, one.0 == two.0);
            }
        }
    }
}
