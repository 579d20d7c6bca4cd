//! A joiner that is stopped amid what it fetches goes on from there when it is started again.

use std::path::Path;
use std::time::Duration;

use grapevine_storage::index::Day;
use tokio::time::timeout;

use super::{NOW, SOON, Trio, in_heads, in_packs};
use crate::node::Node;
use crate::testbed::Testbed;

const STREAMS: usize = 6;
/// Lines in heads.
const NEW: u64 = super::STREAMS as u64;
/// Bytes of each stream's text, which hardly gets smaller.
const TEXT_BYTES: usize = 1 << 20;

/// Letters in no order: six bits each.
fn noise(seed: u64, bytes: usize) -> String {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut letter = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        char::from(b'0' + (state % 64) as u8)
    };
    (0..bytes).map(|_| letter()).collect()
}

/// Bytes of all packs that a node's index knows.
fn known_bytes(node: &Node) -> u64 {
    let Some(day) = node.index.day(Day::of(NOW)).unwrap() else { return 0 };
    day.read(|snapshot| snapshot.packs()).unwrap().iter().map(|(_, record)| record.bytes).sum()
}

/// Bytes of packs that have come in part.
fn part_bytes(data_dir: &Path) -> u64 {
    let spool = std::fs::read_dir(data_dir.join("spool")).into_iter().flatten().flatten();
    let parts = spool.filter(|entry| entry.path().extension().is_some_and(|ending| ending == "part"));
    parts.filter_map(|entry| Some(entry.metadata().ok()?.len())).sum()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_joiner_that_is_started_anew_fetches_only_what_it_has_not_fetched() {
    // All own everything, and each keeps its packs itself.
    let keys = [("cluster.replication_factor", "4"), ("cluster.write_acks", "1")];
    let mut trio = Trio::with(false, &keys).await;
    for stream in 0..STREAMS {
        let (name, text) = (format!("s{stream}"), noise(stream as u64 + 1, TEXT_BYTES));
        let lines = text.as_bytes().chunks(64 << 10).map(|line| String::from_utf8_lossy(line).into_owned());
        let labels = [("app", name.as_str())];
        let entries: Vec<_> =
            (0..).zip(lines).map(|(n, line)| (&labels[..], NOW + n, line, Vec::new())).collect();
        trio.bed(0).push(&entries).await;
    }
    let lines = (STREAMS * TEXT_BYTES / (64 << 10)) as u64;
    trio.until("each node holds all lines", |node| in_heads(node) == lines).await;
    trio.bed(0).node.replication.as_ref().unwrap().flush_everywhere().await.unwrap();
    trio.until("each index knows all lines", |node| in_packs(node) == lines && in_heads(node) == 0).await;
    let all = known_bytes(&trio.bed(0).node);
    trio.push(0, 1).await;
    trio.until("each node holds the new lines", |node| in_heads(node) == NEW).await;

    let slow = [("cluster.name", "n3"), ("cluster.transfer_rate_max", "1MB")];
    let slow = slow.map(|(key, value)| (key.to_owned(), value.to_owned()));
    let flags = trio.joining.iter().cloned().chain(slow).collect();
    let joiner = Testbed::open(tempfile::tempdir().unwrap(), NOW, flags).await;
    let data_dir = joiner.node.env.data_dir.clone();
    let waiting = async {
        while part_bytes(&data_dir) == 0 || in_heads(&joiner.node) < NEW {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(SOON, waiting).await.expect("a part of a pack, and what is in heads");
    let known = known_bytes(&joiner.node);
    let (dir, mut flags) = joiner.stop().await;
    let part = part_bytes(&data_dir);
    assert!(part > 0 && known + part < all, "{known} and {part} of {all} bytes came");

    flags.retain(|(key, _)| key != "cluster.transfer_rate_max");
    trio.nodes.push(Some(Testbed::open(dir, NOW, flags).await));
    trio.until_active(4).await;
    let node = &trio.bed(3).node;
    assert_eq!((in_packs(node), in_heads(node)), (lines, NEW));
    assert_eq!(node.metrics.fetched_bytes.get(), all - known - part, "of {all} bytes");
    let learnt = node.workers.get("learn").unwrap().report().bytes;
    assert!(learnt >= all - known - part, "{learnt} bytes counted for the rate of learning");
    trio.until("nothing is left of what came in part", |_| part_bytes(&data_dir) == 0).await;
    trio.until("nothing is in doubt", |node| node.metrics.replica_deficit.get() == 0).await;
    assert_eq!(trio.bed(3).node.metrics.wal_syncs.get(), 0, "what it had in heads does not come again");
}
