//! Requests that compute, in the order in which they end: ascending marks of attained service.
//!
//! Equal needs come in the order of their marks, so most requests go to the end; chance puts some before others. What has
//! ended is behind an index and leaves the memory in bulk, so that everything lies in one piece.

use crate::world::RequestId;

/// So many requests are few.
const FEW: usize = 24;

/// Requests by mark; equal marks in the order of their coming.
#[derive(Clone, Debug, Default)]
pub struct Marks {
    entries: Vec<(u64, RequestId)>,
    /// Entries before it have ended.
    first: usize,
}

impl Marks {
    /// How many.
    #[inline]
    pub fn len(&self) -> usize {
        self.entries.len() - self.first
    }

    /// None.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The one that ends first.
    #[inline]
    pub fn front(&self) -> Option<(u64, RequestId)> {
        self.entries.get(self.first).copied()
    }

    /// All of them.
    pub fn requests(&self) -> impl Iterator<Item = RequestId> + '_ {
        self.entries[self.first..].iter().map(|&(_, request)| request)
    }

    /// The one that ends first leaves.
    #[inline(always)]
    pub fn pop_front(&mut self) {
        self.first += 1;
        if self.first >= self.entries.len() {
            self.entries.clear();
            self.first = 0;
        } else if self.first >= FEW && 2 * self.first >= self.entries.len() {
            self.entries.drain(..self.first);
            self.first = 0;
        }
    }

    /// One more, behind those with the same mark.
    #[inline(always)]
    pub fn insert(&mut self, mark: u64, request: RequestId) {
        if self.len() > FEW && self.entries.last().is_some_and(|&(last, _)| last > mark) {
            let place = self.entries[self.first..].partition_point(|&(other, _)| other <= mark);
            return self.entries.insert(self.first + place, (mark, request));
        }
        // Among few it is quicker to carry the new one past all of them, without a branch for which of two comes first.
        let mut carried = (mark, request);
        for entry in &mut self.entries[self.first..] {
            let (present, is_first) = (*entry, mark < entry.0);
            *entry = if is_first { carried } else { present };
            carried = if is_first { present } else { carried };
        }
        self.entries.push(carried);
    }

    /// All marks are lower by `base`, at least zero.
    pub fn lower(&mut self, base: u64) {
        self.entries[self.first..].iter_mut().for_each(|(mark, _)| *mark = mark.saturating_sub(base));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn they_leave_in_the_order_of_marks_and_of_coming() {
        // A map from (mark, number of coming) is the oracle.
        let (mut marks, mut oracle) = (Marks::default(), BTreeMap::new());
        let mut state = 7u64;
        for number in 0..20_000u32 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let (mark, crowd) = (state >> 58, if number % 2_000 < 1_000 { 12 } else { 100 });
            if oracle.len() < crowd {
                marks.insert(mark, RequestId(number));
                oracle.insert((mark, number), ());
            }
            if (state >> 40).is_multiple_of(3) {
                let first = oracle.pop_first().map(|((mark, number), ())| (mark, RequestId(number)));
                assert_eq!(marks.front(), first);
                if first.is_some() {
                    marks.pop_front();
                }
            }
            assert_eq!((marks.len(), marks.is_empty()), (oracle.len(), oracle.is_empty()));
        }
        assert!(marks.requests().eq(oracle.keys().map(|&(_, number)| RequestId(number))));
        marks.lower(3);
        assert_eq!(marks.front().map(|(mark, _)| mark), oracle.keys().next().map(|&(mark, _)| mark.saturating_sub(3)));
    }
}
