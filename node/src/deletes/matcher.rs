//! A delete request, compiled: which lines are to go, from an answer and from a pack.

use std::collections::BTreeSet;
use std::sync::Arc;

use grapevine_logql::level::LevelSources;
use grapevine_logql::parse::parse_log;
use grapevine_logql::pipeline::{Options, Pipeline, StreamPipeline, Wanted};
use grapevine_storage::entry::EntryRef;
use grapevine_storage::index::Matcher;
use grapevine_storage::pack::{ChunkEntry, Fate, Filter, Sieve, StreamEntry};
use grapevine_storage::scan::LineFilter;
use grapevine_storage::stream::{Labels, StreamId};

use super::DeleteRequest;
use crate::querier::pushdown;
use crate::querier::scan::StoredLine;
use crate::querier::select::{compile, matches};

/// Which lines are to go.
#[derive(Debug)]
pub struct Deletion {
    selector: Vec<Matcher>,
    stages: Pipeline,
    options: Options,
    /// What every line that is to go passes.
    filter: LineFilter,
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
    /// Compiles a request. It may name a level whether or not queries show levels.
    ///
    /// # Errors
    /// What is wrong with its query.
    pub fn compile(request: &DeleteRequest, levels: Arc<LevelSources>) -> Result<Self, String> {
        let log = parse_log(&request.query).map_err(|error| error.to_string())?;
        let stages =
            Pipeline::compile(&log.stages, &Wanted::Only([].into())).map_err(|error| error.to_string())?;
        let selector = compile(&log.selector).map_err(|error| error.to_string())?;
        let filter = pushdown::of_stages(&log.stages).map_err(|error| error.to_string())?.filter;
        let options = Options { levels: Some(levels), now: 0 };
        Ok(Deletion { selector, stages, options, filter, first: request.start, last: request.end })
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
    pub fn stream<'d>(&'d self, labels: &[(&str, &str)]) -> StreamDeletion<'d> {
        StreamDeletion { deletion: self, stages: self.stages.stream(labels, &self.options) }
    }

    fn may_cover(&self, chunk: &ChunkEntry, filter: Option<&Filter>) -> bool {
        self.overlaps(chunk.first(), chunk.last())
            && filter.is_none_or(|filter| self.filter.may_match(filter))
    }
}

impl StreamDeletion<'_> {
    /// Whether a line is to go.
    pub fn covers(&mut self, line: &StoredLine<'_>) -> bool {
        (self.deletion.first..=self.deletion.last).contains(&line.timestamp)
            && self.stages.process(line.timestamp, line.line, line.metadata).is_some()
    }
}

/// Takes what several requests name out of a pack, and with it the streams that are past their retention.
#[derive(Debug)]
pub struct Eraser<'d> {
    deletions: &'d [Arc<Deletion>],
    /// The streams of the pack that the index still shows.
    live: &'d BTreeSet<StreamId>,
    /// The deletions that are about the stream at hand, and whether they are about the chunk at hand.
    of_stream: Vec<(StreamDeletion<'d>, bool)>,
}

impl<'d> Eraser<'d> {
    /// On a pack of which these streams are still to be found.
    pub fn new(deletions: &'d [Arc<Deletion>], live: &'d BTreeSet<StreamId>) -> Self {
        Eraser { deletions, live, of_stream: Vec::new() }
    }
}

impl Sieve for Eraser<'_> {
    fn stream(&mut self, stream: &StreamEntry) -> Fate {
        if !self.live.contains(&stream.id) {
            return Fate::Goes;
        }
        let labels: Vec<(&str, &str)> = stream.labels.iter().collect();
        let own = self.deletions.iter().filter(|deletion| deletion.selects(&stream.labels));
        self.of_stream = own.map(|deletion| (deletion.stream(&labels), false)).collect();
        if self.of_stream.is_empty() { Fate::Stays } else { Fate::Sifted }
    }

    fn chunk(&mut self, chunk: &ChunkEntry, filter: Option<&Filter>) -> bool {
        for (deletion, applies) in &mut self.of_stream {
            *applies = deletion.deletion.may_cover(chunk, filter);
        }
        self.of_stream.iter().any(|(_, applies)| *applies)
    }

    fn entry(&mut self, entry: &EntryRef<'_>) -> bool {
        let line = StoredLine { timestamp: entry.timestamp, line: entry.line, metadata: entry.metadata };
        self.of_stream.iter_mut().any(|(deletion, applies)| *applies && deletion.covers(&line))
    }
}
