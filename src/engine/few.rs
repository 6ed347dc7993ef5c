//! A short sorted list whose first element is taken again and again: what the queue is while it holds little.
//!
//! In: elements with their times. Out: the first one, of equal times the one put in first. Time and place of an element are one
//! number, so what is kept in order is a row of words that lies in a few cache lines, latest first; the elements themselves
//! lie still. What comes soon has few before it, and taking the first one only makes the row shorter.

/// So many are asked one after another.
const SOON: usize = 12;
/// Places that one byte can name.
const PLACES: usize = 1 << PLACE_BITS;
const PLACE_BITS: u32 = 8;
/// A time from here on leaves no room for the place in its word: 2283 years of microseconds.
const TOO_LATE: u64 = 1 << (u64::BITS - PLACE_BITS);

/// Elements in order.
#[derive(Clone, Debug)]
pub(super) struct Few<T> {
    /// How many there are.
    count: usize,
    /// The time of each, and in the last byte its place, latest first.
    row: Box<[u64; PLACES]>,
    /// Behind as many as there are elements: places without one.
    free: Box<[u8; PLACES]>,
    /// The elements, where they were put; before the first one nothing.
    places: Vec<T>,
    /// How many it holds at most.
    most: usize,
}

impl<T: Copy> Few<T> {
    /// Without elements; it will hold so many.
    pub fn new(most: usize) -> Few<T> {
        assert!(most < PLACES, "a byte names a place");
        let free = Box::new(std::array::from_fn(|place| place as u8));
        Few { count: 0, row: Box::new([0; PLACES]), free, places: Vec::new(), most }
    }

    /// The first one and its time.
    #[inline]
    pub fn first(&self) -> Option<(u64, &T)> {
        let word = self.row[self.count.checked_sub(1)? % PLACES];
        Some((word >> PLACE_BITS, &self.places[usize::from(word as u8)]))
    }

    /// The time of the first one.
    #[inline]
    pub fn first_time(&self) -> Option<u64> {
        Some(self.row[self.count.checked_sub(1)? % PLACES] >> PLACE_BITS)
    }

    /// Takes the first one out, if there is any.
    #[inline]
    pub fn drop_first(&mut self) {
        if let Some(last) = self.count.checked_sub(1) {
            self.count = last;
            self.free[last % PLACES] = self.row[last % PLACES] as u8;
        }
    }

    /// Puts one in, behind all those that are not later. Most come soon: the first few are asked one after another, and only
    /// behind them is halved. False if there is no room for it.
    #[inline]
    pub fn put(&mut self, time: u64, element: T) -> bool {
        let count = self.count;
        if count >= self.most || time >= TOO_LATE {
            return false;
        }
        let place = self.free[count % PLACES];
        if self.places.is_empty() {
            self.places.resize(PLACES, element);
        }
        self.places[usize::from(place)] = element;
        self.count = count + 1;
        let (word, not_later) = (time << PLACE_BITS | u64::from(place), time << PLACE_BITS | (PLACES as u64 - 1));
        let (mut index, soon) = (count, count.saturating_sub(SOON));
        while index > soon {
            let other = self.row[(index - 1) % PLACES];
            if other > not_later {
                self.row[index % PLACES] = word;
                return true;
            }
            self.row[index % PLACES] = other;
            index -= 1;
        }
        let later = self.row[..index].partition_point(|&other| other > not_later);
        self.row.copy_within(later..index, later + 1);
        self.row[later] = word;
        true
    }

    /// Takes all out, in order.
    pub fn take_all(&mut self) -> Vec<(u64, T)> {
        let mut all = Vec::with_capacity(self.count);
        while let Some((time, &element)) = self.first() {
            all.push((time, element));
            self.drop_first();
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// The oracle: a list that is sorted after each step, stably.
        #[test]
        fn elements_come_in_order_and_equals_as_they_were_put_in(script in prop::collection::vec((0u8..3, 0u64..50), 0..400)) {
            let (mut few, mut oracle) = (Few::new(40), Vec::new());
            for (number, (choice, time)) in script.into_iter().enumerate() {
                if choice == 0 {
                    prop_assert_eq!(few.first().map(|(time, &number)| (time, number)), oracle.first().copied());
                    few.drop_first();
                    oracle.drain(..oracle.len().min(1));
                } else if few.put(time, number) {
                    oracle.push((time, number));
                    oracle.sort_by_key(|&(time, _)| time);
                } else {
                    prop_assert_eq!(oracle.len(), 40, "only what is full takes no more");
                }
                prop_assert_eq!(few.first_time(), oracle.first().map(|&(time, _)| time));
            }
            prop_assert_eq!(few.take_all(), oracle);
            prop_assert_eq!(few.first(), None);
        }
    }

    #[test]
    fn what_comes_after_millennia_is_no_word() {
        let mut few = Few::new(4);
        assert!(few.put(TOO_LATE - 1, 'a') && !few.put(TOO_LATE, 'b') && !few.put(u64::MAX, 'c'));
        assert_eq!(few.take_all(), [(TOO_LATE - 1, 'a')]);
    }
}
