//! All heads of a node, by tenant, stream and day.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, RwLock};
use std::time::Duration;

use grapevine_storage::atom::PushId;
use grapevine_storage::head::{Appended, Head, Parcel, Source};
use grapevine_storage::index::Day;
use grapevine_storage::stream::StreamId;
use grapevine_storage::wal::{Mark, SegmentRef, Sequence, WalId};

use super::waiting::WaitingPush;
use crate::push::batch::{DayRun, PushBatch, PushStream};
use crate::push::error::PushError;
use crate::push::rejection::stream_limit;

/// Names a head.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct HeadKey {
    /// Whose.
    pub tenant: Arc<str>,
    /// On which UTC day.
    pub day: Day,
    /// Of which stream.
    pub id: StreamId,
}

/// Every head of the node.
#[derive(Debug, Default)]
pub struct Heads {
    heads: RwLock<BTreeMap<HeadKey, Arc<Head>>>,
    created: AtomicU64,
}

/// Where a batch stands in the log.
#[derive(Clone, Copy, Debug)]
pub struct LogPlace<'a> {
    /// The log.
    pub wal: WalId,
    /// The record.
    pub sequence: Sequence,
    /// The record's segment.
    pub segment: &'a SegmentRef,
    /// Now, on the monotonic clock.
    pub now: Duration,
    /// The push's name in the cluster; none on a node that is alone, which need not tell pushes apart.
    pub push: Option<PushId>,
}

/// How far each stream is covered by packs already, asked once a stream and day: what a replay leaves out.
pub type Covered<'a> = dyn Fn(&HeadKey, WalId) -> Mark + 'a;

/// Why the map's locks cannot be poisoned.
const POISON: &str = "no one panics with the map of heads locked";

impl Heads {
    /// No heads.
    pub fn new() -> Self {
        Heads::default()
    }

    /// Appends every entry of a batch that packs do not cover, in order. Gives back the heads that have a full
    /// block now, one for each such block.
    pub fn append(
        &self,
        tenant: &Arc<str>,
        batch: &PushBatch,
        place: LogPlace<'_>,
        covered: Option<&Covered<'_>>,
    ) -> Vec<Arc<Head>> {
        let mut full = Vec::new();
        let mut ordinal = 0;
        for (stream, run) in batch.runs() {
            let key = HeadKey { tenant: tenant.clone(), day: run.day, id: stream.id() };
            let packed = covered.map_or(Mark::default(), |covered| covered(&key, place.wal));
            ordinal = self.append_run((batch, stream, &run), &key, (place, ordinal, packed), &mut full);
        }
        full
    }

    /// Takes in a new push that others hold as well: what `packs` says that this node packs goes into blocks, the rest
    /// waits as it came. Gives back what [`Heads::append`] does.
    pub fn take_in(
        &self,
        tenant: &Arc<str>,
        batch: &PushBatch,
        place: LogPlace<'_>,
        (waiting, packs): (&Arc<WaitingPush>, &dyn Fn(StreamId) -> bool),
    ) -> Vec<Arc<Head>> {
        let mut full = Vec::new();
        let mut before = Mark { sequence: place.sequence, entries: 0 };
        for (part, (stream, run)) in (0..).zip(batch.runs()) {
            let key = HeadKey { tenant: tenant.clone(), day: run.day, id: stream.id() };
            let is_ours = packs(stream.id());
            let parcel = || waiting.parcel(batch, &run, part, before);
            before.entries = match self.park(&key, stream, is_ours, place, parcel) {
                Some(entries) => before.entries + entries,
                None => {
                    let place = (place, before.entries, Mark::default());
                    self.append_run((batch, stream, &run), &key, place, &mut full)
                }
            };
        }
        full
    }

    /// Lets a run of entries wait as it came, and says how many those are; none if they are to go into blocks. What is
    /// ours waits too while something before it does: entries keep their order.
    fn park(
        &self,
        key: &HeadKey,
        stream: &PushStream,
        is_ours: bool,
        LogPlace { wal, segment, now, push, .. }: LogPlace<'_>,
        parcel: impl Fn() -> Parcel,
    ) -> Option<u32> {
        loop {
            let head = self.head(key, stream.labels());
            if is_ours && !head.has_parked() {
                return None;
            }
            let parcel = parcel();
            let entries = parcel.extent.entries as u32;
            if head.park(parcel, Source { wal, segment, now, push }) {
                return Some(entries);
            }
        }
    }

