//! A query for lines that goes on: first those of the past, then each new one as it becomes durable.
//!
//! Whoever follows subscribes first and looks back then, so that no line falls between the two; a line that both
//! bring is told once. With a delay, lines wait that long and come out in the order of their time, so that
//! senders that are late by less are in order. [`Tailer`] decides; it has no clock and no socket.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use grapevine_logql::ast::LogExpr;
use grapevine_logql::pipeline::{Options, Pipeline, Wanted};
use grapevine_storage::entry::EntryRef;
use grapevine_storage::stream::{Labels, StreamId};
use xxhash_rust::xxh3::xxh3_128;

use super::answer::{LineLabels, LogLine};
use super::error::QueryError;
use super::lines::share;
use super::select::compile;
use super::share::Share;
use super::stage_error;
use crate::ingester::followers::Missed;
use crate::push::batch::PushBatch;

/// Lines that wait for their delay to pass; what comes beyond is told as missed.
const WAITING_MAX: usize = 20_000;

/// A line as it looks to the client, by which one of the past is known again: timestamp, hash of the text, labels.
type Seen = (i64, u128, Arc<LineLabels>);

fn seen(line: &LogLine) -> Seen {
    (line.timestamp, xxh3_128(&line.line), line.labels.clone())
}

/// Turns pushes into lines that a query chooses, each once.
#[derive(Debug)]
pub struct Tailer {
    pipeline: Pipeline,
    options: Options,
    matchers: Vec<grapevine_storage::index::Matcher>,
    delay: Duration,
    /// Lines of the past that a push may still bring.
    past: BTreeSet<Seen>,
    /// Lines that wait, with the moment from which they are due.
    waiting: Vec<(Duration, LogLine)>,
    missed: Vec<Missed>,
}

impl Tailer {
    /// Compiles a query.
    ///
    /// # Errors
    /// A stage or a matcher that does not compile.
    pub fn new(log: &LogExpr, options: Options, delay: Duration) -> Result<Self, QueryError> {
        let pipeline = Pipeline::compile(&log.stages, &Wanted::All)
            .map_err(|error| QueryError::Bad(stage_error(&log.stages, &error)))?;
        let matchers = compile(&log.selector)?;
        let (past, waiting, missed) = (BTreeSet::new(), Vec::new(), Vec::new());
        Ok(Tailer { pipeline, options, matchers, delay, past, waiting, missed })
    }

    /// Takes note of lines told already.
    pub fn note_past(&mut self, lines: &[LogLine]) {
        self.past = lines.iter().map(seen).collect();
    }

    /// Takes a push in that came at `now`.
    pub fn take(&mut self, batch: &PushBatch, now: Duration) {
        self.take_share(batch, &Share::all(), now);
    }

    /// Takes in what a push brings of a share.
    pub fn take_share(&mut self, batch: &PushBatch, share: &Share, now: Duration) {
        for stream in batch.streams().iter().filter(|stream| share.holds(stream.id())) {
            let labels = stream.labels();
            let wanted = |m: &grapevine_storage::index::Matcher| m.matches(labels.get(&m.name).unwrap_or(""));
            if self.matchers.iter().all(wanted) {
                self.take_stream(batch, stream, now);
            }
        }
    }

    fn take_stream(&mut self, batch: &PushBatch, stream: &crate::push::batch::PushStream, now: Duration) {
        let labels: Vec<(&str, &str)> = stream.labels().iter().collect();
        let mut stages = self.pipeline.stream(&labels, &self.options);
        let mut known: BTreeMap<u128, Arc<LineLabels>> = BTreeMap::new();
        let mut of_batch: BTreeSet<(StreamId, u128, i64)> = BTreeSet::new();
        batch.for_each_entry(stream, |entry: EntryRef<'_>| {
            // A push that repeats itself stores one entry.
            if !of_batch.insert((stream.id(), entry.hash().0, entry.timestamp)) {
                return;
            }
            let Some(outcome) = stages.process(entry.timestamp, entry.line, entry.metadata) else { return };
            let labels = share(&mut known, outcome.labels);
            let line = LogLine { timestamp: entry.timestamp, line: outcome.line.to_vec(), labels };
            if !wait(&mut self.past, &mut self.waiting, line, now + self.delay) {
                let missed = Missed { labels: stream.labels().clone(), timestamp: entry.timestamp };
                self.missed.push(missed);
            }
        });
    }

    /// Takes in lines that another node has put through the stages, and that came at `now`.
    pub fn take_lines(&mut self, lines: Vec<LogLine>, now: Duration) {
        for line in lines {
            let (timestamp, labels) = (line.timestamp, line.labels.clone());
            if !wait(&mut self.past, &mut self.waiting, line, now + self.delay) {
                self.missed.push(Missed { labels: Labels::new(labels.stream.clone()), timestamp });
            }
        }
    }

    /// When the next line is due.
    pub fn next_due(&self) -> Option<Duration> {
        self.waiting.iter().map(|(due, _)| *due).min()
    }

    /// The lines due at `now`, the oldest first; with a delay, so far as no older one still waits its time.
    pub fn due(&mut self, now: Duration) -> Vec<LogLine> {
        let (due, waiting): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.waiting).into_iter().partition(|(due, _)| *due <= now);
        self.waiting = waiting;
        let mut lines: Vec<LogLine> = due.into_iter().map(|(_, line)| line).collect();
        lines.sort_by_key(|line| line.timestamp);
        lines
    }

    /// Lines for which there was no room.
    pub fn take_missed(&mut self) -> Vec<Missed> {
        std::mem::take(&mut self.missed)
    }
}

