//! The block: a gzip member whose text is lines of one stream, each terminated by `\n`, in order of time.
//!
//! The payload of its `FEXTRA` subfield, 48 bytes, little-endian:
//!
//! ```text
//! version 1 u8 | kind 0 u8 | flags u8 | unit u8 | member length u32 | entries u32 | first timestamp i64
//! | last timestamp i64 | stream id 16 bytes | CRC-32C of the 44 bytes before it u32
//! ```
//!
//! Flags: bit 0, lines with inner newlines (the column lists them); bit 1, entries came out of order and were
//! sorted. Unit: the power of 1,000 ns that divides all gaps between timestamps (0 ns, 1 µs, 2 ms, 3 s).
//! Timestamps, metadata and the places of inner newlines lie apart, in the block's [column](super::column), so
//! that they are read without the text. The member length lets a salvage step over a damaged block.

use super::cursor::Cursor;
use super::error::FormatError;
use super::gzip::{self, FRAME_BYTES, TRAILER_BYTES};
use super::limits::{BLOCK_ENTRIES_MAX, BLOCK_TEXT_BYTES_MAX};
use crate::stream::StreamId;

/// Bytes before a block's deflate stream.
pub const BLOCK_HEADER_BYTES: usize = FRAME_BYTES + PAYLOAD_BYTES;
/// Bytes of a block beside its deflate stream.
pub const BLOCK_OVERHEAD_BYTES: usize = BLOCK_HEADER_BYTES + TRAILER_BYTES;

const PAYLOAD_BYTES: usize = 48;
pub(crate) const VERSION: u8 = 1;
/// The kind of a block of lines; slices and footers use others, so that a salvage can tell them apart.
pub(crate) const KIND_LINES: u8 = 0;
const FLAG_INNER_NEWLINES: u8 = 1;
const FLAG_UNSORTED_SOURCE: u8 = 2;
const PART: &str = "block header";

/// The power of 1,000 nanoseconds that a block's timestamps are counted in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Unit {
    /// 1 ns.
    #[default]
    Nanosecond = 0,
    /// 1,000 ns.
    Microsecond = 1,
    /// 1,000,000 ns.
    Millisecond = 2,
    /// 1,000,000,000 ns.
    Second = 3,
}

impl Unit {
    /// From the coarsest to the finest.
    pub const ALL: [Unit; 4] = [Unit::Second, Unit::Millisecond, Unit::Microsecond, Unit::Nanosecond];

    /// How many nanoseconds it has.
    pub const fn nanos(self) -> u64 {
        1_000_u64.pow(self as u32)
    }

    pub(crate) fn from_code(code: u8) -> Option<Self> {
        Unit::ALL.into_iter().find(|unit| *unit as u8 == code)
    }
}

/// What a block says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockHeader {
    /// Some line holds a newline; the column lists which.
    pub inner_newlines: bool,
    /// Entries came out of order and were sorted when the block was sealed.
    pub unsorted_source: bool,
    /// What the timestamps are counted in.
    pub unit: Unit,
    /// Bytes of the whole member.
    pub member_length: u32,
    /// How many entries; at least one.
    pub entries: u32,
    /// Timestamp of the first entry, ns.
    pub first: i64,
    /// Timestamp of the last entry, ns.
    pub last: i64,
    /// Whose entries they are.
    pub stream: StreamId,
}

impl BlockHeader {
    /// Reads the header that `bytes` (64 or more) begin with.
    ///
    /// # Errors
    /// If it is no block's header, is damaged, or claims what no block can be.
    pub fn parse(bytes: &[u8]) -> Result<Self, FormatError> {
        let payload = gzip::payload(bytes)?;
        let mut cursor = Cursor::new(PART, payload);
        if payload.len() != PAYLOAD_BYTES || cursor.u8()? != VERSION || cursor.u8()? != KIND_LINES {
            return Err(FormatError::new(PART, FRAME_BYTES, "it is not that of a block of version 1"));
        }
        let (flags, unit) = (cursor.u8()?, Unit::from_code(cursor.u8()?));
        let header = BlockHeader {
            inner_newlines: flags & FLAG_INNER_NEWLINES != 0,
            unsorted_source: flags & FLAG_UNSORTED_SOURCE != 0,
            unit: unit.ok_or_else(|| cursor.error("the unit is unknown"))?,
            member_length: cursor.u32()?,
            entries: cursor.u32()?,
            first: cursor.i64()?,
            last: cursor.i64()?,
            stream: StreamId(cursor.u128()?),
        };
        if crc32c::crc32c(&payload[..PAYLOAD_BYTES - 4]) != cursor.u32()? {
            return Err(FormatError::new(PART, FRAME_BYTES, "its CRC does not match"));
        }
        header.check(flags)
    }

