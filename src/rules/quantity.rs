//! Kubernetes quantities: `250m`, `512Mi`, `1e3`, `0.5`.
//!
//! Source: apimachinery `pkg/api/resource/quantity.go`. Held exactly in nano units; sub-nano digits round up, as there.

use std::fmt;

const NANO: i128 = 1_000_000_000;

/// An exact quantity in nano units (10^-9).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Quantity(i128);

/// CPU in thousandths of a core.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Millicores(pub i64);

/// Memory or storage in bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Bytes(pub i64);

/// Why a text is no quantity.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum QuantityError {
    /// No digits where a number should be.
    NoNumber,
    /// A suffix that Kubernetes does not know.
    Suffix,
    /// Larger than 2^63 whole units.
    TooLarge,
}

impl Quantity {
    /// Reads a quantity as Kubernetes writes it.
    ///
    /// # Errors
    /// What is wrong with the text.
    pub fn parse(text: &str) -> Result<Quantity, QuantityError> {
        let (negative, rest) = match text.as_bytes().first() {
            Some(b'-') => (true, &text[1..]),
            Some(b'+') => (false, &text[1..]),
            _ => (false, text),
        };
        let number_end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let (number, suffix) = rest.split_at(number_end);
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') {
            return Err(QuantityError::NoNumber);
        }
        let (base, exponent) = scale(suffix)?;
        let mut numerator: i128 = 0;
        for digit in whole.bytes().chain(fraction.bytes()) {
            numerator = numerator
                .checked_mul(10)
                .and_then(|n| n.checked_add(i128::from(digit - b'0')))
                .filter(|&n| n <= i128::MAX / NANO / 1024)
                .ok_or(QuantityError::TooLarge)?;
        }
        let nanos = scaled(numerator, base, exponent, fraction.len())?;
        Ok(Quantity(if negative { -nanos } else { nanos }))
    }

    /// So many whole units.
    pub const fn whole(units: i64) -> Quantity {
        Quantity(units as i128 * NANO)
    }

    /// So many thousandths.
    pub const fn milli(thousandths: i64) -> Quantity {
        Quantity(thousandths as i128 * 1_000_000)
    }

    /// Exact nano units.
    pub const fn nanos(self) -> i128 {
        self.0
    }

    /// Thousandths, rounded away from zero, the nearest that fits.
    pub fn milli_ceil(self) -> i64 {
        saturate(div_away(self.0, 1_000_000))
    }

    /// Whole units, rounded away from zero, the nearest that fits.
    pub fn units_ceil(self) -> i64 {
        saturate(div_away(self.0, NANO))
    }

    /// Thousandths as `Quantity.MilliValue` has them, overflow included. Source: `quantity.go` (`ScaledValue`), `amount.go`
    /// (`AsScaledInt64`), `math.go` (`positiveScaleInt64`), `scale_int.go` (`scaledValue`).
    ///
    /// A product that overflows wraps where its factor is 10^3, 10^6 or 10^9, and is zero where it is larger.
    pub fn milli_value(self) -> i64 {
        let (mantissa, exponent) = self.canonical();
        let Ok(number) = i64::try_from(mantissa) else {
            return milli_of_many_digits(self.0);
        };
        if exponent < -3 {
            return div_away(self.0, 1_000_000) as i64;
        }
        let factor = 10i64.pow((exponent + 3).unsigned_abs().min(18));
        match exponent + 3 {
            21.. => number.checked_mul(factor).and_then(|product| product.checked_mul(1000)).unwrap_or(0),
            10.. => number.checked_mul(factor).unwrap_or(0),
            _ => number.wrapping_mul(factor),
        }
    }

    /// As `Quantity.AsApproximateFloat64` has it: the digits times a power of ten, so 0.7 is 0.7000000000000001.
    ///
    /// The digits are those that the API server serves: 0.3 is written to it and `300m` read from it.
    pub fn as_approximate_f64(self) -> f64 {
        let (mantissa, exponent) = self.canonical();
        if i64::try_from(mantissa).is_err() {
            // More digits than an int64 has are held in nano units.
            return self.0 as f64 * (1.0 / power_of_ten(9));
        }
        let digits = mantissa as f64;
        if exponent < 0 { digits * (1.0 / power_of_ten(-exponent)) } else { digits * power_of_ten(exponent) }
    }

    /// Digits and the power of ten that they are multiplied by, as `CanonicalizeBytes` writes them: no zeros at the end
    /// beyond what makes the exponent a multiple of three.
    fn canonical(self) -> (i128, i32) {
        let (mut mantissa, mut exponent) = (self.0, -9);
        while mantissa != 0 && mantissa % 1000 == 0 {
            mantissa /= 1000;
            exponent += 3;
        }
        if mantissa == 0 { (0, 0) } else { (mantissa, exponent) }
    }

    /// As a float, for prices and rates only.
    pub fn as_f64(self) -> f64 {
        self.0 as f64 / NANO as f64
    }
}

