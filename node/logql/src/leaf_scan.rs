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
        options: &Options,
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
    pub fn stream(&self, labels: &[(&str, &str)], options: &Options) -> LeafStream<'_> {
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
    /// comes of it to `into`, which must be the same at each call. Whether anything came of it.
    ///
    /// # Errors
    /// The accumulator holds all it may.
    pub fn add(
        &mut self,
        into: &mut Accumulator,
        ts: i64,
        line: &[u8],
        metadata: &[(&str, &str)],
    ) -> Result<bool, EvalError> {
        if !into.wants(ts) {
            return Ok(false);
        }
        let scan = self.scan;
        let (value, labels) = match &scan.unwrap {
            Some(unwrap) => match unwrap.sample(&mut self.pipeline, ts, line, metadata) {
                Some(sample) => (sample.value, sample.labels),
                None => return Ok(false),
            },
            None => match self.pipeline.process(ts, line, metadata) {
                Some(outcome) if scan.counts_bytes => (outcome.line.len() as f64, outcome.labels),
                Some(outcome) => (1.0, outcome.labels),
                None => return Ok(false),
            },
        };
        if let (Some(error), false) = (labels.error(), scan.leaf.keeps_errors) {
            into.add_failure(ts, error.name(), labels.iter().map(|label| (label.name, label.value)));
            return Ok(true);
        }
        let series = series(&mut self.known, &scan.leaf.by, into, labels)?;
        into.add(series, ts, value)?;
        Ok(true)
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

#[cfg(test)]
mod tests {
    use proptest::prelude::{ProptestConfig, any, prop_assert_eq, proptest};

    use super::{Fate, LeafScan};
    use crate::eval_limits::EvalLimits;
    use crate::parse::parse;
    use crate::pipeline::Options;
    use crate::plan::{Leaf, Plan, PlanOptions};
    use crate::range::{Accumulator, Steps};

    const STREAM: [(&str, &str); 2] = [("app", "x"), ("n", "7")];

    /// Queries whose lines the labels of [`STREAM`] settle.
    const SETTLED: [&str; 8] = [
        "sum(count_over_time({app=\"x\"}[20s]))",
        "sum by (app) (count_over_time({app=\"x\"}[20s] offset 5s))",
        "sum by (n) (rate({app=\"x\"} | n > 5 [20s]))",
        "sum by (n) (rate({app=\"x\"} | n > 8 [20s]))",
        "sum by (app) (rate({app=\"x\"} |= \"a\" [20s]))",
        "sum by (app) (rate({app=\"x\"} |= \"a\" != \"b\" | drop n [20s]))",
        "sum by (n) (rate({app=\"x\"} | app > 5 [20s]))",
        "absent_over_time({app=\"x\"} |= \"a\" [20s])",
    ];

    fn leaf(query: &str) -> Leaf {
        match Plan::new(&parse(query).unwrap(), PlanOptions::default()).unwrap() {
            Plan::Metric(plan) => plan.leaves.into_iter().next().unwrap(),
            Plan::Log(_) => panic!("`{query}` asks for lines"),
        }
    }

    fn fate(query: &str) -> Fate {
        let leaf = leaf(query);
        let mut into = Accumulator::new(&leaf, leaf.windows(&Steps::instant(0)), EvalLimits::DEFAULT);
        LeafScan::compile(&leaf).unwrap().settle(&STREAM, &Options::default(), &mut into).unwrap()
    }

    #[test]
    fn labels_of_a_stream_settle_what_they_can() {
        assert!(matches!(fate(SETTLED[2]), Fate::Series(_)));
        assert_eq!(fate(SETTLED[3]), Fate::Dropped);
        // `app` is no number: every line is an error, and where it is must be told.
        assert_eq!(fate(SETTLED[6]), Fate::Lines);
        assert_eq!(fate("sum by (trace) (rate({app=\"x\"}[20s]))"), Fate::Lines);
        assert_eq!(fate("sum by (app) (rate({app=\"x\"} | logfmt [20s]))"), Fate::Lines);
        assert_eq!(fate("rate({app=\"x\"}[20s])"), Fate::Lines);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]

        #[test]
        fn a_settled_stream_counts_what_its_lines_would(
            query in proptest::sample::select(SETTLED.to_vec()),
            lines in proptest::collection::vec((0i64..100, any::<bool>(), any::<bool>()), 0..30),
        ) {
            const SECOND: i64 = 1_000_000_000;
            let (leaf, steps) = (leaf(query), Steps::range(10 * SECOND, 90 * SECOND, 10 * SECOND).unwrap());
            let scan = LeafScan::compile(&leaf).unwrap();
            let new = || Accumulator::new(&leaf, leaf.windows(&steps), EvalLimits::DEFAULT);
            let (mut one_by_one, mut settled) = (new(), new());
            let fate = scan.settle(&STREAM, &Options::default(), &mut settled).unwrap();
            let filters = leaf.hit_filters.clone().unwrap();
            let mut stream = scan.stream(&STREAM, &Options::default());
            for (second, a, b) in lines {
                let (ts, line) = (second * SECOND, format!("{}{}", if a { "a" } else { "" }, if b { "b" } else { "" }));
                stream.add(&mut one_by_one, ts, line.as_bytes(), &[("trace", "t")]).unwrap();
                let hit = (filters.is_empty() || a) && (filters.len() < 2 || !b);
                match (fate, settled.windows().interval_of(ts)) {
                    (Fate::Series(series), Some(interval)) if hit => settled.add_count(series, interval, 1).unwrap(),
                    (Fate::Lines, _) => {
                        let mut line_by_line = scan.stream(&STREAM, &Options::default());
                        line_by_line.add(&mut settled, ts, line.as_bytes(), &[]).unwrap();
                    }
                    _ => {}
                }
            }
            match (one_by_one.finish(), settled.finish()) {
                (Ok(one_by_one), Ok(settled)) => prop_assert_eq!(one_by_one, settled),
                (one_by_one, settled) => prop_assert_eq!(one_by_one.is_err(), settled.is_err()),
            }
        }
    }
}
