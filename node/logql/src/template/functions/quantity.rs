//! `bytes` and `duration`: sizes and times as people write them, to numbers.

use super::{Function, function};
use crate::template::{
    number,
    value::{Param::Text, Value},
};

pub(super) const FUNCTIONS: &[Function] = &[
    function("bytes", &[Text], |_, args| parse_bytes(&lossy(args.text(0))).map(Value::Float)),
    function("duration", &[Text], |_, args| seconds(&lossy(args.text(0))).map(Value::Float)),
    function("duration_seconds", &[Text], |_, args| seconds(&lossy(args.text(0))).map(Value::Float)),
];

fn lossy(text: &[u8]) -> String {
    String::from_utf8_lossy(text).into_owned()
}

/// A size such as `1.5KiB`, `10 MB`, `1,024`, in whole bytes, by the rules of the `humanize` package.
fn parse_bytes(text: &str) -> Result<f64, String> {
    let end = text.find(|c: char| !c.is_numeric() && c != '.' && c != ',').unwrap_or(text.len());
    let digits = text[..end].replace(',', "");
    let count = number::parse_float(&digits).ok_or_else(|| format!("parsing `{digits}`: invalid syntax"))?;
    let unit = text[end..].trim().to_lowercase();
    let factor = unit_bytes(&unit).ok_or_else(|| format!("unhandled size name: `{unit}`"))?;
    let bytes = count * factor;
    if bytes >= u64::MAX as f64 {
        return Err(format!("too large: `{text}`"));
    }
    Ok(bytes.trunc())
}

fn unit_bytes(unit: &str) -> Option<f64> {
    if matches!(unit, "" | "b") {
        return Some(1.0);
    }
    let (letter, rest) = unit.split_at_checked(1)?;
    let power = 1 + "kmgtpe".find(letter)?;
    let base: f64 = match rest {
        "" | "b" => 1000.0,
        "i" | "ib" => 1024.0,
        _ => return None,
    };
    base.powi(i32::try_from(power).ok()?).into()
}

/// A Go duration in seconds.
fn seconds(text: &str) -> Result<f64, String> {
    let nanos = parse_duration(text).ok_or_else(|| format!("invalid duration `{text}`"))?;
    // Whole seconds and the rest apart, as Go does, so that no digit is lost.
    Ok((nanos / 1_000_000_000) as f64 + (nanos % 1_000_000_000) as f64 / 1e9)
}

/// Go's `time.ParseDuration`: numbers with units, one after the other; nanoseconds.
fn parse_duration(text: &str) -> Option<i64> {
    let (negative, mut rest) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    if rest == "0" {
        return Some(0);
    }
    if rest.is_empty() {
        return None;
    }
    let mut total: u64 = 0;
    while !rest.is_empty() {
        let (nanos, tail) = parse_term(rest)?;
        total = total.checked_add(nanos).filter(|total| *total <= 1 << 63)?;
        rest = tail;
    }
    let signed = i128::from(total) * if negative { -1 } else { 1 };
    i64::try_from(signed).ok()
}

/// One number with its unit, in nanoseconds, and what follows.
fn parse_term(text: &str) -> Option<(u64, &str)> {
    let number_end = text.find(|c: char| !c.is_ascii_digit() && c != '.')?;
    let (whole, fraction) = text[..number_end].split_once('.').unwrap_or((&text[..number_end], ""));
    if fraction.contains('.') || (whole.is_empty() && fraction.is_empty()) {
        return None;
    }
    let after = &text[number_end..];
    let unit_end = after.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(after.len());
    let unit: u64 = match &after[..unit_end] {
        "ns" => 1,
        "us" | "µs" | "μs" => 1_000,
        "ms" => 1_000_000,
        "s" => 1_000_000_000,
        "m" => 60_000_000_000,
        "h" => 3_600_000_000_000,
        _ => return None,
    };
    let whole: u64 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    let mut nanos = whole.checked_mul(unit)?;
    // Eighteen digits are as many as a float of them could tell apart.
    let fraction = &fraction[..fraction.len().min(18)];
    if !fraction.is_empty() {
        let digits: u64 = fraction.parse().ok()?;
        nanos += (digits as f64 * (unit as f64 / 10f64.powi(i32::try_from(fraction.len()).ok()?))) as u64;
    }
    Some((nanos, &after[unit_end..]))
}

#[cfg(test)]
mod tests {
    use super::{parse_bytes, parse_duration};

    #[test]
    fn sizes_are_read_as_people_write_them() {
        let check = |text: &str, want: Option<f64>| assert_eq!(parse_bytes(text).ok(), want, "{text}");
        check("42", Some(42.0));
        check("1KiB", Some(1024.0));
        check("1 kB", Some(1000.0));
        check("1.5k", Some(1500.0));
        check("1,024 b", Some(1024.0));
        check("2Gi", Some(2_147_483_648.0));
        check("1.9b", Some(1.0));
        check("1e", Some(1e18));
        check("20eb", None);
        check("x", None);
        check("", None);
        check("-1", None);
        check("1 zb", None);
        check("1.1.1", None);
        check("1é", None);
    }

    #[test]
    fn durations_are_read_as_in_go() {
        let check = |text: &str, want: Option<i64>| assert_eq!(parse_duration(text), want, "{text}");
        check("0", Some(0));
        check("1ns", Some(1));
        check("1h30m", Some(5_400_000_000_000));
        check("-1.5s", Some(-1_500_000_000));
        check("+.5ms", Some(500_000));
        check("2µs3us", Some(5_000));
        check("9223372036854775807ns", Some(i64::MAX));
        check("-9223372036854775808ns", Some(i64::MIN));
        check("9223372036854775808ns", None);
        check("3000000h", None);
        check("", None);
        check("-", None);
        check("1", None);
        check(".s", None);
        check("1.2.3s", None);
        check("1d", None);
        check("1 s", None);
    }
}
