//! UTC days, by which the index is cut.

use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;

/// Nanoseconds of a day.
const DAY_NS: i64 = 86_400 * 1_000_000_000;

/// A UTC day, counted from 1970-01-01. Prints as `2026-11-23`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Day(pub i32);

impl Day {
    /// The day of a timestamp in nanoseconds since 1970-01-01 UTC.
    pub fn of(timestamp: i64) -> Day {
        // At most 106,752 days either way.
        Day(timestamp.div_euclid(DAY_NS) as i32)
    }

    /// The first and the last nanosecond of the day, cut to what a timestamp can hold.
    pub fn timestamps(self) -> RangeInclusive<i64> {
        let first = i64::from(self.0).saturating_mul(DAY_NS);
        first..=first.saturating_add(DAY_NS - 1)
    }
}

/// Year, month and day by the algorithm `civil_from_days` of Howard Hinnant, "chrono-Compatible Low-Level Date
/// Algorithms".
impl fmt::Display for Day {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shifted = i64::from(self.0) + 719_468;
        let era = shifted.div_euclid(146_097);
        let day_of_era = shifted.rem_euclid(146_097);
        let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let march_month = (5 * day_of_year + 2) / 153;
        let day = day_of_year - (153 * march_month + 2) / 5 + 1;
        let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
        let year = year_of_era + era * 400 + i64::from(month <= 2);
        write!(f, "{year:04}-{month:02}-{day:02}")
    }
}

impl fmt::Debug for Day {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The text is no day.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a day of the form 2026-11-23")]
pub struct NotADay(String);

/// Takes only what [`Day`] prints. `days_from_civil` of the same paper.
impl FromStr for Day {
    type Err = NotADay;

    fn from_str(text: &str) -> Result<Self, NotADay> {
        parse(text).filter(|day| day.to_string() == text).ok_or_else(|| NotADay(text.to_owned()))
    }
}

fn parse(text: &str) -> Option<Day> {
    let mut parts = text.splitn(3, '-').map(|part| part.parse::<u16>().ok().map(i64::from));
    let (year, month, day) = (parts.next()??, parts.next()??, parts.next()??);
    let year = year - i64::from(month <= 2);
    let (era, year_of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let march_month = if month > 2 { month - 3 } else { month + 9 };
    let day_of_year = (153 * march_month + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    i32::try_from(era * 146_097 + day_of_era - 719_468).ok().map(Day)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{prop_assert, prop_assert_eq, proptest};

    use super::Day;

    #[test]
    fn days_have_their_names() {
        let table = [
            (0, "1970-01-01"),
            (-1, "1969-12-31"),
            (11_016, "2000-02-29"),
            (11_017, "2000-03-01"),
            (20_780, "2026-11-23"),
            (20_818, "2026-12-31"),
            (47_541, "2100-03-01"),
        ];
        for (number, name) in table {
            assert_eq!(Day(number).to_string(), name);
            assert_eq!(name.parse(), Ok(Day(number)));
        }
    }

    #[test]
    fn other_texts_are_no_days() {
        for text in ["", "2026-11-31", "2026-02-29", "2026-1-01", "2026-13-01", "2026-11-23.corrupt-1", "x"] {
            assert!(text.parse::<Day>().is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn every_timestamp_lies_in_its_day(timestamp: i64) {
            let day = Day::of(timestamp);
            prop_assert!(day.timestamps().contains(&timestamp));
            prop_assert!(!Day(day.0 - 1).timestamps().contains(&timestamp) || day.0 < -106_751);
        }

        #[test]
        fn name_survives_a_round_trip(number in 0..1_000_000i32) {
            prop_assert_eq!(Day(number).to_string().parse(), Ok(Day(number)));
        }

        #[test]
        fn arbitrary_text_never_panics(text in "[-0-9]{0,20}|.*") {
            let _ = text.parse::<Day>();
        }
    }
}
