//! A small, fast hash with the same value on every machine: for the rolling hash of a run and for sets of events.
//!
//! FNV-1a for bytes, and its step on whole words (texts are taken by words, too), rotated so that low and high bits both carry
//! what came in. Not for input that somebody chose to collide: what is hashed here are our own ids and sentences.

use std::hash::{BuildHasherDefault, Hasher};

const PRIME: u64 = 0x0000_0100_0000_01b3;

/// The state: start from [`StableHasher::default`], or go on from an earlier value.
#[derive(Clone, Copy, Debug)]
pub struct StableHasher(u64);

/// For `HashSet` and `HashMap`.
pub type StableState = BuildHasherDefault<StableHasher>;

impl Default for StableHasher {
    fn default() -> StableHasher {
        StableHasher(0xcbf2_9ce4_8422_2325)
    }
}

impl From<u64> for StableHasher {
    fn from(earlier: u64) -> StableHasher {
        StableHasher(earlier)
    }
}

impl Hasher for StableHasher {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, bytes: &[u8]) {
        // Texts by words: each step waits for the product of the one before.
        let (words, rest) = bytes.as_chunks::<8>();
        words.iter().for_each(|word| self.write_u64(u64::from_le_bytes(*word)));
        for &byte in rest {
            self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(PRIME);
        }
    }
    fn write_u32(&mut self, value: u32) {
        self.write_u64(u64::from(value));
    }
    fn write_u64(&mut self, value: u64) {
        self.0 = (self.0 ^ value).wrapping_mul(PRIME).rotate_left(23);
    }
    fn write_isize(&mut self, value: isize) {
        self.write_u64(value as u64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_value_is_the_same_everywhere() {
        let mut hasher = StableHasher::default();
        hasher.write(b"kubelapse");
        hasher.write_u32(7);
        assert_eq!(hasher.finish(), 0x521d_29a6_1116_3753);
    }
}
