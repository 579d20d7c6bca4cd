//! Durations and sizes as text, in the two notations LogQL inherited: Prometheus' (`1w2d`, units descending) and
//! Go's (`1.5h`), and the sizes of `go-humanize` (`1KiB`, `1.5MB`).

use std::fmt::Write as _;

use thiserror::Error;

use crate::quote::quote;

/// Nanoseconds of a millisecond.
const MILLISECOND: i64 = 1_000_000;
const SECOND: i64 = 1_000 * MILLISECOND;
const MINUTE: i64 = 60 * SECOND;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;

/// Prometheus' units from large to small.
const PROMETHEUS_UNITS: [(&str, i64); 7] = [
    ("y", 365 * DAY),
    ("w", 7 * DAY),
    ("d", DAY),
    ("h", HOUR),
    ("m", MINUTE),
    ("s", SECOND),
    ("ms", MILLISECOND),
];

/// Why a text is no Prometheus duration; the words are those of `prometheus/common`, which Loki passes on.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum DurationError {
    /// Nothing there.
    #[error("empty duration string")]
    Empty,
    /// Not numbers with units, or units not from large to small.
    #[error("not a valid duration string: {}", quote(.0))]
    Malformed(String),
    /// A unit nobody knows.
    #[error("unknown unit {} in duration {}", quote(.unit), quote(.text))]
    UnknownUnit {
        /// The unit.
        unit: String,
        /// The whole text.
        text: String,
    },
    /// More than 292 years.
    #[error("duration out of range")]
    OutOfRange,
}

/// Reads a Prometheus duration (`1d12h`): whole numbers, each unit at most once, from large to small.
/// The result is nanoseconds.
///
/// # Errors
/// Where the text is something else.
pub fn parse_prometheus_duration(text: &str) -> Result<i64, DurationError> {
    match text {
        "" => return Err(DurationError::Empty),
        "0" => return Ok(0),
        _ => {}
    }
    let malformed = || DurationError::Malformed(text.to_owned());
    let mut rest = text;
    let mut units_left = &PROMETHEUS_UNITS[..];
    let mut total = 0_i64;
    while !rest.is_empty() {
        let (number, tail) = split_while(rest, |c| c.is_ascii_digit());
        let number: u64 = number.parse().map_err(|_| malformed())?;
        let (unit, tail) = split_while(tail, |c| !c.is_ascii_digit());
        let mult = prometheus_unit(unit).ok_or_else(|| match unit {
            "" => malformed(),
            unit => DurationError::UnknownUnit { unit: unit.to_owned(), text: text.to_owned() },
        })?;
        let at = units_left.iter().position(|(name, _)| *name == unit).ok_or_else(malformed)?;
        units_left = &units_left[at + 1..];
        let part = i64::try_from(number).ok().and_then(|n| n.checked_mul(mult));
        total = part.and_then(|part| total.checked_add(part)).ok_or(DurationError::OutOfRange)?;
        rest = tail;
    }
    Ok(total)
}

fn prometheus_unit(unit: &str) -> Option<i64> {
    PROMETHEUS_UNITS.iter().find(|(name, _)| *name == unit).map(|(_, mult)| *mult)
}

fn split_while(text: &str, fits: impl Fn(char) -> bool) -> (&str, &str) {
    text.split_at(text.find(|c| !fits(c)).unwrap_or(text.len()))
}

/// Reads a Go duration (`-1.5h`, `300ms`, `1h2m`), as `time.ParseDuration`. The result is nanoseconds.
pub fn parse_go_duration(text: &str) -> Option<i64> {
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
    let mut total = 0_u64;
    while !rest.is_empty() {
        let (part, tail) = go_duration_part(rest)?;
        total = total.checked_add(part).filter(|&total| total <= 1 << 63)?;
        rest = tail;
    }
    match (negative, i64::try_from(total)) {
        (false, total) => total.ok(),
        (true, Ok(total)) => Some(-total),
        (true, Err(_)) => Some(i64::MIN),
    }
}

/// One number with its unit, in nanoseconds, and what follows it.
fn go_duration_part(text: &str) -> Option<(u64, &str)> {
    let (whole, rest) = split_while(text, |c| c.is_ascii_digit());
    let (fraction, rest) = match rest.strip_prefix('.') {
        Some(rest) => split_while(rest, |c| c.is_ascii_digit()),
        None => ("", rest),
    };
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    let (unit, rest) = split_while(rest, |c| c != '.' && !c.is_ascii_digit());
    let unit: u64 = match unit {
        "ns" => 1,
        "us" | "µs" | "μs" => 1_000,
        "ms" => 1_000_000,
        "s" => 1_000_000_000,
        "m" => 60_000_000_000,
        "h" => 3_600_000_000_000,
        _ => return None,
    };
    let whole: u64 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    let part = whole.checked_mul(unit)?.checked_add(go_fraction(fraction, unit))?;
    Some((part, rest))
}

