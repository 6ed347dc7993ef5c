//! Wakes that are on their way: ten changes within one watch delay make one look.
//!
//! In: wakes as they are sent and as they arrive. Out: whether one of the kind is on its way already.

use super::wakes::{KINDS, Wake};

/// Words of one bit a kind of wake.
const WORDS: usize = KINDS.div_ceil(64);

/// Wakes that are on their way: by the number of what they are about, one bit a kind.
#[derive(Default)]
pub struct OnTheWay {
    kinds: Vec<[u64; WORDS]>,
}

impl OnTheWay {
    /// False if it is on its way already.
    #[inline(always)]
    pub fn insert(&mut self, wake: Wake) -> bool {
        let (about, word, bit) = place(wake);
        if about >= self.kinds.len() {
            self.grow(about);
        }
        let kinds = &mut self.kinds[about][word];
        let is_new = *kinds & bit == 0;
        *kinds |= bit;
        is_new
    }

    #[cold]
    fn grow(&mut self, about: usize) {
        self.kinds.resize((about + 1).next_power_of_two(), [0; WORDS]);
    }

    /// It has arrived.
    #[inline]
    pub fn remove(&mut self, wake: Wake) {
        let (about, word, bit) = place(wake);
        if let Some(kinds) = self.kinds.get_mut(about) {
            kinds[word] &= !bit;
        }
    }
}

/// Where a wake has its bit.
fn place(wake: Wake) -> (usize, usize, u64) {
    let kind = wake.kind as usize;
    (wake.about as usize, kind / 64, 1 << (kind % 64))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::components::Event;
    use crate::components::kubernetes::kubelet::Event as Kubelet;
    use crate::components::kubernetes::scheduler::Event as Scheduler;
    use crate::world::PodId;

    #[test]
    fn a_wake_is_on_its_way_once_however_many_others_are() {
        let mut on_the_way = OnTheWay::default();
        let both =
            |pod| [Event::Kubelet(Kubelet::Added(PodId(pod))), Event::Scheduler(Scheduler::PodBound(PodId(pod)))];
        let wakes = || (0..100).flat_map(both).map(|event| Wake::of(&event).expect("a wake"));
        assert!(wakes().all(|wake| on_the_way.insert(wake)));
        assert!(!wakes().any(|wake| on_the_way.insert(wake)), "all are on their way");
        wakes().step_by(3).for_each(|wake| on_the_way.remove(wake));
        for (number, wake) in wakes().enumerate() {
            assert_eq!(on_the_way.insert(wake), number % 3 == 0, "{number}: what has arrived is sent anew");
        }
    }
}
