//! One day of the index: what may change it, each as one transaction.

use std::collections::BTreeSet;
use std::path::Path;

use heed::RwTxn;

use super::IndexError;
use super::anew;
use super::calendar::Day;
use super::chunks::{self, ChunkRecord};
use super::covers::{self, Cover};
use super::env::{Env, Tables};
use super::flushed::{self, FlushMark};
use super::lost;
use super::packs::{self, PackId, PackRecord, PackState, Place};
use super::reach::{self, Arcs};
use super::snapshot::Snapshot;
use super::streams::{self, StreamRecord};
use crate::stream::{Labels, StreamId};
use crate::wal::WalId;

const SCHEMA_KEY: &[u8] = b"schema";
const INCOMPLETE_KEY: &[u8] = b"incomplete";
/// Before the key of an object that is to be deleted; the value is when it was given up, ns, little endian.
const GIVEN_UP_PREFIX: &[u8] = b"given up/";
/// Before the id of a pack that is not to come back; the value is the id of the pack that took its place, or zero.
const GONE_PREFIX: &[u8] = b"gone/";
/// Raised when tables or keys change. The index is a cache, so any other version is rebuilt, not migrated.
const SCHEMA: &[u8] = &[1];

/// A pack that is durable and is now to be found.
#[derive(Clone, Debug)]
pub struct NewPack {
    /// Names it.
    pub id: PackId,
    /// What it is.
    pub record: PackRecord,
    /// What it holds.
    pub streams: Vec<NewStream>,
    /// What may leave the write-ahead log once this is committed.
    pub marks: Vec<FlushMark>,
    /// Which pushes it covers, and now, ns since 1970. Nothing on a node that is alone.
    pub covers: (i64, Vec<Cover>),
    /// The tokens beyond which streams were left out; none if none was.
    pub within: Option<Arcs>,
}

impl NewPack {
    /// Leaves out the streams whose tokens lie beyond these arcs: another node's index has them.
    pub fn keep_within(&mut self, arcs: Arcs) {
        let keep = |stream: StreamId| reach::holds(&arcs, stream.token());
        let all = self.streams.len();
        self.streams.retain(|stream| keep(stream.id));
        self.covers.1.retain(|cover| keep(cover.stream));
        if self.streams.len() < all {
            self.within = Some(arcs);
        }
    }
}

/// A stream of a new pack.
#[derive(Clone, Debug)]
pub struct NewStream {
    /// Names it.
    pub id: StreamId,
    /// Its labels.
    pub labels: Labels,
    /// Its chunks in that pack: at least one.
    pub chunks: Vec<ChunkRecord>,
}

/// The index of one UTC day. Calls block: LMDB reads from disk, and a write syncs it.
pub struct DayIndex {
    day: Day,
    pub(super) env: Env,
}

impl DayIndex {
    pub(super) fn open(day: Day, path: &Path, map_bytes: usize) -> Result<Self, IndexError> {
        let env = Env::open(path, map_bytes)?;
        env.write(|tables, txn| match tables.meta.get(txn, SCHEMA_KEY)? {
            Some(SCHEMA) => Ok(()),
            Some(other) => Err(IndexError::Corrupt {
                what: "schema",
                reason: format!("its version is `{other:?}`, not `{SCHEMA:?}`"),
            }),
            None => Ok(tables.meta.put(txn, SCHEMA_KEY, SCHEMA)?),
        })?;
        Ok(DayIndex { day, env })
    }

    /// Which day it is.
    pub fn day(&self) -> Day {
        self.day
    }

