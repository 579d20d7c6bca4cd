//! Evaluates one leaf of a metric query: what its lines amount to, window by window.

use std::ops::ControlFlow;
use std::sync::Arc;

use bincode::{Decode, Encode};
use grapevine_gossip::rpc::{Method, Refusal, RefusalCode};
use grapevine_logql::ast::Expr;
use grapevine_logql::eval_error::EvalError;
use grapevine_logql::leaf_scan::{Fate, LeafScan};
use grapevine_logql::parse::parse;
use grapevine_logql::pipeline::split_leading;
use grapevine_logql::plan::{Leaf, MetricPlan, PlanOptions};
use grapevine_logql::range::{Accumulator, Part, SeriesId, Steps};
use grapevine_storage::index::TimeRange;
use grapevine_storage::scan::LineFilter;
use xxhash_rust::xxh3::xxh3_64;

use super::drive::{Job, Reading, drive};
use super::error::QueryError;
use super::lines::OptionsOf;
use super::notes::Notes;
use super::packs::Packs;
use super::pushdown::{self, Pushed};
use super::question::{ITEM_BYTES, Piece, Question, Taken};
use super::scan::{Edges, Scanner, Span};
use super::sought::invalid;
use super::work::{Fetched, Unreadable, Work};
use super::{Asker, Querier, stage_error};
use crate::cluster::methods;

/// The job of one leaf.
#[derive(Debug)]
pub struct LeafJob {
    /// The compiled leaf.
    pub scan: LeafScan,
    /// Whether its lines' text is looked at.
    pub reads_text: bool,
    /// The line filters that blocks are searched for.
    pub pushed: Pushed,
    /// The time that its windows cover.
    pub span: Span,
    /// Where the elementary intervals of its windows begin.
    pub edges: Arc<[i64]>,
    /// What stages are told.
    pub options: OptionsOf,
}

/// What one worker gathers.
#[derive(Debug)]
pub struct LeafLocal {
    /// Buffers.
    pub scanner: Scanner,
    /// Sums.
    pub sums: Accumulator,
}

/// A window is `(from, to]`: an interval begins one nanosecond after its edge.
pub fn edges(leaf_windows: &grapevine_logql::range::Windows) -> Arc<[i64]> {
    leaf_windows.boundaries().iter().map(|edge| edge.saturating_add(1)).collect()
}

/// The stretch of time that the windows cover.
pub fn span(leaf: &Leaf, steps: &Steps) -> Span {
    let (from, to) = leaf.windows(steps).extent();
    Span { first: from.saturating_add(1), last: to, forward: true }
}

impl Job for LeafJob {
    type Local = LeafLocal;

    fn filter(&self) -> &LineFilter {
        &self.pushed.filter
    }

    fn reads_text(&self) -> bool {
        self.reads_text
    }

    fn reading(&self) -> Reading {
        Reading::AnyOrder
    }

    fn is_done_before(&self, _: &Work) -> bool {
        false
    }

    fn scanner(local: &mut LeafLocal) -> &mut Scanner {
        &mut local.scanner
    }

    fn process(
        &self,
        packs: &Packs,
        work: &Work,
        fetched: &Fetched,
        local: &mut LeafLocal,
    ) -> Result<Result<(), Unreadable>, QueryError> {
        let LeafLocal { scanner, sums } = local;
        let labels: Vec<(&str, &str)> = work.stream.labels.iter().collect();
        let options = self.options.of(&work.stream.tenant);
        // Lines of one stream and moment lie in one work. Streams are told apart by what they are, so that it does
        // not matter which worker or which node reads them.
        sums.set_origin(work.stream.id.token());
        match self.scan.settle(&labels, &options, sums)? {
            Fate::Dropped => Ok(Ok(())),
            Fate::Series(series) if !self.reads_text && work.is_run() => {
                self.count(sums, series, scanner, |scanner, edges, add| {
                    work.count_entries(packs, fetched, scanner, edges, add)
                })
            }
            Fate::Series(series) if self.pushed.exact && work.is_sealed_run() => {
                self.count(sums, series, scanner, |scanner, edges, add| {
                    work.count_matches(packs, fetched, scanner, &self.pushed.filter, edges, add)
                })
            }
            Fate::Series(series) if self.pushed.exact => {
                self.each_line(packs, work, fetched, scanner, |ts, _, _| {
                    sums.add(series, ts, 1.0)?;
                    Ok(sums.wants(ts))
                })
            }
            Fate::Series(_) | Fate::Lines => {
                let mut stream = self.scan.stream(&labels, &options);
                self.each_line(packs, work, fetched, scanner, |ts, line, metadata| {
                    stream.add(sums, ts, line, metadata)
                })
            }
        }
    }
}

