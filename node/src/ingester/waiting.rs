//! A push that waits as it came, packed, for the nodes that compress its streams.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use grapevine_storage::entry::EntryRef;
use grapevine_storage::head::{Packed, Parcel};
use grapevine_storage::wal::Mark;

use crate::push::batch::{DayRun, PushBatch};
use crate::push::stream_cache::StreamCache;
use crate::push::wal::WalPayload;

/// Bytes of waiting pushes that are kept unpacked once one head wanted to see its part, since the others mostly follow.
/// Beyond it a push is unpacked again for each head.
const UNPACKED_BYTES_MAX: u64 = 128 << 20;

/// What all waiting pushes of a node share.
#[derive(Debug)]
pub struct Unpacking {
    cache: StreamCache,
    /// Bytes of pushes that are kept unpacked, and the most that may be.
    kept: AtomicU64,
    most: u64,
}

impl Default for Unpacking {
    fn default() -> Self {
        Unpacking { cache: StreamCache::default(), kept: AtomicU64::new(0), most: UNPACKED_BYTES_MAX }
    }
}

/// A push as the log has it.
pub struct WaitingPush {
    tenant: Arc<str>,
    shared: Arc<Unpacking>,
    /// Bytes of the payload, and of the text it was made from.
    size: (u64, u64),
    content: Mutex<Content>,
}

enum Content {
    Packed(WalPayload),
    Unpacked(Arc<PushBatch>),
}

impl WaitingPush {
    /// Keeps the payload of a batch.
    pub fn new(tenant: Arc<str>, batch: &PushBatch, payload: WalPayload, shared: Arc<Unpacking>) -> Self {
        let size = (payload.len() as u64, batch.text_len() as u64);
        WaitingPush { tenant, shared, size, content: Mutex::new(Content::Packed(payload)) }
    }

    /// A run of its entries, before which so many parts and entries of the push stand.
    pub fn parcel(self: &Arc<Self>, batch: &PushBatch, run: &DayRun, part: u32, before: Mark) -> Parcel {
        let extent = batch.extent(run);
        let (packed, text) = self.size;
        // Both are far below 2^32.
        let bytes = (extent.text_bytes * packed / text.max(1)).min(packed);
        Parcel { push: self.clone(), part, extent, bytes, before }
    }

    fn unpack(&self) -> Result<Arc<PushBatch>, String> {
        let mut content = self.content.lock().expect("no one panics with a waiting push locked");
        let payload = match &*content {
            Content::Unpacked(batch) => return Ok(batch.clone()),
            Content::Packed(payload) => payload.to_vec(),
        };
        let batch = PushBatch::from_wal(&self.tenant, payload.into(), &self.shared.cache);
        let batch = Arc::new(batch.map_err(|error| error.to_string())?.without_client_body());
        let bytes = batch.memory() as u64;
        if self.shared.kept.fetch_add(bytes, Ordering::Relaxed) + bytes <= self.shared.most {
            *content = Content::Unpacked(batch.clone());
        } else {
            self.shared.kept.fetch_sub(bytes, Ordering::Relaxed);
        }
        Ok(batch)
    }
}

impl Drop for WaitingPush {
    fn drop(&mut self) {
        if let Ok(Content::Unpacked(batch)) = self.content.get_mut() {
            self.shared.kept.fetch_sub(batch.memory() as u64, Ordering::Relaxed);
        }
    }
}

impl Packed for WaitingPush {
    fn visit(&self, part: u32, visit: &mut dyn FnMut(&EntryRef<'_>)) {
        let batch = match self.unpack() {
            Ok(batch) => batch,
            // It was read once before it was parked.
            Err(error) => {
                return tracing::error!(error, "a push that waits cannot be read; the log still has it");
            }
        };
        if let Some((_, run)) = batch.runs().nth(part as usize) {
            batch.for_each_in_run(&run, |entry| visit(&entry));
        }
    }
}

impl fmt::Debug for WaitingPush {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WaitingPush").field("tenant", &self.tenant).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::Ordering;
    use std::time::Duration;

    use grapevine_storage::atom::PushId;
    use grapevine_storage::stream::StreamId;
    use grapevine_storage::wal::{Options, Replayed, WalId, Writer};

    use super::{Content, Packed, Unpacking, WaitingPush};
    use crate::ingester::heads::{Heads, LogPlace};
    use crate::limits::Limits;
    use crate::push::batch::PushBatch;
    use crate::push::request::{Context, Endpoint, Headers, accept};
    use crate::push::stream_cache::StreamCache;

