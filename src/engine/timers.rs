//! Timers that are set anew again and again: each has one due time, and setting it replaces the one before.
//!
//! For what is rescheduled far more often than it happens, such as the next end of a request at a pod, which moves with
//! every arrival. In a queue each of those would be an entry that fires for nothing. A binary heap that knows where each
//! timer lies; ordered by `(time, sequence)`, as the queue is.

/// Not in the heap.
const NOWHERE: u32 = u32::MAX;
/// Up to so many timers lie in no heap: the first is found by looking at all of them, without a branch to guess.
const FEW: usize = if cfg!(test) { 3 } else { 8 };
/// A timer of a few that is not set.
const UNSET: u128 = u128::MAX;

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
    /// While they are few: time, sequence and number of each, in one number whose order is theirs.
    few: Vec<u128>,
    /// The least of `few`; `None`: it has to be looked up.
    least: Option<u128>,
    heap: Vec<Due>,
    /// Where a timer lies in the heap.
    places: Vec<u32>,
    events: Vec<E>,
    /// The first one was taken and lies there still: most often it is set anew at once, and then has only to sink.
    taken: bool,
}

impl<E> Default for Timers<E> {
    fn default() -> Timers<E> {
        Timers {
            few: Vec::new(),
            least: Some(UNSET),
            heap: Vec::new(),
            places: Vec::new(),
            events: Vec::new(),
            taken: false,
        }
    }
}

impl<E: Copy> Timers<E> {
    /// A new timer for an event, not set.
    pub fn add(&mut self, event: E) -> TimerId {
        let id = TimerId(u32::try_from(self.places.len()).expect("fewer than 2^32 timers"));
        self.places.push(NOWHERE);
        self.events.push(event);
        if self.events.len() <= FEW {
            self.few.push(UNSET);
        } else {
            self.leave_few();
        }
        id
    }

    /// There are too many to look at all of them: those that are set go into the heap.
    fn leave_few(&mut self) {
        for key in std::mem::take(&mut self.few).into_iter().filter(|&key| key != UNSET) {
            let due = Due { at: (key >> 64) as u64, sequence: (key >> 32) as u32, timer: key as u32 };
            self.heap.push(due);
            self.rise(self.heap.len() - 1, due);
        }
        self.least = None;
    }

    #[inline(always)]
    fn least(&mut self) -> u128 {
        match self.least {
            Some(least) => least,
            None => *self.least.insert(self.few.iter().fold(UNSET, |least, &key| least.min(key))),
        }
    }

    /// Timers that are set.
    pub fn len(&self) -> usize {
        let few = self.few.iter().filter(|&&key| key != UNSET).count();
        few + self.heap.len() - usize::from(self.taken)
    }

    /// None is set.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Time and sequence of the first one that is due.
    #[inline]
    pub fn first(&mut self) -> Option<(u64, u32)> {
        if !self.few.is_empty() {
            let least = self.least();
            return (least != UNSET).then_some(((least >> 64) as u64, (least >> 32) as u32));
        }
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
        if let Some(key) = self.few.get_mut(timer.0 as usize) {
            *key = u128::from(at) << 64 | u128::from(sequence) << 32 | u128::from(timer.0);
            self.least = None;
            return;
        }
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

    /// What a timer brings.
    #[inline(always)]
    pub fn event(&self, timer: TimerId) -> &E {
        &self.events[timer.0 as usize]
    }

    /// Takes the first one.
    #[inline]
    pub fn pop(&mut self) -> Option<(u64, TimerId)> {
        if !self.few.is_empty() {
            let least = self.least();
            let timer = least as u32 as usize;
            *self.few.get_mut(timer)? = UNSET;
            self.least = None;
            return Some(((least >> 64) as u64, TimerId(timer as u32)));
        }
        if self.taken {
            self.drop_first();
        }
        let first = *self.heap.first()?;
        self.taken = true;
        Some((first.at, TimerId(first.timer)))
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
