//! `kill -9` under load, again and again: every acknowledged line is there exactly once, in order, none invented.

use std::io;
use std::sync::mpsc;
use std::time::Duration;

use tempfile::TempDir;

use crate::harness::Random;
use crate::harness::client::{Client, forward};
use crate::harness::http::Request;
use crate::harness::node::Serve;
use crate::harness::push::{Form, request};
use crate::harness::workload::{END, START, Workload};

const KILLS: usize = 50;
const STREAMS: usize = 3;
/// Pushes that are acknowledged before a kill, at most.
const PUSHES_MAX: u64 = 25;
/// Lines of a push, at most.
const LINES_MAX: u64 = 60;
/// A kill comes so many microseconds after an acknowledgement, at most: between it and some later ones.
const KILL_DELAY_US_MAX: u64 = 8000;

/// How far a stream's client is.
#[derive(Clone, Copy, Debug, Default)]
struct Progress {
    acknowledged: u64,
    /// Lines from here on were never sent.
    sent: u64,
}

/// A stream's client: pushes until the node is gone. What was not acknowledged it sends again the next time, as
/// clients do.
fn push_on(
    client: &Client,
    workload: Workload,
    stream: usize,
    progress: &mut Progress,
    random: &mut Random,
    done: &mpsc::Sender<()>,
) {
    loop {
        let numbers = progress.acknowledged..progress.acknowledged + 1 + random.below(LINES_MAX);
        progress.sent = progress.sent.max(numbers.end);
        let form = if random.below(3) == 0 { Form::Json } else { Form::Protobuf };
        match client.send(request(form, &[workload.push(stream, numbers.clone())])) {
            Ok(answer) => assert_eq!(answer.status, 204, "{}", answer.text()),
            Err(error) => return is_loss(&error),
        }
        progress.acknowledged = numbers.end;
        // The killer may have seen enough.
        let _ = done.send(());
    }
}

/// A connection ends in one of these ways when the other side is killed.
fn is_loss(error: &io::Error) {
    use io::ErrorKind::{BrokenPipe, ConnectionRefused, ConnectionReset, UnexpectedEof};
    let kinds = [BrokenPipe, ConnectionRefused, ConnectionReset, UnexpectedEof];
    assert!(kinds.contains(&error.kind()), "not the loss of a connection: {error}");
}

fn flush_on(client: &Client) {
    while client.send(Request::post("/flush", "")).is_ok() {}
}

fn check(client: &Client, workload: Workload, progress: &[Progress], since: &[u64]) {
    for (stream, progress) in progress.iter().enumerate() {
        let from = since[stream];
        let query = forward(&format!(r#"{{stream="{stream}"}}"#), Workload::time(from), END);
        let lines = client.lines(&query).all();
        workload.check(stream, &lines, from, progress.acknowledged, progress.sent);
    }
}

/// Kills a node [`KILLS`] times under load and checks each time what became of the last loads, in the end of all.
fn survive(seed: u64, flushing: bool) {
    eprintln!("seed {seed}");
    let dir = TempDir::new().unwrap();
    // Small, so that blocks, chunks and segments are closed all the while. A torn end is what a kill leaves.
    let keys = ["wal.segment_size", "head.open_size_max", "head.sealed_size_max"];
    let serve = keys.iter().fold(Serve::on(dir.path()), |serve, key| serve.set(key, "1MB"));
    let serve = serve.listing("log segment ends in a torn record");
    let (workload, mut random) = (Workload { seed }, Random(seed));
    let mut progress = [Progress::default(); STREAMS];
    let mut since = [0; STREAMS];
    for _ in 0..KILLS {
        let node = serve.start();
        check(&node, workload, &progress, &since);
        since = progress.map(|progress| progress.acknowledged);
        let client = node.client().clone();
        std::thread::scope(|scope| {
            let (done, pushes) = mpsc::channel();
            for (stream, progress) in progress.iter_mut().enumerate() {
                let (client, done, mut random) = (client.clone(), done.clone(), Random(random.draw()));
                scope.spawn(move || push_on(&client, workload, stream, progress, &mut random, &done));
            }
            if flushing {
                scope.spawn(|| flush_on(&client));
            }
            drop(done);
            let enough = random.below(PUSHES_MAX) as usize;
            assert_eq!(pushes.iter().take(enough).count(), enough, "the node went before it was killed");
            std::thread::park_timeout(Duration::from_micros(random.below(KILL_DELAY_US_MAX)));
            node.kill();
        });
    }
    let node = serve.start();
    check(&node, workload, &progress, &[0; STREAMS]);
    node.flush();
    check(&node, workload, &progress, &[0; STREAMS]);
    assert!(progress.iter().all(|progress| progress.acknowledged > 0), "{progress:?}");
}

#[test]
fn acknowledged_lines_survive_fifty_kills_exactly_once() {
    survive(0x6E61_6B65, false);
}

#[test]
fn acknowledged_lines_survive_fifty_kills_during_flushes_exactly_once() {
    survive(0x666C_7573, true);
}

#[test]
fn a_log_torn_within_its_last_record_keeps_every_record_before_it() {
    let dir = TempDir::new().unwrap();
    let workload = Workload { seed: 5 };
    let node = Serve::on(dir.path()).start();
    node.push(Form::Protobuf, &[workload.push(0, 0..50)]);
    let before = newest_segment(dir.path());
    let kept = std::fs::metadata(&before).unwrap().len();
    node.push(Form::Protobuf, &[workload.push(0, 50..60)]);
    node.kill();
    let whole = std::fs::read(&before).unwrap();
    let record = whole.len() as u64 - kept;
    // Every byte is put to the reader by the library's own tests; here the ends and some between.
    for cut in [0, 1, record / 3, record / 2, record - 1, record] {
        let torn = TempDir::new().unwrap();
        std::fs::create_dir(torn.path().join("wal")).unwrap();
        let segment = torn.path().join("wal").join(before.file_name().unwrap());
        std::fs::write(segment, &whole[..(kept + cut) as usize]).unwrap();
        let node = Serve::on(torn.path()).listing("log segment ends in a torn record").start();
        let lines = node.lines(&forward(r#"{stream="0"}"#, START, END)).all();
        let want = if cut == record { 60 } else { 50 };
        assert_eq!(lines, workload.push(0, 0..want).lines, "cut {cut} of {record} bytes");
        // What comes after is not hidden behind the torn end.
        node.push(Form::Protobuf, &[workload.push(0, want..want + 1)]);
        node.kill();
        let node = Serve::on(torn.path()).start();
        let lines = node.lines(&forward(r#"{stream="0"}"#, START, END)).all();
        assert_eq!(lines.len() as u64, want + 1, "cut {cut} of {record} bytes");
    }
}

fn newest_segment(dir: &std::path::Path) -> std::path::PathBuf {
    let files = std::fs::read_dir(dir.join("wal")).unwrap().map(|entry| entry.unwrap().path());
    files.filter(|path| path.metadata().unwrap().len() > 0).max().unwrap()
}
