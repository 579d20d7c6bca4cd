//! An open block: lines, timestamps and metadata as they arrive, until a seal compresses them.

use std::mem::size_of;
use std::ops::Range;

use memchr::memchr;

use super::limits::{BLOCK_ENTRIES_MAX, BLOCK_METADATA_BYTES, BLOCK_TEXT_BYTES, BLOCK_TEXT_BYTES_MAX};
use super::metadata::Metadata;
use crate::entry::{EntryHash, EntryRef};

/// Entries of one stream in order of arrival, their lines terminated by `\n` in one text.
#[derive(Clone, Debug, Default)]
pub struct BlockText {
    pub(crate) text: Vec<u8>,
    pub(crate) timestamps: Vec<i64>,
    /// Where each line ends, once some line holds a newline; until then the newlines say it.
    pub(crate) line_ends: Option<Vec<u32>>,
    /// May cover fewer entries than there are: the rest have none.
    pub(crate) metadata: Metadata,
    pub(crate) out_of_order: bool,
}

/// What became of an entry that was to be appended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Append {
    /// It is in the block.
    Taken,
    /// The block is full: seal it, then append to a new one.
    Full,
    /// No block takes it: its line or its metadata exceeds 64 MiB.
    TooLarge,
}

impl BlockText {
    /// An empty block.
    pub fn new() -> Self {
        BlockText::default()
    }

    /// An empty block with the room that this one, which is full, turned out to need: its stream will likely fill
    /// the next as well, and a text that grows by doubling takes up to twice its size. Its text lies in `buffer`.
    pub fn next_like(&self, mut buffer: Vec<u8>) -> Self {
        buffer.clear();
        buffer.reserve_exact(self.text.len().max(BLOCK_TEXT_BYTES));
        BlockText {
            text: buffer,
            timestamps: Vec::with_capacity(self.timestamps.len() + self.timestamps.len() / 8),
            ..BlockText::default()
        }
    }

