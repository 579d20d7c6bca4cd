//! Full disks and read-only ones: no acknowledged line is lost, and the node always comes back.

use crate::harness::client::{Client, forward};
use crate::harness::disk::SmallDisk;
use crate::harness::http::Answer;
use crate::harness::node::Serve;
use crate::harness::push::{Form, request};
use crate::harness::until;
use crate::harness::workload::{END, START, Workload};

const DISK_MIB: u32 = 32;
const BATCH: u64 = 200;
/// Pushes that must have filled what little the ballast left.
const PUSHES_MAX: u64 = 1000;

fn push(client: &Client, workload: Workload, from: u64) -> Answer {
    client.send(request(Form::Protobuf, &[workload.push(0, from..from + BATCH)])).unwrap()
}

/// Everything acknowledged is answered; of the rest only what was sent.
fn check(client: &Client, workload: Workload, acknowledged: u64) {
    let lines = client.lines(&forward(r#"{stream="0"}"#, START, END)).all();
    workload.check(0, &lines, 0, acknowledged, acknowledged + BATCH);
}

/// Pushes until refused, and checks how.
fn push_until_refused(client: &Client, workload: Workload, mut acknowledged: u64) -> u64 {
    for _ in 0..PUSHES_MAX {
        let answer = push(client, workload, acknowledged);
        if answer.status == 204 {
            acknowledged += BATCH;
            continue;
        }
        assert_eq!(answer.status, 429, "{}", answer.text());
        let wait = answer.header("retry-after").and_then(|wait| wait.parse::<u32>().ok());
        assert!(wait.is_some_and(|wait| wait > 0), "no way to know when to come again: {answer:?}");
        return acknowledged;
    }
    panic!("a full disk took {PUSHES_MAX} pushes");
}

fn serve(disk: &SmallDisk) -> Serve {
    let serve = Serve::on(&disk.path().join("data")).set("wal.segment_size", "1MB");
    ["disk", "write-ahead log", "a flush failed", "not everything was packed", "torn record"]
        .into_iter()
        .fold(serve, Serve::listing)
}

#[test]
fn a_full_disk_refuses_pushes_answers_queries_restarts_and_recovers() {
    let Some(disk) = SmallDisk::mount(DISK_MIB) else { return };
    let workload = Workload { seed: 21 };
    let node = serve(&disk).start();
    push(&node, workload, 0).expect(204);
    node.flush();
    push(&node, workload, BATCH).expect(204);
    disk.fill();
    let acknowledged = push_until_refused(&node, workload, 2 * BATCH);
    check(&node, workload, acknowledged);
    // Nothing can be packed either; what a failed flush had in hand is not lost.
    let _ = node.send(crate::harness::http::Request::post("/flush", "")).unwrap();
    check(&node, workload, acknowledged);
    node.kill();

    let node = serve(&disk).start();
    check(&node, workload, acknowledged);
    let acknowledged = push_until_refused(&node, workload, acknowledged);
    disk.relieve();
    until("the first push after the disk was relieved", || {
        (push(&node, workload, acknowledged).status == 204).then_some(())
    });
    let acknowledged = acknowledged + BATCH;
    check(&node, workload, acknowledged);
    node.flush();
    check(&node, workload, acknowledged);
    node.kill();
    check(&serve(&disk).start(), workload, acknowledged);
}

#[test]
fn a_read_only_disk_is_named_and_harms_nothing() {
    let Some(disk) = SmallDisk::mount(DISK_MIB) else { return };
    let workload = Workload { seed: 22 };
    let node = serve(&disk).start();
    push(&node, workload, 0).expect(204);
    node.flush();
    push(&node, workload, BATCH).expect(204);
    node.kill();
    disk.set_read_only(true);
    let refusal = serve(&disk).refusal();
    assert_eq!(refusal.status.code(), Some(1), "{}", refusal.log);
    let data = disk.path().join("data");
    assert!(refusal.log.contains(data.to_str().unwrap()), "{}", refusal.log);
    assert!(refusal.log.contains("Read-only file system"), "{}", refusal.log);
    disk.set_read_only(false);
    check(&serve(&disk).start(), workload, 2 * BATCH);
}
