//! The units of work of a query: what each stream holds, cut into pieces that one thread reads at a time.

use std::ops::{ControlFlow, Range};
use std::sync::Arc;

use grapevine_storage::index::PackId;
use grapevine_storage::pack::block::{BlockHeader, Unit as TimeUnit};
use grapevine_storage::pack::{BlockText, SealedBlock};
use grapevine_storage::scan::LineFilter;
use grapevine_storage::stream::{Labels, StreamId};

use super::merge::{MergeBlock, merge};
use super::packs::{ChunkSource, Packs, Wanted, blocks, columns};
use super::scan::{Edges, Scanner, Span, StoredLine};
use super::select::{PackedChunk, Selection, StreamParts};
use super::units::{BlockTimes, Unit, units};
use crate::deletes::matcher::Deletion;

/// Where the blocks of a unit come from.
#[derive(Clone, Debug)]
pub enum Source {
    /// A chunk in a pack.
    Packed(Arc<PackedChunk>),
    /// A sealed block of a head.
    Sealed(SealedBlock),
    /// An open block of a head.
    Open(Arc<BlockText>),
}

/// A piece of one stream.
#[derive(Clone, Debug)]
pub struct Work {
    /// The stream.
    pub stream: Arc<StreamOfWork>,
    /// What to read: blocks of each source, in order of arrival. One source: its blocks are read as they are. More:
    /// they overlap, and are merged.
    pub parts: Vec<(Source, Range<usize>)>,
    /// The earliest timestamp in it.
    pub first: i64,
    /// The latest timestamp in it.
    pub last: i64,
}

/// What the works of one stream share.
#[derive(Clone, Debug)]
pub struct StreamOfWork {
    /// Whose it is.
    pub tenant: Arc<str>,
    /// Its id.
    pub id: StreamId,
    /// Its labels, as the query sees them.
    pub labels: Labels,
    /// What of it is to be deleted, and must not be seen.
    pub deletions: Vec<Arc<Deletion>>,
}

/// Why a piece could not be read: what a warning says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unreadable(pub String);

/// Sources fetched for a work, part for part; none where the part is local or in memory.
pub type Fetched = Vec<Option<ChunkSource>>;

/// Cuts a selection into works that ascend in time within each stream.
pub fn works(tenant: &Arc<str>, selection: Selection, span: Span) -> Vec<Work> {
    let mut works = Vec::new();
    for (id, parts) in selection {
        let (labels, deletions) = (parts.labels.clone(), parts.deletions.clone());
        let stream = Arc::new(StreamOfWork { tenant: tenant.clone(), id, labels, deletions });
        works_of_stream(&stream, parts, span, &mut works);
    }
    works
}

fn works_of_stream(stream: &Arc<StreamOfWork>, parts: StreamParts, span: Span, works: &mut Vec<Work>) {
    // Packs came before what is still in heads.
    let mut packed = parts.packed;
    packed.sort_by_key(|chunk| (chunk.record.arrival, chunk.chunk.number));
    let packed = packed.into_iter().map(|chunk| Source::Packed(Arc::new(chunk)));
    let sealed = parts.sealed.into_iter().map(Source::Sealed);
    let open = parts.open.into_iter().map(|block| Source::Open(Arc::new(block)));
    let sources: Vec<Source> = packed.chain(sealed).chain(open).collect();
    let mut times = Vec::new();
    for (number, source) in sources.iter().enumerate() {
        for (block, (first, last)) in source.times().into_iter().enumerate() {
            if span.overlaps(first, last) {
                times.push(BlockTimes { source: number, block, first, last });
            }
        }
    }
    for timed in units(times) {
        let parts = match timed.unit {
            Unit::Run { source, blocks } => vec![(sources[source].clone(), blocks)],
            Unit::Merge(blocks) => gather(&sources, blocks),
        };
        works.push(Work { stream: stream.clone(), parts, first: timed.first, last: timed.last });
    }
}

/// Blocks of one source lie in one part, parts in order of arrival. A source's blocks within a cluster are
/// consecutive, since they ascend.
fn gather(sources: &[Source], mut blocks: Vec<(usize, usize)>) -> Vec<(Source, Range<usize>)> {
    blocks.sort_unstable();
    let runs = blocks.chunk_by(|a, b| a.0 == b.0);
    runs.map(|run| (sources[run[0].0].clone(), run[0].1..run[run.len() - 1].1 + 1)).collect()
}

