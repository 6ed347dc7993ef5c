//! The Events by which the ReplicaSet controller tells of each pod that it made or deleted.
//!
//! In: successful calls. Out: tokens that the posts take from the bucket of the controller's client. One goroutine posts them,
//! each when the one before was answered, so in a burst they cost the pods some tokens, and most are posted after it. Of one set
//! so many are told at first, then one in five minutes. Source: client-go `tools/record` (`event.go`, `events_cache.go`).

use crate::engine::{Span, Time, TokenBucket};
use crate::plan::flags::ControllerFlags;
use crate::world::ReplicaSetId;
use std::collections::VecDeque;

/// Events of one object that are posted at once. Source: `events_cache.go` (`defaultSpamBurst`).
const SPAM_BURST: f64 = 25.0;
/// And so many a second from then on (`defaultSpamQPS`).
const SPAM_QPS: f64 = 1.0 / 300.0;

/// What was not told yet.
#[derive(Default)]
pub struct EventSink {
    /// When each Event was recorded.
    waiting: VecDeque<Time>,
    /// The last post is answered then.
    free: Time,
    spam: Vec<TokenBucket>,
}

impl EventSink {
    /// A call for that set succeeded.
    pub fn note(&mut self, now: Time, set: ReplicaSetId) {
        if self.spam.len() <= set.index() {
            self.spam.resize(set.index() + 1, TokenBucket::default());
        }
        if self.spam[set.index()].admits(now, SPAM_QPS, SPAM_BURST) {
            self.waiting.push_back(now);
        }
    }

    /// Posts what could be posted until now: takes its tokens.
    pub fn post(&mut self, now: Time, flags: &ControllerFlags, client: &mut TokenBucket) {
        if flags.event_post == Span::ZERO {
            self.waiting.clear();
        }
        while let Some(&recorded) = self.waiting.front() {
            let from = recorded.max(self.free);
            if from >= now {
                break;
            }
            self.waiting.pop_front();
            self.free = client.reserve(from, flags.client_qps, flags.client_burst).max(from) + flags.event_post;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flags() -> ControllerFlags {
        ControllerFlags { event_post: Span::from_millis(15), ..ControllerFlags::default() }
    }

    #[test]
    fn events_take_the_tokens_that_one_poster_can_use() {
        let (mut sink, mut client) = (EventSink::default(), TokenBucket::default());
        let start = Time::from_unix_seconds(1_000);
        (0..15).for_each(|_| sink.note(start, ReplicaSetId::at(0)));
        let later = start + Span::from_millis(70);
        sink.post(later, &flags(), &mut client);
        // Posted at 0, 15, 30, 45 and 60 ms: five of thirty tokens, and one has come since.
        let at_once = (0..30).filter(|_| client.reserve(later, 20.0, 30.0) <= later).count();
        assert_eq!(at_once, 26);
    }

    #[test]
    fn of_one_object_no_more_is_told_than_the_spam_filter_lets_through() {
        let mut sink = EventSink::default();
        let start = Time::from_unix_seconds(1_000);
        (0..40).for_each(|_| sink.note(start, ReplicaSetId::at(0)));
        assert_eq!(sink.waiting.len(), 25);
        (0..3).for_each(|_| sink.note(start, ReplicaSetId::at(1)));
        assert_eq!(sink.waiting.len(), 28, "another set");
    }

    #[test]
    fn between_two_throttled_batches_goes_one_event() {
        let (mut sink, mut client) = (EventSink::default(), TokenBucket::default());
        let start = Time::from_unix_seconds(1_000);
        (0..20).for_each(|_| sink.note(start, ReplicaSetId::at(0)));
        let last = (0..40).map(|_| client.reserve(start, 20.0, 30.0)).last().unwrap();
        sink.post(last, &flags(), &mut client);
        let next = client.reserve(last, 20.0, 30.0);
        assert_eq!(next.since(last), Span::from_millis(100));
    }
}
