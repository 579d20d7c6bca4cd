//! How `printf` prints floats: Go's `fmt` around `strconv`, with `%b`, `%x` and what `#` adds.

use super::{print, verb::Format};

/// Bits of a float's fraction.
const FRACTION: u32 = 52;
/// Where the digit before the point stands while hexadecimal digits are cut off.
const LEADING: u32 = 60;

impl Format {
    pub(super) fn float(self, out: &mut Vec<u8>, number: f64, verb: char) -> bool {
        let (verb, precision) = match verb {
            'v' => ('g', self.precision),
            'F' => ('f', Some(self.precision.unwrap_or(6))),
            'e' | 'E' | 'f' => (verb, Some(self.precision.unwrap_or(6))),
            'b' | 'g' | 'G' | 'x' | 'X' => (verb, self.precision),
            _ => return false,
        };
        let text = match verb {
            _ if !number.is_finite() => print::float(number, 'g', None),
            'b' => binary(number),
            'x' => hexadecimal(number, precision),
            'X' => hexadecimal(number, precision).to_uppercase(),
            _ => print::float(number, verb, precision),
        };
        let magnitude = text.trim_start_matches(['+', '-']);
        if !number.is_finite() {
            // Infinity always shows its sign, and neither is padded with zeros.
            let sign = if number == f64::INFINITY && !self.space { "+" } else { self.sign(number < 0.0) };
            let text = format!("{sign}{magnitude}");
            Format { zero: false, ..self }.pad(out, text.as_bytes());
            return true;
        }
        let pointed = (self.sharp && verb != 'b').then(|| pointed(magnitude, verb, precision));
        let magnitude = pointed.as_deref().unwrap_or(magnitude);
        let sign = self.sign(number.is_sign_negative());
        let digits_min = match self.width {
            Some(width) if self.zero && !self.minus => width.saturating_sub(sign.len()),
            _ => 0,
        };
        let text = format!("{sign}{magnitude:0>digits_min$}");
        Format { zero: false, ..self }.pad(out, text.as_bytes());
        true
    }
}

/// What `#` makes of a number: it always has a point, and by some verbs all its digits.
fn pointed(magnitude: &str, verb: char, precision: Option<usize>) -> String {
    let exponents: &[char] = if matches!(verb, 'x' | 'X') { &['p', 'P'] } else { &['e', 'E'] };
    let (digits, exponent) = magnitude.split_at(magnitude.find(exponents).unwrap_or(magnitude.len()));
    let wanted = if matches!(verb, 'g' | 'G' | 'x') { precision.unwrap_or(6) } else { 0 };
    let significant = digits.chars().filter(|c| *c != '.').skip_while(|c| *c == '0').count();
    let has_point = digits.contains('.');
    let written = significant + usize::from(!has_point && digits == "0");
    let point = if has_point { "" } else { "." };
    let zeros = "0".repeat(wanted.saturating_sub(written));
    format!("{digits}{point}{zeros}{exponent}")
}

/// The fraction with what stands before its point, and the power of two of its last bit.
fn parts(number: f64) -> (u64, i64) {
    let bits = number.to_bits();
    let (fraction, power) =
        (bits & ((1 << FRACTION) - 1), i64::try_from((bits >> FRACTION) & 0x7ff).unwrap_or(0));
    match power {
        0 => (fraction, 1 - 1023 - i64::from(FRACTION)),
        power => (fraction | 1 << FRACTION, power - 1023 - i64::from(FRACTION)),
    }
}

/// `%b`: `4503599627370496p-52`.
fn binary(number: f64) -> String {
    let (mantissa, power) = parts(number);
    format!("{mantissa}p{power:+}")
}

/// `%x`: `0x1.8p+01`.
fn hexadecimal(number: f64, precision: Option<usize>) -> String {
    let (mantissa, power) = parts(number);
    let (mut mantissa, mut power) = match mantissa {
        0 => (0, 0),
        mantissa => {
            let shift = mantissa.leading_zeros() - (63 - LEADING);
            (mantissa << shift, power + i64::from(LEADING) - i64::from(shift))
        }
    };
    if let Some(digits) =
        precision.and_then(|digits| u32::try_from(digits).ok()).filter(|digits| *digits < 15)
    {
        // Half is rounded to even.
        let rest = (mantissa << (digits * 4)) & ((1 << LEADING) - 1);
        let cut = LEADING - digits * 4;
        mantissa >>= cut;
        mantissa += u64::from(rest | (mantissa & 1) > 1 << (LEADING - 1));
        mantissa <<= cut;
        if mantissa >> (LEADING + 1) != 0 {
            mantissa >>= 1;
            power += 1;
        }
    }
    let digits = format!("{:015x}", mantissa & ((1 << LEADING) - 1));
    let fraction = match precision {
        Some(precision) => format!("{digits:0<precision$}")[..precision].to_owned(),
        None => digits.trim_end_matches('0').to_owned(),
    };
    let sign = if number.is_sign_negative() { "-" } else { "" };
    let point = if fraction.is_empty() { "" } else { "." };
    let power_sign = if power < 0 { '-' } else { '+' };
    format!("{sign}0x{}{point}{fraction}p{power_sign}{:02}", mantissa >> LEADING, power.abs())
}
