//! Reads blocks for a query: the lines that may pass, or how many pass between two moments.
//!
//! One [`Scanner`] a thread, with buffers that are used again for every block.

use std::borrow::Cow;
use std::cell::OnceCell;
use std::ops::{ControlFlow, Range};

use grapevine_storage::index::TimeRange;
use grapevine_storage::pack::block::BlockHeader;
use grapevine_storage::pack::column::Column;
use grapevine_storage::pack::{BlockReader, BlockText, FormatError, Metadata, SealedBlock, TextBuffer};
use grapevine_storage::scan::{LineFilter, LineNumbers, line_offsets, window_lines};

use super::answer::Stats;

/// A line as it is stored.
#[derive(Clone, Copy, Debug)]
pub struct StoredLine<'a> {
    /// ns since 1970.
    pub timestamp: i64,
    /// The text.
    pub line: &'a [u8],
    /// Structured metadata, names ascending.
    pub metadata: &'a [(&'a str, &'a str)],
}

/// A range of time and the order in which its lines are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// The first timestamp wanted.
    pub first: i64,
    /// The last timestamp wanted.
    pub last: i64,
    /// The oldest line first.
    pub forward: bool,
}

impl Span {
    /// The time without the order.
    pub fn range(&self) -> TimeRange {
        TimeRange { first: self.first, last: self.last }
    }

    /// Whether a stretch of time, both ends inclusive, has anything in common with this one.
    pub fn overlaps(&self, first: i64, last: i64) -> bool {
        first <= self.last && self.first <= last
    }

    /// Whether a timestamp is wanted.
    pub fn contains(&self, timestamp: i64) -> bool {
        (self.first..=self.last).contains(&timestamp)
    }
}

/// Buffers for reading blocks.
#[derive(Debug, Default)]
pub struct Scanner {
    reader: BlockReader,
    text: TextBuffer,
    timestamps: Vec<i64>,
    ends: Vec<u32>,
    lines: Vec<u32>,
    offsets: Vec<usize>,
    counts: Vec<u64>,
    /// What has been read.
    pub stats: Stats,
}

/// A block's text, and how its columns are come by.
struct Parts<'a, 'c> {
    text: &'a [u8],
    ends: Option<&'a [u32]>,
    /// Unpacked for the first line that matches: most blocks that a needle makes us read have none.
    columns: &'a OnceCell<Columns<'c>>,
}

/// Timestamps and metadata of a block.
struct Columns<'a> {
    timestamps: Cow<'a, [i64]>,
    metadata: Cow<'a, Metadata>,
}

impl Scanner {
    /// Empty buffers.
    pub fn new() -> Self {
        Scanner::default()
    }

