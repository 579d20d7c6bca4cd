//! Runs works whose packs lie behind a network: what lies side by side in a pack comes in one request.
//!
//! A request takes longer than reading what it brings. So works of one pack that follow one another are taken together:
//! their filters come first, in one request, and then what of their chunks the filters have left. A query that stops when
//! it has enough lines takes works one by one, each worker its own, for most of the text that it fetched ahead would be for
//! nothing; filters alone it brings for many at once.

use std::sync::Arc;

use super::drive::{Job, Queue, Reading, is_ruled_out};
use super::error::QueryError;
use super::packs::{ChunkSource, Packs, Wanted};
use super::select::PackedChunk;
use super::work::{Fetched, Unreadable, Work, unreadable};
use crate::exec::{Exec, Lane};

/// Works that are taken together. More save requests for filters, and leave less for others to do meanwhile.
const WORKS_MAX: usize = 64;
/// Bytes of blocks that are fetched together: so much memory each of a query's workers may hold.
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
        let one_by_one = job.reading() == Reading::UntilEnough;
        let mut batch = match one_by_one {
            true => queue.next(&**job).into_iter().collect(),
            false => queue.next_batch(&**job),
        };
        let Some(first) = batch.first() else { return Ok(local) };
        if one_by_one && job.filter().has_demands() {
            look_ahead(packs, queue, first).await;
        }
        leave_out_ruled_out(packs, &**job, &mut batch, &mut local).await;
        while !batch.is_empty() {
            let rest = batch.split_off(together(&**job, &batch));
            let works = std::mem::replace(&mut batch, rest);
            if works.iter().all(|work| job.is_done_before(work)) {
                continue;
            }
            let fetched = fetch(packs, &**job, &works).await;
            local = process(exec, packs, job, queue, works, fetched, local).await?;
        }
    }
}

/// Brings the filters of a work and of those that come next into memory, in one request. A filter that cannot be had is
/// asked for again when its work's turn comes.
async fn look_ahead(packs: &Packs, queue: &Queue, work: &Work) {
    let Some(chunk) = work.chunk() else { return };
    // Who waits for its turn finds the filter there.
    let _turn = queue.ahead.lock().await;
    if packs.knows_filter(chunk) {
        return;
    }
    let next = queue.next_of(chunk.pack, WORKS_MAX);
    let chunks: Vec<&PackedChunk> = [chunk].into_iter().chain(next.iter().filter_map(Work::chunk)).collect();
    let Ok(filters) = packs.fetch_filters(&chunks).await else { return };
    for (chunk, filter) in chunks.into_iter().zip(filters) {
        if let Err(error) = packs.filter(chunk, filter.as_ref()) {
            tracing::debug!(%error, "a filter cannot be read");
        }
    }
}

/// How many of the first works are fetched and read together: one at least.
fn together<J: Job>(job: &J, batch: &[Work]) -> usize {
    let wants_text = job.reads_text();
    let mut bytes = 0;
    let fits = |work: &&Work| {
        bytes += if wants_text { work.block_bytes() } else { 0 };
        bytes <= BLOCK_BYTES_MAX
    };
    batch.iter().take_while(fits).count().max(1)
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
        let fits = |work: &Work, count: usize| {
            let is_of_it = work.chunk().is_some_and(|chunk| chunk.pack == pack);
            is_of_it && count < WORKS_MAX && !job.is_done_before(work)
        };
        while let Some(work) = self.next_if(|work| fits(work, batch.len())) {
            batch.push(work);
        }
        batch
    }
}