    /// Appends a run of entries before which so many of the push stand, and says before how many the next stand. What is
    /// `packed` is left out.
    fn append_run(
        &self,
        (batch, stream, run): (&PushBatch, &PushStream, &DayRun),
        key: &HeadKey,
        (place, before, packed): (LogPlace<'_>, u32, Mark),
        full: &mut Vec<Arc<Head>>,
    ) -> u32 {
        let LogPlace { wal, sequence, segment, now, push } = place;
        let mut mark = Mark { sequence, entries: before };
        loop {
            let head = self.head(key, stream.labels());
            // Retired since it was looked up, it is in the map no more.
            let Some(mut appending) = head.appending(Source { wal, segment, now, push }) else { continue };
            batch.for_each_in_run(run, |entry| {
                mark.entries += 1;
                if mark <= packed {
                    return;
                }
                match appending.append(&entry, mark) {
                    Appended::Taken => {}
                    Appended::TakenAndFull => full.push(head.clone()),
                    // Limits are far below it; a line so large can only come from a log written under limits that no
                    // release has had.
                    Appended::TooLarge => {
                        tracing::error!(stream = %stream.labels(), bytes = entry.line.len(), "an entry is too large for a block and is left out");
                    }
                }
            });
            return mark.entries;
        }
    }

    fn head(&self, key: &HeadKey, labels: &grapevine_storage::stream::Labels) -> Arc<Head> {
        if let Some(head) = self.heads.read().expect(POISON).get(key) {
            return head.clone();
        }
        let mut heads = self.heads.write().expect(POISON);
        let new = || {
            self.created.fetch_add(1, Ordering::Relaxed);
            Arc::new(Head::new(key.tenant.clone(), labels.clone(), key.id))
        };
        heads.entry(key.clone()).or_insert_with(new).clone()
    }

    /// A head, if there is one.
    pub fn get(&self, key: &HeadKey) -> Option<Arc<Head>> {
        self.heads.read().expect(POISON).get(key).cloned()
    }

    /// Every head, in the order of the keys.
    pub fn all(&self) -> Vec<(HeadKey, Arc<Head>)> {
        let heads = self.heads.read().expect(POISON);
        heads.iter().map(|(key, head)| (key.clone(), head.clone())).collect()
    }

    /// The heads of a tenant on days from `first` to `last`, both inclusive.
    pub fn of_tenant(&self, tenant: &str, first: Day, last: Day) -> Vec<Arc<Head>> {
        let tenant: Arc<str> = tenant.into();
        let from = HeadKey { tenant: tenant.clone(), day: first, id: StreamId(0) };
        let to = HeadKey { tenant, day: last, id: StreamId(u128::MAX) };
        if from > to {
            return Vec::new();
        }
        self.heads.read().expect(POISON).range(from..=to).map(|(_, head)| head.clone()).collect()
    }

    /// The newest timestamp in any head of a stream.
    pub fn newest(&self, tenant: &str, stream: StreamId) -> Option<i64> {
        let heads = self.of_tenant(tenant, Day(i32::MIN), Day(i32::MAX));
        let own = heads.iter().filter(|head| head.id == stream);
        own.filter_map(|head| head.time_range()).map(|(_, last)| last).max()
    }

    /// Checks that a batch brings no stream that would be one too many for its tenant.
    ///
    /// # Errors
    /// The 429 for the first such stream; nothing of the batch is to be stored.
    pub fn admit_streams(&self, batch: &PushBatch, tenant: &str, most: usize) -> Result<(), PushError> {
        let mut active: BTreeSet<StreamId> =
            self.of_tenant(tenant, Day(i32::MIN), Day(i32::MAX)).iter().map(|head| head.id).collect();
        for stream in batch.streams() {
            if active.insert(stream.id()) && active.len() > most {
                return Err(stream_limit(tenant, stream.named()));
            }
        }
        Ok(())
    }

    /// How many heads there are: streams, each day counted apart.
    pub fn len(&self) -> usize {
        self.heads.read().expect(POISON).len()
    }

    /// How many heads there have been since the process started.
    pub fn created(&self) -> u64 {
        self.created.load(Ordering::Relaxed)
    }

    /// Whether there is no head.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Removes the heads that hold nothing.
    pub fn retire_empty(&self) {
        self.heads.write().expect(POISON).retain(|_, head| !head.retire_if_empty());
    }
}
