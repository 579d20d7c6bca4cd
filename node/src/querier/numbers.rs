//! Evaluates one leaf of a metric query: what its lines amount to, window by window.

use std::ops::ControlFlow;
use std::sync::Arc;

use grapevine_logql::eval_error::EvalError;
use grapevine_logql::leaf_scan::{Fate, LeafScan};
use grapevine_logql::plan::Leaf;
use grapevine_logql::range::{Accumulator, SeriesId};
use grapevine_storage::scan::LineFilter;

use super::drive::Job;
use super::error::QueryError;
use super::lines::OptionsOf;
use super::packs::Packs;
use super::pushdown::Pushed;
use super::scan::{Edges, Scanner, Span};
use super::work::{Fetched, Unreadable, Work};

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
    /// Tells the works of this leaf apart, for functions that care for the order of lines.
    pub origin: u64,
}

/// A window is `(from, to]`: an interval begins one nanosecond after its edge.
pub fn edges(leaf_windows: &grapevine_logql::range::Windows) -> Arc<[i64]> {
    leaf_windows.boundaries().iter().map(|edge| edge.saturating_add(1)).collect()
}

/// The stretch of time that the windows cover.
pub fn span(leaf: &Leaf, steps: &grapevine_logql::range::Steps) -> Span {
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
        let LeafLocal { scanner, sums, origin } = local;
        let labels: Vec<(&str, &str)> = work.stream.labels.iter().collect();
        let options = self.options.of(&work.stream.tenant);
        // Lines of one stream and moment lie in one work; works of a stream come in order.
        *origin += 1;
        sums.set_origin(*origin);
        match self.scan.settle(&labels, options, sums)? {
            Fate::Dropped => Ok(Ok(())),
            Fate::Series(series) if !self.reads_text && work.is_run() => {
                self.count(sums, series, |edges, add| work.count_entries(packs, fetched, scanner, edges, add))
            }
            Fate::Series(series) if self.pushed.exact && work.is_sealed_run() => {
                self.count(sums, series, |edges, add| {
                    work.count_matches(packs, fetched, scanner, &self.pushed.filter, edges, add)
                })
            }
            Fate::Series(series) if self.pushed.exact => {
                self.each_line(packs, work, fetched, scanner, |ts, _, _| sums.add(series, ts, 1.0))
            }
            Fate::Series(_) | Fate::Lines => {
                let mut stream = self.scan.stream(&labels, options);
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
        count: impl FnOnce(&Edges<'_>, &mut dyn FnMut(usize, u64)) -> Result<(), Unreadable>,
    ) -> Result<Result<(), Unreadable>, QueryError> {
        let mut failed: Result<(), EvalError> = Ok(());
        let counted = count(&Edges(&self.edges), &mut |interval, lines| {
            if failed.is_ok() {
                failed = sums.add_count(series, interval, lines);
            }
        });
        failed?;
        Ok(counted)
    }

    /// Puts each line that passes the pushed filters somewhere.
    fn each_line(
        &self,
        packs: &Packs,
        work: &Work,
        fetched: &Fetched,
        scanner: &mut Scanner,
        mut add: impl FnMut(i64, &[u8], &[(&str, &str)]) -> Result<(), EvalError>,
    ) -> Result<Result<(), Unreadable>, QueryError> {
        let mut passed = 0;
        let read = work.lines(packs, fetched, scanner, &self.pushed.filter, self.span, &mut |line| {
            passed += 1;
            match add(line.timestamp, line.line, line.metadata) {
                Ok(()) => ControlFlow::Continue(()),
                Err(error) => ControlFlow::Break(error),
            }
        });
        scanner.stats.lines_passed += passed;
        match read {
            Ok(ControlFlow::Break(error)) => Err(error.into()),
            Ok(ControlFlow::Continue(())) => Ok(Ok(())),
            Err(unreadable) => Ok(Err(unreadable)),
        }
    }
}
