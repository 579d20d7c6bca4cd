//! What a log query answered, taken apart.

use std::collections::BTreeMap;

use serde_json::Value;

use super::push::Labels;

/// Lines by stream, each in the order of the answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lines {
    pub streams: BTreeMap<Labels, Vec<(i64, String)>>,
    /// What the answer says is missing.
    pub warnings: Vec<String>,
}

impl Lines {
    /// Reads the JSON of `query_range`.
    pub fn of(answer: &Value) -> Self {
        assert_eq!(answer["data"]["resultType"], "streams", "{answer}");
        let mut streams: BTreeMap<Labels, Vec<(i64, String)>> = BTreeMap::new();
        for stream in answer["data"]["result"].as_array().unwrap() {
            let labels: Labels = serde_json::from_value(stream["stream"].clone()).unwrap();
            let values: Vec<(String, String)> = serde_json::from_value(stream["values"].clone()).unwrap();
            let lines = values.into_iter().map(|(time, line)| (time.parse().unwrap(), line));
            assert!(streams.insert(labels, lines.collect()).is_none(), "a stream comes twice: {answer}");
        }
        let warnings = answer.get("warnings").map(|list| serde_json::from_value(list.clone()).unwrap());
        Lines { streams, warnings: warnings.unwrap_or_default() }
    }

    /// The lines of all streams, in the order of streams.
    pub fn all(&self) -> Vec<(i64, String)> {
        self.streams.values().flatten().cloned().collect()
    }

    /// The lines of one stream; none where the answer has no such stream.
    pub fn of_stream(&self, labels: &Labels) -> &[(i64, String)] {
        self.streams.get(labels).map_or(&[], Vec::as_slice)
    }

    pub fn len(&self) -> usize {
        self.streams.values().map(Vec::len).sum()
    }
}
