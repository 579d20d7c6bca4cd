//! What a simple reference makes of lines: metrics queries must come to the same.

use std::collections::BTreeMap;

use crate::workload::{Entry, Workload};

/// From one time of a measure to the next: a number that divides neither minutes nor the range.
const STEP_S: i64 = 7;
/// Over how much time it goes back each time.
const RANGE_S: i64 = 10;
const NANOS_PER_S: i64 = 1_000_000_000;
/// How far it goes on either side of a stream's first line: a stream has a minute of lines, of which some come late.
const AROUND_S: i64 = 120;
/// Some lines have it and some do not.
const NEEDLE: &str = "a1";

/// Something to measure of a stream over time.
#[derive(Debug)]
pub(super) struct Measure {
    /// What it is called.
    pub(super) name: &'static str,
    /// The function and the filter, encoded as part of an address.
    function: &'static str,
    filter: &'static str,
    of: fn(&Entry) -> u64,
}

/// One of which only an index is needed, and one that takes the text.
pub(super) const MEASURES: [Measure; 2] = [
    Measure { name: "counts", function: "count_over_time", filter: "", of: |_| 1 },
    Measure {
        name: "filtered bytes",
        function: "bytes_over_time",
        filter: "%7C%3D%22a1%22",
        of: |entry| if entry.line.contains(NEEDLE) { entry.line.len() as u64 } else { 0 },
    },
];

impl Measure {
    /// Multiples of the step: Loki moves others there.
    fn times(stream: u64) -> impl Iterator<Item = i64> {
        let origin = Workload::origin(stream) / NANOS_PER_S;
        let first = (origin - AROUND_S).div_euclid(STEP_S) * STEP_S;
        (first..=origin + AROUND_S).step_by(STEP_S as usize)
    }

    /// The target of its query.
    pub(super) fn target(&self, stream: u64) -> String {
        let (start, end) = (Self::times(stream).min(), Self::times(stream).max());
        let (start, end) = (start.unwrap_or_default(), end.unwrap_or_default());
        let (function, filter, selector) = (self.function, self.filter, Workload::selector(stream));
        let query = format!("sum({function}({selector}{filter}%5B{RANGE_S}s%5D))");
        format!("/loki/api/v1/query_range?query={query}&start={start}&end={end}&step={STEP_S}")
    }

    /// What all lines of a stream come to, by seconds since 1970. Where there are none, there is no value.
    pub(super) fn of(&self, stream: u64, lines: &[Entry]) -> BTreeMap<i64, u64> {
        let value = |at: i64| {
            let range = (at - RANGE_S) * NANOS_PER_S + 1..=at * NANOS_PER_S;
            lines.iter().filter(|entry| range.contains(&entry.timestamp)).map(self.of).sum::<u64>()
        };
        Self::times(stream).map(|at| (at, value(at))).filter(|(_, value)| *value > 0).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::{MEASURES, NANOS_PER_S};
    use crate::det::EPOCH_NANOS;
    use crate::workload::Entry;

    #[test]
    fn a_line_counts_from_its_own_time_on_until_the_range_is_over() {
        let epoch = EPOCH_NANOS / NANOS_PER_S;
        // The first multiple of 7 s after the first line of the stream, and those that follow.
        let [a, b, c] = [0, 7, 14].map(|more| (epoch + 6) / 7 * 7 + more);
        let line = |nanos: i64, line: &str| Entry { timestamp: a * NANOS_PER_S + nanos, line: line.into() };
        let lines = [line(0, "a1"), line(1, "b"), line(5 * NANOS_PER_S, "xa1")];
        let [counts, bytes] = MEASURES.map(|measure| measure.of(0, &lines));
        assert_eq!(counts, [(a, 1), (b, 3), (c, 1)].into());
        assert_eq!(bytes, [(a, 2), (b, 5), (c, 3)].into());
    }
}
