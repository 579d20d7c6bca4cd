//! Times and durations as Loki's query parameters write them.
//!
//! Behaviour recorded from Loki 3.8: an integer of up to ten digits is seconds, a longer one nanoseconds; a
//! number with a point is seconds; anything else must be RFC 3339. Error texts are those of the Go standard
//! library, since clients show and match them.

use std::num::{IntErrorKind, ParseIntError};

use jiff::Timestamp;

const SECOND: i64 = 1_000_000_000;
/// Integers longer than this are nanoseconds.
const SECONDS_DIGITS_MAX: usize = 10;

/// Reads a point in time, in ns since 1970.
///
/// # Errors
/// What Go says of an integer that is none.
pub fn parse_time(text: &str) -> Result<i64, String> {
    if text.contains('.')
        && let Ok(seconds) = text.parse::<f64>()
        && let Some(ns) = from_seconds(seconds)
    {
        return Ok(ns);
    }
    match text.parse::<i64>() {
        Ok(number) if text.len() <= SECONDS_DIGITS_MAX => Ok(number * SECOND),
        Ok(number) => Ok(number),
        Err(error) => rfc3339(text).ok_or_else(|| go_error("strconv.ParseInt", text, &error)),
    }
}

/// A time as RFC 3339 has it, in ns, as strictly as Go: the parser that reads it would take less.
pub fn rfc3339(text: &str) -> Option<i64> {
    const SHAPE: &[u8] = b"0000-00-00T00:00:00";
    let shape = text.as_bytes().get(..SHAPE.len())?;
    let fits = |(&byte, &like): (&u8, &u8)| if like == b'0' { byte.is_ascii_digit() } else { byte == like };
    let zone = text.get(SHAPE.len()..)?.trim_start_matches(|c: char| c == '.' || c.is_ascii_digit());
    let has_zone = zone == "Z" || (zone.len() == "+00:00".len() && zone.as_bytes()[3] == b':');
    if !shape.iter().zip(SHAPE).all(fits) || !has_zone {
        return None;
    }
    i64::try_from(text.parse::<Timestamp>().ok()?.as_nanosecond()).ok()
}

/// What Go says of a text that is no whole number, or one beyond 64 bits.
pub fn go_error(function: &str, text: &str, error: &ParseIntError) -> String {
    let why = match error.kind() {
        IntErrorKind::PosOverflow | IntErrorKind::NegOverflow => "value out of range",
        _ => "invalid syntax",
    };
    format!("{function}: parsing {text:?}: {why}")
}

/// Seconds as ns, rounded to a millisecond as Loki does.
fn from_seconds(seconds: f64) -> Option<i64> {
    let whole = seconds.trunc();
    let fraction = ((seconds - whole) * 1000.0).round() / 1000.0;
    let ns = whole * SECOND as f64;
    (ns.abs() < i64::MAX as f64 / 2.0).then(|| whole as i64 * SECOND + (fraction * SECOND as f64) as i64)
}

/// Reads a step or an interval: seconds as a number, or a duration. In ns.
///
/// # Errors
/// Loki's text for what is neither.
pub fn parse_step(text: &str) -> Result<i64, String> {
    if let Ok(seconds) = text.parse::<f64>() {
        let ns = seconds * SECOND as f64;
        if ns.is_nan() || ns.abs() >= i64::MAX as f64 {
            return Err(format!("cannot parse {text:?} to a valid duration. It overflows int64"));
        }
        return Ok(ns as i64);
    }
    parse_duration(text).map_err(|_| format!("cannot parse {text:?} to a valid duration"))
}

/// The units of a duration, longest first, as they must follow one another.
const UNITS: [(&str, i64); 7] = [
    ("y", 365 * 86_400_000),
    ("w", 7 * 86_400_000),
    ("d", 86_400_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1000),
    ("ms", 1),
];
const NS_PER_MS: i64 = 1_000_000;

