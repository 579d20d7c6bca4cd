//! How much there is of a selector: streams, chunks, lines and bytes, in all or by label, without reading text.
//!
//! The index and the heads know of every block when it begins and ends, how many lines it has and how many bytes
//! they take. A block wholly inside a range counts exactly. Of a block that a bound of the range cuts, lines and
//! bytes count in proportion to the part of its time that is inside: the one estimate here, off by less than a
//! block at each bound. (Counting exactly would mean fetching columns for every query that Grafana's editor asks
//! about as it is typed.) Bytes are those of lines; line ends and structured metadata are not in them. While a
//! flush hands a chunk from a head to the index, the chunk may for a moment count twice.

use std::collections::{BTreeMap, BTreeSet};

use bincode::{Decode, Encode};
use grapevine_storage::head::BlockExtent;
use grapevine_storage::index::TimeRange;
use grapevine_storage::stream::{Labels, StreamId};

use super::answer::Pairs;
use super::error::QueryError;
use super::question::{Taken, pairs_weight, runs};
use super::select::STREAMS_MAX;
use super::sought::{Bounds, Sought};

/// Groups that one answer may distinguish before the largest are chosen: bounds memory.
const GROUPS_MAX: usize = 200_000;

/// Counts chunks as they are found.
pub trait Tally: Clone + Send + Sync + 'static {
    /// Some of what was counted, as it travels.
    type Item: Encode + Decode<()> + Send + 'static;

    /// What another node is asked.
    fn sought(&self, selector: String, range: Bounds) -> Sought;

    /// Some of what was counted, as it travels.
    fn items(self) -> impl Iterator<Item = Self::Item> + Send;

    /// Adds what another node counted of other streams.
    ///
    /// # Errors
    /// It would have to remember too much.
    fn take(&mut self, item: Self::Item) -> Result<Taken, QueryError>;

    /// Adds what was counted of other streams.
    ///
    /// # Errors
    /// As [`Self::take`].
    fn merge(&mut self, other: Self) -> Result<(), QueryError>;

    /// Takes in one chunk of a stream; its blocks overlap the range.
    ///
    /// # Errors
    /// It would have to remember too much.
    fn chunk(&mut self, stream: StreamId, labels: &Labels, blocks: &[BlockExtent]) -> Result<(), QueryError>;
}

/// What of a block lies in a range, both ends inclusive: (lines, bytes of lines).
fn inside(block: &BlockExtent, range: TimeRange) -> (u64, u64) {
    let (from, to) = (block.first.max(range.first), block.last.min(range.last));
    if from > to {
        return (0, 0);
    }
    let line_bytes = block.text_bytes.saturating_sub(block.entries);
    let span = |from: i64, to: i64| (i128::from(to) - i128::from(from) + 1) as u128;
    let (part, whole) = (span(from, to), span(block.first, block.last));
    // Rounded up: a block that is touched has something to show.
    let share = |count: u64| (u128::from(count) * part).div_ceil(whole) as u64;
    (share(block.entries), share(line_bytes))
}

/// Totals of a selector.
#[derive(Clone, Debug)]
pub struct Totals {
    range: TimeRange,
    streams: BTreeSet<StreamId>,
    /// Streams that others have counted, none of them among `streams`.
    elsewhere: u64,
    /// Chunks that overlap the range.
    pub chunks: u64,
    /// Lines in it.
    pub entries: u64,
    /// Their bytes.
    pub bytes: u64,
}

impl Totals {
    /// Nothing yet, of a range.
    pub fn new(range: TimeRange) -> Self {
        Totals { range, streams: BTreeSet::new(), elsewhere: 0, chunks: 0, entries: 0, bytes: 0 }
    }

    /// How many streams.
    pub fn streams(&self) -> u64 {
        (self.streams.len() as u64).saturating_add(self.elsewhere)
    }
}

impl Tally for Totals {
    /// Streams, chunks, entries, bytes.
    type Item = [u64; 4];

    fn sought(&self, selector: String, range: Bounds) -> Sought {
        Sought::Totals { selector, range }
    }

    fn items(self) -> impl Iterator<Item = [u64; 4]> + Send {
        [[self.streams(), self.chunks, self.entries, self.bytes]].into_iter()
    }

    fn take(&mut self, [streams, chunks, entries, bytes]: [u64; 4]) -> Result<Taken, QueryError> {
        self.elsewhere = self.elsewhere.saturating_add(streams);
        self.chunks = self.chunks.saturating_add(chunks);
        self.entries = self.entries.saturating_add(entries);
        self.bytes = self.bytes.saturating_add(bytes);
        Ok(Taken::More)
    }

