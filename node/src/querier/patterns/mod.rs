//! Finds the templates of the lines that a query chooses, at query time: nothing is kept for it.
//!
//! One worker reads, in a fixed order, so that the same lines always give the same templates. Where there are too
//! many lines, every n-th of them is looked at and counts for n. In a cluster each reader mines its own share, and
//! templates that read alike are added up.

pub mod miner;
pub mod template;
pub mod words;

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;

use bincode::{Decode, Encode};
use grapevine_gossip::rpc::{Method, Refusal};
use grapevine_logql::ast::{Expr, LogExpr};
use grapevine_logql::level::LevelSources;
use grapevine_logql::pipeline::{Pipeline, Wanted};
use grapevine_logql::print::to_query;
use grapevine_storage::index::TimeRange;
use grapevine_storage::scan::LineFilter;
use tokio::time::{Instant, timeout};

use self::miner::{CLUSTERS_MAX, Miner, Pattern};
use super::answer::Stats;
use super::drive::{Job, Reading, drive};
use super::error::QueryError;
use super::lines::OptionsOf;
use super::notes::Notes;
use super::packs::Packs;
use super::question::{Piece, Question, Taken, runs};
use super::scan::{Scanner, Span};
use super::scatter::Scatter;
use super::sought::{Bounds, Sought, log_of};
use super::work::{Fetched, Unreadable, Work};
use super::{Asker, Querier, pushdown, stage_error};
use crate::cluster::methods;

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

/// Templates by level and text, with the lines of each.
#[derive(Clone, Debug)]
pub struct Mined {
    patterns: BTreeMap<(String, String), BTreeMap<i64, u64>>,
    one_in: u64,
}

/// Templates as they travel.
#[derive(Clone, Debug, Encode, Decode)]
pub struct SentPatterns {
    one_in: u64,
    patterns: Vec<SentPattern>,
}

#[derive(Clone, Debug, Encode, Decode)]
struct SentPattern {
    level: String,
    text: String,
    counts: Vec<(i64, u64)>,
}

impl Mined {
    /// Adds lines of a template; those that read alike are one.
    fn add(&mut self, level: String, text: String, counts: impl IntoIterator<Item = (i64, u64)>) {
        let sums = self.patterns.entry((level, text)).or_default();
        for (at, lines) in counts {
            let sum = sums.entry(at).or_default();
            *sum = sum.saturating_add(lines);
        }
    }

    /// The most frequent first.
    fn into_patterns(self) -> Vec<Pattern> {
        let pattern = |((level, text), counts)| Pattern { text, level, counts };
        let mut patterns: Vec<Pattern> = self.patterns.into_iter().map(pattern).collect();
        patterns.sort_by_key(|pattern| Reverse(pattern.counts.values().sum::<u64>()));
        patterns
    }
}

/// Asks for templates.
#[derive(Clone, Debug)]
pub struct PatternQuestion {
    log: Arc<LogExpr>,
    span: Span,
    step: i64,
}

impl PatternQuestion {
    /// The question of a text.
    ///
    /// # Errors
    /// The query cannot be read here.
    pub fn of_text(query: &str, (first, last): Bounds, step: i64) -> Result<Self, Refusal> {
        let span = Span { first, last, forward: true };
        Ok(PatternQuestion { log: Arc::new(log_of(query)?), span, step })
    }
}

impl Question for PatternQuestion {
    const METHOD: Method = methods::CATALOGUE;
    type Wire = Sought;
    type Found = Mined;
    type Item = SentPatterns;

    fn wire(&self) -> Sought {
        let query = to_query(&Expr::Log((*self.log).clone()));
        Sought::Patterns { query, range: (self.span.first, self.span.last), step: self.step }
    }

    fn range(&self) -> TimeRange {
        self.span.range()
    }

    fn nothing(&self, _: &Asker) -> Mined {
        Mined { patterns: BTreeMap::new(), one_in: 1 }
    }

