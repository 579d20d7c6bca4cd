//! When a metric query is evaluated, and which stretch of time each evaluation looks at.
//!
//! Consecutive windows overlap when the step is shorter than the range. All their edges together cut time
//! into *elementary intervals* in which every line belongs to the same windows: state is kept once per such
//! interval, windows are put together from them, and a scanner may count lines between two edges without
//! looking at any of them.

use std::ops::Range;

use crate::eval_error::EvalError;

/// Most evaluation times a query may have; the API allows 11 000 points a series, this leaves room for a
/// caller of our own and bounds what [`Windows`] allocates.
pub const STEPS_MAX: u32 = 50_000;

const NANOS_PER_MILLI: i64 = 1_000_000;

/// The evaluation times of a query: `start`, `start + step`, … up to `end`, in Unix ns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Steps {
    start: i64,
    step: i64,
    count: u32,
    instant: bool,
}

impl Steps {
    /// One evaluation; answers are vectors and scalars.
    pub fn instant(at: i64) -> Self {
        Steps { start: at, step: 0, count: 1, instant: true }
    }

    /// An evaluation every `step` ns (more than 0) from `start` to `end`, both included; answers are
    /// matrices.
    ///
    /// # Errors
    /// `end` before `start`, `step` not positive, or more than [`STEPS_MAX`] evaluations.
    pub fn range(start: i64, end: i64, step: i64) -> Result<Self, EvalError> {
        if end < start || step <= 0 {
            return Err(EvalError::InvalidRange { start, end, step });
        }
        let asked = end.abs_diff(start) / step.unsigned_abs() + 1;
        if asked > u64::from(STEPS_MAX) {
            return Err(EvalError::TooManySteps { asked, limit: STEPS_MAX });
        }
        let count = u32::try_from(asked).unwrap_or(STEPS_MAX);
        Ok(Steps { start, step, count, instant: false })
    }

    /// How many evaluations.
    pub fn count(&self) -> u32 {
        self.count
    }

    /// The distance between two evaluations in ns; 0 where there is but one by its nature.
    pub fn step(&self) -> i64 {
        self.step
    }

    /// Whether the answer is a vector.
    pub fn is_instant(&self) -> bool {
        self.instant
    }

    /// The time of an evaluation in Unix ns.
    pub fn time(&self, step: u32) -> i64 {
        self.start.saturating_add(self.step.saturating_mul(i64::from(step)))
    }

    /// The same in Unix ms, as the answer shows it.
    pub fn millis(&self, step: u32) -> i64 {
        self.time(step) / NANOS_PER_MILLI
    }
}

/// The windows (t − interval − offset, t − offset] of a range aggregation, for each evaluation time t.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Windows {
    interval: i64,
    /// All distinct edges, ascending.
    boundaries: Vec<i64>,
    /// For each step the elementary intervals of its window.
    spans: Vec<Range<u32>>,
    /// For each elementary interval whether some window holds it: with a step longer than the range most
    /// of time is in none.
    covered: Vec<bool>,
}

impl Windows {
    /// `interval` (more than 0) and `offset` in ns, as the range aggregation has them.
    pub fn new(steps: &Steps, interval: i64, offset: i64) -> Self {
        let end = |step| steps.time(step).saturating_sub(offset);
        let edges = |step| (end(step).saturating_sub(interval), end(step));
        let mut boundaries: Vec<i64> = (0..steps.count()).flat_map(|s| [edges(s).0, edges(s).1]).collect();
        boundaries.sort_unstable();
        boundaries.dedup();
        let index = |edge: i64| boundaries.partition_point(|&b| b < edge) as u32;
        let spans: Vec<Range<u32>> =
            (0..steps.count()).map(edges).map(|(from, to)| index(from)..index(to)).collect();
        let mut covered = vec![false; boundaries.len().saturating_sub(1)];
        let mut reached = 0;
        for span in &spans {
            // Spans ascend, so what an earlier one covered need not be visited again.
            let from = span.start.max(reached);
            (from..span.end).for_each(|interval| covered[interval as usize] = true);
            reached = reached.max(span.end);
        }
        Windows { interval, boundaries, spans, covered }
    }

    /// The distinct edges in Unix ns, ascending: elementary interval `i` is `(boundaries[i], boundaries[i+1]]`.
    pub fn boundaries(&self) -> &[i64] {
        &self.boundaries
    }

    /// How many elementary intervals there are, those in no window included.
    pub fn intervals(&self) -> usize {
        self.covered.len()
    }

    /// Whether some window holds this elementary interval; what lies in one that none holds is not wanted.
    pub fn is_covered(&self, interval: usize) -> bool {
        self.covered.get(interval).copied().unwrap_or(false)
    }