    fn merge(&mut self, other: Self) -> Result<(), QueryError> {
        other.items().try_for_each(|item| self.take(item).map(drop))
    }

    fn chunk(&mut self, stream: StreamId, _: &Labels, blocks: &[BlockExtent]) -> Result<(), QueryError> {
        if self.streams.len() >= STREAMS_MAX && !self.streams.contains(&stream) {
            return Err(QueryError::TooManyStreams);
        }
        self.streams.insert(stream);
        self.chunks += 1;
        for block in blocks {
            let (entries, bytes) = inside(block, self.range);
            self.entries += entries;
            self.bytes += bytes;
        }
        Ok(())
    }
}

/// What volumes are grouped by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grouping {
    /// The labels that count; none given are those that the selector names, and all if it names none.
    pub labels: Option<BTreeSet<String>>,
    /// One group a label name instead of one for each set of values.
    pub by_name: bool,
}

/// Volumes of groups, by part of the range.
#[derive(Clone, Debug)]
pub struct Volumes {
    grouping: Grouping,
    /// The parts, ascending, apart from each other.
    parts: Vec<TimeRange>,
    groups: BTreeMap<Pairs, BTreeMap<usize, u64>>,
}

/// One group: its labels, and its bytes in those parts of the range where it has any.
pub type Volume = (Pairs, BTreeMap<usize, u64>);

impl Volumes {
    /// Nothing yet. The parts ascend and do not overlap.
    pub fn new(grouping: Grouping, parts: Vec<TimeRange>) -> Self {
        Volumes { grouping, parts, groups: BTreeMap::new() }
    }

    fn counts(&self, name: &str) -> bool {
        self.grouping.labels.as_ref().is_none_or(|labels| labels.contains(name))
    }

    /// The groups that a stream belongs to. A group by name has a label without a value, as Loki shows it.
    fn groups_of(&self, labels: &Labels) -> Vec<Pairs> {
        let counted = labels.iter().filter(|(name, _)| self.counts(name));
        match self.grouping.by_name {
            true => counted.map(|(name, _)| vec![(name.to_owned(), String::new())]).collect(),
            false => vec![counted.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()],
        }
    }

    fn group(&mut self, labels: Pairs) -> Result<&mut BTreeMap<usize, u64>, QueryError> {
        if self.groups.len() >= GROUPS_MAX && !self.groups.contains_key(&labels) {
            return Err(QueryError::TooManyStreams);
        }
        Ok(self.groups.entry(labels).or_default())
    }

    /// The largest groups, the largest first; equals by their labels.
    pub fn largest(self, most: usize) -> Vec<Volume> {
        let total = |volume: &Volume| volume.1.values().sum::<u64>();
        let mut all: Vec<Volume> = self.groups.into_iter().filter(|(_, parts)| !parts.is_empty()).collect();
        all.sort_by_key(|volume| std::cmp::Reverse(total(volume)));
        all.truncate(most);
        all
    }
}

impl Tally for Volumes {
    type Item = Vec<(Pairs, Vec<(u32, u64)>)>;

    fn sought(&self, selector: String, range: Bounds) -> Sought {
        let Grouping { labels, by_name } = self.grouping.clone();
        let labels = labels.map(|labels| labels.into_iter().collect());
        let parts = self.parts.iter().map(|part| (part.first, part.last)).collect();
        Sought::Volumes { selector, range, labels, by_name, parts }
    }

    fn items(self) -> impl Iterator<Item = Self::Item> + Send {
        let listed = |(labels, parts): (Pairs, BTreeMap<usize, u64>)| {
            (labels, parts.into_iter().map(|(part, bytes)| (part as u32, bytes)).collect::<Vec<_>>())
        };
        runs(self.groups.into_iter().map(listed), |(labels, parts)| {
            pairs_weight(labels) + size_of_val(&parts[..])
        })
    }

    fn take(&mut self, item: Self::Item) -> Result<Taken, QueryError> {
        for (labels, parts) in item {
            let group = self.group(labels)?;
            for (part, bytes) in parts {
                let sum = group.entry(part as usize).or_default();
                *sum = sum.saturating_add(bytes);
            }
        }
        let parts = self.parts.len();
        let beyond =
            self.groups.values().any(|group| group.last_key_value().is_some_and(|(at, _)| *at >= parts));
        match beyond {
            true => Ok(Taken::Unfit("volumes of a part of the range that nobody asked for".into())),
            false => Ok(Taken::More),
        }
    }

    fn merge(&mut self, other: Self) -> Result<(), QueryError> {
        for (labels, parts) in other.groups {
            let group = self.group(labels)?;
            parts.into_iter().for_each(|(part, bytes)| *group.entry(part).or_default() += bytes);
        }
        Ok(())
    }

