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
    options: &Options,
) -> Result<QueryValue, MemoryError> {
    let leaves = plan.leaves.iter().map(|leaf| scan_leaf(leaf, streams, steps, limits, options));
    Ok(evaluate(plan, leaves.collect::<Result<_, _>>()?, steps, limits)?)
}

fn scan_leaf(
    leaf: &Leaf,
    streams: &[MemoryStream],
    steps: &Steps,
    limits: &EvalLimits,
    options: &Options,
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
    options: &Options,
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

#[cfg(test)]
mod tests {
    use super::{LogWindow, MemoryEntry, MemoryStream, log_query};
    use crate::log_select::Direction;
    use crate::parse::parse_log;
    use crate::pipeline::Options;

    /// Two streams; one line of each has the same timestamp, and two of the first have.
    fn streams() -> Vec<MemoryStream> {
        let stream = |name: &str, lines: &[(i64, &str)]| MemoryStream {
            labels: vec![("s".to_owned(), name.to_owned())],
            entries: lines
                .iter()
                .map(|(ts, line)| MemoryEntry {
                    ts: *ts,
                    line: line.as_bytes().to_vec(),
                    metadata: vec![("m".to_owned(), "1".to_owned())],
                })
                .collect(),
        };
        vec![
            stream("1", &[(1, "a=1"), (3, "a=2"), (3, "a=3"), (7, "a=4")]),
            stream("2", &[(3, "b"), (9, "c")]),
        ]
    }

    fn check(query: &str, window: LogWindow, expected: &str) {
        let found = log_query(&parse_log(query).unwrap(), &streams(), &window, &Options::default()).unwrap();
        let shown: Vec<String> = found
            .iter()
            .map(|(labels, lines)| {
                let labels: Vec<_> = labels.pairs().iter().map(|(n, v)| format!("{n}={v}")).collect();
                let lines: Vec<_> =
                    lines.iter().map(|l| String::from_utf8_lossy(&l.line).into_owned()).collect();
                format!("{}: {}", labels.join(","), lines.join(" "))
            })
            .collect();
        assert_eq!(shown.join("; "), expected, "{query} {window:?}");
    }

    const ALL: LogWindow = LogWindow {
        start: 0,
        end: 10,
        limit: 9,
        direction: Direction::Forward,
        interval: 0,
        categorize: true,
    };

    #[test]
    fn lines_are_grouped_by_the_labels_shown() {
        let merged = LogWindow { categorize: false, ..ALL };
        check("{s=\"1\"} | logfmt", ALL, "s=1: a=1 a=2 a=3 a=4");
        check(
            "{s=\"1\"} | logfmt",
            merged,
            "a=1,m=1,s=1: a=1; a=2,m=1,s=1: a=2; a=3,m=1,s=1: a=3; a=4,m=1,s=1: a=4",
        );
    }

    #[test]
    fn start_is_inside_and_end_is_not() {
        check("{s=~\"1|2\"}", LogWindow { start: 1, end: 9, ..ALL }, "s=1: a=1 a=2 a=3 a=4; s=2: b");
        check("{s=~\"1|2\"}", LogWindow { start: 2, end: 7, ..ALL }, "s=1: a=2 a=3; s=2: b");
    }

    #[test]
    fn the_limit_takes_the_first_lines_of_all_streams_in_the_direction() {
        let backward = Direction::Backward;
        check("{s!=\"\"}", LogWindow { limit: 2, ..ALL }, "s=1: a=1 a=2");
        check("{s!=\"\"}", LogWindow { limit: 2, direction: backward, ..ALL }, "s=1: a=4; s=2: c");
        check("{s=\"1\"}", LogWindow { limit: 3, direction: backward, ..ALL }, "s=1: a=4 a=3 a=2");
        check("{s!=\"\"}", LogWindow { interval: 4, ..ALL }, "s=1: a=1 a=4");
    }
}
