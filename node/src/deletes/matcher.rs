//! A delete request, compiled: which lines are to go.

use grapevine_logql::parse::parse_log;
use grapevine_logql::pipeline::{Options, Pipeline, StreamPipeline, Wanted};
use grapevine_storage::index::Matcher;
use grapevine_storage::stream::Labels;

use super::DeleteRequest;
use crate::querier::scan::StoredLine;
use crate::querier::select::{compile, matches};

/// Which lines are to go.
#[derive(Debug)]
pub struct Deletion {
    selector: Vec<Matcher>,
    stages: Pipeline,
    first: i64,
    last: i64,
}

/// A deletion on the lines of one stream.
#[derive(Debug)]
pub struct StreamDeletion<'d> {
    deletion: &'d Deletion,
    stages: StreamPipeline<'d>,
}

impl Deletion {
    /// Compiles a request.
    ///
    /// # Errors
    /// What is wrong with its query.
    pub fn compile(request: &DeleteRequest) -> Result<Self, String> {
        let log = parse_log(&request.query).map_err(|error| error.to_string())?;
        let stages =
            Pipeline::compile(&log.stages, &Wanted::Only([].into())).map_err(|error| error.to_string())?;
        let selector = compile(&log.selector).map_err(|error| error.to_string())?;
        Ok(Deletion { selector, stages, first: request.start, last: request.end })
    }

    /// Whether any of a stretch of time, both ends inclusive, can be affected.
    pub fn overlaps(&self, first: i64, last: i64) -> bool {
        first <= self.last && self.first <= last
    }

    /// Whether any of a stream can be affected.
    pub fn selects(&self, labels: &Labels) -> bool {
        matches(&self.selector, labels)
    }

    /// Starts on a stream.
    pub fn stream<'d>(&'d self, labels: &[(&str, &str)], options: Options) -> StreamDeletion<'d> {
        StreamDeletion { deletion: self, stages: self.stages.stream(labels, options) }
    }
}

impl StreamDeletion<'_> {
    /// Whether a line is to go.
    pub fn covers(&mut self, line: &StoredLine<'_>) -> bool {
        (self.deletion.first..=self.deletion.last).contains(&line.timestamp)
            && self.stages.process(line.timestamp, line.line, line.metadata).is_some()
    }
}
