//! Runs the works of a query on the scan lane: a few at a time, in order, stopping when enough is known.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use futures_util::future::join_all;
use grapevine_storage::index::PackId;
use grapevine_storage::scan::LineFilter;

use super::error::QueryError;
use super::packs::{ChunkSource, Packs};
use super::remote;
use super::scan::Scanner;
use super::work::{Fetched, Unreadable, Work};
use crate::exec::{Exec, Lane};

/// Text that one turn on the lane may read, bytes: queries take turns, so that a light one need not wait for all
/// of a heavy one.
const TURN_TEXT_BYTES: u64 = 4 << 20;
/// Works that one turn may look at: most are ruled out by their filter in a microsecond.
const TURN_WORKS: usize = 256;
/// Warnings kept of one query; more are counted.
const WARNINGS_MAX: usize = 20;

/// What is done with each work.
pub trait Job: Send + Sync + 'static {
    /// What one worker gathers.
    type Local: Send + 'static;

    /// What every line must pass.
    fn filter(&self) -> &LineFilter;
    /// Whether text is read at all.
    fn reads_text(&self) -> bool;
    /// In which order works are to be read, and how many.
    fn reading(&self) -> Reading;
    /// Whether this work and all behind it can be left out.
    fn is_done_before(&self, work: &Work) -> bool;
    /// The worker's buffers.
    fn scanner(local: &mut Self::Local) -> &mut Scanner;
    /// Reads a work.
    ///
    /// # Errors
    /// Only such as end the whole query; what cannot be read is the inner error.
    fn process(
        &self,
        packs: &Packs,
        work: &Work,
        fetched: &Fetched,
        local: &mut Self::Local,
    ) -> Result<Result<(), Unreadable>, QueryError>;
}

/// In which order works are to be read, and how many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reading {
    /// All, in any order.
    AnyOrder,
    /// All, in theirs.
    InOrder,
    /// In theirs, until enough is known.
    UntilEnough,
}

/// What is missing from an answer.
#[derive(Clone, Debug, Default)]
pub struct Warnings {
    texts: Vec<String>,
    more: usize,
}

impl Warnings {
    /// Adds one; equal ones count once.
    pub fn add(&mut self, text: String) {
        match self.texts.len() < WARNINGS_MAX {
            _ if self.texts.contains(&text) => {}
            true => self.texts.push(text),
            false => self.more += 1,
        }
    }

    /// As the answer shows them.
    pub fn into_texts(mut self) -> Vec<String> {
        if self.more > 0 {
            self.texts.push(format!("and {} more parts cannot be read", self.more));
        }
        self.texts
    }
}

/// The works that are left, and what went wrong.
pub(super) struct Queue {
    works: Mutex<VecDeque<Work>>,
    warnings: Mutex<Warnings>,
    /// Held by who brings filters for all.
    pub(super) ahead: tokio::sync::Mutex<()>,
}

const POISON: &str = "a panic while a query runs ends the process";

/// Runs a job over works with one worker for each of `locals`, and gives these back.
///
/// # Errors
/// The first error that ends the query.
pub async fn drive<J: Job>(
    exec: &Exec,
    packs: &Arc<Packs>,
    job: &Arc<J>,
    mut works: Vec<Work>,
    locals: Vec<J::Local>,
    warnings: &mut Warnings,
) -> Result<Vec<J::Local>, QueryError> {
    if packs.is_remote() && job.reading() == Reading::AnyOrder {
        works.sort_by_key(Work::place);
    }
    let queue = Arc::new(Queue {
        works: Mutex::new(works.into()),
        warnings: Mutex::default(),
        ahead: tokio::sync::Mutex::default(),
    });
    let workers = locals.into_iter().map(|local| async {
        match packs.is_remote() {
            true => remote::run(exec, packs, job, &queue, local).await,
            false => run_local(exec, packs, job, &queue, local).await,
        }
    });
    let done: Result<Vec<_>, QueryError> = join_all(workers).await.into_iter().collect();
    let found = std::mem::take(&mut *queue.warnings.lock().expect(POISON));
    found.into_texts().into_iter().for_each(|text| warnings.add(text));
    done
}

impl Queue {
    pub(super) fn next<J: Job>(&self, job: &J) -> Option<Work> {
        let mut works = self.works.lock().expect(POISON);
        let done = works.front().is_none_or(|work| job.is_done_before(work));
        if done {
            works.clear();
        }
        works.pop_front()
    }

    fn is_empty(&self) -> bool {
        self.works.lock().expect(POISON).is_empty()
    }

    /// The next, if it is such as is wanted.
    pub(super) fn next_if(&self, wanted: impl FnOnce(&Work) -> bool) -> Option<Work> {
        let mut works = self.works.lock().expect(POISON);
        if works.front().is_some_and(wanted) { works.pop_front() } else { None }
    }

    /// The next works of one chunk of a pack, so many at most, which stay where they are.
    pub(super) fn next_of(&self, pack: PackId, most: usize) -> Vec<Work> {
        let works = self.works.lock().expect(POISON);
        let is_of_it = |work: &&Work| work.chunk().is_some_and(|chunk| chunk.pack == pack);
        works.iter().take(4 * most).filter(is_of_it).take(most).cloned().collect()
    }

    pub(super) fn warn(&self, unreadable: Unreadable) {
        self.warnings.lock().expect(POISON).add(unreadable.0);
    }
}

async fn run_local<J: Job>(
    exec: &Exec,
    packs: &Arc<Packs>,
    job: &Arc<J>,
    queue: &Arc<Queue>,
    mut local: J::Local,
) -> Result<J::Local, QueryError> {
    while !queue.is_empty() {
        let (packs, job, queue) = (packs.clone(), job.clone(), queue.clone());
        local = exec.run(Lane::Scan, move || turn(&packs, &*job, &queue, local)).await?;
    }
    Ok(local)
}

fn turn<J: Job>(packs: &Packs, job: &J, queue: &Queue, mut local: J::Local) -> Result<J::Local, QueryError> {
    let before = J::scanner(&mut local).stats.text_bytes;
    for _ in 0..TURN_WORKS {
        let Some(work) = queue.next(job) else { break };
        match is_ruled_out(packs, job, &work, None, &mut local) {
            Ok(true) => continue,
            Ok(false) => {}
            // A filter that cannot be read rules nothing out.
            Err(unreadable) => tracing::warn!(why = unreadable.0, "a filter cannot be read"),
        }
        let fetched = vec![None; work.parts.len()];
        if let Err(unreadable) = job.process(packs, &work, &fetched, &mut local)? {
            queue.warn(unreadable);
        }
        if J::scanner(&mut local).stats.text_bytes - before > TURN_TEXT_BYTES {
            break;
        }
    }
    Ok(local)
}

pub(super) fn is_ruled_out<J: Job>(
    packs: &Packs,
    job: &J,
    work: &Work,
    fetched: Option<&ChunkSource>,
    local: &mut J::Local,
) -> Result<bool, Unreadable> {
    let stats = &mut J::scanner(local).stats;
    stats.chunks += u64::from(work.chunk().is_some());
    if !job.filter().has_demands() {
        return Ok(false);
    }
    let out = work.is_ruled_out(packs, job.filter(), fetched)?;
    stats.chunks_skipped += u64::from(out);
    Ok(out)
}
