//! Go's date layouts: a layout shows how the reference time, `Mon Jan 2 15:04:05 -0700 MST 2006`, would look.
//! Here are its elements and formatting; `date` parses by the same elements.

use super::time::{Civil, MONTHS, Time, WEEKDAYS};

/// One element of a layout.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Element {
    LongMonth,
    ShortMonth,
    /// `1`, `01`: the flag says zero-padded, here and below.
    Month(bool),
    LongWeekday,
    ShortWeekday,
    Day(bool),
    /// `_2`
    SpacedDay,
    /// `002`
    YearDay,
    /// `__2`
    SpacedYearDay,
    Hour24,
    Hour12(bool),
    Minute(bool),
    Second(bool),
    LongYear,
    ShortYear,
    UpperHalf,
    LowerHalf,
    ZoneName,
    Offset {
        /// `Z07:00` and its kin print UTC as `Z`.
        letter: bool,
        colon: bool,
        parts: OffsetParts,
    },
    /// `.000` or `.999`, the digits after the separator; `trims` drops zeros at the end.
    Fraction {
        digits: usize,
        trims: bool,
        comma: bool,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd)]
pub(super) enum OffsetParts {
    Hours,
    Minutes,
    Seconds,
}

/// Elements by how they are written, a longer one before those it starts with.
const WRITTEN: [(&str, Element); 34] = {
    use Element::{
        Day, Hour12, Hour24, LongMonth, LongWeekday, LongYear, LowerHalf, Minute, Month, Second, ShortMonth,
        ShortWeekday, ShortYear, SpacedDay, SpacedYearDay, UpperHalf, YearDay, ZoneName,
    };
    use OffsetParts::{Hours, Minutes, Seconds};
    const fn offset(letter: bool, colon: bool, parts: OffsetParts) -> Element {
        Element::Offset { letter, colon, parts }
    }
    [
        ("January", LongMonth),
        ("Jan", ShortMonth),
        ("Monday", LongWeekday),
        ("Mon", ShortWeekday),
        ("MST", ZoneName),
        ("002", YearDay),
        ("01", Month(true)),
        ("02", Day(true)),
        ("03", Hour12(true)),
        ("04", Minute(true)),
        ("05", Second(true)),
        ("06", ShortYear),
        ("15", Hour24),
        ("1", Month(false)),
        ("2006", LongYear),
        ("2", Day(false)),
        ("__2", SpacedYearDay),
        // Go reads `_2006` as an underscore and a year.
        ("_2006", LongYear),
        ("_2", SpacedDay),
        ("3", Hour12(false)),
        ("4", Minute(false)),
        ("5", Second(false)),
        ("PM", UpperHalf),
        ("pm", LowerHalf),
        ("-07:00:00", offset(false, true, Seconds)),
        ("-070000", offset(false, false, Seconds)),
        ("-07:00", offset(false, true, Minutes)),
        ("-0700", offset(false, false, Minutes)),
        ("-07", offset(false, false, Hours)),
        ("Z07:00:00", offset(true, true, Seconds)),
        ("Z070000", offset(true, false, Seconds)),
        ("Z07:00", offset(true, true, Minutes)),
        ("Z0700", offset(true, false, Minutes)),
        ("Z07", offset(true, false, Hours)),
    ]
};

/// Splits a layout at its first element: what comes before, the element, what comes after.
pub(super) fn next_element(layout: &[u8]) -> (&[u8], Option<(Element, &[u8])>) {
    for at in 0..layout.len() {
        if let Some((skip, element, length)) = element_at(&layout[at..]) {
            return (&layout[..at + skip], Some((element, &layout[at + skip + length..])));
        }
    }
    (layout, None)
}

/// An element at the start of `layout`: bytes of it that are literal, the element, its length.
fn element_at(layout: &[u8]) -> Option<(usize, Element, usize)> {
    if let Some((element, length)) = fraction_at(layout) {
        return Some((0, element, length));
    }
    let (written, element) = WRITTEN.iter().find(|(written, _)| layout.starts_with(written.as_bytes()))?;
    let length = written.len();
    match *written {
        "_2006" => Some((1, *element, 4)),
        // `January` starts with `Jan`, but `Jany` is no month; `Month` is no weekday.
        "Jan" | "Mon" if layout.get(3).is_some_and(u8::is_ascii_lowercase) => None,
        _ => Some((0, *element, length)),
    }
}

