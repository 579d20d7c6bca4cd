//! The timestamps of a block: gaps, frame of reference in groups of 64, in the coarsest unit that divides them.
//!
//! ```text
//! unit u8 | first timestamp i64 | per group of 64 entries:
//!   first of this group − first of the group before (varint, 0 for the first group)
//!   | least gap within the group (varint) | width u8 | gaps − least gap, `width` bits each, low bits first
//! ```
//!
//! Differences and gaps are counted in units. A group of `n` entries has `n − 1` gaps; a group of one has least
//! gap and width 0 and no packed bytes. Groups of 128 came out 2–80 % larger; delta of delta as varints larger
//! and 3 times slower. As the first timestamp of each group is told, and the length of each group follows from
//! its width, a search walks group heads and unpacks one group.

use super::block::Unit;
use super::cursor::{Cursor, put_varint};
use super::error::FormatError;

const GROUP: usize = 64;
const PART: &str = "timestamps";
/// Unpacking loads up to 16 bytes at a time.
const PADDING: usize = 16;

/// Appends the column of `timestamps`, which must ascend and not be empty. Returns the unit it chose.
pub(crate) fn encode(timestamps: &[i64], out: &mut Vec<u8>) -> Unit {
    assert!(timestamps.is_sorted() && !timestamps.is_empty(), "timestamps to be packed must ascend");
    let unit = coarsest_unit(timestamps);
    out.push(unit as u8);
    out.extend_from_slice(&timestamps[0].to_le_bytes());
    let mut first_before = timestamps[0];
    for group in timestamps.chunks(GROUP) {
        put_varint(out, gap(first_before, group[0]) / unit.nanos());
        first_before = group[0];
        encode_group(group, unit, out);
    }
    unit
}

fn encode_group(group: &[i64], unit: Unit, out: &mut Vec<u8>) {
    let mut gaps = [0; GROUP - 1];
    let gaps = &mut gaps[..group.len() - 1];
    for (out, pair) in gaps.iter_mut().zip(group.windows(2)) {
        *out = in_units(gap(pair[0], pair[1]), unit);
    }
    let (least, most) =
        gaps.iter().fold((u64::MAX, 0), |(least, most), gap| (least.min(*gap), most.max(*gap)));
    let least = least.min(most);
    let width = u64::BITS - (most - least).leading_zeros();
    put_varint(out, least);
    out.push(width as u8);
    pack(gaps, least, width, out);
}

/// Division by constants is a multiplication.
fn in_units(nanos: u64, unit: Unit) -> u64 {
    match unit {
        Unit::Nanosecond => nanos,
        Unit::Microsecond => nanos / Unit::Microsecond.nanos(),
        Unit::Millisecond => nanos / Unit::Millisecond.nanos(),
        Unit::Second => nanos / Unit::Second.nanos(),
    }
}

fn pack(gaps: &[u64], least: u64, width: u32, out: &mut Vec<u8>) {
    let (mut waiting, mut bits) = (0_u128, 0);
    for gap in gaps {
        waiting |= u128::from(gap - least) << bits;
        bits += width;
        while bits >= 8 {
            out.push(waiting as u8);
            waiting >>= 8;
            bits -= 8;
        }
    }
    if bits > 0 {
        out.push(waiting as u8);
    }
}

fn gap(from: i64, to: i64) -> u64 {
    to.wrapping_sub(from) as u64
}

fn coarsest_unit(timestamps: &[i64]) -> Unit {
    let divides =
        |unit: Unit| timestamps.windows(2).all(|pair| gap(pair[0], pair[1]).is_multiple_of(unit.nanos()));
    Unit::ALL.into_iter().find(|unit| divides(*unit)).unwrap_or_default()
}

/// A group whose head has been read.
struct Group<'a> {
    first: i64,
    least: u64,
    width: u32,
    entries: usize,
    packed: &'a [u8],
    /// The packed bytes and all that follows, so that unpacking may load beyond the group's end.
    rest: &'a [u8],
}

/// Walks the groups of a column without unpacking them.
struct Groups<'a> {
    cursor: Cursor<'a>,
    bytes: &'a [u8],
    unit: u64,
    first: i64,
    left: usize,
}

