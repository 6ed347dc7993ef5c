//! The queue of events to come, ordered by `(time, sequence)`: first in, first out within an instant.
//!
//! A ring of 2^14 buckets of 1.024 ms each looks 16.8 s ahead. The bucket being served is kept sorted; the others are
//! unsorted until they are entered. Events beyond the horizon wait in a binary heap and move into the ring when it
//! comes to them. Why not a heap alone: at 100 000 pending events this is four times as fast (benches/queue.rs).
//!
//! A bucket of the ring is only the number of a buffer, and buffers change hands: one that was served goes to the next
//! bucket that needs one. So a new queue is 32 KiB of zeros, and a run allocates as many buffers as it ever fills at once.
//!
//! A run of few pods has some dozens of events to come, each in a bucket of its own: then all lie in one short sorted list
//! (`few`), and the ring is not used before that is full.
//!
//! Beside it lie timers (`timers`): what is set anew far more often than it happens. They share the order of the queue.

use super::few::Few;
use super::time::Time;
use super::timers::{TimerId, Timers};
use std::cmp::Reverse;
use std::collections::BinaryHeap;

const BUCKETS: usize = 1 << 14;
const MASK: u64 = BUCKETS as u64 - 1;
/// Words of 64 buckets.
const WORDS: usize = BUCKETS / 64;
/// A bucket is 2^10 microseconds wide.
const WIDTH_BITS: u32 = 10;
/// Up to so many events lie in one sorted list, without the ring.
const FEW: usize = if cfg!(test) { 8 } else { 255 };
/// The bucket being served while they do: all others come before it.
const ALL_FEW: u64 = u64::MAX;

#[derive(Clone, Copy)]
struct Entry<E> {
    at: u64,
    sequence: u32,
    event: E,
}

impl<E> Entry<E> {
    fn key(&self) -> (u64, u32) {
        (self.at, self.sequence)
    }
}

impl<E> PartialEq for Entry<E> {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}
impl<E> Eq for Entry<E> {}
impl<E> PartialOrd for Entry<E> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl<E> Ord for Entry<E> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.key().cmp(&other.key())
    }
}

/// An event in the one list.
#[derive(Clone, Copy)]
struct Held<E> {
    sequence: u32,
    event: E,
}

/// Events to come. `E` should be small: it is copied on every push and pop.
pub struct Queue<E> {
    /// Everything, while it is little: then all else is empty.
    few: Few<Held<E>>,
    /// The bucket being served, latest first, so that the next event is popped from its end.
    current: Vec<Entry<E>>,
    /// What was pushed into the bucket being served since it was entered.
    near: BinaryHeap<Reverse<Entry<E>>>,
    /// A bucket's buffer, by number; 0 is none. There are never more buffers than buckets, and the one numbered 0.
    ring: Vec<u16>,
    /// The buffers; the one numbered 0 stays empty.
    buffers: Vec<Vec<Entry<E>>>,
    /// Buffers no bucket has, empty.
    idle: Vec<u16>,
    /// One bit a bucket: whether it holds anything.
    occupied: Vec<u64>,
    /// One bit a word of `occupied`: whether it is not zero. So the next bucket is found in a handful of words, however
    /// long the empty stretch before it.
    words: [u64; WORDS / 64],
    overflow: BinaryHeap<Reverse<Entry<E>>>,
    /// Number of the bucket being served (time >> WIDTH_BITS), or [`ALL_FEW`].
    cursor: u64,
    in_ring: usize,
    /// Nothing in the ring or the overflow is earlier than this; 0: it has to be looked up.
    horizon: u64,
    timers: Timers<E>,
    sequence: u32,
    len: usize,
}

impl<E: Copy> Default for Queue<E> {
    fn default() -> Self {
        Queue::new()
    }
}

impl<E: Copy> Queue<E> {
    /// An empty queue.
    pub fn new() -> Queue<E> {
        Queue {
            few: Few::new(FEW),
            current: Vec::new(),
            near: BinaryHeap::new(),
            ring: Vec::new(),
            buffers: vec![Vec::new()],
            idle: Vec::new(),
            occupied: Vec::new(),
            words: [0; WORDS / 64],
            overflow: BinaryHeap::new(),
            cursor: ALL_FEW,
            in_ring: 0,
            horizon: 0,
            timers: Timers::default(),
            sequence: 0,
            len: 0,
        }
    }

