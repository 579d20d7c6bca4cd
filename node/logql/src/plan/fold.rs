//! Operators on plain numbers: what they yield.

use crate::ast::BinaryOp;

impl BinaryOp {
    /// Whether two values satisfy it, if it is a comparison. NaN satisfies only `!=`.
    fn compare(self, lhs: f64, rhs: f64) -> Option<bool> {
        match self {
            BinaryOp::Equal => Some(lhs == rhs),
            BinaryOp::NotEqual => Some(lhs != rhs),
            BinaryOp::Greater => Some(lhs > rhs),
            BinaryOp::GreaterEqual => Some(lhs >= rhs),
            BinaryOp::Less => Some(lhs < rhs),
            BinaryOp::LessEqual => Some(lhs <= rhs),
            _ => None,
        }
    }

    /// The value of two numbers; 1 or 0 for a comparison. Division and remainder by zero are NaN, unlike
    /// Prometheus, where the former is infinite.
    pub(crate) fn fold(self, lhs: f64, rhs: f64) -> f64 {
        if let Some(holds) = self.compare(lhs, rhs) {
            return f64::from(u8::from(holds));
        }
        match self {
            BinaryOp::Add => lhs + rhs,
            BinaryOp::Sub => lhs - rhs,
            BinaryOp::Mul => lhs * rhs,
            BinaryOp::Div | BinaryOp::Mod if rhs == 0.0 => f64::NAN,
            BinaryOp::Div => lhs / rhs,
            BinaryOp::Mod => lhs % rhs,
            BinaryOp::Pow => lhs.powf(rhs),
            _ => f64::NAN,
        }
    }

    /// The value of two elements of vectors: a comparison without `bool` drops what does not satisfy it and
    /// keeps `kept` of what does.
    pub(crate) fn apply(self, lhs: f64, rhs: f64, return_bool: bool, kept: f64) -> Option<f64> {
        match self.compare(lhs, rhs) {
            Some(holds) if !return_bool => holds.then_some(kept),
            _ => Some(self.fold(lhs, rhs)),
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::ast::BinaryOp;

    fn check(lhs: f64, op: BinaryOp, rhs: f64, expected: f64) {
        let found = op.fold(lhs, rhs);
        let same = found == expected || (found.is_nan() && expected.is_nan());
        assert!(same, "{lhs} {} {rhs} = {found}, expected {expected}", op.as_str());
    }

    #[test]
    fn numbers_combine_as_loki_has_it() {
        check(1.0, BinaryOp::Div, 0.0, f64::NAN);
        check(1.0, BinaryOp::Mod, 0.0, f64::NAN);
        check(-7.0, BinaryOp::Mod, 4.0, -3.0);
        check(5.5, BinaryOp::Mod, 2.0, 1.5);
        check(2.0, BinaryOp::Pow, -1.0, 0.5);
        check(1.0, BinaryOp::Equal, 1.0, 1.0);
        check(1.0, BinaryOp::Less, 1.0, 0.0);
        check(f64::NAN, BinaryOp::NotEqual, f64::NAN, 1.0);
        check(f64::NAN, BinaryOp::GreaterEqual, 1.0, 0.0);
    }

    #[test]
    fn a_comparison_keeps_the_value_it_is_told_to() {
        assert_eq!(BinaryOp::Greater.apply(3.0, 2.0, false, 3.0), Some(3.0));
        assert_eq!(BinaryOp::Greater.apply(1.0, 2.0, false, 1.0), None);
        assert_eq!(BinaryOp::Greater.apply(1.0, 2.0, true, 1.0), Some(0.0));
    }
}
