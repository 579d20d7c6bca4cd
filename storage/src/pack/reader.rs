//! Reading a pack: from its footer to its directory, and from an entry of that to blocks and filters.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;

use bytes::Bytes;

use super::area::{Area, AreaRange, FOOTER_BYTES, Footer};
use super::directory::{ChunkEntry, Directory};
use super::error::{FormatError, PackError};
use super::filter::Filter;
use super::seal::SealedChunk;
use super::sealed::SealedBlock;

/// Bytes that can be read from any place.
pub trait ReadAt {
    /// How many there are.
    ///
    /// # Errors
    /// If the source cannot tell.
    fn length(&self) -> io::Result<u64>;

    /// Exactly `length` bytes from `offset` on.
    ///
    /// # Errors
    /// If the source fails or ends before.
    fn read_at(&self, offset: u64, length: usize) -> io::Result<Bytes>;
}

/// Without a copy.
impl ReadAt for Bytes {
    fn length(&self) -> io::Result<u64> {
        Ok(self.len() as u64)
    }

    fn read_at(&self, offset: u64, length: usize) -> io::Result<Bytes> {
        let start = usize::try_from(offset).ok();
        let end = start.and_then(|start| start.checked_add(length)).filter(|end| *end <= self.len());
        match (start, end) {
            (Some(start), Some(end)) => Ok(self.slice(start..end)),
            _ => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }
}

impl ReadAt for File {
    fn length(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn read_at(&self, offset: u64, length: usize) -> io::Result<Bytes> {
        let mut bytes = vec![0; length];
        self.read_exact_at(&mut bytes, offset)?;
        Ok(bytes.into())
    }
}

impl<R: ReadAt + ?Sized> ReadAt for &R {
    fn length(&self) -> io::Result<u64> {
        (**self).length()
    }

    fn read_at(&self, offset: u64, length: usize) -> io::Result<Bytes> {
        (**self).read_at(offset, length)
    }
}

/// A pack whose footer was read. Every length is checked against the pack's before anything is allocated for it.
#[derive(Clone, Debug)]
pub struct PackReader<R> {
    source: R,
    footer: Footer,
}

impl<R: ReadAt> PackReader<R> {
    /// Opens a pack by its last 62 bytes.
    ///
    /// # Errors
    /// If they cannot be read, are damaged, or speak of a pack of another length.
    pub fn open(source: R) -> Result<Self, PackError> {
        let length = source.length().map_err(|source| PackError::Read { offset: 0, length: 0, source })?;
        let Some(start) = length.checked_sub(FOOTER_BYTES as u64) else {
            return Err(FormatError::new("footer", 0, "the pack is shorter than a footer").into());
        };
        let bytes = read(&source, start..length)?;
        let footer = Footer::parse(&bytes).map_err(|error| error.within(start))?;
        if footer.pack_bytes() != length {
            return Err(FormatError::new("footer", 0, "it is that of a pack of another length")
                .within(start)
                .into());
        }
        Ok(PackReader { source, footer })
    }

    /// A pack whose footer is known, say from an index: nothing is read.
    pub fn with_footer(source: R, footer: Footer) -> Self {
        PackReader { source, footer }
    }

    /// Where its areas lie.
    pub fn footer(&self) -> &Footer {
        &self.footer
    }

    /// What it holds.
    ///
    /// # Errors
    /// If the directory cannot be read, is damaged, or speaks of places outside the blocks and areas.
    pub fn directory(&self) -> Result<Directory, PackError> {
        let directory = Directory::parse(&self.area(self.footer.directory())?)?;
        let columns: u64 = directory.chunks().map(|chunk| u64::from(chunk.columns.length)).sum();
        let filters: u64 =
            directory.chunks().filter_map(|chunk| chunk.filter).map(|filter| u64::from(filter.length)).sum();
        let blocks = directory.chunks().last().map_or(0, |chunk| chunk.file_range().end);
        let fits = blocks == self.footer.columns_start
            && columns == self.footer.columns_bytes
            && filters == self.footer.filters_bytes;
        if !fits {
            let start = self.footer.directory().start;
            return Err(FormatError::new("directory", 0, "it does not fit the footer").within(start).into());
        }
        Ok(directory)
    }

