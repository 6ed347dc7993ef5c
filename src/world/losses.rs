//! Where requests were lost: windows of time, by cause, pod and target.
//!
//! In: every loss that a ledger books. Out: for each cause, pod and target the windows in which it lost requests; losses
//! that follow one another closely are one window. So the memory depends on pods and causes, never on requests.

use super::ids::{PodId, TargetId};
use super::ledger::Loss;
use crate::engine::{Span, Time};
use std::collections::BTreeMap;

/// Losses of one kind at one place that are farther apart than this are two windows.
const GAP: Span = Span::from_secs(10);

/// Where a request was lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct LossPlace {
    /// The pod that it was sent to; `None`: it was sent nowhere.
    pub pod: Option<PodId>,
    /// The target through which it went.
    pub target: Option<TargetId>,
}

/// Requests lost at one place for one cause, one soon after the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LossWindow {
    /// Why.
    pub loss: Loss,
    /// Where.
    pub place: LossPlace,
    /// The first loss became known.
    pub from: Time,
    /// The last one did.
    pub to: Time,
    /// Micro-requests.
    pub amount: u64,
}

/// All losses of one application.
#[derive(Clone, Debug, Default)]
pub struct Losses {
    windows: Vec<LossWindow>,
    /// The latest window of each cause and place.
    latest: BTreeMap<(Loss, LossPlace), usize>,
}

impl Losses {
    /// Notes losses at `at`.
    #[inline]
    pub fn note(&mut self, at: Time, amount: u64, loss: Loss, place: LossPlace) {
        if amount == 0 {
            return;
        }
        let next = self.windows.len();
        let index = self.latest.entry((loss, place)).or_insert(next);
        match self.windows.get_mut(*index) {
            Some(window) if at <= window.to + GAP => {
                window.to = window.to.max(at);
                window.amount += amount;
            }
            _ => {
                *index = next;
                self.windows.push(LossWindow { loss, place, from: at, to: at, amount });
            }
        }
    }

    /// All windows, in order of their first losses.
    pub fn windows(&self) -> &[LossWindow] {
        &self.windows
    }

    /// Micro-requests lost for a cause.
    pub fn lost(&self, loss: Loss) -> u64 {
        self.windows.iter().filter(|window| window.loss == loss).map(|window| window.amount).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::world::REQUEST;

    #[test]
    fn losses_close_together_are_one_window_and_others_are_not() {
        let at = |seconds: u64| Time::from_unix_seconds(1_000 + seconds);
        let (one, two) = (LossPlace { pod: Some(PodId(1)), target: None }, LossPlace::default());
        let mut losses = Losses::default();
        losses.note(at(0), REQUEST, Loss::Refused, one);
        losses.note(at(10), REQUEST, Loss::Refused, one);
        losses.note(at(10), REQUEST, Loss::Refused, two);
        losses.note(at(11), REQUEST, Loss::Cut, one);
        losses.note(at(21), REQUEST, Loss::Refused, one);
        losses.note(at(22), 0, Loss::Refused, one);
        let seen = losses.windows().iter().map(|window| (window.loss, window.from, window.to, window.amount / REQUEST));
        let expected = [
            (Loss::Refused, at(0), at(10), 2),
            (Loss::Refused, at(10), at(10), 1),
            (Loss::Cut, at(11), at(11), 1),
            (Loss::Refused, at(21), at(21), 1),
        ];
        assert_eq!(seen.collect::<Vec<_>>(), expected);
        assert_eq!(losses.lost(Loss::Refused), 4 * REQUEST);
    }
}