    /// Adds `event` at `at`, behind everything already queued for that instant. An instant before the last popped
    /// event counts as that bucket's time: it is served next, in order.
    ///
    /// # Panics
    /// When more than 2^32 events were ever pushed.
    pub fn push(&mut self, at: Time, event: E) {
        let sequence = self.next_sequence();
        self.len += 1;
        if self.cursor == ALL_FEW {
            self.put_in_order(at.micros(), sequence, event);
        } else {
            self.put_in_buckets(Entry { at: at.micros(), sequence, event });
        }
    }

    #[inline(always)]
    fn put_in_buckets(&mut self, entry: Entry<E>) {
        if entry.at >> WIDTH_BITS > self.cursor {
            self.put_later(entry);
        } else {
            self.near.push(Reverse(entry));
        }
    }

    /// Adds to the one list, while everything lies there. Out of line: it needs more registers than the ring does.
    #[inline(never)]
    fn put_in_order(&mut self, at: u64, sequence: u32, event: E) {
        if !self.few.put(at, Held { sequence, event }) {
            self.begin_ring(Entry { at, sequence, event });
        }
    }

    /// There is too much for one list: the ring begins at the earliest event. One more has come.
    #[cold]
    fn begin_ring(&mut self, last: Entry<E>) {
        let all = self.few.take_all().into_iter();
        let all: Vec<_> = all.map(|(at, Held { sequence, event })| Entry { at, sequence, event }).collect();
        self.cursor = all.first().map_or(0, |first| first.at >> WIDTH_BITS);
        self.ring.resize(BUCKETS, 0);
        self.occupied.resize(WORDS, 0);
        let (now, later) = all.split_at(all.partition_point(|entry| entry.at >> WIDTH_BITS <= self.cursor));
        self.current.extend(now.iter().rev());
        later.iter().for_each(|&entry| self.put_later(entry));
        self.put_in_buckets(last);
    }

    /// Keeps what comes after the bucket being served.
    #[inline]
    fn put_later(&mut self, entry: Entry<E>) {
        let bucket = entry.at >> WIDTH_BITS;
        self.horizon = self.horizon.min(bucket << WIDTH_BITS);
        if bucket - self.cursor <= MASK {
            self.put_in_ring(bucket, entry);
        } else {
            self.overflow.push(Reverse(entry));
        }
    }

    fn next_sequence(&mut self) -> u32 {
        let sequence = self.sequence;
        self.sequence = sequence.checked_add(1).expect("fewer than 2^32 events in one run");
        sequence
    }

    /// A new timer, which brings `event` each time that it is due. It is not set.
    pub fn timer(&mut self, event: E) -> TimerId {
        self.timers.add(event)
    }

    /// Sets a timer to `at`, behind everything already queued for that instant, in place of what it was set to.
    pub fn set(&mut self, timer: TimerId, at: Time) {
        let sequence = self.next_sequence();
        self.timers.set(timer, at.micros(), sequence);
    }

    /// Takes the earliest event.
    pub fn pop(&mut self) -> Option<(Time, E)> {
        if let Some((at, timer)) = self.pop_timer() {
            return Some((at, *self.of_timer(timer)));
        }
        let mut event = None;
        let at = self.pop_event_with(|taken| event = Some(*taken))?;
        Some((at, event?))
    }

    /// The same, right after [`Queue::pop_timer`] has found no timer to be the next, into a place that holds an event already: an
    /// event inside of an `Option` is moved in pieces, and the processor waits for all of them when it is read as a whole.
    #[inline]
    pub fn pop_event_into(&mut self, event: &mut E) -> Option<Time> {
        self.pop_event_with(|taken| *event = *taken)
    }

    #[inline(always)]
    fn pop_event_with(&mut self, mut take: impl FnMut(&E)) -> Option<Time> {
        if let Some((at, held)) = self.few.first() {
            take(&held.event);
            self.few.drop_first();
            self.len -= 1;
            return Some(Time::from_micros(at));
        }
        if self.current.is_empty() && self.near.is_empty() && !self.advance() {
            return None;
        }
        let take_near = match (self.near.peek(), self.current.last()) {
            (Some(Reverse(near)), Some(current)) => near.key() < current.key(),
            (near, _) => near.is_some(),
        };
        self.len -= 1;
        if take_near {
            let Reverse(entry) = self.near.pop()?;
            take(&entry.event);
            return Some(Time::from_micros(entry.at));
        }
        let entry = self.current.last()?;
        let at = entry.at;
        take(&entry.event);
        self.current.truncate(self.current.len() - 1);
        Some(Time::from_micros(at))
    }