    /// Runs a function on one snapshot. It must not call this day's methods, and should not take long: what it
    /// sees cannot be overwritten meanwhile, and the environment cannot grow.
    pub fn read<R>(
        &self,
        read: impl FnOnce(&Snapshot<'_>) -> Result<R, IndexError>,
    ) -> Result<R, IndexError> {
        self.env.read(|tables, txn| read(&Snapshot { tables: *tables, txn }))
    }

    /// Makes a durable pack visible, with its streams, postings, chunks and flush marks. Doing it twice is the
    /// same as once.
    ///
    /// # Errors
    /// [`IndexError::Invalid`] when the parts contradict one another or the day. Nothing is written then.
    pub fn add_pack(&self, pack: &NewPack) -> Result<(), IndexError> {
        self.replace_packs(&[], pack, 0)
    }

    /// Adds streams that were left out of a pack before. Does nothing where the pack is not known (any more).
    ///
    /// # Errors
    /// As [`Self::add_pack`].
    pub fn add_streams(&self, pack: &NewPack) -> Result<(), IndexError> {
        self.validate(pack)?;
        self.env.write(|tables, txn| match packs::get(tables.packs, txn, pack.id)? {
            Some(known) => add(tables, txn, pack, known.arrival),
            None => Ok(()),
        })
    }

    /// Puts one pack in the place of others, as after a merge: no reader sees an entry twice or not at all. The
    /// others' objects are [given up](Self::given_up) at the moment `now`.
    pub fn replace_packs(&self, old: &[PackId], pack: &NewPack, now: i64) -> Result<(), IndexError> {
        self.validate(pack)?;
        self.env.write(|tables, txn| {
            let arrival = arrival_of(tables, txn, old, pack.id)?;
            add(tables, txn, pack, arrival)?;
            for &id in old.iter().filter(|&&id| id != pack.id) {
                give_up(tables, txn, id, now, pack.id)?;
            }
            Ok(())
        })
    }

    /// Removes packs that retention or a person has deleted, and the streams left without chunks. Their objects
    /// are [given up](Self::given_up) at the moment `now`. Returns how many packs there were.
    pub fn remove_packs(&self, ids: &[PackId], now: i64) -> Result<usize, IndexError> {
        self.env.write(|tables, txn| {
            let mut removed = 0;
            for &id in ids {
                removed += usize::from(give_up(tables, txn, id, now, NO_PACK)?);
            }
            Ok(removed)
        })
    }

    /// Takes streams out of the index while their packs still hold them. Returns how many there were.
    pub fn hide_streams(&self, tenant: &str, ids: &[StreamId]) -> Result<usize, IndexError> {
        self.env.write(|tables, txn| {
            let mut hidden = 0;
            for &id in ids {
                hidden += usize::from(packs::hide_stream(tables, txn, tenant, id)?);
            }
            Ok(hidden)
        })
    }

    /// The keys of objects that no query needs any more, and when each was given up (ns since 1970): to be deleted
    /// once queries that began before are over. Survives a restart.
    pub fn given_up(&self) -> Result<Vec<(String, i64)>, IndexError> {
        self.env.read(|tables, txn| {
            let mut all = Vec::new();
            for entry in tables.meta.prefix_iter(txn, GIVEN_UP_PREFIX)? {
                let (key, value) = entry?;
                let when = value.try_into().map(i64::from_le_bytes).map_err(|_| IndexError::Corrupt {
                    what: "object given up",
                    reason: format!("its time has `{}` bytes", value.len()),
                })?;
                all.push((String::from_utf8_lossy(&key[GIVEN_UP_PREFIX.len()..]).into_owned(), when));
            }
            Ok(all)
        })
    }

    /// Gives up objects at the moment `now` that no pack of this index is: they are back in the chunk store, and another
    /// pack holds what is in them.
    pub fn give_up_objects(&self, object_keys: &[String], now: i64) -> Result<(), IndexError> {
        self.env.write(|tables, txn| {
            object_keys
                .iter()
                .try_for_each(|key| Ok(tables.meta.put(txn, &given_up_key(key), &now.to_le_bytes())?))
        })
    }

    /// The packs that are not to come back, and the pack that took the place of each, if one did.
    pub fn gone(&self) -> Result<Vec<(PackId, Option<PackId>)>, IndexError> {
        self.env.read(|tables, txn| {
            let mut all = Vec::new();
            for entry in tables.meta.prefix_iter(txn, GONE_PREFIX)? {
                let (key, value) = entry?;
                let id = |bytes: &[u8]| bytes.try_into().map(u128::from_be_bytes).map(PackId).ok();
                let parts = id(&key[GONE_PREFIX.len()..]).zip(id(value));
                let (gone, by) = parts.ok_or_else(|| IndexError::Corrupt {
                    what: "pack that is gone",
                    reason: format!("its place is taken by `{value:02x?}`"),
                })?;
                all.push((gone, (by != NO_PACK).then_some(by)));
            }
            Ok(all)
        })
    }

    /// Notes that packs are not to come back, since one took their place; those that are known are given up at the
    /// moment `now`.
    pub fn set_gone(&self, old: &[PackId], by: Option<PackId>, now: i64) -> Result<(), IndexError> {
        let by = by.unwrap_or(NO_PACK);
        self.env.write(|tables, txn| {
            old.iter().filter(|id| **id != by).try_for_each(|id| give_up(tables, txn, *id, now, by).map(drop))
        })
    }

    /// The tokens for which the index has every stream of the packs it knows; none if it has all streams.
    ///
    /// # Errors
    /// The index cannot be read.
    pub fn reach(&self) -> Result<Option<Arcs>, IndexError> {
        self.env.read(reach::get)
    }

    /// Notes that every pack among `seen` has been added with all its streams within these arcs. Where packs are known
    /// that are not among them, nothing is noted, and they are returned: they are to be added so as well.
    ///
    /// # Errors
    /// The index cannot be read or written.
    pub fn widen(&self, arcs: &[(u64, u64)], seen: &BTreeSet<PackId>) -> Result<Vec<PackId>, IndexError> {
        self.env.write(|tables, txn| {
            let mut unseen = Vec::new();
            packs::each(tables.packs, txn, |id, _| {
                if !seen.contains(&id) {
                    unseen.push(id);
                }
            })?;
            if unseen.is_empty() {
                reach::put(tables, txn, arcs)?;
            }
            Ok(unseen)
        })
    }

    /// Forgets objects that were given up and have been deleted.
    pub fn forget_given_up(&self, object_keys: &[String]) -> Result<(), IndexError> {
        self.env.write(|tables, txn| {
            for key in object_keys {
                tables.meta.delete(txn, &given_up_key(key))?;
            }
            Ok(())
        })
    }

    /// Notes that a pack is in the chunk store. Returns whether the pack is known.
    pub fn mark_shipped(&self, id: PackId) -> Result<bool, IndexError> {
        self.set_state(id, PackState::Shipped)
    }

    fn set_state(&self, id: PackId, state: PackState) -> Result<bool, IndexError> {
        self.env.write(|tables, txn| {
            let Some(record) = packs::get(tables.packs, txn, id)? else { return Ok(false) };
            packs::put(tables.packs, txn, id, &PackRecord { state, ..record })?;
            Ok(true)
        })
    }

    /// Notes that a pack is in the spool, whatever was noted before: it came back from elsewhere and is to be shipped anew.
    /// Returns whether the pack is known.
    pub fn mark_spooled(&self, id: PackId) -> Result<bool, IndexError> {
        self.set_state(id, PackState::Spooled)
    }

    /// Raises flush marks for entries that packs indexed before already cover.
    pub fn raise_marks(&self, tenant: &str, marks: &[FlushMark]) -> Result<(), IndexError> {
        self.env.write(|tables, txn| {
            marks.iter().try_for_each(|mark| flushed::raise(tables.flushed, txn, tenant, mark))
        })
    }

    /// Notes more pushes that a pack covers, at the moment `now`.
    pub fn add_covers(
        &self,
        tenant: &str,
        pack: PackId,
        now: i64,
        covers: &[Cover],
    ) -> Result<(), IndexError> {
        self.env.write(|tables, txn| {
            covers.iter().try_for_each(|cover| covers::put(tables.covers, txn, pack, (tenant, now), cover))
        })
    }

    /// Forgets which pushes were covered by packs that were indexed before a moment. Returns how many notes there were.
    pub fn forget_covers(&self, before: i64) -> Result<usize, IndexError> {
        self.env.write(|tables, txn| covers::forget(tables.covers, txn, before))
    }

    /// Forgets the flush marks of logs that have no segment left. Returns how many there were.
    pub fn keep_marks_of(&self, logs: &[WalId]) -> Result<usize, IndexError> {
        self.env.write(|tables, txn| flushed::keep_only(tables.flushed, txn, logs))
    }

    /// Whether a rebuild was begun and not finished, so that packs may be missing.
    pub fn is_incomplete(&self) -> Result<bool, IndexError> {
        self.env.read(|tables, txn| Ok(tables.meta.get(txn, INCOMPLETE_KEY)?.is_some()))
    }

    /// Notes that packs may be missing, or that none is any more. Survives a restart.
    pub fn set_incomplete(&self, incomplete: bool) -> Result<(), IndexError> {
        self.env.write(|tables, txn| {
            match incomplete {
                true => tables.meta.put(txn, INCOMPLETE_KEY, &[])?,
                false => drop(tables.meta.delete(txn, INCOMPLETE_KEY)?),
            }
            Ok(())
        })
    }

    pub(super) fn close(&self) {
        self.env.close();
    }

    fn validate(&self, pack: &NewPack) -> Result<(), IndexError> {
        let invalid = |reason| Err(IndexError::Invalid { pack: pack.id, reason });
        let day = self.day.timestamps();
        for stream in &pack.streams {
            if stream.id != StreamId::of(&pack.record.tenant, &stream.labels) {
                return invalid(format!("stream `{}` does not have labels {}", stream.id, stream.labels));
            }
            if stream.chunks.is_empty() {
                return invalid(format!("stream `{}` has no chunk", stream.id));
            }
            for chunk in &stream.chunks {
                if chunk.pack != pack.id {
                    return invalid(format!("chunk `{}` belongs to pack `{}`", chunk.number, chunk.pack));
                }
                let in_order = chunk.first_ts <= chunk.last_ts;
                if !in_order || !day.contains(&chunk.first_ts) || !day.contains(&chunk.last_ts) {
                    let (first, last, day) = (chunk.first_ts, chunk.last_ts, self.day);
                    return invalid(format!("times `{first}` to `{last}` are not within {day}"));
                }
            }
        }
        Ok(())
    }
}

impl std::fmt::Debug for DayIndex {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DayIndex").field("day", &self.day).finish_non_exhaustive()
    }
}

