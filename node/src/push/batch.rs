//! A push, decoded: streams and entries that borrow their text from the body they came in.
//!
//! An entry is three numbers and two ranges. Text lies in the decompressed body, or, where a decoder had to
//! write text of its own (JSON escapes, OpenTelemetry attributes, normalised names), in a second buffer that
//! logically follows the body. So decoding allocates per request, never per entry, and an ingester copies each
//! line once: into its head.

mod builder;

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use grapevine_storage::entry::EntryRef;
use grapevine_storage::head::BlockExtent;
use grapevine_storage::index::Day;
use grapevine_storage::stream::{Labels, StreamId};

pub use self::builder::BatchBuilder;
use super::content;
use super::error::{ErrorCode, PushError};
use super::metadata;
use super::stream_cache::NamedStream;

/// Streams in one push, those without entries counted: a body of nothing but empty streams must not cost
/// more memory than its size suggests.
pub const STREAMS_MAX: usize = 128 * 1024;

/// Entries in one push. An entry takes 2 bytes of a protobuf body at least and 32 bytes here.
pub const ENTRIES_MAX: usize = 4 << 20;

/// Pairs of structured metadata in one push, 16 bytes each here.
pub const METADATA_MAX: usize = 4 << 20;

/// Bytes of labels, lines and metadata in one push, each counted as often as it is stored: OpenTelemetry
/// writes the attributes of a resource once for all its records.
pub const TEXT_BYTES_MAX: usize = content::UNPACKED_BYTES_MAX;

/// Bytes of text in one push that are not in its body.
pub const ADDED_BYTES_MAX: usize = 4 * content::UNPACKED_BYTES_MAX;

// Every span fits 32 bits.
const _: () = assert!(content::UNPACKED_BYTES_MAX + ADDED_BYTES_MAX < u32::MAX as usize);

/// A range of a batch's text. 32 bits: a batch is held in memory, and bodies are bounded far below 4 GiB.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    start: u32,
    len: u32,
}

impl Span {
    pub(super) fn new(start: usize, end: usize) -> Self {
        assert!(start <= end && end <= u32::MAX as usize, "a batch's text is bounded below 4 GiB");
        Span { start: start as u32, len: (end - start) as u32 }
    }

    /// Bytes in it.
    pub fn len(self) -> usize {
        self.len as usize
    }

    /// Whether it is empty.
    pub fn is_empty(self) -> bool {
        self.len == 0
    }

    pub(super) fn first(self, len: usize) -> Self {
        Span { len: self.len.min(len as u32), ..self }
    }
}

/// One stream of a push and where its entries are. A push may name a stream more than once.
#[derive(Clone, Debug)]
pub struct PushStream {
    pub(super) named: Arc<NamedStream>,
    pub(super) entries: Range<usize>,
}

impl PushStream {
    /// The labels, `service_name` included.
    pub fn labels(&self) -> &Labels {
        &self.named.labels
    }

    /// The id.
    pub fn id(&self) -> StreamId {
        self.named.id
    }

