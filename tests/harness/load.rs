//! Clients that push while the cluster is hurt, and a reader that checks what it is told meanwhile.
//!
//! Each stream has one pusher, which goes from node to node and sends what was not acknowledged again, as clients do.
//! Lines are a function of seed, stream and number ([`Workload`]), so any answer can be checked by itself: what was
//! acknowledged before it was asked for is there, or the answer says that something is missing; nothing comes twice,
//! out of order, or from nowhere.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use serde_json::Value;

use super::answers::Lines;
use super::client::{Client, target};
use super::http::Request;
use super::push::{Form, request};
use super::workload::{END, START, Workload};
use super::{Random, until};

/// Lines of a push, at most.
const LINES_MAX: u64 = 12;
/// How long a pusher rests after each push: load, not a flood.
const REST: Duration = Duration::from_millis(15);
/// How long a client waits for an answer before it goes to another node. The node itself gives up after 15 s.
const PATIENCE: Duration = Duration::from_secs(20);
/// How far back a reader along the way looks.
const RECENT: u64 = 400;
/// Lines of a page.
const PAGE: &str = "700";

/// What was pushed, and what became of it.
#[derive(Debug)]
pub struct Load {
    workload: Workload,
    streams: Vec<Stream>,
    /// Pushes that were acknowledged.
    pushes: AtomicU64,
    /// Answers that were complete, and such as said that they were not.
    complete: AtomicU64,
    warned: AtomicU64,
    is_over: AtomicBool,
}

/// How far a stream is.
#[derive(Debug, Default)]
struct Stream {
    acknowledged: AtomicU64,
    /// Lines from here on were never sent.
    sent: AtomicU64,
}

/// Ends the load also when a test fails, since its threads are waited for.
struct End<'a>(&'a AtomicBool);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Tells, where a check fails, who gave the answer, and what others say then: whether it is lost, or late.
struct Asked<'a> {
    load: &'a Load,
    all: &'a [Client],
    client: &'a Client,
    warnings: &'a [String],
    lines: (usize, u64),
}

impl Drop for Asked<'_> {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            return;
        }
        let now = jiff::Timestamp::now();
        eprintln!("--- {now}: {:?} answered, with the warnings {:?}", self.client, self.warnings);
        let (stream, from) = self.lines;
        for client in self.all {
            let to = self.load.acknowledged(stream);
            let said = self.load.try_lines(client, stream, from, Workload::time(to));
            let said = said.map(|lines| (lines.all().len(), lines.warnings));
            let now = jiff::Timestamp::now();
            eprintln!("--- {now}: {client:?} says of lines {from} to {to}, entries and warnings: {said:?}");
        }
    }
}

impl Load {
    /// So many streams, nothing of which is sent yet.
    pub fn new(seed: u64, streams: usize) -> Self {
        let streams = (0..streams).map(|_| Stream::default()).collect();
        let [pushes, complete, warned] = Default::default();
        Load {
            workload: Workload { seed },
            streams,
            pushes,
            complete,
            warned,
            is_over: AtomicBool::new(false),
        }
    }

    /// Pushes through all these nodes in turn and asks them, while something happens.
    pub fn during(&self, nodes: &[Client], happening: impl FnOnce()) {
        self.during_apart(&[nodes], happening);
    }

    /// The same with several groups of nodes; each has clients and streams of its own.
    pub fn during_apart(&self, groups: &[&[Client]], happening: impl FnOnce()) {
        self.is_over.store(false, Ordering::Relaxed);
        std::thread::scope(|scope| {
            let _end = End(&self.is_over);
            for stream in 0..self.streams.len() {
                scope.spawn(move || self.push_on(stream, groups[stream % groups.len()]));
            }
            scope.spawn(|| self.read_on(&groups.concat()));
            happening();
        });
    }

    /// Only asks all these nodes, while something happens.
    pub fn during_reads(&self, nodes: &[Client], happening: impl FnOnce()) {
        self.is_over.store(false, Ordering::Relaxed);
        std::thread::scope(|scope| {
            let _end = End(&self.is_over);
            scope.spawn(|| self.read_on(nodes));
            happening();
        });
    }

    /// Waits until every stream has gone on by so many lines.
    pub fn go_on(&self, lines: u64) {
        self.go_on_of(0..self.streams.len(), lines);
    }