    /// Takes the earliest event if a timer brings it; what it brings is best read where it lies ([`Queue::of_timer`]): on its
    /// way through other hands it would have to be put together again.
    #[inline(always)]
    pub fn pop_timer(&mut self) -> Option<(Time, TimerId)> {
        let first = self.timers.first()?;
        if self.is_before(first) {
            return None;
        }
        self.timers.pop().map(|(at, timer)| (Time::from_micros(at), timer))
    }

    /// What a timer brings.
    #[inline(always)]
    pub fn of_timer(&self, timer: TimerId) -> &E {
        self.timers.event(timer)
    }

    /// The queue holds something that comes before that time and sequence.
    fn is_before(&mut self, key: (u64, u32)) -> bool {
        if let Some((at, held)) = self.few.first() {
            return (at, held.sequence) < key;
        }
        if self.current.is_empty() && self.near.is_empty() {
            if self.horizon == 0 {
                let far = self.overflow.peek().map(|Reverse(entry)| entry.at >> WIDTH_BITS);
                let bucket = [self.next_in_ring(), far].into_iter().flatten().min();
                self.horizon = bucket.map_or(u64::MAX, |bucket| bucket << WIDTH_BITS);
            }
            // Only a bucket that the timer has reached is entered.
            if self.horizon > key.0 || !self.advance() {
                return false;
            }
        }
        self.current.last().is_some_and(|entry| entry.key() < key)
            || self.near.peek().is_some_and(|Reverse(entry)| entry.key() < key)
    }

    /// Nothing is queued for `now`, the instant being served, or earlier: an event pushed for it would be the next popped.
    pub fn is_past(&mut self, now: Time) -> bool {
        // Buckets that have not been entered hold later instants only.
        let later = |at: Option<u64>| at.is_none_or(|at| at > now.micros());
        (now.micros() >> WIDTH_BITS <= self.cursor || self.horizon > now.micros())
            && later(self.few.first_time())
            && later(self.current.last().map(|entry| entry.at))
            && later(self.near.peek().map(|Reverse(entry)| entry.at))
            && later(self.timers.first().map(|(at, _)| at))
    }

    /// Number of events to come.
    pub fn len(&self) -> usize {
        self.len + self.timers.len()
    }

