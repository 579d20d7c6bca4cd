//! Tells when a line of a text log was written, from the shapes that most programs use.
//!
//! A line without a time belongs to the one before it (a stack trace, a wrapped message); a file without any was
//! last written when the file system says so. Both give the same answer each time the file is read, so that a
//! second run of the demo finds the entries of the first instead of doubling them.

use jiff::civil::DateTime;
use jiff::tz::{Offset, TimeZone};
use regex::{Captures, Regex};

/// How much of a line's beginning may hold its time.
const PREFIX_BYTES_MAX: usize = 160;
const DAY_NS: i64 = 86_400_000_000_000;
const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// Reads the times of one file's lines.
#[derive(Debug)]
pub struct LineClock {
    shapes: Shapes,
    zone: TimeZone,
    /// When the file was last written: the latest that a line of it can be from, ns since 1970.
    written: i64,
    /// What the line before said, and the time it was given.
    last: Option<(i64, i64)>,
}

#[derive(Debug)]
struct Shapes {
    /// `2026-09-22T04:51:01.5+02:00`, `2026/09/22 04:51:01,500`
    iso: Regex,
    /// `Sep 22 04:51:01`, `[Tue Sep 22 04:51:01.5 2026]`
    month: Regex,
    /// `[22/Sep/2026:04:51:01 +0200]`
    web: Regex,
}

impl Shapes {
    fn new() -> Self {
        let regex = |text: &str| Regex::new(text).expect("the expression is a constant that tests compile");
        Shapes {
            iso: regex(concat!(
                r"\b(?<Y>\d{4})[-/](?<M>\d\d)[-/](?<D>\d\d)[T ]{1,2}(?<h>\d\d):(?<m>\d\d):(?<s>\d\d)",
                r"(?:[.,](?<f>\d{1,9}))?\s?(?<z>Z|UTC|GMT|[+-]\d\d:?\d\d\b)?"
            )),
            month: regex(concat!(
                r"^(?:<\d+>)?\[?(?:[A-Z][a-z]{2} )?(?<N>[A-Z][a-z]{2}) {1,2}(?<D>\d{1,2}) ",
                r"(?<h>\d\d):(?<m>\d\d):(?<s>\d\d)(?:\.(?<f>\d{1,9}))?(?: (?<Y>\d{4})\b)?"
            )),
            web: regex(
                r"\[(?<D>\d\d)/(?<N>[A-Z][a-z]{2})/(?<Y>\d{4}):(?<h>\d\d):(?<m>\d\d):(?<s>\d\d) (?<z>[+-]\d{4})\]",
            ),
        }
    }
}

impl LineClock {
    /// For a file that was last written then; times without a zone are those of `zone`.
    pub fn new(written: i64, zone: TimeZone) -> Self {
        LineClock { shapes: Shapes::new(), zone, written, last: None }
    }

    /// The file has been written to again.
    pub fn handle_written(&mut self, at: i64) {
        self.written = at;
    }

    /// The time of the next line, ns since 1970. Lines of one second differ by a nanosecond, so that equal ones
    /// stay apart.
    pub fn time_of(&mut self, line: &str) -> i64 {
        let told = self.told(line);
        let time = match (told, self.last) {
            (Some(told), Some((before, given))) if told == before => given.saturating_add(1),
            (Some(told), _) => told,
            (None, Some((_, given))) => given.saturating_add(1),
            (None, None) => self.written,
        };
        let before = self.last.map(|(before, _)| before);
        self.last = Some((told.or(before).unwrap_or(time), time));
        time
    }

    /// The time that a line states; none that is later than the file.
    fn told(&self, line: &str) -> Option<i64> {
        let prefix = &line[..line.floor_char_boundary(PREFIX_BYTES_MAX)];
        let shapes = [&self.shapes.month, &self.shapes.iso, &self.shapes.web];
        let found = shapes.iter().find_map(|shape| shape.captures(prefix))?;
        let time = self.time(&found)?;
        (time > 0 && time <= self.written.saturating_add(DAY_NS)).then_some(time)
    }

    fn time(&self, found: &Captures<'_>) -> Option<i64> {
        let Some(year) = number(found, "Y") else {
            // Without a year: the latest that is not after the file's end.
            let this =
                self.zone.to_datetime(jiff::Timestamp::from_nanosecond(self.written.into()).ok()?).year();
            let latest = self.at(found, this).filter(|time| *time <= self.written.saturating_add(DAY_NS));
            return latest.or_else(|| self.at(found, this - 1));
        };
        self.at(found, i16::try_from(year).ok()?)
    }

