//! Answers queries: finds what may hold an answer, reads it, and merges.

pub mod answer;
pub mod catalogue;
pub mod count;
pub mod drive;
pub mod error;
pub mod explain;
pub mod fields;
pub mod follow;
pub mod freshness;
pub mod lacks;
pub mod lines;
pub mod merge;
pub mod notes;
pub mod numbers;
pub mod packs;
pub mod patterns;
pub mod pushdown;
pub mod question;
mod remote;
pub mod scan;
pub mod scatter;
pub mod select;
pub mod serve;
pub mod share;
pub mod sought;
pub mod spread;
pub mod tails;
pub mod units;
pub mod volume;
pub mod wire;
pub mod work;

#[cfg(test)]
mod cluster_test;
#[cfg(test)]
mod explain_test;
#[cfg(test)]
mod reference_test;
#[cfg(test)]
mod remote_test;

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use grapevine_logql::ast::{Expr, LogExpr, Matcher as AstMatcher, Stage};
use grapevine_logql::eval_limits::EvalLimits;
use grapevine_logql::evaluate;
use grapevine_logql::level::LevelSources;
use grapevine_logql::log_select::{Direction, LineSelection};
use grapevine_logql::parse::parse;
use grapevine_logql::pipeline::{CompileError, Pipeline, Wanted};
use grapevine_logql::plan::{MetricPlan, PlanOptions};
use grapevine_logql::print::to_query;
use grapevine_logql::range::Steps;
use grapevine_storage::index::{Index, TimeRange};
use grapevine_storage::stream::Labels;
use tokio::time::{Instant, timeout};

use self::answer::{Answer, LogLine, Value};
use self::error::QueryError;
use self::freshness::{Freshness, NothingUnconfirmed};
use self::lacks::lacks;
use self::lines::LineQuestion;
use self::notes::Notes;
use self::numbers::LeafQuestion;
use self::packs::Packs;
use self::question::{Piece, Question};
use self::scan::Span;
use self::scatter::{Neighbours, Scatter};
use self::select::{compile_for, select};
use self::work::{Work, works};
use crate::deletes::Deletes;
use crate::env::Env;
use crate::exec::Lane;
use crate::ingester::Ingester;
use crate::metrics::Metrics;

/// The label that says whose a stream is, where a query asks several tenants.
pub const TENANT_LABEL: &str = "__tenant_id__";

/// Requests that a query has under way at a time to a store behind a network, where most of the time is spent waiting for
/// it. More hide longer ways; each holds some chunks in memory. How many are searched at once the lane decides.
const FETCHES_MAX: usize = 16;

/// Lines that a round of a query with an `interval` looks at, at least.
const ROUND_LINES: usize = 1000;

/// Answers queries.
#[derive(Debug)]
pub struct Querier {
    env: Env,
    ingester: Arc<Ingester>,
    index: Arc<Index>,
    packs: Arc<Packs>,
    deletes: Arc<Deletes>,
    metrics: Arc<Metrics>,
    /// The cluster; none unless the node is in one.
    neighbours: OnceLock<Arc<dyn Neighbours>>,
    freshness: OnceLock<Arc<dyn Freshness>>,
}

/// Who asks, and within which bounds.
#[derive(Clone, Debug)]
pub struct Asker {
    /// The tenants whose streams are asked, at least one; ascending, each once.
    pub tenants: Vec<Arc<str>>,
    /// Where the `detected_level` of their lines is looked for; none if they have none.
    pub levels: BTreeMap<Arc<str>, Option<Arc<LevelSources>>>,
    /// Bounds of metric queries.
    pub limits: EvalLimits,
    /// How long it may take.
    pub timeout: Duration,
    /// Whether the answer is to say how it was found.
    pub explain: bool,
}

/// A query for lines.
#[derive(Clone, Debug)]
pub struct LogQuery {
    /// What is asked.
    pub log: LogExpr,
    /// The first timestamp wanted, ns.
    pub start: i64,
    /// The first timestamp not wanted any more, ns.
    pub end: i64,
    /// The most lines wanted.
    pub limit: usize,
    /// The oldest line first.
    pub forward: bool,
    /// The least distance between lines, ns.
    pub interval: i64,
}

impl Querier {
    /// Asks an ingester's heads, an index, and packs, and hides what is to be deleted.
    pub fn new(
        env: Env,
        ingester: Arc<Ingester>,
        index: Arc<Index>,
        packs: Arc<Packs>,
        deletes: Arc<Deletes>,
        metrics: Arc<Metrics>,
    ) -> Self {
        let (neighbours, freshness) = (OnceLock::new(), OnceLock::new());
        Querier { env, ingester, index, packs, deletes, metrics, neighbours, freshness }
    }

    /// Reads a query, and checks that its stages can be run.
    ///
    /// # Errors
    /// Loki's words on what is wrong with it.
    pub fn parse(query: &str) -> Result<Expr, QueryError> {
        parse(query).map_err(|error| QueryError::Bad(error.to_string()))
    }

