//! Answers queries: finds what may hold an answer, reads it, and merges.

pub mod answer;
pub mod catalogue;
pub mod drive;
pub mod error;
pub mod follow;
pub mod lines;
pub mod merge;
pub mod numbers;
pub mod packs;
pub mod pushdown;
pub mod scan;
pub mod select;
pub mod units;
pub mod volume;
pub mod work;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use grapevine_logql::ast::{Expr, LogExpr, Matcher as AstMatcher, Stage};
use grapevine_logql::eval_limits::EvalLimits;
use grapevine_logql::evaluate;
use grapevine_logql::leaf_scan::LeafScan;
use grapevine_logql::parse::parse;
use grapevine_logql::pipeline::{CompileError, Options, Pipeline, Wanted};
use grapevine_logql::plan::{Leaf, MetricPlan, PlanOptions};
use grapevine_logql::print::to_query;
use grapevine_logql::range::{Accumulator, Steps};
use grapevine_logql::series::StepMatrix;
use grapevine_storage::index::{Index, Matcher, TimeRange};
use grapevine_storage::stream::Labels;
use tokio::time::{Instant, timeout};

use self::answer::{Answer, Stats, Value};
use self::drive::{Warnings, drive};
use self::error::QueryError;
use self::lines::{LineJob, OptionsOf, stats_of};
use self::numbers::{LeafJob, LeafLocal};
use self::packs::Packs;
use self::scan::{Scanner, Span};
use self::select::{compile, select};
use self::work::{Work, works};
use crate::env::Env;
use crate::exec::Lane;
use crate::ingester::Ingester;
use crate::metrics::Metrics;

/// The label that says whose a stream is, where a query asks several tenants.
pub const TENANT_LABEL: &str = "__tenant_id__";

/// Answers queries.
#[derive(Debug)]
pub struct Querier {
    env: Env,
    ingester: Arc<Ingester>,
    index: Arc<Index>,
    packs: Arc<Packs>,
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
    /// Asks an ingester's heads, an index, and packs.
    pub fn new(
        env: Env,
        ingester: Arc<Ingester>,
        index: Arc<Index>,
        packs: Arc<Packs>,
        metrics: Arc<Metrics>,
    ) -> Self {
        Querier { env, ingester, index, packs, metrics }
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
        let pipeline = Pipeline::compile(&query.log.stages, &Wanted::All)
            .map_err(|error| QueryError::Bad(stage_error(&query.log.stages, &error)))?;
        let pushed = pushdown::of_stages(&query.log.stages)?;
        let span = Span { first: query.start, last: query.end.saturating_sub(1), forward: query.forward };
        let mut stats = Stats::default();
        let mut warnings = Warnings::default();
        let job = Arc::new(LineJob {
            pipeline,
            filter: pushed.filter,
            span,
            limit: query.limit,
            options: self.options(asker),
            best: Mutex::default(),
        });
        if query.start < query.end && query.limit > 0 {
            let run = async {
                let mut works = self.works(asker, &query.log.selector, span, &mut stats).await?;
                match query.forward {
                    true => works.sort_by_key(|work| work.first),
                    false => works.sort_by_key(|work| std::cmp::Reverse(work.last)),
                }
                let scanners = self.workers(Scanner::new);
                drive(&self.env.exec, &self.packs, &job, works, scanners, &mut warnings).await
            };
            let scanners = timeout(asker.timeout, run).await.map_err(|_| QueryError::TimedOut)??;
            stats.merge(&stats_of(scanners));
        }
        let lines = job.finish(query.interval);
        stats.returned = lines.len() as u64;
        stats.elapsed = began.elapsed();
        Ok(self.answer(Value::Lines(lines), stats, warnings))
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
        Ok(self.answer(Value::Numbers(value), stats, warnings))
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
        let mut works = self.works(asker, &leaf.selector, span, stats).await?;
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
            let found = self.env.exec.run(Lane::Disk, move || {
                let mut selection = select(ingester.heads(), &index, &tenant, &matchers, range)?;
                if several {
                    selection
                        .values_mut()
                        .for_each(|parts| parts.labels = with_tenant(&parts.labels, &tenant));
                }
                let streams = selection.len() as u64;
                Ok::<_, QueryError>((works(&tenant, selection, span), streams))
            });
            let (works, streams) = found.await?;
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

    fn answer(&self, value: Value, stats: Stats, warnings: Warnings) -> Answer {
        let warnings = warnings.into_texts();
        if !warnings.is_empty() {
            self.metrics.incomplete_answers.inc();
        }
        Answer { value, warnings, stats }
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
