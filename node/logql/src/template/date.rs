//! Reads a date by a Go layout, with the liberties Go takes: names in any case, a fraction of a second the
//! layout does not mention, zones known by abbreviation or offset.

use super::{
    layout::{Element, OffsetParts, next_element},
    time::{Civil, MONTHS, NANOS_PER_SECOND, Time, WEEKDAYS, Zone, civil_seconds, days_in},
};

/// Go's `time.ParseInLocation`; `None` where it fails.
pub(super) fn parse(layout: &[u8], text: &[u8], zone: &Zone) -> Option<Time> {
    let mut parser = Parser { text, fields: Fields::default() };
    let mut rest = layout;
    loop {
        let (literal, found) = next_element(rest);
        parser.literal(literal)?;
        let Some((element, after)) = found else { break };
        parser.element(element, after)?;
        rest = after;
    }
    if !parser.text.is_empty() {
        return None;
    }
    parser.fields.resolve(zone)
}

struct Parser<'t> {
    text: &'t [u8],
    fields: Fields,
}

/// What has been read so far.
#[derive(Debug, Clone, Default)]
struct Fields {
    year: i64,
    month: Option<i64>,
    day: Option<i64>,
    year_day: Option<i64>,
    hour: i64,
    minute: i64,
    second: i64,
    nanos: u32,
    pm: bool,
    am: bool,
    utc: bool,
    offset: Option<i32>,
    zone_name: Option<String>,
}

impl<'t> Parser<'t> {
    /// Literal text of the layout; a run of spaces there matches any run here.
    fn literal(&mut self, mut literal: &[u8]) -> Option<()> {
        while let Some(byte) = literal.first() {
            if *byte == b' ' {
                if self.text.first().is_some_and(|b| *b != b' ') {
                    return None;
                }
                literal = skip_spaces(literal);
                self.text = skip_spaces(self.text);
                continue;
            }
            self.text = self.text.strip_prefix(&[*byte])?;
            literal = &literal[1..];
        }
        Some(())
    }

    fn element(&mut self, element: Element, after: &[u8]) -> Option<()> {
        let fields = &mut self.fields;
        match element {
            Element::ShortYear => {
                let year = take_digits(&mut self.text, 2, 2)?;
                fields.year = if year >= 69 { 1900 + year } else { 2000 + year };
            }
            Element::LongYear => fields.year = take_digits(&mut self.text, 4, 4)?,
            Element::LongMonth => fields.month = Some(take_name(&mut self.text, &MONTHS, None)? + 1),
            Element::ShortMonth => fields.month = Some(take_name(&mut self.text, &MONTHS, Some(3))? + 1),
            Element::Month(pads) => {
                fields.month = Some(in_range(take_number(&mut self.text, pads)?, 1, 12)?);
            }
            Element::LongWeekday => {
                take_name(&mut self.text, &WEEKDAYS, None)?;
            }
            Element::ShortWeekday => {
                take_name(&mut self.text, &WEEKDAYS, Some(3))?;
            }
            Element::SpacedDay => {
                self.text = self.text.strip_prefix(b" ").unwrap_or(self.text);
                fields.day = Some(take_number(&mut self.text, false)?);
            }
            Element::Day(pads) => fields.day = Some(take_number(&mut self.text, pads)?),
            Element::SpacedYearDay => {
                for _ in 0..2 {
                    self.text = self.text.strip_prefix(b" ").unwrap_or(self.text);
                }
                fields.year_day = Some(take_digits(&mut self.text, 1, 3)?);
            }
            Element::YearDay => fields.year_day = Some(take_digits(&mut self.text, 3, 3)?),
            Element::Hour24 => fields.hour = in_range(take_number(&mut self.text, false)?, 0, 23)?,
            Element::Hour12(pads) => fields.hour = in_range(take_number(&mut self.text, pads)?, 0, 12)?,
            Element::Minute(pads) => fields.minute = in_range(take_number(&mut self.text, pads)?, 0, 59)?,
            Element::Second(pads) => self.second(pads, after)?,
            Element::UpperHalf => self.half(b"AM", b"PM")?,
            Element::LowerHalf => self.half(b"am", b"pm")?,
            Element::Offset { letter, colon, parts } => self.offset(letter, colon, parts)?,
            Element::ZoneName => self.zone_name()?,
            Element::Fraction { digits, trims, .. } => self.fraction(digits, trims)?,
        }
        Some(())
    }

