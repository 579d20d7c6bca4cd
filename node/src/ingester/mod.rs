//! Takes entries in: the log, the heads, and what leaves them.
//!
//! ```text
//! push ──▶ queue ──▶ log (group commit) ──▶ heads ──▶ seal ──▶ flush ──▶ spool ──▶ ship ──▶ chunk store
//! ```
//!
//! Two loops drive it: one appends, one looks at the policy and flushes. Both are thin; what decides is in
//! [`policy`], what keeps in `storage`.

pub mod covered;
pub mod duty;
pub mod flush;
pub mod followers;
pub mod heads;
pub mod log;
pub mod policy;
pub mod records;
pub mod seal;
pub mod ship;
pub mod spool;
pub mod waiting;

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::Context;
use grapevine_storage::atom::{PushId, PushSet};
use grapevine_storage::head::Head;
use grapevine_storage::index::Index;
use grapevine_storage::pack::Level;
use grapevine_storage::wal::{self, Mark, WalId};
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::time::Instant;

use self::covered::Covered;
use self::duty::Duty;
use self::flush::Flusher;
use self::followers::Followers;
use self::heads::{HeadKey, Heads};
use self::log::{AppendError, GROUP_MAX, Log, LogSize, Pending};
use self::policy::{Extent, FlushLimits, HeadStats, decide};
use self::seal::SealQueue;
use self::ship::Shipper;
use self::spool::Spool;
use crate::env::Env;
use crate::exec::Lane;
use crate::metrics::Metrics;
use crate::push::batch::PushBatch;
use crate::push::stream_cache::StreamCache;

const WAL_DIR: &str = "wal";
/// Pushes that wait for the log; more are told to come back later.
const QUEUE_MAX: usize = 256;
/// How often the policy looks at the heads, besides whenever a block is full.
const POLICY_INTERVAL: Duration = Duration::from_secs(1);

/// What an ingester is told.
#[derive(Clone, Copy, Debug)]
pub struct IngesterOptions {
    /// When blocks are sealed and heads flushed.
    pub flush: FlushLimits,
    /// Bytes at which a segment of the log is closed.
    pub segment_bytes: u64,
    /// How hard text is compressed.
    pub level: Level,
}

/// Takes entries in. Shared by everyone who pushes or asks.
#[derive(Debug)]
pub struct Ingester {
    env: Env,
    options: IngesterOptions,
    queue: mpsc::Sender<Pending>,
    heads: Arc<Heads>,
    followers: Arc<Followers>,
    log: Arc<Mutex<Log>>,
    seals: SealQueue,
    flusher: Flusher,
    shipper: Arc<Shipper>,
    metrics: Arc<Metrics>,
    covered: Arc<Covered>,
    duty: Arc<dyn Duty>,
    look: Notify,
    /// Held for as long as a flush runs.
    flushing: tokio::sync::Mutex<()>,
    started: Instant,
}

/// The two loops of an ingester; run them until the process ends.
#[derive(Debug)]
pub struct Loops {
    ingester: Arc<Ingester>,
    queue: mpsc::Receiver<Pending>,
}

impl Ingester {
    /// Replays the log and is ready for pushes once its [`Loops`] run.
    ///
    /// # Errors
    /// Files that cannot be read or written. Damage is not an error: it is logged, and what is whole is kept.
    pub async fn open(
        env: Env,
        options: IngesterOptions,
        index: Arc<Index>,
        spool: Spool,
        shipper: Shipper,
        metrics: Arc<Metrics>,
        duty: Arc<dyn Duty>,
    ) -> anyhow::Result<(Arc<Self>, Loops)> {
        let started = Instant::now();
        let heads = Arc::new(Heads::new());
        let followers = Arc::new(Followers::default());
        let seals = SealQueue::new(env.exec.clone(), options.level, metrics.clone());
        let wal_dir = env.data_dir.join(WAL_DIR);
        let id = WalId(rand::random());
        let fed = (heads.clone(), followers.clone());
        let told = (metrics.clone(), duty.clone());
        let work = open_log(wal_dir, id, options, fed, index.clone(), told);
        let log = env.exec.run(Lane::Log, work).await.context("replay the write-ahead log")?;
        let remembered = index.clone();
        let covered = env.exec.run(Lane::Disk, move || Covered::load(&remembered)).await;
        let covered = covered.unwrap_or_else(|error| {
            tracing::warn!(%error, "the index cannot tell which pushes are packed; some entries may be stored twice");
            Covered::default()
        });
        let covered = Arc::new(covered);
        let flusher = Flusher::new(
            &env,
            seals.clone(),
            spool,
            index,
            options.level,
            metrics.clone(),
            (covered.clone(), duty.clone()),
        );
        let shipper = Arc::new(shipper);
        let (queue, receiver) = mpsc::channel(QUEUE_MAX);
        let log = Arc::new(Mutex::new(log));
        let (look, flushing) = (Notify::new(), tokio::sync::Mutex::default());
        let ingester = Arc::new(Ingester {
            env,
            options,
            queue,
            heads,
            followers,
            log,
            seals,
            flusher,
            shipper,
            metrics,
            covered,
            duty,
            look,
            flushing,
            started,
        });
        let loops = Loops { ingester: ingester.clone(), queue: receiver };
        Ok((ingester, loops))
    }

