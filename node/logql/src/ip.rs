//! Finding addresses in text: the `ip("…")` of line and label filters.
//!
//! An address, a CIDR prefix or a range `from-to`, of either family; an IPv4 address and its IPv6-mapped form
//! are two. Text is not tokenised: a digit with a dot near, or hex digits with a colon near, start a run of
//! the characters addresses are made of, and only the whole run is tried, as in Loki.

use std::net::IpAddr;

use thiserror::Error;

/// A pattern that is none of the three forms.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("ip: invalid pattern: {0:?}")]
pub struct IpPatternError(pub String);

/// A compiled `ip("…")` pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IpMatcher {
    /// Lowest and highest address; nothing for an address with a zone, which no text can contain.
    range: Option<(IpAddr, IpAddr)>,
}

impl IpMatcher {
    /// Compiles a pattern.
    pub fn parse(pattern: &str) -> Result<IpMatcher, IpPatternError> {
        let range = Self::parse_range(pattern).ok_or_else(|| IpPatternError(pattern.into()))?;
        Ok(IpMatcher { range })
    }

    fn parse_range(pattern: &str) -> Option<Option<(IpAddr, IpAddr)>> {
        if let Ok(address) = pattern.parse::<IpAddr>() {
            return Some(Some((address, address)));
        }
        if let Some((address, zone)) = pattern.split_once('%') {
            let zoned = !zone.is_empty() && matches!(address.parse(), Ok(IpAddr::V6(_)));
            return zoned.then_some(None);
        }
        if let Some((address, bits)) = pattern.split_once('/') {
            return prefix(address.parse().ok()?, bits).map(Some);
        }
        let (from, to) = pattern.split_once('-')?;
        let (from, to): (IpAddr, IpAddr) = (from.parse().ok()?, to.parse().ok()?);
        (from.is_ipv4() == to.is_ipv4() && from <= to).then_some(Some((from, to)))
    }

    /// Whether the text holds an address that fits.
    pub fn is_match(&self, text: &[u8]) -> bool {
        let mut i = 0;
        while i < text.len() {
            let accepts: fn(u8) -> bool = if starts_v4(&text[i..]) {
                |b| b.is_ascii_digit() || b == b'.'
            } else if starts_v6(&text[i..]) {
                |b| b.is_ascii_hexdigit() || b == b':' || b == b'.'
            } else {
                i += 1;
                continue;
            };
            let run = &text[i..];
            let run = &run[..run.iter().position(|b| !accepts(*b)).unwrap_or(run.len())];
            if self.contains(run) {
                return true;
            }
            i += run.len() + 1;
        }
        false
    }

    fn contains(&self, run: &[u8]) -> bool {
        let Some((from, to)) = &self.range else { return false };
        let address = std::str::from_utf8(run).ok().and_then(|run| run.parse::<IpAddr>().ok());
        // Families do not mix: all IPv4 addresses sort before all IPv6 ones.
        address.is_some_and(|address| *from <= address && address <= *to)
    }
}

/// The lowest and highest address of a CIDR prefix.
fn prefix(address: IpAddr, bits: &str) -> Option<(IpAddr, IpAddr)> {
    if bits.is_empty()
        || !bits.bytes().all(|b| b.is_ascii_digit())
        || (bits.len() > 1 && bits.starts_with('0'))
    {
        return None;
    }
    let bits: u32 = bits.parse().ok()?;
    match address {
        IpAddr::V4(address) if bits <= 32 => {
            let host = u32::MAX.checked_shr(bits).unwrap_or(0);
            let address = u32::from(address);
            Some((IpAddr::V4((address & !host).into()), IpAddr::V4((address | host).into())))
        }
        IpAddr::V6(address) if bits <= 128 => {
            let host = u128::MAX.checked_shr(bits).unwrap_or(0);
            let address = u128::from(address);
            Some((IpAddr::V6((address & !host).into()), IpAddr::V6((address | host).into())))
        }
        _ => None,
    }
}

/// A digit with a dot among the next three bytes; at least four bytes must be left.
fn starts_v4(text: &[u8]) -> bool {
    text.len() > 3 && text[0].is_ascii_digit() && text[1..4].contains(&b'.')
}

/// `::` and a hex digit, or one to four hex digits and a colon; at least five bytes must be left.
fn starts_v6(text: &[u8]) -> bool {
    if text.len() <= 4 {
        return false;
    }
    if text.starts_with(b"::") && text[2].is_ascii_hexdigit() {
        return true;
    }
    let digits = text[..5].iter().take_while(|b| b.is_ascii_hexdigit()).count();
    (1..=4).contains(&digits) && text[digits] == b':'
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(pattern: &str, matching: &[&str], other: &[&str]) {
        let matcher = IpMatcher::parse(pattern).unwrap();
        for text in matching {
            assert!(matcher.is_match(text.as_bytes()), "{pattern} is in {text:?}");
        }
        for text in other {
            assert!(!matcher.is_match(text.as_bytes()), "{pattern} is not in {text:?}");
        }
    }

    #[test]
    fn only_whole_runs_count_as_addresses() {
        check(
            "1.2.3.4",
            &["src=1.2.3.4 ok", "x1.2.3.4"],
            &["1.2.3.45", "1.2.3.4.5", "1.2.3", "", "::ffff:1.2.3.4"],
        );
        check("::1", &["[::1]:80 up", "a ::1 b"], &["no", "1::1", "::1"]);
    }

    #[test]
    fn prefixes_and_ranges_include_their_ends() {
        check("10.0.0.0/24", &["10.0.0.0", "10.0.0.255:80"], &["10.0.1.0", "9.255.255.255"]);
        check(
            "10.0.0.1-10.0.0.7",
            &["12:34:56 10.0.0.7", "host=a10.0.0.5"],
            &["10.0.0.8", "10.0.0.0", "10.0.0.5."],
        );
        check("0.0.0.0/0", &["1.2.3.4"], &["::1 x"]);
        check("2001:db8::/32", &["2001:db8::8a2e:370:7334"], &["2001:db9::1"]);
        check("::/0", &["fe80::1%eth0"], &["1.2.3.4"]);
    }

    #[test]
    fn anything_else_is_refused() {
        for pattern in [
            "x",
            "",
            "1.2.3",
            "1.2.3.4/33",
            "1.2.3.4/-1",
            "1.2.3.4/01",
            "1.2.3.4-::1",
            "2.0.0.0-1.0.0.0",
            "1.2.3.4%z",
        ] {
            assert!(IpMatcher::parse(pattern).is_err(), "{pattern}");
        }
        assert!(IpMatcher::parse("fe80::1%eth0").is_ok());
    }
}