    /// Seconds, and a fraction after them even where the layout has none.
    fn second(&mut self, pads: bool, after: &[u8]) -> Option<()> {
        self.fields.second = in_range(take_number(&mut self.text, pads)?, 0, 59)?;
        let follows = matches!(self.text, [b'.' | b',', digit, ..] if digit.is_ascii_digit());
        let (literal, next) = next_element(after);
        let wanted = literal.is_empty() && matches!(next, Some((Element::Fraction { .. }, _)));
        if follows && !wanted {
            let digits = self.text[1..].iter().take_while(|b| b.is_ascii_digit()).count();
            self.fields.nanos = nanos_of(&self.text[1..1 + digits])?;
            self.text = &self.text[1 + digits..];
        }
        Some(())
    }

    fn half(&mut self, am: &[u8], pm: &[u8]) -> Option<()> {
        if let Some(rest) = self.text.strip_prefix(pm) {
            self.fields.pm = true;
            self.text = rest;
        } else {
            self.text = self.text.strip_prefix(am)?;
            self.fields.am = true;
        }
        Some(())
    }

    fn offset(&mut self, letter: bool, colon: bool, parts: OffsetParts) -> Option<()> {
        if letter && let Some(rest) = self.text.strip_prefix(b"Z") {
            self.text = rest;
            self.fields.utc = true;
            return Some(());
        }
        let (sign, mut rest) = self.text.split_first()?;
        let mut seconds = in_range(take_digits(&mut rest, 2, 2)?, 0, 24)? * 3600;
        for (part, unit) in [(OffsetParts::Minutes, 60), (OffsetParts::Seconds, 1)] {
            if parts >= part {
                if colon {
                    rest = rest.strip_prefix(b":")?;
                }
                seconds += in_range(take_digits(&mut rest, 2, 2)?, 0, 60)? * unit;
            }
        }
        let seconds = i32::try_from(seconds).ok()?;
        self.fields.offset = Some(match sign {
            b'+' => seconds,
            b'-' => -seconds,
            _ => return None,
        });
        self.text = rest;
        Some(())
    }

    fn zone_name(&mut self) -> Option<()> {
        if let Some(rest) = self.text.strip_prefix(b"UTC") {
            self.text = rest;
            self.fields.utc = true;
            return Some(());
        }
        let length = zone_name_length(self.text)?;
        self.fields.zone_name = Some(String::from_utf8_lossy(&self.text[..length]).into_owned());
        self.text = &self.text[length..];
        Some(())
    }

    fn fraction(&mut self, digits: usize, trims: bool) -> Option<()> {
        if trims {
            // Optional: absent unless a separator and a digit stand here.
            let found = matches!(self.text, [b'.' | b',', digit, ..] if digit.is_ascii_digit());
            if !found {
                return Some(());
            }
            let count = self.text[1..].iter().take_while(|b| b.is_ascii_digit()).count();
            self.fields.nanos = nanos_of(&self.text[1..=count])?;
            self.text = &self.text[1 + count..];
            return Some(());
        }
        let fraction = self.text.get(..=digits)?;
        if !matches!(fraction[0], b'.' | b',') {
            return None;
        }
        self.fields.nanos = nanos_of(&fraction[1..])?;
        self.text = &self.text[1 + digits..];
        Some(())
    }
}

impl Fields {
    fn resolve(self, zone: &Zone) -> Option<Time> {
        let hour = match self.hour {
            hour if self.pm && hour < 12 => hour + 12,
            12 if self.am => 0,
            hour => hour,
        };
        let (month, day) = self.date()?;
        let civil = Civil { year: self.year, month, day, hour, minute: self.minute, second: self.second };
        let local = civil_seconds(civil);
        let at = |seconds, zone| Some(Time { seconds, nanos: self.nanos, zone });
        if self.utc {
            return at(local, Zone::Utc);
        }
        if let Some(offset) = self.offset {
            let seconds = local - i64::from(offset);
            let here = zone.at(seconds);
            let name = self.zone_name.unwrap_or_default();
            // The zone itself, where it has this offset then.
            if here.seconds == offset && (name.is_empty() || here.name == name) {
                return at(seconds, zone.clone());
            }
            return at(seconds, Zone::Fixed { name, offset });
        }
        let Some(name) = self.zone_name else { return at(zone.instant(local), zone.clone()) };
        let instant = zone.instant(local);
        if zone.at(instant).name == name {
            return at(instant, zone.clone());
        }
        let offset = name.strip_prefix("GMT").and_then(|hours| hours.parse::<i32>().ok()).unwrap_or(0) * 3600;
        // Go gives such a time the zone and does not move it there.
        at(local, Zone::Fixed { name, offset })
    }