/// The arrival of a pack: its own if it is known, else that of the first pack it replaces, else the next.
fn arrival_of(tables: &Tables, txn: &RwTxn<'_>, old: &[PackId], new: PackId) -> Result<u64, IndexError> {
    if let Some(known) = packs::get(tables.packs, txn, new)? {
        return Ok(known.arrival);
    }
    let (mut last, mut replaced) = (0, None);
    packs::each(tables.packs, txn, |id, record| {
        last = last.max(record.arrival);
        if old.contains(&id) {
            replaced = Some(replaced.map_or(record.arrival, |first: u64| first.min(record.arrival)));
        }
    })?;
    Ok(replaced.unwrap_or(last + 1))
}

fn given_up_key(object_key: &str) -> Vec<u8> {
    [GIVEN_UP_PREFIX, object_key.as_bytes()].concat()
}

/// In the place of a pack that nothing took the place of.
const NO_PACK: PackId = PackId(0);

pub(super) fn gone_key(id: PackId) -> Vec<u8> {
    [GONE_PREFIX, &id.0.to_be_bytes()].concat()
}

fn give_up(
    tables: &Tables,
    txn: &mut RwTxn<'_>,
    id: PackId,
    now: i64,
    by: PackId,
) -> Result<bool, IndexError> {
    tables.meta.put(txn, &gone_key(id), &by.0.to_be_bytes())?;
    lost::forget(tables, txn, id)?;
    anew::forget(tables, txn, id)?;
    let Some(record) = packs::delete(tables, txn, id)? else { return Ok(false) };
    tables.meta.put(txn, &given_up_key(&record.object_key), &now.to_le_bytes())?;
    Ok(true)
}

