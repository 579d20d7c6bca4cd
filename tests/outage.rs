//! The chunk store is a real S3 server, and goes away: nothing is lost, the spool grows on disk and not in memory,
//! queries answer meanwhile, and everything is shipped when it comes back.

use std::ops::Range;

use tempfile::TempDir;

use crate::harness::Random;
use crate::harness::client::{Client, forward};
use crate::harness::files::packs;
use crate::harness::http::Request;
use crate::harness::node::Serve;
use crate::harness::push::{Form, Push};
use crate::harness::s3::S3;
use crate::harness::until;
use crate::harness::workload::{END, START, Workload};

const WORKLOAD: Workload = Workload { seed: 41 };
const LINES: u64 = 100;
const BULK_LINES: usize = 256;
const BULK_LINE_BYTES: usize = 4096;
/// Batches of a MiB and more during the outage.
const BATCHES: u64 = 128;
/// After so many of them memory is looked at: buffers have found their size.
const WARM_BATCHES: u64 = 32;
/// What the rest may add to resident memory, bytes: how far the allocator's holdings swing. It adds more than
/// that to the spool.
const SWING_BYTES: u64 = 40 << 20;

fn serve(dir: &TempDir) -> Serve {
    let serve = Serve::on(dir.path()).listing("the chunk store").listing("not everything was packed");
    ["wal.segment_size", "wal.size_max", "head.open_size_max", "head.sealed_size_max"]
        .into_iter()
        .fold(serve, |serve, key| serve.set(key, "1MB"))
}

/// Text that shrinks to half at best: lines of hex digits out of the middle of it are unlike each other.
fn noise() -> String {
    let mut random = Random(42);
    (0..1 << 17).map(|_| format!("{:016x}", random.draw())).collect()
}

fn bulk(noise: &str, batch: u64) -> Push {
    let mut random = Random(batch);
    let line = |n: usize| {
        let at = random.below((noise.len() - BULK_LINE_BYTES) as u64) as usize;
        let time = START + batch as i64 * 1_000_000_000 + n as i64;
        (time, noise[at..at + BULK_LINE_BYTES].to_owned())
    };
    Push::new([("service_name", "bulk")], (0..BULK_LINES).map(line).collect())
}

fn lines(batch: u64) -> Push {
    WORKLOAD.push(0, batch * LINES..(batch + 1) * LINES)
}

fn push(client: &Client, batch: u64) {
    client.push(Form::Protobuf, &[lines(batch)]);
}

/// Checks the lines of some batches, each exactly once, and nothing else.
fn check(client: &Client, batches: Range<u64>) {
    let (from, to) = (batches.start * LINES, batches.end * LINES);
    let lines = client.lines(&forward(r#"{stream="0"}"#, Workload::time(from), END));
    assert_eq!(lines.warnings, [""; 0]);
    WORKLOAD.check(0, &lines.all(), from, to, to);
}

/// How many lines of the bulk there are.
fn bulk_lines(client: &Client) -> String {
    let query = r#"sum(count_over_time({service_name="bulk"}[7h]))"#;
    let answer = client.ask("/loki/api/v1/query", &[("query", query), ("time", &END.to_string())]);
    answer.expect(200).json()["data"]["result"][0]["value"][1].as_str().unwrap().to_owned()
}

fn spooled(dir: &TempDir) -> u64 {
    packs(&dir.path().join("spool")).iter().map(|pack| pack.metadata().unwrap().len()).sum()
}

#[test]
fn an_outage_of_the_store_fills_the_disk_not_memory_and_is_made_up_for() {
    let Some(mut store) = S3::start() else { return };
    let dir = TempDir::new().unwrap();
    let node = store.store_of(serve(&dir)).start();
    push(&node, 0);
    node.flush();
    assert_eq!((packs(&store.bucket()).len(), spooled(&dir)), (1, 0), "shipped");
    check(&node, 0..1);

    store.take_away();
    let noise = noise();
    let load = |batch| node.push(Form::Protobuf, &[lines(batch), bulk(&noise, batch)]);
    (1..WARM_BATCHES).for_each(load);
    let ((warm, _), spooled_warm) = (node.memory(), spooled(&dir));
    (WARM_BATCHES..BATCHES).for_each(load);
    let refusal = node.send(Request::post("/flush", "")).unwrap().expect(503).text();
    assert!(refusal.contains("it is not available"), "{refusal}");
    let (after, _) = node.memory();
    assert!(after < warm + SWING_BYTES, "{warm} bytes in memory became {after}");
    let grown = spooled(&dir) - spooled_warm;
    assert!(grown > SWING_BYTES, "the spool grew by {grown} bytes only");
    // The one pack that was shipped before is out of reach; all the others answer from the spool.
    check(&node, 1..BATCHES);
    node.kill();

    let node = store.store_of(serve(&dir)).start();
    check(&node, 1..BATCHES);
    let whole = node.lines(&forward(r#"{stream="0"}"#, START, END));
    assert!(!whole.warnings.is_empty(), "the answer says that something is missing");
    WORKLOAD.check(0, &whole.all(), LINES, BATCHES * LINES, BATCHES * LINES);
    push(&node, BATCHES);
    store.bring_back();
    until("an empty spool", || (node.metric("grapevine_spool_packs") == 0.0).then_some(()));
    node.flush();
    assert_eq!(spooled(&dir), 0);
    check(&node, 0..BATCHES + 1);
    assert_eq!(bulk_lines(&node), ((BATCHES - 1) as usize * BULK_LINES).to_string());
}

#[test]
fn wrong_credentials_are_told_clearly_and_lose_nothing() {
    let Some(store) = S3::start() else { return };
    let dir = TempDir::new().unwrap();
    let node = store.store_with_secret(serve(&dir), "not the secret").start();
    push(&node, 0);
    let refusal = node.send(Request::post("/flush", "")).unwrap().expect(503).text();
    assert!(refusal.contains("AWS_SECRET_ACCESS_KEY"), "names the way out: {refusal}");
    let pushed = node.lines(&forward(r#"{stream="0"}"#, START, END));
    // What else there may be in the store, nobody can know.
    assert!(pushed.warnings.iter().all(|text| text.contains("could not be looked through")), "{pushed:?}");
    assert_eq!(pushed.warnings.len(), 1);
    WORKLOAD.check(0, &pushed.all(), 0, LINES, LINES);
    node.kill();
    let node = store.store_of(serve(&dir)).start();
    node.flush();
    assert_eq!(spooled(&dir), 0);
    check(&node, 0..1);
}
