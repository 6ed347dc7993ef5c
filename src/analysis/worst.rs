//! The seconds in which most requests were lost: a share of the whole run says little of an outage that was short.
//!
//! In: the seconds of a ledger. Out: a window and what ended in it.

use crate::world::Tally;

/// Seconds of the window: about as long as somebody waits for an answer before turning to something else. Source: J. Nielsen,
/// "Response Times: The 3 Important Limits" (1993).
pub const WINDOW: usize = 10;

/// The window in which most requests were lost, the first of several alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Worst {
    /// Its first second, from the start of the run.
    pub second: usize,
    /// Micro-requests that were lost in it.
    pub lost: u64,
    /// Micro-requests that were served or lost in it.
    pub ended: u64,
}

/// `None`: nothing was lost.
pub fn worst(seconds: &[Tally]) -> Option<Worst> {
    // A window that begins before the first loss in it would show no more of them.
    let begins = (0..seconds.len()).filter(|&second| seconds[second].lost_all() > 0);
    let windows = begins.map(|second| {
        let window = &seconds[second..seconds.len().min(second + WINDOW)];
        let lost = window.iter().map(Tally::lost_all).sum::<u64>();
        Worst { second, lost, ended: lost + window.iter().map(|tally| tally.served).sum::<u64>() }
    });
    windows.max_by(|one, two| one.lost.cmp(&two.lost).then(two.second.cmp(&one.second)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outage_is_found_in_a_long_run() {
        let mut seconds = vec![Tally { served: 10, ..Tally::default() }; 100];
        assert_eq!(worst(&seconds), None);
        for tally in &mut seconds[40..46] {
            (tally.served, tally.lost[3]) = (1, 9);
        }
        seconds[80].lost[0] = 20;
        assert_eq!(worst(&seconds), Some(Worst { second: 40, lost: 54, ended: 54 + 6 + 40 }));
        assert_eq!(worst(&seconds[..3]), None);
        assert_eq!(worst(&seconds[41..43]), Some(Worst { second: 0, lost: 18, ended: 20 }));
        assert_eq!(worst(&[]), None);
    }
}
