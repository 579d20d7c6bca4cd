//! A sealed block and how it is read: text, timestamps, metadata and line ends, each on its own.

use std::ops::{Deref, DerefMut};

use bytes::Bytes;
use libdeflater::Decompressor;

use super::block::{BLOCK_HEADER_BYTES, BLOCK_OVERHEAD_BYTES, BlockHeader};
use super::column::{Column, PartOf};
use super::error::FormatError;
use super::gzip;
use super::limits::BLOCK_TEXT_BYTES_MAX;
use super::metadata::Metadata;
use super::text::BlockText;
use super::{line_ends, timestamps};

const PART: &str = "block";

/// A block as it is stored, its column beside it. Immutable and cheap to clone; the same whether it waits in a
/// head or was read from a pack.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SealedBlock {
    header: BlockHeader,
    text_bytes: u32,
    member: Bytes,
    column: Bytes,
}

impl SealedBlock {
    /// Puts a block together from its gzip member and its column, each exactly. The text is verified when it is
    /// inflated, the column when it is parsed.
    ///
    /// # Errors
    /// If the header is damaged or the member has another length than it says.
    pub fn from_parts(member: Bytes, column: Bytes) -> Result<Self, FormatError> {
        let header = BlockHeader::parse(&member)?;
        let text_bytes = text_length(&member, &header)?;
        Ok(SealedBlock { header, text_bytes, member, column })
    }

    /// What it says of itself.
    pub fn header(&self) -> &BlockHeader {
        &self.header
    }

    /// Bytes of text, line ends included.
    pub fn text_bytes(&self) -> u32 {
        self.text_bytes
    }

    /// The gzip member.
    pub fn member(&self) -> &Bytes {
        &self.member
    }

    /// The bytes of the column.
    pub fn column_bytes(&self) -> &Bytes {
        &self.column
    }

    /// The column, its CRC verified.
    ///
    /// # Errors
    /// If it is damaged.
    pub fn column(&self) -> Result<Column<'_>, FormatError> {
        Column::parse(&self.column)
    }
}

/// The length of the text, by the trailer, checked against what the member can hold.
fn text_length(member: &[u8], header: &BlockHeader) -> Result<u32, FormatError> {
    if member.len() != header.member_length as usize {
        return Err(FormatError::new(PART, 0, "it has another length than its header says"));
    }
    let (_, length) = gzip::trailer(member)?;
    let deflated = member.len() - BLOCK_OVERHEAD_BYTES;
    // Deflate shrinks at most 1,032 times: a damaged length must not cause a huge allocation.
    if length as usize > BLOCK_TEXT_BYTES_MAX || length as usize / 1_032 > deflated || length < header.entries
    {
        return Err(FormatError::new(PART, member.len() - 4, "the length of the text is impossible"));
    }
    Ok(length)
}

/// A buffer that grows and never shrinks, so that inflating into it clears nothing.
#[derive(Debug, Default)]
pub struct TextBuffer {
    bytes: Vec<u8>,
    length: usize,
}

impl TextBuffer {
    fn sized(&mut self, length: usize) -> &mut [u8] {
        if self.bytes.len() < length {
            self.bytes.resize(length, 0);
        }
        self.length = length;
        &mut self.bytes[..length]
    }
}

impl Deref for TextBuffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

impl DerefMut for TextBuffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[..self.length]
    }
}

/// Reads blocks; one per thread, as it holds libdeflate's tables.
pub struct BlockReader {
    inflater: Decompressor,
    part: Vec<u8>,
}

impl Default for BlockReader {
    fn default() -> Self {
        BlockReader { inflater: Decompressor::new(), part: Vec::new() }
    }
}

impl std::fmt::Debug for BlockReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BlockReader").finish_non_exhaustive()
    }
}

impl BlockReader {
    /// A reader.
    pub fn new() -> Self {
        BlockReader::default()
    }

