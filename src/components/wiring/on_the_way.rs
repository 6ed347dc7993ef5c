//! Wakes that are on their way: ten changes within one watch delay make one look.
//!
//! In: wakes as they are sent and as they arrive. Out: whether one of the kind is on its way already.

use crate::engine::StableState;
use std::collections::HashSet;
use std::hash::Hash;

/// Wakes that are on their way. Mostly a handful, which is looked through sooner than it is hashed.
pub struct OnTheWay<Event> {
    few: Vec<Event>,
    /// Those beyond.
    others: HashSet<Event, StableState>,
}

impl<Event> Default for OnTheWay<Event> {
    fn default() -> OnTheWay<Event> {
        OnTheWay { few: Vec::new(), others: HashSet::default() }
    }
}

impl<Event: Copy + Eq + Hash> OnTheWay<Event> {
    const FEW: usize = 24;

    /// False if it is on its way already.
    pub fn insert(&mut self, event: &Event) -> bool {
        if self.few.contains(event) || !self.others.is_empty() && self.others.contains(event) {
            return false;
        }
        if self.few.len() < Self::FEW {
            self.few.push(*event);
        } else {
            self.others.insert(*event);
        }
        true
    }

    /// It has arrived.
    pub fn remove(&mut self, event: &Event) {
        if let Some(place) = self.few.iter().position(|other| other == event) {
            self.few.swap_remove(place);
        } else if !self.others.is_empty() {
            self.others.remove(event);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wake_is_on_its_way_once_however_many_others_are() {
        let mut on_the_way = OnTheWay::default();
        let count = 3 * OnTheWay::<u32>::FEW as u32;
        assert!((0..count).all(|pod| on_the_way.insert(&pod)));
        assert!(!(0..count).any(|pod| on_the_way.insert(&pod)), "all are on their way");
        (0..count).step_by(2).for_each(|pod| on_the_way.remove(&pod));
        for pod in 0..count {
            assert_eq!(on_the_way.insert(&pod), pod % 2 == 0, "{pod}: what has arrived is sent anew");
        }
    }
}
