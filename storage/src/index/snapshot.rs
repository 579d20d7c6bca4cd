//! Reading a day: every answer of one snapshot stems from the same moment.

use std::collections::BTreeSet;

use heed::RoTxn;

use super::chunks::{self, ChunkRecord};
use super::covers::{self, KnownCover};
use super::env::Tables;
use super::matcher::{Matcher, all_match, candidates};
use super::packs::{self, PackId, PackRecord};
use super::streams::{self, StreamRecord, StreamValue};
use super::{IndexError, TimeRange, codec, flushed, postings};
use crate::stream::StreamId;
use crate::wal::{Mark, WalId};

/// One moment of a day's index.
pub struct Snapshot<'t> {
    pub(super) tables: Tables,
    pub(super) txn: &'t RoTxn<'t>,
}

impl Snapshot<'_> {
    /// The streams that meet all conditions and may have chunks in the range, by id.
    ///
    /// # Errors
    /// [`IndexError::TooMany`] when there are more than `limit`.
    pub fn select(
        &self,
        tenant: &str,
        matchers: &[Matcher],
        range: TimeRange,
        limit: usize,
    ) -> Result<Vec<StreamRecord>, IndexError> {
        let mut selected = Vec::new();
        self.each(tenant, matchers, range, |id, stream| {
            if selected.len() == limit {
                return Err(IndexError::TooMany { what: "streams", limit });
            }
            selected.push(stream.into_record(id));
            Ok(())
        })?;
        Ok(selected)
    }

    /// One stream, by id.
    pub fn stream(&self, tenant: &str, id: StreamId) -> Result<Option<StreamRecord>, IndexError> {
        let value = streams::get(self.tables.streams, self.txn, tenant, id)?;
        Ok(value.map(|value| value.into_record(id)))
    }

    /// The names of labels. Without conditions these are all names of the day, whatever the range.
    ///
    /// # Errors
    /// [`IndexError::TooMany`] when there are more than `limit`.
    pub fn label_names(
        &self,
        tenant: &str,
        matchers: &[Matcher],
        range: TimeRange,
        limit: usize,
    ) -> Result<BTreeSet<String>, IndexError> {
        let mut names = BTreeSet::new();
        if matchers.is_empty() {
            postings::names(&self.tables, self.txn, tenant, &mut names)?;
        } else {
            self.each(tenant, matchers, range, |_, stream| {
                stream.labels.iter().try_for_each(|(name, _)| insert(&mut names, name, "label names", limit))
            })?;
        }
        match names.len() > limit {
            true => Err(IndexError::TooMany { what: "label names", limit }),
            false => Ok(names),
        }
    }

    /// The values of a label. Without conditions these are all values of the day, whatever the range.
    ///
    /// # Errors
    /// [`IndexError::TooMany`] when there are more than `limit`.
    pub fn label_values(
        &self,
        tenant: &str,
        name: &str,
        matchers: &[Matcher],
        range: TimeRange,
        limit: usize,
    ) -> Result<BTreeSet<String>, IndexError> {
        let mut values = BTreeSet::new();
        let mut take = |value: &str| insert(&mut values, value, "label values", limit);
        if matchers.is_empty() {
            postings::each_value(&self.tables, self.txn, tenant, name, |value, _| take(value))?;
        } else {
            self.each(tenant, matchers, range, |_, stream| stream.get(name).map_or(Ok(()), &mut take))?;
        }
        Ok(values)
    }

    /// The chunks of a stream that overlap the range, by first timestamp.
    pub fn chunks_of(
        &self,
        tenant: &str,
        stream: StreamId,
        range: TimeRange,
    ) -> Result<Vec<ChunkRecord>, IndexError> {
        chunks::of_stream(self.tables.chunks, self.txn, tenant, stream, range.first, range.last)
    }

    /// A pack, by id.
    pub fn pack(&self, id: PackId) -> Result<Option<PackRecord>, IndexError> {
        packs::get(self.tables.packs, self.txn, id)
    }

    /// All packs of the day, by id. There are at most some thousands: merging keeps them few.
    pub fn packs(&self) -> Result<Vec<(PackId, PackRecord)>, IndexError> {
        let mut all = Vec::new();
        packs::each(self.tables.packs, self.txn, |id, record| all.push((id, record)))?;
        Ok(all)
    }

    /// The streams of a pack that are to be found, ascending, and the compressed bytes of their text in it: fewer
    /// than the pack holds where streams were [hidden](super::DayIndex::hide_streams).
    pub fn contents(&self, id: PackId) -> Result<Vec<(StreamId, u64)>, IndexError> {
        let Some(record) = self.pack(id)? else { return Ok(Vec::new()) };
        packs::contents(&self.tables, self.txn, id, &record.tenant)
    }

    /// How far into a log a stream is in packs; before every record if no flush has covered any.
    pub fn flushed(&self, wal_id: WalId, tenant: &str, stream: StreamId) -> Result<Mark, IndexError> {
        flushed::get(self.tables.flushed, self.txn, wal_id, tenant, stream)
    }

    /// Which pushes are known to be covered, by one pack or by all.
    pub fn covers(&self, pack: Option<PackId>) -> Result<Vec<KnownCover>, IndexError> {
        let mut all = Vec::new();
        covers::each(self.tables.covers, self.txn, pack, |cover| all.push(cover))?;
        Ok(all)
    }

    /// What one pack covers of each stream, as [`PushSet::to_bytes`](crate::atom::PushSet::to_bytes) wrote it.
    pub fn covers_of(&self, pack: PackId, on_cover: impl FnMut(StreamId, &[u8])) -> Result<(), IndexError> {
        covers::each_of(self.tables.covers, self.txn, pack, on_cover)
    }

    /// How many streams the day has, of all tenants.
    pub fn stream_count(&self) -> Result<u64, IndexError> {
        Ok(self.tables.streams.len(self.txn)?)
    }

    /// Decodes every stream, chunk and pack.
    ///
    /// # Errors
    /// [`IndexError::Corrupt`] for the first that cannot be read: set the day aside and rebuild it.
    pub fn check(&self) -> Result<(), IndexError> {
        for entry in self.tables.streams.iter(self.txn)? {
            codec::decode::<StreamValue<'_>>(entry?.1)?;
        }
        for entry in self.tables.chunks.iter(self.txn)? {
            let (key, value) = entry?;
            chunks::decode(key, value)?;
        }
        packs::each(self.tables.packs, self.txn, |_, _| ())
    }

    fn each(
        &self,
        tenant: &str,
        matchers: &[Matcher],
        range: TimeRange,
        mut on_stream: impl FnMut(StreamId, StreamValue<'_>) -> Result<(), IndexError>,
    ) -> Result<(), IndexError> {
        for id in candidates(&self.tables, self.txn, tenant, matchers)? {
            let stream = streams::get(self.tables.streams, self.txn, tenant, id)?;
            let fits = |stream: &StreamValue<'_>| {
                stream.overlaps(range.first, range.last) && all_match(matchers, stream)
            };
            if let Some(stream) = stream.filter(fits) {
                on_stream(id, stream)?;
            }
        }
        Ok(())
    }
}

impl std::fmt::Debug for Snapshot<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Snapshot").field("txn", &self.txn.id()).finish_non_exhaustive()
    }
}

fn insert(
    set: &mut BTreeSet<String>,
    text: &str,
    what: &'static str,
    limit: usize,
) -> Result<(), IndexError> {
    if !set.contains(text) {
        if set.len() == limit {
            return Err(IndexError::TooMany { what, limit });
        }
        set.insert(text.to_owned());
    }
    Ok(())
}
