//! Chance, keyed by what it is for.
//!
//! Every draw names its purpose and the ordinal of the entity it concerns ("boot time of the 17th instance of pool A"),
//! so a changed policy elsewhere leaves it as it was: common random numbers, which make the difference of two scenarios
//! sharp. The generator is PCG (`rand_pcg`), whose output is fixed by its authors; `StdRng` may change between versions.

use rand_pcg::Pcg64Mcg;

/// What a draw is for: the hash of a name such as `instance.boot`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Purpose(u64);

impl Purpose {
    /// The purpose of that name (FNV-1a, so that it can be a constant).
    pub const fn named(name: &str) -> Purpose {
        let bytes = name.as_bytes();
        let mut hash = 0xcbf2_9ce4_8422_2325_u64;
        let mut index = 0;
        while index < bytes.len() {
            hash = (hash ^ bytes[index] as u64).wrapping_mul(0x0000_0100_0000_01b3);
            index += 1;
        }
        Purpose(hash)
    }
}

/// The source of chance of one replication.
#[derive(Clone, Copy, Debug)]
pub struct Random {
    key: u64,
    antithetic: bool,
}

impl Random {
    /// The source for replication `replication` of `seed`.
    pub fn new(seed: u64, replication: u64) -> Random {
        Random { key: mix(mix(seed) ^ replication), antithetic: false }
    }

    /// The mirror image: every uniform draw `u` becomes `1 - u`.
    pub fn antithetic(self) -> Random {
        Random { antithetic: !self.antithetic, ..self }
    }

    /// A uniform number strictly between 0 and 1, a multiple of 2^-53 plus half of it.
    #[inline(always)]
    pub fn uniform(&self, purpose: Purpose, ordinal: u64) -> f64 {
        let bits = mix(self.word(purpose, ordinal)) >> 11;
        let uniform = (bits as i64 as f64 + 0.5) * (1.0 / (1u64 << 53) as f64);
        if self.antithetic { 1.0 - uniform } else { uniform }
    }

    /// A whole number below `bound` (0 if `bound` is 0).
    pub fn below(&self, purpose: Purpose, ordinal: u64, bound: u64) -> u64 {
        let word = mix(self.word(purpose, ordinal));
        ((u128::from(word) * u128::from(bound)) >> 64) as u64
    }

    /// A whole stream of draws for one purpose and entity, for `rand_distr` and arrival processes.
    pub fn stream(&self, purpose: Purpose, ordinal: u64) -> Pcg64Mcg {
        let low = mix(self.word(purpose, ordinal));
        let high = mix(low ^ 0x6a09_e667_f3bc_c909);
        Pcg64Mcg::new((u128::from(high) << 64) | u128::from(low))
    }

    fn word(&self, purpose: Purpose, ordinal: u64) -> u64 {
        mix(self.key ^ purpose.0).wrapping_add(ordinal.wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }
}

/// The finaliser of splitmix64: every input bit moves every output bit.
const fn mix(value: u64) -> u64 {
    let value = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::Rng;

    const BOOT: Purpose = Purpose::named("instance.boot");

    #[test]
    fn literal_draws_never_change() {
        let random = Random::new(1, 0);
        let drawn = [random.uniform(BOOT, 0), random.uniform(BOOT, 17), Random::new(2, 0).uniform(BOOT, 0)];
        assert_eq!(drawn, LITERAL_UNIFORMS);
        assert_eq!(random.stream(BOOT, 17).next_u64(), LITERAL_STREAM);
    }

    const LITERAL_UNIFORMS: [f64; 3] = [0.667004188157736, 0.008531684271530449, 0.28046012691001593];
    const LITERAL_STREAM: u64 = 8392869248564750395;

    #[test]
    fn draws_depend_on_seed_replication_purpose_and_ordinal_only() {
        let random = Random::new(1, 3);
        assert_eq!(random.uniform(BOOT, 5), Random::new(1, 3).uniform(BOOT, 5));
        assert_ne!(random.uniform(BOOT, 5), random.uniform(BOOT, 6));
        assert_ne!(random.uniform(BOOT, 5), random.uniform(Purpose::named("image.pull"), 5));
        assert_ne!(random.uniform(BOOT, 5), Random::new(1, 4).uniform(BOOT, 5));
    }

    #[test]
    fn an_antithetic_pair_sums_to_one() {
        let random = Random::new(9, 9);
        let sum = random.uniform(BOOT, 1) + random.antithetic().uniform(BOOT, 1);
        assert!((sum - 1.0).abs() < 1e-15);
    }

    #[test]
    fn uniforms_are_uniform() {
        let random = Random::new(4, 2);
        let count = 100_000;
        let mean = (0..count).map(|n| random.uniform(BOOT, n)).sum::<f64>() / count as f64;
        // 99.9 % interval of the mean of 1e5 uniforms: 0.5 +- 3.29 * 0.2887 / sqrt(1e5).
        assert!((mean - 0.5).abs() < 0.003, "{mean}");
        let below: u64 = (0..count).map(|n| random.below(BOOT, n, 10)).sum();
        assert!((below as f64 / count as f64 - 4.5).abs() < 0.03);
    }
}