    /// All bytes of an area, verified slice by slice: one read for every filter of a pack.
    ///
    /// # Errors
    /// If it cannot be read or is damaged.
    pub fn area(&self, area: Area) -> Result<Vec<u8>, PackError> {
        Ok(area.read(&read(&self.source, area.file_range())?)?)
    }

    fn piece(&self, area: Area, piece: AreaRange) -> Result<Bytes, PackError> {
        let range = area.file_range_of(piece);
        let range =
            range.ok_or_else(|| FormatError::new("area", 0, "a piece lies outside").within(area.start))?;
        Ok(area.piece(&read(&self.source, range)?, piece)?)
    }

    /// A chunk's filter, if it has one.
    ///
    /// # Errors
    /// If it cannot be read or is damaged.
    pub fn filter(&self, chunk: &ChunkEntry) -> Result<Option<Filter>, PackError> {
        let Some(range) = chunk.filter else { return Ok(None) };
        let bytes = self.piece(self.footer.filters(), range)?;
        Ok(Some(Filter::parse(&bytes).map_err(|error| error.within(range.offset))?))
    }

    /// The columns of a chunk, block after block; [`ChunkEntry::column_range`] says which bytes are whose.
    ///
    /// # Errors
    /// If they cannot be read.
    pub fn columns(&self, chunk: &ChunkEntry) -> Result<Bytes, PackError> {
        self.piece(self.footer.columns(), chunk.columns)
    }

    /// Some blocks of a chunk, in one read of members and one of columns.
    ///
    /// # Errors
    /// If they cannot be read, a header is damaged, or a block is not what the directory says.
    pub fn blocks(&self, chunk: &ChunkEntry, blocks: Range<usize>) -> Result<Vec<SealedBlock>, PackError> {
        let outside = || FormatError::new("chunk", 0, "it has fewer blocks").within(chunk.start);
        if blocks.is_empty() {
            return Ok(Vec::new());
        }
        let start = chunk.block_range(blocks.start).ok_or_else(outside)?.start;
        let end = chunk.block_range(blocks.end - 1).ok_or_else(outside)?.end;
        if end > self.footer.columns_start {
            return Err(FormatError::new("chunk", 0, "it reaches beyond the blocks")
                .within(chunk.start)
                .into());
        }
        let members = read(&self.source, start..end)?;
        let columns = self.columns(chunk)?;
        blocks
            .map(|n| {
                let range = chunk.block_range(n).ok_or_else(outside)?;
                let member = members.slice((range.start - start) as usize..(range.end - start) as usize);
                let column = columns.slice(chunk.column_range(n).ok_or_else(outside)?);
                let block =
                    SealedBlock::from_parts(member, column).map_err(|error| error.within(range.start))?;
                let (header, entry) = (block.header(), &chunk.blocks[n]);
                let agrees = (header.entries, header.first, header.last, block.text_bytes())
                    == (entry.entries, entry.first, entry.last, entry.text_bytes);
                if !agrees {
                    return Err(FormatError::new("block", 0, "the directory tells otherwise")
                        .within(range.start)
                        .into());
                }
                Ok(block)
            })
            .collect()
    }

    /// A whole chunk, as it was written.
    ///
    /// # Errors
    /// As for its blocks and its filter.
    pub fn chunk(&self, chunk: &ChunkEntry) -> Result<SealedChunk, PackError> {
        let blocks = self.blocks(chunk, 0..chunk.blocks.len())?;
        let filter = match chunk.filter {
            Some(range) => {
                let bytes = self.piece(self.footer.filters(), range)?;
                Filter::parse(&bytes).map_err(|error| error.within(range.offset))?;
                Some(bytes)
            }
            None => None,
        };
        Ok(SealedChunk { blocks, filter, digest: chunk.digest })
    }
}

fn read(source: &impl ReadAt, range: Range<u64>) -> Result<Bytes, PackError> {
    let length = range.end - range.start;
    let failed = |source| PackError::Read { offset: range.start, length, source };
    let total = source.length().map_err(failed)?;
    if range.end > total {
        return Err(FormatError::new("pack", 0, "it ends early").within(total).into());
    }
    source.read_at(range.start, length as usize).map_err(failed)
}
