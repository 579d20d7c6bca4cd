//! Packs that are gone from a chunk store: what others still have comes back, and what is nowhere is told and waited for by
//! nobody.

use std::path::PathBuf;

use grapevine_storage::index::{Day, PackState, TimeRange};
use serde_json::Value;

use super::{NOW, STREAMS, Trio, in_heads, in_packs};
use crate::node::Node;
use crate::querier::lacks::incomplete_days;
use crate::testbed::{SECOND, Testbed};

/// Three nodes whose lines are all in packs that all know.
async fn packed(shared: bool) -> Trio {
    let trio = Trio::new(shared).await;
    trio.push(0, 1).await;
    trio.until("each node holds all lines", |node| in_heads(node) == STREAMS as u64).await;
    trio.bed(0).node.replication.as_ref().unwrap().flush_everywhere().await.unwrap();
    trio.until("nothing is left in heads", |node| in_heads(node) == 0).await;
    trio.until("each index knows all lines", |node| in_packs(node) == STREAMS as u64).await;
    trio
}

/// The keys of the packs that a node knows, and where its store has each.
fn stored(node: &Node) -> Vec<(String, PathBuf)> {
    let packs = node.index.day(Day::of(NOW)).unwrap().unwrap().read(|snapshot| snapshot.packs()).unwrap();
    let place = |key: String| (key.clone(), node.store.local_path(&key).unwrap());
    packs.into_iter().map(|(_, record)| place(record.object_key)).collect()
}

fn is_shipped(node: &Node) -> bool {
    let packs = node.index.day(Day::of(NOW)).unwrap().unwrap().read(|snapshot| snapshot.packs()).unwrap();
    packs.iter().all(|(_, record)| record.state == PackState::Shipped)
}

fn lost(node: &Node) -> usize {
    node.index.day(Day::of(NOW)).unwrap().map_or(0, |day| day.lost().unwrap().len())
}