impl Source {
    fn times(&self) -> Vec<(i64, i64)> {
        match self {
            Source::Packed(chunk) => chunk.chunk.blocks.iter().map(|b| (b.first_ts, b.last_ts)).collect(),
            Source::Sealed(block) => vec![(block.header().first, block.header().last)],
            Source::Open(block) => block.time_range().into_iter().collect(),
        }
    }
}

/// What a warning says of a chunk.
pub(super) fn unreadable(chunk: &PackedChunk, why: impl std::fmt::Display) -> Unreadable {
    Unreadable(format!(
        "chunk {} of pack `{}` cannot be read, its lines are missing: {why}",
        chunk.chunk.number, chunk.record.object_key
    ))
}

fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(&format!(": {error}"));
        cause = error.source();
    }
    text
}

impl Work {
    /// Whether the filter of a chunk rules the work out. Only a work of one chunk has a filter to ask.
    ///
    /// # Errors
    /// The filter cannot be read.
    pub fn is_ruled_out(
        &self,
        packs: &Packs,
        filter: &LineFilter,
        fetched: Option<&ChunkSource>,
    ) -> Result<bool, Unreadable> {
        let [(Source::Packed(chunk), _)] = &self.parts[..] else { return Ok(false) };
        let local = || packs.local(chunk).map(ChunkSource::File);
        let source = fetched.cloned().or_else(local);
        let found =
            packs.filter(chunk, source.as_ref()).map_err(|error| unreadable(chunk, with_causes(&error)))?;
        Ok(found.is_some_and(|found| !filter.may_match(&found)))
    }

    /// Fetches what is not on this machine.
    ///
    /// # Errors
    /// The store does not give it.
    pub async fn fetch(&self, packs: &Packs, text: bool) -> Result<Fetched, Unreadable> {
        let mut fetched = Vec::with_capacity(self.parts.len());
        for (source, blocks) in &self.parts {
            fetched.push(match source {
                Source::Packed(chunk) if packs.is_remote() && packs.local(chunk).is_none() => {
                    let wanted = Wanted { blocks: blocks.clone(), text };
                    let fetched = packs.fetch(&[(chunk, wanted)]).await;
                    fetched.map_err(|why| unreadable(chunk, why))?.pop()
                }
                _ => None,
            });
        }
        Ok(fetched)
    }