/// Go gathers digits of the fraction while they fit in 63 bits, then multiplies as a float and cuts off.
fn go_fraction(digits: &str, unit: u64) -> u64 {
    let mut value = 0_u64;
    let mut scale = 1_f64;
    for digit in digits.bytes() {
        match value.checked_mul(10).and_then(|v| v.checked_add(u64::from(digit - b'0'))) {
            Some(next) if next <= 1 << 63 => value = next,
            _ => break,
        }
        scale *= 10.0;
    }
    (value as f64 * (unit as f64 / scale)) as u64
}

/// Reads a duration in either notation, Prometheus' first. The result is nanoseconds.
pub fn parse_duration(text: &str) -> Option<i64> {
    parse_prometheus_duration(text).ok().or_else(|| parse_go_duration(text))
}

/// Reads a size (`1.5KB`, `2 MiB`, `7`), as `humanize.ParseBytes`: any case, powers of 1000 and, with `i`, of
/// 1024; the `b` may be left out.
pub fn parse_bytes(text: &str) -> Option<u64> {
    let (number, unit) = split_while(text, |c| c.is_numeric() || c == '.' || c == ',');
    let number: f64 = number.replace(',', "").parse().ok()?;
    let unit = unit.trim().to_lowercase();
    let unit = unit.strip_suffix('b').unwrap_or(&unit);
    let factor = match unit {
        "" => 1.0,
        unit => {
            let (base, letter) = match unit.strip_suffix('i') {
                Some(letter) => (1024_f64, letter),
                None => (1000_f64, unit),
            };
            let power = ["k", "m", "g", "t", "p", "e"].iter().position(|&known| known == letter)?;
            base.powi(i32::try_from(power + 1).ok()?)
        }
    };
    let bytes = number * factor;
    (bytes < u64::MAX as f64).then_some(bytes as u64)
}

/// Writes nanoseconds as Go does: `1h30m0s`, `1.5s`, `1µs`, `0s`.
pub fn format_go_duration(ns: i64) -> String {
    let sign = if ns < 0 { "-" } else { "" };
    let abs = ns.unsigned_abs();
    match abs {
        0 => "0s".to_owned(),
        1..1_000 => format!("{sign}{abs}ns"),
        1_000..1_000_000 => format!("{sign}{}µs", decimal(abs, 1_000)),
        1_000_000..1_000_000_000 => format!("{sign}{}ms", decimal(abs, 1_000_000)),
        _ => {
            let (minutes, rest) = (abs / 60_000_000_000, abs % 60_000_000_000);
            let seconds = decimal(rest, 1_000_000_000);
            match (minutes / 60, minutes % 60) {
                (0, 0) => format!("{sign}{seconds}s"),
                (0, minutes) => format!("{sign}{minutes}m{seconds}s"),
                (hours, minutes) => format!("{sign}{hours}h{minutes}m{seconds}s"),
            }
        }
    }
}

/// `value / unit` with the digits of the fraction that are needed; `unit` is a power of ten.
fn decimal(value: u64, unit: u64) -> String {
    let width = unit.ilog10() as usize;
    let fraction = format!("{:0width$}", value % unit);
    match fraction.trim_end_matches('0') {
        "" => (value / unit).to_string(),
        fraction => format!("{}.{fraction}", value / unit),
    }
}

/// Writes nanoseconds as Prometheus does, to the millisecond: `1h30m`, `5ms`, `0s`. Years and weeks are
/// used only where they come out even (`90d`, not `12w6d`).
pub fn format_prometheus_duration(ns: i64) -> String {
    let mut rest = ns.unsigned_abs() / MILLISECOND.unsigned_abs();
    if rest == 0 {
        return "0s".to_owned();
    }
    let mut out = String::from(if ns < 0 { "-" } else { "" });
    for (unit, length) in PROMETHEUS_UNITS {
        let length = length.unsigned_abs() / MILLISECOND.unsigned_abs();
        let must_be_even = matches!(unit, "y" | "w");
        if rest >= length && (!must_be_even || rest.is_multiple_of(length)) {
            // Writing to a String cannot fail.
            let _ = write!(out, "{}{unit}", rest / length);
            rest %= length;
        }
    }
    out
}

/// Writes a size as `humanize.Bytes` does without its space: `5B`, `1.0kB`, `12MB`. It rounds.
pub fn format_bytes(bytes: u64) -> String {
    const UNITS: [&str; 7] = ["B", "kB", "MB", "GB", "TB", "PB", "EB"];
    if bytes < 10 {
        return format!("{bytes}B");
    }
    let power = ((bytes as f64).ln() / 1000_f64.ln()).floor();
    let value = (bytes as f64 / 1000_f64.powf(power) * 10.0 + 0.5).floor() / 10.0;
    let unit = UNITS[(power as usize).min(UNITS.len() - 1)];
    if value < 10.0 { format!("{value:.1}{unit}") } else { format!("{value:.0}{unit}") }
}

