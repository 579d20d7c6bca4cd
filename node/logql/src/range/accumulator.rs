//! Gathers what one leaf of a plan needs to know of the lines, and turns it into series.

use std::collections::BTreeMap;

use super::cell::{Bytes, Cell as _, Count, Placed};
use super::cells::{Cells, Kind, with_cell};
use super::windows::Windows;
use crate::eval_error::EvalError;
use crate::eval_limits::EvalLimits;
use crate::plan::Leaf;
use crate::series::{SeriesLabels, StepMatrix, StepSeries, series_hash};

/// Bytes reckoned for a series besides its labels' text and its pages.
const SERIES_BYTES: usize = 200;
/// Bytes reckoned for a label besides its text.
const LABEL_BYTES: usize = 48;

/// A series of one [`Accumulator`]; means nothing to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SeriesId(u32);

/// Partial result of a leaf: what some of its lines amount to.
///
/// Accumulators of the same leaf and windows [`merge`](Self::merge) in any order and any grouping to the
/// same result: one for each scanning thread, or each node.
#[derive(Clone, Debug)]
pub struct Accumulator {
    pub(super) kind: Kind,
    absent: Option<SeriesLabels>,
    pub(super) windows: Windows,
    limits: EvalLimits,
    pub(super) series: Vec<Entry>,
    by_hash: BTreeMap<u64, Vec<u32>>,
    /// Bytes held, as far as the limit is concerned.
    bytes: usize,
    origin: u64,
    /// The elementary interval of the last sample: the next one is likely in it too.
    recent: usize,
    pub(super) failure: Option<Failure>,
}

/// The earliest line that failed a stage, to be reported if nothing forbids.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, bincode::Encode, bincode::Decode)]
pub(super) struct Failure {
    pub(super) interval: u32,
    series: String,
    kind: String,
}

#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) labels: SeriesLabels,
    hash: u64,
    pub(super) cells: Cells,
}

impl SeriesId {
    /// Its place among the series.
    pub(super) fn index(self) -> usize {
        self.0 as usize
    }
}

impl Accumulator {
    /// An empty result of `leaf` over `windows`, which must be those of the leaf's interval and offset
    /// ([`Leaf::windows`]).
    pub fn new(leaf: &Leaf, windows: Windows, limits: EvalLimits) -> Self {
        Accumulator {
            kind: Kind::of(leaf),
            absent: leaf.absent_labels(),
            windows,
            limits,
            series: Vec::new(),
            by_hash: BTreeMap::new(),
            bytes: 0,
            origin: 0,
            recent: 0,
            failure: None,
        }
    }

    /// The windows, whose boundaries tell a scanner where to cut.
    pub fn windows(&self) -> &Windows {
        &self.windows
    }

    /// How many series there are so far.
    pub fn series_count(&self) -> usize {
        self.series.len()
    }

    /// Bytes of state, roughly.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Where the following samples come from: of equal timestamps the lower origin is the earlier line, and
    /// of one origin the line added first. Only `first_over_time`, `last_over_time` and `rate_counter` care.
    /// Give pieces that may hold the same timestamp different origins, in the order of their lines.
    pub fn set_origin(&mut self, origin: u64) {
        self.origin = origin;
    }

