//! Takes chunks out of heads and makes packs of them.
//!
//! One flush at a time. Its steps are such that a crash between any two of them loses nothing and doubles
//! nothing: the pack is durable in the spool; one index transaction names it and marks the log as covered; only
//! then do the heads let go.

use std::collections::BTreeMap;
use std::sync::Arc;

use grapevine_storage::head::{Flushing, Head};
use grapevine_storage::index::{Cover, Day, Index, PackId};
use grapevine_storage::pack::Level;
use grapevine_storage::pack::directory::ChunkEntry;
use grapevine_storage::pack::limits::CHUNK_BLOCKS;
use grapevine_storage::pack::writer::PackSummary;
use grapevine_storage::stream::StreamId;

use super::covered::Covered;
use super::duty::Duty;
use super::heads::HeadKey;
use super::policy::Extent;
use super::records::Covering;
use super::seal::SealQueue;
use super::spool::{Spool, StreamChunks};
use crate::env::{Env, WallClock};
use crate::exec::{Exec, Lane};
use crate::metrics::Metrics;

/// Compressed bytes that go into one pack at most: bounds how long a write takes and what a merge must read.
const PACK_BYTES_MAX: u64 = 256 << 20;

/// Makes packs.
#[derive(Debug)]
pub struct Flusher {
    exec: Exec,
    seals: SealQueue,
    spool: Spool,
    index: Arc<Index>,
    level: Level,
    metrics: Arc<Metrics>,
    clock: Arc<dyn WallClock>,
    covered: Arc<Covered>,
    duty: Arc<dyn Duty>,
}

/// Heads of one tenant and day.
type OfStreams = Vec<(StreamId, Arc<Head>)>;

/// A head and what was taken out of it.
struct Taken {
    head: Arc<Head>,
    flushing: Flushing,
}

impl Flusher {
    /// Writes to a spool and an index.
    pub fn new(
        env: &Env,
        seals: SealQueue,
        spool: Spool,
        index: Arc<Index>,
        level: Level,
        metrics: Arc<Metrics>,
        (covered, duty): (Arc<Covered>, Arc<dyn Duty>),
    ) -> Self {
        let (exec, clock) = (env.exec.clone(), env.clock.clone());
        Flusher { exec, seals, spool, index, level, metrics, clock, covered, duty }
    }

    /// Flushes so much of each head. What cannot be flushed stays in its head for the next attempt.
    ///
    /// # Errors
    /// The first that occurs; other tenants and days are still flushed.
    pub async fn flush(&self, heads: Vec<(HeadKey, Arc<Head>, Extent)>) -> anyhow::Result<()> {
        let mut groups: BTreeMap<(Arc<str>, Day), OfStreams> = BTreeMap::new();
        for (key, head, extent) in heads {
            self.prepare(&head, extent).await;
            groups.entry((key.tenant, key.day)).or_default().push((key.id, head));
        }
        let mut outcome = Ok(());
        for ((tenant, day), mut heads) in groups {
            heads.sort_by_key(|(id, _)| *id);
            for taken in take(heads) {
                let done = self.pack(&tenant, day, taken).await;
                outcome = outcome.and(done);
            }
        }
        outcome
    }

    async fn prepare(&self, head: &Arc<Head>, extent: Extent) {
        if extent == Extent::Everything {
            self.seals.close_open(head.clone()).await;
        }
        if extent >= Extent::SealedBlocks {
            self.seals.drain(head.clone()).await;
            let head = head.clone();
            self.exec.run(Lane::Seal, move || head.complete_chunk()).await;
        }
    }

    /// One pack of one tenant and day.
    async fn pack(&self, tenant: &Arc<str>, day: Day, taken: Vec<Taken>) -> anyhow::Result<()> {
        let streams = taken.iter().map(Taken::streams).collect();
        let covering = self.covering(&taken);
        let (spool, level) = (self.spool.clone(), self.level);
        let owner = tenant.clone();
        let written = self.exec.run(Lane::Seal, move || spool.write(&owner, day, streams, level)).await;
        let done = match written {
            Ok(summary) => self.index(tenant, day, summary, covering).await,
            Err(error) => Err(error.into()),
        };
        taken.iter().for_each(|taken| taken.head.end_flush(done.is_ok()));
        done
    }

    fn covering(&self, taken: &[Taken]) -> Covering {
        let log = taken.iter().map(|t| (t.head.id, t.flushing.coverage.clone())).collect();
        let named = taken.iter().filter(|t| !t.flushing.covers.is_empty());
        let cover =
            |t: &Taken| Cover { stream: t.head.id, pushes: t.flushing.covers.iter().copied().collect() };
        Covering { log, pushes: named.map(cover).collect(), at: self.clock.now() }
    }

    async fn index(
        &self,
        tenant: &Arc<str>,
        day: Day,
        summary: PackSummary,
        covering: Covering,
    ) -> anyhow::Result<()> {
        let (index, owner) = (self.index.clone(), tenant.clone());
        let now = self.clock.now();
        let measure =
            |chunk: &ChunkEntry| (chunk.size(), chunk.blocks.len(), now.saturating_sub(chunk.first()));
        let chunks: Vec<_> = summary.directory.chunks().map(measure).collect();
        let (pack, covered) = (PackId(summary.content_hash), covering.clone());
        self.exec
            .run(Lane::Disk, move || super::records::commit(&index, &owner, day, &summary, covering))
            .await?;
        for Cover { stream, pushes } in &covered.pushes {
            let key = HeadKey { tenant: tenant.clone(), day, id: *stream };
            self.covered.add(&key, pushes, covered.at);
        }
        self.duty.on_packed(day, pack);
        self.metrics.packs_written.inc();
        self.metrics.chunks_flushed.inc_by(chunks.len() as u64);
        for ((entries, bytes), blocks, age) in chunks {
            self.metrics.chunk_entries.observe(entries as f64);
            self.metrics.chunk_bytes.observe(bytes as f64);
            self.metrics.chunk_utilization.observe(blocks as f64 / CHUNK_BLOCKS as f64);
            self.metrics.chunk_age.observe(age as f64 / 1e9);
        }
        Ok(())
    }
}

impl Taken {
    fn streams(&self) -> StreamChunks {
        let Head { id, labels, .. } = &*self.head;
        StreamChunks { id: *id, labels: labels.clone(), chunks: self.flushing.chunks.clone() }
    }

    fn bytes(&self) -> u64 {
        let blocks = self.flushing.chunks.iter().flat_map(|chunk| &chunk.blocks);
        blocks.map(|block| block.member().len() as u64).sum()
    }
}

/// Takes the chunks out of the heads, in runs that fit a pack.
fn take(heads: OfStreams) -> Vec<Vec<Taken>> {
    let mut packs: Vec<Vec<Taken>> = Vec::new();
    let mut bytes = u64::MAX;
    for (_, head) in heads {
        let Some(flushing) = head.begin_flush() else { continue };
        let taken = Taken { head, flushing };
        bytes = bytes.saturating_add(taken.bytes());
        if bytes > PACK_BYTES_MAX {
            bytes = taken.bytes();
            packs.push(Vec::new());
        }
        packs.last_mut().expect("the first head starts a pack").push(taken);
    }
    packs
}
