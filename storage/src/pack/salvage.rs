//! Salvage: every member of a damaged pack that is still whole.
//!
//! gzip programs stop at the first damaged member. Here a block whose text is damaged is stepped over by the member
//! length in its header; where no header is readable, the next one is searched for byte by byte. Headers carry CRCs,
//! so text that happens to look like one is not taken for one.

use std::ops::Range;

use memchr::memmem;

use super::area::{FOOTER_BYTES, Footer, Slice};
use super::block::BlockHeader;
use super::error::FormatError;
use super::gzip::MAGIC;
use super::sealed::{BlockReader, TextBuffer};

/// What a salvage comes upon.
#[derive(Debug)]
pub enum Member<'a> {
    /// A whole block; its text is in the walker's buffer.
    Block(BlockHeader),
    /// A whole slice of an area.
    Slice(Slice<'a>),
    /// The footer.
    Footer(Footer),
    /// Bytes that are no whole member, and why.
    Damaged(FormatError),
}

/// Walks the members of a pack, whole or not.
#[derive(Debug)]
pub struct Salvage<'a> {
    pack: &'a [u8],
    at: usize,
    reader: BlockReader,
    text: TextBuffer,
}

impl<'a> Salvage<'a> {
    /// Walks the bytes of a pack.
    pub fn new(pack: &'a [u8]) -> Self {
        Salvage { pack, at: 0, reader: BlockReader::new(), text: TextBuffer::default() }
    }

    /// The text of the block that was last come upon.
    pub fn text(&self) -> &[u8] {
        &self.text
    }

    /// The next member and where it lies; `None` at the end.
    pub fn step(&mut self) -> Option<(Range<usize>, Member<'a>)> {
        let rest = self.pack.get(self.at..).filter(|rest| !rest.is_empty())?;
        let (length, member) = self.member(rest);
        let start = self.at;
        self.at += length;
        let member = match member {
            Member::Damaged(error) => Member::Damaged(error.within(start as u64)),
            whole => whole,
        };
        Some((start..self.at, member))
    }

    fn member(&mut self, rest: &'a [u8]) -> (usize, Member<'a>) {
        let damage = match BlockHeader::parse(rest) {
            Ok(header) => match self.block(rest, header) {
                Ok(length) => return (length, Member::Block(header)),
                Err(damaged) => return damaged,
            },
            Err(damage) => damage,
        };
        if let Ok(slice) = Slice::parse(rest) {
            return (slice.member_length, Member::Slice(slice));
        }
        if let Some(Ok(footer)) = rest.get(..FOOTER_BYTES).map(Footer::parse) {
            return (FOOTER_BYTES, Member::Footer(footer));
        }
        let next = memmem::find(&rest[1..], &MAGIC).map_or(rest.len(), |at| at + 1);
        (next, Member::Damaged(damage))
    }

    fn block(&mut self, rest: &'a [u8], header: BlockHeader) -> Result<usize, (usize, Member<'a>)> {
        let length = header.member_length as usize;
        let Some(member) = rest.get(..length) else {
            let cut = FormatError::new("block", rest.len(), "the pack ends within it");
            return Err((rest.len(), Member::Damaged(cut)));
        };
        match self.reader.inflate(member, &mut self.text) {
            Ok(_) => Ok(length),
            Err(error) => Err((length, Member::Damaged(error))),
        }
    }
}
