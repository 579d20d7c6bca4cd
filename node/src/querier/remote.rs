//! Runs works whose packs lie behind a network: what lies side by side in a pack comes in one request.
//!
//! A request takes longer than reading what it brings. So works of one pack that follow one another are taken together:
//! their filters come first, in one request, and then what of their chunks the filters have left. A query that stops when
//! it has enough lines fetches text work by work, for most of what it fetched ahead would be for nothing.

use std::sync::Arc;

use super::drive::{Job, Queue, Reading, is_ruled_out};
use super::error::QueryError;
use super::packs::{ChunkSource, Packs, Wanted};
use super::select::PackedChunk;
use super::work::{Fetched, Unreadable, Work, unreadable};
use crate::exec::{Exec, Lane};

/// Works that are taken together. More save requests, and leave less for others to do meanwhile.
const WORKS_MAX: usize = 64;
/// Bytes of blocks that are taken together: so much memory each of a query's workers may hold.
const BLOCK_BYTES_MAX: u64 = 2 << 20;

/// Reads works of the queue until there is none.
///
/// # Errors
/// Those that end the query.
pub(super) async fn run<J: Job>(
    exec: &Exec,
    packs: &Arc<Packs>,
    job: &Arc<J>,
    queue: &Arc<Queue>,
    mut local: J::Local,
) -> Result<J::Local, QueryError> {
    loop {
        let mut batch = queue.next_batch(&**job);
        if batch.is_empty() {
            return Ok(local);
        }
        leave_out_ruled_out(packs, &**job, &mut batch, &mut local).await;
        let together = if job.reading() == Reading::UntilEnough { 1 } else { WORKS_MAX };
        while !batch.is_empty() {
            let rest = batch.split_off(together.min(batch.len()));
            let works = std::mem::replace(&mut batch, rest);
            if works.iter().all(|work| job.is_done_before(work)) {
                continue;
            }
            let fetched = fetch(packs, &**job, &works).await;
            local = process(exec, packs, job, queue, works, fetched, local).await?;
        }
    }
}

/// A filter that cannot be fetched rules nothing out.
async fn leave_out_ruled_out<J: Job>(packs: &Packs, job: &J, batch: &mut Vec<Work>, local: &mut J::Local) {
    let chunks: Vec<&PackedChunk> = batch.iter().filter_map(Work::chunk).collect();
    let wanted = job.filter().has_demands() && chunks.len() == batch.len();
    let filters = match wanted {
        true => packs.fetch_filters(&chunks).await.unwrap_or_else(|why| {
            tracing::warn!(why, "filters cannot be fetched");
            Vec::new()
        }),
        false => Vec::new(),
    };
    let mut filters = filters.into_iter();
    batch.retain(|work| {
        let filter = filters.next().flatten();
        is_ruled_out(packs, job, work, filter.as_ref(), local).map(|out| !out).unwrap_or_else(|unreadable| {
            tracing::warn!(why = unreadable.0, "a filter cannot be read");
            true
        })
    });
}

/// What each work needs and is not on this machine.
async fn fetch<J: Job>(packs: &Packs, job: &J, works: &[Work]) -> Vec<Result<Fetched, Unreadable>> {
    let wants_text = |work: &Work| job.reads_text() || !work.is_run();
    let [first, _, ..] = works else {
        let mut fetched = Vec::new();
        for work in works {
            fetched.push(work.fetch(packs, wants_text(work)).await);
        }
        return fetched;
    };
    let wanted: Vec<(&PackedChunk, Wanted)> = works
        .iter()
        .filter_map(|work| {
            let (chunk, blocks) = work.chunk_blocks()?;
            Some((chunk, Wanted { blocks, text: wants_text(work) }))
        })
        .collect();
    if first.chunk().is_some_and(|chunk| packs.local(chunk).is_some()) {
        return works.iter().map(|_| Ok(vec![None])).collect();
    }
    match packs.fetch(&wanted).await {
        Ok(sources) => sources.into_iter().map(|source: ChunkSource| Ok(vec![Some(source)])).collect(),
        Err(why) => wanted.iter().map(|(chunk, _)| Err(unreadable(chunk, &why))).collect(),
    }
}

async fn process<J: Job>(
    exec: &Exec,
    packs: &Arc<Packs>,
    job: &Arc<J>,
    queue: &Arc<Queue>,
    works: Vec<Work>,
    fetched: Vec<Result<Fetched, Unreadable>>,
    mut local: J::Local,
) -> Result<J::Local, QueryError> {
    let (packs, job, queue) = (packs.clone(), job.clone(), queue.clone());
    let read = move || {
        for (work, fetched) in works.iter().zip(fetched) {
            let done = match fetched {
                Ok(fetched) => job.process(&packs, work, &fetched, &mut local)?,
                Err(unreadable) => Err(unreadable),
            };
            if let Err(unreadable) = done {
                queue.warn(unreadable);
            }
        }
        Ok(local)
    };
    exec.run(Lane::Scan, read).await
}

impl Queue {
    /// Works of one pack that follow one another; none if none is left that is needed.
    fn next_batch<J: Job>(&self, job: &J) -> Vec<Work> {
        let mut batch: Vec<Work> = self.next(job).into_iter().collect();
        let Some(pack) = batch.first().and_then(Work::chunk).map(|chunk| chunk.pack) else { return batch };
        let mut bytes = batch.iter().map(Work::block_bytes).sum::<u64>();
        let fits = |work: &Work, bytes: &mut u64, count: usize| {
            *bytes += work.block_bytes();
            let is_of_it = work.chunk().is_some_and(|chunk| chunk.pack == pack);
            is_of_it && count < WORKS_MAX && *bytes <= BLOCK_BYTES_MAX && !job.is_done_before(work)
        };
        while let Some(work) = self.next_if(|work| fits(work, &mut bytes, batch.len())) {
            batch.push(work);
        }
        batch
    }
}