/// Lets a line wait until it is due, unless it has been told; `false` where there is no room.
fn wait(
    past: &mut BTreeSet<Seen>,
    waiting: &mut Vec<(Duration, LogLine)>,
    line: LogLine,
    due: Duration,
) -> bool {
    if past.remove(&seen(&line)) {
        return true;
    }
    let fits = waiting.len() < WAITING_MAX;
    if fits {
        waiting.push((due, line));
    }
    fits
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use bytes::Bytes;
    use grapevine_logql::parse::parse_log;
    use grapevine_logql::pipeline::Options;

    use super::{Tailer, WAITING_MAX};
    use crate::push::batch::{BatchBuilder, PushBatch};
    use crate::push::stream_cache::Naming;

    fn batch(app: &str, entries: &[(i64, &str)]) -> PushBatch {
        let mut builder = BatchBuilder::new(Bytes::new());
        for (timestamp, line) in entries {
            let line = builder.add_text(line.as_bytes()).unwrap();
            let mark = builder.metadata_mark();
            builder.entry(*timestamp, line, mark).unwrap();
        }
        let naming = Naming { tenant: "t", service_name_sources: &[] };
        builder.stream(Arc::new(naming.stream(vec![("app".into(), app.into())]))).unwrap();
        builder.finish().unwrap()
    }

    fn tailer(query: &str, delay: u64) -> Tailer {
        Tailer::new(&parse_log(query).unwrap(), Options::default(), Duration::from_secs(delay)).unwrap()
    }

    fn texts(tailer: &mut Tailer, at: u64) -> Vec<String> {
        let lines = tailer.due(Duration::from_secs(at));
        lines.iter().map(|line| String::from_utf8_lossy(&line.line).into_owned()).collect()
    }

    #[test]
    fn only_what_the_query_chooses_comes_and_as_its_stages_leave_it() {
        let mut tailer = tailer(r#"{app="a"} |= "x" | line_format "<{{__line__}}>""#, 0);
        tailer.take(&batch("a", &[(2, "x2"), (1, "x1"), (3, "y")]), Duration::ZERO);
        tailer.take(&batch("b", &[(4, "x4")]), Duration::ZERO);
        assert_eq!(texts(&mut tailer, 0), ["<x1>", "<x2>"]);
        assert_eq!(tailer.next_due(), None);
    }

    #[test]
    fn a_delay_puts_late_lines_in_order() {
        let mut tailer = tailer(r#"{app="a"}"#, 5);
        tailer.take(&batch("a", &[(2, "second")]), Duration::from_secs(1));
        tailer.take(&batch("a", &[(1, "first")]), Duration::from_secs(1));
        tailer.take(&batch("a", &[(3, "third")]), Duration::from_secs(4));
        assert_eq!(tailer.next_due(), Some(Duration::from_secs(6)));
        assert_eq!(texts(&mut tailer, 5), [""; 0]);
        assert_eq!(texts(&mut tailer, 6), ["first", "second"]);
        assert_eq!(texts(&mut tailer, 9), ["third"]);
    }

    #[test]
    fn what_the_past_has_told_is_not_told_again() {
        let mut tailer = tailer(r#"{app="a"}"#, 0);
        tailer.take(&batch("a", &[(1, "told")]), Duration::ZERO);
        let past = tailer.due(Duration::ZERO);
        tailer.note_past(&past);
        tailer.take(
            &batch("a", &[(1, "told"), (2, "told"), (1, "new"), (3, "twice"), (3, "twice")]),
            Duration::ZERO,
        );
        assert_eq!(texts(&mut tailer, 0), ["new", "told", "twice"]);
    }

    #[test]
    fn lines_that_find_no_room_are_told_as_missed() {
        let mut tailer = tailer(r#"{app="a"}"#, 5);
        let lines: Vec<(i64, &str)> = (0..WAITING_MAX as i64 + 2).map(|n| (n, "x")).collect();
        tailer.take(&batch("a", &lines), Duration::ZERO);
        let missed: Vec<i64> = tailer.take_missed().iter().map(|missed| missed.timestamp).collect();
        assert_eq!(missed, [WAITING_MAX as i64, WAITING_MAX as i64 + 1]);
        assert_eq!(tailer.take_missed(), []);
    }
}