    /// Inflates the text of a block's member into a buffer and verifies its CRC.
    ///
    /// # Errors
    /// If the member is damaged; the buffer then holds no text.
    pub fn inflate(&mut self, member: &[u8], text: &mut TextBuffer) -> Result<BlockHeader, FormatError> {
        let header = BlockHeader::parse(member)?;
        let length = text_length(member, &header)? as usize;
        let deflated = &member[BLOCK_HEADER_BYTES..member.len() - gzip::TRAILER_BYTES];
        let inflated = self.inflater.deflate_decompress(deflated, text.sized(length));
        let whole = matches!(inflated, Ok(inflated) if inflated == length)
            && libdeflater::crc32(text) == gzip::trailer(member)?.0
            && text.last() == Some(&b'\n');
        if !whole {
            text.sized(0);
            return Err(FormatError::new(
                PART,
                BLOCK_HEADER_BYTES,
                "the text does not inflate to what its CRC says",
            ));
        }
        Ok(header)
    }

    /// Unpacks the timestamps of a block into `out`, which is cleared. No text is touched.
    ///
    /// # Errors
    /// If the column is damaged or belongs to another block.
    pub fn timestamps(
        &mut self,
        header: &BlockHeader,
        column: &Column<'_>,
        out: &mut Vec<i64>,
    ) -> Result<(), FormatError> {
        let packed = column.part(PartOf::Timestamps, &mut self.inflater, &mut self.part)?;
        timestamps::decode(packed, header.entries as usize, out)?;
        if out.first() != Some(&header.first) || out.last() != Some(&header.last) {
            return Err(FormatError::new("timestamps", 0, "they are those of another block"));
        }
        Ok(())
    }

    /// Number of the block's first entry at or after a time, the number of its entries if there is none. Unpacks
    /// 64 timestamps at most.
    ///
    /// # Errors
    /// If the column is damaged.
    pub fn first_at_or_after(
        &mut self,
        header: &BlockHeader,
        column: &Column<'_>,
        timestamp: i64,
    ) -> Result<usize, FormatError> {
        let packed = column.part(PartOf::Timestamps, &mut self.inflater, &mut self.part)?;
        timestamps::first_at_or_after(packed, header.entries as usize, timestamp)
    }

    /// The metadata of a block's entries.
    ///
    /// # Errors
    /// If the column is damaged.
    pub fn metadata(&mut self, header: &BlockHeader, column: &Column<'_>) -> Result<Metadata, FormatError> {
        if !column.has(PartOf::Metadata) {
            return Ok(Metadata::default());
        }
        let bytes = column.part(PartOf::Metadata, &mut self.inflater, &mut self.part)?;
        Metadata::decode(bytes, header.entries as usize)
    }

    /// Where the lines of the block's text end, into `out`, which is cleared; `false` and nothing there if no line
    /// holds a newline, so that the newlines say it.
    ///
    /// # Errors
    /// If the column is damaged or does not fit the text.
    pub fn line_ends(
        &mut self,
        header: &BlockHeader,
        column: &Column<'_>,
        text: &[u8],
        out: &mut Vec<u32>,
    ) -> Result<bool, FormatError> {
        out.clear();
        if header.inner_newlines != column.has(PartOf::LineEnds) {
            return Err(FormatError::new("line ends", 0, "column and block disagree on inner newlines"));
        }
        if header.inner_newlines {
            let bytes = column.part(PartOf::LineEnds, &mut self.inflater, &mut self.part)?;
            line_ends::decode(bytes, text, header.entries as usize, out)?;
        }
        Ok(header.inner_newlines)
    }

    /// Opens a block whole: what merging needs, and tests.
    ///
    /// # Errors
    /// If any part of it is damaged.
    pub fn open(&mut self, block: &SealedBlock) -> Result<BlockText, FormatError> {
        let mut text = TextBuffer::default();
        let header = self.inflate(&block.member, &mut text)?;
        let column = block.column()?;
        let mut timestamps = Vec::new();
        self.timestamps(&header, &column, &mut timestamps)?;
        let mut ends = Vec::new();
        let line_ends = self.line_ends(&header, &column, &text, &mut ends)?.then_some(ends);
        let metadata = self.metadata(&header, &column)?;
        let opened = BlockText { text: text.bytes, timestamps, line_ends, metadata, out_of_order: false };
        if opened.lines().count() != opened.entries() || !opened.timestamps.is_sorted() {
            return Err(FormatError::new(PART, 0, "lines and timestamps do not fit together"));
        }
        Ok(opened)
    }
}