/// Reads a Prometheus duration (`1h30m`, units descending, `0` allowed). In ns.
///
/// # Errors
/// Prometheus' texts.
pub fn parse_duration(text: &str) -> Result<i64, String> {
    let bad = || format!("not a valid duration string: {text:?}");
    match text {
        "0" => return Ok(0),
        "" => return Err("empty duration string".into()),
        _ => {}
    }
    let mut rest = text;
    let mut total_ms: i64 = 0;
    let mut last_unit: Option<usize> = None;
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let value: i64 = rest[..digits].parse().map_err(|_| bad())?;
        rest = &rest[digits..];
        let letters = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
        let unit_text = &rest[..letters];
        let unit = UNITS.iter().position(|(name, _)| *name == unit_text);
        let unit = unit.ok_or_else(|| format!("unknown unit {unit_text:?} in duration {text:?}"))?;
        if last_unit.is_some_and(|last| last >= unit) {
            return Err(bad());
        }
        last_unit = Some(unit);
        rest = &rest[letters..];
        total_ms = value
            .checked_mul(UNITS[unit].1)
            .and_then(|ms| total_ms.checked_add(ms))
            .filter(|ms| *ms <= i64::MAX / NS_PER_MS)
            .ok_or("duration out of range")?;
    }
    Ok(total_ms * NS_PER_MS)
}

#[cfg(test)]
mod tests {
    use super::{parse_duration, parse_step, parse_time};

    #[test]
    fn times_are_read_by_their_form() {
        for (text, ns) in [
            ("1700000000", 1_700_000_000_000_000_000),
            ("1700000000123456789", 1_700_000_000_123_456_789),
            ("1700000000.5", 1_700_000_000_500_000_000),
            ("1700000000.1239", 1_700_000_000_124_000_000),
            ("2023-11-14T22:13:20Z", 1_700_000_000_000_000_000),
            ("2023-11-14T22:13:20.123456789Z", 1_700_000_000_123_456_789),
            ("2023-11-14T23:13:20+01:00", 1_700_000_000_000_000_000),
            ("-1", -1_000_000_000),
        ] {
            assert_eq!(parse_time(text), Ok(ns), "{text}");
        }
        let range = "strconv.ParseInt: parsing \"99999999999999999999\": value out of range";
        assert_eq!(parse_time("99999999999999999999"), Err(range.into()));
        for text in [
            "",
            "x",
            "1.x",
            "2023-11-14",
            "1e400.",
            "NaN.",
            "2023-11-14 22:13:20Z",
            "2023-11-14t22:13:20Z",
            "2023-11-14T22:13Z",
            "2023-11-14T22:13:20",
            "2023-11-14T22:13:20z",
            "2023-11-14T22:13:20+0100",
            "2023-11-14T22:13:20+01:00[Europe/Berlin]",
            "2023-13-14T22:13:20Z",
        ] {
            let error = format!("strconv.ParseInt: parsing {text:?}: invalid syntax");
            assert_eq!(parse_time(text), Err(error));
        }
    }

    #[test]
    fn steps_are_seconds_or_durations() {
        for (text, ns) in [
            ("60", 60_000_000_000),
            ("37.5", 37_500_000_000),
            ("2m", 120_000_000_000),
            ("-1", -1_000_000_000),
        ] {
            assert_eq!(parse_step(text), Ok(ns), "{text}");
        }
        assert_eq!(parse_step("abc"), Err(r#"cannot parse "abc" to a valid duration"#.into()));
        assert_eq!(
            parse_step("1e300"),
            Err(r#"cannot parse "1e300" to a valid duration. It overflows int64"#.into())
        );
        assert!(parse_step("NaN").is_err());
    }

    #[test]
    fn durations_descend() {
        for (text, ms) in
            [("1h30m", 5_400_000), ("1w2d", 777_600_000), ("1y", 31_536_000_000), ("5ms", 5), ("0", 0)]
        {
            assert_eq!(parse_duration(text), Ok(ms * 1_000_000), "{text}");
        }
        for text in ["30m1h", "1h1h", "h", "-1h", "1.5h", "99999999999999999999h", "999999999y"] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
        assert_eq!(parse_duration("1x"), Err(r#"unknown unit "x" in duration "1x""#.into()));
    }
}
