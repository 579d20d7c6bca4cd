//! Durations and sizes as types, written as people write them: `90s`, `1h30m`, `256KB`.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::de::{self, Deserializer, Visitor};
use serde::{Deserialize, Serialize, Serializer};

const UNITS: [(&str, u64); 9] = [
    ("y", 365 * 86_400_000_000_000),
    ("w", 7 * 86_400_000_000_000),
    ("d", 86_400_000_000_000),
    ("h", 3_600_000_000_000),
    ("m", 60_000_000_000),
    ("s", 1_000_000_000),
    ("ms", 1_000_000),
    ("us", 1_000),
    ("ns", 1),
];

/// A length of time: `0`, `30s`, `1h30m`, `2w`. At most some 584 years.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Period(pub Duration);

impl Period {
    /// None at all; for many keys that means off.
    pub const ZERO: Period = Period(Duration::ZERO);

    /// So many seconds.
    pub const fn seconds(seconds: u64) -> Self {
        Period(Duration::from_secs(seconds))
    }

    /// So many hours.
    pub const fn hours(hours: u64) -> Self {
        Self::seconds(hours * 3600)
    }

    /// So many days.
    pub const fn days(days: u64) -> Self {
        Self::hours(days * 24)
    }

    /// Nanoseconds, at most what 63 bits hold.
    pub fn nanos(self) -> i64 {
        i64::try_from(self.0.as_nanos()).unwrap_or(i64::MAX)
    }

    /// Whether it is none at all.
    pub fn is_zero(self) -> bool {
        self.0.is_zero()
    }
}

/// Why a text is not a length of time or a size.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnitError {
    /// Not a length of time.
    #[error("`{0}` is not a duration; write numbers with units, such as `90s`, `1h30m` or `2w`")]
    Duration(String),
    /// Not a size.
    #[error("`{0}` is not a size; write a number with a unit, such as `512`, `256KB` or `4MB`")]
    Size(String),
}

impl FromStr for Period {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let error = || UnitError::Duration(text.to_owned());
        if text == "0" {
            return Ok(Period::ZERO);
        }
        let mut rest = text;
        let mut nanos: u64 = 0;
        while !rest.is_empty() {
            let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
            let letters = rest[digits..].find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len() - digits);
            let (number, unit) = (&rest[..digits], &rest[digits..digits + letters]);
            let (_, scale) = UNITS.into_iter().find(|(name, _)| *name == unit).ok_or_else(error)?;
            let part = number.parse::<u64>().ok().and_then(|number| number.checked_mul(scale));
            nanos = part.and_then(|part| nanos.checked_add(part)).ok_or_else(error)?;
            rest = &rest[digits + letters..];
        }
        if text.is_empty() { Err(error()) } else { Ok(Period(Duration::from_nanos(nanos))) }
    }
}

impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = u64::try_from(self.0.as_nanos()).unwrap_or(u64::MAX);
        if rest == 0 {
            return f.write_str("0s");
        }
        for (name, scale) in UNITS.into_iter().filter(|(name, _)| *name != "y") {
            if rest >= scale && (name != "w" || rest % scale == 0) {
                write!(f, "{}{name}", rest / scale)?;
                rest %= scale;
            }
        }
        Ok(())
    }
}

/// A number of bytes: `512`, `256KB`, `4MB`, `1GB`. Units are powers of 1024, as in Loki's configuration; `KiB`
/// and the like mean the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct ByteSize(pub u64);

const SIZES: [(&str, u32); 5] = [("T", 40), ("G", 30), ("M", 20), ("K", 10), ("", 0)];

impl ByteSize {
    /// So many KiB.
    pub const fn kib(n: u64) -> Self {
        ByteSize(n << 10)
    }

    /// So many MiB.
    pub const fn mib(n: u64) -> Self {
        ByteSize(n << 20)
    }

    /// So many GiB.
    pub const fn gib(n: u64) -> Self {
        ByteSize(n << 30)
    }

    /// As a length in memory.
    pub fn bytes(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

impl FromStr for ByteSize {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let error = || UnitError::Size(text.to_owned());
        let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let number: u64 = text[..digits].parse().map_err(|_| error())?;
        let unit = text[digits..].trim_start().to_ascii_uppercase();
        let unit = unit.strip_suffix("IB").or(unit.strip_suffix('B')).unwrap_or(&unit);
        let (_, shift) = SIZES.into_iter().find(|(name, _)| *name == unit).ok_or_else(error)?;
        number.checked_mul(1 << shift).map(ByteSize).ok_or_else(error)
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whole = |&(_, shift): &(&str, u32)| self.0 >= 1 << shift && self.0.is_multiple_of(1 << shift);
        let (name, shift) = SIZES.into_iter().find(whole).unwrap_or(("", 0));
        write!(f, "{}{name}B", self.0 >> shift)
    }
}

/// Takes a text, or a whole number where that is unambiguous.
struct Written<T>(std::marker::PhantomData<T>, &'static str);

impl<T: FromStr<Err = UnitError>> Visitor<'_> for Written<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.1)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
        text.parse().map_err(E::custom)
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<T, E> {
        self.visit_str(&number.to_string())
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<T, E> {
        self.visit_str(&number.to_string())
    }
}

impl<'de> Deserialize<'de> for Period {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(Written(std::marker::PhantomData, "a duration such as `1h30m`"))
    }
}

impl<'de> Deserialize<'de> for ByteSize {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(Written(std::marker::PhantomData, "a size such as `256KB`"))
    }
}

impl Serialize for Period {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl Serialize for ByteSize {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::{ByteSize, Period};

    #[test]
    fn durations_are_read_and_printed() {
        for (text, seconds, printed) in [
            ("0", 0, "0s"),
            ("90s", 90, "1m30s"),
            ("1h30m", 5400, "1h30m"),
            ("1w", 604_800, "1w"),
            ("8d", 691_200, "8d"),
            ("721h", 2_595_600, "30d1h"),
            ("1y", 31_536_000, "365d"),
        ] {
            let period: Period = text.parse().unwrap();
            assert_eq!((period.0, period.to_string().as_str()), (Duration::from_secs(seconds), printed));
        }
        assert_eq!("1500ms".parse::<Period>().unwrap().to_string(), "1s500ms");
        for text in ["", "1", "h", "1x", "-1s", "1.5h", "1h 30m", "99999999999y", "s1"] {
            assert!(text.parse::<Period>().is_err(), "{text}");
        }
    }

    #[test]
    fn sizes_are_read_and_printed() {
        for (text, bytes, printed) in [
            ("0", 0, "0B"),
            ("512", 512, "512B"),
            ("256KB", 262_144, "256KB"),
            ("256 KiB", 262_144, "256KB"),
            ("1536kb", 1_572_864, "1536KB"),
            ("4M", 4 << 20, "4MB"),
            ("2GB", 2 << 30, "2GB"),
        ] {
            let size: ByteSize = text.parse().unwrap();
            assert_eq!((size.0, size.to_string().as_str()), (bytes, printed));
        }
        for text in ["", "KB", "1.5MB", "-1", "1XB", "99999999999TB"] {
            assert!(text.parse::<ByteSize>().is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_printed_is_read_back(number in any::<u64>()) {
            let period = Period(Duration::from_nanos(number));
            prop_assert_eq!(period.to_string().parse(), Ok(period));
            prop_assert_eq!(ByteSize(number).to_string().parse(), Ok(ByteSize(number)));
        }
    }
}
