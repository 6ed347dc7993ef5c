//! A short sorted list whose first element is taken again and again: what the queue is while it holds little.
//!
//! In: elements, each with the question which others come before it. Out: the first one. Room grows in front as elements are
//! taken, so an element is put in by moving whichever side is shorter: what comes soon has few before it, what comes late
//! few behind it.

/// So many are asked one after another.
const SOON: usize = 6;

/// Elements in order.
#[derive(Clone, Debug)]
pub(super) struct Few<T> {
    /// The elements, behind the room in front.
    list: Vec<T>,
    /// Where the first one is.
    first: usize,
}

impl<T: Copy> Few<T> {
    /// Without elements.
    pub fn new() -> Few<T> {
        Few { list: Vec::new(), first: 0 }
    }

    /// How many there are.
    #[inline]
    pub fn len(&self) -> usize {
        self.list.len() - self.first
    }

    /// The first one.
    #[inline]
    pub fn first(&self) -> Option<&T> {
        self.list.get(self.first)
    }

    /// Takes the first one out, if there is any.
    #[inline]
    pub fn drop_first(&mut self) {
        self.first = (self.first + 1).min(self.list.len());
    }

    /// Puts one in, behind all those that come before it. Most come soon: the first few are asked one after another, and
    /// only behind them is halved.
    #[inline]
    pub fn put(&mut self, element: T, comes_before: impl Fn(&T) -> bool) {
        let held = &self.list[self.first..];
        let soon = held.iter().take(SOON).position(|other| !comes_before(other)).unwrap_or(SOON.min(held.len()));
        let before = if soon < SOON { soon } else { SOON + held[SOON..].partition_point(comes_before) };
        if self.first > 0 && before <= held.len() - before {
            self.first -= 1;
            let moved = &mut self.list[self.first..=self.first + before];
            // Of none or one there is nothing to call for.
            match moved {
                [place] => *place = element,
                [place, behind] => (*place, *behind) = (*behind, element),
                _ => {
                    moved.copy_within(1.., 0);
                    moved[before] = element;
                }
            }
        } else {
            self.put_from_behind(self.first + before, element);
        }
    }

    /// Moves those behind it. Room in front that is longer than the list is given back first.
    #[inline(never)]
    fn put_from_behind(&mut self, place: usize, element: T) {
        self.list.insert(place, element);
        if self.first > self.len() + 64 {
            self.list.drain(..self.first);
            self.first = 0;
        }
    }

    /// Takes all out, in order.
    pub fn take_all(&mut self) -> Vec<T> {
        self.list.drain(..self.first);
        self.first = 0;
        std::mem::take(&mut self.list)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// The oracle: a list that is sorted after each step, stably.
        #[test]
        fn elements_come_in_order_and_equals_as_they_were_put_in(script in prop::collection::vec((0u8..3, 0u32..50), 0..400)) {
            let (mut few, mut oracle) = (Few::new(), Vec::new());
            for (number, (choice, value)) in script.into_iter().enumerate() {
                if choice == 0 {
                    prop_assert_eq!(few.first().copied(), oracle.first().copied());
                    few.drop_first();
                    oracle.drain(..oracle.len().min(1));
                } else {
                    few.put((value, number), |other: &(u32, usize)| other.0 <= value);
                    oracle.push((value, number));
                    oracle.sort_by_key(|&(value, _)| value);
                }
                prop_assert_eq!(few.len(), oracle.len());
            }
            prop_assert_eq!(few.take_all(), oracle);
            prop_assert_eq!(few.len(), 0);
        }
    }
}
