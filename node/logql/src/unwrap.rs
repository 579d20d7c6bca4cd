//! `| unwrap duration(x) | filters`: a number out of a label of each line.

use std::collections::BTreeSet;

use crate::ast::{Conversion, LabelFilter as FilterSource, Unwrap as Source};
use crate::labels::{LabelSet, LineError};
use crate::pipeline::{CompileError, StreamPipeline};
use crate::stage::label_filter::LabelFilter;
use crate::value::{ValueError, parse_bytes, parse_duration, parse_number};

/// A compiled `unwrap`.
#[derive(Debug)]
pub struct Unwrap {
    label: String,
    conversion: Conversion,
    filters: Vec<LabelFilter>,
    reads: BTreeSet<String>,
}

/// The number of a line.
#[derive(Debug)]
pub struct Sample<'o> {
    /// The number; 0 if the label could not be read, in which case the labels have an error.
    pub value: f64,
    /// The line's labels, sealed. The unwrapped one is there still: see [`Unwrap::label`].
    pub labels: &'o LabelSet,
}

impl Unwrap {
    /// Compiles an `unwrap`.
    pub fn compile(source: &Source) -> Result<Unwrap, CompileError> {
        let mut reads = BTreeSet::from([source.label.clone()]);
        source.filters.iter().for_each(|filter| collect_names(filter, &mut reads));
        let filters = source.filters.iter().map(LabelFilter::compile).collect::<Result<_, _>>()?;
        Ok(Unwrap { label: source.label.clone(), conversion: source.conversion, filters, reads })
    }

    /// The label unwrapped. Unless a `by` names it, it is no label of the series.
    pub fn label(&self) -> &str {
        &self.label
    }

    /// The labels it reads; a [`Wanted::Only`](crate::pipeline::Wanted) must include them.
    pub fn reads(&self) -> &BTreeSet<String> {
        &self.reads
    }

    /// Runs a pipeline on a line and reads the number. Nothing if the pipeline or a filter behind the unwrap
    /// drops the line, or if the label is missing or empty.
    pub fn sample<'o>(
        &self,
        pipeline: &'o mut StreamPipeline<'_>,
        timestamp: i64,
        line: &[u8],
        metadata: &[(&str, &str)],
    ) -> Option<Sample<'o>> {
        if !pipeline.run(timestamp, line, metadata) {
            return None;
        }
        let labels = pipeline.labels_mut();
        let text = labels.get(&self.label).filter(|text| !text.is_empty())?;
        let value = match convert(self.conversion, text) {
            Ok(value) => value,
            Err(error) => {
                labels.set_error(LineError::SampleExtraction, format_args!("{error}"));
                0.0
            }
        };
        if !self.filters.iter().all(|filter| filter.passes(labels)) {
            return None;
        }
        labels.seal();
        Some(Sample { value, labels: pipeline.labels() })
    }
}

fn convert(conversion: Conversion, text: &str) -> Result<f64, ValueError> {
    match conversion {
        Conversion::None => parse_number(text),
        Conversion::Duration | Conversion::DurationSeconds => parse_duration(text).map(seconds),
        Conversion::Bytes => parse_bytes(text).map(|bytes| bytes as f64),
    }
}

/// Whole seconds and the rest apart, so that neither is rounded before it must be.
fn seconds(nanos: i64) -> f64 {
    (nanos / 1_000_000_000) as f64 + (nanos % 1_000_000_000) as f64 / 1e9
}

fn collect_names(filter: &FilterSource, names: &mut BTreeSet<String>) {
    let name = match filter {
        FilterSource::Text(matcher) => &matcher.name,
        FilterSource::Number { name, .. }
        | FilterSource::Duration { name, .. }
        | FilterSource::Bytes { name, .. }
        | FilterSource::Ip { name, .. } => name,
        FilterSource::And(a, b) | FilterSource::Or(a, b) => {
            collect_names(a, names);
            return collect_names(b, names);
        }
    };
    names.insert(name.clone());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ast::{Expr, SampleExpr};
    use crate::parse::parse;
    use crate::pipeline::{Options, Pipeline, Wanted};

    fn check(unwrap: &str, line: &str, expected: Option<(f64, Option<LineError>)>) {
        let query = parse(&format!("sum_over_time({{app=\"x\"}} | logfmt | {unwrap} [1m])")).unwrap();
        let Expr::Sample(SampleExpr::Range(range)) = query else { panic!("{query:?}") };
        let pipeline = Pipeline::compile(&range.range.log.stages, &Wanted::All).unwrap();
        let unwrap = Unwrap::compile(range.range.unwrap.as_ref().unwrap()).unwrap();
        let mut stream = pipeline.stream(&[("app", "x")], &Options::default());
        let sample = unwrap.sample(&mut stream, 1, line.as_bytes(), &[]);
        assert_eq!(sample.map(|sample| (sample.value, sample.labels.error())), expected, "{line}");
    }

    #[test]
    fn labels_become_numbers_by_their_conversion() {
        check("unwrap v", "v=1.5", Some((1.5, None)));
        check("unwrap duration(v)", "v=1m30s", Some((90.0, None)));
        check("unwrap duration_seconds(v)", "v=250ms", Some((0.25, None)));
        check("unwrap bytes(v)", "v=2KiB", Some((2048.0, None)));
    }

    #[test]
    fn a_line_without_the_label_has_no_sample_and_an_unreadable_one_an_error() {
        check("unwrap v", "w=1", None);
        check("unwrap v", "v=", None);
        check("unwrap v", "v=x", Some((0.0, Some(LineError::SampleExtraction))));
        check("unwrap v | __error__=\"\"", "v=x", None);
        check("unwrap v | v > 2", "v=1", None);
        check("unwrap v | v > 2", "v=3", Some((3.0, None)));
    }
}
