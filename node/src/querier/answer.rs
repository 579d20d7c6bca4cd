//! What a query answers with, before it is written as JSON.

use std::sync::Arc;
use std::time::Duration;

use bincode::{Decode, Encode};
use grapevine_logql::series::QueryValue;

/// Names and values, sorted by name.
pub type Pairs = Vec<(String, String)>;

/// The labels of a line, by where they come from. Sorted by name within each.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
pub struct LineLabels {
    /// The stream's.
    pub stream: Pairs,
    /// Structured metadata.
    pub metadata: Pairs,
    /// Made by the query's stages.
    pub parsed: Pairs,
}

impl LineLabels {
    /// All of them, sorted by name; of one name the stage's value wins over metadata, and that over the stream's.
    pub fn merged(&self) -> Vec<(&str, &str)> {
        let all = [&self.parsed, &self.metadata, &self.stream];
        let mut merged: Vec<(&str, &str)> =
            all.iter().flat_map(|pairs| pairs.iter().map(|(n, v)| (n.as_str(), v.as_str()))).collect();
        merged.sort_by_key(|(name, _)| *name);
        merged.dedup_by_key(|(name, _)| *name);
        merged
    }
}

/// A line that a query found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogLine {
    /// ns since 1970.
    pub timestamp: i64,
    /// The text, as the stages left it.
    pub line: Vec<u8>,
    /// Shared by lines of equal labels.
    pub labels: Arc<LineLabels>,
}

/// What was asked for.
#[derive(Clone, Debug)]
pub enum Value {
    /// Lines, in the order asked for.
    Lines(Vec<LogLine>),
    /// Numbers.
    Numbers(QueryValue),
}

/// A whole answer.
#[derive(Clone, Debug)]
pub struct Answer {
    /// What was asked for, as far as it could be read.
    pub value: Value,
    /// What is missing from it, for people; empty where nothing is.
    pub warnings: Vec<String>,
    /// What it took.
    pub stats: Stats,
    /// How it was answered, for people; empty unless asked for.
    pub explain: Vec<String>,
}

impl Answer {
    /// The answer to a query for points where there are none.
    pub fn nothing() -> Self {
        let value = Value::Numbers(QueryValue::Matrix(Vec::new()));
        Answer { value, warnings: Vec::new(), stats: Stats::default(), explain: Vec::new() }
    }
}

/// What a query read and skipped. All of it was counted, nothing is estimated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct Stats {
    /// Streams that the selector chose and that have blocks in the time range.
    pub streams: u64,
    /// Pieces of them that are blocks of one chunk, whose filter can be asked.
    pub chunks: u64,
    /// Of those, pieces ruled out by the filter.
    pub chunks_skipped: u64,
    /// Blocks looked into, or of which the timestamps were read.
    pub blocks: u64,
    /// Compressed bytes of the blocks inflated.
    pub compressed_bytes: u64,
    /// Bytes of text inflated or read from heads.
    pub text_bytes: u64,
    /// Of them, from heads.
    pub head_bytes: u64,
    /// Bytes of structured metadata looked at.
    pub metadata_bytes: u64,
    /// Lines in the blocks looked at.
    pub lines: u64,
    /// Of them, in heads.
    pub head_lines: u64,
    /// Lines that passed every stage, and lie in a window where there are windows.
    pub lines_passed: u64,
    /// Lines dropped because they were there twice.
    pub duplicates: u64,
    /// Lines or points in the answer.
    pub returned: u64,
    /// How long it took.
    pub elapsed: Duration,
}

impl Stats {
    /// Adds another part of the same query; times do not add up.
    pub fn merge(&mut self, other: &Stats) {
        self.streams += other.streams;
        self.chunks += other.chunks;
        self.chunks_skipped += other.chunks_skipped;
        self.blocks += other.blocks;
        self.compressed_bytes += other.compressed_bytes;
        self.text_bytes += other.text_bytes;
        self.head_bytes += other.head_bytes;
        self.metadata_bytes += other.metadata_bytes;
        self.lines += other.lines;
        self.head_lines += other.head_lines;
        self.lines_passed += other.lines_passed;
        self.duplicates += other.duplicates;
        self.returned += other.returned;
        self.elapsed = self.elapsed.max(other.elapsed);
    }
}

#[cfg(test)]
mod tests {
    use super::LineLabels;

    #[test]
    fn of_one_name_the_nearest_to_the_query_wins() {
        let pairs = |pairs: &[(&str, &str)]| pairs.iter().map(|(n, v)| ((*n).into(), (*v).into())).collect();
        let labels = LineLabels {
            stream: pairs(&[("a", "1"), ("b", "1")]),
            metadata: pairs(&[("b", "2"), ("c", "2")]),
            parsed: pairs(&[("c", "3")]),
        };
        assert_eq!(labels.merged(), [("a", "1"), ("b", "2"), ("c", "3")]);
    }
}
