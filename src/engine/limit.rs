//! Limits of a run: a simulation that goes wrong stops and says where, it never hangs.

use super::time::Time;

/// What a run may use at most.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Events in all.
    pub events_max: u64,
    /// Events at one instant: more means two components wake each other without delay.
    pub same_instant_events_max: u64,
    /// Pods that exist at one time: autoscalers may ask for as many as they like.
    pub pods_max: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        // Half an hour of request-level traffic at a few thousand requests a second is about 1e7 events; an instant
        // with more than a million events was a loop each time it was seen.
        // Kubernetes is built for 150 000 pods (kubernetes.io, "Considerations for large clusters").
        Limits { events_max: 4_000_000_000, same_instant_events_max: 1_000_000, pods_max: 200_000 }
    }
}

/// Which limit was reached, and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LimitReached {
    /// `events_max` events were handled.
    Events(Time),
    /// `same_instant_events_max` events were handled without time passing.
    SameInstant(Time),
    /// More than `pods_max` pods existed at one time.
    Pods(Time),
}

/// Counts events against [`Limits`].
#[derive(Clone, Debug)]
pub struct Meter {
    limits: Limits,
    events: u64,
    instant: Time,
    /// Of the events of this instant, the one with this number is the last that is let through.
    last: u64,
}

impl Meter {
    /// A meter at zero.
    pub fn new(limits: Limits) -> Meter {
        let last = limits.events_max.min(limits.same_instant_events_max);
        Meter { limits, events: 0, instant: Time::ZERO, last }
    }

    /// Counts one event at `now`.
    ///
    /// # Errors
    /// The limit that this event went over.
    #[inline]
    pub fn count(&mut self, now: Time) -> Result<(), LimitReached> {
        if now != self.instant {
            self.instant = now;
            let most = self.events.saturating_add(self.limits.same_instant_events_max);
            self.last = self.limits.events_max.min(most);
        }
        self.events += 1;
        if self.events > self.last { Err(self.reached(now)) } else { Ok(()) }
    }

    #[cold]
    fn reached(&self, now: Time) -> LimitReached {
        if self.events > self.limits.events_max { LimitReached::Events(now) } else { LimitReached::SameInstant(now) }
    }

    /// Events counted so far.
    pub fn events(&self) -> u64 {
        self.events
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loop_without_delay_is_caught_and_time_resets_the_count() {
        let mut meter = Meter::new(Limits { events_max: 100, same_instant_events_max: 3, pods_max: 9 });
        let (early, late) = (Time::from_unix_seconds(1), Time::from_unix_seconds(2));
        assert!((0..3).all(|_| meter.count(early).is_ok()));
        assert!((0..3).all(|_| meter.count(late).is_ok()));
        assert_eq!(meter.count(late), Err(LimitReached::SameInstant(late)));
        assert_eq!(meter.events(), 7);
    }
}