async fn answer(bed: &Testbed) -> Value {
    let [start, end] = [NOW, NOW + SECOND].map(|time| time.to_string());
    let params = [("query", r#"{app=~".+"}"#), ("start", &start), ("end", &end)];
    bed.get("/loki/api/v1/query_range", &params).await
}

fn missing(node: &Node) -> i64 {
    node.metrics.missing_packs.get()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_joiner_does_not_wait_for_packs_that_are_nowhere_and_says_what_it_lacks() {
    let mut trio = packed(true).await;
    let gone = stored(&trio.bed(0).node);
    let aside = tempfile::tempdir().unwrap();
    for (n, (_, path)) in gone.iter().enumerate() {
        std::fs::rename(path, aside.path().join(n.to_string())).unwrap();
    }
    // Returns once it is active.
    let joiner = trio.join().await;
    let bed = trio.bed(joiner);
    assert!(lost(&bed.node) > 0 && missing(&bed.node) == lost(&bed.node) as i64);
    let said = answer(bed).await["warnings"].to_string();
    assert!(gone.iter().any(|(key, _)| said.contains(key.as_str())), "{said}");
    let [start, end] = [NOW, NOW + SECOND].map(|time| time.to_string());
    let labels = bed.get("/loki/api/v1/labels", &[("start", &start), ("end", &end)]).await;
    assert!(labels["warnings"].to_string().contains("gone from the chunk store"), "{labels}");
    // Somebody restores them.
    for (n, (_, path)) in gone.iter().enumerate() {
        std::fs::rename(aside.path().join(n.to_string()), path).unwrap();
    }
    bed.node.housekeeper.look_again().await.unwrap();
    assert_eq!((lost(&bed.node), missing(&bed.node)), (0, 0));
    let whole = answer(bed).await;
    assert!(whole.get("warnings").is_none(), "{whole}");
    assert_eq!(whole["data"]["result"].as_array().unwrap().len(), STREAMS);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pack_that_is_gone_from_a_members_own_store_comes_back_from_another() {
    let trio = packed(false).await;
    let node = &trio.bed(0).node;
    trio.until("each store has all packs, and the index knows", is_shipped).await;
    let (key, path) = stored(node).remove(0);
    let bytes = std::fs::read(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    // First as others have it damaged.
    let elsewhere: Vec<PathBuf> = (1..3)
        .flat_map(|n| stored(&trio.bed(n).node))
        .filter_map(|(other, path)| (other == key).then_some(path))
        .collect();
    let damaged = [&bytes[..bytes.len() - 9], b"damage :)"].concat();
    elsewhere.iter().for_each(|path| replace(path, &damaged));
    let replication = node.replication.as_ref().unwrap();
    assert_eq!(
        replication.find_pack(&key, None).await.unwrap(),
        None,
        "it was sent, and is not what its name says"
    );
    assert!(node.metrics.fetched_bytes.get() >= bytes.len() as u64);
    assert!(!replication.parts.spool.path(&key).exists() && !path.exists());
    elsewhere.iter().for_each(|path| replace(path, &bytes));
    node.housekeeper.reconcile().await.unwrap();
    assert_eq!(missing(node), 1);
    trio.until("the pack is there again", |node| node.store.local_path(&key).unwrap().is_file()).await;
    assert_eq!(std::fs::read(&path).unwrap(), bytes);
    node.housekeeper.reconcile().await.unwrap();
    assert_eq!(missing(node), 0);
}

/// Puts a file in the place of another, whose bytes may be another file's as well.
fn replace(path: &std::path::Path, bytes: &[u8]) {
    std::fs::remove_file(path).unwrap();
    std::fs::write(path, bytes).unwrap();
}

/// Files under a folder, and what is in them.
fn saved(folder: &std::path::Path) -> Vec<(PathBuf, Vec<u8>)> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let files = entries.flat_map(|path| match path.is_dir() {
        true => saved(&path),
        false => vec![(path.clone(), std::fs::read(&path).unwrap())],
    });
    files.collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_a_store_that_was_rolled_back_to_before_a_merge_every_line_is_found_again() {
    let trio = packed(true).await;
    trio.push(1, 2).await;
    trio.until("each node holds all new lines", |node| in_heads(node) == STREAMS as u64).await;
    trio.bed(0).node.replication.as_ref().unwrap().flush_everywhere().await.unwrap();
    trio.until("nothing is left in heads", |node| in_heads(node) == 0).await;
    trio.until("each index knows that all is stored", is_shipped).await;
    let before = saved(trio.store.path());
    let beds = || trio.nodes.iter().flatten();
    beds().for_each(|bed| bed.set_clock(NOW + 3 * 86_400 * SECOND));
    for bed in beds() {
        bed.node.housekeeper.compact().await.unwrap();
        bed.flush().await;
    }
    let first = &trio.bed(0).node;
    trio.until("all know the same packs, and fewer", |node| {
        stored(node) == stored(first) && stored(node).len() < before.len() && is_shipped(node)
    })
    .await;
    saved(trio.store.path()).iter().for_each(|(path, _)| std::fs::remove_file(path).unwrap());
    // In two parts, as by who restores it file by file.
    for back in [&before[..before.len() / 2], &before[..]] {
        back.iter().for_each(|(path, bytes)| std::fs::write(path, bytes).unwrap());
        for bed in beds() {
            bed.node.housekeeper.reconcile().await.unwrap();
            bed.flush().await;
        }
    }
    trio.until("what was merged is stored again", |node| {
        is_shipped(node) && stored(node).iter().all(|(_, path)| path.is_file())
    })
    .await;
    for bed in beds() {
        bed.node.housekeeper.reconcile().await.unwrap();
        assert_eq!(missing(&bed.node), 0);
        let whole = answer(bed).await;
        assert!(whole.get("warnings").is_none(), "{whole}");
        let streams = whole["data"]["result"].as_array().unwrap();
        let lines = streams.iter().map(|stream| stream["values"].as_array().unwrap().len());
        assert_eq!(lines.sum::<usize>(), 2 * STREAMS);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pack_on_its_way_from_this_nodes_spool_is_not_lost_although_nobody_else_is_there() {
    let mut trio = packed(true).await;
    for n in [1, 2] {
        trio.stop(n).await;
    }
    trio.until("nobody else is there", |node| {
        node.replication.as_ref().unwrap().placement().live_peers().next().is_none()
    })
    .await;
    let node = &trio.bed(0).node;
    let (key, path) = stored(node).remove(0);
    let replication = node.replication.as_ref().unwrap();
    std::fs::rename(&path, replication.parts.spool.path(&key)).unwrap();
    let found = replication.find_pack(&key, None).await.unwrap();
    assert_eq!(found.map(|(_, state)| state), Some(PackState::Spooled));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_all_who_knew_of_packs_may_be_gone_answers_say_so_until_the_store_is_looked_through() {
    let mut trio = packed(true).await;
    let (dir, flags) = trio.stop(2).await;
    let heirs = dir.path().join("cluster/heirs");
    let names = std::fs::read_to_string(&heirs).unwrap();
    assert_eq!(names.lines().count(), 3, "{names}");
    // As many as there are replicas went while it was down.
    std::fs::write(&heirs, format!("{names}x1\nx2\nx3\n")).unwrap();
    trio.start(2, (dir, flags)).await;
    let node = &trio.bed(2).node;
    trio.until("their absence is noticed", |other| {
        other.env.data_dir != node.env.data_dir || other.index.is_search_due()
    })
    .await;
    let said = incomplete_days(&node.index, TimeRange::ALL).unwrap();
    assert!(said.len() == 1 && said[0].contains("the last to know"), "{said:?}");
    node.housekeeper.reconcile().await.unwrap();
    assert_eq!(incomplete_days(&node.index, TimeRange::ALL).unwrap(), [""; 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_that_cannot_take_note_of_packs_shows_where_they_are_announced() {
    let trio = Trio::new(false).await;
    trio.push(0, 1).await;
    trio.until("each node holds all lines", |node| in_heads(node) == STREAMS as u64).await;
    // A disk that takes no packs, from others or of its own.
    let spool = trio.bed(1).node.env.data_dir.join("spool");
    let aside = spool.with_extension("aside");
    std::fs::rename(&spool, &aside).unwrap();
    std::fs::write(&spool, "no folder").unwrap();
    let (status, text) = trio.bed(0).call("POST", "/flush", None).await;
    assert_eq!(status.as_u16(), 503, "{text}");
    assert!(text.contains("have `n1` pack what it holds"), "{text}");
    let announces = |n: usize| trio.bed(n).node.workers.get("announce").unwrap().report();
    trio.until("the refusal is told", |node| {
        let refused =
            |n: usize| announces(n).last_error.is_some_and(|error| error.contains("have `n1` take note"));
        let counted = |n: usize| trio.bed(n).node.metrics.announce_failures.get() > 0;
        node.metrics.packs_written.get() == 0 || [0, 2].into_iter().any(|n| refused(n) && counted(n))
    })
    .await;
    std::fs::remove_file(&spool).unwrap();
    std::fs::rename(&aside, &spool).unwrap();
    trio.bed(0).node.replication.as_ref().unwrap().flush_everywhere().await.unwrap();
    trio.until("nothing is left in heads", |node| in_heads(node) == 0).await;
    trio.until("each index knows all lines", |node| in_packs(node) == STREAMS as u64).await;
}
