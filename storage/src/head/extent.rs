//! What a head holds, in numbers.

use std::time::Duration;

use crate::pack::{BlockText, SealedBlock};
use crate::wal::SegmentNumber;

/// What a head holds, in numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HeadSize {
    /// Bytes in memory of what is in no compressed block yet.
    pub open_bytes: u64,
    /// Of them, in blocks that are full.
    pub full_bytes: u64,
    /// Of them, the share of pushes that wait as they came, packed.
    pub parked_bytes: u64,
    /// Compressed blocks, bytes; those being flushed not counted.
    pub sealed_bytes: u64,
    /// Of them, in chunks that are full.
    pub complete_bytes: u64,
    /// Chunks that no flush has taken, the one that is not full yet among them.
    pub chunks: u64,
    /// When the oldest entry that no flush has taken arrived.
    pub since: Option<Duration>,
    /// The oldest segment of the log that an entry lies in.
    pub oldest_segment: Option<SegmentNumber>,
}

/// A block of a head, as far as counting goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockExtent {
    /// Timestamp of its earliest entry.
    pub first: i64,
    /// Timestamp of its latest entry.
    pub last: i64,
    /// How many entries.
    pub entries: u64,
    /// Bytes of its text, inflated; each line has a line end.
    pub text_bytes: u64,
}

impl BlockExtent {
    pub(super) fn of_sealed(block: &SealedBlock) -> Self {
        let header = block.header();
        let (entries, text_bytes) = (u64::from(header.entries), u64::from(block.text_bytes()));
        BlockExtent { first: header.first, last: header.last, entries, text_bytes }
    }

    pub(super) fn of_text(text: &BlockText) -> Option<Self> {
        let (first, last) = text.time_range()?;
        let (entries, text_bytes) = (text.entries() as u64, text.text_bytes() as u64);
        Some(BlockExtent { first, last, entries, text_bytes })
    }
}
