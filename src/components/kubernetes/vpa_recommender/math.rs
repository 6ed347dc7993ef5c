//! Logarithm, power of two and whole powers, the same to the last bit on every machine.
//!
//! A recommendation is cut to whole millicores and bytes, so one unit in the last place can move it to the next bucket.
//! The recommender is written in Go, whose `math` package follows FreeBSD's msun; the approximations below are that
//! library's (`e_log.c`, `e_exp.c`), in the same order of operations. Their notice: Copyright (C) 1993, 2004 by Sun
//! Microsystems, Inc. Permission to use, copy, modify, and distribute this software is freely granted, provided that
//! this notice is preserved.

/// The high bits of ln 2: exact when multiplied by an exponent.
const LN2_HIGH: f64 = f64::from_bits(0x3fe6_2e42_fee0_0000);
/// ln 2 less its high bits.
const LN2_LOW: f64 = f64::from_bits(0x3dea_39ef_3579_3c76);

/// Coefficients of (ln(1 + s) - ln(1 - s) - 2 s) / s as a polynomial in s^2, odd places first.
const LOG_ODD: [f64; 4] =
    doubles([0x3fe5_5555_5555_5593, 0x3fd2_4924_9422_9359, 0x3fc7_4664_96cb_03de, 0x3fc2_f112_df3e_5244]);
const LOG_EVEN: [f64; 3] = doubles([0x3fd9_9999_9997_fa04, 0x3fcc_71c5_1d8e_78af, 0x3fc3_9a09_d078_c69f]);

/// Coefficients of x (e^x + 1) / (e^x - 1) - 2 as a polynomial in x^2.
const EXP: [f64; 5] = doubles([
    0x3fc5_5555_5555_5555,
    0xbf66_c16c_16be_bd93,
    0x3f11_566a_af25_de2c,
    0xbebb_bd41_c5d2_6bf1,
    0x3e66_3769_72be_a4d0,
]);

const fn doubles<const COUNT: usize>(bits: [u64; COUNT]) -> [f64; COUNT] {
    let mut doubles = [0.0; COUNT];
    let mut index = 0;
    while index < COUNT {
        doubles[index] = f64::from_bits(bits[index]);
        index += 1;
    }
    doubles
}

/// A polynomial by Horner's rule, lowest coefficient first.
#[inline(always)]
fn polynomial<const COUNT: usize>(coefficients: &[f64; COUNT], x: f64) -> f64 {
    let mut sum = coefficients[COUNT - 1];
    for place in (0..COUNT - 1).rev() {
        sum = coefficients[place] + x * sum;
    }
    sum
}

/// The natural logarithm of a normal number above zero.
pub fn ln(x: f64) -> f64 {
    let bits = x.to_bits();
    let mut exponent = ((bits >> 52) & 0x7ff) as i64 - 0x3fe;
    let mut fraction = f64::from_bits((bits & 0x000f_ffff_ffff_ffff) | 0x3fe0_0000_0000_0000);
    if fraction < std::f64::consts::FRAC_1_SQRT_2 {
        fraction *= 2.0;
        exponent -= 1;
    }
    let f = fraction - 1.0;
    let k = exponent as f64;
    let s = f / (2.0 + f);
    let s2 = s * s;
    let s4 = s2 * s2;
    let odd = s2 * polynomial(&LOG_ODD, s4);
    let even = s4 * polynomial(&LOG_EVEN, s4);
    let rest = odd + even;
    let half_square = 0.5 * f * f;
    k * LN2_HIGH - ((half_square - (s * (half_square + rest) + k * LN2_LOW)) - f)
}

/// 2 to a real exponent.
pub fn exp2(x: f64) -> f64 {
    if x.is_nan() {
        return x;
    }
    if x > 1_023.999_999_999_999_9 {
        return f64::INFINITY;
    }
    if x < -1074.0 {
        return 0.0;
    }
    let k = if x > 0.0 { (x + 0.5) as i64 } else { (x - 0.5) as i64 };
    let t = x - k as f64;
    let (high, low) = (t * LN2_HIGH, -t * LN2_LOW);
    let r = high - low;
    let square = r * r;
    let c = r - square * polynomial(&EXP, square);
    let fraction = 1.0 - ((low - (r * c) / (2.0 - c)) - high);
    fraction * power_of_two(k / 2) * power_of_two(k - k / 2)
}

/// 2 to a whole exponent, exactly; zero below the smallest number.
pub fn power_of_two(exponent: i64) -> f64 {
    match exponent {
        1024.. => f64::INFINITY,
        -1022..=1023 => f64::from_bits(((exponent + 1023) as u64) << 52),
        -1074..=-1023 => f64::from_bits(1 << (exponent + 1074)),
        _ => 0.0,
    }
}

/// A number to a whole exponent by repeated squaring: the order of roundings of Go's `Pow`.
pub fn power(base: f64, exponent: i32) -> f64 {
    let (mut result, mut square, mut rest) = (1.0, base, exponent.unsigned_abs());
    while rest != 0 {
        if rest & 1 == 1 {
            result *= square;
        }
        square *= square;
        rest >>= 1;
    }
    if exponent < 0 { 1.0 / result } else { result }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(value: f64, expected: f64) -> bool {
        (value - expected).abs() <= 2.0 * f64::EPSILON * expected.abs()
    }

    #[test]
    fn agrees_with_the_machine_to_the_last_bits() {
        for step in 1..2000 {
            let x = f64::from(step) * 0.037;
            assert!(close(ln(1.0 + x), (1.0 + x).ln()), "ln {x}");
            assert!(close(exp2(x), x.exp2()), "2^{x}");
            assert!(close(exp2(-x), (-x).exp2()), "2^-{x}");
        }
        for exponent in -300..300 {
            let expected = 1.05_f64.powf(f64::from(exponent));
            assert!((power(1.05, exponent) - expected).abs() <= 1e-13 * expected, "1.05^{exponent}");
        }
    }

    #[test]
    fn whole_powers_of_two_are_exact() {
        assert_eq!(exp2(0.0), 1.0);
        assert_eq!(exp2(100.0), 1_267_650_600_228_229_401_496_703_205_376.0);
        assert_eq!(power_of_two(-101), 1.0 / power_of_two(101));
        assert_eq!(power_of_two(-1074), f64::from_bits(1));
        assert_eq!(power_of_two(-106_752), 0.0);
    }
}
