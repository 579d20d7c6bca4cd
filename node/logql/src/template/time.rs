//! Go's `time.Time`, `Duration`, `Month` and `Weekday`: an instant of any year, the zone it is shown in, and
//! the civil date of it.

use std::fmt;

use jiff::{
    Timestamp,
    tz::{Dst, TimeZone},
};

use super::{layout, value::IntType};

pub(super) const NANOS_PER_SECOND: i64 = 1_000_000_000;
const SECONDS_PER_DAY: i64 = 86_400;

/// Seconds from 0001-01-01 to the Unix epoch: Go's zero time is that long before.
const ZERO_TIME_SECONDS: i64 = -62_135_596_800;

pub(super) const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
pub(super) const WEEKDAYS: [&str; 7] =
    ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];

/// An instant, and the zone it is shown in.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Time {
    /// Seconds since the Unix epoch.
    pub(super) seconds: i64,
    /// Nanoseconds within the second.
    pub(super) nanos: u32,
    pub(super) zone: Zone,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Zone {
    Utc,
    /// An offset in seconds east of UTC, as read from a time that named it; the name may be empty.
    Fixed {
        name: String,
        offset: i32,
    },
    Named(TimeZone),
}

/// What a zone says at one instant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Offset {
    /// Seconds east of UTC.
    pub(super) seconds: i32,
    /// `CET`, `EST`, or empty where the zone has no name.
    pub(super) name: String,
    pub(super) is_dst: bool,
}

impl Zone {
    /// A zone of the tz database; UTC for the empty name, and where no zone is called so.
    pub(super) fn named(name: &str) -> Self {
        match name {
            "" | "UTC" | "Local" => Zone::Utc,
            name => TimeZone::get(name).map_or(Zone::Utc, Zone::Named),
        }
    }

    pub(super) fn at(&self, seconds: i64) -> Offset {
        match self {
            Zone::Utc => Offset { seconds: 0, name: "UTC".to_owned(), is_dst: false },
            Zone::Fixed { name, offset } => Offset { seconds: *offset, name: name.clone(), is_dst: false },
            Zone::Named(zone) => {
                let at = Timestamp::from_second(seconds).unwrap_or(Timestamp::UNIX_EPOCH);
                let info = zone.to_offset_info(at);
                Offset {
                    seconds: info.offset().seconds(),
                    name: info.abbreviation().to_owned(),
                    is_dst: info.dst() == Dst::Yes,
                }
            }
        }
    }

    /// The instant at which this zone's clocks show `local` seconds. Where they show it twice or never, the
    /// offset in force before the change decides, as in Go.
    pub(super) fn instant(&self, local: i64) -> i64 {
        let guess = local - i64::from(self.at(local).seconds);
        let earlier = local.saturating_sub(i64::from(self.at(guess - 12 * 3600).seconds));
        let later = local.saturating_sub(i64::from(self.at(guess + 12 * 3600).seconds));
        let shows = |instant: i64| instant + i64::from(self.at(instant).seconds) == local;
        if !shows(earlier) && shows(later) { later } else { earlier }
    }
}

/// A civil date and clock time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Civil {
    pub(super) year: i64,
    /// 1 to 12.
    pub(super) month: i64,
    pub(super) day: i64,
    pub(super) hour: i64,
    pub(super) minute: i64,
    pub(super) second: i64,
}

impl Time {
    /// Go's zero time, what a failed parse leaves.
    pub(super) fn zero() -> Self {
        Time { seconds: ZERO_TIME_SECONDS, nanos: 0, zone: Zone::Utc }
    }

    pub(super) fn from_nanos(nanos: i64) -> Self {
        Self::from_parts(0, nanos)
    }

    /// Go's `time.Unix(seconds, nanos)`, in UTC; `nanos` may be any size.
    pub(super) fn from_parts(seconds: i64, nanos: i64) -> Self {
        Time {
            seconds: seconds.saturating_add(nanos.div_euclid(NANOS_PER_SECOND)),
            nanos: u32::try_from(nanos.rem_euclid(NANOS_PER_SECOND)).unwrap_or(0),
            zone: Zone::Utc,
        }
    }

    pub(super) fn is_zero(&self) -> bool {
        self.seconds == ZERO_TIME_SECONDS && self.nanos == 0
    }

    pub(super) fn offset(&self) -> Offset {
        self.zone.at(self.seconds)
    }

    /// Seconds since the epoch as the zone's clocks show them.
    fn local_seconds(&self) -> i64 {
        self.seconds.saturating_add(i64::from(self.offset().seconds))
    }

