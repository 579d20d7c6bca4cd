//! Durations and sizes as a query writes them. LogQL inherited two notations for durations, Prometheus' (`1w2d`,
//! units descending) and Go's (`1.5h`); [`value`](crate::value) reads the latter, and sizes, out of lines too.

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

/// Reads a duration in either notation, Prometheus' first and then Go's. The result is nanoseconds.
pub fn parse_duration(text: &str) -> Option<i64> {
    parse_prometheus_duration(text).ok().or_else(|| crate::value::parse_duration(text).ok())
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
        parse_duration, parse_prometheus_duration,
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
    fn either_notation_is_a_duration() {
        assert_eq!(parse_duration("1d"), Some(24 * HOUR));
        assert_eq!(parse_duration("1.5h"), Some(90 * MINUTE));
        assert_eq!(parse_duration("-1h"), Some(-HOUR));
        assert_eq!(parse_duration("-1d"), None);
        assert_eq!(parse_duration("1"), None);
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
