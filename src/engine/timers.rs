//! Timers that are set anew again and again: each has one due time, and setting it replaces the one before.
//!
//! For what is rescheduled far more often than it happens, such as the next end of a request at a pod, which moves with
//! every arrival. In a queue each of those would be an entry that fires for nothing. A binary heap that knows where each
//! timer lies; ordered by `(time, sequence)`, as the queue is.

/// Not in the heap.
const NOWHERE: u32 = u32::MAX;

/// A timer of a queue.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TimerId(u32);

#[derive(Clone, Copy, Debug)]
struct Due {
    at: u64,
    sequence: u32,
    timer: u32,
}

impl Due {
    fn key(&self) -> (u64, u32) {
        (self.at, self.sequence)
    }

    /// Which of two comes first is a coin toss: no branch for it.
    fn is_before(&self, other: &Due) -> bool {
        (self.at < other.at) | ((self.at == other.at) & (self.sequence < other.sequence))
    }
}

/// The timers of a queue, each with its event.
#[derive(Clone, Debug)]
pub struct Timers<E> {
    heap: Vec<Due>,
    /// Where a timer lies in the heap.
    places: Vec<u32>,
    events: Vec<E>,
}

impl<E> Default for Timers<E> {
    fn default() -> Timers<E> {
        Timers { heap: Vec::new(), places: Vec::new(), events: Vec::new() }
    }
}

impl<E: Copy> Timers<E> {
    /// A new timer for an event, not set.
    pub fn add(&mut self, event: E) -> TimerId {
        let id = TimerId(u32::try_from(self.places.len()).expect("fewer than 2^32 timers"));
        self.places.push(NOWHERE);
        self.events.push(event);
        id
    }

    /// Timers that are set.
    pub fn len(&self) -> usize {
        self.heap.len()
    }

    /// None is set.
    pub fn is_empty(&self) -> bool {
        self.heap.is_empty()
    }

    /// Time and sequence of the first one that is due.
    #[inline]
    pub fn first(&self) -> Option<(u64, u32)> {
        self.heap.first().map(Due::key)
    }

    /// Sets a timer, in place of what it was set to.
    #[inline]
    pub fn set(&mut self, timer: TimerId, at: u64, sequence: u32) {
        let due = Due { at, sequence, timer: timer.0 };
        match self.places[timer.0 as usize] {
            NOWHERE => {
                self.heap.push(due);
                self.rise(self.heap.len() - 1, due);
            }
            place if due.is_before(&self.heap[place as usize]) => self.rise(place as usize, due),
            place => self.sink(place as usize, due),
        }
    }

    /// Takes the first one.
    #[inline]
    pub fn pop(&mut self) -> Option<(u64, E)> {
        let first = *self.heap.first()?;
        let last = self.heap.pop()?;
        self.places[first.timer as usize] = NOWHERE;
        if last.timer != first.timer {
            self.sink(0, last);
        }
        Some((first.at, self.events[first.timer as usize]))
    }

    fn put(&mut self, place: usize, due: Due) {
        self.heap[place] = due;
        self.places[due.timer as usize] = place as u32;
    }

    /// Puts `due` at `place` or above it.
    fn rise(&mut self, mut place: usize, due: Due) {
        while place > 0 {
            let parent = (place - 1) / 2;
            if !due.is_before(&self.heap[parent]) {
                break;
            }
            self.put(place, self.heap[parent]);
            place = parent;
        }
        self.put(place, due);
    }

    /// Puts `due` at `place` or below it.
    fn sink(&mut self, mut place: usize, due: Due) {
        loop {
            let mut child = 2 * place + 1;
            if child + 1 < self.heap.len() && self.heap[child + 1].is_before(&self.heap[child]) {
                child += 1;
            }
            if child >= self.heap.len() || !self.heap[child].is_before(&due) {
                break;
            }
            self.put(place, self.heap[child]);
            place = child;
        }
        self.put(place, due);
    }
}