    pub(super) fn civil(&self) -> Civil {
        let local = self.local_seconds();
        let (year, month, day) = date_of(local.div_euclid(SECONDS_PER_DAY));
        let second = local.rem_euclid(SECONDS_PER_DAY);
        Civil { year, month, day, hour: second / 3600, minute: second / 60 % 60, second: second % 60 }
    }

    /// 0 is Sunday.
    pub(super) fn weekday(&self) -> i64 {
        (self.local_seconds().div_euclid(SECONDS_PER_DAY) + 4).rem_euclid(7)
    }

    /// Day of the year, from 1.
    pub(super) fn year_day(&self) -> i64 {
        let year = self.civil().year;
        self.local_seconds().div_euclid(SECONDS_PER_DAY) - days_of(year, 1, 1) + 1
    }

    /// Nanoseconds since the epoch; wraps where they do not fit, as in Go.
    pub(super) fn unix_nanos(&self) -> i64 {
        self.seconds.wrapping_mul(NANOS_PER_SECOND).wrapping_add(i64::from(self.nanos))
    }

    /// Units of `per_second` to the second since the epoch, rounded down.
    pub(super) fn unix_units(&self, per_second: i64) -> i64 {
        let within = i64::from(self.nanos) / (NANOS_PER_SECOND / per_second);
        self.seconds.wrapping_mul(per_second).wrapping_add(within)
    }

    pub(super) fn plus_nanos(&self, nanos: i64) -> Self {
        let sum = Time::from_parts(self.seconds, i64::from(self.nanos).saturating_add(nanos));
        Time { zone: self.zone.clone(), ..sum }
    }

    /// The duration from `earlier` to this, held to what a duration can be.
    pub(super) fn nanos_since(&self, earlier: &Time) -> i64 {
        let seconds = i128::from(self.seconds) - i128::from(earlier.seconds);
        let nanos = i128::from(self.nanos) - i128::from(earlier.nanos);
        let total = seconds * i128::from(NANOS_PER_SECOND) + nanos;
        i64::try_from(total).unwrap_or(if total < 0 { i64::MIN } else { i64::MAX })
    }

    /// Go's `AddDate`: the civil date moved, and brought back into the calendar.
    pub(super) fn plus_date(&self, years: i64, months: i64, days: i64) -> Self {
        let civil = self.civil();
        let moved = Civil {
            year: civil.year.saturating_add(years),
            month: civil.month.saturating_add(months),
            day: civil.day.saturating_add(days),
            ..civil
        };
        Time { seconds: self.zone.instant(civil_seconds(moved)), nanos: self.nanos, zone: self.zone.clone() }
    }

    pub(super) fn in_zone(&self, zone: Zone) -> Self {
        Time { zone, ..*self }
    }

    /// Order of two instants, wherever they are shown.
    pub(super) fn key(&self) -> (i64, u32) {
        (self.seconds, self.nanos)
    }
}

/// As Go prints a time: `2006-01-02 15:04:05.999999999 -0700 MST`.
impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = Vec::new();
        layout::format(&mut text, self, b"2006-01-02 15:04:05.999999999 -0700 MST");
        f.write_str(&String::from_utf8_lossy(&text))
    }
}

/// Seconds since the epoch of a civil time taken as UTC; a month or day out of range carries over.
pub(super) fn civil_seconds(civil: Civil) -> i64 {
    // Far beyond any date a line holds; keeps the products below from overflowing.
    const YEAR_MAX: i64 = 1_000_000_000;
    let month = (civil.month - 1).clamp(-YEAR_MAX, YEAR_MAX);
    let year = civil.year.clamp(-YEAR_MAX, YEAR_MAX) + month.div_euclid(12);
    let days = days_of(year, month.rem_euclid(12) + 1, 1) + civil.day.clamp(-YEAR_MAX, YEAR_MAX) - 1;
    days * SECONDS_PER_DAY + civil.hour * 3600 + civil.minute * 60 + civil.second
}