impl<'a> Groups<'a> {
    fn new(bytes: &'a [u8], entries: usize) -> Result<Self, FormatError> {
        let mut cursor = Cursor::new(PART, bytes);
        let unit = Unit::from_code(cursor.u8()?).ok_or_else(|| cursor.error("the unit is unknown"))?;
        let first = cursor.i64()?;
        Ok(Groups { cursor, bytes, unit: unit.nanos(), first, left: entries })
    }

    fn next(&mut self) -> Result<Option<Group<'a>>, FormatError> {
        let entries = self.left.min(GROUP);
        if entries == 0 {
            return if self.cursor.remaining() == 0 {
                Ok(None)
            } else {
                Err(self.cursor.error("bytes are left over"))
            };
        }
        let step = self.cursor.varint()?.wrapping_mul(self.unit);
        self.first = self.first.wrapping_add(step as i64);
        let least = self.cursor.varint()?;
        let width = u32::from(self.cursor.u8()?);
        if width > u64::BITS {
            return Err(self.cursor.error("a width exceeds 64 bits"));
        }
        let rest = &self.bytes[self.cursor.position()..];
        let packed = self.cursor.take(((entries - 1) * width as usize).div_ceil(8))?;
        self.left -= entries;
        Ok(Some(Group { first: self.first, least, width, entries, packed, rest }))
    }
}

/// Unpacks a column of `entries` timestamps into `out`, which is cleared.
///
/// # Errors
/// If the column is damaged. A column that is whole by its CRC always decodes; nothing here checks that the
/// result ascends.
pub(crate) fn decode(bytes: &[u8], entries: usize, out: &mut Vec<i64>) -> Result<(), FormatError> {
    out.clear();
    out.reserve(entries);
    let mut groups = Groups::new(bytes, entries)?;
    while let Some(group) = groups.next()? {
        unpack(&group, groups.unit, out);
    }
    Ok(())
}