    /// The same for some streams.
    pub fn go_on_of(&self, streams: impl IntoIterator<Item = usize>, lines: u64) {
        for stream in streams {
            let acknowledged = || self.streams[stream].acknowledged.load(Ordering::SeqCst);
            let goal = acknowledged() + lines;
            until(&format!("acknowledgements of stream {stream}"), || {
                assert!(!self.is_over.load(Ordering::Relaxed), "a client has failed");
                (acknowledged() >= goal).then_some(())
            });
        }
    }

    /// Waits until some more answers were complete.
    pub fn complete_answers(&self, more: u64) {
        let goal = self.complete.load(Ordering::SeqCst) + more;
        until("complete answers", || (self.complete.load(Ordering::SeqCst) >= goal).then_some(()));
    }

    /// Answers that said that something was missing.
    pub fn warned(&self) -> u64 {
        self.warned.load(Ordering::SeqCst)
    }

    fn push_on(&self, stream: usize, nodes: &[Client]) {
        let _end = End(&self.is_over);
        let state = &self.streams[stream];
        let mut random = Random(self.workload.seed ^ stream as u64);
        for turn in stream.. {
            if self.is_over.load(Ordering::Relaxed) {
                return;
            }
            let first = state.acknowledged.load(Ordering::SeqCst);
            let numbers = first..first + 1 + random.below(LINES_MAX);
            state.sent.fetch_max(numbers.end, Ordering::SeqCst);
            let form = if turn % 3 == 0 { Form::Json } else { Form::Protobuf };
            let request = request(form, &[self.workload.push(stream, numbers.clone())]).patience(PATIENCE);
            match nodes[turn % nodes.len()].send(request) {
                Ok(answer) if answer.status == 204 => {
                    state.acknowledged.store(numbers.end, Ordering::SeqCst);
                    self.pushes.fetch_add(1, Ordering::SeqCst);
                }
                Ok(answer) => refused(answer.status, &answer.text()),
                // The node is gone, or says nothing.
                Err(_) => {}
            }
            std::thread::park_timeout(REST);
        }
    }

    /// Asks one node after the other about one stream after the other.
    fn read_on(&self, nodes: &[Client]) {
        let _end = End(&self.is_over);
        for turn in 0.. {
            if self.is_over.load(Ordering::Relaxed) {
                return;
            }
            let (client, stream) = (&nodes[turn % nodes.len()], turn / nodes.len() % self.streams.len());
            if turn % 5 == 4 {
                self.read_count(nodes, client, stream);
            } else {
                self.read_recent(nodes, client, stream);
            }
            std::thread::park_timeout(REST);
        }
    }

    fn read_recent(&self, all: &[Client], client: &Client, stream: usize) {
        let acknowledged = self.acknowledged(stream);
        let from = acknowledged.saturating_sub(RECENT);
        let Some(lines) = self.try_lines(client, stream, from, END) else { return };
        let missing = !lines.warnings.is_empty();
        self.tally(missing);
        let must = if missing { from } else { acknowledged };
        let _asked = Asked { load: self, all, client, warnings: &lines.warnings, lines: (stream, from) };
        self.workload.check(stream, &lines.all(), from, must, self.sent(stream));
    }

    fn read_count(&self, all: &[Client], client: &Client, stream: usize) {
        let acknowledged = self.acknowledged(stream);
        let Some((count, warnings)) = self.try_count(client, stream) else { return };
        let sent = self.sent(stream);
        self.tally(!warnings.is_empty());
        let _asked = Asked { load: self, all, client, warnings: &warnings, lines: (stream, 0) };
        assert!(count <= sent, "stream {stream}: {count} lines counted of {sent}, {warnings:?}");
        let enough = count >= acknowledged || !warnings.is_empty();
        assert!(enough, "stream {stream}: {count} lines counted of {acknowledged}, without a warning");
    }

    fn tally(&self, missing: bool) {
        let answers = if missing { &self.warned } else { &self.complete };
        answers.fetch_add(1, Ordering::SeqCst);
    }

    fn acknowledged(&self, stream: usize) -> u64 {
        self.streams[stream].acknowledged.load(Ordering::SeqCst)
    }

    fn sent(&self, stream: usize) -> u64 {
        self.streams[stream].sent.load(Ordering::SeqCst)
    }