    /// Makes a batch durable and visible; returns when it is both. In a cluster it has a name.
    ///
    /// # Errors
    /// [`AppendError`]; the batch may then be stored or not.
    pub async fn push(
        &self,
        tenant: Arc<str>,
        push: Option<PushId>,
        batch: PushBatch,
    ) -> Result<(), AppendError> {
        let (done, answer) = oneshot::channel();
        let pending = Pending { tenant, push, batch, done };
        self.queue.send(pending).await.map_err(|_| AppendError::Closed)?;
        answer.await.map_err(|_| AppendError::Closed)?
    }

    /// The heads, for queries.
    pub fn heads(&self) -> &Heads {
        &self.heads
    }

    /// Which pushes packs hold.
    pub fn covered(&self) -> &Arc<Covered> {
        &self.covered
    }

    /// Notes that packs which an index knows hold pushes of a stream, as of a moment: they need not be taken in again, nor
    /// be named any more by a head that still has entries of them. To be called before they leave it.
    pub fn on_covered(&self, key: &HeadKey, pushes: &PushSet, at: i64) {
        self.covered.add(key, pushes, at);
        if let Some(head) = self.heads.get(key) {
            head.on_covered(pushes);
        }
    }

    /// Where the log lies.
    pub fn wal_dir(&self) -> PathBuf {
        self.env.data_dir.join(WAL_DIR)
    }

    /// Those who follow streams as they grow.
    pub fn followers(&self) -> &Arc<Followers> {
        &self.followers
    }

    /// Packs everything that is this node's to pack and ships it; returns when the chunk store has it.
    ///
    /// # Errors
    /// What could not be packed or shipped; it is kept and tried again.
    pub async fn flush_all(&self) -> anyhow::Result<()> {
        let ours = self.heads.all().into_iter().filter(|(key, _)| self.duty.packs(key.id));
        self.flush(ours.map(|(key, head)| (key, head, Extent::Everything)).collect(), true).await?;
        self.shipper.ship_all().await
    }

    /// Says that a pack was put into the spool by someone else.
    pub fn wake_shipper(&self) {
        self.shipper.wake();
    }

    /// Flushes so much of each head; `all` says that it is everything, so that the log can be emptied.
    async fn flush(&self, heads: Vec<(HeadKey, Arc<Head>, Extent)>, all: bool) -> anyhow::Result<()> {
        let _one_at_a_time = self.flushing.lock().await;
        let flushed = self.flusher.flush(heads).await;
        self.heads.retire_empty();
        self.reclaim(all).await;
        self.shipper.wake();
        flushed
    }

    /// Deletes what of the log is covered. `seal` closes the segment being written first.
    async fn reclaim(&self, seal: bool) -> LogSize {
        let log = self.log.clone();
        self.env
            .exec
            .run(Lane::Log, move || {
                let mut log = log.lock().expect("a panic while the log is written ends the process");
                if seal {
                    log.seal();
                }
                log.reclaim()
            })
            .await
    }

    /// One look of the policy at the heads, and what it wants done.
    async fn look(&self) {
        let size = {
            let log = self.log.clone();
            let size = move || log.lock().expect("a panic while the log is written ends the process").size();
            self.env.exec.run(Lane::Log, size).await
        };
        let heads = self.heads.all();
        let now = self.started.elapsed();
        let stats_of = |head: &Head| stats_of(head, now, size, self.duty.packs(head.id));
        let stats: Vec<HeadStats> = heads.iter().map(|(_, head)| stats_of(head)).collect();
        self.report(&stats);
        // What was left to another node until now, which has gone.
        let in_cluster = self.duty.names_pushes();
        for ((_, head), stats) in heads.iter().zip(&stats).filter(|_| in_cluster) {
            if stats.is_ours && stats.waiting_bytes > 0 {
                self.seals.push(head.clone()).await;
            }
        }
        let decision = decide(&self.options.flush, &stats, size.bytes, size.newest_segment);
        for n in decision.seal {
            self.seals.close_open(heads[n].1.clone()).await;
            self.seals.push(heads[n].1.clone()).await;
        }
        if !decision.flush.is_empty() {
            let wanted = decision.flush.iter().map(|(n, extent)| {
                let (key, head) = heads[*n].clone();
                (key, head, *extent)
            });
            if let Err(error) = self.flush(wanted.collect(), false).await {
                tracing::error!(
                    error = format!("{error:#}"),
                    "a flush failed; what it took stays in memory and in the log"
                );
            }
        }
    }

