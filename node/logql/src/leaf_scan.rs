//! Lines through a leaf: the pipeline on one side, the accumulator on the other.
//!
//! A scanner that can do better for a leaf (count timestamps, count hits between window edges) talks to the
//! accumulator itself; everything else comes through here, line by line.

use std::collections::BTreeMap;

use crate::ast::RangeOp;
use crate::eval_error::EvalError;
use crate::labels::LabelSet;
use crate::pipeline::{CompileError, Options, Pipeline, StreamPipeline, split_leading};
use crate::plan::{Leaf, SeriesBy};
use crate::range::{Accumulator, SeriesId};
use crate::unwrap::Unwrap;

/// Label sets of one stream whose series is remembered. A stream whose lines differ in more of them than
/// this (an id among the labels) would not find them again anyway.
const KNOWN_SERIES_MAX: usize = 1024;

/// What the labels of a stream say about all its lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// None of its lines counts.
    Dropped,
    /// Those that pass the leaf's [`hit_filters`](Leaf::hit_filters) belong to this series, the others do
    /// not count.
    Series(SeriesId),
    /// Nothing: look at each.
    Lines,
}

/// A compiled leaf, shared by the threads that scan for it.
#[derive(Debug)]
pub struct LeafScan {
    pipeline: Pipeline,
    unwrap: Option<Unwrap>,
    counts_bytes: bool,
    leaf: Leaf,
    /// The stages behind the leading line filters, where nothing else reads the text.
    settling: Option<Pipeline>,
}

impl LeafScan {
    /// Compiles the stages of a leaf.
    ///
    /// # Errors
    /// A stage cannot be compiled: the query is refused.
    pub fn compile(leaf: &Leaf) -> Result<Self, CompileError> {
        let (_, rest) = split_leading(&leaf.stages);
        let settles = leaf.hit_filters.is_some() && leaf.uses.is_some();
        Ok(LeafScan {
            settling: settles.then(|| Pipeline::compile(&rest, &leaf.wanted)).transpose()?,
            pipeline: Pipeline::compile(&leaf.stages, &leaf.wanted)?,
            unwrap: leaf.unwrap.as_ref().map(Unwrap::compile).transpose()?,
            counts_bytes: matches!(leaf.op, RangeOp::BytesOverTime | RangeOp::BytesRate),
            leaf: leaf.clone(),
        })
    }

    /// What the labels of a stream say about all its lines; asked first, it may spare reading them.
    ///
    /// # Errors
    /// The accumulator holds all it may.
    pub fn settle(
        &self,
        labels: &[(&str, &str)],
        options: Options,
        into: &mut Accumulator,
    ) -> Result<Fate, EvalError> {
        let Some(pipeline) = self.settling.as_ref().filter(|_| self.leaf.is_settled_by(labels)) else {
            return Ok(Fate::Lines);
        };
        let mut stages = pipeline.stream(labels, options);
        match stages.process(0, b"", &[]) {
            None => Ok(Fate::Dropped),
            // Each line fails alike, but only in a window is that an error.
            Some(outcome) if outcome.labels.error().is_some() => Ok(Fate::Lines),
            Some(outcome) => {
                Ok(Fate::Series(series(&mut BTreeMap::new(), &self.leaf.by, into, outcome.labels)?))
            }
        }
    }

    /// Starts on a stream with these labels. What comes of it belongs to one accumulator.
    pub fn stream(&self, labels: &[(&str, &str)], options: Options) -> LeafStream<'_> {
        LeafStream { scan: self, pipeline: self.pipeline.stream(labels, options), known: BTreeMap::new() }
    }
}

/// A leaf on the lines of one stream.
#[derive(Debug)]
pub struct LeafStream<'p> {
    scan: &'p LeafScan,
    pipeline: StreamPipeline<'p>,
    /// The series of label sets seen before, by their hash.
    known: BTreeMap<u128, SeriesId>,
}

impl LeafStream<'_> {
    /// Puts a line (timestamp in ns, structured metadata as name and value) through the stages and adds what
    /// comes of it to `into`, which must be the same at each call.
    ///
    /// # Errors
    /// The accumulator holds all it may.
    pub fn add(
        &mut self,
        into: &mut Accumulator,
        ts: i64,
        line: &[u8],
        metadata: &[(&str, &str)],
    ) -> Result<(), EvalError> {
        if !into.wants(ts) {
            return Ok(());
        }
        let scan = self.scan;
        let (value, labels) = match &scan.unwrap {
            Some(unwrap) => match unwrap.sample(&mut self.pipeline, ts, line, metadata) {
                Some(sample) => (sample.value, sample.labels),
                None => return Ok(()),
            },
            None => match self.pipeline.process(ts, line, metadata) {
                Some(outcome) if scan.counts_bytes => (outcome.line.len() as f64, outcome.labels),
                Some(outcome) => (1.0, outcome.labels),
                None => return Ok(()),
            },
        };
        if let (Some(error), false) = (labels.error(), scan.leaf.keeps_errors) {
            into.add_failure(ts, error.name(), labels.iter().map(|label| (label.name, label.value)));
            return Ok(());
        }
        let series = series(&mut self.known, &scan.leaf.by, into, labels)?;
        into.add(series, ts, value)
    }
}

fn series(
    known: &mut BTreeMap<u128, SeriesId>,
    by: &SeriesBy,
    into: &mut Accumulator,
    labels: &LabelSet,
) -> Result<SeriesId, EvalError> {
    let hash = if by.is_one_series() { 0 } else { labels.hash() };
    if let Some(series) = known.get(&hash) {
        return Ok(*series);
    }
    let kept = labels.iter().filter(|label| by.keeps(label.name)).map(|label| (label.name, label.value));
    let series = into.series(kept.collect::<Vec<_>>().iter().copied())?;
    if known.len() >= KNOWN_SERIES_MAX {
        known.clear();
    }
    known.insert(hash, series);
    Ok(series)
}