impl LeafJob {
    /// Runs a count and puts what it finds into a series.
    fn count(
        &self,
        sums: &mut Accumulator,
        series: SeriesId,
        scanner: &mut Scanner,
        count: impl FnOnce(&mut Scanner, &Edges<'_>, &mut dyn FnMut(usize, u64)) -> Result<(), Unreadable>,
    ) -> Result<Result<(), Unreadable>, QueryError> {
        let (mut failed, mut passed): (Result<(), EvalError>, u64) = (Ok(()), 0);
        let counted = count(scanner, &Edges(&self.edges), &mut |interval, lines| {
            if failed.is_ok() {
                failed = sums.add_count(series, interval, lines);
            }
            passed += if sums.windows().is_covered(interval) { lines } else { 0 };
        });
        failed?;
        scanner.stats.lines_passed += passed;
        Ok(counted)
    }

    /// Puts each line that passes the pushed filters somewhere; `add` says whether it counts.
    fn each_line(
        &self,
        packs: &Packs,
        work: &Work,
        fetched: &Fetched,
        scanner: &mut Scanner,
        mut add: impl FnMut(i64, &[u8], &[(&str, &str)]) -> Result<bool, EvalError>,
    ) -> Result<Result<(), Unreadable>, QueryError> {
        let mut passed = 0;
        let read = work.lines(packs, fetched, scanner, &self.pushed.filter, self.span, &mut |line| {
            let added = add(line.timestamp, line.line, line.metadata);
            passed += u64::from(matches!(added, Ok(true)));
            added.map_or_else(ControlFlow::Break, |_| ControlFlow::Continue(()))
        });
        scanner.stats.lines_passed += passed;
        match read {
            Ok(ControlFlow::Break(error)) => Err(error.into()),
            Ok(ControlFlow::Continue(())) => Ok(Ok(())),
            Err(unreadable) => Ok(Err(unreadable)),
        }
    }
}

/// Asks for one leaf of a metric query.
#[derive(Clone, Debug)]
pub struct LeafQuestion {
    query: Arc<str>,
    number: usize,
    leaf: Arc<Leaf>,
    steps: Steps,
    options: PlanOptions,
}

/// [`LeafQuestion`] as it travels: the whole query, and which leaf of its plan.
#[derive(Clone, Debug, Encode, Decode)]
pub struct LeafWanted {
    query: String,
    discover_levels: bool,
    leaf: u32,
    /// Hash of the leaf as it is explained: a node that plans otherwise must say so instead of adding up something else.
    fingerprint: u64,
    start: i64,
    end: i64,
    /// 0 for an instant.
    step: i64,
}

fn fingerprint(leaf: &Leaf) -> u64 {
    xxh3_64(leaf.to_string().as_bytes())
}

impl LeafWanted {
    /// The question.
    ///
    /// # Errors
    /// The query cannot be read here, or is planned otherwise.
    pub fn question(self) -> Result<LeafQuestion, Refusal> {
        let expr = parse(&self.query).map_err(|error| invalid(&error))?;
        let Expr::Sample(sample) = &expr else { return Err(invalid(&"the query does not ask for numbers")) };
        let options = PlanOptions { discover_levels: self.discover_levels };
        let plan = MetricPlan::new(sample, options).map_err(|error| invalid(&error))?;
        let number = self.leaf as usize;
        let leaf = plan.leaves.into_iter().nth(number).filter(|leaf| fingerprint(leaf) == self.fingerprint);
        let leaf = leaf.ok_or_else(|| {
            let text = "this node plans the query otherwise: it is of another version";
            Refusal::new(RefusalCode::UnknownVersion, text)
        })?;
        let steps = match self.step {
            0 => Steps::instant(self.start),
            step => Steps::range(self.start, self.end, step).map_err(|error| invalid(&error))?,
        };
        Ok(LeafQuestion { query: self.query.into(), number, leaf: Arc::new(leaf), steps, options })
    }
}

impl LeafQuestion {
    /// Asks for leaf `number` of the plan of a query.
    pub fn new(
        query: Arc<str>,
        plan: &MetricPlan,
        number: usize,
        steps: Steps,
        options: PlanOptions,
    ) -> Self {
        LeafQuestion { query, number, leaf: Arc::new(plan.leaves[number].clone()), steps, options }
    }
}

impl Question for LeafQuestion {
    const METHOD: Method = methods::READ_LEAF;
    type Wire = LeafWanted;
    type Found = Accumulator;
    type Item = Part;

