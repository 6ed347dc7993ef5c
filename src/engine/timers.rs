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
    /// The first one was taken and lies there still: most often it is set anew at once, and then has only to sink.
    taken: bool,
}

impl<E> Default for Timers<E> {
    fn default() -> Timers<E> {
        Timers { heap: Vec::new(), places: Vec::new(), events: Vec::new(), taken: false }
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
        self.heap.len() - usize::from(self.taken)
    }

    /// None is set.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Time and sequence of the first one that is due.
    #[inline]
    pub fn first(&mut self) -> Option<(u64, u32)> {
        if self.taken {
            self.drop_first();
        }
        self.heap.first().map(Due::key)
    }

    fn drop_first(&mut self) {
        self.taken = false;
        let (Some(first), Some(last)) = (self.heap.first().copied(), self.heap.pop()) else { return };
        self.places[first.timer as usize] = NOWHERE;
        if last.timer != first.timer {
            self.sink(0, last);
        }
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
            0 => {
                self.taken = false;
                self.sink(0, due);
            }
            place if due.is_before(&self.heap[place as usize]) => self.rise(place as usize, due),
            place => self.sink(place as usize, due),
        }
    }

    /// Takes the first one: shows its event, and returns its time.
    #[inline]
    pub fn pop_with(&mut self, mut show: impl FnMut(&E)) -> Option<u64> {
        if self.taken {
            self.drop_first();
        }
        let first = *self.heap.first()?;
        self.taken = true;
        show(&self.events[first.timer as usize]);
        Some(first.at)
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
    #[inline]
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
