//! A set of ids: one bit each, walked in order of creation.
//!
//! Ids are never reused and most walks want them in order, so a bit array beats a tree: a walk over five thousand pods
//! touches six hundred bytes, and a set that is asked for every node of a cluster in turn stays within the nearest cache.

use super::{NodeId, PodId};
use std::marker::PhantomData;

const BITS: usize = u64::BITS as usize;

/// The position of something in its arena.
pub trait Position: Copy {
    /// The id of a position.
    fn at(index: usize) -> Self;
    /// The position of an id.
    fn index(self) -> usize;
}

impl Position for NodeId {
    fn at(index: usize) -> NodeId {
        NodeId::at(index)
    }

    #[inline]
    fn index(self) -> usize {
        NodeId::index(self)
    }
}

impl Position for PodId {
    fn at(index: usize) -> PodId {
        PodId::at(index)
    }

    #[inline]
    fn index(self) -> usize {
        PodId::index(self)
    }
}

/// A set of pods.
pub type PodSet = IdSet<PodId>;

/// A set of nodes.
pub type NodeSet = IdSet<NodeId>;

/// A set of ids.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdSet<Id> {
    words: Vec<u64>,
    members: usize,
    of: PhantomData<Id>,
}

impl<Id> Default for IdSet<Id> {
    fn default() -> IdSet<Id> {
        IdSet::new()
    }
}

impl<Id> IdSet<Id> {
    /// Without members.
    pub const fn new() -> IdSet<Id> {
        IdSet { words: Vec::new(), members: 0, of: PhantomData }
    }
}

impl<Id: Position> IdSet<Id> {
    /// Puts one in; false if it was there.
    #[inline]
    pub fn insert(&mut self, id: Id) -> bool {
        let (word, bit) = place(id);
        if word >= self.words.len() {
            self.grow(word);
        }
        let added = self.words[word] & bit == 0;
        self.words[word] |= bit;
        self.members += usize::from(added);
        added
    }

    #[cold]
    fn grow(&mut self, word: usize) {
        self.words.resize(word + 1, 0);
    }

    /// Takes one out; false if it was not there.
    pub fn remove(&mut self, id: Id) -> bool {
        let (word, bit) = place(id);
        let Some(word) = self.words.get_mut(word) else { return false };
        let removed = *word & bit != 0;
        *word &= !bit;
        self.members -= usize::from(removed);
        removed
    }

    /// Whether one is in it.
    #[inline]
    pub fn contains(&self, id: Id) -> bool {
        let (word, bit) = place(id);
        self.words.get(word).is_some_and(|word| word & bit != 0)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.members
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.members == 0
    }

    /// Whether all members are in another set.
    pub fn is_within(&self, other: &IdSet<Id>) -> bool {
        let of_other = other.words.iter().copied().chain(std::iter::repeat(0));
        self.words.iter().zip(of_other).all(|(word, other)| word & !other == 0)
    }

    /// Takes in all members of another set.
    pub fn unite(&mut self, other: &IdSet<Id>) {
        if self.words.len() < other.words.len() {
            self.words.resize(other.words.len(), 0);
        }
        self.words.iter_mut().zip(&other.words).for_each(|(word, other)| *word |= other);
        self.members = self.words.iter().map(|word| word.count_ones() as usize).sum();
    }

    /// The members, in order of creation.
    pub fn iter(&self) -> IdSetIter<'_, Id> {
        IdSetIter { words: &self.words, word: 0, bits: self.words.first().copied().unwrap_or(0), of: PhantomData }
    }
}

#[inline]
fn place(id: impl Position) -> (usize, u64) {
    (id.index() / BITS, 1 << (id.index() % BITS))
}

/// A walk over an [`IdSet`].
#[derive(Clone, Debug)]
pub struct IdSetIter<'a, Id> {
    words: &'a [u64],
    /// The word that is being walked.
    word: usize,
    /// What is left of it.
    bits: u64,
    of: PhantomData<Id>,
}

impl<Id: Position> Iterator for IdSetIter<'_, Id> {
    type Item = Id;

    #[inline]
    fn next(&mut self) -> Option<Id> {
        while self.bits == 0 {
            self.word += 1;
            self.bits = *self.words.get(self.word)?;
        }
        let id = Id::at(self.word * BITS + self.bits.trailing_zeros() as usize);
        self.bits &= self.bits - 1;
        Some(id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn it_is_a_set_in_order() {
        let (mut set, mut oracle) = (PodSet::default(), BTreeSet::new());
        let mut number = 1u32;
        for _ in 0..2_000 {
            number = number.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let pod = PodId((number >> 8) % 300);
            if number.is_multiple_of(3) {
                assert_eq!(set.remove(pod), oracle.remove(&pod));
            } else {
                assert_eq!(set.insert(pod), oracle.insert(pod));
            }
            assert_eq!(set.contains(pod), oracle.contains(&pod));
            assert_eq!((set.len(), set.is_empty()), (oracle.len(), oracle.is_empty()));
        }
        assert!(set.iter().eq(oracle.iter().copied()));
        assert!(!set.remove(PodId(100_000)) && !set.contains(PodId(100_000)), "never seen");
    }

    #[test]
    fn the_union_holds_what_either_holds() {
        let nodes = |ids: &[u32]| {
            let mut set = NodeSet::new();
            assert!(ids.iter().all(|&id| set.insert(NodeId(id))));
            set
        };
        let (mut one, other) = (nodes(&[1, 63, 70]), nodes(&[0, 63, 64, 500]));
        assert!(!one.is_within(&other) && !other.is_within(&one) && NodeSet::new().is_within(&one));
        assert!(
            nodes(&[63]).is_within(&other) && nodes(&[0, 500]).is_within(&other) && !nodes(&[501]).is_within(&other)
        );
        one.unite(&other);
        assert!(one.iter().eq([0, 1, 63, 64, 70, 500].map(NodeId)));
        assert_eq!(one.len(), 6);
    }
}
