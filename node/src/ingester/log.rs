//! Makes pushes durable, then visible: group commit.
//!
//! Pushes wait in a bounded queue. One at a time, groups of them are appended to the log, synced once and put
//! into the heads; then each client is answered. While the disk syncs, the next group gathers: the busier the
//! node, the more pushes share a sync.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use grapevine_storage::atom::PushId;
use grapevine_storage::head::Head;
use grapevine_storage::wal::{self, Mark, Record, Replayed, WalError, WalId, Writer};
use tokio::sync::oneshot;

use super::duty::Duty;
use super::followers::Followers;
use super::heads::{Covered, HeadKey, Heads, LogPlace};
use super::waiting::{Unpacking, WaitingPush};
use crate::metrics::Metrics;
use crate::planted::{self, Bug};
use crate::push::batch::PushBatch;
use crate::push::stream_cache::StreamCache;
use crate::push::wal::WalPayload;

/// The kind of record that holds a push.
const PUSH: u8 = 1;
/// The kind of record that holds a push of a cluster: origin u64 and sequence u64, little-endian, then as [`PUSH`].
const NAMED_PUSH: u8 = 2;
/// Pushes that share one sync at most: bounds how long the first of them waits.
pub const GROUP_MAX: usize = 64;

/// Why a push is not stored.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    /// No room on the disk.
    #[error("{0}")]
    DiskFull(String),
    /// The log cannot be written for another reason, or the record is too large.
    #[error("{0}")]
    Log(String),
    /// The node is shutting down.
    #[error("the node is shutting down; send this to another, or again later")]
    Closed,
}

impl From<&WalError> for AppendError {
    fn from(error: &WalError) -> Self {
        let mut text = error.to_string();
        if let Some(cause) = std::error::Error::source(error) {
            text.push_str(&format!(": {cause}"));
        }
        match error {
            WalError::DiskFull { .. } => AppendError::DiskFull(text),
            _ => AppendError::Log(text),
        }
    }
}

/// A push on its way into the log.
#[derive(Debug)]
pub struct Pending {
    /// Whose it is.
    pub tenant: Arc<str>,
    /// Its name in the cluster; none on a node that is alone.
    pub push: Option<PushId>,
    /// What is to be kept: validated, not empty.
    pub batch: PushBatch,
    /// Told when it is durable and visible, or why it is neither.
    pub done: oneshot::Sender<Result<(), AppendError>>,
}

/// The log and what it feeds. Used by one piece of work at a time.
#[derive(Debug)]
pub struct Log {
    writer: Writer,
    heads: Arc<Heads>,
    followers: Arc<Followers>,
    metrics: Arc<Metrics>,
    duty: Arc<dyn Duty>,
    unpacking: Arc<Unpacking>,
}

/// How long the log is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogSize {
    /// Bytes of all segments.
    pub bytes: u64,
    /// The newest segment there is.
    pub newest_segment: u64,
}

impl Log {
    /// Continues a log that has been replayed.
    ///
    /// # Errors
    /// See [`Writer::open`].
    pub fn open(
        dir: &Path,
        id: WalId,
        options: wal::Options,
        replayed: Replayed,
        heads: Arc<Heads>,
        followers: Arc<Followers>,
        (metrics, duty): (Arc<Metrics>, Arc<dyn Duty>),
    ) -> Result<Self, WalError> {
        let writer = Writer::open(dir, id, options, replayed)?;
        Ok(Log { writer, heads, followers, metrics, duty, unpacking: Arc::default() })
    }

    /// Appends a group, syncs once, makes it visible and answers each client. Gives back the heads that have a
    /// full block now, one for each such block.
    pub fn append(&mut self, group: Vec<Pending>, now: Duration) -> Vec<Arc<Head>> {
        let mut written = Vec::with_capacity(group.len());
        for pending in group {
            let payload = pending.batch.to_wal();
            let tenant = pending.tenant.as_bytes();
            let length = u16::try_from(tenant.len()).expect("a tenant's name has at most 150 bytes");
            let name = pending.push.map(name_bytes);
            let (kind, name) = name.as_ref().map_or((PUSH, &[][..]), |name| (NAMED_PUSH, &name[..]));
            let parts = [name, &length.to_le_bytes(), tenant, &payload.prelude, &payload.body];
            match self.writer.append(kind, &parts) {
                Ok(appended) => written.push((pending, payload, appended)),
                Err(error) => answer(pending.done, Err(AppendError::from(&error))),
            }
        }
        let is_synced = match planted::is(Bug::AnswersUnsynced) {
            true => Ok(()),
            false => self.writer.sync(),
        };
        if let Err(error) = is_synced {
            tracing::error!(%error, pushes = written.len(), "the write-ahead log cannot be synced; the pushes are refused");
            let refused = AppendError::from(&error);
            written.into_iter().for_each(|(pending, ..)| answer(pending.done, Err(refused.clone())));
            return Vec::new();
        }
        self.metrics.wal_syncs.inc();
        let mut full = Vec::new();
        for (pending, payload, appended) in written {
            let wal = self.writer.wal_id();
            let (sequence, segment, push) = (appended.sequence, &appended.segment, pending.push);
            let place = LogPlace { wal, sequence, segment, now, push };
            full.extend(match self.duty.names_pushes() {
                true => self.take_in(&pending, payload, place),
                false => self.heads.append(&pending.tenant, &pending.batch, place, None),
            });
            answer(pending.done, Ok(()));
            self.followers.publish(&pending.tenant, pending.batch);
        }
        full
    }