    fn at(&self, found: &Captures<'_>, year: i16) -> Option<i64> {
        let month = match found.name("N") {
            Some(name) => 1 + MONTHS.iter().position(|month| *month == name.as_str())? as i64,
            None => number(found, "M")?,
        };
        let [day, hour, minute, second] =
            [number(found, "D")?, number(found, "h")?, number(found, "m")?, number(found, "s")?];
        let small = |value: i64| i8::try_from(value).ok();
        let (month, day) = (small(month)?, small(day)?);
        // A leap second is the last that the calendar knows.
        let second = small(second.min(59))?;
        let civil =
            DateTime::new(year, month, day, small(hour)?, small(minute)?, second, fraction(found)).ok()?;
        let time = match found.name("z") {
            Some(zone) => offset(zone.as_str())?.to_timestamp(civil).ok()?,
            None => self.zone.to_timestamp(civil).ok()?,
        };
        i64::try_from(time.as_nanosecond()).ok()
    }
}

fn number(found: &Captures<'_>, name: &str) -> Option<i64> {
    found.name(name)?.as_str().parse().ok()
}

fn fraction(found: &Captures<'_>) -> i32 {
    let digits = found.name("f").map_or("", |digits| digits.as_str());
    format!("{digits:0<9}").parse().unwrap_or(0)
}

fn offset(text: &str) -> Option<Offset> {
    if !text.starts_with(['+', '-']) {
        return Some(Offset::UTC);
    }
    let digits: String = text[1..].chars().filter(char::is_ascii_digit).collect();
    let (hours, minutes) = digits.split_at_checked(2)?;
    let seconds = hours.parse::<i32>().ok()? * 3600 + minutes.parse::<i32>().ok()? * 60;
    Offset::from_seconds(if text.starts_with('-') { -seconds } else { seconds }).ok()
}

#[cfg(test)]
mod tests {
    use jiff::tz::{Offset, TimeZone};
    use proptest::prelude::*;

    use super::LineClock;

    fn clock() -> LineClock {
        let written: jiff::Timestamp = "2026-01-02T12:00:00Z".parse().unwrap();
        let zone = TimeZone::fixed(Offset::from_seconds(3600).unwrap());
        LineClock::new(i64::try_from(written.as_nanosecond()).unwrap(), zone)
    }

    fn check(line: &str, time: &str) {
        let told = clock().time_of(line);
        assert_eq!(jiff::Timestamp::from_nanosecond(told.into()).unwrap().to_string(), time, "{line}");
    }

    #[test]
    fn usual_shapes_are_read() {
        check("2025-09-22T04:51:01.5+02:00 host x: y", "2025-09-22T02:51:01.5Z");
        check("2025-09-22T04:51:01Z x", "2025-09-22T04:51:01Z");
        check("2025-09-22 04:51:01 status installed", "2025-09-22T03:51:01Z");
        check("2025-09-22 04:51:01.123 UTC [7] LOG: x", "2025-09-22T04:51:01.123Z");
        check("2025/09/22 04:51:01 [error] 7#7: x", "2025-09-22T03:51:01Z");
        check("Start-Date: 2025-09-22  04:51:01", "2025-09-22T03:51:01Z");
        check("[2025-09-22 04:51:01,250] INFO x", "2025-09-22T03:51:01.25Z");
        check("10.0.0.1 - - [22/Sep/2025:04:51:01 -0200] \"GET / HTTP/1.1\" 200", "2025-09-22T06:51:01Z");
        check("[Mon Sep 22 04:51:01.5 2025] [core:notice] x", "2025-09-22T03:51:01.5Z");
        check("Jan  2 04:51:01 host sshd[1]: x", "2026-01-02T03:51:01Z");
    }

    #[test]
    fn a_date_without_a_year_is_never_after_the_file() {
        check("Dec 31 04:51:01 host sshd[1]: x", "2025-12-31T03:51:01Z");
    }

    #[test]
    fn no_time_or_an_impossible_one_is_that_of_the_file() {
        for line in ["hello", "", "2025-13-40 99:00:00 x", "2099-01-01 00:00:00 x", "Xyz 10 10:10:10 x"] {
            check(line, "2026-01-02T12:00:00Z");
        }
    }

    #[test]
    fn lines_without_a_time_follow_the_one_before_and_lines_of_one_second_stay_apart() {
        let mut clock = clock();
        let first = clock.time_of("2025-09-22 04:51:01 x");
        let others = ["  at frame", "2025-09-22 04:51:01 x", "more"].map(|line| clock.time_of(line));
        assert_eq!(others, [first + 1, first + 2, first + 3]);
        assert_eq!(clock.time_of("2025-09-22 04:51:02 x"), first + 1_000_000_000);
    }

    proptest! {
        #[test]
        fn no_line_is_too_strange(line in "\\PC{0,300}", stamp in "[0-9:/ TZ+.-]{0,40}") {
            clock().time_of(&line);
            clock().time_of(&stamp);
        }
    }
}
