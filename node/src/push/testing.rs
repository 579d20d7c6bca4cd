//! Pushes for tests, written as JSON.

use bytes::Bytes;

use super::batch::PushBatch;
use super::json;
use super::stream_cache::{Naming, StreamCache};

pub(super) const NOW: i64 = 1_700_000_000_000_000_000;
pub(super) const SECOND: i64 = 1_000_000_000;

pub(super) fn batch(streams: &str) -> PushBatch {
    let body = Bytes::from(format!(r#"{{"streams":[{streams}]}}"#));
    let naming = Naming { tenant: "t", service_name_sources: &[] };
    json::decode(body, json::Shape::V1, naming, &StreamCache::default()).unwrap()
}

/// One stream `{a="b"}` of entries given as `(timestamp - NOW, line)`.
pub(super) fn entries(entries: &[(i64, &str)]) -> PushBatch {
    let values: Vec<_> = entries.iter().map(|(at, line)| format!(r#"["{}","{line}"]"#, NOW + at)).collect();
    batch(&format!(r#"{{"stream":{{"a":"b"}},"values":[{}]}}"#, values.join(",")))
}

pub(super) fn left(batch: &PushBatch) -> Vec<(i64, String)> {
    let mut left = Vec::new();
    for stream in batch.streams() {
        batch.for_each_entry(stream, |entry| {
            left.push((entry.timestamp - NOW, String::from_utf8_lossy(entry.line).into_owned()));
        });
    }
    left
}