    async fn read(&self, querier: &Querier, piece: &Piece, notes: &mut Notes) -> Result<Mined, QueryError> {
        let (log, span) = (&self.log, self.span);
        let pipeline = Pipeline::compile(&log.stages, &Wanted::All)
            .map_err(|error| QueryError::Bad(stage_error(&log.stages, &error)))?;
        let filter = pushdown::of_stages(&log.stages)?.filter;
        let mut works = querier.works(piece, &log.selector, span, notes).await?;
        works.sort_by_key(|work| (work.stream.tenant.clone(), work.stream.id, work.first));
        let one_in = works.iter().map(Work::entries).sum::<u64>().div_ceil(LINES_MAX).max(1);
        let options = OptionsOf::of_piece(piece);
        let job = Arc::new(PatternJob { pipeline, filter, span, options, one_in });
        let local = PatternLocal { scanner: Scanner::new(), miner: Miner::new(self.step), passed: 0 };
        let (exec, packs) = (&querier.env.exec, &querier.packs);
        let done = drive(exec, packs, &job, works, vec![local], &mut notes.warnings).await?;
        let mut mined = Mined { patterns: BTreeMap::new(), one_in };
        for local in done {
            notes.stats.merge(&local.scanner.stats);
            for Pattern { text, level, counts } in local.miner.finish() {
                mined.add(level, text, counts);
            }
        }
        Ok(mined)
    }

    fn items(found: Mined) -> impl Iterator<Item = SentPatterns> + Send {
        let one_in = found.one_in;
        let sent = |((level, text), counts): ((String, String), BTreeMap<i64, u64>)| SentPattern {
            level,
            text,
            counts: counts.into_iter().collect(),
        };
        let weight = |pattern: &SentPattern| {
            pattern.level.len() + pattern.text.len() + size_of_val(&pattern.counts[..])
        };
        let patterns = runs(found.patterns.into_iter().map(sent), weight);
        patterns.map(move |patterns| SentPatterns { one_in, patterns })
    }

    fn take(&self, item: SentPatterns, into: &mut Mined) -> Result<Taken, QueryError> {
        into.one_in = into.one_in.max(item.one_in);
        for SentPattern { level, text, counts } in item.patterns {
            into.add(level, text, counts);
        }
        match into.patterns.len() <= CLUSTERS_MAX {
            true => Ok(Taken::More),
            false => Ok(Taken::Unfit(format!("a reader found more than `{CLUSTERS_MAX}` patterns"))),
        }
    }

    fn merge(&self, part: Mined, into: &mut Mined) -> Result<(), QueryError> {
        into.one_in = into.one_in.max(part.one_in);
        part.patterns.into_iter().for_each(|((level, text), counts)| into.add(level, text, counts));
        Ok(())
    }
}

impl Querier {
    /// Finds templates.
    ///
    /// # Errors
    /// As [`Querier::lines`].
    pub async fn patterns(&self, asker: &Asker, query: PatternQuery) -> Result<PatternAnswer, QueryError> {
        let began = Instant::now();
        let span = Span { first: query.start, last: query.end.saturating_sub(1), forward: true };
        let question = PatternQuestion { log: Arc::new(query.log), span, step: query.step };
        let range = TimeRange { first: span.first, last: span.last };
        let run = async {
            let mut scatter = Scatter::begin(self, asker, range).await;
            let mined = scatter.ask(&question).await?;
            Ok::<_, QueryError>((mined, scatter.finish()))
        };
        let (mined, notes) = timeout(asker.timeout, run).await.map_err(|_| QueryError::TimedOut)??;
        let (warnings, Notes { mut stats, .. }) = self.warnings(notes);
        let one_in = mined.one_in;
        let patterns = mined.into_patterns();
        stats.returned = patterns.len() as u64;
        stats.elapsed = began.elapsed();
        Ok(PatternAnswer { patterns, one_in, warnings, stats })
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

    fn reading(&self) -> Reading {
        Reading::InOrder
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
        let options = self.options.of(&work.stream.tenant);
        let mut stages = self.pipeline.stream(&labels, &options);
        let (levels, mut buffer) = (options.levels.unwrap_or_else(LevelSources::usual), Vec::new());
        let before = *passed;
        let read = work.lines::<()>(packs, fetched, scanner, &self.filter, self.span, &mut |line| {
            let Some(outcome) = stages.process(line.timestamp, line.line, line.metadata) else {
                return ControlFlow::Continue(());
            };
            if passed.is_multiple_of(self.one_in) {
                let level = levels.detect(&labels, line.metadata, line.line, &mut buffer);
                miner.add(level, line.timestamp, outcome.line, self.one_in);
            }
            *passed += 1;
            ControlFlow::Continue(())
        });
        scanner.stats.lines_passed += *passed - before;
        Ok(read.map(drop))
    }
}
