//! Draws made ahead, several at once.
//!
//! A draw is keyed by what it is for, so it does not matter when it is made; and a machine makes several that do not wait for
//! one another in the time of two or three.

const COUNT: usize = 16;

/// Draws by number, for numbers that mostly follow one another.
#[derive(Clone, Debug)]
pub struct Ahead<T> {
    drawn: [T; COUNT],
    first: u64,
    valid: u64,
    expected: u64,
}

impl<T: Copy + Default> Default for Ahead<T> {
    fn default() -> Ahead<T> {
        Ahead { drawn: [T::default(); COUNT], first: 0, valid: 0, expected: 0 }
    }
}

impl<T: Copy + Default> Ahead<T> {
    /// The draw of a number; `draw` makes it, and is called with any number.
    #[inline(always)]
    pub fn get(&mut self, number: u64, draw: impl Fn(u64) -> T) -> T {
        let index = number.wrapping_sub(self.first);
        if index < self.valid {
            return self.drawn[index as usize % COUNT];
        }
        self.draw_ahead(number, draw)
    }

    /// Draws several, if the number follows the one before.
    #[inline(never)]
    fn draw_ahead(&mut self, number: u64, draw: impl Fn(u64) -> T) -> T {
        if number != self.expected {
            // Numbers that jump are drawn one by one.
            self.expected = number.wrapping_add(1);
            return draw(number);
        }
        for (index, place) in self.drawn.iter_mut().enumerate() {
            *place = draw(number.wrapping_add(index as u64));
        }
        (self.first, self.valid, self.expected) = (number, COUNT as u64, number.wrapping_add(COUNT as u64));
        self.drawn[0]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    #[test]
    fn whatever_is_asked_for_is_what_is_drawn_for_it() {
        let calls = Cell::new(0);
        let draw = |number: u64| {
            calls.set(calls.get() + 1);
            number * 7
        };
        let mut ahead = Ahead::default();
        for number in (1..100).chain([3, 1 << 40, 5, 6, 7, 7, 200, 99]).chain(300..340) {
            assert_eq!(ahead.get(number, draw), number * 7);
        }
        assert!(calls.get() < 200, "no number that follows another is drawn twice");
    }
}