/// Index of the first of `entries` timestamps that is `at` or later; `entries` if there is none.
///
/// # Errors
/// If the column is damaged.
pub(crate) fn first_at_or_after(bytes: &[u8], entries: usize, at: i64) -> Result<usize, FormatError> {
    let mut groups = Groups::new(bytes, entries)?;
    let (mut start, mut before) = (0, None);
    while let Some(group) = groups.next()? {
        if group.first >= at {
            break;
        }
        start += before.as_ref().map_or(0, |group: &Group<'_>| group.entries);
        before = Some(group);
    }
    let Some(group) = before else { return Ok(0) };
    let mut timestamps = Vec::with_capacity(GROUP);
    unpack(&group, groups.unit, &mut timestamps);
    Ok(start + timestamps.partition_point(|timestamp| *timestamp < at))
}

fn unpack(group: &Group<'_>, unit: u64, out: &mut Vec<i64>) {
    let gaps = group.entries - 1;
    out.push(group.first);
    if group.width == 0 {
        let step = group.least.wrapping_mul(unit) as i64;
        out.extend((1..=gaps as i64).map(|n| group.first.wrapping_add(step.wrapping_mul(n))));
    } else if group.rest.len() >= group.packed.len() + PADDING {
        unpack_gaps(group, unit, group.rest, gaps, out);
    } else {
        let mut padded = [0; GROUP * 8 + PADDING];
        padded[..group.packed.len()].copy_from_slice(group.packed);
        unpack_gaps(group, unit, &padded, gaps, out);
    }
}

fn unpack_gaps(group: &Group<'_>, unit: u64, bytes: &[u8], gaps: usize, out: &mut Vec<i64>) {
    let mask = u64::MAX >> (u64::BITS - group.width);
    let mut timestamp = group.first;
    let width = group.width as usize;
    let mut step = |extra: u64| {
        timestamp = timestamp.wrapping_add(group.least.wrapping_add(extra).wrapping_mul(unit) as i64);
        timestamp
    };
    if width <= 56 {
        out.extend((0..gaps).map(|n| step(load_u64(bytes, n * width / 8) >> (n * width % 8) & mask)));
    } else {
        out.extend(
            (0..gaps).map(|n| step((load_u128(bytes, n * width / 8) >> (n * width % 8)) as u64 & mask)),
        );
    }
}

fn load_u64(bytes: &[u8], at: usize) -> u64 {
    let mut word = [0; 8];
    word.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(word)
}

fn load_u128(bytes: &[u8], at: usize) -> u128 {
    let mut word = [0; 16];
    word.copy_from_slice(&bytes[at..at + 16]);
    u128::from_le_bytes(word)
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::{any, prop, prop_assert, prop_assert_eq, proptest};

    use super::{decode, encode, first_at_or_after};
    use crate::pack::block::Unit;

    fn check(timestamps: &[i64]) -> (Unit, usize) {
        let (mut bytes, mut back) = (Vec::new(), Vec::new());
        let unit = encode(timestamps, &mut bytes);
        decode(&bytes, timestamps.len(), &mut back).unwrap();
        assert_eq!(back, timestamps);
        for at in timestamps.iter().flat_map(|t| [t.saturating_sub(1), *t, t.saturating_add(1)]) {
            let expected = timestamps.partition_point(|t| *t < at);
            assert_eq!(first_at_or_after(&bytes, timestamps.len(), at), Ok(expected), "at {at}");
        }
        (unit, bytes.len())
    }

    #[test]
    fn extremes_read_back() {
        check(&[0]);
        check(&[i64::MIN]);
        check(&[i64::MIN, i64::MAX]);
        check(&[i64::MIN, i64::MIN + 1, i64::MAX - 1, i64::MAX, i64::MAX]);
        check(&[7; 1_000]);
        for length in [63, 64, 65, 127, 128, 129] {
            check(&(0..length).map(|n| n * n * n).collect::<Vec<_>>());
        }
    }

    #[test]
    fn unit_is_the_coarsest_that_divides_all_gaps() {
        for (step, expected) in [
            (1, Unit::Nanosecond),
            (1_500, Unit::Nanosecond),
            (2_000, Unit::Microsecond),
            (5_000_000, Unit::Millisecond),
            (3_000_000_000, Unit::Second),
            (0, Unit::Second),
        ] {
            let stamps: Vec<_> = (0..200).map(|n| 17 + n * step).collect();
            assert_eq!(check(&stamps).0, expected, "{step}");
        }
    }

    #[test]
    fn evenly_spaced_timestamps_take_under_a_byte_each() {
        let stamps: Vec<_> = (0..6_400).map(|n| 1_700_000_000_000_000_000 + n * 1_234_567).collect();
        assert!(check(&stamps).1 < 6_400 / 4);
    }

    proptest! {
        #[test]
        fn any_ascending_timestamps_read_back(mut stamps in vec(any::<i64>(), 1..300), shift in 0_u32..63) {
            for stamp in &mut stamps {
                *stamp >>= shift;
            }
            stamps.sort_unstable();
            check(&stamps);
        }

        #[test]
        fn damaged_columns_never_panic(
            bytes in vec(any::<u8>(), 0..200), entries in 1_usize..300, at in any::<i64>(),
        ) {
            let mut out = Vec::new();
            if decode(&bytes, entries, &mut out).is_ok() {
                prop_assert_eq!(out.len(), entries);
            }
            prop_assert!(first_at_or_after(&bytes, entries, at).is_ok_and(|n| n <= entries)
                || first_at_or_after(&bytes, entries, at).is_err());
        }

        #[test]
        fn flipped_columns_never_panic(
            gaps in vec(0_i64..5_000, 1..200), flip in any::<prop::sample::Index>(), bit in 0..8,
        ) {
            let stamps: Vec<_> = gaps.iter().scan(0, |sum, gap| { *sum += gap; Some(*sum) }).collect();
            let (mut bytes, mut out) = (Vec::new(), Vec::new());
            encode(&stamps, &mut bytes);
            *flip.get_mut(&mut bytes[..]) ^= 1_u8 << bit;
            if decode(&bytes, stamps.len(), &mut out).is_ok() {
                prop_assert_eq!(out.len(), stamps.len());
            }
        }
    }
}