    /// From now on this node is one of several: queries go to those who own what they ask for.
    pub fn join(&self, neighbours: Arc<dyn Neighbours>, freshness: Arc<dyn Freshness>) {
        let joined = self.neighbours.set(neighbours).and_then(|()| {
            self.freshness.set(freshness).map_err(|_| unreachable!("it is set right after the neighbours"))
        });
        assert!(joined.is_ok(), "a node joins one cluster, once");
    }

    fn freshness(&self) -> &dyn Freshness {
        self.freshness.get().map_or(&NothingUnconfirmed, |freshness| &**freshness)
    }

    /// Answers a question about a piece from what this node holds, after it has got what it may lack.
    async fn read_piece<Q: Question>(
        &self,
        question: &Q,
        piece: &Piece,
        deadline: Instant,
        notes: &mut Notes,
    ) -> Result<Q::Found, QueryError> {
        if let Some(why) = self.freshness().unreadable(&piece.share) {
            return Err(QueryError::Unlearnt(why));
        }
        let missing = self.freshness().catch_up(&piece.share, &piece.unconfirmed, deadline).await;
        missing.into_iter().for_each(|text| notes.warnings.add(text));
        self.read_own(question, piece, notes).await
    }

    /// Answers a question from what this node holds, and notes what it may lack of what is stored.
    async fn read_own<Q: Question>(
        &self,
        question: &Q,
        piece: &Piece,
        notes: &mut Notes,
    ) -> Result<Q::Found, QueryError> {
        let found = question.read(self, piece, notes).await?;
        // Afterwards: what was found corrupt is incomplete now.
        let (index, range) = (self.index.clone(), question.range());
        let (asker, share) = (piece.asker.clone(), piece.share.clone());
        let look = move || lacks(&index, &asker.tenants, range, &share);
        let missing = self.env.exec.run(Lane::Disk, look).await?;
        missing.into_iter().for_each(|text| notes.warnings.add(text));
        Ok(found)
    }

    /// Answers a query for lines.
    ///
    /// # Errors
    /// What is wrong with the query; what cannot be read is a warning in the answer.
    pub async fn lines(&self, asker: &Asker, query: LogQuery) -> Result<Answer, QueryError> {
        let began = Instant::now();
        let range = TimeRange { first: query.start, last: query.end.saturating_sub(1) };
        let run = async {
            let mut scatter = Scatter::begin(self, asker, range).await;
            if asker.explain {
                let order = if query.forward { "oldest" } else { "newest" };
                let head = format!("log query, {} lines at most, {order} first: {}", query.limit, query.log);
                scatter.notes.explain.push(head);
            }
            let lines = thinned(&mut scatter, &query).await?;
            Ok::<_, QueryError>((lines, scatter.finish()))
        };
        let (lines, mut notes) = timeout(asker.timeout, run).await.map_err(|_| QueryError::TimedOut)??;
        notes.stats.returned = lines.len() as u64;
        Ok(self.answer(Value::Lines(lines), asker, notes, began))
    }

    /// Answers a query for numbers.
    ///
    /// # Errors
    /// As [`Self::lines`].
    pub async fn numbers(&self, asker: &Asker, expr: &Expr, steps: &Steps) -> Result<Answer, QueryError> {
        let began = Instant::now();
        let Expr::Sample(sample) = expr else {
            return Err(QueryError::Bad("the query asks for lines, not for numbers".into()));
        };
        let options = PlanOptions { discover_levels: asker.levels.values().any(Option::is_some) };
        let plan = MetricPlan::new(sample, options).map_err(|error| QueryError::Bad(error.to_string()))?;
        let query: Arc<str> = to_query(expr).into();
        let spans = plan.leaves.iter().map(|leaf| numbers::span(leaf, steps));
        let range = spans.fold(TimeRange { first: i64::MAX, last: i64::MIN }, |all, span| TimeRange {
            first: all.first.min(span.first),
            last: all.last.max(span.last),
        });
        let run = async {
            let mut scatter = Scatter::begin(self, asker, range).await;
            if asker.explain {
                scatter.notes.explain.extend(plan.to_string().lines().map(str::to_owned));
            }
            let mut matrices = Vec::with_capacity(plan.leaves.len());
            for number in 0..plan.leaves.len() {
                if asker.explain {
                    scatter.notes.explain.push(format!("leaf {number} reads:"));
                }
                let question = LeafQuestion::new(query.clone(), &plan, number, *steps, options);
                matrices.push(scatter.ask(&question).await?.finish()?);
            }
            Ok::<_, QueryError>((matrices, scatter.finish()))
        };
        let (matrices, notes) = timeout(asker.timeout, run).await.map_err(|_| QueryError::TimedOut)??;
        let value = evaluate(&plan, matrices, steps, &asker.limits)?;
        Ok(self.answer(Value::Numbers(value), asker, notes, began))
    }