    /// Takes out the buffer that its text lies in.
    pub(crate) fn take_text(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.text)
    }

    /// Appends an entry. An empty block takes any entry that a block can hold, so a line larger than a block
    /// gets a block of its own.
    pub fn append(&mut self, entry: &EntryRef<'_>) -> Append {
        let metadata_bytes: usize = entry.metadata.iter().map(|(name, value)| name.len() + value.len()).sum();
        let text_bytes = entry.line.len() + 1;
        let overhead = entry.metadata.len() * size_of::<[u64; 2]>();
        if text_bytes > BLOCK_TEXT_BYTES_MAX || metadata_bytes + overhead > BLOCK_TEXT_BYTES_MAX / 2 {
            return Append::TooLarge;
        }
        let full = self.text.len() + text_bytes > BLOCK_TEXT_BYTES
            || self.entries() == BLOCK_ENTRIES_MAX
            || self.metadata.memory_bytes() + metadata_bytes > BLOCK_METADATA_BYTES;
        if full && !self.is_empty() {
            return Append::Full;
        }
        self.push(entry);
        Append::Taken
    }

    fn push(&mut self, entry: &EntryRef<'_>) {
        self.out_of_order |= self.timestamps.last().is_some_and(|last| *last > entry.timestamp);
        if self.line_ends.is_none() && memchr(b'\n', entry.line).is_some() {
            let ends = self.lines().map(|line| line.end as u32).collect();
            self.line_ends = Some(ends);
        }
        if !entry.metadata.is_empty() || !self.metadata.is_empty() {
            self.metadata.pad(self.entries());
            self.metadata.push(entry.metadata);
        }
        self.text.extend_from_slice(entry.line);
        if let Some(ends) = &mut self.line_ends {
            ends.push(self.text.len() as u32);
        }
        self.text.push(b'\n');
        self.timestamps.push(entry.timestamp);
    }

    /// How many entries it holds.
    pub fn entries(&self) -> usize {
        self.timestamps.len()
    }

    /// Whether it holds none.
    pub fn is_empty(&self) -> bool {
        self.timestamps.is_empty()
    }

    /// Bytes of text, line ends included.
    pub fn text_bytes(&self) -> usize {
        self.text.len()
    }

    /// Bytes of memory it takes, roughly.
    pub fn memory_bytes(&self) -> usize {
        let ends = self.line_ends.as_ref().map_or(0, Vec::capacity);
        self.text.capacity()
            + self.timestamps.capacity() * size_of::<i64>()
            + ends * size_of::<u32>()
            + self.metadata.memory_bytes()
    }

    /// The lines, each ended by `\n`.
    pub fn text(&self) -> &[u8] {
        &self.text
    }

    /// Where each line starts in the text, and the text's length at the end.
    pub fn line_starts(&self) -> Vec<usize> {
        let ends = self.lines().map(|line| line.end + 1);
        std::iter::once(0).chain(ends).collect()
    }

    /// One for each entry, in order of arrival.
    pub fn timestamps(&self) -> &[i64] {
        &self.timestamps
    }

    /// Where each line ends, if some line holds a newline.
    pub fn line_ends(&self) -> Option<&[u32]> {
        self.line_ends.as_deref()
    }

    /// The entries' metadata; may cover fewer entries than there are: the rest have none.
    pub fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    /// The earliest and the latest timestamp, unless it is empty.
    pub fn time_range(&self) -> Option<(i64, i64)> {
        if self.out_of_order {
            return Some((*self.timestamps.iter().min()?, *self.timestamps.iter().max()?));
        }
        Some((*self.timestamps.first()?, *self.timestamps.last()?))
    }

    /// Forgets all entries and keeps the memory, for the next block.
    pub fn clear(&mut self) {
        self.text.clear();
        self.timestamps.clear();
        self.line_ends = None;
        self.metadata.clear();
        self.out_of_order = false;
    }

    /// Places of the lines in the text, without their line ends.
    pub(crate) fn lines(&self) -> Lines<'_> {
        Lines::new(&self.text, self.line_ends.as_deref())
    }

    /// Visits the entries in order of arrival.
    pub fn for_each(&self, mut visit: impl FnMut(EntryRef<'_>)) {
        let mut pairs = Vec::new();
        for (n, (line, timestamp)) in self.lines().zip(&self.timestamps).enumerate() {
            pairs.clear();
            if !self.metadata.is_empty() {
                pairs.extend(self.metadata.pairs(n));
            }
            visit(EntryRef { timestamp: *timestamp, line: &self.text[line], metadata: &pairs });
        }
    }

    /// The entries in order of time, those of one timestamp in order of arrival, exact duplicates dropped; `None`
    /// if that is what this block is already. `hashes` are those of its entries.
    pub(crate) fn settled(&self, hashes: &[EntryHash]) -> Option<(BlockText, Vec<EntryHash>)> {
        let order = settled_order(&self.timestamps, hashes, self.out_of_order)?;
        let lines: Vec<_> = self.lines().collect();
        let mut settled = BlockText::default();
        let mut pairs = Vec::new();
        for n in &order {
            let n = *n as usize;
            pairs.clear();
            pairs.extend(self.metadata.pairs(n));
            let line = &self.text[lines[n].clone()];
            settled.push(&EntryRef { timestamp: self.timestamps[n], line, metadata: &pairs });
        }
        Some((settled, order.iter().map(|n| hashes[*n as usize]).collect()))
    }

    /// A copy without the entries that go.
    pub(crate) fn without(&self, mut goes: impl FnMut(&EntryRef<'_>) -> bool) -> BlockText {
        let mut left = BlockText::default();
        self.for_each(|entry| {
            if !goes(&entry) {
                left.push(&entry);
            }
        });
        left
    }

    pub(crate) fn hashes(&self, out: &mut Vec<EntryHash>) {
        out.clear();
        self.for_each(|entry| out.push(entry.hash()));
    }

    /// A copy in order of time and without duplicates: what a query of the open block reads.
    pub fn to_settled(&self) -> BlockText {
        let mut hashes = Vec::new();
        self.hashes(&mut hashes);
        self.settled(&hashes).map_or_else(|| self.clone(), |(settled, _)| settled)
    }
}

/// Numbers of the entries to keep, in order of time; `None` if that is all of them as they are.
fn settled_order(timestamps: &[i64], hashes: &[EntryHash], out_of_order: bool) -> Option<Vec<u32>> {
    let mut order: Vec<u32> = (0..timestamps.len() as u32).collect();
    if out_of_order {
        order.sort_by_key(|n| timestamps[*n as usize]);
    }
    let mut doubled = Vec::new();
    for run in order.chunk_by(|a, b| timestamps[*a as usize] == timestamps[*b as usize]) {
        if run.len() > 1 {
            let mut by_hash: Vec<_> = run.iter().map(|n| (hashes[*n as usize], *n)).collect();
            by_hash.sort_unstable();
            doubled.extend(by_hash.windows(2).filter(|pair| pair[0].0 == pair[1].0).map(|pair| pair[1].1));
        }
    }
    if doubled.is_empty() && !out_of_order {
        return None;
    }
    doubled.sort_unstable();
    order.retain(|n| doubled.binary_search(n).is_err());
    Some(order)
}

/// Walks the lines of a block's text: by its newlines, or by line ends where lines hold newlines.
#[derive(Clone, Debug)]
pub struct Lines<'a> {
    text: &'a [u8],
    ends: Option<std::slice::Iter<'a, u32>>,
    at: usize,
}