    fn take_in(&self, pending: &Pending, payload: WalPayload, place: LogPlace<'_>) -> Vec<Arc<Head>> {
        let Pending { tenant, batch, .. } = pending;
        let waiting = Arc::new(WaitingPush::new(tenant.clone(), batch, payload, self.unpacking.clone()));
        self.heads.take_in(tenant, batch, place, (&waiting, &|stream| self.duty.packs(stream)))
    }

    /// Closes the segment being written, so that it can go once nothing refers to it.
    pub fn seal(&mut self) {
        self.writer.seal();
    }

    /// Deletes the segments that no head refers to, and says how long the log is then.
    pub fn reclaim(&mut self) -> LogSize {
        if let Err(error) = self.writer.reclaim() {
            tracing::warn!(%error, "old segments of the write-ahead log cannot be deleted; they are kept");
        }
        self.size()
    }

    /// How long the log is.
    pub fn size(&self) -> LogSize {
        let bytes = self.writer.bytes();
        self.metrics.wal_bytes.set(i64::try_from(bytes).unwrap_or(i64::MAX));
        LogSize { bytes, newest_segment: self.writer.newest().map_or(0, |number| number.0) }
    }
}

fn answer(done: oneshot::Sender<Result<(), AppendError>>, result: Result<(), AppendError>) {
    // A client that has gone need not be told.
    let _ = done.send(result);
}

/// Reads the log back into the heads, leaving out what packs cover. `now` is the age that everything gets; pushes are
/// told apart if `named`.
///
/// # Errors
/// A file that cannot be read. Damage is logged and passed over.
pub fn replay(
    dir: &Path,
    heads: &Heads,
    cache: &StreamCache,
    (now, named): (Duration, bool),
    covered: &dyn Fn(&HeadKey, WalId) -> Mark,
    mut on_full: impl FnMut(Arc<Head>),
) -> Result<Replayed, WalError> {
    wal::replay(dir, |record: Record<'_>| {
        match Kept::decode(&record).and_then(|kept| Ok((kept.push, kept.batch(cache)?, kept.tenant))) {
            Ok((push, batch, tenant)) => {
                let (wal, sequence, segment) = (record.wal_id, record.sequence, record.segment);
                let place = LogPlace { wal, sequence, segment, now, push: named.then_some(push) };
                let covered: &Covered<'_> = covered;
                heads.append(&tenant.into(), &batch, place, Some(covered)).into_iter().for_each(&mut on_full);
            }
            Err(error) => {
                let sequence = record.sequence.0;
                tracing::error!(
                    sequence,
                    error,
                    "a record of the log cannot be read and is left out; its segment is kept"
                );
            }
        }
        Ok(())
    })
}

/// A record of the log, as far as it must be read to know what it is.
#[derive(Clone, Copy, Debug)]
pub struct Kept<'a> {
    /// The push's name. One that was taken in before the node was in a cluster is named after its place in the log.
    pub push: PushId,
    /// Whose it is.
    pub tenant: &'a str,
    /// What [`PushBatch::from_wal`] reads.
    pub payload: &'a [u8],
}

impl<'a> Kept<'a> {
    /// Reads the record's beginning.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn decode(record: &Record<'a>) -> Result<Self, String> {
        let (push, rest) = match record.kind {
            PUSH => (place_name(record.wal_id, record.sequence.0), record.payload),
            NAMED_PUSH => {
                let (name, rest) = record.payload.split_first_chunk::<16>().ok_or("its name is cut off")?;
                (read_name(name), rest)
            }
            other => return Err(format!("unknown kind `{other}`: a newer release wrote it")),
        };
        let (length, rest) = rest.split_first_chunk::<2>().ok_or("it is too short")?;
        let length = usize::from(u16::from_le_bytes(*length));
        let (tenant, payload) = rest.split_at_checked(length).ok_or("its tenant's name is cut off")?;
        let tenant = std::str::from_utf8(tenant).map_err(|_| "its tenant's name is not UTF-8")?;
        Ok(Kept { push, tenant, payload })
    }

    /// The push itself.
    ///
    /// # Errors
    /// The payload cannot be read.
    pub fn batch(&self, cache: &StreamCache) -> Result<PushBatch, String> {
        let batch = PushBatch::from_wal(self.tenant, Bytes::copy_from_slice(self.payload), cache);
        batch.map_err(|error| error.to_string())
    }
}

fn place_name(wal: WalId, sequence: u64) -> PushId {
    PushId { origin: wal.0 as u64, sequence }
}

fn name_bytes(push: PushId) -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&push.origin.to_le_bytes());
    bytes[8..].copy_from_slice(&push.sequence.to_le_bytes());
    bytes
}

fn read_name(bytes: &[u8; 16]) -> PushId {
    let number = |at| u64::from_le_bytes(std::array::from_fn(|n| bytes[at + n]));
    PushId { origin: number(0), sequence: number(8) }
}
