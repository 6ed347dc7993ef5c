//! A set of nodes, one bit each: asked for every node of a cluster in turn, it stays within the nearest cache.

use super::NodeId;

/// Nodes by id.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeSet {
    words: Vec<u64>,
    count: u32,
}

impl NodeSet {
    /// No node.
    pub const fn new() -> NodeSet {
        NodeSet { words: Vec::new(), count: 0 }
    }

    /// Adds a node; true if it was not there.
    pub fn insert(&mut self, node: NodeId) -> bool {
        let (word, bit) = place(node);
        if self.words.len() <= word {
            self.words.resize(word + 1, 0);
        }
        let added = self.words[word] & bit == 0;
        self.words[word] |= bit;
        self.count += u32::from(added);
        added
    }

    /// Takes a node out; true if it was there.
    pub fn remove(&mut self, node: NodeId) -> bool {
        let (word, bit) = place(node);
        let held = self.contains(node);
        if held {
            self.words[word] &= !bit;
            self.count -= 1;
        }
        held
    }

    /// Is a node in it?
    #[inline]
    pub fn contains(&self, node: NodeId) -> bool {
        let (word, bit) = place(node);
        self.words.get(word).is_some_and(|word| word & bit != 0)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.count as usize
    }

    /// There is none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Takes in all nodes of another set.
    pub fn unite(&mut self, other: &NodeSet) {
        if self.words.len() < other.words.len() {
            self.words.resize(other.words.len(), 0);
        }
        self.words.iter_mut().zip(&other.words).for_each(|(word, other)| *word |= other);
        self.count = self.words.iter().map(|word| word.count_ones()).sum();
    }

    /// Its nodes, by id.
    pub fn iter(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.words.iter().enumerate().flat_map(|(index, &word)| {
            let bits = std::iter::successors((word != 0).then_some(word), |left| {
                let left = left & (left - 1);
                (left != 0).then_some(left)
            });
            bits.map(move |left| NodeId::at(index * 64 + left.trailing_zeros() as usize))
        })
    }
}

fn place(node: NodeId) -> (usize, u64) {
    (node.index() / 64, 1 << (node.index() % 64))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn it_holds_what_a_tree_holds() {
        let (mut set, mut tree) = (NodeSet::new(), BTreeSet::new());
        for step in 0..2_000_u32 {
            let node = NodeId(step.wrapping_mul(2_654_435_761) % 300);
            if step % 3 == 0 {
                assert_eq!(set.remove(node), tree.remove(&node));
            } else {
                assert_eq!(set.insert(node), tree.insert(node));
            }
        }
        assert!(set.iter().eq(tree.iter().copied()));
        assert_eq!((set.len(), set.is_empty()), (tree.len(), false));
        assert!((0..400).map(NodeId).all(|node| set.contains(node) == tree.contains(&node)));
        let mut other = NodeSet::new();
        assert!([0, 63, 64, 500].map(NodeId).into_iter().all(|node| other.insert(node)));
        assert_eq!(other.iter().map(|node| node.0).collect::<Vec<_>>(), [0, 63, 64, 500]);
        let both: BTreeSet<NodeId> = tree.iter().copied().chain(other.iter()).collect();
        set.unite(&other);
        assert!(set.iter().eq(both.iter().copied()));
        assert_eq!(set.len(), both.len());
    }
}
