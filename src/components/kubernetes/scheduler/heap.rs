//! A binary heap whose order among equals is that of the scheduler's own.
//!
//! Source: `container/heap` of Go and `pkg/scheduler/backend/heap/heap.go`. A new entry moves up while it is strictly less;
//! the last entry takes the place of one that leaves and moves down, to the left unless the right child is strictly less.

use crate::world::PodId;

/// Pods by a key; the least comes first.
#[derive(Clone, Debug)]
pub struct Heap<K> {
    entries: Vec<(K, PodId)>,
}

impl<K> Default for Heap<K> {
    fn default() -> Heap<K> {
        Heap { entries: Vec::new() }
    }
}

impl<K: Copy + Ord> Heap<K> {
    /// Adds a pod.
    pub fn push(&mut self, key: K, pod: PodId) {
        self.entries.push((key, pod));
        self.up(self.entries.len() - 1);
    }

    /// The pod that comes first, and its key.
    pub fn first(&self) -> Option<(K, PodId)> {
        self.entries.first().copied()
    }

    /// Takes it.
    pub fn pop(&mut self) -> Option<(K, PodId)> {
        let last = self.entries.len().checked_sub(1)?;
        self.entries.swap(0, last);
        let first = self.entries.pop();
        self.down(0);
        first
    }

    /// Takes a pod out, wherever it is.
    pub fn remove(&mut self, pod: PodId) {
        let Some(place) = self.entries.iter().position(|entry| entry.1 == pod) else { return };
        let last = self.entries.len() - 1;
        self.entries.swap(place, last);
        self.entries.pop();
        if place < last && !self.down(place) {
            self.up(place);
        }
    }

    fn is_less(&self, one: usize, other: usize) -> bool {
        self.entries[one].0 < self.entries[other].0
    }

    fn up(&mut self, mut place: usize) {
        while place > 0 {
            let parent = (place - 1) / 2;
            if !self.is_less(place, parent) {
                break;
            }
            self.entries.swap(parent, place);
            place = parent;
        }
    }

    /// True if the entry moved.
    fn down(&mut self, start: usize) -> bool {
        let mut place = start;
        loop {
            let (left, right) = (2 * place + 1, 2 * place + 2);
            if left >= self.entries.len() {
                break;
            }
            let child = if right < self.entries.len() && self.is_less(right, left) { right } else { left };
            if !self.is_less(child, place) {
                break;
            }
            self.entries.swap(place, child);
            place = child;
        }
        place > start
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equals_leave_in_the_order_of_the_structure() {
        let mut heap = Heap::default();
        (1..=4).for_each(|pod| heap.push(0, PodId(pod)));
        let order: Vec<u32> = std::iter::from_fn(|| heap.pop()).map(|(_, pod)| pod.0).collect();
        assert_eq!(order, [1, 4, 3, 2]);
        // The first is taken before the others come.
        heap.push(0, PodId(1));
        heap.pop();
        (2..=4).for_each(|pod| heap.push(0, PodId(pod)));
        let order: Vec<u32> = std::iter::from_fn(|| heap.pop()).map(|(_, pod)| pod.0).collect();
        assert_eq!(order, [2, 4, 3]);
    }

    #[test]
    fn the_least_comes_first_whatever_is_taken_out() {
        let mut heap = Heap::default();
        for pod in 0..50 {
            heap.push(pod * 37 % 50, PodId(pod));
        }
        (0..50).step_by(3).for_each(|pod| heap.remove(PodId(pod)));
        let keys: Vec<u32> = std::iter::from_fn(|| heap.pop()).map(|(key, _)| key).collect();
        assert_eq!(keys.len(), 33);
        assert!(keys.is_sorted());
    }
}
