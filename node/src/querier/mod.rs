//! Answers queries: finds what may hold an answer, reads it, and merges.

pub mod answer;
pub mod catalogue;
pub mod drive;
pub mod error;
pub mod explain;
pub mod fields;
pub mod follow;
pub mod lines;
pub mod merge;
pub mod numbers;
pub mod packs;
pub mod patterns;
pub mod pushdown;
pub mod scan;
pub mod select;
pub mod units;
pub mod volume;
pub mod work;

#[cfg(test)]
mod reference_test;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use grapevine_logql::ast::{Expr, LogExpr, Matcher as AstMatcher, Stage};
use grapevine_logql::eval_limits::EvalLimits;
use grapevine_logql::evaluate;
use grapevine_logql::leaf_scan::LeafScan;
use grapevine_logql::log_select::{Direction, LineSelection};
use grapevine_logql::parse::parse;
use grapevine_logql::pipeline::{CompileError, Options, Pipeline, Wanted, split_leading};
use grapevine_logql::plan::{Leaf, MetricPlan, PlanOptions};
use grapevine_logql::print::to_query;
use grapevine_logql::range::{Accumulator, Steps};
use grapevine_logql::series::StepMatrix;
use grapevine_storage::index::{Index, Matcher, TimeRange};
use grapevine_storage::stream::Labels;
use tokio::time::{Instant, timeout};

use self::answer::{Answer, LogLine, Stats, Value};
use self::drive::{Warnings, drive};
use self::error::QueryError;
use self::lines::{LineJob, OptionsOf, stats_of};
use self::numbers::{LeafJob, LeafLocal};
use self::packs::Packs;
use self::scan::{Scanner, Span};
use self::select::{compile, incomplete_days, select};
use self::work::{Work, works};
use crate::deletes::Deletes;
use crate::env::Env;
use crate::exec::Lane;
use crate::ingester::Ingester;
use crate::metrics::Metrics;

/// The label that says whose a stream is, where a query asks several tenants.
pub const TENANT_LABEL: &str = "__tenant_id__";

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
}

