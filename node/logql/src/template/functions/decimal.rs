//! Decimal numbers of any length, so that float arithmetic in templates gives what a person would write.

use num_bigint::BigInt;

/// Decimal places a division is carried to, as in the library Loki uses.
const DIVISION_PLACES: i32 = 16;

/// Largest coefficient a calculation may reach, in bits. Two floats need at most 2,200; a long chain of
/// multiplications could otherwise grow without end.
const BITS_MAX: u64 = 16 << 10;

/// `coefficient · 10^exponent`. Both stay small: a float has at most 17 digits and an exponent within ±324.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Decimal {
    coefficient: BigInt,
    exponent: i32,
}

impl Decimal {
    /// The shortest decimal that reads back as this float; `None` for infinities and not-a-number.
    pub(super) fn from_float(value: f64) -> Option<Self> {
        if !value.is_finite() {
            return None;
        }
        let text = format!("{value:e}");
        let (mantissa, exponent) = text.split_once('e')?;
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let digits: i64 = [whole, fraction].concat().parse().ok()?;
        let exponent = exponent.parse::<i32>().ok()? - i32::try_from(fraction.len()).ok()?;
        Some(Decimal { coefficient: BigInt::from(digits), exponent })
    }

    pub(super) fn to_float(&self) -> f64 {
        // Rust's parser rounds correctly, however many digits there are.
        format!("{}e{}", self.coefficient, self.exponent).parse().unwrap_or(f64::NAN)
    }

    pub(super) fn plus(&self, other: &Self) -> Self {
        let exponent = self.exponent.min(other.exponent);
        Decimal { coefficient: self.scaled(exponent) + other.scaled(exponent), exponent }
    }

    pub(super) fn minus(&self, other: &Self) -> Self {
        let exponent = self.exponent.min(other.exponent);
        Decimal { coefficient: self.scaled(exponent) - other.scaled(exponent), exponent }
    }

    pub(super) fn times(&self, other: &Self) -> Self {
        Decimal {
            coefficient: &self.coefficient * &other.coefficient,
            exponent: self.exponent + other.exponent,
        }
    }

    /// The quotient to sixteen places, half rounded away from zero; `None` if `other` is zero.
    pub(super) fn over(&self, other: &Self) -> Option<Self> {
        if other.coefficient == BigInt::ZERO {
            return None;
        }
        let shift = self.exponent - other.exponent + DIVISION_PLACES;
        let mut dividend = self.coefficient.clone();
        let mut divisor = other.coefficient.clone();
        let power = power_of_ten(shift.unsigned_abs());
        if shift >= 0 {
            dividend *= power
        } else {
            divisor *= power
        }
        let mut quotient = &dividend / &divisor;
        let rest: BigInt = (&dividend - &quotient * &divisor) * 2;
        if rest.magnitude() >= divisor.magnitude() {
            quotient += if dividend.sign() == divisor.sign() { 1 } else { -1 };
        }
        Some(Decimal { coefficient: quotient, exponent: -DIVISION_PLACES })
    }

    /// Whether a calculation may go on with this number.
    pub(super) fn is_bounded(&self) -> bool {
        self.coefficient.bits() <= BITS_MAX
    }

    /// The coefficient this number has with a lower exponent.
    fn scaled(&self, exponent: i32) -> BigInt {
        &self.coefficient * power_of_ten(self.exponent.abs_diff(exponent))
    }
}

fn power_of_ten(power: u32) -> BigInt {
    BigInt::from(10).pow(power)
}

#[cfg(test)]
mod tests {
    use super::Decimal;

    #[test]
    fn decimals_compute_as_on_paper() {
        let of = |value: f64| Decimal::from_float(value).unwrap();
        assert_eq!(of(0.1).plus(&of(0.2)).to_float(), 0.3);
        assert_eq!(of(0.3).minus(&of(0.1)).to_float(), 0.2);
        assert_eq!(of(1.1).times(&of(1.1)).to_float(), 1.21);
        assert_eq!(of(1.0).over(&of(3.0)).unwrap().to_float(), 0.333_333_333_333_333_3);
        assert_eq!(of(2.0).over(&of(3.0)).unwrap().to_float(), 0.666_666_666_666_666_7);
        assert_eq!(of(-2.0).over(&of(3.0)).unwrap().to_float(), -0.666_666_666_666_666_7);
        assert_eq!(of(1e300).over(&of(1e-300)).unwrap().to_float(), f64::INFINITY);
        assert_eq!(of(1e-20).over(&of(1.0)).unwrap().to_float(), 0.0);
        assert_eq!(of(1.0).over(&of(0.0)), None);
        assert_eq!(of(f64::MAX).plus(&of(-f64::MAX)).to_float(), 0.0);
        assert_eq!(Decimal::from_float(f64::NAN), None);
    }
}