    const DAY: i64 = 86_400_000_000_000;
    const NOW: i64 = 20_000 * DAY + DAY / 2;

    /// Two streams over two days, to and fro, one of them twice.
    fn batch(push: u64) -> PushBatch {
        let values = |days: &[i64]| {
            let value = |(n, day): (usize, &i64)| {
                let at = NOW - day * DAY + n as i64;
                serde_json::json!([at.to_string(), format!("{push}/{days:?}/{n}"), {"k": format!("v{n}")}])
            };
            days.iter().enumerate().map(value).collect::<Vec<_>>()
        };
        let stream =
            |app: &str, days: &[i64]| serde_json::json!({"stream": {"app": app}, "values": values(days)});
        let streams = [stream("a", &[0, 1, 0, 0]), stream("b", &[1]), stream("a", &[1, 1])];
        let body = serde_json::json!({ "streams": streams }).to_string();
        let context =
            Context { tenant: "t", limits: &Limits::default(), cache: &StreamCache::default(), now: NOW };
        let headers =
            Headers { content_type: Some("application/json"), content_encoding: None, backfill_shard: None };
        accept(Endpoint::Loki, headers, &body.into(), &context).unwrap().0
    }

    /// What heads hold, line by line, and which pushes; `packs` says of which pushes they pack a stream.
    fn taken_in(packs: impl Fn(u64, StreamId) -> bool) -> String {
        let (heads, tenant) = (Heads::new(), Arc::from("t"));
        let dir = tempfile::tempdir().unwrap();
        let mut log = Writer::open(dir.path(), WalId(1), Options::default(), Replayed::default()).unwrap();
        for n in 0..3 {
            let batch = batch(n);
            let push = Some(PushId { origin: 1, sequence: n });
            let written = log.append(1, &[]).unwrap();
            let (sequence, segment) = (written.sequence, &written.segment);
            let place = LogPlace { wal: WalId(1), sequence, segment, now: Duration::ZERO, push };
            let waiting = Arc::new(WaitingPush::new("t".into(), &batch, batch.to_wal(), Arc::default()));
            heads.take_in(&tenant, &batch, place, (&waiting, &|stream| packs(n, stream)));
        }
        let mut seen = String::new();
        for (key, head) in heads.all() {
            seen.push_str(&format!("{key:?} {:?} {:?}\n", head.pushes(), head.time_range()));
            let mut entries = Vec::new();
            for block in head.snapshot(i64::MIN, i64::MAX).open {
                block.for_each(|entry| entries.push((entry.timestamp, format!("{entry:?}\n"))));
            }
            // As readers do with blocks that overlap.
            entries.sort_by_key(|(timestamp, _)| *timestamp);
            seen.extend(entries.into_iter().map(|(_, entry)| entry));
            let all = head.pushes().into_iter().collect();
            seen.push_str(&format!("{:?}\n", head.begin_leaving(&all)));
        }
        seen
    }

    #[test]
    fn pushes_are_kept_unpacked_within_a_bound() {
        let check = |most, expected: &[bool]| {
            let shared = Arc::new(Unpacking { most, ..Unpacking::default() });
            let wait = || {
                let batch = batch(1);
                Arc::new(WaitingPush::new("t".into(), &batch, batch.to_wal(), shared.clone()))
            };
            let waiting = [wait(), wait()];
            for (push, is_kept) in waiting.iter().zip(expected) {
                let mut entries = 0;
                push.visit(0, &mut |_| entries += 1);
                assert_eq!(entries, 1);
                let is_unpacked = matches!(*push.content.lock().unwrap(), Content::Unpacked(_));
                assert_eq!(is_unpacked, *is_kept);
            }
            drop(waiting);
            assert_eq!(shared.kept.load(Ordering::Relaxed), 0);
        };
        let bytes = batch(1).memory() as u64;
        check(0, &[false, false]);
        check(bytes * 3 / 2, &[true, false]);
        check(bytes * 3, &[true, true]);
    }

    #[test]
    fn what_waits_is_what_would_have_been_put_into_blocks() {
        let expected = taken_in(|_, _| true);
        assert_eq!(expected.lines().filter(|line| line.contains("EntryRef")).count(), 3 * 7);
        assert_eq!(taken_in(|_, _| false), expected);
        assert_eq!(taken_in(|push, _| push == 1), expected, "who becomes primary keeps the order");
        assert_eq!(taken_in(|push, stream| push == 0 || stream.0 % 2 == 0), expected);
    }
}