    /// Month and day, checked against each other, the year and a day of the year.
    fn date(&self) -> Option<(i64, i64)> {
        if let Some(year_day) = self.year_day {
            let leap = days_in(self.year, 2) == 29;
            in_range(year_day, 1, if leap { 366 } else { 365 })?;
            let (mut month, mut day) = (1, year_day);
            while day > days_in(self.year, month) {
                day -= days_in(self.year, month);
                month += 1;
            }
            let agrees = self.month.is_none_or(|m| m == month) && self.day.is_none_or(|d| d == day);
            return agrees.then_some((month, day));
        }
        let month = self.month.unwrap_or(1);
        Some((month, in_range(self.day.unwrap_or(1), 1, days_in(self.year, month))?))
    }
}

fn skip_spaces(text: &[u8]) -> &[u8] {
    &text[text.iter().take_while(|b| **b == b' ').count()..]
}

fn in_range(number: i64, min: i64, max: i64) -> Option<i64> {
    (min..=max).contains(&number).then_some(number)
}

/// From `min` to `max` digits.
fn take_digits(text: &mut &[u8], min: usize, max: usize) -> Option<i64> {
    let count = text.iter().take(max).take_while(|b| b.is_ascii_digit()).count();
    if count < min {
        return None;
    }
    let (digits, rest) = text.split_at(count);
    *text = rest;
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// One or two digits; two where the layout pads.
fn take_number(text: &mut &[u8], pads: bool) -> Option<i64> {
    take_digits(text, if pads { 2 } else { 1 }, 2)
}

/// The index of the name the text starts with, whatever its case; `cut` shortens all names.
fn take_name(text: &mut &[u8], names: &[&str], cut: Option<usize>) -> Option<i64> {
    let starts = |name: &&str| {
        let name = &name.as_bytes()[..cut.unwrap_or(name.len())];
        let head = text.get(..name.len())?;
        head.eq_ignore_ascii_case(name).then_some(name.len())
    };
    let (index, length) = names.iter().enumerate().find_map(|(at, name)| Some((at, starts(name)?)))?;
    *text = &text[length..];
    i64::try_from(index).ok()
}

/// Up to nine digits of a fraction as nanoseconds; digits beyond are dropped.
fn nanos_of(digits: &[u8]) -> Option<u32> {
    let mut nanos = 0;
    let mut unit = NANOS_PER_SECOND / 10;
    for digit in digits {
        if !digit.is_ascii_digit() {
            return None;
        }
        nanos += i64::from(digit - b'0') * unit;
        unit /= 10;
    }
    u32::try_from(nanos).ok()
}

/// Length of a zone abbreviation, by Go's guesses: three or four capitals, `GMT` with an offset, a sign and
/// two digits.
fn zone_name_length(text: &[u8]) -> Option<usize> {
    if text.starts_with(b"ChST") || text.starts_with(b"MeST") {
        return Some(4);
    }
    if text.starts_with(b"GMT") {
        return Some(3 + signed_hours_length(&text[3..]));
    }
    if matches!(text.first(), Some(b'+' | b'-')) {
        return Some(signed_hours_length(text)).filter(|length| *length > 0);
    }
    match text.iter().take(6).take_while(|b| b.is_ascii_uppercase()).count() {
        3 => Some(3),
        4 if text[3] == b'T' || text.starts_with(b"WITA") => Some(4),
        5 if text[4] == b'T' => Some(5),
        _ => None,
    }
}

/// Length of `±h` or `±hh` up to 23 hours; zero if there is none.
fn signed_hours_length(text: &[u8]) -> usize {
    if !matches!(text.first(), Some(b'+' | b'-')) {
        return 0;
    }
    let digits = text[1..].iter().take_while(|b| b.is_ascii_digit()).count();
    let hours = std::str::from_utf8(&text[1..1 + digits]).ok().and_then(|d| d.parse::<u32>().ok());
    if hours.is_some_and(|hours| hours <= 23) { 1 + digits } else { 0 }
}
