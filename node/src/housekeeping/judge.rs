//! What has expired of a pack, by what the pack says of itself.
//!
//! A node's index tells what has expired of a pack only where it holds all of the pack's streams. In a cluster nobody can
//! be sure of that, so who tends a pack reads its directory: once whenever another of the tenant's periods has passed the
//! pack's day, and never before the first has.

use std::collections::BTreeSet;
use std::sync::Arc;

use futures_util::future::join_all;
use grapevine_storage::index::{Day, DayIndex, PackId, PackRecord, PackState};
use grapevine_storage::pack::PackSummary;

use super::{Housekeeper, lock};
use crate::exec::Lane;

/// Packs whose directories are read at a time.
const READS_MAX: usize = 8;
/// Packs judged in one round: bounds how long other housekeeping waits. The next round goes on.
const PACKS_A_ROUND: usize = 256;

/// What was found out about a pack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Verdict {
    /// How many of the tenant's periods had passed the pack's day.
    passed: usize,
    /// Compressed bytes of the text that has not expired.
    live_bytes: u64,
}

impl Housekeeper {
    /// Judges the packs of a day that this node tends, and gives up those of which nothing is left.
    pub(super) async fn judge_packs(&self, index: &Arc<DayIndex>, day: Day, now: i64) -> anyhow::Result<()> {
        let of_day = index.clone();
        let packs = self.env.exec.run(Lane::Disk, move || of_day.read(|snapshot| snapshot.packs())).await?;
        let known: BTreeSet<PackId> = packs.iter().map(|(id, _)| *id).collect();
        lock(&self.judged).retain(|(of, id), _| *of != day || known.contains(id));
        let due = packs.into_iter().filter(|(id, record)| self.is_due(day, *id, record, now));
        let due: Vec<_> = due.take(PACKS_A_ROUND).collect();
        let mut dead = Vec::new();
        for batch in due.chunks(READS_MAX) {
            let tails = self.tails();
            let summaries = join_all(
                batch.iter().map(|(_, record)| tails.summary(&record.object_key, Some(record.bytes))),
            );
            for ((id, record), summary) in batch.iter().zip(summaries.await) {
                // What cannot be read is not judged: it is told when all is reconciled.
                let live_bytes = match summary? {
                    Ok(summary) => self.live_bytes(&record.tenant, &summary, day, now),
                    Err(_) => u64::MAX,
                };
                if live_bytes == 0 {
                    dead.push(*id);
                }
                let passed = self.retention.periods_passed(&record.tenant, day, now);
                lock(&self.judged).insert((day, *id), Verdict { passed, live_bytes });
            }
        }
        if !dead.is_empty() {
            tracing::info!(%day, packs = dead.len(), "packs are given up: all of their streams have expired");
            let index = index.clone();
            self.env.exec.run(Lane::Disk, move || index.remove_packs(&dead, now)).await?;
        }
        Ok(())
    }

    fn is_due(&self, day: Day, id: PackId, record: &PackRecord, now: i64) -> bool {
        let passed = self.retention.periods_passed(&record.tenant, day, now);
        let judged = || lock(&self.judged).get(&(day, id)).is_some_and(|verdict| verdict.passed == passed);
        passed > 0
            && record.state == PackState::Shipped
            && self.custody.tends(&record.object_key)
            && !judged()
    }

    fn live_bytes(&self, tenant: &str, summary: &PackSummary, day: Day, now: i64) -> u64 {
        let streams = summary.directory.streams.iter();
        let live = streams.filter(|stream| !self.retention.is_expired(tenant, &stream.labels, day, now));
        let blocks = live.flat_map(|stream| &stream.chunks).flat_map(|chunk| &chunk.blocks);
        blocks.map(|block| u64::from(block.member_bytes)).sum()
    }

    /// Compressed bytes of a pack's text that have not expired, as far as that is known.
    pub(super) fn judged_live_bytes(&self, day: Day, id: PackId) -> u64 {
        lock(&self.judged).get(&(day, id)).map_or(u64::MAX, |verdict| verdict.live_bytes)
    }
}