    fn wire(&self) -> LeafWanted {
        LeafWanted {
            query: self.query.to_string(),
            discover_levels: self.options.discover_levels,
            leaf: self.number as u32,
            fingerprint: fingerprint(&self.leaf),
            start: self.steps.time(0),
            end: self.steps.time(self.steps.count() - 1),
            step: if self.steps.is_instant() { 0 } else { self.steps.step() },
        }
    }

    fn range(&self) -> TimeRange {
        span(&self.leaf, &self.steps).range()
    }

    fn nothing(&self, asker: &Asker) -> Accumulator {
        Accumulator::new(&self.leaf, self.leaf.windows(&self.steps), asker.limits)
    }

    async fn read(
        &self,
        querier: &Querier,
        piece: &Piece,
        notes: &mut Notes,
    ) -> Result<Accumulator, QueryError> {
        let leaf = &*self.leaf;
        let windows = leaf.windows(&self.steps);
        let scan =
            LeafScan::compile(leaf).map_err(|error| QueryError::Bad(stage_error(&leaf.stages, &error)))?;
        let filters = leaf.hit_filters.clone().unwrap_or_else(|| split_leading(&leaf.stages).0);
        let span = span(leaf, &self.steps);
        let mut works = querier.works(piece, &leaf.selector, span, notes).await?;
        works.sort_by_key(|work| (work.stream.id, work.first));
        let job = Arc::new(LeafJob {
            scan,
            reads_text: leaf.reads_text,
            pushed: pushdown::of_filters(&filters)?,
            span,
            edges: edges(&windows),
            options: OptionsOf::of_piece(piece),
        });
        let local = || LeafLocal { scanner: Scanner::new(), sums: self.nothing(&piece.asker) };
        let (exec, packs, locals) = (&querier.env.exec, &querier.packs, querier.workers(local));
        let locals = drive(exec, packs, &job, works, locals, &mut notes.warnings).await?;
        let mut total = self.nothing(&piece.asker);
        for local in locals {
            notes.stats.merge(&local.scanner.stats);
            total.merge(local.sums)?;
        }
        querier.explain(piece, &leaf.selector, &filters, span, notes).await?;
        Ok(total)
    }

    fn items(found: Accumulator) -> impl Iterator<Item = Part> + Send {
        found.into_parts(ITEM_BYTES)
    }

    fn take(&self, item: Part, into: &mut Accumulator) -> Result<Taken, QueryError> {
        Ok(match into.take_part(item)? {
            Ok(()) => Taken::More,
            Err(unfit) => Taken::Unfit(unfit.to_string()),
        })
    }

    fn merge(&self, part: Accumulator, into: &mut Accumulator) -> Result<(), QueryError> {
        Ok(into.merge(part)?)
    }
}