impl<'a> Lines<'a> {
    /// Lines of `text`, which end at `ends` if given.
    pub fn new(text: &'a [u8], ends: Option<&'a [u32]>) -> Self {
        Lines { text, ends: ends.map(<[u32]>::iter), at: 0 }
    }
}

impl Iterator for Lines<'_> {
    type Item = Range<usize>;

    fn next(&mut self) -> Option<Range<usize>> {
        let start = self.at;
        let end = match &mut self.ends {
            Some(ends) => *ends.next()? as usize,
            None => start + memchr(b'\n', self.text.get(start..)?)?,
        };
        self.at = end + 1;
        Some(start..end)
    }
}

#[cfg(test)]
mod tests {
    use super::{Append, BlockText};
    use crate::entry::EntryRef;
    use crate::pack::limits::{BLOCK_ENTRIES_MAX, BLOCK_TEXT_BYTES, BLOCK_TEXT_BYTES_MAX};

    fn entry(timestamp: i64, line: &[u8]) -> EntryRef<'_> {
        EntryRef { timestamp, line, metadata: &[] }
    }

    fn block(entries: &[(i64, &str)]) -> BlockText {
        let mut block = BlockText::new();
        for (timestamp, line) in entries {
            assert_eq!(block.append(&entry(*timestamp, line.as_bytes())), Append::Taken);
        }
        block
    }

    fn check_settled(entries: &[(i64, &str)], expected: &[(i64, &str)]) {
        let mut found = Vec::new();
        let settled = block(entries).to_settled();
        settled
            .for_each(|entry| found.push((entry.timestamp, String::from_utf8(entry.line.to_vec()).unwrap())));
        let expected: Vec<_> =
            expected.iter().map(|(timestamp, line)| (*timestamp, (*line).to_owned())).collect();
        assert_eq!(found, expected, "{entries:?}");
        assert!(!settled.out_of_order);
    }

    #[test]
    fn settling_sorts_stably_and_drops_exact_duplicates_alone() {
        check_settled(&[(1, "a"), (2, "b")], &[(1, "a"), (2, "b")]);
        check_settled(&[(2, "b"), (1, "z"), (1, "a")], &[(1, "z"), (1, "a"), (2, "b")]);
        check_settled(&[(1, "a"), (1, "b"), (1, "a")], &[(1, "a"), (1, "b")]);
        check_settled(&[(1, "a"), (2, "a")], &[(1, "a"), (2, "a")]);
        check_settled(&[(2, "a\nb"), (1, ""), (2, "a\nb"), (1, "")], &[(1, ""), (2, "a\nb")]);
    }

    #[test]
    fn block_closes_at_its_size() {
        let mut block = BlockText::new();
        let line = vec![b'x'; BLOCK_TEXT_BYTES / 2 - 1];
        assert_eq!(block.append(&entry(0, &line)), Append::Taken);
        assert_eq!(block.append(&entry(0, &line)), Append::Taken);
        assert_eq!(block.append(&entry(0, b"")), Append::Full);
        assert_eq!(block.text_bytes(), BLOCK_TEXT_BYTES);
    }

    #[test]
    fn block_closes_at_its_count() {
        let mut block = BlockText::new();
        for _ in 0..BLOCK_ENTRIES_MAX {
            assert_eq!(block.append(&entry(0, b"")), Append::Taken);
        }
        assert_eq!(block.append(&entry(0, b"")), Append::Full);
    }

    #[test]
    fn oversize_line_gets_a_block_of_its_own() {
        let mut block = BlockText::new();
        let line = vec![b'x'; BLOCK_TEXT_BYTES * 2];
        assert_eq!(block.append(&entry(0, b"small")), Append::Taken);
        assert_eq!(block.append(&entry(0, &line)), Append::Full);
        block.clear();
        assert_eq!(block.append(&entry(0, &line)), Append::Taken);
        let line = vec![b'x'; BLOCK_TEXT_BYTES_MAX];
        assert_eq!(BlockText::new().append(&entry(0, &line)), Append::TooLarge);
    }

    #[test]
    fn metadata_belongs_to_its_entry() {
        let mut block = block(&[(3, "a"), (2, "b")]);
        let metadata = [("k", "v")];
        assert_eq!(block.append(&EntryRef { timestamp: 1, line: b"c", metadata: &metadata }), Append::Taken);
        assert_eq!(block.append(&entry(0, b"d")), Append::Taken);
        let mut found = Vec::new();
        block.to_settled().for_each(|entry| found.push((entry.timestamp, entry.metadata.len())));
        assert_eq!(found, [(0, 0), (1, 1), (2, 0), (3, 0)]);
    }
}
