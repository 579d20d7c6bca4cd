//! Makes pushes durable, then visible: group commit.
//!
//! Pushes wait in a bounded queue. One at a time, groups of them are appended to the log, synced once and put
//! into the heads; then each client is answered. While the disk syncs, the next group gathers: the busier the
//! node, the more pushes share a sync.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use grapevine_storage::head::Head;
use grapevine_storage::wal::{self, Mark, Record, Replayed, WalError, WalId, Writer};
use tokio::sync::oneshot;

use super::followers::Followers;
use super::heads::{Covered, HeadKey, Heads, LogPlace};
use crate::metrics::Metrics;
use crate::push::batch::PushBatch;
use crate::push::stream_cache::StreamCache;

/// The kind of record that holds a push.
const PUSH: u8 = 1;
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
        metrics: Arc<Metrics>,
    ) -> Result<Self, WalError> {
        let writer = Writer::open(dir, id, options, replayed)?;
        Ok(Log { writer, heads, followers, metrics })
    }

    /// Appends a group, syncs once, makes it visible and answers each client. Gives back the heads that have a
    /// full block now, one for each such block.
    pub fn append(&mut self, group: Vec<Pending>, now: Duration) -> Vec<Arc<Head>> {
        let mut written = Vec::with_capacity(group.len());
        for pending in group {
            let payload = pending.batch.to_wal();
            let tenant = pending.tenant.as_bytes();
            let length = u16::try_from(tenant.len()).expect("a tenant's name has at most 150 bytes");
            let parts = [&length.to_le_bytes()[..], tenant, &payload.prelude, &payload.body];
            match self.writer.append(PUSH, &parts) {
                Ok(appended) => written.push((pending, appended)),
                Err(error) => answer(pending.done, Err(AppendError::from(&error))),
            }
        }
        if let Err(error) = self.writer.sync() {
            tracing::error!(%error, pushes = written.len(), "the write-ahead log cannot be synced; the pushes are refused");
            let refused = AppendError::from(&error);
            written.into_iter().for_each(|(pending, _)| answer(pending.done, Err(refused.clone())));
            return Vec::new();
        }
        self.metrics.wal_syncs.inc();
        let mut full = Vec::new();
        for (pending, appended) in written {
            let wal = self.writer.wal_id();
            let place = LogPlace { wal, sequence: appended.sequence, segment: &appended.segment, now };
            full.extend(self.heads.append(&pending.tenant, &pending.batch, place, None));
            answer(pending.done, Ok(()));
            self.followers.publish(&pending.tenant, pending.batch);
        }
        full
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

/// Reads the log back into the heads, leaving out what packs cover. `now` is the age that everything gets.
///
/// # Errors
/// A file that cannot be read. Damage is logged and passed over.
pub fn replay(
    dir: &Path,
    heads: &Heads,
    cache: &StreamCache,
    now: Duration,
    covered: &dyn Fn(&HeadKey, WalId) -> Mark,
    mut on_full: impl FnMut(Arc<Head>),
) -> Result<Replayed, WalError> {
    wal::replay(dir, |record: Record<'_>| {
        match decode(&record, cache) {
            Ok((tenant, batch)) => {
                let place =
                    LogPlace { wal: record.wal_id, sequence: record.sequence, segment: record.segment, now };
                let covered: &Covered<'_> = covered;
                heads.append(&tenant, &batch, place, Some(covered)).into_iter().for_each(&mut on_full);
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

fn decode(record: &Record<'_>, cache: &StreamCache) -> Result<(Arc<str>, PushBatch), String> {
    if record.kind != PUSH {
        return Err(format!("unknown kind `{}`: a newer release wrote it", record.kind));
    }
    let (length, rest) = record.payload.split_first_chunk::<2>().ok_or("it is too short")?;
    let length = usize::from(u16::from_le_bytes(*length));
    let (tenant, payload) = rest.split_at_checked(length).ok_or("its tenant's name is cut off")?;
    let tenant = std::str::from_utf8(tenant).map_err(|_| "its tenant's name is not UTF-8")?;
    let batch = PushBatch::from_wal(tenant, Bytes::copy_from_slice(payload), cache);
    Ok((tenant.into(), batch.map_err(|error| error.to_string())?))
}
