//! Where a query reads packs from: the spool, a directory, or over the network.
//!
//! Files are read in place by the thread that scans. What lies behind a network is fetched first, in as few
//! requests as the store needs, so that no scanning thread waits for one. Filters and open files are kept in
//! bounded caches.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use grapevine_storage::chunk_store::ChunkStore;
use grapevine_storage::index::{PackId, PackRecord};
use grapevine_storage::pack::{ChunkEntry, Filter, PackError, PackReader, ReadAt, SealedBlock};

use super::select::PackedChunk;
use crate::ingester::spool::Spool;

/// Filters held in memory, bytes: those of some 400 MB of packs. A miss costs a read of about 15 KB.
const FILTER_CACHE_BYTES: usize = 32 << 20;
/// Packs kept open.
const FILES_MAX: usize = 256;

/// Reads packs, wherever they are.
#[derive(Debug)]
pub struct Packs {
    store: ChunkStore,
    spool: Spool,
    files: Mutex<Cache<PackId, Arc<File>>>,
    filters: Mutex<Cache<(PackId, u32), Option<Filter>>>,
}

/// A place to read one chunk from.
#[derive(Clone, Debug)]
pub enum ChunkSource {
    /// A file on this machine.
    File(Arc<File>),
    /// Parts of an object, fetched before: what was asked for and nothing else.
    Fetched(Arc<Fetched>),
}

/// Parts of an object.
#[derive(Debug)]
pub struct Fetched {
    bytes: u64,
    parts: Vec<(u64, Bytes)>,
}

impl ReadAt for ChunkSource {
    fn length(&self) -> io::Result<u64> {
        match self {
            ChunkSource::File(file) => file.length(),
            ChunkSource::Fetched(fetched) => Ok(fetched.bytes),
        }
    }

    fn read_at(&self, offset: u64, length: usize) -> io::Result<Bytes> {
        let fetched = match self {
            ChunkSource::File(file) => return file.read_at(offset, length),
            ChunkSource::Fetched(fetched) => fetched,
        };
        let within = |(start, part): &(u64, Bytes)| {
            let from = usize::try_from(offset.checked_sub(*start)?).ok()?;
            (from.checked_add(length)? <= part.len()).then(|| part.slice(from..from + length))
        };
        fetched.parts.iter().find_map(within).ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
    }
}

/// What of a chunk is wanted.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// Which of its blocks.
    pub blocks: Range<usize>,
    /// Their text too, not only timestamps.
    pub text: bool,
}

impl Packs {
    /// Reads from a spool and a store.
    pub fn new(store: ChunkStore, spool: Spool) -> Self {
        let (files, filters) = (Cache::new(FILES_MAX), Cache::new(FILTER_CACHE_BYTES));
        Packs { store, spool, files: Mutex::new(files), filters: Mutex::new(filters) }
    }

    /// The chunk's pack as a file, if it is one. Looks in the spool and in a directory that is the chunk store,
    /// whatever the index said a moment ago: a pack may have moved since.
    pub fn local(&self, chunk: &PackedChunk) -> Option<Arc<File>> {
        if let Some(file) = lock(&self.files).get(&chunk.pack) {
            return Some(file);
        }
        let stored = self.store.local_path(&chunk.record.object_key);
        let paths = [Some(self.spool.path(&chunk.record.object_key)), stored];
        let file = Arc::new(paths.into_iter().flatten().find_map(|path| File::open(path).ok())?);
        lock(&self.files).put(chunk.pack, file.clone(), 1);
        Some(file)
    }

    /// Whether packs lie behind a network, so that [`Self::fetch`] must be called before a chunk is read.
    pub fn is_remote(&self) -> bool {
        self.store.local_path("probe").is_none()
    }

    /// Fetches what is wanted of chunks of one pack, side by side in as few requests as the store needs.
    ///
    /// # Errors
    /// The store's, as text.
    pub async fn fetch(&self, wanted: &[(&PackedChunk, Wanted)]) -> Result<Vec<ChunkSource>, String> {
        let ranges = |(chunk, wanted): &(&PackedChunk, Wanted)| {
            let entry = chunk.chunk.entry();
            let mut ranges = Vec::new();
            ranges.extend(chunk.record.footer().columns().file_range_of(entry.columns));
            if wanted.text {
                let start = entry.block_range(wanted.blocks.start).map(|range| range.start);
                let end = entry.block_range(wanted.blocks.end.saturating_sub(1)).map(|range| range.end);
                ranges.extend(start.zip(end).map(|(start, end)| start..end));
            }
            ranges
        };
        let Some((chunk, _)) = wanted.first() else { return Ok(Vec::new()) };
        self.fetch_ranges(&chunk.record, wanted.iter().map(ranges).collect()).await
    }

    /// Whether a chunk's filter is in memory, or it has none.
    pub fn knows_filter(&self, chunk: &PackedChunk) -> bool {
        chunk.chunk.filter.length == 0 || lock(&self.filters).get(&(chunk.pack, chunk.chunk.number)).is_some()
    }

    /// Fetches the filters of chunks of one pack, but for those in memory.
    ///
    /// # Errors
    /// The store's, as text.
    pub async fn fetch_filters(&self, chunks: &[&PackedChunk]) -> Result<Vec<Option<ChunkSource>>, String> {
        let range = |chunk: &&PackedChunk| {
            let range = chunk.chunk.entry().filter.filter(|_| !self.knows_filter(chunk));
            range.and_then(|range| chunk.record.footer().filters().file_range_of(range)).into_iter().collect()
        };
        let ranges: Vec<Vec<Range<u64>>> = chunks.iter().map(range).collect();
        let Some(chunk) = chunks.first().filter(|_| ranges.iter().any(|ranges| !ranges.is_empty())) else {
            return Ok(vec![None; chunks.len()]);
        };
        let sources = self.fetch_ranges(&chunk.record, ranges.clone()).await?;
        Ok(sources
            .into_iter()
            .zip(ranges)
            .map(|(source, ranges)| (!ranges.is_empty()).then_some(source))
            .collect())
    }