/// Days since 1970-01-01 of a date of the proleptic Gregorian calendar, counted in eras of 400 years that
/// start in March so that the leap day comes last.
fn days_of(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

/// The inverse of [`days_of`].
fn date_of(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    (era * 400 + year_of_era + i64::from(month <= 2), month, day)
}

/// Days in a month.
pub(super) fn days_in(year: i64, month: i64) -> i64 {
    let next = if month == 12 { days_of(year + 1, 1, 1) } else { days_of(year, month + 1, 1) };
    next - days_of(year, month, 1)
}

/// What an integer of a named type prints as; `None` for plain integers.
pub(super) fn integer_name(number: i64, kind: IntType) -> Option<String> {
    let name = |names: &[&str], index: i64, type_name: &str| {
        let found = usize::try_from(index).ok().and_then(|index| names.get(index));
        found.map_or_else(|| format!("%!{type_name}({number})"), |name| (*name).to_owned())
    };
    match kind {
        IntType::Int | IntType::Int64 | IntType::Byte => None,
        IntType::Month => Some(name(&MONTHS, number.wrapping_sub(1), "Month")),
        IntType::Weekday => Some(name(&WEEKDAYS, number, "Weekday")),
        IntType::Duration => Some(duration_text(number)),
    }
}

/// Go's `Duration.String`: `1h30m0s`, `1.5s`, `2ms`, `0s`.
pub(super) fn duration_text(nanos: i64) -> String {
    let sign = if nanos < 0 { "-" } else { "" };
    let magnitude = nanos.unsigned_abs();
    let unit = |per: u64, name: &str| format!("{sign}{}{name}", decimal(magnitude, per));
    match magnitude {
        0 => return "0s".to_owned(),
        1..=999 => return unit(1, "ns"),
        1_000..=999_999 => return unit(1_000, "µs"),
        1_000_000..=999_999_999 => return unit(1_000_000, "ms"),
        _ => {}
    }
    let seconds = format!("{}s", decimal(magnitude % 60_000_000_000, 1_000_000_000));
    let minutes = magnitude / 60_000_000_000;
    match (minutes / 60, minutes % 60) {
        (0, 0) => format!("{sign}{seconds}"),
        (0, minutes) => format!("{sign}{minutes}m{seconds}"),
        (hours, minutes) => format!("{sign}{hours}h{minutes}m{seconds}"),
    }
}

/// `value / per` without trailing zeros.
fn decimal(value: u64, per: u64) -> String {
    let width = per.ilog10() as usize;
    let text = format!("{}.{:0width$}", value / per, value % per);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::{Time, Zone, date_of, days_in, days_of, duration_text};

    #[test]
    fn dates_and_days_are_inverse_over_four_centuries() {
        for days in (-200_000..200_000).step_by(97).chain([-719_162, 0, 11_016]) {
            let (year, month, day) = date_of(days);
            assert_eq!(days_of(year, month, day), days);
            assert!((1..=12).contains(&month) && (1..=days_in(year, month)).contains(&day));
        }
        assert_eq!(date_of(-719_162), (1, 1, 1));
        assert_eq!(date_of(11_016), (2000, 2, 29));
    }

    #[test]
    fn a_time_prints_as_in_go() {
        assert_eq!(Time::zero().to_string(), "0001-01-01 00:00:00 +0000 UTC");
        let time = Time::from_nanos(1_700_000_000_123_456_789);
        assert_eq!(time.to_string(), "2023-11-14 22:13:20.123456789 +0000 UTC");
        assert_eq!(
            time.in_zone(Zone::named("Asia/Kolkata")).to_string(),
            "2023-11-15 03:43:20.123456789 +0530 IST"
        );
        assert_eq!(Time::from_nanos(-1).to_string(), "1969-12-31 23:59:59.999999999 +0000 UTC");
    }

    #[test]
    fn a_local_time_is_found_in_its_zone() {
        let check = |zone: &str, local: i64, want: i64| assert_eq!(Zone::named(zone).instant(local), want);
        // 2024-03-05 00:00 in New York is 05:00 UTC; 2024-07-01 00:00 is 04:00.
        check("America/New_York", 1_709_596_800, 1_709_596_800 + 5 * 3600);
        check("America/New_York", 1_719_792_000, 1_719_792_000 + 4 * 3600);
        check("Europe/Berlin", 1_709_596_800, 1_709_596_800 - 3600);
        // 2024-03-31 02:30 does not exist in Berlin; the winter offset is taken.
        check("Europe/Berlin", 1_711_852_200, 1_711_852_200 - 3600);
        check("Bogus/Zone", 0, 0);
    }

    #[test]
    fn durations_print_as_in_go() {
        let check = |nanos: i64, want: &str| assert_eq!(duration_text(nanos), want);
        check(0, "0s");
        check(1, "1ns");
        check(1_100, "1.1µs");
        check(2_200_000, "2.2ms");
        check(3_300_000_000, "3.3s");
        check(245_000_000_000, "4m5s");
        check(5_400_000_000_000, "1h30m0s");
        check(-3_600_000_000_000, "-1h0m0s");
        check(i64::MIN, "-2562047h47m16.854775808s");
    }
}