    /// The stream as its client named it.
    pub fn named(&self) -> &NamedStream {
        &self.named
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none. Never so after validation.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

/// An entry as ranges of the batch's text.
#[derive(Clone, Copy, Debug)]
pub(super) struct PushEntry {
    pub(super) timestamp: i64,
    pub(super) line: Span,
    pub(super) metadata_start: u32,
    pub(super) metadata_len: u32,
}

impl PushEntry {
    pub(super) fn metadata(&self) -> Range<usize> {
        let start = self.metadata_start as usize;
        start..start + self.metadata_len as usize
    }
}

/// Entries of a stream that follow each other in a push and lie on one day.
#[derive(Clone, Debug)]
pub struct DayRun {
    /// The day.
    pub day: Day,
    entries: Range<usize>,
}

/// A decoded push.
#[derive(Debug, Default)]
pub struct PushBatch {
    pub(super) body: Bytes,
    pub(super) added: Vec<u8>,
    pub(super) streams: Vec<PushStream>,
    pub(super) entries: Vec<PushEntry>,
    pub(super) metadata: Vec<(Span, Span)>,
    /// The body as the client packed it, if decoding that again gives this batch: see [`super::wal`].
    pub(super) replayable: Option<super::wal::ClientBody>,
}

impl PushBatch {
    /// The streams, in the order of the request.
    pub fn streams(&self) -> &[PushStream] {
        &self.streams
    }

    /// How many entries there are.
    pub fn entry_count(&self) -> usize {
        self.streams.iter().map(PushStream::len).sum()
    }

    /// Whether there is nothing to store.
    pub fn is_empty(&self) -> bool {
        self.entry_count() == 0
    }

    /// Bytes of memory that the batch holds: what a bound on requests in flight should count.
    pub fn memory(&self) -> usize {
        self.body.len()
            + self.added.capacity()
            + self.entries.capacity() * size_of::<PushEntry>()
            + self.metadata.capacity() * size_of::<(Span, Span)>()
            + self.streams.capacity() * size_of::<PushStream>()
    }

    /// Shows each entry of a stream in turn. The metadata slice is reused from one entry to the next, which
    /// is why this is not an iterator.
    pub fn for_each_entry(&self, stream: &PushStream, each: impl FnMut(EntryRef<'_>)) {
        self.for_each_in(stream.entries.clone(), each);
    }

    /// Shows each entry of a run in turn.
    pub fn for_each_in_run(&self, run: &DayRun, each: impl FnMut(EntryRef<'_>)) {
        self.for_each_in(run.entries.clone(), each);
    }

    /// All entries, stream by stream, cut as [`PushBatch::day_runs`] cuts them. What counts runs or entries of a push, in
    /// the log and in heads, counts them in this order.
    pub fn runs(&self) -> impl Iterator<Item = (&PushStream, DayRun)> + '_ {
        self.streams.iter().flat_map(|stream| self.day_runs(stream).map(move |run| (stream, run)))
    }

    /// The entries of a stream, cut where the UTC day changes from one to the next.
    pub fn day_runs(&self, stream: &PushStream) -> impl Iterator<Item = DayRun> + '_ {
        let mut start = stream.entries.start;
        let entries = &self.entries[stream.entries.clone()];
        entries.chunk_by(|a, b| Day::of(a.timestamp) == Day::of(b.timestamp)).map(move |run| {
            let entries = start..start + run.len();
            start = entries.end;
            DayRun { day: Day::of(run[0].timestamp), entries }
        })
    }

    /// Bytes of all text in it, as it came.
    pub fn text_len(&self) -> usize {
        self.body.len() + self.added.len()
    }

    /// How much a run holds, and when.
    pub fn extent(&self, run: &DayRun) -> BlockExtent {
        let mut extent = BlockExtent { first: i64::MAX, last: i64::MIN, entries: 0, text_bytes: 0 };
        for entry in &self.entries[run.entries.clone()] {
            extent.first = extent.first.min(entry.timestamp);
            extent.last = extent.last.max(entry.timestamp);
            extent.entries += 1;
            extent.text_bytes += entry.line.len() as u64 + 1;
        }
        extent
    }

    fn for_each_in(&self, entries: Range<usize>, mut each: impl FnMut(EntryRef<'_>)) {
        let mut pairs = Vec::new();
        for entry in &self.entries[entries] {
            pairs.clear();
            pairs.extend(self.metadata[entry.metadata()].iter().map(|&(n, v)| (self.str(n), self.str(v))));
            each(EntryRef { timestamp: entry.timestamp, line: self.text(entry.line), metadata: &pairs });
        }
    }

    pub(super) fn text(&self, span: Span) -> &[u8] {
        text(&self.body, &self.added, span)
    }

    pub(super) fn str(&self, span: Span) -> &str {
        std::str::from_utf8(self.text(span)).expect("the builder takes metadata only as UTF-8")
    }

    pub(super) fn add_text(&mut self, text: &[u8]) -> Result<Span, PushError> {
        if self.added.len() + text.len() > ADDED_BYTES_MAX {
            return Err(too_many("bytes of text", ADDED_BYTES_MAX));
        }
        let start = self.body.len() + self.added.len();
        self.added.extend_from_slice(text);
        Ok(Span::new(start, start + text.len()))
    }

    pub(super) fn line_of(&self, entry: usize) -> &[u8] {
        self.text(self.entries[entry].line)
    }

    pub(super) fn metadata_of(&self, entry: usize) -> impl Iterator<Item = (&str, &str)> {
        self.metadata[self.entries[entry].metadata()].iter().map(|&(n, v)| (self.str(n), self.str(v)))
    }

    /// Adds a pair to the metadata of an entry, which must be in the form in which it is stored and stays so.
    ///
    /// # Errors
    /// More than [`METADATA_MAX`] pairs, or more than [`ADDED_BYTES_MAX`] bytes of text.
    pub(super) fn add_metadata(&mut self, entry: usize, name: &str, value: &str) -> Result<(), PushError> {
        let range = self.entries[entry].metadata();
        if self.metadata.len() + range.len() + 1 > METADATA_MAX {
            return Err(too_many("pairs of structured metadata", METADATA_MAX));
        }
        let at = self.metadata_of(entry).take_while(|(known, _)| *known < name).count();
        let pair = (self.add_text(name.as_bytes())?, self.add_text(value.as_bytes())?);
        let start = self.metadata.len();
        self.metadata.extend_from_within(range);
        self.metadata.insert(start + at, pair);
        let len = self.metadata.len() - start;
        (self.entries[entry].metadata_start, self.entries[entry].metadata_len) = (start as u32, len as u32);
        Ok(())
    }

    /// Brings an entry's metadata into the form in which it is stored: names normalised, ascending, unique;
    /// of two pairs with one name the later stays. Doing it twice changes nothing.
    ///
    /// # Errors
    /// A name that normalises to nothing.
    pub(super) fn normalise_metadata(&mut self, entry: usize) -> Result<(), PushError> {
        let range = self.entries[entry].metadata();
        for at in range.clone() {
            let (name, value) = self.metadata[at];
            let normal = metadata::normalise_name(self.str(name))?;
            if let std::borrow::Cow::Owned(normal) = normal {
                self.metadata[at] = (self.add_text(normal.as_bytes())?, value);
            }
        }
        let (body, added) = (&self.body, &self.added);
        let name = |pair: &(Span, Span)| text(body, added, pair.0);
        let pairs = &mut self.metadata[range];
        if !pairs.windows(2).all(|two| name(&two[0]) < name(&two[1])) {
            pairs.reverse();
            pairs.sort_by(|a, b| name(a).cmp(name(b)));
            let kept = keep_first_of_equal(pairs, |a, b| name(a) == name(b));
            self.entries[entry].metadata_len = kept as u32;
        }
        Ok(())
    }
}

fn text<'a>(body: &'a [u8], added: &'a [u8], span: Span) -> &'a [u8] {
    let (start, len) = (span.start as usize, span.len());
    match start.checked_sub(body.len()) {
        None => &body[start..start + len],
        Some(start) => &added[start..start + len],
    }
}

/// `Vec::dedup_by` for a slice: how many of the items, moved to the front, are left.
fn keep_first_of_equal<T: Copy>(items: &mut [T], equal: impl Fn(&T, &T) -> bool) -> usize {
    let mut kept = 0;
    for at in 0..items.len() {
        if kept == 0 || !equal(&items[kept - 1], &items[at]) {
            items[kept] = items[at];
            kept += 1;
        }
    }
    kept
}

fn too_many(what: &str, limit: usize) -> PushError {
    PushError::new(
        ErrorCode::TooLarge,
        format!("request holds more than {limit} {what}; send smaller batches"),
    )
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;

    use super::{BatchBuilder, PushBatch};
    use crate::push::stream_cache::{NamedStream, Naming};

    fn stream() -> Arc<NamedStream> {
        Arc::new(Naming { tenant: "t", service_name_sources: &[] }.stream(vec![("a".into(), "b".into())]))
    }

    fn one_entry(metadata: &[(&str, &str)]) -> PushBatch {
        let mut builder = BatchBuilder::new(Bytes::from_static(b"line"));
        let mark = builder.metadata_mark();
        for (name, value) in metadata {
            let name = builder.add_text(name.as_bytes()).unwrap();
            let value = builder.add_text(value.as_bytes()).unwrap();
            builder.metadata(name, value).unwrap();
        }
        builder.entry(7, super::Span::new(0, 4), mark).unwrap();
        builder.stream(stream()).unwrap();
        builder.finish().unwrap()
    }

    fn check(metadata: &[(&str, &str)], expected: &[(&str, &str)]) {
        let mut batch = one_entry(metadata);
        for _ in 0..2 {
            batch.normalise_metadata(0).unwrap();
            batch.for_each_entry(&batch.streams()[0], |entry| {
                assert_eq!((entry.timestamp, entry.line, entry.metadata), (7, b"line".as_slice(), expected));
            });
        }
    }

    #[test]
    fn metadata_is_stored_normalised_sorted_and_unique() {
        check(&[], &[]);
        check(&[("b", "1"), ("a", "2")], &[("a", "2"), ("b", "1")]);
        check(&[("k.k", "1"), ("k-k", "2"), ("a", "3")], &[("a", "3"), ("k_k", "2")]);
        check(&[("a", "1"), ("a", "2"), ("a", "3")], &[("a", "3")]);
    }

    #[test]
    fn metadata_is_made_utf8() {
        let mut builder = BatchBuilder::new(Bytes::from_static(b"a\xFFb"));
        let span = builder.utf8(super::Span::new(0, 3)).unwrap();
        assert_eq!(builder.text(span), "a\u{FFFD}b".as_bytes());
    }

    #[test]
    fn empty_streams_are_not_kept_but_make_a_push_valid() {
        let mut builder = BatchBuilder::new(Bytes::new());
        builder.stream(stream()).unwrap();
        assert!(builder.finish().unwrap().is_empty());
        assert_eq!(BatchBuilder::new(Bytes::new()).finish().unwrap_err().code.status(), 422);
    }
}
