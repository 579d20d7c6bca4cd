//! From what a pack says of itself to what the index keeps, and back to what reading a pack takes. The index
//! knows packs by their parts' places alone, never their bytes.

use super::chunks::{BlockRecord, ChunkRecord, Extent};
use super::day::{NewPack, NewStream};
use super::flushed::FlushMark;
use super::packs::{PackId, PackRecord, PackState};
use crate::pack::{AreaRange, BlockEntry, ChunkEntry, Directory, Footer, PackSummary};

impl NewPack {
    /// What the index keeps of a pack that was just written, or read back for a rebuild.
    pub fn of_summary(
        tenant: &str,
        object_key: &str,
        state: PackState,
        summary: &PackSummary,
        marks: Vec<FlushMark>,
    ) -> Self {
        let id = PackId(summary.content_hash);
        let Directory { streams } = &summary.directory;
        let mut numbers = 0..;
        let streams = streams.iter().map(|stream| NewStream {
            id: stream.id,
            labels: stream.labels.clone(),
            chunks: stream
                .chunks
                .iter()
                .zip(&mut numbers)
                .map(|(chunk, number)| record(id, number, chunk))
                .collect(),
        });
        let streams = streams.collect();
        let chunks = || summary.directory.chunks();
        let record = PackRecord {
            tenant: tenant.to_owned(),
            object_key: object_key.to_owned(),
            bytes: summary.length,
            state,
            areas: areas(&summary.footer),
            chunks: chunks().count() as u32,
            entries: chunks().map(ChunkEntry::entries).sum(),
            text_bytes: chunks().map(ChunkEntry::text_bytes).sum(),
            first_ts: chunks().map(ChunkEntry::first).min().unwrap_or_default(),
            last_ts: chunks().map(ChunkEntry::last).max().unwrap_or_default(),
            arrival: 0,
        };
        NewPack { id, record, streams, marks, covers: (0, Vec::new()), within: None }
    }
}

impl ChunkRecord {
    /// The chunk as [`PackReader`](crate::pack::PackReader) takes it.
    pub fn entry(&self) -> ChunkEntry {
        let block = |block: &BlockRecord| BlockEntry {
            member_bytes: block.member_bytes,
            text_bytes: block.text_bytes,
            column_bytes: block.column_bytes,
            entries: block.entries,
            first: block.first_ts,
            last: block.last_ts,
        };
        ChunkEntry {
            start: self.text.offset,
            blocks: self.blocks.iter().map(block).collect(),
            columns: piece(self.columns),
            filter: (self.filter.length > 0).then(|| piece(self.filter)),
            digest: self.digest,
        }
    }
}

impl PackRecord {
    /// The pack's footer, so that its areas can be read without reading the footer first.
    pub fn footer(&self) -> Footer {
        let [columns, filters, directory] = self.areas;
        Footer {
            columns_start: columns.offset,
            columns_bytes: columns.length,
            filters_bytes: filters.length,
            directory_bytes: narrow(directory.length),
        }
    }
}

fn record(pack: PackId, number: u32, chunk: &ChunkEntry) -> ChunkRecord {
    let block = |block: &BlockEntry| BlockRecord {
        member_bytes: block.member_bytes,
        text_bytes: block.text_bytes,
        column_bytes: block.column_bytes,
        entries: block.entries,
        first_ts: block.first,
        last_ts: block.last,
    };
    let text = chunk.file_range();
    ChunkRecord {
        pack,
        number,
        first_ts: chunk.first(),
        last_ts: chunk.last(),
        text: Extent { offset: text.start, length: text.end - text.start },
        blocks: chunk.blocks.iter().map(block).collect(),
        columns: extent(chunk.columns),
        filter: chunk.filter.map(extent).unwrap_or_default(),
        digest: chunk.digest,
        text_bytes: chunk.text_bytes(),
    }
}

fn areas(footer: &Footer) -> [Extent; 3] {
    let areas = [footer.columns(), footer.filters(), footer.directory()];
    areas.map(|area| Extent { offset: area.start, length: area.length })
}

fn extent(piece: AreaRange) -> Extent {
    Extent { offset: piece.offset, length: piece.length.into() }
}

fn piece(extent: Extent) -> AreaRange {
    AreaRange { offset: extent.offset, length: narrow(extent.length) }
}

/// These numbers were 32 bits wide before they were stored; where damage made them wider, the pack's reader
/// refuses what lies outside an area.
fn narrow(length: u64) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::{NewPack, PackState};
    use crate::entry::Digest;
    use crate::index::{Day, Index, IndexOptions, PackId, TimeRange};
    use crate::pack::{AreaRange, BlockEntry, ChunkEntry, Directory, Footer, PackSummary, StreamEntry};
    use crate::stream::{Labels, StreamId};

    fn chunk(start: u64, first: i64, filter: Option<AreaRange>) -> ChunkEntry {
        let block = |first| BlockEntry {
            member_bytes: 10,
            text_bytes: 50,
            column_bytes: 3,
            entries: 2,
            first,
            last: first + 5,
        };
        let columns = AreaRange { offset: start, length: 6 };
        let digest = Digest { count: 4, xor: 7 };
        ChunkEntry { start, blocks: vec![block(first), block(first + 5)], columns, filter, digest }
    }

    #[test]
    fn what_a_pack_says_of_itself_comes_back_from_the_index() {
        let labels = ["1", "2"].map(|value| Labels::new([("a", value)]));
        let filter = Some(AreaRange { offset: 1, length: 2 });
        let chunks = [vec![chunk(0, 10, filter), chunk(20, 20, None)], vec![chunk(40, 5, None)]];
        let streams = labels.iter().zip(chunks).map(|(labels, chunks)| StreamEntry {
            id: StreamId::of("t", labels),
            labels: labels.clone(),
            chunks,
        });
        let footer = Footer { columns_start: 60, columns_bytes: 18, filters_bytes: 3, directory_bytes: 99 };
        let directory = Directory { streams: streams.collect() };
        let summary = PackSummary { directory, footer, length: 500, content_hash: 77 };

        let dir = tempfile::tempdir().unwrap();
        let index = Index::open(dir.path(), IndexOptions { map_bytes: 1 << 20 }).unwrap();
        let day = index.day_or_create(Day(0)).unwrap();
        day.add_pack(&NewPack::of_summary("t", "key", PackState::Spooled, &summary, Vec::new())).unwrap();

        day.read(|day| {
            let pack = day.pack(PackId(77))?.unwrap();
            assert_eq!(pack.footer(), footer);
            assert_eq!((pack.bytes, pack.chunks, pack.entries, pack.text_bytes), (500, 3, 12, 300));
            assert_eq!((pack.first_ts, pack.last_ts), (5, 30));
            for stream in &summary.directory.streams {
                let chunks = day.chunks_of("t", stream.id, TimeRange::ALL)?;
                assert_eq!(chunks.iter().map(|chunk| chunk.entry()).collect::<Vec<_>>(), stream.chunks);
            }
            Ok(())
        })
        .unwrap();
    }
}