    /// The series of a label set, sorted by name, which has been reduced as [`Leaf::by`] says.
    ///
    /// # Errors
    /// There would be more series or bytes than allowed.
    pub fn series<'a>(
        &mut self,
        labels: impl Iterator<Item = (&'a str, &'a str)> + Clone,
    ) -> Result<SeriesId, EvalError> {
        self.series_hashed(series_hash(labels.clone()), labels)
    }

    /// [`Self::series`] for whoever keeps the labels' [`series_hash`].
    ///
    /// # Errors
    /// As [`Self::series`].
    pub fn series_hashed<'a>(
        &mut self,
        hash: u64,
        labels: impl Iterator<Item = (&'a str, &'a str)> + Clone,
    ) -> Result<SeriesId, EvalError> {
        let found = self
            .by_hash
            .get(&hash)
            .and_then(|ids| ids.iter().find(|&&id| self.series[id as usize].labels.is(labels.clone())));
        match found {
            Some(&id) => Ok(SeriesId(id)),
            None => self.insert(hash, labels.collect()),
        }
    }

    fn insert(&mut self, hash: u64, labels: SeriesLabels) -> Result<SeriesId, EvalError> {
        let limit = self.limits.leaf_series_max;
        let id = u32::try_from(self.series.len()).map_err(|_| EvalError::TooManyGroups { limit })?;
        if self.series.len() >= limit {
            return Err(EvalError::TooManyGroups { limit });
        }
        let text: usize =
            labels.pairs().iter().map(|(name, value)| name.len() + value.len() + LABEL_BYTES).sum();
        self.charge(text + SERIES_BYTES)?;
        self.series.push(Entry { labels, hash, cells: self.kind.cells() });
        self.by_hash.entry(hash).or_default().push(id);
        Ok(SeriesId(id))
    }

    pub(super) fn charge(&mut self, bytes: usize) -> Result<(), EvalError> {
        self.bytes = self.bytes.saturating_add(bytes);
        let limit = self.limits.leaf_bytes_max;
        if self.bytes > limit { Err(EvalError::TooMuchState { limit }) } else { Ok(()) }
    }

    /// Whether some window holds a line of this timestamp (Unix ns).
    pub fn wants(&self, ts: i64) -> bool {
        self.windows.interval_near(ts, self.recent).is_some()
    }

    /// Adds a line at `ts` (Unix ns); one that is in no window is passed over. `value` is the unwrapped value,
    /// the line's length for the functions of bytes, and not looked at for those that count lines.
    ///
    /// # Errors
    /// There would be more bytes of state than allowed.
    pub fn add(&mut self, series: SeriesId, ts: i64, value: f64) -> Result<(), EvalError> {
        let Some(interval) = self.windows.interval_near(ts, self.recent) else { return Ok(()) };
        self.recent = interval;
        let sample = Placed { ts, origin: self.origin, value };
        let grown = self.series[series.index()].cells.add(interval, sample);
        if grown > 0 { self.charge(grown) } else { Ok(()) }
    }

    /// Adds `lines` lines of an elementary interval at once, for `rate`, `count_over_time` and
    /// `absent_over_time` without `unwrap`. An interval in no window is passed over.
    ///
    /// # Errors
    /// There would be more bytes of state than allowed.
    ///
    /// # Panics
    /// If the leaf's function needs more of a line than that it is there.
    pub fn add_count(&mut self, series: SeriesId, interval: usize, lines: u64) -> Result<(), EvalError> {
        if lines == 0 || !self.windows.is_covered(interval) {
            return Ok(());
        }
        let Cells::Count(pages) = &mut self.series[series.index()].cells else {
            panic!("add_count is for functions that count lines");
        };
        let grown = with_cell(pages, interval, |cell| cell.merge(&Count(lines)));
        self.charge(grown)
    }

    /// Adds `lines` lines of `bytes` bytes in all of an elementary interval at once, for `bytes_over_time` and
    /// `bytes_rate`. An interval in no window is passed over.
    ///
    /// # Errors
    /// There would be more bytes of state than allowed.
    ///
    /// # Panics
    /// If the leaf's function does not count bytes.
    pub fn add_bytes(
        &mut self,
        series: SeriesId,
        interval: usize,
        lines: u64,
        bytes: u64,
    ) -> Result<(), EvalError> {
        if lines == 0 || !self.windows.is_covered(interval) {
            return Ok(());
        }
        let Cells::Bytes(pages) = &mut self.series[series.index()].cells else {
            panic!("add_bytes is for functions that count bytes");
        };
        let grown = with_cell(pages, interval, |cell| cell.merge(&Bytes { lines, bytes }));
        self.charge(grown)
    }

    /// Notes a line that failed a stage: a window that holds it has no answer, unless the leaf
    /// [keeps errors](Leaf::keeps_errors) (then add it like any other). `kind` is its `__error__`, `labels`
    /// all its labels, sorted, the error's own included.
    pub fn add_failure<'a>(&mut self, ts: i64, kind: &str, labels: impl Iterator<Item = (&'a str, &'a str)>) {
        let Some(interval) = self.windows.interval_near(ts, self.recent) else { return };
        let interval = interval as u32;
        if self.failure.as_ref().is_some_and(|held| held.interval < interval) {
            return;
        }
        let shown: Vec<String> = labels.map(|(name, value)| format!("{name}={value:?}")).collect();
        let series = format!("{{{}}}", shown.join(", "));
        self.note(Failure { interval, series, kind: kind.to_owned() });
    }

    pub(super) fn note(&mut self, failure: Failure) {
        if self.failure.as_ref().is_none_or(|held| failure < *held) {
            self.failure = Some(failure);
        }
    }

    /// Takes in another partial result of the same leaf and windows.
    ///
    /// # Errors
    /// Together there are more series or bytes than allowed.
    ///
    /// # Panics
    /// If the other's windows or function differ.
    pub fn merge(&mut self, other: Accumulator) -> Result<(), EvalError> {
        assert_eq!(self.windows, other.windows, "partial results of different windows do not merge");
        other.failure.into_iter().for_each(|failure| self.note(failure));
        for entry in other.series {
            let pairs = entry.labels.pairs().iter().map(|(name, value)| (name.as_str(), value.as_str()));
            let id = self.series_hashed(entry.hash, pairs)?;
            let grown = self.series[id.index()].cells.merge(&entry.cells);
            self.charge(grown)?;
        }
        Ok(())
    }

    /// The series, sorted by labels, with a point for each step whose window holds a line.
    ///
    /// # Errors
    /// A line that failed a stage is in a window, or there are more points than allowed.
    pub fn finish(mut self) -> Result<StepMatrix, EvalError> {
        if let Some(Failure { kind, series, .. }) = self.failure {
            return Err(EvalError::Pipeline { kind, series });
        }
        let (kind, windows, limit) = (self.kind, &self.windows, self.limits.points_max);
        if let Some(labels) = self.absent {
            return Ok(absent(labels, windows, &mut self.series));
        }
        self.series.sort_by(|a, b| a.labels.cmp(&b.labels));
        let mut matrix = StepMatrix::default();
        let mut held = 0;
        for mut entry in self.series {
            let points = entry.cells.points(kind, windows);
            held += points.len();
            if held > limit {
                return Err(EvalError::TooManyPoints { limit });
            }
            if !points.is_empty() {
                matrix.series.push(StepSeries { labels: entry.labels, points });
            }
        }
        Ok(matrix)
    }
}

/// A 1 at each step whose window holds no line of any series.
fn absent(labels: SeriesLabels, windows: &Windows, series: &mut [Entry]) -> StepMatrix {
    let mut filled = vec![false; windows.spans().len()];
    for entry in series {
        let points = entry.cells.points(Kind::Count { per_second: false }, windows);
        points.iter().for_each(|&(step, _)| filled[step as usize] = true);
    }
    let steps = filled.iter().zip(0u32..).filter(|(filled, _)| !**filled);
    let points: Vec<_> = steps.map(|(_, step)| (step, 1.0)).collect();
    let series = if points.is_empty() { Vec::new() } else { vec![StepSeries { labels, points }] };
    StepMatrix { series }
}

#[cfg(test)]
pub(super) mod tests;