    /// True when nothing is to come.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn put_in_ring(&mut self, bucket: u64, entry: Entry<E>) {
        let slot = (bucket & MASK) as usize;
        let mut buffer = self.ring[slot];
        if buffer == 0 {
            buffer = self.idle.pop().unwrap_or(self.buffers.len() as u16);
            if buffer as usize == self.buffers.len() {
                self.buffers.push(Vec::new());
            }
            self.ring[slot] = buffer;
            self.occupied[slot / 64] |= 1 << (slot % 64);
            self.words[slot / 64 / 64] |= 1 << (slot / 64 % 64);
        }
        self.buffers[buffer as usize].push(entry);
        self.in_ring += 1;
    }

    /// Moves to the next bucket that holds anything. False when nothing is left.
    fn advance(&mut self) -> bool {
        let next = match (self.next_in_ring(), self.overflow.peek().map(|Reverse(entry)| entry.at >> WIDTH_BITS)) {
            (Some(ring), Some(far)) => ring.min(far),
            (Some(ring), None) => ring,
            (None, Some(far)) => far,
            (None, None) => {
                // What is pushed next may well be all that there is.
                self.cursor = ALL_FEW;
                return false;
            }
        };
        self.cursor = next;
        self.horizon = 0;
        while let Some(Reverse(entry)) = self.overflow.peek().copied() {
            let bucket = entry.at >> WIDTH_BITS;
            if bucket - self.cursor > MASK {
                break;
            }
            self.overflow.pop();
            self.put_in_ring(bucket, entry);
        }
        let slot = (self.cursor & MASK) as usize;
        self.occupied[slot / 64] &= !(1 << (slot % 64));
        if self.occupied[slot / 64] == 0 {
            self.words[slot / 64 / 64] &= !(1 << (slot / 64 % 64));
        }
        let buffer = std::mem::take(&mut self.ring[slot]);
        debug_assert!(buffer != 0, "the next bucket holds something");
        std::mem::swap(&mut self.current, &mut self.buffers[buffer as usize]);
        self.idle.push(buffer);
        self.in_ring -= self.current.len();
        self.current.sort_unstable_by_key(|entry| Reverse(entry.key()));
        true
    }

    fn next_in_ring(&self) -> Option<u64> {
        if self.in_ring == 0 {
            return None;
        }
        // From behind the cursor to the end of the ring, then from its beginning.
        let start = ((self.cursor + 1) & MASK) as usize;
        let rest = self.occupied[start / 64] & (!0 << (start % 64));
        let word = if rest != 0 { start / 64 } else { self.word_from(start / 64 + 1).or_else(|| self.word_from(0))? };
        let bits = if rest != 0 { rest } else { self.occupied[word] };
        let slot = (word * 64) as u64 + u64::from(bits.trailing_zeros());
        Some(self.cursor + 1 + ((slot.wrapping_sub(self.cursor + 1)) & MASK))
    }

    /// The first word from `first` on that is not zero.
    fn word_from(&self, first: usize) -> Option<usize> {
        let (at, bit) = (first / 64, first % 64);
        let rest = self.words.get(at)? & (!0 << bit);
        if rest != 0 {
            return Some(at * 64 + rest.trailing_zeros() as usize);
        }
        let later = self.words.iter().enumerate().skip(at + 1).find(|&(_, &bits)| bits != 0);
        later.map(|(at, bits)| at * 64 + bits.trailing_zeros() as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The oracle: the same script through a plain binary heap.
    fn agrees_with_a_heap(script: &[(bool, u64)]) {
        let mut queue = Queue::new();
        let mut heap = BinaryHeap::new();
        let mut now = 0;
        for (number, &(pop, delay)) in script.iter().enumerate() {
            if pop {
                let expected = heap.pop().map(|Reverse((at, number))| (Time::from_micros(at), number));
                assert_eq!(queue.pop(), expected);
                now = expected.map_or(now, |(at, _)| at.micros());
            } else if delay == 0 && number > 0 && queue.is_past(Time::from_micros(now)) {
                queue.push(Time::from_micros(now), number);
                assert_eq!(queue.pop(), Some((Time::from_micros(now), number)), "it would be the next");
            } else {
                queue.push(Time::from_micros(now + delay), number);
                heap.push(Reverse((now + delay, number)));
            }
            assert_eq!(queue.len(), heap.len());
        }
        while let Some(Reverse((at, number))) = heap.pop() {
            assert_eq!(queue.pop(), Some((Time::from_micros(at), number)));
        }
        assert_eq!(queue.pop(), None);
    }

    proptest! {
        #[test]
        fn pops_what_a_binary_heap_pops(
            script in prop::collection::vec(
                (any::<bool>(), prop_oneof![Just(0u64), 0u64..3, 0u64..2_000, 0u64..40_000_000, 0u64..4_000_000_000_000]),
                0..600,
            )
        ) {
            agrees_with_a_heap(&script);
        }
    }

    proptest! {
        #[test]
        fn a_timer_is_an_event_of_which_only_the_last_counts(
            script in prop::collection::vec(
                (0usize..8, prop_oneof![Just(0u64), 0u64..3, 0u64..2_000, 0u64..40_000_000, 0u64..4_000_000_000_000]),
                0..600,
            )
        ) {
            // Events below 4 are those of timers; the others are numbered.
            let mut queue = Queue::new();
            // The last of them comes when others are set already, and is one too many to be few.
            let mut timers: [Option<TimerId>; 4] = [None; 4];
            let mut all: Vec<(u64, usize, usize)> = Vec::new();
            let mut now = 0;
            for (number, (choice, delay)) in script.into_iter().enumerate() {
                match choice {
                    0..4 => {
                        let timer = *timers[choice].get_or_insert_with(|| queue.timer(choice));
                        queue.set(timer, Time::from_micros(now + delay));
                        all.retain(|&(_, _, event)| event != choice);
                        all.push((now + delay, number, choice));
                    }
                    4 | 5 => {
                        queue.push(Time::from_micros(now + delay), 4 + number);
                        all.push((now + delay, number, 4 + number));
                    }
                    _ => {
                        all.sort_unstable();
                        let expected = (!all.is_empty()).then(|| all.remove(0));
                        let popped = queue.pop();
                        assert_eq!(popped, expected.map(|(at, _, event)| (Time::from_micros(at), event)));
                        now = expected.map_or(now, |(at, _, _)| at);
                        if queue.is_past(Time::from_micros(now)) {
                            assert!(all.iter().all(|&(at, _, _)| at > now));
                        }
                    }
                }
                assert_eq!(queue.len(), all.len());
            }
        }
    }

    #[test]
    fn first_in_first_out_within_an_instant() {
        let mut queue = Queue::new();
        for number in 0..100 {
            queue.push(Time::from_unix_seconds(7), number);
        }
        assert!((0..100).all(|number| queue.pop() == Some((Time::from_unix_seconds(7), number))));
        assert!(queue.is_empty());
    }
}