    /// The pieces of what a selector chooses, of all tenants asked.
    async fn works(
        &self,
        piece: &Piece,
        selector: &[AstMatcher],
        span: Span,
        notes: &mut Notes,
    ) -> Result<Vec<Work>, QueryError> {
        let several = piece.asker.tenants.len() > 1;
        let (asked, of_stream) = compile_for(&piece.asker.tenants, selector)?;
        let mut all = Vec::new();
        for tenant in &asked {
            let (ingester, index) = (self.ingester.clone(), self.index.clone());
            let (tenant, matchers, share) = (tenant.clone(), of_stream.clone(), piece.share.clone());
            let range = TimeRange { first: span.first, last: span.last };
            let deletions = self.deletes.overlapping(&tenant, range);
            let found = self.env.exec.run(Lane::Disk, move || {
                let mut selection = select(ingester.heads(), &index, &tenant, &matchers, range, &share)?;
                if !deletions.is_empty() {
                    selection.values_mut().for_each(|parts| parts.hide(&deletions));
                }
                if several {
                    selection
                        .values_mut()
                        .for_each(|parts| parts.labels = with_tenant(&parts.labels, &tenant));
                }
                let streams = selection.len() as u64;
                Ok::<_, QueryError>((works(&tenant, selection, span), streams))
            });
            let (works, streams) = found.await?;
            notes.stats.streams += streams;
            all.extend(works);
        }
        Ok(all)
    }

    fn workers<T>(&self, make: impl Fn() -> T) -> Vec<T> {
        let wanted = if self.packs.is_remote() { FETCHES_MAX } else { 0 };
        (0..self.env.exec.parallelism().max(wanted)).map(|_| make()).collect()
    }

    fn answer(&self, value: Value, asker: &Asker, mut notes: Notes, began: Instant) -> Answer {
        notes.stats.elapsed = began.elapsed();
        if asker.explain {
            notes.explain.extend(explain::read_lines(&notes.stats));
        }
        let (warnings, notes) = self.warnings(notes);
        Answer { value, warnings, stats: notes.stats, explain: notes.explain }
    }

    /// What is missing from an answer, once it is known.
    fn warnings(&self, mut notes: Notes) -> (Vec<String>, Notes) {
        let warnings = std::mem::take(&mut notes.warnings).into_texts();
        if !warnings.is_empty() {
            self.metrics.incomplete_answers.inc();
        }
        (warnings, notes)
    }
}

/// The lines of an answer. Where `interval` thins them, nobody knows beforehand how many must be looked at to
/// find so many: they are looked for in rounds, each from where the one before ended.
async fn thinned(scatter: &mut Scatter<'_>, query: &LogQuery) -> Result<Vec<LogLine>, QueryError> {
    let forward = query.forward;
    let mut span = Span { first: query.start, last: query.end.saturating_sub(1), forward };
    let log = Arc::new(query.log.clone());
    let question = |span, limit| LineQuestion::new(log.clone(), span, limit);
    if query.interval == 0 {
        let found = scatter.ask(&question(span, query.limit)).await?;
        return Ok(found.into_iter().map(|(_, line)| line).collect());
    }
    let direction = if forward { Direction::Forward } else { Direction::Backward };
    let mut selection = LineSelection::new(direction, query.limit, query.interval.unsigned_abs());
    let most = query.limit.max(ROUND_LINES);
    let mut chosen: Vec<LogLine> = Vec::new();
    loop {
        let found = scatter.ask(&question(span, most)).await?;
        scatter.explain_no_more();
        let is_last = found.len() < most;
        let found = found.into_iter().map(|(_, line)| line);
        chosen.extend(found.filter(|line| selection.offer(line.timestamp)));
        let Some(last) = chosen.last().filter(|_| !is_last && !selection.is_full()) else { break };
        match forward {
            true => span.first = last.timestamp.saturating_add(query.interval),
            false => span.last = last.timestamp.saturating_sub(query.interval),
        }
    }
    Ok(chosen)
}

fn with_tenant(labels: &Labels, tenant: &str) -> Labels {
    Labels::new(labels.iter().chain([(TENANT_LABEL, tenant)]))
}

/// Loki reports a stage that does not compile as an error of parsing, and prints the stage.
fn stage_error(stages: &[Stage], error: &CompileError) -> String {
    let fails = |stage: &&Stage| Pipeline::compile(std::slice::from_ref(*stage), &Wanted::All).is_err();
    let Some(stage) = stages.iter().find(fails) else { return format!("parse error : {error}") };
    let alone = LogExpr { selector: Vec::new(), stages: vec![stage.clone()] };
    let printed = to_query(&Expr::Log(alone));
    format!("parse error : stage '{}' : {error}", printed.trim_start_matches("{}").trim_start())
}
