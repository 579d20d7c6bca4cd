//! Finds lines: newest (or oldest) first, up to a limit, from all streams together.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex};

use grapevine_logql::labels::{Category, LabelSet};
use grapevine_logql::pipeline::{Options, Pipeline};
use grapevine_storage::scan::LineFilter;
use grapevine_storage::stream::StreamId;

use super::answer::{LineLabels, LogLine, Stats};
use super::drive::Job;
use super::error::QueryError;
use super::packs::Packs;
use super::scan::{Scanner, Span};
use super::work::{Fetched, Unreadable, Work};

/// Label sets that one work remembers, so that lines which differ in none share theirs.
const KNOWN_LABELS_MAX: usize = 1024;

/// The job of a log query.
#[derive(Debug)]
pub struct LineJob {
    /// The compiled stages.
    pub pipeline: Pipeline,
    /// The line filters that blocks are searched for.
    pub filter: LineFilter,
    /// Which lines, in which order.
    pub span: Span,
    /// How many.
    pub limit: usize,
    /// What stages are told.
    pub options: OptionsOf,
    /// The best lines so far.
    pub best: Mutex<Best>,
}

/// What each tenant's pipelines are told: whether lines have a `detected_level`.
#[derive(Clone, Debug, Default)]
pub struct OptionsOf {
    /// By tenant.
    pub by_tenant: BTreeMap<Arc<str>, Options>,
}

impl OptionsOf {
    /// For one tenant.
    pub fn of(&self, tenant: &str) -> Options {
        self.by_tenant.get(tenant).copied().unwrap_or_default()
    }
}

/// Lines found, and where each stands in the order of the answer.
#[derive(Debug, Default)]
pub struct Best {
    lines: Vec<(StreamId, LogLine)>,
    /// Nothing has come since the last cut.
    is_cut: bool,
}

/// Room for so many times the limit before the best are sorted out.
const SLACK: usize = 2;

impl Best {
    fn add(&mut self, found: Vec<(StreamId, LogLine)>, limit: usize, forward: bool) {
        self.is_cut &= found.is_empty();
        self.lines.extend(found);
        if self.lines.len() > limit.saturating_mul(SLACK) {
            self.cut(limit, forward);
        }
    }

    /// Sorts, and keeps the best. Stable: lines of one stream and moment keep the order in which they were found.
    fn cut(&mut self, limit: usize, forward: bool) {
        if std::mem::replace(&mut self.is_cut, true) {
            return;
        }
        if forward {
            self.lines.sort_by_key(|(stream, line)| (line.timestamp, *stream));
        } else {
            self.lines.sort_by_key(|(stream, line)| (std::cmp::Reverse(line.timestamp), *stream));
        }
        self.lines.truncate(limit);
    }

    /// The timestamp behind which no line can get into the answer any more.
    fn bound(&mut self, limit: usize, forward: bool) -> Option<i64> {
        if self.lines.len() < limit {
            return None;
        }
        self.cut(limit, forward);
        self.lines.last().map(|(_, line)| line.timestamp)
    }
}

impl LineJob {
    fn best(&self) -> std::sync::MutexGuard<'_, Best> {
        self.best.lock().expect("a panic while a query runs ends the process")
    }

    /// The lines found, in their order.
    pub fn finish(&self) -> Vec<LogLine> {
        let mut best = std::mem::take(&mut *self.best());
        best.cut(self.limit, self.span.forward);
        best.lines.into_iter().map(|(_, line)| line).collect()
    }
}

impl Job for LineJob {
    type Local = Scanner;

    fn filter(&self) -> &LineFilter {
        &self.filter
    }

    fn reads_text(&self) -> bool {
        true
    }

    /// Works come in the order of their nearest end.
    fn is_done_before(&self, work: &Work) -> bool {
        let forward = self.span.forward;
        let bound = self.best().bound(self.limit, forward);
        bound.is_some_and(|bound| if forward { work.first > bound } else { work.last < bound })
    }

    fn scanner(local: &mut Scanner) -> &mut Scanner {
        local
    }

    fn process(
        &self,
        packs: &Packs,
        work: &Work,
        fetched: &Fetched,
        scanner: &mut Scanner,
    ) -> Result<Result<(), Unreadable>, QueryError> {
        let labels: Vec<(&str, &str)> = work.stream.labels.iter().collect();
        let mut stages = self.pipeline.stream(&labels, self.options.of(&work.stream.tenant));
        let mut known: BTreeMap<u128, Arc<LineLabels>> = BTreeMap::new();
        let mut found = Vec::new();
        let mut passed = 0;
        let forward = self.span.forward;
        let bound = self.best().bound(self.limit, forward);
        let is_beyond =
            |timestamp| bound.is_some_and(|b| if forward { timestamp > b } else { timestamp < b });
        let read = work.lines::<()>(packs, fetched, scanner, &self.filter, self.span, &mut |line| {
            if is_beyond(line.timestamp) {
                return ControlFlow::Break(());
            }
            let outcome = stages.process(line.timestamp, line.line, line.metadata);
            let Some(outcome) = outcome else { return ControlFlow::Continue(()) };
            passed += 1;
            let labels = share(&mut known, outcome.labels);
            let line = LogLine { timestamp: line.timestamp, line: outcome.line.to_vec(), labels };
            found.push((work.stream.id, line));
            if found.len() >= self.limit { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        scanner.stats.lines_passed += passed;
        self.best().add(found, self.limit, forward);
        Ok(read.map(drop))
    }
}

/// The labels of a line, shared with the lines before it that had the same.
pub(super) fn share(known: &mut BTreeMap<u128, Arc<LineLabels>>, labels: &LabelSet) -> Arc<LineLabels> {
    let hash = labels.hash();
    if let Some(found) = known.get(&hash) {
        return found.clone();
    }
    if known.len() >= KNOWN_LABELS_MAX {
        known.clear();
    }
    let mut made = LineLabels::default();
    for label in labels.iter() {
        let pair = (label.name.to_owned(), label.value.to_owned());
        match label.category {
            Category::Stream => made.stream.push(pair),
            Category::Metadata => made.metadata.push(pair),
            Category::Parsed => made.parsed.push(pair),
        }
    }
    known.entry(hash).or_insert(Arc::new(made)).clone()
}

/// What the workers of a query have read, together.
pub fn stats_of(scanners: impl IntoIterator<Item = Scanner>) -> Stats {
    let mut stats = Stats::default();
    scanners.into_iter().for_each(|scanner| stats.merge(&scanner.stats));
    stats
}