fn saturate(value: i128) -> i64 {
    i64::try_from(value).unwrap_or(if value < 0 { i64::MIN } else { i64::MAX })
}

fn div_ceil(value: i128, by: i128) -> i128 {
    value.div_euclid(by) + i128::from(value.rem_euclid(by) != 0)
}

fn div_away(value: i128, by: i128) -> i128 {
    let up = div_ceil(value.abs(), by);
    if value < 0 { -up } else { up }
}

/// Thousandths of a number with more digits than an int64 has, which is held in nano units. A positive one is divided whole
/// and rounded up; of a negative one only the lower 64 bits are looked at, divided toward zero and raised by one if inexact.
fn milli_of_many_digits(nanos: i128) -> i64 {
    if nanos > 0 {
        return div_ceil(nanos, 1_000_000) as i64;
    }
    let lower = nanos as i64;
    lower / 1_000_000 + i64::from(lower % 1_000_000 != 0)
}

/// Exact up to 10^22.
fn power_of_ten(exponent: i32) -> f64 {
    (0..exponent).fold(1.0, |power, _| power * 10.0)
}

/// Suffix to (base, exponent).
fn scale(suffix: &str) -> Result<(u32, i32), QuantityError> {
    Ok(match suffix {
        "" => (10, 0),
        "n" => (10, -9),
        "u" => (10, -6),
        "m" => (10, -3),
        "k" => (10, 3),
        "M" => (10, 6),
        "G" => (10, 9),
        "T" => (10, 12),
        "P" => (10, 15),
        "E" => (10, 18),
        "Ki" => (2, 10),
        "Mi" => (2, 20),
        "Gi" => (2, 30),
        "Ti" => (2, 40),
        "Pi" => (2, 50),
        "Ei" => (2, 60),
        _ => match suffix.strip_prefix(['e', 'E']).map(str::parse::<i32>) {
            Some(Ok(exponent)) if exponent.abs() <= 30 => (10, exponent),
            Some(Ok(_)) => return Err(QuantityError::TooLarge),
            _ => return Err(QuantityError::Suffix),
        },
    })
}

fn scaled(numerator: i128, base: u32, exponent: i32, fraction_digits: usize) -> Result<i128, QuantityError> {
    let too_large = QuantityError::TooLarge;
    let mut value = numerator.checked_mul(NANO).ok_or(too_large)?;
    let mut divisor: i128 = 1;
    for _ in 0..fraction_digits {
        divisor = divisor.checked_mul(10).ok_or(too_large)?;
    }
    if exponent >= 0 {
        let factor = i128::from(base).checked_pow(exponent.unsigned_abs()).ok_or(too_large)?;
        value = value.checked_mul(factor).ok_or(too_large)?;
    } else {
        let factor = i128::from(base).checked_pow(exponent.unsigned_abs()).ok_or(too_large)?;
        divisor = divisor.checked_mul(factor).ok_or(too_large)?;
    }
    let nanos = div_ceil(value, divisor);
    if base == 2 {
        // A number with a binary suffix is capped, not refused.
        return Ok(nanos.min(i128::from(i64::MAX) * NANO));
    }
    if nanos > i128::from(i64::MAX) * NANO { Err(too_large) } else { Ok(nanos) }
}

impl fmt::Display for Millicores {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 % 1000 == 0 { write!(formatter, "{}", self.0 / 1000) } else { write!(formatter, "{}m", self.0) }
    }
}

