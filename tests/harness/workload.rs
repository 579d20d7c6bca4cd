//! Lines that are a function of (seed, stream, number): any answer can be held against what was sent without
//! keeping it.

use super::Random;
use super::push::{Labels, Push, labels};

/// 2026-01-01 10:00 UTC: a day that the tests never reach the end of.
pub const START: i64 = 1_767_261_600_000_000_000;
const STEP: i64 = 1_000_000;
/// The end of everything that workloads send.
pub const END: i64 = START + 6 * 3_600_000_000_000;

/// The lines of a seed.
#[derive(Clone, Copy, Debug)]
pub struct Workload {
    pub seed: u64,
}

impl Workload {
    /// Labels of a stream. A name of the service is given, so that the node adds none.
    pub fn labels(stream: usize) -> Labels {
        labels([("service_name", "load"), ("stream", &stream.to_string())])
    }

    /// When a line was written.
    pub fn time(number: u64) -> i64 {
        START + number as i64 * STEP
    }

    /// The line: where it belongs, then up to seven ids, so that text shrinks to half and not to nothing.
    pub fn line(&self, stream: usize, number: u64) -> String {
        let hash = xxhash_rust::xxh3::xxh3_64_with_seed(&number.to_le_bytes(), self.seed ^ stream as u64);
        let (mut random, mut line) = (Random(hash), format!("{stream} {number} id={hash:016x}"));
        for _ in 0..hash % 8 {
            line.push_str(&format!(" {:016x}", random.draw()));
        }
        line
    }

    /// A push of some lines of one stream.
    pub fn push(&self, stream: usize, numbers: std::ops::Range<u64>) -> Push {
        let lines = numbers.map(|number| (Self::time(number), self.line(stream, number))).collect();
        Push { labels: Self::labels(stream), lines }
    }

    /// Checks an answer about one stream from a number on: each line is one that was sent, none comes twice, all
    /// come in order, and every number below `acknowledged` is there. None at or above `sent` exists.
    pub fn check(&self, stream: usize, lines: &[(i64, String)], from: u64, acknowledged: u64, sent: u64) {
        let numbers: Vec<u64> = lines.iter().map(|line| self.number(stream, line)).collect();
        let ascend = numbers.windows(2).find(|pair| pair[0] >= pair[1]);
        assert_eq!(ascend, None, "stream {stream}: lines out of order or twice");
        let lost: Vec<u64> = (from..acknowledged).filter(|n| numbers.binary_search(n).is_err()).collect();
        assert_eq!(lost, [0; 0], "stream {stream}: lost, of lines {from} to {acknowledged}");
        let invented = numbers.iter().find(|number| !(from..sent).contains(number));
        assert_eq!(invented, None, "stream {stream}: never sent, of lines {from} to {sent}");
    }

    /// The number of a line, which must be exactly as it was sent.
    fn number(&self, stream: usize, (time, line): &(i64, String)) -> u64 {
        let number = line.split(' ').nth(1).and_then(|word| word.parse().ok());
        let number = number.unwrap_or_else(|| panic!("stream {stream}: no one sent `{line}`"));
        assert_eq!((line, *time), (&self.line(stream, number), Self::time(number)), "no one sent this");
        number
    }
}
