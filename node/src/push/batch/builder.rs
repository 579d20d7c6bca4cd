//! Builds a push: counts what a decoder finds and refuses what is too much of it.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;

use super::{
    ENTRIES_MAX, METADATA_MAX, PushBatch, PushEntry, PushStream, STREAMS_MAX, Span, TEXT_BYTES_MAX, too_many,
};
use crate::push::error::PushError;
use crate::push::stream_cache::NamedStream;

/// Collects what a decoder finds. All three decoders and the replay of the write-ahead log end here.
#[derive(Debug)]
pub struct BatchBuilder {
    batch: PushBatch,
    streams_seen: usize,
    text_bytes: usize,
    /// The first entry of the stream that is not closed yet.
    open: usize,
}

impl BatchBuilder {
    /// A builder over a decompressed body; texts are ranges of it, or added.
    pub fn new(body: Bytes) -> Self {
        let batch = PushBatch { body, ..PushBatch::default() };
        BatchBuilder { batch, streams_seen: 0, text_bytes: 0, open: 0 }
    }

    /// The body, as a handle that does not borrow the builder.
    pub fn body(&self) -> Bytes {
        self.batch.body.clone()
    }

    /// Text that is not in the body.
    ///
    /// # Errors
    /// More than [`ADDED_BYTES_MAX`](super::ADDED_BYTES_MAX) bytes of it.
    pub fn add_text(&mut self, text: &[u8]) -> Result<Span, PushError> {
        self.batch.add_text(text)
    }

    /// The bytes of a span.
    pub fn text(&self, span: Span) -> &[u8] {
        self.batch.text(span)
    }

    /// Text as a `str`: the same span where it is UTF-8, else a copy with U+FFFD in place of what is not.
    ///
    /// # Errors
    /// As [`Self::add_text`].
    pub fn utf8(&mut self, span: Span) -> Result<Span, PushError> {
        match std::str::from_utf8(self.batch.text(span)) {
            Ok(_) => Ok(span),
            Err(_) => {
                let mended = String::from_utf8_lossy(self.batch.text(span)).into_owned();
                self.add_text(mended.as_bytes())
            }
        }
    }

    /// A pair of metadata of the entry that is closed next. Both spans must be UTF-8 (see [`Self::utf8`]).
    ///
    /// # Errors
    /// More than [`METADATA_MAX`] pairs.
    pub fn metadata(&mut self, name: Span, value: Span) -> Result<(), PushError> {
        if self.batch.metadata.len() == METADATA_MAX {
            return Err(too_many("pairs of structured metadata", METADATA_MAX));
        }
        self.batch.metadata.push((name, value));
        self.count_text(name.len() + value.len())
    }

    /// How many pairs of metadata there are: the mark to give to [`Self::entry`].
    pub fn metadata_mark(&self) -> usize {
        self.batch.metadata.len()
    }

    /// Closes an entry of the open stream, whose metadata is what was added since the mark.
    ///
    /// # Errors
    /// More than [`ENTRIES_MAX`] entries.
    pub fn entry(&mut self, timestamp: i64, line: Span, metadata_mark: usize) -> Result<(), PushError> {
        self.entry_with(timestamp, line, metadata_mark..self.batch.metadata.len())
    }

    /// Closes an entry whose metadata lies anywhere among what was added.
    ///
    /// # Errors
    /// As [`Self::entry`].
    pub fn entry_with(
        &mut self,
        timestamp: i64,
        line: Span,
        metadata: Range<usize>,
    ) -> Result<(), PushError> {
        self.check_entries(1)?;
        let (metadata_start, metadata_len) = (metadata.start as u32, metadata.len() as u32);
        self.batch.entries.push(PushEntry { timestamp, line, metadata_start, metadata_len });
        self.count_text(line.len())
    }

    /// Makes room for so many entries, which may be more or fewer.
    pub fn expect_entries(&mut self, entries: usize) {
        self.batch.entries.reserve(entries.min(ENTRIES_MAX));
    }

    /// Whether so many more entries fit.
    ///
    /// # Errors
    /// They would be more than [`ENTRIES_MAX`].
    pub fn check_entries(&self, more: usize) -> Result<(), PushError> {
        if self.batch.entries.len() + more > ENTRIES_MAX {
            return Err(too_many("entries", ENTRIES_MAX));
        }
        Ok(())
    }

    /// Closes the open stream: it gets the entries closed since the last one was. Labels may come after the
    /// entries on the wire, so a stream is named when it ends. A stream without entries is counted, not kept.
    ///
    /// # Errors
    /// More than [`STREAMS_MAX`] streams.
    pub fn stream(&mut self, named: Arc<NamedStream>) -> Result<(), PushError> {
        if self.streams_seen == STREAMS_MAX {
            return Err(too_many("streams", STREAMS_MAX));
        }
        self.streams_seen += 1;
        self.count_text(named.labels.iter().map(|(name, value)| name.len() + value.len()).sum())?;
        let entries = self.open..self.batch.entries.len();
        self.open = entries.end;
        if !entries.is_empty() {
            self.batch.streams.push(PushStream { named, entries });
        }
        Ok(())
    }

    fn count_text(&mut self, bytes: usize) -> Result<(), PushError> {
        self.text_bytes += bytes;
        if self.text_bytes > TEXT_BYTES_MAX {
            return Err(too_many("bytes of text", TEXT_BYTES_MAX));
        }
        Ok(())
    }

    /// The batch.
    ///
    /// # Errors
    /// The request held no stream, not even an empty one.
    pub fn finish(self) -> Result<PushBatch, PushError> {
        assert_eq!(self.open, self.batch.entries.len(), "each entry belongs to a stream");
        match self.streams_seen {
            0 => Err(PushError::no_streams()),
            _ => Ok(self.batch),
        }
    }
}