    /// Visits the lines of a sealed block that match the filter, in the order of the span.
    ///
    /// # Errors
    /// The block is damaged.
    pub fn sealed_lines<B>(
        &mut self,
        block: &SealedBlock,
        filter: &LineFilter,
        span: Span,
        visit: &mut dyn FnMut(StoredLine<'_>) -> ControlFlow<B>,
    ) -> Result<ControlFlow<B>, FormatError> {
        let header = self.reader.inflate(block.member(), &mut self.text)?;
        self.stats.blocks += 1;
        self.stats.compressed_bytes += block.member().len() as u64;
        self.stats.text_bytes += self.text.len() as u64;
        self.stats.lines += u64::from(header.entries);
        if header.inner_newlines {
            self.reader.line_ends(&header, &block.column()?, &self.text, &mut self.ends)?;
        }
        let ends = header.inner_newlines.then_some(&self.ends[..]);
        let columns = OnceCell::new();
        let (reader, buffer) = (&mut self.reader, &mut self.timestamps);
        let mut unpack = || {
            let column = block.column()?;
            reader.timestamps(&header, &column, buffer)?;
            let metadata = Cow::Owned(reader.metadata(&header, &column)?);
            Ok(Columns { timestamps: Cow::Owned(std::mem::take(buffer)), metadata })
        };
        let parts = Parts { text: &self.text, ends, columns: &columns };
        let visited = parts.visit(filter, span, &mut unpack, visit);
        if let Some(Columns { timestamps, metadata }) = columns.into_inner() {
            self.stats.metadata_bytes += metadata.memory_bytes() as u64;
            self.timestamps = timestamps.into_owned();
        }
        visited
    }

    /// Visits the lines of an open block, which is in order of time, that match the filter.
    ///
    /// # Errors
    /// None of its own: what lies in memory need not be unpacked.
    pub fn open_lines<B>(
        &mut self,
        block: &BlockText,
        filter: &LineFilter,
        span: Span,
        visit: &mut dyn FnMut(StoredLine<'_>) -> ControlFlow<B>,
    ) -> Result<ControlFlow<B>, FormatError> {
        let (bytes, lines) = (block.text_bytes() as u64, block.entries() as u64);
        self.stats.blocks += 1;
        self.stats.text_bytes += bytes;
        self.stats.head_bytes += bytes;
        self.stats.lines += lines;
        self.stats.head_lines += lines;
        self.stats.metadata_bytes += block.metadata().memory_bytes() as u64;
        let (text, ends) = (block.text(), block.line_ends());
        let (timestamps, metadata) = (Cow::Borrowed(block.timestamps()), Cow::Borrowed(block.metadata()));
        let columns = OnceCell::from(Columns { timestamps, metadata });
        let parts = Parts { text, ends, columns: &columns };
        parts.visit(filter, span, &mut || unreachable!("what lies in memory is unpacked"), visit)
    }

    /// Counts the entries of a block between the edges, from its timestamps alone.
    ///
    /// # Errors
    /// The column is damaged.
    pub fn count_entries(
        &mut self,
        header: &BlockHeader,
        column: &[u8],
        edges: &Edges<'_>,
        add: &mut dyn FnMut(usize, u64),
    ) -> Result<(), FormatError> {
        self.stats.blocks += 1;
        self.stats.lines += u64::from(header.entries);
        let intervals = edges.within(header.first, header.last);
        if let Some(interval) = edges.only(header.first, header.last) {
            add(interval, u64::from(header.entries));
            return Ok(());
        }
        self.reader.timestamps(header, &Column::parse(column)?, &mut self.timestamps)?;
        count_between_lines(&self.timestamps, edges, intervals, &mut self.lines, add);
        Ok(())
    }

    /// Counts the entries of an open block between the edges, without looking at its text.
    pub fn count_open(&mut self, block: &BlockText, edges: &Edges<'_>, add: &mut dyn FnMut(usize, u64)) {
        self.stats.blocks += 1;
        self.stats.lines += block.entries() as u64;
        self.stats.head_lines += block.entries() as u64;
        if let Some((first, last)) = block.time_range() {
            let intervals = edges.within(first, last);
            count_between_lines(block.timestamps(), edges, intervals, &mut self.lines, add);
        }
    }

    /// Counts the lines of a sealed block that match the filter, between the edges.
    ///
    /// # Errors
    /// The block is damaged.
    pub fn count_matches(
        &mut self,
        block: &SealedBlock,
        filter: &LineFilter,
        edges: &Edges<'_>,
        add: &mut dyn FnMut(usize, u64),
    ) -> Result<(), FormatError> {
        let header = self.reader.inflate(block.member(), &mut self.text)?;
        let column = block.column()?;
        self.reader.timestamps(&header, &column, &mut self.timestamps)?;
        let has_ends = self.reader.line_ends(&header, &column, &self.text, &mut self.ends)?;
        self.stats.blocks += 1;
        self.stats.compressed_bytes += block.member().len() as u64;
        self.stats.text_bytes += self.text.len() as u64;
        self.stats.lines += u64::from(header.entries);
        let intervals = edges.within(header.first, header.last);
        let ends = has_ends.then_some(&self.ends[..]);
        window_lines(&self.timestamps, edges.of(&intervals), &mut self.lines);
        line_offsets(&self.text, ends, &self.lines, &mut self.offsets);
        self.counts.clear();
        self.counts.resize(intervals.len(), 0);
        filter.count_between(&mut self.text, ends, &self.offsets, &mut self.counts);
        for (interval, count) in intervals.zip(&self.counts) {
            add(interval, *count);
        }
        Ok(())
    }
}

/// The edges of a query's windows, as timestamps at which intervals begin: interval `n` is
/// `[edges[n], edges[n + 1])`.
#[derive(Clone, Copy, Debug)]
pub struct Edges<'a>(pub &'a [i64]);

impl Edges<'_> {
    /// The intervals that a stretch of time, both ends inclusive, has something in common with.
    fn within(&self, first: i64, last: i64) -> Range<usize> {
        let intervals = self.0.len().saturating_sub(1);
        let from = self.0.partition_point(|edge| *edge <= first).saturating_sub(1);
        let to = self.0.partition_point(|edge| *edge <= last).min(intervals);
        from.min(to)..to
    }

