//! Numbers, durations and sizes inside label values, read as Loki reads them, which is as Go does.
//!
//! Sources: `strconv.ParseFloat` and `time.ParseDuration` of Go's documentation, and
//! `github.com/dustin/go-humanize`'s `ParseBytes`.

use std::fmt;

use thiserror::Error;

/// A text that is not a quantity of the kind asked for.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{kind} `{text}` cannot be read")]
pub struct ValueError {
    kind: Kind,
    text: Cut,
}

/// The start of a text: enough to recognise a value by, and held without allocating, since lines that fail are often
/// dropped.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Cut {
    bytes: [u8; Cut::BYTES_MAX],
    len: u8,
}

impl Cut {
    const BYTES_MAX: usize = 64;

    fn of(text: &str) -> Cut {
        let len = text.floor_char_boundary(Cut::BYTES_MAX);
        let mut bytes = [0; Cut::BYTES_MAX];
        bytes[..len].copy_from_slice(&text.as_bytes()[..len]);
        Cut { bytes, len: len as u8 }
    }
}

impl fmt::Display for Cut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(&self.bytes[..usize::from(self.len)]))
    }
}

impl fmt::Debug for Cut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{self}`")
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Number,
    Duration,
    Size,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Kind::Number => "number",
            Kind::Duration => "duration",
            Kind::Size => "size",
        })
    }
}

impl Kind {
    fn error(self, text: &str) -> ValueError {
        ValueError { kind: self, text: Cut::of(text) }
    }
}

/// Reads a float: decimal or hexadecimal (`0x1p-2`), digits separated by single underscores, `Inf`,
/// `Infinity` or `NaN` in any case. Too large a number is an error.
pub fn parse_number(text: &str) -> Result<f64, ValueError> {
    float(text).ok_or_else(|| Kind::Number.error(text))
}

fn float(text: &str) -> Option<f64> {
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    match unsigned.as_bytes().first()? {
        b'0'..=b'9' | b'.' => {}
        b'i' | b'I' => return text.parse().ok(),
        b'n' | b'N' if unsigned.len() == text.len() => return text.parse().ok(),
        _ => return None,
    }
    if !text.contains('_') {
        return plain_float(text);
    }
    if underscores_separate_digits(unsigned) { without('_', text, plain_float) } else { None }
}

/// Reads a number whose digits are not separated.
fn plain_float(text: &str) -> Option<f64> {
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    let value = match unsigned.strip_prefix("0x").or_else(|| unsigned.strip_prefix("0X")) {
        Some(hex) => hex_float(hex)? * if text.starts_with('-') { -1.0 } else { 1.0 },
        None => text.parse::<f64>().ok()?,
    };
    value.is_finite().then_some(value)
}

/// Reads a text without its separators, which are ASCII. One as short as numbers are is not copied to the heap.
fn without<T>(separator: char, text: &str, read: impl FnOnce(&str) -> T) -> T {
    let mut room = [0; 64];
    if text.len() > room.len() {
        return read(&text.replace(separator, ""));
    }
    let mut len = 0;
    for byte in text.bytes().filter(|byte| char::from(*byte) != separator) {
        room[len] = byte;
        len += 1;
    }
    read(std::str::from_utf8(&room[..len]).unwrap_or(""))
}

fn underscores_separate_digits(text: &str) -> bool {
    let bytes = text.as_bytes();
    let hex = text.starts_with("0x") || text.starts_with("0X");
    let digit =
        |b: u8| if hex { b.is_ascii_hexdigit() || b == b'x' || b == b'X' } else { b.is_ascii_digit() };
    bytes
        .iter()
        .enumerate()
        .filter(|(_, b)| **b == b'_')
        .all(|(i, _)| i > 0 && digit(bytes[i - 1]) && bytes.get(i + 1).is_some_and(|b| digit(*b)))
}

/// The part of a hexadecimal float behind `0x`: digits, perhaps with a point, and a binary exponent.
fn hex_float(text: &str) -> Option<f64> {
    let (mantissa, exponent) = text.split_once(['p', 'P'])?;
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    let mut value = 0.0f64;
    for digit in whole.chars().chain(fraction.chars()) {
        value = value * 16.0 + f64::from(digit.to_digit(16)?);
    }
    let unsigned = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
    if !unsigned.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let exponent: i32 = exponent.parse().ok()?;
    let shift = i32::try_from(fraction.len()).ok()?.checked_mul(4)?;
    Some(value * 2f64.powi(exponent.checked_sub(shift)?))
}

/// Reads a duration such as `1h2m3.5s` or `-100ms` into nanoseconds. Units are ns, us, µs, ms, s, m and h;
/// only `0` may go without.
pub fn parse_duration(text: &str) -> Result<i64, ValueError> {
    duration(text).ok_or_else(|| Kind::Duration.error(text))
}

fn duration(text: &str) -> Option<i64> {
    let negative = text.starts_with('-');
    let mut rest = text.strip_prefix(['+', '-']).unwrap_or(text);
    if rest == "0" {
        return Some(0);
    }
    if rest.is_empty() {
        return None;
    }
    let mut total: u64 = 0;
    while !rest.is_empty() {
        let part;
        (part, rest) = duration_part(rest)?;
        total = total.checked_add(part).filter(|total| *total <= 1 << 63)?;
    }
    match (negative, total) {
        (true, total) => Some((total as i64).wrapping_neg()),
        (false, total) => i64::try_from(total).ok(),
    }
}

/// One number with its unit, in nanoseconds, and the text behind it.
fn duration_part(text: &str) -> Option<(u64, &str)> {
    let (whole, rest) = digits(text);
    let (fraction, rest) = match rest.strip_prefix('.') {
        Some(rest) => digits(rest),
        None => ("", rest),
    };
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    let unit_len = rest.find(|c: char| c == '.' || c.is_ascii_digit()).unwrap_or(rest.len());
    let (unit, rest) = rest.split_at(unit_len);
    let unit = unit_nanos(unit)?;
    let whole: u64 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    let whole = whole.checked_mul(unit).filter(|n| *n <= 1 << 63)?;
    // Digits beyond these cannot change a nanosecond of an hour.
    let fraction = &fraction[..fraction.len().min(18)];
    let scale = 10f64.powi(fraction.len() as i32);
    let part =
        if fraction.is_empty() { 0.0 } else { fraction.parse::<u64>().ok()? as f64 * (unit as f64 / scale) };
    Some((whole.checked_add(part as u64)?, rest))
}

fn digits(text: &str) -> (&str, &str) {
    text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()))
}

fn unit_nanos(unit: &str) -> Option<u64> {
    Some(match unit {
        "ns" => 1,
        "us" | "\u{b5}s" | "\u{3bc}s" => 1_000,
        "ms" => 1_000_000,
        "s" => 1_000_000_000,
        "m" => 60_000_000_000,
        "h" => 3_600_000_000_000,
        _ => return None,
    })
}

/// Reads a size such as `42`, `1.5 KB`, `2MiB` or `1,024k`: powers of 1000, with an `i` powers of 1024; case
/// and spaces before the unit do not matter.
pub fn parse_bytes(text: &str) -> Result<u64, ValueError> {
    bytes(text).ok_or_else(|| Kind::Size.error(text))
}

fn bytes(text: &str) -> Option<u64> {
    let number_len = text.find(|c: char| !c.is_ascii_digit() && c != '.' && c != ',').unwrap_or(text.len());
    let (number, unit) = text.split_at(number_len);
    let read = |digits: &str| digits.parse::<f64>().ok();
    let number = if number.contains(',') { without(',', number, read) } else { read(number) };
    let number = number? * size_unit(unit.trim())?;
    // 2^64 as a float; Go refuses it and anything above.
    (number < 18_446_744_073_709_551_616.0).then_some(number as u64)
}

fn size_unit(unit: &str) -> Option<f64> {
    let mut chars = unit.chars().map(|c| c.to_ascii_lowercase());
    let exponent = match chars.next() {
        None => return Some(1.0),
        Some('b') => return chars.next().is_none().then_some(1.0),
        Some(prefix) => "kmgtpe".find(prefix)? as i32 + 1,
    };
    let rest: [Option<char>; 3] = [chars.next(), chars.next(), chars.next()];
    match rest {
        [None, ..] | [Some('b'), None, _] => Some(1000f64.powi(exponent)),
        [Some('i'), None, _] | [Some('i'), Some('b'), None] => Some(1024f64.powi(exponent)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_as_go_reads_them() {
        let check =
            |text: &str, expected: Option<f64>| assert_eq!(parse_number(text).ok(), expected, "{text:?}");
        for (text, value) in [
            ("1", 1.0),
            ("-1.5", -1.5),
            ("+.5", 0.5),
            ("5.", 5.0),
            ("1e3", 1000.0),
            ("1_000", 1000.0),
            ("1_000_000_000_000_000_000_000_000_000_000_000_000_000_000_000_000_000_000e-54", 1.0),
            ("0x10p0", 16.0),
            ("-0x1.8p1", -3.0),
            ("Inf", f64::INFINITY),
            ("-infinity", f64::NEG_INFINITY),
        ] {
            check(text, Some(value));
        }
        for text in
            ["", "abc", "0x10", " 1", "1s", "1,000", "1e400", "1__0", "_1", "1_", "+nan", "1e", "0xp1", "."]
        {
            check(text, None);
        }
        assert!(parse_number("NaN").unwrap().is_nan());
    }

    #[test]
    fn durations_are_read_as_go_reads_them() {
        let check =
            |text: &str, expected: Option<i64>| assert_eq!(parse_duration(text).ok(), expected, "{text:?}");
        for (text, nanos) in [
            ("0", 0),
            ("1s", 1_000_000_000),
            ("1m30s", 90_000_000_000),
            ("1.5h", 5_400_000_000_000),
            ("-100ms", -100_000_000),
            (".5us", 500),
            ("3µs", 3_000),
            ("1.s", 1_000_000_000),
            ("-9223372036854775808ns", i64::MIN),
        ] {
            check(text, Some(nanos));
        }
        for text in [
            "",
            "1",
            "1d",
            "s",
            "-",
            "1 s",
            "9223372036854775808ns",
            "1x",
            ".s",
            "3000000h",
            "99999999999999999999s",
        ] {
            check(text, None);
        }
    }

    #[test]
    fn sizes_are_read_as_humanize_reads_them() {
        let check =
            |text: &str, expected: Option<u64>| assert_eq!(parse_bytes(text).ok(), expected, "{text:?}");
        for (text, size) in [
            ("0", 0),
            ("1024", 1024),
            ("1KB", 1000),
            ("1kb", 1000),
            ("1 KB", 1000),
            ("1K", 1000),
            ("1KiB", 1024),
            ("2Mi", 2 << 20),
            ("2.5MB", 2_500_000),
            ("1,000", 1000),
            ("1,024KiB", 1 << 20),
            ("42 b", 42),
            ("1EiB", 1 << 60),
        ] {
            check(text, Some(size));
        }
        for text in ["", "-1", "KB", "1s", "1e3", "1_000", "NaN", "1kx", "1kbb", "16EiB", "1.2.3"] {
            check(text, None);
        }
    }
}
