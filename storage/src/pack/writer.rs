//! Writing a pack: streams ascending by id, their chunks ascending in time, then the areas and the footer.

use std::io::{self, Write};

use thiserror::Error;
use xxhash_rust::xxh3::Xxh3;

use super::area::{AreaKind, AreaRange, Footer, slices};
use super::directory::{BlockEntry, ChunkEntry, Directory, StreamEntry};
use super::limits::{AREA_BYTES_MAX, CHUNK_BLOCKS_MAX, DIRECTORY_BYTES_MAX};
use super::seal::SealedChunk;
use crate::stream::{Labels, StreamId};

/// Why a pack cannot be written.
#[derive(Debug, Error)]
pub enum WriteError {
    /// The output refused bytes.
    #[error("cannot write the pack")]
    Write(#[from] io::Error),
    /// The caller broke a rule of the format: what was given is in the message.
    #[error("cannot put stream `{stream}` into the pack: {problem}")]
    Refused {
        /// Whose chunk it was.
        stream: StreamId,
        /// Which rule.
        problem: &'static str,
    },
}

/// Writes one pack. Columns and filters (about 8 % of it) are held in memory until the end.
#[derive(Debug)]
pub struct PackWriter<W> {
    output: HashingWriter<W>,
    directory: Directory,
    columns: Vec<u8>,
    filters: Vec<u8>,
}

/// What was written: all that an index keeps of a pack.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PackSummary {
    /// Streams, chunks, blocks: labels, ranges, counts, digests.
    pub directory: Directory,
    /// Where the areas lie.
    pub footer: Footer,
    /// Bytes of the pack.
    pub length: u64,
    /// XXH3-128 of all its bytes: names the object.
    pub content_hash: u128,
}

impl<W: Write> PackWriter<W> {
    /// Starts a pack.
    pub fn new(output: W) -> Self {
        PackWriter {
            output: HashingWriter { inner: output, hash: Box::default(), length: 0 },
            directory: Directory::default(),
            columns: Vec::new(),
            filters: Vec::new(),
        }
    }

    /// Writes a settled chunk of a stream. Ids ascend; chunks of one stream ascend in time.
    ///
    /// # Errors
    /// If the output fails, or streams, chunks or blocks do not ascend or belong to another stream. Nothing of a
    /// refused chunk was written.
    pub fn chunk(
        &mut self,
        stream: StreamId,
        labels: &Labels,
        chunk: &SealedChunk,
    ) -> Result<(), WriteError> {
        if let Some(problem) = self.problem_with(stream, chunk) {
            return Err(WriteError::Refused { stream, problem });
        }
        let entry = self.entry(chunk);
        for block in &chunk.blocks {
            self.output.write_all(block.member())?;
            self.columns.extend_from_slice(block.column_bytes());
        }
        self.filters.extend_from_slice(chunk.filter.as_deref().unwrap_or_default());
        match self.directory.streams.last_mut().filter(|last| last.id == stream) {
            Some(last) => last.chunks.push(entry),
            None => {
                let chunks = vec![entry];
                self.directory.streams.push(StreamEntry { id: stream, labels: labels.clone(), chunks });
            }
        }
        Ok(())
    }

    fn problem_with(&self, stream: StreamId, chunk: &SealedChunk) -> Option<&'static str> {
        let last = self.directory.streams.last();
        let before = last.filter(|last| last.id == stream).and_then(|last| last.chunks.last());
        let block_count = chunk.blocks.len();
        if last.is_some_and(|last| last.id > stream) {
            Some("stream ids must ascend")
        } else if !(1..=CHUNK_BLOCKS_MAX).contains(&block_count) {
            Some("a chunk has 1 to 6 blocks")
        } else if chunk.blocks.iter().any(|block| block.header().stream != stream) {
            Some("a block belongs to another stream")
        } else if !chunk.ascends()
            || before.map(ChunkEntry::last) > chunk.time_range().map(|range| range.0) && before.is_some()
        {
            Some("blocks must ascend in time: settle them first")
        } else {
            None
        }
    }

    fn entry(&self, chunk: &SealedChunk) -> ChunkEntry {
        let blocks = chunk.blocks.iter().map(|block| BlockEntry {
            member_bytes: block.header().member_length,
            text_bytes: block.text_bytes(),
            column_bytes: block.column_bytes().len() as u32,
            entries: block.header().entries,
            first: block.header().first,
            last: block.header().last,
        });
        let columns = chunk.blocks.iter().map(|block| block.column_bytes().len() as u32).sum();
        ChunkEntry {
            start: self.output.length,
            blocks: blocks.collect(),
            columns: AreaRange { offset: self.columns.len() as u64, length: columns },
            filter: chunk
                .filter
                .as_ref()
                .map(|filter| AreaRange { offset: self.filters.len() as u64, length: filter.len() as u32 }),
            digest: chunk.digest,
        }
    }

    /// Bytes of blocks written so far.
    pub fn block_bytes(&self) -> u64 {
        self.output.length
    }

    /// Bytes of columns and filters held in memory.
    pub fn memory_bytes(&self) -> usize {
        self.columns.capacity() + self.filters.capacity()
    }

    /// Writes the areas and the footer, flushes, and returns the output with what was written.
    ///
    /// # Errors
    /// If the output fails, or the directory would exceed 256 MiB or an area 8 GiB.
    pub fn finish(mut self) -> Result<(PackSummary, W), WriteError> {
        let directory = self.directory.encode();
        let footer = Footer {
            columns_start: self.output.length,
            columns_bytes: self.columns.len() as u64,
            filters_bytes: self.filters.len() as u64,
            directory_bytes: directory.len() as u32,
        };
        let too_large = directory.len() as u64 > DIRECTORY_BYTES_MAX
            || footer.columns_bytes.max(footer.filters_bytes) > AREA_BYTES_MAX;
        if too_large {
            let stream = self.directory.streams.last().map_or(StreamId(0), |stream| stream.id);
            return Err(WriteError::Refused { stream, problem: "the pack would be too large" });
        }
        let areas = [&self.columns, &self.filters, &directory];
        for (kind, area) in AreaKind::ALL.into_iter().zip(areas) {
            for slice in slices(kind, area) {
                self.output.write_all(&slice)?;
            }
        }
        self.output.write_all(&footer.to_bytes())?;
        self.output.flush()?;
        assert_eq!(
            self.output.length,
            footer.pack_bytes(),
            "the footer's arithmetic and what was written differ"
        );
        let HashingWriter { inner, hash, length } = self.output;
        Ok((PackSummary { directory: self.directory, footer, length, content_hash: hash.digest128() }, inner))
    }
}

/// Counts and hashes what passes through.
struct HashingWriter<W> {
    inner: W,
    hash: Box<Xxh3>,
    length: u64,
}

impl<W> std::fmt::Debug for HashingWriter<W> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HashingWriter").field("length", &self.length).finish_non_exhaustive()
    }
}

impl<W: Write> Write for HashingWriter<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.hash.update(&bytes[..written]);
        self.length += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}
