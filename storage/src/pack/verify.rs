//! Verifies a whole pack: every CRC, every digest, and that what it says of itself is so.
//!
//! Reading for a query checks only what it reads. This reads everything, block by block, so that a pack of any size
//! takes the memory of one block and of the columns.

use std::io;

use xxhash_rust::xxh3::Xxh3;

use super::directory::ChunkEntry;
use super::error::{FormatError, PackError};
use super::reader::{PackReader, ReadAt};
use super::sealed::BlockReader;
use crate::entry::Digest;
use crate::stream::StreamId;

/// Bytes hashed at a time.
const HASH_BYTES: u64 = 1 << 20;
/// Faults told of one pack; a pack with more is beyond telling.
const FAULTS_MAX: usize = 1000;

/// Something wrong with a pack.
#[derive(Debug)]
pub struct Fault {
    /// Whose chunk it is in, and its number; none where it concerns the pack as a whole.
    pub chunk: Option<(StreamId, u32)>,
    /// What it is.
    pub error: PackError,
}

/// What a verification found.
#[derive(Debug, Default)]
pub struct Verified {
    /// XXH3-128 of all bytes: must be the pack's name. None where not all of them could be read.
    pub content_hash: Option<u128>,
    /// Chunks that are whole.
    pub chunks: u64,
    /// Entries in them.
    pub entries: u64,
    /// Bytes of their text.
    pub text_bytes: u64,
    /// What is wrong, at most the first thousand.
    pub faults: Vec<Fault>,
}

/// Reads all of a pack. Damage is not an error: it is what [`Verified::faults`] tells.
pub fn verify<R: ReadAt>(source: R) -> Verified {
    let mut verified = Verified::default();
    match content_hash(&source) {
        Ok(hash) => verified.content_hash = Some(hash),
        Err(error) => verified.fault(None, PackError::Read { offset: 0, length: 0, source: error }),
    }
    if let Err(error) = parts(&source, &mut verified) {
        verified.fault(None, error);
    }
    verified
}

/// XXH3-128 of all bytes of a source.
///
/// # Errors
/// Those of the source.
pub fn content_hash<R: ReadAt>(source: &R) -> io::Result<u128> {
    let length = source.length()?;
    let mut hash = Xxh3::new();
    let mut at = 0;
    while at < length {
        let bytes = (length - at).min(HASH_BYTES);
        hash.update(&source.read_at(at, bytes as usize)?);
        at += bytes;
    }
    Ok(hash.digest128())
}

fn parts<R: ReadAt>(source: &R, verified: &mut Verified) -> Result<(), PackError> {
    let reader = PackReader::open(source)?;
    for area in [reader.footer().columns(), reader.footer().filters()] {
        if let Err(error) = reader.area(area) {
            verified.fault(None, error);
        }
    }
    let directory = reader.directory()?;
    let mut blocks = BlockReader::new();
    let mut number = 0;
    for stream in &directory.streams {
        for chunk in &stream.chunks {
            match check_chunk(&reader, &mut blocks, chunk) {
                Ok(()) => verified.take(chunk),
                Err(error) => verified.fault(Some((stream.id, number)), error),
            }
            number += 1;
        }
    }
    Ok(())
}

fn check_chunk<R: ReadAt>(
    reader: &PackReader<R>,
    blocks: &mut BlockReader,
    chunk: &ChunkEntry,
) -> Result<(), PackError> {
    let mut digest = Digest::default();
    for n in 0..chunk.blocks.len() {
        for block in reader.blocks(chunk, n..n + 1)? {
            let start = chunk.block_range(n).map_or(chunk.start, |range| range.start);
            let text = blocks.open(&block).map_err(|error| error.within(start))?;
            text.for_each(|entry| digest.add(entry.hash()));
        }
    }
    if digest != chunk.digest {
        let error = FormatError::new("chunk", 0, "its entries do not come to its digest");
        return Err(error.within(chunk.start).into());
    }
    reader.filter(chunk).map(drop)
}

impl Verified {
    /// Whether nothing is wrong.
    pub fn is_whole(&self) -> bool {
        self.faults.is_empty()
    }

    fn take(&mut self, chunk: &ChunkEntry) {
        self.chunks += 1;
        self.entries += chunk.entries();
        self.text_bytes += chunk.text_bytes();
    }

    fn fault(&mut self, chunk: Option<(StreamId, u32)>, error: PackError) {
        if self.faults.len() < FAULTS_MAX {
            self.faults.push(Fault { chunk, error });
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::verify;
    use crate::pack::{ChunkBuilder, Level, PackReader, PackSummary, PackWriter, Sealer};
    use crate::stream::{Labels, StreamId};
    use crate::testdata::LogLines;

    fn pack() -> (PackSummary, Vec<u8>) {
        let mut sealer = Sealer::new(Level::default());
        let labels = Labels::new([("app", "a")]);
        let id = StreamId::of("t", &labels);
        let mut writer = PackWriter::new(Vec::new());
        let mut lines = LogLines::new(0, 1);
        for _ in 0..2 {
            let mut chunk = ChunkBuilder::new();
            sealer.seal(id, &lines.block(), &mut chunk).unwrap();
            writer.chunk(id, &labels, &chunk.finish().unwrap()).unwrap();
        }
        writer.finish().unwrap()
    }

    #[test]
    fn a_whole_pack_has_no_fault_and_bears_the_hash_of_its_bytes() {
        let (summary, bytes) = pack();
        let verified = verify(Bytes::from(bytes));
        assert!(verified.is_whole(), "{:?}", verified.faults);
        assert_eq!(verified.content_hash, Some(summary.content_hash));
        let chunks = || summary.directory.chunks();
        assert_eq!(verified.chunks, 2);
        assert_eq!(verified.entries, chunks().map(|chunk| chunk.entries()).sum::<u64>());
    }

    #[test]
    fn a_flipped_bit_anywhere_is_noticed_and_its_chunk_is_named() {
        let (summary, bytes) = pack();
        let second = summary.directory.chunks().nth(1).unwrap().file_range();
        for at in (0..bytes.len()).step_by(bytes.len() / 97) {
            let mut damaged = bytes.clone();
            damaged[at] ^= 0x10;
            let verified = verify(Bytes::from(damaged));
            // A hash tells of any change; what is checked by CRC tells where.
            assert_ne!(verified.content_hash, Some(summary.content_hash));
            if second.contains(&(at as u64)) && at as u64 > second.start + 100 {
                let named: Vec<_> = verified.faults.iter().filter_map(|fault| fault.chunk).collect();
                assert_eq!(named, [(summary.directory.streams[0].id, 1)], "byte {at}");
                assert_eq!(verified.chunks, 1);
            }
        }
        let cut = Bytes::from(bytes).slice(..second.end as usize);
        assert!(PackReader::open(cut.clone()).is_err() && !verify(cut).is_whole());
    }
}