    fn check(self, flags: u8) -> Result<Self, FormatError> {
        let sizes = BLOCK_OVERHEAD_BYTES..=BLOCK_OVERHEAD_BYTES + 2 * BLOCK_TEXT_BYTES_MAX;
        let problem = if flags & !(FLAG_INNER_NEWLINES | FLAG_UNSORTED_SOURCE) != 0 {
            "a flag is unknown"
        } else if !(1..=BLOCK_ENTRIES_MAX).contains(&(self.entries as usize)) {
            "the number of entries is impossible"
        } else if !sizes.contains(&(self.member_length as usize)) {
            "the member length is impossible"
        } else if self.first > self.last {
            "the timestamps descend"
        } else {
            return Ok(self);
        };
        Err(FormatError::new(PART, FRAME_BYTES, problem))
    }

    pub(crate) fn to_bytes(self) -> [u8; BLOCK_HEADER_BYTES] {
        let mut bytes = [0; BLOCK_HEADER_BYTES];
        bytes[..FRAME_BYTES].copy_from_slice(&gzip::frame(PAYLOAD_BYTES));
        let payload = &mut bytes[FRAME_BYTES..];
        payload[0] = VERSION;
        payload[1] = KIND_LINES;
        payload[2] = if self.inner_newlines { FLAG_INNER_NEWLINES } else { 0 }
            | if self.unsorted_source { FLAG_UNSORTED_SOURCE } else { 0 };
        payload[3] = self.unit as u8;
        payload[4..8].copy_from_slice(&self.member_length.to_le_bytes());
        payload[8..12].copy_from_slice(&self.entries.to_le_bytes());
        payload[12..20].copy_from_slice(&self.first.to_le_bytes());
        payload[20..28].copy_from_slice(&self.last.to_le_bytes());
        payload[28..44].copy_from_slice(&self.stream.0.to_le_bytes());
        let crc = crc32c::crc32c(&payload[..44]);
        payload[44..].copy_from_slice(&crc.to_le_bytes());
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::{BLOCK_HEADER_BYTES, BlockHeader, Unit};
    use crate::stream::StreamId;

    const HEADER: BlockHeader = BlockHeader {
        inner_newlines: true,
        unsorted_source: false,
        unit: Unit::Millisecond,
        member_length: 1_000,
        entries: 65_536,
        first: i64::MIN,
        last: i64::MAX,
        stream: StreamId(1 << 127 | 5),
    };

    #[test]
    fn header_reads_back() {
        for (inner_newlines, unsorted_source) in [(false, true), (true, false), (true, true), (false, false)]
        {
            for unit in Unit::ALL {
                let header = BlockHeader { inner_newlines, unsorted_source, unit, ..HEADER };
                assert_eq!(BlockHeader::parse(&header.to_bytes()), Ok(header));
            }
        }
    }

    #[test]
    fn any_flipped_bit_is_noticed() {
        for bit in 0..BLOCK_HEADER_BYTES * 8 {
            let mut bytes = HEADER.to_bytes();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(BlockHeader::parse(&bytes).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn impossible_headers_are_refused() {
        let cases = [
            BlockHeader { entries: 0, ..HEADER },
            BlockHeader { entries: 65_537, ..HEADER },
            BlockHeader { member_length: 71, ..HEADER },
            BlockHeader { member_length: u32::MAX, ..HEADER },
            BlockHeader { first: 1, last: 0, ..HEADER },
        ];
        for header in cases {
            assert!(BlockHeader::parse(&header.to_bytes()).is_err(), "{header:?}");
        }
    }
}
