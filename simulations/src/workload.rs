//! Lines that are a function of seed, stream and sequence: whoever sees one can tell whether it is right.
//!
//! No second store is needed to check an answer. Timestamps come in ties and some come late, so that order and
//! duplicates are put to the test; every other stream lies in the past and runs over midnight UTC.

use std::fmt::Write;
use std::ops::Range;

use crate::det::EPOCH_NANOS;
use crate::random::Random;

/// Lines that share a timestamp.
const TIE: u64 = 3;
/// From one timestamp of a stream to the next.
const STEP_NANOS: i64 = 40_000_000;
/// So many lines in a thousand come late.
const LATE_PERMILLE: u64 = 50;
/// How late at most, in steps.
const LATE_STEPS_MAX: u64 = 200;
/// So many lines in a thousand are long.
const LONG_PERMILLE: u64 = 20;
/// Half a minute before the midnight before the simulation begins.
const BEFORE_MIDNIGHT_NANOS: i64 = EPOCH_NANOS - EPOCH_NANOS.rem_euclid(DAY_NANOS) - 30_000_000_000;
const DAY_NANOS: i64 = 86_400_000_000_000;

/// What is written.
#[derive(Clone, Copy, Debug)]
pub struct Workload {
    /// Decides every line.
    pub seed: u64,
}

/// An entry as it is pushed and as it must come back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// ns since 1970.
    pub timestamp: i64,
    /// The text: printable ASCII.
    pub line: String,
}

impl Workload {
    /// The time of the entry of a stream at a place in its sequence, and the chance that draws the rest of it.
    fn begun(&self, stream: u64, sequence: u64) -> (i64, Random) {
        let mut random = Random::of_part(self.seed, "line");
        let mut random = Random::new(random.next() ^ (stream << 40) ^ sequence);
        random.next();
        let late = if random.permille(LATE_PERMILLE) { random.within(1..=LATE_STEPS_MAX) } else { 0 };
        let step = (sequence / TIE) as i64 - late as i64;
        (Self::origin(stream) + step * STEP_NANOS, random)
    }

    /// The timestamp of the entry of a stream at a place in its sequence.
    pub fn timestamp(&self, stream: u64, sequence: u64) -> i64 {
        self.begun(stream, sequence).0
    }

    /// The entry of a stream at a place in its sequence.
    pub fn entry(&self, stream: u64, sequence: u64) -> Entry {
        let (timestamp, mut random) = self.begun(stream, sequence);
        let length = if random.permille(LONG_PERMILLE) { 4000 } else { random.within(0..=200) };
        let mut line = format!("stream={stream} sequence={sequence} text=");
        for _ in 0..length / 16 {
            let _ = write!(line, "{:016x}", random.next());
        }
        Entry { timestamp, line }
    }

    /// The time of a stream's first line.
    pub(crate) fn origin(stream: u64) -> i64 {
        if stream.is_multiple_of(2) { EPOCH_NANOS } else { BEFORE_MIDNIGHT_NANOS }
    }

    /// Stream and sequence that a line says it is of.
    pub fn place_of(line: &str) -> Option<(u64, u64)> {
        let (stream, rest) = line.strip_prefix("stream=")?.split_once(" sequence=")?;
        let (sequence, _) = rest.split_once(" text=")?;
        Some((stream.parse().ok()?, sequence.parse().ok()?))
    }

    /// A push of some entries of some streams: Loki's JSON.
    pub fn push_body(&self, parts: &[(u64, Range<u64>)]) -> Vec<u8> {
        let streams: Vec<serde_json::Value> =
            parts.iter().map(|(stream, sequences)| self.stream_body(*stream, sequences.clone())).collect();
        serde_json::json!({ "streams": streams }).to_string().into_bytes()
    }

    fn stream_body(&self, stream: u64, sequences: Range<u64>) -> serde_json::Value {
        let values: Vec<[String; 2]> = sequences
            .map(|sequence| self.entry(stream, sequence))
            .map(|entry| [entry.timestamp.to_string(), entry.line])
            .collect();
        let labels = serde_json::json!({ "job": "simulation", "stream": stream.to_string() });
        serde_json::json!({ "stream": labels, "values": values })
    }

    /// All of the time that entries are of.
    pub const ALL: Range<i64> = EPOCH_NANOS - 3 * DAY_NANOS..EPOCH_NANOS + DAY_NANOS;

    /// The target of a query for a stream's lines of some time, oldest line first.
    pub fn query_target(stream: u64, time: &Range<i64>, limit: usize) -> String {
        let Range { start, end } = time;
        let query = Self::selector(stream);
        format!(
            "/loki/api/v1/query_range?query={query}&start={start}&end={end}&limit={limit}&direction=forward"
        )
    }

    /// The target of a query that counts all lines of a stream.
    pub fn count_target(stream: u64) -> String {
        let query = format!("sum(count_over_time({}%5B4d%5D))", Self::selector(stream));
        format!("/loki/api/v1/query?query={query}&time={}", EPOCH_NANOS + DAY_NANOS)
    }

    /// Encoded as part of an address.
    pub(crate) fn selector(stream: u64) -> String {
        format!("%7Bjob%3D%22simulation%22%2Cstream%3D%22{stream}%22%7D")
    }
}

#[cfg(test)]
mod tests {
    use super::Workload;

    #[test]
    fn lines_follow_from_seed_stream_and_sequence_and_name_them() {
        let workload = Workload { seed: 1 };
        let other = Workload { seed: 2 };
        for (stream, sequence) in [(0, 0), (0, 1), (1, 0), (7, 12_345)] {
            let entry = workload.entry(stream, sequence);
            assert_eq!(entry, workload.entry(stream, sequence));
            assert_eq!(Workload::place_of(&entry.line), Some((stream, sequence)));
        }
        let text = |workload: &Workload| (0..20).map(|n| workload.entry(0, n).line).collect::<String>();
        assert_ne!(text(&workload), text(&other));
        assert_eq!(Workload::place_of("stream=1 sequence=x text="), None);
    }

    #[test]
    fn timestamps_tie_come_late_and_cross_midnight() {
        let workload = Workload { seed: 1 };
        let times: Vec<i64> = (0..4000).map(|n| workload.entry(1, n).timestamp).collect();
        assert!(times.windows(2).any(|pair| pair[0] == pair[1]));
        assert!(times.windows(2).any(|pair| pair[0] > pair[1]));
        let days: std::collections::BTreeSet<i64> =
            times.iter().map(|t| t.div_euclid(super::DAY_NANOS)).collect();
        assert_eq!(days.len(), 2);
    }
}