fn add(tables: &Tables, txn: &mut RwTxn<'_>, pack: &NewPack, arrival: u64) -> Result<(), IndexError> {
    let tenant = &pack.record.tenant;
    // The same bytes may come again: what was given up under this name is wanted now.
    tables.meta.delete(txn, &given_up_key(&pack.record.object_key))?;
    tables.meta.delete(txn, &gone_key(pack.id))?;
    lost::forget(tables, txn, pack.id)?;
    if let Some(within) = &pack.within {
        reach::narrow(tables, txn, within)?;
    }
    for stream in &pack.streams {
        let NewStream { id, labels, chunks } = stream;
        for chunk in chunks {
            chunks::put(tables.chunks, txn, tenant, *id, chunk)?;
            let place = Place { stream: *id, first_ts: chunk.first_ts, number: chunk.number };
            packs::add_place(tables.contents, txn, pack.id, &place)?;
        }
        let first_ts = chunks.iter().map(|chunk| chunk.first_ts).min();
        let last_ts = chunks.iter().map(|chunk| chunk.last_ts).max();
        if let (Some(first_ts), Some(last_ts)) = (first_ts, last_ts) {
            let record = StreamRecord { id: *id, labels: labels.clone(), first_ts, last_ts };
            streams::put(tables, txn, tenant, &record)?;
        }
    }
    let mut record = PackRecord { arrival, ..pack.record.clone() };
    if let Some(known) = packs::get(tables.packs, txn, pack.id)? {
        record.state = record.state.max(known.state); // What was shipped stays shipped.
    }
    packs::put(tables.packs, txn, pack.id, &record)?;
    let (now, covers) = &pack.covers;
    covers.iter().try_for_each(|cover| covers::put(tables.covers, txn, pack.id, (tenant, *now), cover))?;
    pack.marks.iter().try_for_each(|mark| flushed::raise(tables.flushed, txn, tenant, mark))
}