impl fmt::Display for Bytes {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (shift, suffix) in [(40, "Ti"), (30, "Gi"), (20, "Mi"), (10, "Ki")] {
            if self.0 != 0 && self.0 % (1 << shift) == 0 {
                return write!(formatter, "{}{suffix}", self.0 >> shift);
            }
        }
        write!(formatter, "{}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_kubernetes_reads() {
        let milli = |text| Quantity::parse(text).map(Quantity::milli_ceil);
        assert_eq!(milli("250m"), Ok(250));
        assert_eq!(milli("0.5"), Ok(500));
        assert_eq!(milli(".5"), Ok(500));
        assert_eq!(milli("1"), Ok(1000));
        assert_eq!(milli("100u"), Ok(1), "a fraction of a milli rounds up");
        assert_eq!(milli("-250m"), Ok(-250));
        let units = |text| Quantity::parse(text).map(Quantity::units_ceil);
        assert_eq!(units("512Mi"), Ok(512 << 20));
        assert_eq!(units("1.5Gi"), Ok(3 << 29));
        assert_eq!(units("1e3"), Ok(1000));
        assert_eq!(units("2E"), Ok(2_000_000_000_000_000_000));
        assert_eq!(units("128974848"), Ok(128_974_848));
    }

    /// What `MilliValue` and `AsApproximateFloat64` of apimachinery 0.34.1 say of a quantity that was read, written in its
    /// canonical form and read again.
    #[test]
    fn milli_values_are_those_of_upstream_where_they_overflow_too() {
        let milli = |text| Quantity::parse(text).map(Quantity::milli_value);
        for (text, value) in [
            ("0", 0),
            ("700m", 700),
            ("-1.0001", -1001),
            ("-100u", -1),
            ("9e15", 9_000_000_000_000_000_000),
            ("9223372036854775807", -1000),
            ("9223372036854776", -9_223_372_036_854_775_616),
            ("9.3e15", 0),
            ("9E", 0),
            ("1e17", 0),
            ("1.5Ei", -4_611_686_018_427_387_904),
            ("9Ei", -1000),
            ("-1.00015Ki", -1_024_154),
            ("12345678901234.567891234", 12_345_678_901_234_568),
            ("-12345678901234.567891234", -4_807_115_922_876),
        ] {
            assert_eq!(milli(text), Ok(value), "{text}");
        }
    }

    #[test]
    fn floats_are_digits_times_a_power_of_ten() {
        let float = |text| Quantity::parse(text).map(|quantity| quantity.as_approximate_f64().to_bits());
        for (text, bits) in [
            ("700m", 0x3fe6_6666_6666_6667),
            ("0.7", 0x3fe6_6666_6666_6667),
            ("0.05", 0x3fa9_9999_9999_999a),
            ("0.3", 0x3fd3_3333_3333_3333),
            ("-100u", 0xbf1a_36e2_eb1c_432c),
            ("123456789.123456789", 0x419d_6f34_547e_6b75),
            ("9.3e15", 0x4340_8526_7e34_a000),
            ("1", 1f64.to_bits()),
            ("0", 0),
        ] {
            assert_eq!(float(text), Ok(bits), "{text}");
        }
    }

    #[test]
    fn refuses_the_rest() {
        assert_eq!(Quantity::parse(""), Err(QuantityError::NoNumber));
        assert_eq!(Quantity::parse("m"), Err(QuantityError::NoNumber));
        assert_eq!(Quantity::parse("1.2.3"), Err(QuantityError::NoNumber));
        assert_eq!(Quantity::parse("5mb"), Err(QuantityError::Suffix));
        assert_eq!(Quantity::parse("9e99"), Err(QuantityError::TooLarge));
        assert_eq!(Quantity::parse(&"9".repeat(500)), Err(QuantityError::TooLarge));
    }

    #[test]
    fn prints_the_way_it_is_written() {
        assert_eq!(Millicores(1500).to_string(), "1500m");
        assert_eq!(Millicores(2000).to_string(), "2");
        assert_eq!(Bytes(512 << 20).to_string(), "512Mi");
        assert_eq!(Bytes(0).to_string(), "0");
    }
}
