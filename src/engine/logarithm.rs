//! The natural logarithm of an ordinary number, the same bits on every machine and quickly.
//!
//! Exponential draws are most of what chance costs a run with single requests. A mathematical library may differ by a bit
//! between systems and versions; additions, products and one quotient in IEEE arithmetic do not.

/// One half of the numbers between 1 and 2 lies below it: mantissas are brought near to 1 from both sides.
const MIDDLE: u64 = std::f64::consts::SQRT_2.to_bits();
const ONE: u64 = 1.0_f64.to_bits();
const MANTISSA_BITS: u32 = 52;

/// The natural logarithm of a finite number of at least 2^-1022: the series of the area tangent, after which the remainder is
/// below 10^-17 of the result.
#[inline(always)]
pub fn ln(number: f64) -> f64 {
    let bits = number.to_bits();
    // The exponent grows by one, and the mantissa is halved, above the middle.
    let exponent =
        (bits.wrapping_sub(ONE) as i64 >> MANTISSA_BITS) + i64::from(bits & !(!0 << MANTISSA_BITS) > MIDDLE - ONE);
    let mantissa = f64::from_bits(bits.wrapping_sub((exponent as u64) << MANTISSA_BITS));
    let part = (mantissa - 1.0) / (mantissa + 1.0);
    let square = part * part;
    let fourth = square * square;
    let eighth = fourth * fourth;
    // Pairs of terms do not wait for one another.
    let low = (1.0 / 3.0 + square * (1.0 / 5.0)) + fourth * (1.0 / 7.0 + square * (1.0 / 9.0));
    let high = (1.0 / 11.0 + square * (1.0 / 13.0)) + fourth * (1.0 / 15.0 + square * (1.0 / 17.0));
    let last = 1.0 / 19.0 + square * (1.0 / 21.0);
    let tail = part * square * (low + eighth * (high + eighth * last));
    exponent as f64 * std::f64::consts::LN_2 + 2.0 * (part + tail)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_the_logarithm_to_the_last_digits() {
        assert_eq!(ln(1.0), 0.0);
        assert_eq!(ln(0.5), -std::f64::consts::LN_2);
        let numbers = (1..200_000).map(|index| f64::from(index) * 1e-5);
        for number in numbers.chain([1e-300, 1.1e-16, 5e-12, 1.0 - 1e-16, 1.0 + 3e-16, 1e9, 1e300]) {
            let (found, exact) = (ln(number), number.ln());
            assert!((found - exact).abs() <= 4e-16 * exact.abs().max(0.5), "{number}: {found}, {exact}");
        }
    }
}