    /// The lines of a stream from a number on and before a time, page by page; none where the node cannot answer.
    fn try_lines(&self, client: &Client, stream: usize, from: u64, end: i64) -> Option<Lines> {
        let (query, start) = (format!(r#"{{stream="{stream}"}}"#), Workload::time(from).to_string());
        let (mut lines, mut cursor) = (Lines::default(), "start".to_owned());
        loop {
            let parameters = [
                ("query", query.as_str()),
                ("start", &start),
                ("end", &end.to_string()),
                ("limit", PAGE),
                ("direction", "forward"),
                ("cursor", &cursor),
            ];
            let answer = ask(client, "/loki/api/v1/query_range", &parameters)?;
            let page = Lines::of(&answer);
            for (labels, page) in page.streams {
                lines.streams.entry(labels).or_default().extend(page);
            }
            lines.warnings.extend(page.warnings);
            match answer["data"]["next"].as_str() {
                Some(next) => next.clone_into(&mut cursor),
                None => return Some(lines),
            }
        }
    }

    /// How many lines a stream has; none where the node cannot answer.
    fn try_count(&self, client: &Client, stream: usize) -> Option<(u64, Vec<String>)> {
        let hours = (END - START) / 3_600_000_000_000 + 1;
        let query = format!(r#"sum(count_over_time({{stream="{stream}"}}[{hours}h]))"#);
        let parameters = [("query", query.as_str()), ("time", &END.to_string())];
        let answer = ask(client, "/loki/api/v1/query", &parameters)?;
        let warnings = answer.get("warnings").map(|list| serde_json::from_value(list.clone()).unwrap());
        let count = answer["data"]["result"][0]["value"][1].as_str().map_or(0, |text| text.parse().unwrap());
        Some((count, warnings.unwrap_or_default()))
    }

    /// How many lines of each stream are acknowledged.
    pub fn so_far(&self) -> Vec<u64> {
        (0..self.streams.len()).map(|stream| self.acknowledged(stream)).collect()
    }

    /// Waits until a node answers for some lines of each stream, and checks that it has all of them and no warning.
    pub fn check_part(&self, client: &Client, from: &[u64], to: &[u64]) {
        for (stream, (from, to)) in from.iter().zip(to).enumerate() {
            let lines = until("an answer", || self.try_lines(client, stream, *from, Workload::time(*to)));
            assert_eq!(lines.warnings, [""; 0], "stream {stream}, lines {from} to {to}");
            self.workload.check(stream, &lines.all(), *from, *to, *to);
        }
    }

    /// Once nobody pushes any more: waits until each of these nodes answers without a warning, and checks that it has
    /// every line, once and in order.
    pub fn check_all(&self, nodes: &[Client]) {
        for (n, client) in nodes.iter().enumerate() {
            for stream in 0..self.streams.len() {
                let (acknowledged, sent) = (self.acknowledged(stream), self.sent(stream));
                assert!(acknowledged > 0, "stream {stream}: nothing was acknowledged");
                let lines = until(&format!("a complete answer of node {n}"), || {
                    self.try_lines(client, stream, 0, END).filter(|lines| lines.warnings.is_empty())
                });
                let lines = lines.all();
                self.workload.check(stream, &lines, 0, acknowledged, sent);
                let count = until(&format!("a complete count of node {n}"), || {
                    let (count, warnings) = self.try_count(client, stream)?;
                    warnings.is_empty().then_some(count)
                });
                assert_eq!(count as usize, lines.len(), "node {n}, stream {stream}");
            }
        }
        let told = [&self.pushes, &self.complete, &self.warned].map(|count| count.load(Ordering::SeqCst));
        eprintln!("{} pushes, {} complete answers, {} with warnings", told[0], told[1], told[2]);
    }
}

/// An answer's JSON; none where the node is gone or says that it cannot answer now.
fn ask(client: &Client, path: &str, parameters: &[(&str, &str)]) -> Option<Value> {
    let answer = client.send(Request::get(target(path, parameters)).patience(PATIENCE)).ok()?;
    if answer.status != 200 {
        refused(answer.status, &answer.text());
        return None;
    }
    Some(answer.json())
}

/// What a node may say while it or others are in trouble; all else is trouble of another kind.
fn refused(status: u16, text: &str) {
    assert!(matches!(status, 429 | 503 | 504), "{status}: {text}");
}
