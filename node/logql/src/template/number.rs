//! Numbers as Go's `strconv` reads them: base prefixes, underscores, hexadecimal floats, infinities.

use super::ast::Number;

/// Go's `ParseInt(text, 0, 64)`: an optional sign, then decimal, `0x`, `0o`, `0b` or leading-zero octal,
/// underscores between digits.
pub(super) fn parse_int(text: &str) -> Option<i64> {
    let (negative, digits) = split_sign(text);
    let magnitude = i128::from(parse_magnitude(digits)?);
    i64::try_from(if negative { -magnitude } else { magnitude }).ok()
}

fn split_sign(text: &str) -> (bool, &str) {
    match text.as_bytes().first() {
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        _ => (false, text),
    }
}

fn parse_magnitude(text: &str) -> Option<u64> {
    let (radix, digits) = match text.get(..2).map(str::to_ascii_lowercase).as_deref() {
        Some("0x") => (16, &text[2..]),
        Some("0o") => (8, &text[2..]),
        Some("0b") => (2, &text[2..]),
        _ if text.len() > 1 && text.starts_with('0') => (8, &text[1..]),
        _ => (10, text),
    };
    if !underscores_ok(text) {
        return None;
    }
    let digits: String = digits.chars().filter(|c| *c != '_').collect();
    // `from_str_radix` would take a second sign.
    if digits.starts_with(['+', '-']) {
        return None;
    }
    u64::from_str_radix(&digits, radix).ok()
}

/// An underscore may stand between digits, or between a base prefix and a digit.
fn underscores_ok(text: &str) -> bool {
    if !text.contains('_') {
        return true;
    }
    let (_, text) = split_sign(text);
    let prefix = text
        .get(..2)
        .is_some_and(|p| matches!(p.as_bytes(), [b'0', b'x' | b'X' | b'o' | b'O' | b'b' | b'B']));
    let hexadecimal = prefix && matches!(text.as_bytes()[1], b'x' | b'X');
    let mut last = if prefix { b'0' } else { b'^' };
    for byte in text.bytes().skip(if prefix { 2 } else { 0 }) {
        let class = match byte {
            b'0'..=b'9' => b'0',
            b'a'..=b'f' | b'A'..=b'F' if hexadecimal => b'0',
            b'_' if last != b'0' => return false,
            b'_' => b'_',
            _ if last == b'_' => return false,
            _ => b'!',
        };
        last = class;
    }
    last != b'_'
}

/// Go's `ParseFloat(text, 64)`; `None` also for what is out of range.
pub(super) fn parse_float(text: &str) -> Option<f64> {
    let (negative, unsigned) = split_sign(text);
    let lower = unsigned.to_ascii_lowercase();
    let infinity = if negative { f64::NEG_INFINITY } else { f64::INFINITY };
    match lower.as_str() {
        "inf" | "infinity" => return Some(infinity),
        "nan" => return (unsigned.len() == text.len()).then_some(f64::NAN),
        _ => {}
    }
    if !underscores_ok(text) {
        return None;
    }
    let plain = lower.replace('_', "");
    let magnitude = match plain.strip_prefix("0x") {
        Some(digits) => parse_hexadecimal(digits)?,
        None if plain.starts_with(|c: char| c.is_ascii_digit() || c == '.') => plain.parse().ok()?,
        None => return None,
    };
    magnitude.is_finite().then_some(if negative { -magnitude } else { magnitude })
}

/// `h.hhhp±d` after its `0x`. Exact to 60 bits of mantissa, which is more than a constant is written with.
fn parse_hexadecimal(text: &str) -> Option<f64> {
    let (mantissa, exponent) = text.split_once('p')?;
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits: String = [whole, fraction].concat();
    if digits.is_empty() || digits.len() > 15 || !digits.chars().all(|c| c.is_ascii_hexdigit()) {
        return None;
    }
    let exponent: i32 = exponent.parse().ok().filter(|e: &i32| e.abs() < 2000)?;
    let value = u64::from_str_radix(&digits, 16).ok()? as f64;
    Some(value * 2f64.powi(exponent - 4 * i32::try_from(fraction.len()).ok()?))
}

/// A number constant of a template; the error says why it is none.
pub(super) fn constant(text: &str) -> Result<Number, String> {
    let has_point = text.contains(['.', 'e', 'E', 'p', 'P']);
    let hexadecimal_int =
        text.len() > 2 && text[..2].eq_ignore_ascii_case("0x") && !text.contains(['p', 'P']);
    let looks_float = has_point && !hexadecimal_int;
    if let Some(int) = parse_int(text) {
        return Ok(Number { int: Some(int), float: int as f64, looks_float });
    }
    match parse_float(text) {
        Some(_) if !has_point => Err(format!("integer overflow: `{text}`")),
        Some(float) => Ok(Number { int: whole(float), float, looks_float }),
        None => Err(format!("illegal number syntax: `{text}`")),
    }
}

fn whole(float: f64) -> Option<i64> {
    let fits = float.fract() == 0.0 && (-(2f64.powi(63))..2f64.powi(63)).contains(&float);
    fits.then_some(float as i64)
}

#[cfg(test)]
mod tests {
    use super::{constant, parse_float, parse_int};

    #[test]
    fn integers_parse_as_in_go() {
        let check = |text: &str, want| assert_eq!(parse_int(text), want, "{text}");
        check("42", Some(42));
        check("-7", Some(-7));
        check("+7", Some(7));
        check("010", Some(8));
        check("0x1F", Some(31));
        check("0b101", Some(5));
        check("0o17", Some(15));
        check("1_000", Some(1000));
        check("0_7", Some(7));
        check("0x_f", Some(15));
        check("-9223372036854775808", Some(i64::MIN));
        check("9223372036854775808", None);
        check("1__0", None);
        check("_1", None);
        check("1_", None);
        check("08", None);
        check("", None);
        check("-", None);
        check("+-1", None);
        check(" 1", None);
        check("é1", None);
    }

    #[test]
    fn floats_parse_as_in_go() {
        let check = |text: &str, want| assert_eq!(parse_float(text), want, "{text}");
        check("1.5", Some(1.5));
        check(".5", Some(0.5));
        check("5.", Some(5.0));
        check("1e3", Some(1000.0));
        check("-1E-2", Some(-0.01));
        check("0x1p-2", Some(0.25));
        check("0x1.8p1", Some(3.0));
        check("1_0.5", Some(10.5));
        check("Inf", Some(f64::INFINITY));
        check("-infinity", Some(f64::NEG_INFINITY));
        check("1e400", None);
        check("", None);
        check(".", None);
        check("e5", None);
        check("--1", None);
        check("-nan", None);
        check(" 1", None);
        assert!(parse_float("NaN").is_some_and(f64::is_nan));
    }

    #[test]
    fn constants_take_their_type_from_how_they_are_written() {
        let check = |text: &str, int, float, looks_float| {
            let number = constant(text).unwrap();
            assert_eq!((number.int, number.float, number.looks_float), (int, float, looks_float), "{text}");
        };
        check("1", Some(1), 1.0, false);
        check("1.0", Some(1), 1.0, true);
        check("1e3", Some(1000), 1000.0, true);
        check("1.5", None, 1.5, true);
        check("0x1e", Some(30), 30.0, false);
        check("-3", Some(-3), -3.0, false);
        for bad in ["99999999999999999999", "1.2.3", "0xg", "+", "08"] {
            assert!(constant(bad).is_err(), "{bad}");
        }
    }
}
