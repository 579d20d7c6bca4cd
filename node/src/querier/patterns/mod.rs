//! Finds the templates of the lines that a query chooses, at query time: nothing is kept for it.
//!
//! One worker reads, in a fixed order, so that the same lines always give the same templates. Where there are too
//! many lines, every n-th of them is looked at and counts for n.

pub mod miner;
pub mod template;
pub mod words;

use std::ops::ControlFlow;
use std::sync::Arc;

use grapevine_logql::ast::LogExpr;
use grapevine_logql::level::detect;
use grapevine_logql::pipeline::{Pipeline, Wanted};
use grapevine_storage::scan::LineFilter;
use tokio::time::{Instant, timeout};

use self::miner::{Miner, Pattern};
use super::answer::Stats;
use super::drive::{Job, Warnings, drive};
use super::error::QueryError;
use super::lines::OptionsOf;
use super::packs::Packs;
use super::scan::{Scanner, Span};
use super::work::{Fetched, Unreadable, Work};
use super::{Asker, Querier, pushdown, stage_error};

/// Lines that one query looks at closely: about a second of one core.
const LINES_MAX: u64 = 500_000;

/// Asks for templates.
#[derive(Clone, Debug)]
pub struct PatternQuery {
    /// Which lines.
    pub log: LogExpr,
    /// The first timestamp wanted, ns.
    pub start: i64,
    /// The first timestamp not wanted any more, ns.
    pub end: i64,
    /// The length of the buckets in which lines are counted, ns.
    pub step: i64,
}

/// The templates found.
#[derive(Clone, Debug)]
pub struct PatternAnswer {
    /// The most frequent first.
    pub patterns: Vec<Pattern>,
    /// Of so many lines one was looked at; the counts are multiplied by it.
    pub one_in: u64,
    /// What is missing.
    pub warnings: Vec<String>,
    /// What it took.
    pub stats: Stats,
}

struct PatternJob {
    pipeline: Pipeline,
    filter: LineFilter,
    span: Span,
    options: OptionsOf,
    one_in: u64,
}

struct PatternLocal {
    scanner: Scanner,
    miner: Miner,
    /// Lines that passed.
    passed: u64,
}

impl Querier {
    /// Finds templates.
    ///
    /// # Errors
    /// As [`Querier::lines`].
    pub async fn patterns(&self, asker: &Asker, query: PatternQuery) -> Result<PatternAnswer, QueryError> {
        let began = Instant::now();
        let pipeline = Pipeline::compile(&query.log.stages, &Wanted::All)
            .map_err(|error| QueryError::Bad(stage_error(&query.log.stages, &error)))?;
        let filter = pushdown::of_stages(&query.log.stages)?.filter;
        let span = Span { first: query.start, last: query.end.saturating_sub(1), forward: true };
        let (mut stats, mut warnings) = (Stats::default(), Warnings::default());
        let run = async {
            let mut works = self.works(asker, &query.log.selector, span, &mut stats, &mut warnings).await?;
            works.sort_by_key(|work| (work.stream.tenant.clone(), work.stream.id, work.first));
            let one_in = works.iter().map(Work::entries).sum::<u64>().div_ceil(LINES_MAX).max(1);
            let options = self.options(asker);
            let job = Arc::new(PatternJob { pipeline, filter, span, options, one_in });
            let local = PatternLocal { scanner: Scanner::new(), miner: Miner::new(query.step), passed: 0 };
            let done = drive(&self.env.exec, &self.packs, &job, works, vec![local], &mut warnings).await?;
            Ok::<_, QueryError>((done, one_in))
        };
        let (done, one_in) = timeout(asker.timeout, run).await.map_err(|_| QueryError::TimedOut)??;
        let mut patterns = Vec::new();
        for local in done {
            stats.merge(&local.scanner.stats);
            patterns.extend(local.miner.finish());
        }
        stats.returned = patterns.len() as u64;
        stats.elapsed = began.elapsed();
        Ok(PatternAnswer { patterns, one_in, warnings: warnings.into_texts(), stats })
    }
}

impl Job for PatternJob {
    type Local = PatternLocal;

    fn filter(&self) -> &LineFilter {
        &self.filter
    }

    fn reads_text(&self) -> bool {
        true
    }

    fn is_done_before(&self, _: &Work) -> bool {
        false
    }

    fn scanner(local: &mut PatternLocal) -> &mut Scanner {
        &mut local.scanner
    }

    fn process(
        &self,
        packs: &Packs,
        work: &Work,
        fetched: &Fetched,
        local: &mut PatternLocal,
    ) -> Result<Result<(), Unreadable>, QueryError> {
        let PatternLocal { scanner, miner, passed } = local;
        let labels: Vec<(&str, &str)> = work.stream.labels.iter().collect();
        let mut stages = self.pipeline.stream(&labels, self.options.of(&work.stream.tenant));
        let before = *passed;
        let read = work.lines::<()>(packs, fetched, scanner, &self.filter, self.span, &mut |line| {
            let Some(outcome) = stages.process(line.timestamp, line.line, line.metadata) else {
                return ControlFlow::Continue(());
            };
            if passed.is_multiple_of(self.one_in) {
                let level = detect(&labels, line.metadata, line.line);
                miner.add(level, line.timestamp, outcome.line, self.one_in);
            }
            *passed += 1;
            ControlFlow::Continue(())
        });
        scanner.stats.lines_passed += *passed - before;
        Ok(read.map(drop))
    }
}