    /// The elementary interval of a timestamp, if some window holds it.
    pub fn interval_of(&self, ts: i64) -> Option<usize> {
        let after = self.boundaries.partition_point(|&edge| edge < ts);
        let interval = after.checked_sub(1)?;
        self.is_covered(interval).then_some(interval)
    }

    /// Like [`Self::interval_of`], faster where `hint` is the interval of a timestamp shortly before.
    pub fn interval_near(&self, ts: i64, hint: usize) -> Option<usize> {
        match self.boundaries.get(hint..hint.saturating_add(2)) {
            Some(&[from, to]) if from < ts && ts <= to => self.is_covered(hint).then_some(hint),
            _ => self.interval_of(ts),
        }
    }

    /// The earliest and latest timestamp that can be in a window: `(from, to]` in Unix ns.
    pub fn extent(&self) -> (i64, i64) {
        let first = self.boundaries.first().copied().unwrap_or(0);
        (first, self.boundaries.last().copied().unwrap_or(first))
    }

    /// The elementary intervals of the window of each step, in order; both ends ascend.
    pub(crate) fn spans(&self) -> &[Range<u32>] {
        &self.spans
    }

    /// The edges of the window made of these elementary intervals.
    pub(crate) fn edges(&self, span: &Range<u32>) -> (i64, i64) {
        (self.boundaries[span.start as usize], self.boundaries[span.end as usize])
    }

    /// The length of a window in seconds.
    pub(crate) fn seconds(&self) -> f64 {
        self.interval as f64 / 1e9
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{ProptestConfig, prop_assert, prop_assert_eq, proptest};

    use super::{STEPS_MAX, Steps, Windows};
    use crate::eval_error::EvalError;

    #[test]
    fn a_line_at_the_left_edge_is_outside_and_at_the_right_edge_inside() {
        let windows = Windows::new(&Steps::instant(100), 10, 0);
        assert_eq!(windows.boundaries(), [90, 100]);
        assert_eq!(windows.interval_of(90), None);
        assert_eq!(windows.interval_of(91), Some(0));
        assert_eq!(windows.interval_of(100), Some(0));
        assert_eq!(windows.interval_of(101), None);
    }

    #[test]
    fn offset_moves_windows_and_not_the_times_of_the_answer() {
        let steps = Steps::range(100, 120, 10).unwrap();
        assert_eq!(Windows::new(&steps, 10, 5).boundaries(), [85, 95, 105, 115]);
        assert_eq!(Windows::new(&steps, 10, -5).boundaries(), [95, 105, 115, 125]);
        assert_eq!((0..3).map(|step| steps.time(step)).collect::<Vec<_>>(), [100, 110, 120]);
    }

    #[test]
    fn time_between_windows_is_in_none() {
        let windows = Windows::new(&Steps::range(100, 200, 100).unwrap(), 10, 0);
        assert_eq!(windows.boundaries(), [90, 100, 190, 200]);
        assert_eq!(windows.interval_of(150), None);
        assert_eq!(windows.interval_of(195), Some(2));
        assert!(!windows.is_covered(1) && !windows.is_covered(3));
    }

    #[test]
    fn endless_or_backward_ranges_are_refused() {
        let too_many = Steps::range(0, i64::MAX, 1);
        assert!(matches!(too_many, Err(EvalError::TooManySteps { limit: STEPS_MAX, .. })));
        assert!(matches!(Steps::range(2, 1, 1), Err(EvalError::InvalidRange { .. })));
        assert!(matches!(Steps::range(1, 2, 0), Err(EvalError::InvalidRange { .. })));
        assert!(Steps::range(i64::MIN, i64::MAX, i64::MAX).is_ok());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]

        #[test]
        fn a_window_is_exactly_its_elementary_intervals(
            start in -50i64..50, length in 0i64..60, step in 1i64..20, interval in 1i64..30,
            offset in -20i64..20, ts in -120i64..140, hint in 0usize..30,
        ) {
            let steps = Steps::range(start, start + length, step).unwrap();
            let windows = Windows::new(&steps, interval, offset);
            let found = windows.interval_of(ts);
            prop_assert_eq!(windows.interval_near(ts, hint), found);
            let mut wanted = false;
            for (k, span) in windows.spans().iter().enumerate() {
                let t = steps.time(k as u32) - offset;
                let inside = t - interval < ts && ts <= t;
                wanted |= inside;
                prop_assert_eq!(found.is_some_and(|i| span.contains(&(i as u32))), inside);
                prop_assert_eq!(windows.edges(span), (t - interval, t));
            }
            prop_assert_eq!(found.is_some(), wanted);
            prop_assert!(windows.boundaries().is_sorted_by(|a, b| a < b));
        }
    }
}
