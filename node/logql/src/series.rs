//! What a metric query answers with: label sets, series of points, and how their numbers are written.
//!
//! During evaluation points carry the *index* of their step ([`StepMatrix`]); only the final answer
//! carries milliseconds, since two steps less than a millisecond apart would otherwise fall together.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::Arc;

/// The labels of a series, sorted by name. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SeriesLabels(Arc<[(String, String)]>);

impl Default for SeriesLabels {
    fn default() -> Self {
        SeriesLabels(Arc::from([]))
    }
}

impl SeriesLabels {
    /// Takes labels in any order; of one name given twice the last stands.
    pub fn new(mut labels: Vec<(String, String)>) -> Self {
        labels.reverse();
        labels.sort_by(|a, b| a.0.cmp(&b.0));
        labels.dedup_by(|later, kept| later.0 == kept.0);
        SeriesLabels(labels.into())
    }

    /// The labels, sorted by name.
    pub fn pairs(&self) -> &[(String, String)] {
        &self.0
    }

    /// The value of a label; a missing label is an empty one, as everywhere in Loki.
    pub fn get(&self, name: &str) -> &str {
        let found = self.0.binary_search_by(|(label, _)| label.as_str().cmp(name));
        found.map_or("", |at| &self.0[at].1)
    }

    /// Only the labels whose name passes.
    pub fn filtered(&self, keep: impl Fn(&str) -> bool) -> Self {
        SeriesLabels(self.0.iter().filter(|(name, _)| keep(name)).cloned().collect())
    }

    /// The same with one label set, or removed where `value` is empty.
    pub fn with(&self, name: &str, value: &str) -> Self {
        let mut labels: Vec<_> = self.0.iter().filter(|(label, _)| label != name).cloned().collect();
        if !value.is_empty() {
            let at = labels.partition_point(|(label, _)| label.as_str() < name);
            labels.insert(at, (name.to_owned(), value.to_owned()));
        }
        SeriesLabels(labels.into())
    }

    /// Whether these are exactly `pairs`, in the same order.
    pub(crate) fn is<'a>(&self, mut pairs: impl Iterator<Item = (&'a str, &'a str)>) -> bool {
        let all = self.0.iter().all(|(name, value)| pairs.next() == Some((name.as_str(), value.as_str())));
        all && pairs.next().is_none()
    }
}

impl<'a> FromIterator<(&'a str, &'a str)> for SeriesLabels {
    fn from_iter<I: IntoIterator<Item = (&'a str, &'a str)>>(pairs: I) -> Self {
        SeriesLabels::new(
            pairs.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
        )
    }
}

/// The hash by which [`Accumulator::series`](crate::range::Accumulator::series) finds a label set: the same
/// in every process, so that whoever scans may keep it beside a stream.
pub fn series_hash<'a>(pairs: impl Iterator<Item = (&'a str, &'a str)>) -> u64 {
    let mut hasher = DefaultHasher::new();
    pairs.for_each(|pair| pair.hash(&mut hasher));
    hasher.finish()
}

/// A series while the query is evaluated: (step index, value), by ascending step.
#[derive(Clone, Debug, PartialEq)]
pub struct StepSeries {
    /// Its labels.
    pub labels: SeriesLabels,
    /// Its values; a step without one is absent.
    pub points: Vec<(u32, f64)>,
}

/// Series while the query is evaluated.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct StepMatrix {
    /// In the order their owner chose: by labels, unless the query sorts by value.
    pub series: Vec<StepSeries>,
}

impl StepMatrix {
    /// How many points all series have.
    pub fn points(&self) -> usize {
        self.series.iter().map(|series| series.points.len()).sum()
    }
}

/// A series of the answer: (Unix ms, value), by ascending time.
#[derive(Clone, Debug, PartialEq)]
pub struct Series {
    /// Its labels.
    pub labels: SeriesLabels,
    /// Its values.
    pub points: Vec<(i64, f64)>,
}

/// One element of a vector.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// Its labels.
    pub labels: SeriesLabels,
    /// Unix ms.
    pub at: i64,
    /// Its value.
    pub value: f64,
}

/// What a metric query answers.
#[derive(Clone, Debug, PartialEq)]
pub enum QueryValue {
    /// An instant query of a bare number.
    Scalar {
        /// Unix ms.
        at: i64,
        /// The number.
        value: f64,
    },
    /// An instant query: sorted by labels, or by value where the query says `sort`.
    Vector(Vec<Sample>),
    /// A range query: sorted by labels.
    Matrix(Vec<Series>),
}

/// A number as the API writes it: the shortest decimals that read back to the same value, never an exponent
/// (Go's `strconv.FormatFloat(v, 'f', -1, 64)`), `NaN`, `+Inf`, `-Inf`.
pub fn format_value(value: f64) -> String {
    if value.is_infinite() {
        return if value > 0.0 { "+Inf".to_owned() } else { "-Inf".to_owned() };
    }
    value.to_string()
}

#[cfg(test)]
mod tests {
    use super::{SeriesLabels, format_value, series_hash};

    fn check(value: f64, expected: &str) {
        assert_eq!(format_value(value), expected);
    }

    #[test]
    fn numbers_are_written_without_exponents() {
        check(1.0, "1");
        check(-0.0, "-0");
        check(0.1 + 0.2, "0.30000000000000004");
        check(1e21, "1000000000000000000000");
        check(1.5e-9, "0.0000000015");
        check(f64::NAN, "NaN");
        check(f64::INFINITY, "+Inf");
        check(f64::NEG_INFINITY, "-Inf");
    }

    #[test]
    fn labels_are_sorted_and_the_last_of_a_name_stands() {
        let labels: SeriesLabels = [("b", "1"), ("a", "2"), ("b", "3")].into_iter().collect();
        assert!(labels.is([("a", "2"), ("b", "3")].into_iter()));
        assert_eq!(labels.get("b"), "3");
        assert_eq!(labels.get("c"), "");
    }

    #[test]
    fn setting_a_label_keeps_the_order_and_an_empty_value_removes_it() {
        let labels: SeriesLabels = [("a", "1"), ("c", "3")].into_iter().collect();
        assert!(labels.with("b", "2").is([("a", "1"), ("b", "2"), ("c", "3")].into_iter()));
        assert!(labels.with("c", "").is([("a", "1")].into_iter()));
        assert!(labels.with("a", "9").is([("a", "9"), ("c", "3")].into_iter()));
    }

    #[test]
    fn hash_tells_names_from_values() {
        let hash = |pairs: &[(&'static str, &'static str)]| series_hash(pairs.iter().copied());
        assert_ne!(hash(&[("a", "bc")]), hash(&[("ab", "c")]));
        assert_eq!(hash(&[("a", "b")]), hash(&[("a", "b")]));
    }
}