#[cfg(test)]
mod tests {
    use super::{
        HOUR, MILLISECOND, MINUTE, SECOND, format_bytes, format_go_duration, format_prometheus_duration,
        parse_bytes, parse_duration, parse_go_duration, parse_prometheus_duration,
    };

    #[track_caller]
    fn check_prometheus(text: &str, expected: Result<i64, &str>) {
        let found = parse_prometheus_duration(text).map_err(|err| err.to_string());
        assert_eq!(found, expected.map_err(str::to_owned), "{text}");
    }

    #[test]
    fn prometheus_durations_go_from_large_to_small() {
        check_prometheus("5m", Ok(5 * MINUTE));
        check_prometheus("1h30m", Ok(90 * MINUTE));
        check_prometheus("1y", Ok(365 * 24 * HOUR));
        check_prometheus("0", Ok(0));
        check_prometheus("5ms", Ok(5 * MILLISECOND));
        check_prometheus("", Err("empty duration string"));
        check_prometheus("30m1h", Err("not a valid duration string: \"30m1h\""));
        check_prometheus("1m1m", Err("not a valid duration string: \"1m1m\""));
        check_prometheus(" 5m ", Err("not a valid duration string: \" 5m \""));
        check_prometheus("5", Err("not a valid duration string: \"5\""));
        check_prometheus("-5m", Err("not a valid duration string: \"-5m\""));
        check_prometheus("5.5m", Err("unknown unit \".\" in duration \"5.5m\""));
        check_prometheus("5m:1m", Err("unknown unit \"m:\" in duration \"5m:1m\""));
        check_prometheus("300y", Err("duration out of range"));
        check_prometheus(
            "99999999999999999999s",
            Err("not a valid duration string: \"99999999999999999999s\""),
        );
    }

    #[test]
    fn go_durations_take_fractions_and_signs() {
        let cases = [
            ("1.5h", Some(90 * MINUTE)),
            ("-1h", Some(-HOUR)),
            ("1h2m3.5s", Some(HOUR + 2 * MINUTE + 3500 * MILLISECOND)),
            ("1us", Some(1_000)),
            ("1µs", Some(1_000)),
            (".5s", Some(500 * MILLISECOND)),
            ("-0", Some(0)),
            ("1d", None),
            ("1", None),
            ("-", None),
            ("", None),
            (".s", None),
            ("9999999h", None),
        ];
        for (text, expected) in cases {
            assert_eq!(parse_go_duration(text), expected, "{text}");
        }
        assert_eq!(parse_duration("1d"), Some(24 * HOUR));
    }

    #[test]
    fn sizes_are_powers_of_a_thousand_unless_they_have_an_i() {
        let cases = [
            ("1B", Some(1)),
            ("1KB", Some(1000)),
            ("1KiB", Some(1024)),
            ("1.5MB", Some(1_500_000)),
            ("2GiB", Some(2 << 30)),
            ("1K", Some(1000)),
            ("1PB", Some(1_000_000_000_000_000)),
            ("7", Some(7)),
            ("1i", None),
            ("1XB", None),
            ("B", None),
            ("99EB", None),
        ];
        for (text, expected) in cases {
            assert_eq!(parse_bytes(text), expected, "{text}");
        }
    }

    #[test]
    fn quantities_print_as_loki_prints_them() {
        assert_eq!(format_go_duration(90 * MINUTE), "1h30m0s");
        assert_eq!(format_go_duration(-HOUR), "-1h0m0s");
        assert_eq!(format_go_duration(1_000), "1µs");
        assert_eq!(format_go_duration(1_500 * MILLISECOND), "1.5s");
        assert_eq!(format_go_duration(MINUTE + 5 * MILLISECOND), "1m0.005s");
        assert_eq!(format_go_duration(0), "0s");
        assert_eq!(format_prometheus_duration(90 * MINUTE), "1h30m");
        assert_eq!(format_prometheus_duration(90 * 24 * HOUR), "90d");
        assert_eq!(format_prometheus_duration(14 * 24 * HOUR), "2w");
        assert_eq!(format_prometheus_duration(SECOND + MILLISECOND), "1s1ms");
        assert_eq!(format_bytes(1), "1B");
        assert_eq!(format_bytes(10), "10B");
        assert_eq!(format_bytes(1000), "1.0kB");
        assert_eq!(format_bytes(1024), "1.0kB");
        assert_eq!(format_bytes(12_345_678), "12MB");
    }
}
