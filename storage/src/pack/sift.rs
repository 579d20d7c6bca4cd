//! Sifting a pack: entries that must go are left out, everything else is passed on as it is.
//!
//! Only blocks that hold an entry that goes are sealed anew, and chunks that hold none are copied, so what it costs
//! follows from how much goes and not from how much there is.

use std::io::Write;

use super::directory::{ChunkEntry, StreamEntry};
use super::error::PackError;
use super::filter::Filter;
use super::merge::MergeError;
use super::reader::{PackReader, ReadAt};
use super::seal::{ChunkBuilder, SealedChunk, Sealer};
use super::sealed::BlockReader;
use super::writer::{PackSummary, PackWriter};
use crate::entry::EntryRef;

/// What becomes of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// All of it stays.
    Stays,
    /// Its chunks are to be asked about.
    Sifted,
    /// All of it goes.
    Goes,
}

/// Says what is to go. Asked about a stream, then about each of its chunks, then about each entry of a chunk.
pub trait Sieve {
    /// What becomes of a stream.
    fn stream(&mut self, stream: &StreamEntry) -> Fate;
    /// Whether an entry of a chunk of that stream may have to go; `filter` is the chunk's own.
    fn chunk(&mut self, chunk: &ChunkEntry, filter: Option<&Filter>) -> bool;
    /// Whether an entry of that stream is to go.
    fn entry(&mut self, entry: &EntryRef<'_>) -> bool;
}

/// Whether any entry of a stream that is to be sifted has to go; reads no more than it takes to know.
///
/// # Errors
/// The pack cannot be read.
pub fn holds_any<R: ReadAt>(pack: &PackReader<R>, sieve: &mut dyn Sieve) -> Result<bool, PackError> {
    let mut reader = BlockReader::new();
    for stream in &pack.directory()?.streams {
        if sieve.stream(stream) != Fate::Sifted {
            continue;
        }
        for chunk in &stream.chunks {
            if !sieve.chunk(chunk, pack.filter(chunk)?.as_ref()) {
                continue;
            }
            for block in pack.chunk(chunk)?.blocks {
                let mut any = false;
                reader.open(&block)?.for_each(|entry| any = any || sieve.entry(&entry));
                if any {
                    return Ok(true);
                }
            }
        }
    }
    Ok(false)
}

/// Writes a pack without what is to go. The summary names no stream if nothing is left. Memory: one chunk, and the
/// columns and filters of all.
///
/// # Errors
/// The pack cannot be read, or the new one not be written; the output is then no pack.
pub fn sift<R: ReadAt, W: Write>(
    pack: &PackReader<R>,
    sieve: &mut dyn Sieve,
    output: W,
    sealer: &mut Sealer,
) -> Result<(PackSummary, W), MergeError> {
    let read = |source| MergeError::Read { number: 0, source };
    let mut writer = PackWriter::new(output);
    let mut reader = BlockReader::new();
    for stream in pack.directory().map_err(read)?.streams {
        let fate = sieve.stream(&stream);
        if fate == Fate::Goes {
            continue;
        }
        for entry in &stream.chunks {
            let filter = pack.filter(entry).map_err(read)?;
            let chunk = pack.chunk(entry).map_err(read)?;
            let kept = match fate == Fate::Sifted && sieve.chunk(entry, filter.as_ref()) {
                true => sift_chunk(&stream, chunk, sieve, &mut reader, sealer)?,
                false => Some(chunk),
            };
            if let Some(chunk) = kept {
                writer.chunk(stream.id, &stream.labels, &chunk)?;
            }
        }
    }
    Ok(writer.finish()?)
}

fn sift_chunk(
    stream: &StreamEntry,
    chunk: SealedChunk,
    sieve: &mut dyn Sieve,
    reader: &mut BlockReader,
    sealer: &mut Sealer,
) -> Result<Option<SealedChunk>, MergeError> {
    let mut kept = ChunkBuilder::new();
    for block in chunk.blocks {
        let damaged = |source| MergeError::Settle { stream: stream.id, source };
        let text = reader.open(&block).map_err(damaged)?;
        let left = text.without(|entry| sieve.entry(entry));
        match left.entries() == text.entries() {
            true => sealer.add_sealed(block, &text, &mut kept),
            false => drop(sealer.seal(stream.id, &left, &mut kept)),
        }
    }
    Ok(kept.finish())
}