/// Who asks, and within which bounds.
#[derive(Clone, Debug)]
pub struct Asker {
    /// The tenants whose streams are asked, at least one; ascending, each once.
    pub tenants: Vec<Arc<str>>,
    /// For which of them lines have a `detected_level`.
    pub detected_level: BTreeMap<Arc<str>, bool>,
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
        Querier { env, ingester, index, packs, deletes, metrics }
    }

    /// Reads a query, and checks that its stages can be run.
    ///
    /// # Errors
    /// Loki's words on what is wrong with it.
    pub fn parse(query: &str) -> Result<Expr, QueryError> {
        parse(query).map_err(|error| QueryError::Bad(error.to_string()))
    }

    /// Answers a query for lines.
    ///
    /// # Errors
    /// What is wrong with the query; what cannot be read is a warning in the answer.
    pub async fn lines(&self, asker: &Asker, query: LogQuery) -> Result<Answer, QueryError> {
        let began = Instant::now();
        let mut stats = Stats::default();
        let mut warnings = Warnings::default();
        let run = self.thinned(asker, &query, &mut stats, &mut warnings);
        let lines = timeout(asker.timeout, run).await.map_err(|_| QueryError::TimedOut)??;
        stats.returned = lines.len() as u64;
        stats.elapsed = began.elapsed();
        let mut explain = Vec::new();
        if asker.explain {
            let order = if query.forward { "oldest" } else { "newest" };
            explain.push(format!("log query, {} lines at most, {order} first: {}", query.limit, query.log));
            let span = Span { first: query.start, last: query.end.saturating_sub(1), forward: query.forward };
            let (pushed, _) = split_leading(&query.log.stages);
            explain.extend(self.explain(asker, &query.log.selector, &pushed, span).await?);
            explain.extend(explain::read_lines(&stats));
        }
        Ok(self.answer(Value::Lines(lines), stats, warnings, explain))
    }

    /// The lines of an answer. Where `interval` thins them, nobody knows beforehand how many must be looked at to
    /// find so many: they are looked for in rounds, each from where the one before ended.
    async fn thinned(
        &self,
        asker: &Asker,
        query: &LogQuery,
        stats: &mut Stats,
        warnings: &mut Warnings,
    ) -> Result<Vec<LogLine>, QueryError> {
        let forward = query.forward;
        let mut span = Span { first: query.start, last: query.end.saturating_sub(1), forward };
        if query.interval == 0 {
            return self.round(asker, query, span, query.limit, stats, warnings).await;
        }
        let direction = if forward { Direction::Forward } else { Direction::Backward };
        let mut selection = LineSelection::new(direction, query.limit, query.interval.unsigned_abs());
        let most = query.limit.max(ROUND_LINES);
        let mut chosen: Vec<LogLine> = Vec::new();
        loop {
            let found = self.round(asker, query, span, most, stats, warnings).await?;
            let is_last = found.len() < most;
            chosen.extend(found.into_iter().filter(|line| selection.offer(line.timestamp)));
            let Some(last) = chosen.last().filter(|_| !is_last && !selection.is_full()) else { break };
            match forward {
                true => span.first = last.timestamp.saturating_add(query.interval),
                false => span.last = last.timestamp.saturating_sub(query.interval),
            }
        }
        Ok(chosen)
    }

    async fn round(
        &self,
        asker: &Asker,
        query: &LogQuery,
        span: Span,
        limit: usize,
        stats: &mut Stats,
        warnings: &mut Warnings,
    ) -> Result<Vec<LogLine>, QueryError> {
        let pipeline = Pipeline::compile(&query.log.stages, &Wanted::All)
            .map_err(|error| QueryError::Bad(stage_error(&query.log.stages, &error)))?;
        let filter = pushdown::of_stages(&query.log.stages)?.filter;
        if span.first > span.last || limit == 0 {
            return Ok(Vec::new());
        }
        let options = self.options(asker);
        let job = Arc::new(LineJob { pipeline, filter, span, limit, options, best: Mutex::default() });
        let mut works = self.works(asker, &query.log.selector, span, stats, warnings).await?;
        match span.forward {
            true => works.sort_by_key(|work| work.first),
            false => works.sort_by_key(|work| std::cmp::Reverse(work.last)),
        }
        let scanners = self.workers(Scanner::new);
        let scanners = drive(&self.env.exec, &self.packs, &job, works, scanners, warnings).await?;
        stats.merge(&stats_of(scanners));
        Ok(job.finish())
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
        let discover_levels = asker.detected_level.values().any(|on| *on);
        let plan = MetricPlan::new(sample, PlanOptions { discover_levels })
            .map_err(|error| QueryError::Bad(error.to_string()))?;
        let mut stats = Stats::default();
        let mut warnings = Warnings::default();
        let run = async {
            let mut matrices = Vec::with_capacity(plan.leaves.len());
            for leaf in &plan.leaves {
                matrices.push(self.leaf(asker, leaf, steps, &mut stats, &mut warnings).await?);
            }
            Ok::<_, QueryError>(matrices)
        };
        let matrices = timeout(asker.timeout, run).await.map_err(|_| QueryError::TimedOut)??;
        let value = evaluate(&plan, matrices, steps, &asker.limits)?;
        stats.elapsed = began.elapsed();
        let mut explain = Vec::new();
        if asker.explain {
            explain.extend(plan.to_string().lines().map(str::to_owned));
            for (number, leaf) in plan.leaves.iter().enumerate() {
                explain.push(format!("leaf {number} reads:"));
                let pushed = leaf.hit_filters.clone().unwrap_or_else(|| split_leading(&leaf.stages).0);
                let span = numbers::span(leaf, steps);
                explain.extend(self.explain(asker, &leaf.selector, &pushed, span).await?);
            }
            explain.extend(explain::read_lines(&stats));
        }
        Ok(self.answer(Value::Numbers(value), stats, warnings, explain))
    }

    async fn leaf(
        &self,
        asker: &Asker,
        leaf: &Leaf,
        steps: &Steps,
        stats: &mut Stats,
        warnings: &mut Warnings,
    ) -> Result<StepMatrix, QueryError> {
        let windows = leaf.windows(steps);
        let scan =
            LeafScan::compile(leaf).map_err(|error| QueryError::Bad(stage_error(&leaf.stages, &error)))?;
        let pushed = match &leaf.hit_filters {
            Some(filters) => pushdown::of_filters(filters)?,
            None => pushdown::of_stages(&leaf.stages)?,
        };
        let span = numbers::span(leaf, steps);
        let mut works = self.works(asker, &leaf.selector, span, stats, warnings).await?;
        works.sort_by_key(|work| (work.stream.id, work.first));
        let job = Arc::new(LeafJob {
            scan,
            reads_text: leaf.reads_text,
            pushed,
            span,
            edges: numbers::edges(&windows),
            options: self.options(asker),
        });
        let locals = self.workers(|| LeafLocal {
            scanner: Scanner::new(),
            sums: Accumulator::new(leaf, windows.clone(), asker.limits),
            origin: 0,
        });
        let locals = drive(&self.env.exec, &self.packs, &job, works, locals, warnings).await?;
        let mut total = Accumulator::new(leaf, windows, asker.limits);
        for local in locals {
            stats.merge(&local.scanner.stats);
            total.merge(local.sums)?;
        }
        Ok(total.finish()?)
    }

    /// The pieces of what a selector chooses, of all tenants asked.
    async fn works(
        &self,
        asker: &Asker,
        selector: &[AstMatcher],
        span: Span,
        stats: &mut Stats,
        warnings: &mut Warnings,
    ) -> Result<Vec<Work>, QueryError> {
        let several = asker.tenants.len() > 1;
        let (of_tenant, of_stream): (Vec<_>, Vec<_>) =
            compile(selector)?.into_iter().partition(|m: &Matcher| several && m.name == TENANT_LABEL);
        let mut all = Vec::new();
        for tenant in &asker.tenants {
            if !of_tenant.iter().all(|matcher| matcher.matches(tenant)) {
                continue;
            }
            let (ingester, index) = (self.ingester.clone(), self.index.clone());
            let (tenant, matchers) = (tenant.clone(), of_stream.clone());
            let range = TimeRange { first: span.first, last: span.last };
            let deletions = self.deletes.overlapping(&tenant, range);
            let found = self.env.exec.run(Lane::Disk, move || {
                let mut selection = select(ingester.heads(), &index, &tenant, &matchers, range)?;
                if !deletions.is_empty() {
                    selection.values_mut().for_each(|parts| parts.hide(&deletions));
                }
                if several {
                    selection
                        .values_mut()
                        .for_each(|parts| parts.labels = with_tenant(&parts.labels, &tenant));
                }
                let streams = selection.len() as u64;
                // After the selection: what it found corrupt is incomplete now.
                let missing = incomplete_days(&index, range)?;
                Ok::<_, QueryError>((works(&tenant, selection, span), streams, missing))
            });
            let (works, streams, missing) = found.await?;
            missing.into_iter().for_each(|text| warnings.add(text));
            stats.streams += streams;
            all.extend(works);
        }
        Ok(all)
    }

    fn options(&self, asker: &Asker) -> OptionsOf {
        let now = self.env.clock.now();
        let of = |(tenant, on): (&Arc<str>, &bool)| (tenant.clone(), Options { detected_level: *on, now });
        OptionsOf { by_tenant: asker.detected_level.iter().map(of).collect() }
    }

    fn workers<T>(&self, make: impl Fn() -> T) -> Vec<T> {
        (0..self.env.exec.parallelism()).map(|_| make()).collect()
    }

    fn answer(&self, value: Value, stats: Stats, warnings: Warnings, explain: Vec<String>) -> Answer {
        let warnings = warnings.into_texts();
        if !warnings.is_empty() {
            self.metrics.incomplete_answers.inc();
        }
        Answer { value, warnings, stats, explain }
    }
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