    /// The interval that holds all of a stretch of time, if one does.
    fn only(&self, first: i64, last: i64) -> Option<usize> {
        let interval = self.0.partition_point(|edge| *edge <= first).checked_sub(1)?;
        (last < *self.0.get(interval + 1)?).then_some(interval)
    }

    /// The edges around these intervals.
    fn of(&self, intervals: &Range<usize>) -> &[i64] {
        &self.0[intervals.start..(intervals.end + 1).min(self.0.len())]
    }
}

fn count_between_lines(
    timestamps: &[i64],
    edges: &Edges<'_>,
    intervals: Range<usize>,
    lines: &mut Vec<u32>,
    add: &mut dyn FnMut(usize, u64),
) {
    window_lines(timestamps, edges.of(&intervals), lines);
    for (interval, pair) in intervals.zip(lines.windows(2)) {
        add(interval, u64::from(pair[1] - pair[0]));
    }
}

impl<'c> Parts<'_, 'c> {
    fn visit<B>(
        &self,
        filter: &LineFilter,
        span: Span,
        unpack: &mut dyn FnMut() -> Result<Columns<'c>, FormatError>,
        visit: &mut dyn FnMut(StoredLine<'_>) -> ControlFlow<B>,
    ) -> Result<ControlFlow<B>, FormatError> {
        let (mut numbers, mut pairs) = (LineNumbers::new(), Vec::new());
        let Parts { text, ends, columns } = *self;
        let mut on_match = |start: usize, line: &[u8]| {
            let columns = match columns.get() {
                Some(columns) => columns,
                None => match unpack() {
                    Ok(unpacked) => columns.get_or_init(|| unpacked),
                    Err(damage) => return ControlFlow::Break(Err(damage)),
                },
            };
            let number = numbers.number_at(text, ends, start);
            // A block whose text and timestamps disagree cannot be told from a damaged one; it holds no line here.
            let Some(&timestamp) = columns.timestamps.get(number) else { return ControlFlow::Continue(()) };
            if !span.contains(timestamp) {
                return ControlFlow::Continue(());
            }
            pairs.clear();
            pairs.extend(columns.metadata.pairs(number));
            visit(StoredLine { timestamp, line, metadata: &pairs }).map_break(Ok)
        };
        // Outside the span nothing need be searched.
        let visited = if span.forward {
            filter.for_each_match(text, ends, &mut on_match)
        } else {
            filter.for_each_match_backward(text, ends, &mut on_match)
        };
        match visited {
            ControlFlow::Continue(()) => Ok(ControlFlow::Continue(())),
            ControlFlow::Break(Ok(reason)) => Ok(ControlFlow::Break(reason)),
            ControlFlow::Break(Err(damage)) => Err(damage),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Edges;

    #[test]
    fn intervals_within_a_stretch_of_time() {
        let edges = Edges(&[0, 10, 20, 30]);
        assert_eq!(edges.within(-5, -1), 0..0);
        assert_eq!(edges.within(-5, 0), 0..1);
        assert_eq!(edges.within(5, 9), 0..1);
        assert_eq!(edges.within(9, 10), 0..2);
        assert_eq!(edges.within(25, 99), 2..3);
        assert_eq!(edges.within(30, 99), 3..3);
        assert_eq!(Edges(&[]).within(0, 1), 0..0);
    }

    #[test]
    fn one_interval_holds_all_or_none_does() {
        let edges = Edges(&[0, 10, 20]);
        assert_eq!(edges.only(0, 9), Some(0));
        assert_eq!(edges.only(0, 10), None);
        assert_eq!(edges.only(10, 19), Some(1));
        assert_eq!(edges.only(15, 20), None);
        assert_eq!(edges.only(-1, 5), None);
        assert_eq!(edges.only(20, 25), None);
    }
}