    /// Fetches ranges of a pack, a source of each list.
    async fn fetch_ranges(
        &self,
        record: &PackRecord,
        ranges: Vec<Vec<Range<u64>>>,
    ) -> Result<Vec<ChunkSource>, String> {
        let parts = self.store.get_ranges(&record.object_key, &ranges.concat()).await;
        let mut parts = parts.map_err(|error| format!("{error}: {}", error.source))?.into_iter();
        let source = |ranges: Vec<Range<u64>>| {
            let parts = ranges.iter().map(|range| range.start).zip(&mut parts).collect();
            ChunkSource::Fetched(Arc::new(Fetched { bytes: record.bytes, parts }))
        };
        Ok(ranges.into_iter().map(source).collect())
    }

    /// A chunk's filter, if it has one; from memory or from `source`.
    ///
    /// # Errors
    /// It cannot be read, or is damaged.
    pub fn filter(
        &self,
        chunk: &PackedChunk,
        source: Option<&ChunkSource>,
    ) -> Result<Option<Filter>, PackError> {
        if chunk.chunk.filter.length == 0 {
            return Ok(None);
        }
        let key = (chunk.pack, chunk.chunk.number);
        if let Some(filter) = lock(&self.filters).get(&key) {
            return Ok(filter);
        }
        let Some(source) = source else { return Ok(None) };
        let reader = PackReader::with_footer(source, chunk.record.footer());
        let filter = reader.filter(&chunk.chunk.entry())?;
        lock(&self.filters).put(key, filter.clone(), chunk.chunk.filter.length as usize);
        Ok(filter)
    }
}

/// Blocks of a chunk.
///
/// # Errors
/// They cannot be read, or are damaged.
pub fn blocks(
    chunk: &PackedChunk,
    source: &ChunkSource,
    wanted: Range<usize>,
) -> Result<Vec<SealedBlock>, PackError> {
    PackReader::with_footer(source, chunk.record.footer()).blocks(&chunk.chunk.entry(), wanted)
}

/// The columns of a chunk, and its entry in the directory, which says which bytes are whose.
///
/// # Errors
/// They cannot be read.
pub fn columns(chunk: &PackedChunk, source: &ChunkSource) -> Result<(ChunkEntry, Bytes), PackError> {
    let entry = chunk.chunk.entry();
    let columns = PackReader::with_footer(source, chunk.record.footer()).columns(&entry)?;
    Ok((entry, columns))
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().expect("a panic with a cache locked ends the process")
}

/// A bounded cache of two generations: what is used moves to the young one, and when that has filled half of the
/// room the old one is let go. Nearly as good as least-recently-used, without a list to keep.
#[derive(Debug)]
struct Cache<K, V> {
    young: BTreeMap<K, (V, usize)>,
    old: BTreeMap<K, (V, usize)>,
    young_weight: usize,
    weight_max: usize,
}

impl<K: Ord + Clone, V: Clone> Cache<K, V> {
    fn new(weight_max: usize) -> Self {
        Cache { young: BTreeMap::new(), old: BTreeMap::new(), young_weight: 0, weight_max }
    }

    fn get(&mut self, key: &K) -> Option<V> {
        if let Some((value, _)) = self.young.get(key) {
            return Some(value.clone());
        }
        let (value, weight) = self.old.remove(key)?;
        self.put(key.clone(), value.clone(), weight);
        Some(value)
    }

    fn put(&mut self, key: K, value: V, weight: usize) {
        if self.young_weight + weight > self.weight_max / 2 {
            self.old = std::mem::take(&mut self.young);
            self.young_weight = 0;
        }
        if let Some((_, before)) = self.young.insert(key, (value, weight)) {
            self.young_weight -= before;
        }
        self.young_weight += weight;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;
    use grapevine_storage::pack::ReadAt;

    use super::{Cache, ChunkSource, Fetched};

    #[test]
    fn a_cache_keeps_what_is_used_and_stays_within_its_weight() {
        let mut cache = Cache::new(10);
        cache.put("a", 1, 2);
        for n in 0..100 {
            cache.put("other", n, 3);
            assert_eq!(cache.get(&"a"), Some(1));
            assert!(cache.young.values().chain(cache.old.values()).map(|(_, w)| w).sum::<usize>() <= 10);
        }
        for n in 0..9 {
            cache.put(["b", "c", "d"][n % 3], 0, 4);
        }
        assert_eq!(cache.get(&"a"), None);
    }

    #[test]
    fn only_what_was_fetched_can_be_read() {
        let parts = vec![(10, Bytes::from_static(b"abc")), (20, Bytes::from_static(b"xyz"))];
        let source = ChunkSource::Fetched(Arc::new(Fetched { bytes: 99, parts }));
        assert_eq!(source.read_at(11, 2).unwrap(), "bc");
        assert_eq!(source.read_at(20, 3).unwrap(), "xyz");
        for (offset, length) in [(9, 2), (12, 2), (13, 1), (21, 3), (u64::MAX, 1)] {
            assert!(source.read_at(offset, length).is_err(), "{offset} {length}");
        }
    }
}