    /// Visits the lines of the span that may match the filter, in its order, each once, without those that are to
    /// be deleted.
    ///
    /// # Errors
    /// A part cannot be read; what came before it has been visited.
    pub fn lines<B>(
        &self,
        packs: &Packs,
        fetched: &Fetched,
        scanner: &mut Scanner,
        filter: &LineFilter,
        span: Span,
        visit: &mut dyn FnMut(StoredLine<'_>) -> ControlFlow<B>,
    ) -> Result<ControlFlow<B>, Unreadable> {
        if !self.has_deletions() {
            return self.stored_lines(packs, fetched, scanner, filter, span, visit);
        }
        let labels: Vec<(&str, &str)> = self.stream.labels.iter().collect();
        let mut deletions: Vec<_> = self.deletions().map(|deletion| deletion.stream(&labels)).collect();
        self.stored_lines(packs, fetched, scanner, filter, span, &mut |line| match deletions
            .iter_mut()
            .any(|deletion| deletion.covers(&line))
        {
            true => ControlFlow::Continue(()),
            false => visit(line),
        })
    }

    fn deletions(&self) -> impl Iterator<Item = &Arc<Deletion>> {
        self.stream.deletions.iter().filter(|deletion| deletion.overlaps(self.first, self.last))
    }

    /// Whether lines must be looked at one by one, since some may be hidden.
    pub fn has_deletions(&self) -> bool {
        self.deletions().next().is_some()
    }

    fn stored_lines<B>(
        &self,
        packs: &Packs,
        fetched: &Fetched,
        scanner: &mut Scanner,
        filter: &LineFilter,
        span: Span,
        visit: &mut dyn FnMut(StoredLine<'_>) -> ControlFlow<B>,
    ) -> Result<ControlFlow<B>, Unreadable> {
        let damaged = |error| Unreadable(format!("a block in memory is damaged: {error}"));
        match &self.parts[..] {
            [(Source::Open(block), _)] => scanner.open_lines(block, filter, span, visit).map_err(damaged),
            [(Source::Sealed(block), _)] => {
                self.note_head(scanner, block);
                scanner.sealed_lines(block, filter, span, visit).map_err(damaged)
            }
            [(Source::Packed(chunk), range)] => {
                let mut blocks = load(packs, chunk, range.clone(), fetched.first())?;
                if !span.forward {
                    blocks.reverse();
                }
                for block in blocks {
                    let visited = scanner.sealed_lines(&block, filter, span, visit);
                    if let ControlFlow::Break(reason) = visited.map_err(|error| unreadable(chunk, error))? {
                        return Ok(ControlFlow::Break(reason));
                    }
                }
                Ok(ControlFlow::Continue(()))
            }
            _ => self.merged(packs, fetched, scanner, filter, span, visit),
        }
    }

    fn merged<B>(
        &self,
        packs: &Packs,
        fetched: &Fetched,
        scanner: &mut Scanner,
        filter: &LineFilter,
        span: Span,
        visit: &mut dyn FnMut(StoredLine<'_>) -> ControlFlow<B>,
    ) -> Result<ControlFlow<B>, Unreadable> {
        let mut merging = Vec::new();
        for (n, (source, range)) in self.parts.iter().enumerate() {
            match source {
                Source::Open(block) => merging.push(MergeBlock::Open((**block).clone())),
                Source::Sealed(block) => merging.push(MergeBlock::Sealed(block.clone())),
                Source::Packed(chunk) => {
                    let blocks = load(packs, chunk, range.clone(), fetched.get(n))?;
                    merging.extend(blocks.into_iter().map(MergeBlock::Packed));
                }
            }
        }
        let visited = merge(merging, span, &mut scanner.stats, &mut |line| {
            if filter.is_match(line.line) { visit(line) } else { ControlFlow::Continue(()) }
        });
        visited.map_err(|error| Unreadable(format!("blocks that overlap in time cannot be merged: {error}")))
    }

    fn note_head(&self, scanner: &mut Scanner, block: &SealedBlock) {
        scanner.stats.head_bytes += u64::from(block.text_bytes());
        scanner.stats.head_lines += u64::from(block.header().entries);
    }

    /// Entries in its blocks; one that lies in several of them counts for each.
    pub fn entries(&self) -> u64 {
        let of = |(source, range): &(Source, Range<usize>)| match source {
            Source::Packed(chunk) => {
                let blocks = chunk.chunk.blocks.get(range.clone()).unwrap_or_default();
                blocks.iter().map(|block| u64::from(block.entries)).sum()
            }
            Source::Sealed(block) => u64::from(block.header().entries),
            Source::Open(block) => block.entries() as u64,
        };
        self.parts.iter().map(of).sum()
    }

    /// Whether all entries can be counted without a merge, and without looking at any. What is no run needs its text,
    /// whatever is asked.
    pub fn is_run(&self) -> bool {
        self.parts.len() == 1 && !self.has_deletions()
    }

    /// Counts the entries of a run between edges, by timestamps alone.
    ///
    /// # Errors
    /// The columns cannot be read.
    pub fn count_entries(
        &self,
        packs: &Packs,
        fetched: &Fetched,
        scanner: &mut Scanner,
        edges: &Edges<'_>,
        add: &mut dyn FnMut(usize, u64),
    ) -> Result<(), Unreadable> {
        match &self.parts[..] {
            [(Source::Open(block), _)] => scanner.count_open(block, edges, add),
            [(Source::Sealed(block), _)] => {
                scanner.stats.head_lines += u64::from(block.header().entries);
                let counted = scanner.count_entries(block.header(), block.column_bytes(), edges, add);
                counted.map_err(|error| Unreadable(format!("a block in memory is damaged: {error}")))?;
            }
            [(Source::Packed(chunk), range)] => {
                let source = local_or(packs, chunk, fetched.first())?;
                let (entry, columns) =
                    columns(chunk, &source).map_err(|error| unreadable(chunk, with_causes(&error)))?;
                for n in range.clone() {
                    let (Some(block), Some(column)) = (entry.blocks.get(n), entry.column_range(n)) else {
                        break;
                    };
                    let header = BlockHeader {
                        inner_newlines: false,
                        unsorted_source: false,
                        unit: TimeUnit::default(),
                        member_length: block.member_bytes,
                        entries: block.entries,
                        first: block.first,
                        last: block.last,
                        stream: self.stream.id,
                    };
                    let counted = scanner.count_entries(&header, &columns[column], edges, add);
                    counted.map_err(|error| unreadable(chunk, error))?;
                }
            }
            _ => unreachable!("only runs are counted by timestamps"),
        }
        Ok(())
    }

    /// Counts the lines of a run that match the filter, between edges.
    ///
    /// # Errors
    /// The blocks cannot be read.
    pub fn count_matches(
        &self,
        packs: &Packs,
        fetched: &Fetched,
        scanner: &mut Scanner,
        filter: &LineFilter,
        edges: &Edges<'_>,
        add: &mut dyn FnMut(usize, u64),
    ) -> Result<(), Unreadable> {
        let in_memory = |error| Unreadable(format!("a block in memory is damaged: {error}"));
        match &self.parts[..] {
            [(Source::Packed(chunk), range)] => {
                for block in load(packs, chunk, range.clone(), fetched.first())? {
                    let counted = scanner.count_matches(&block, filter, edges, add);
                    counted.map_err(|error| unreadable(chunk, error))?;
                }
                Ok(())
            }
            [(Source::Sealed(block), _)] => {
                self.note_head(scanner, block);
                scanner.count_matches(block, filter, edges, add).map_err(in_memory)
            }
            _ => unreachable!("open blocks and merges are counted line by line"),
        }
    }

    /// Whether matches can be counted block by block.
    pub fn is_sealed_run(&self) -> bool {
        matches!(&self.parts[..], [(Source::Packed(_) | Source::Sealed(_), _)]) && !self.has_deletions()
    }

    /// The chunk, if the work is blocks of one chunk and nothing else.
    pub fn chunk(&self) -> Option<&PackedChunk> {
        self.chunk_blocks().map(|(chunk, _)| chunk)
    }

    /// The same, and which of its blocks.
    pub fn chunk_blocks(&self) -> Option<(&PackedChunk, Range<usize>)> {
        match &self.parts[..] {
            [(Source::Packed(chunk), blocks)] => Some((chunk, blocks.clone())),
            _ => None,
        }
    }

    /// Bytes of its blocks, if they are of one chunk.
    pub fn block_bytes(&self) -> u64 {
        let Some((chunk, blocks)) = self.chunk_blocks() else { return 0 };
        let entry = chunk.chunk.entry();
        let ends = entry.block_range(blocks.start).zip(entry.block_range(blocks.end.saturating_sub(1)));
        ends.map_or(0, |(first, last)| last.end.saturating_sub(first.start))
    }

    /// Where it lies: the same pack, and then further on in it, for works that had better be fetched together.
    pub fn place(&self) -> Option<(PackId, u64)> {
        let (chunk, blocks) = self.chunk_blocks()?;
        Some((chunk.pack, chunk.chunk.entry().block_range(blocks.start)?.start))
    }
}

fn local_or(
    packs: &Packs,
    chunk: &PackedChunk,
    fetched: Option<&Option<ChunkSource>>,
) -> Result<ChunkSource, Unreadable> {
    let fetched = fetched.cloned().flatten();
    let source = fetched.or_else(|| packs.local(chunk).map(ChunkSource::File));
    source.ok_or_else(|| unreadable(chunk, "the object is not there"))
}

fn load(
    packs: &Packs,
    chunk: &PackedChunk,
    range: Range<usize>,
    fetched: Option<&Option<ChunkSource>>,
) -> Result<Vec<SealedBlock>, Unreadable> {
    let source = local_or(packs, chunk, fetched)?;
    blocks(chunk, &source, range).map_err(|error| unreadable(chunk, with_causes(&error)))
}