    fn chunk(&mut self, _: StreamId, labels: &Labels, blocks: &[BlockExtent]) -> Result<(), QueryError> {
        let mut found: BTreeMap<usize, u64> = BTreeMap::new();
        for block in blocks {
            let from = self.parts.partition_point(|part| part.last < block.first);
            let overlapping = self.parts[from..].iter().take_while(|part| part.first <= block.last);
            for (part, range) in overlapping.enumerate() {
                let (_, bytes) = inside(block, *range);
                if bytes > 0 {
                    *found.entry(from + part).or_default() += bytes;
                }
            }
        }
        for group in self.groups_of(labels) {
            let parts = self.group(group)?;
            found.iter().for_each(|(part, bytes)| *parts.entry(*part).or_default() += bytes);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use grapevine_storage::head::BlockExtent;
    use grapevine_storage::index::TimeRange;
    use grapevine_storage::stream::{Labels, StreamId};

    use super::{Grouping, Pairs, Tally, Totals, Volumes, inside};

    /// Ten lines of nine bytes, one every ten nanoseconds from `first` on.
    fn block(first: i64) -> BlockExtent {
        BlockExtent { first, last: first + 99, entries: 10, text_bytes: 100 }
    }

    fn range(first: i64, last: i64) -> TimeRange {
        TimeRange { first, last }
    }

    #[test]
    fn a_block_counts_as_far_as_it_is_inside() {
        let check = |first, last, expected| {
            assert_eq!(inside(&block(100), range(first, last)), expected, "{first} {last}");
        };
        check(100, 199, (10, 90));
        check(i64::MIN, i64::MAX, (10, 90));
        check(0, 149, (5, 45));
        check(199, 500, (1, 1));
        check(0, 99, (0, 0));
        check(200, 300, (0, 0));
    }

    #[test]
    fn a_stream_counts_once_and_its_chunks_each() {
        let mut totals = Totals::new(range(0, 1000));
        let labels = Labels::new([("app", "a")]);
        for (stream, first) in [(1, 0), (1, 100), (2, 950)] {
            totals.chunk(StreamId(stream), &labels, &[block(first)]).unwrap();
        }
        assert_eq!((totals.streams(), totals.chunks), (2, 3));
        assert_eq!((totals.entries, totals.bytes), (26, 226));
    }

    fn grouped(labels: Option<&[&str]>, by_name: bool) -> Vec<(String, u64)> {
        let labels = labels.map(|names| names.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<_>>());
        let mut volumes = Volumes::new(Grouping { labels, by_name }, vec![range(0, 1000)]);
        for (n, pairs) in
            [[("app", "a"), ("pod", "1")], [("app", "a"), ("pod", "2")], [("app", "b"), ("pod", "2")]]
                .into_iter()
                .enumerate()
        {
            let blocks = vec![block(0); n + 1];
            volumes.chunk(StreamId(n as u128), &Labels::new(pairs), &blocks).unwrap();
        }
        let values = |pairs: &Pairs| pairs.iter().map(|(_, value)| value.as_str()).collect::<String>();
        let sum = |parts: BTreeMap<usize, u64>| parts.values().sum::<u64>() / 90;
        volumes.largest(9).into_iter().map(|(labels, parts)| (values(&labels), sum(parts))).collect()
    }

    #[test]
    fn volumes_are_grouped_by_series_or_by_name() {
        let owned = |pairs: &[(&str, u64)]| -> Vec<(String, u64)> {
            pairs.iter().map(|(labels, count)| ((*labels).to_owned(), *count)).collect()
        };
        assert_eq!(grouped(Some(&["app"]), false), owned(&[("a", 3), ("b", 3)]));
        assert_eq!(grouped(Some(&["pod"]), false), owned(&[("2", 5), ("1", 1)]));
        assert_eq!(grouped(None, false).len(), 3);
        assert_eq!(grouped(None, true).iter().map(|(_, count)| *count).collect::<Vec<_>>(), [6, 6]);
    }

    #[test]
    fn the_parts_of_a_range_share_a_block_between_them() {
        let parts = (0..4).map(|n| range(n * 50, n * 50 + 49)).collect();
        let mut volumes = Volumes::new(Grouping { labels: None, by_name: false }, parts);
        volumes.chunk(StreamId(1), &Labels::new([("a", "b")]), &[block(50)]).unwrap();
        let (_, found) = volumes.largest(1).remove(0);
        assert_eq!(found, BTreeMap::from([(1, 45), (2, 45)]));
    }
}