/// `.000`, `,999` …: a run of one digit that no other digit follows.
fn fraction_at(layout: &[u8]) -> Option<(Element, usize)> {
    let (separator, digits) = layout.split_first()?;
    let digit = *digits.first().filter(|d| matches!(d, b'0' | b'9'))?;
    if !matches!(separator, b'.' | b',') {
        return None;
    }
    let count = digits.iter().take_while(|d| **d == digit).count();
    if digits.get(count).is_some_and(u8::is_ascii_digit) {
        return None;
    }
    let element = Element::Fraction { digits: count, trims: digit == b'9', comma: *separator == b',' };
    Some((element, 1 + count))
}

/// Appends `time` as `layout` shows it.
pub(super) fn format(out: &mut Vec<u8>, time: &Time, layout: &[u8]) {
    let civil = time.civil();
    let mut rest = layout;
    loop {
        let (literal, found) = next_element(rest);
        out.extend_from_slice(literal);
        let Some((element, after)) = found else { return };
        format_element(out, time, civil, element);
        rest = after;
    }
}

fn format_element(out: &mut Vec<u8>, time: &Time, civil: Civil, element: Element) {
    let padded = |number: i64, pads: bool| if pads { format!("{number:02}") } else { format!("{number}") };
    let hour12 = if civil.hour % 12 == 0 { 12 } else { civil.hour % 12 };
    let text = match element {
        Element::LongMonth => name(&MONTHS, civil.month - 1).to_owned(),
        Element::ShortMonth => name(&MONTHS, civil.month - 1)[..3].to_owned(),
        Element::Month(pads) => padded(civil.month, pads),
        Element::LongWeekday => name(&WEEKDAYS, time.weekday()).to_owned(),
        Element::ShortWeekday => name(&WEEKDAYS, time.weekday())[..3].to_owned(),
        Element::Day(pads) => padded(civil.day, pads),
        Element::SpacedDay => format!("{:2}", civil.day),
        Element::YearDay => format!("{:03}", time.year_day()),
        Element::SpacedYearDay => format!("{:3}", time.year_day()),
        Element::Hour24 => padded(civil.hour, true),
        Element::Hour12(pads) => padded(hour12, pads),
        Element::Minute(pads) => padded(civil.minute, pads),
        Element::Second(pads) => padded(civil.second, pads),
        Element::LongYear if civil.year < 0 => format!("-{:04}", -civil.year),
        Element::LongYear => format!("{:04}", civil.year),
        Element::ShortYear => format!("{:02}", civil.year.rem_euclid(100)),
        Element::UpperHalf => if civil.hour < 12 { "AM" } else { "PM" }.to_owned(),
        Element::LowerHalf => if civil.hour < 12 { "am" } else { "pm" }.to_owned(),
        Element::ZoneName => zone_name(time),
        Element::Offset { letter, colon, parts } => offset_text(time.offset().seconds, letter, colon, parts),
        Element::Fraction { digits, trims, comma } => fraction_text(time.nanos, digits, trims, comma),
    };
    out.extend_from_slice(text.as_bytes());
}

fn name<'n>(names: &[&'n str], index: i64) -> &'n str {
    usize::try_from(index).ok().and_then(|index| names.get(index)).copied().unwrap_or("???")
}

/// The zone's name, or its offset where it has none.
fn zone_name(time: &Time) -> String {
    let offset = time.offset();
    if !offset.name.is_empty() {
        return offset.name;
    }
    offset_text(offset.seconds, false, false, OffsetParts::Minutes)
}

fn offset_text(seconds: i32, letter: bool, colon: bool, parts: OffsetParts) -> String {
    if letter && seconds == 0 {
        return "Z".to_owned();
    }
    let sign = if seconds < 0 { '-' } else { '+' };
    let magnitude = seconds.unsigned_abs();
    let colon = if colon { ":" } else { "" };
    let mut text = format!("{sign}{:02}", magnitude / 3600);
    if parts >= OffsetParts::Minutes {
        text.push_str(&format!("{colon}{:02}", magnitude / 60 % 60));
    }
    if parts >= OffsetParts::Seconds {
        text.push_str(&format!("{colon}{:02}", magnitude % 60));
    }
    text
}

fn fraction_text(nanos: u32, digits: usize, trims: bool, comma: bool) -> String {
    let all = format!("{nanos:09}");
    let mut kept = all.get(..digits).unwrap_or(&all).to_owned();
    if trims {
        kept.truncate(kept.trim_end_matches('0').len());
        if kept.is_empty() {
            return kept;
        }
    }
    let separator = if comma { ',' } else { '.' };
    format!("{separator}{kept}")
}
