//! A set of pods: one bit a pod, walked in order of creation.
//!
//! Ids are never reused and most walks want the pods in order, so a bit array beats a tree: a walk over five thousand pods
//! touches six hundred bytes.

use super::ids::PodId;

const BITS: usize = u64::BITS as usize;

/// A set of pods.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PodSet {
    words: Vec<u64>,
    members: usize,
}

impl PodSet {
    /// Puts a pod in; false if it was there.
    pub fn insert(&mut self, pod: PodId) -> bool {
        let (word, bit) = (pod.index() / BITS, 1 << (pod.index() % BITS));
        if word >= self.words.len() {
            self.words.resize(word + 1, 0);
        }
        let added = self.words[word] & bit == 0;
        self.words[word] |= bit;
        self.members += usize::from(added);
        added
    }

    /// Takes a pod out; false if it was not there.
    pub fn remove(&mut self, pod: PodId) -> bool {
        let bit = 1 << (pod.index() % BITS);
        let Some(word) = self.words.get_mut(pod.index() / BITS) else { return false };
        let removed = *word & bit != 0;
        *word &= !bit;
        self.members -= usize::from(removed);
        removed
    }

    /// Whether a pod is in it.
    pub fn contains(&self, pod: PodId) -> bool {
        self.words.get(pod.index() / BITS).is_some_and(|word| word & (1 << (pod.index() % BITS)) != 0)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.members
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.members == 0
    }

    /// The pods, in order of creation.
    pub fn iter(&self) -> PodSetIter<'_> {
        PodSetIter { words: &self.words, word: 0, bits: self.words.first().copied().unwrap_or(0) }
    }
}

/// A walk over a [`PodSet`].
#[derive(Clone, Debug)]
pub struct PodSetIter<'a> {
    words: &'a [u64],
    /// The word that is being walked.
    word: usize,
    /// What is left of it.
    bits: u64,
}

impl Iterator for PodSetIter<'_> {
    type Item = PodId;

    #[inline]
    fn next(&mut self) -> Option<PodId> {
        while self.bits == 0 {
            self.word += 1;
            self.bits = *self.words.get(self.word)?;
        }
        let pod = PodId::at(self.word * BITS + self.bits.trailing_zeros() as usize);
        self.bits &= self.bits - 1;
        Some(pod)
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
            assert_eq!(set.len(), oracle.len());
        }
        assert!(set.iter().eq(oracle.iter().copied()));
        assert!(!set.remove(PodId(100_000)), "never seen");
    }
}
