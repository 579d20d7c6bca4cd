//! Merging packs into one: blocks are copied as they are, only the areas are written anew.
//!
//! Chunks of one stream that overlap in time, and runs of tiny ones, are [settled](mod@super::settle): those alone are
//! opened and sealed again.

use std::io::Write;

use thiserror::Error;

use super::directory::{Directory, StreamEntry};
use super::error::{FormatError, PackError};
use super::reader::{PackReader, ReadAt};
use super::seal::Sealer;
use super::settle::settle;
use super::writer::{PackSummary, PackWriter, WriteError};
use crate::stream::StreamId;

/// Why packs cannot be merged.
#[derive(Debug, Error)]
pub enum MergeError {
    /// One of them cannot be read.
    #[error("cannot read pack `{number}` of those to be merged")]
    Read {
        /// Which, from 0, in the order they were given in.
        number: usize,
        /// Why not.
        source: PackError,
    },
    /// A block that overlaps others in time cannot be opened.
    #[error("cannot settle stream `{stream}`")]
    Settle {
        /// Which stream.
        stream: StreamId,
        /// Why not.
        source: FormatError,
    },
    /// The merged pack cannot be written.
    #[error(transparent)]
    Write(#[from] WriteError),
}

/// Merges packs, given in the order their entries arrived in; streams that are not to be kept are left out. Memory:
/// the chunks of one stream, and the columns and filters of all.
///
/// # Errors
/// If a pack cannot be read or the merged one cannot be written; the output is then no pack.
pub fn merge<R: ReadAt, W: Write>(
    packs: &[PackReader<R>],
    keep: impl Fn(StreamId) -> bool,
    output: W,
    sealer: &mut Sealer,
) -> Result<(PackSummary, W), MergeError> {
    let directories = packs
        .iter()
        .enumerate()
        .map(|(number, pack)| pack.directory().map_err(|source| MergeError::Read { number, source }))
        .collect::<Result<Vec<Directory>, _>>()?;
    let mut writer = PackWriter::new(output);
    let mut next = vec![0; packs.len()];
    while let Some(id) = lowest(&directories, &next) {
        let mut chunks = Vec::new();
        let mut labels = None;
        for (number, (pack, directory)) in packs.iter().zip(&directories).enumerate() {
            let Some(stream) = directory.streams.get(next[number]).filter(|stream| stream.id == id) else {
                continue;
            };
            next[number] += 1;
            if !keep(id) {
                continue;
            }
            labels = Some(&stream.labels);
            read_chunks(pack, stream, &mut chunks).map_err(|source| MergeError::Read { number, source })?;
        }
        let Some(labels) = labels else { continue };
        let settled =
            settle(id, chunks, sealer).map_err(|source| MergeError::Settle { stream: id, source })?;
        for chunk in &settled {
            writer.chunk(id, labels, chunk)?;
        }
    }
    Ok(writer.finish()?)
}

/// The lowest id among each pack's next stream.
fn lowest(directories: &[Directory], next: &[usize]) -> Option<StreamId> {
    directories
        .iter()
        .zip(next)
        .filter_map(|(directory, next)| directory.streams.get(*next))
        .map(|s| s.id)
        .min()
}

fn read_chunks<R: ReadAt>(
    pack: &PackReader<R>,
    stream: &StreamEntry,
    chunks: &mut Vec<super::seal::SealedChunk>,
) -> Result<(), PackError> {
    for chunk in &stream.chunks {
        chunks.push(pack.chunk(chunk)?);
    }
    Ok(())
}