    fn report(&self, stats: &[HeadStats]) {
        let sum = |part: fn(&HeadStats) -> u64| stats.iter().map(part).sum::<u64>() as i64;
        self.metrics.head_open_bytes.set(sum(|s| s.open_bytes));
        self.metrics.head_sealed_bytes.set(sum(|s| s.sealed_bytes));
        self.metrics.memory_streams.set(stats.len() as i64);
        self.metrics.memory_chunks.set(sum(|s| s.chunks));
        let created = self.heads.created();
        self.metrics.streams_created.inc_by(created.saturating_sub(self.metrics.streams_created.get()));
    }
}

impl Loops {
    /// Appends, flushes and ships until every [`Ingester`] handle that pushes is gone.
    pub async fn run(self) {
        let Loops { ingester, queue } = self;
        let policy = async {
            let mut interval = tokio::time::interval(POLICY_INTERVAL);
            interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            loop {
                tokio::select! {
                    _ = interval.tick() => {}
                    () = ingester.look.notified() => {}
                }
                ingester.look().await;
            }
        };
        tokio::select! {
            () = append_all(&ingester, queue) => {}
            () = policy => {}
            () = ingester.shipper.run() => {}
        }
    }
}

async fn append_all(ingester: &Ingester, mut queue: mpsc::Receiver<Pending>) {
    let mut group = Vec::new();
    while queue.recv_many(&mut group, GROUP_MAX).await > 0 {
        let (log, group) = (ingester.log.clone(), std::mem::take(&mut group));
        let now = ingester.started.elapsed();
        let append =
            move || log.lock().expect("a panic while the log is written ends the process").append(group, now);
        let full = ingester.env.exec.run(Lane::Log, append).await;
        if !full.is_empty() {
            ingester.look.notify_one();
        }
        for head in full.into_iter().filter(|head| ingester.duty.packs(head.id)) {
            ingester.seals.push(head).await;
        }
    }
}

fn stats_of(head: &Head, now: Duration, log: LogSize, is_ours: bool) -> HeadStats {
    let size = head.size();
    HeadStats {
        open_bytes: size.open_bytes,
        waiting_bytes: size.full_bytes + size.parked_bytes,
        sealed_bytes: size.sealed_bytes,
        complete_bytes: size.complete_bytes,
        chunks: size.chunks,
        age: size.since.map_or(Duration::ZERO, |since| now.saturating_sub(since)),
        oldest_segment: size.oldest_segment.map_or(log.newest_segment, |number| number.0),
        is_ours,
    }
}

/// The work of opening the log: replays it, leaving out what the index says is in packs.
fn open_log(
    dir: PathBuf,
    id: WalId,
    options: IngesterOptions,
    (heads, followers): (Arc<Heads>, Arc<Followers>),
    index: Arc<Index>,
    told: (Arc<Metrics>, Arc<dyn Duty>),
) -> impl FnOnce() -> anyhow::Result<Log> + Send + 'static {
    move || {
        let cache = StreamCache::default();
        let named = told.1.names_pushes();
        let covered = |key: &HeadKey, wal: WalId| covered(&index, key, wal);
        // Compressed here and now: a long log must not be held as text.
        let seal = |head: Arc<Head>| {
            seal::with_sealer(options.level, |sealer| head.seal_waiting(sealer));
        };
        let replayed = log::replay(&dir, &heads, &cache, (Duration::ZERO, named), &covered, seal)?;
        if named {
            // Others may have packed what was here before; what comes now must not keep it from leaving.
            heads.all().iter().for_each(|(_, head)| head.close_open());
        }
        if replayed.records > 0 || replayed.skipped_bytes > 0 {
            let (records, bytes, skipped) =
                (replayed.records, replayed.payload_bytes, replayed.skipped_bytes);
            tracing::info!(records, bytes, skipped, "the write-ahead log has been replayed");
        }
        let wal = wal::Options { segment_bytes: options.segment_bytes };
        Ok(Log::open(&dir, id, wal, replayed, heads, followers, told)?)
    }
}

/// How far packs cover a stream; nothing where the index cannot tell, which at worst keeps a line twice until it
/// is read.
fn covered(index: &Index, key: &HeadKey, wal: WalId) -> Mark {
    let mark = match index.day(key.day) {
        Ok(Some(day)) => day.read(|snapshot| snapshot.flushed(wal, &key.tenant, key.id)),
        Ok(None) => Ok(Mark::default()),
        Err(error) => Err(error),
    };
    mark.unwrap_or_else(|error| {
        tracing::warn!(%error, day = %key.day, "the index cannot tell what is packed; the log is replayed in full");
        Mark::default()
    })
}
