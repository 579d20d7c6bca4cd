//! Whole queries over streams in memory, in the simplest way that is right.
//!
//! The reference that the real querier is held to: it reads every line, knows no index, no filter and no
//! split, and shares with the querier only what decides (the pipeline, the accumulator, the evaluation).

use std::collections::BTreeMap;

use crate::ast::LogExpr;
use crate::eval_error::EvalError;
use crate::eval_limits::EvalLimits;
use crate::evaluate::evaluate;
use crate::labels::{Category, LabelSet};
use crate::leaf_scan::LeafScan;
use crate::log_select::{Direction, LineSelection};
use crate::pipeline::{CompileError, Options, Pipeline, Wanted};
use crate::plan::{Leaf, MetricPlan};
use crate::range::{Accumulator, Steps};
use crate::selector::Selector;
use crate::series::{QueryValue, SeriesLabels, StepMatrix};

/// A line held in memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemoryEntry {
    /// Unix ns.
    pub ts: i64,
    /// The line.
    pub line: Vec<u8>,
    /// Structured metadata.
    pub metadata: Vec<(String, String)>,
}

/// A stream held in memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemoryStream {
    /// Its labels, in any order.
    pub labels: Vec<(String, String)>,
    /// Its lines in the order of their arrival.
    pub entries: Vec<MemoryEntry>,
}

/// Why a query over memory has no answer.
#[derive(Debug, thiserror::Error)]
pub enum MemoryError {
    /// A stage does not compile.
    #[error(transparent)]
    Compile(#[from] CompileError),
    /// The evaluation failed.
    #[error(transparent)]
    Eval(#[from] EvalError),
}

/// What a log query asks besides its text.
#[derive(Clone, Copy, Debug)]
pub struct LogWindow {
    /// First timestamp, Unix ns.
    pub start: i64,
    /// The timestamp before which lines end, Unix ns.
    pub end: i64,
    /// Most lines.
    pub limit: usize,
    /// The order of lines.
    pub direction: Direction,
    /// Least distance of lines in ns.
    pub interval: u64,
    /// Whether result streams have only the labels of their stream, and lines the rest.
    pub categorize: bool,
}

/// A line of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogLine {
    /// Unix ns.
    pub ts: i64,
    /// The line as the stages left it.
    pub line: Vec<u8>,
    /// Its structured metadata, as the stages left it.
    pub metadata: SeriesLabels,
    /// The labels its stages made.
    pub parsed: SeriesLabels,
}

/// The lines of an answer that have the same labels, in the query's direction.
pub type LogStreams = BTreeMap<SeriesLabels, Vec<LogLine>>;

/// Answers a metric query.
///
/// # Errors
/// A stage does not compile, or the evaluation fails.
pub fn metric_query(
    plan: &MetricPlan,
    streams: &[MemoryStream],
    steps: &Steps,
    limits: &EvalLimits,
    options: Options,
) -> Result<QueryValue, MemoryError> {
    let leaves = plan.leaves.iter().map(|leaf| scan_leaf(leaf, streams, steps, limits, options));
    Ok(evaluate(plan, leaves.collect::<Result<_, _>>()?, steps, limits)?)
}

fn scan_leaf(
    leaf: &Leaf,
    streams: &[MemoryStream],
    steps: &Steps,
    limits: &EvalLimits,
    options: Options,
) -> Result<StepMatrix, MemoryError> {
    let scan = LeafScan::compile(leaf)?;
    let mut accumulator = Accumulator::new(leaf, leaf.windows(steps), *limits);
    for (origin, stream) in (0..).zip(selected(&leaf.selector, streams)?) {
        let mut lines = scan.stream(&borrowed(&stream.labels), options);
        accumulator.set_origin(origin);
        for entry in &stream.entries {
            lines.add(&mut accumulator, entry.ts, &entry.line, &borrowed(&entry.metadata))?;
        }
    }
    Ok(accumulator.finish()?)
}

/// Answers a log query.
///
/// # Errors
/// A stage does not compile.
pub fn log_query(
    query: &LogExpr,
    streams: &[MemoryStream],
    window: &LogWindow,
    options: Options,
) -> Result<LogStreams, MemoryError> {
    let pipeline = Pipeline::compile(&query.stages, &Wanted::All)?;
    let mut lines = Vec::new();
    for stream in selected(&query.selector, streams)? {
        let mut stages = pipeline.stream(&borrowed(&stream.labels), options);
        for entry in stream.entries.iter().filter(|entry| (window.start..window.end).contains(&entry.ts)) {
            if let Some(outcome) = stages.process(entry.ts, &entry.line, &borrowed(&entry.metadata)) {
                lines.push(answer(entry.ts, outcome.line, outcome.labels, window.categorize));
            }
        }
    }
    // Stable: of one timestamp the lines stay in the order of their arrival.
    lines.sort_by_key(|(_, line)| line.ts);
    if window.direction == Direction::Backward {
        lines.reverse();
    }
    let mut selection = LineSelection::new(window.direction, window.limit, window.interval);
    let mut answer = LogStreams::new();
    for (labels, line) in lines {
        if selection.offer(line.ts) {
            answer.entry(labels).or_default().push(line);
        }
    }
    Ok(answer)
}

fn answer(ts: i64, line: &[u8], labels: &LabelSet, categorize: bool) -> (SeriesLabels, LogLine) {
    let of = |category| {
        let labels = labels.iter().filter(move |label| label.category == category);
        labels.map(|label| (label.name, label.value)).collect::<SeriesLabels>()
    };
    let shown = if categorize {
        of(Category::Stream)
    } else {
        labels.iter().map(|label| (label.name, label.value)).collect()
    };
    let line =
        LogLine { ts, line: line.to_vec(), metadata: of(Category::Metadata), parsed: of(Category::Parsed) };
    (shown, line)
}

fn selected<'s>(
    matchers: &[crate::ast::Matcher],
    streams: &'s [MemoryStream],
) -> Result<Vec<&'s MemoryStream>, CompileError> {
    let selector = Selector::compile(matchers)?;
    Ok(streams.iter().filter(|stream| selector.matches(&borrowed(&stream.labels))).collect())
}

fn borrowed(labels: &[(String, String)]) -> Vec<(&str, &str)> {
    labels.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect()
}

#[cfg(test)]
mod exam;
