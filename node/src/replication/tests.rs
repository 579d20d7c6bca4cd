//! Three nodes over real sockets, in one process, with one chunk store between them.

mod deletes;
mod flush;
mod fresh;
mod heard;
mod lost;
mod overload;
mod rates;
mod resumed;
mod rules;

use std::time::Duration;

use grapevine_storage::atom::PushId;
use grapevine_storage::index::{Day, TimeRange};
use tempfile::TempDir;
use tokio::time::{Instant, timeout};

use crate::cluster::home;
use crate::node::Node;
use crate::push::request::{Context, Endpoint, Headers, accept};
use crate::push::stream_cache::StreamCache;
use crate::testbed::{SECOND, Testbed};

/// 2026-11-26, noon.
const NOW: i64 = 1_795_694_400 * SECOND;
/// How long anything may take.
const SOON: Duration = Duration::from_secs(60);
const STREAMS: usize = 12;

struct Trio {
    nodes: Vec<Option<Testbed>>,
    store: TempDir,
    /// What another member is told to join these.
    joining: Vec<(String, String)>,
}

impl Trio {
    /// Three nodes that know each other; with one store, or each with its own.
    async fn new(shared: bool) -> Self {
        Self::with(shared, &[]).await
    }

    /// The same, with settings.
    async fn with(shared: bool, settings: &[(&str, &str)]) -> Self {
        let store = tempfile::tempdir().unwrap();
        let mut flags = vec![("cluster.peer_listen".to_owned(), "127.0.0.1:0".to_owned())];
        flags.extend(settings.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())));
        if shared {
            flags.push(("chunk_store".to_owned(), format!("file://{}", store.path().display())));
        }
        let founder = tempfile::tempdir().unwrap();
        let key = home::found(founder.path()).unwrap().expose();
        let named = |flags: &[(String, String)], n: usize| {
            [flags, &[("cluster.name".to_owned(), format!("n{n}"))]].concat()
        };
        let first = Testbed::open(founder, NOW, named(&flags, 0)).await;
        let address = first.node.cluster.as_ref().unwrap().address();
        flags.push(("cluster.join".to_owned(), format!("{key}@{address}")));
        let mut nodes = vec![Some(first)];
        for n in 1..3 {
            nodes.push(Some(Testbed::open(tempfile::tempdir().unwrap(), NOW, named(&flags, n)).await));
        }
        let trio = Trio { nodes, store, joining: flags };
        trio.until_active(3).await;
        trio
    }

    async fn until_active(&self, members: usize) {
        self.until("all members are active", |node| {
            let placement = node.replication.as_ref().unwrap().placement();
            let active = |peer: &&grapevine_gossip::membership::Peer| {
                peer.live && peer.profile.state == grapevine_gossip::membership::State::Active
            };
            placement.view().peers().values().filter(active).count() == members
        })
        .await;
    }

    /// One more member.
    async fn join(&mut self) -> usize {
        self.join_at(NOW).await
    }

    async fn join_at(&mut self, now: i64) -> usize {
        let n = self.nodes.len();
        let name = ("cluster.name".to_owned(), format!("n{n}"));
        let flags = self.joining.iter().cloned().chain([name]).collect();
        self.nodes.push(Some(Testbed::open(tempfile::tempdir().unwrap(), now, flags).await));
        self.until_active(n + 1).await;
        n
    }

    fn bed(&self, n: usize) -> &Testbed {
        self.nodes[n].as_ref().unwrap()
    }

    /// Waits until something holds on every node that runs.
    async fn until(&self, what: &str, holds: impl Fn(&Node) -> bool) {
        let waiting = async {
            for bed in self.nodes.iter().flatten() {
                while !holds(&bed.node) {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            }
        };
        if timeout(SOON, waiting).await.is_err() {
            let held: Vec<_> =
                self.nodes.iter().flatten().map(|bed| (in_heads(&bed.node), in_packs(&bed.node))).collect();
            panic!("not in time: {what}; entries in heads and packs: {held:?}");
        }
    }

    /// Pushes one line to each stream through a node.
    async fn push(&self, n: usize, round: i64) {
        for stream in 0..STREAMS {
            let name = format!("s{stream}");
            let line = format!("line {round} of {stream}");
            self.bed(n).push(&[(&[("app", &name)], NOW + round, line, Vec::new())]).await;
        }
    }

    /// Pushes a line to one node as if all others had failed: only its own log and heads have it.
    async fn push_to_one(&self, n: usize, number: i64) {
        let node = &self.bed(n).node;
        let line = format!("only {n}");
        let values = serde_json::json!([[(NOW + 10 + number).to_string(), line]]);
        let body = serde_json::json!({"streams": [{"stream": {"app": "s1"}, "values": values}]});
        let (limits, cache) = (node.limits.of("fake"), StreamCache::default());
        let context = Context { tenant: "fake", limits, cache: &cache, now: NOW };
        let headers =
            Headers { content_type: Some("application/json"), content_encoding: None, backfill_shard: None };
        let (batch, _) = accept(Endpoint::Loki, headers, &body.to_string().into(), &context).unwrap();
        let push = PushId { origin: 7, sequence: number as u64 };
        node.ingester.push("fake".into(), Some(push), batch).await.unwrap();
    }

    async fn stop(&mut self, n: usize) -> (TempDir, Vec<(String, String)>) {
        self.nodes[n].take().unwrap().stop().await
    }

    async fn start(&mut self, n: usize, left: (TempDir, Vec<(String, String)>)) {
        self.start_at(NOW, n, left).await;
    }

    async fn start_at(&mut self, now: i64, n: usize, (dir, flags): (TempDir, Vec<(String, String)>)) {
        self.nodes[n] = Some(Testbed::open(dir, now, flags).await);
    }
}

fn in_heads(node: &Node) -> u64 {
    let extents = node.ingester.heads().all().into_iter().flat_map(|(_, head)| head.extents());
    extents.flatten().map(|block| block.entries).sum()
}

/// Entries in packs that the node's index knows.
fn in_packs(node: &Node) -> u64 {
    let Some(day) = node.index.day(Day::of(NOW)).unwrap() else { return 0 };
    day.read(|snapshot| {
        let mut entries = 0;
        for stream in snapshot.select("fake", &[], TimeRange::ALL, 1000)? {
            let chunks = snapshot.chunks_of("fake", stream.id, TimeRange::ALL)?;
            entries += chunks
                .iter()
                .flat_map(|chunk| &chunk.blocks)
                .map(|block| u64::from(block.entries))
                .sum::<u64>();
        }
        Ok(entries)
    })
    .unwrap()
}

/// Every object in a directory that is a chunk store, and entries in them.
fn stored(dir: &std::path::Path) -> usize {
    let mut count = 0;
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        match entry.path() {
            path if path.is_dir() => count += stored(&path),
            path => count += usize::from(path.extension().is_some_and(|ending| ending == "gz")),
        }
    }
    count
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn owners_hold_a_push_once_each_and_one_of_them_packs_it_for_all() {
    let trio = Trio::new(true).await;
    trio.push(0, 1).await;
    trio.push(1, 2).await;
    let all = 2 * STREAMS as u64;
    trio.until("each node holds all lines", |node| in_heads(node) == all).await;
    let mut packed_by = 0;
    for n in 0..3 {
        trio.bed(n).flush().await;
        packed_by += usize::from(trio.bed(n).node.metrics.packs_written.get() > 0);
    }
    assert!(packed_by > 1, "each node packs the streams of which it is the primary");
    trio.until("nothing is left in heads", |node| in_heads(node) == 0).await;
    trio.until("each index knows all lines, once", |node| in_packs(node) == all).await;
    assert_eq!(stored(trio.store.path()), packed_by, "a pack is stored once, whoever holds its streams");
    trio.until("nothing is owed", |node| node.metrics.replica_deficit.get() == 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_owner_that_was_away_gets_what_it_missed_from_heads_and_packs() {
    let mut trio = Trio::new(true).await;
    trio.push(0, 1).await;
    let left = trio.stop(2).await;
    trio.push(0, 2).await;
    for n in 0..2 {
        trio.bed(n).flush().await;
    }
    trio.push(1, 3).await;
    trio.start(2, left).await;
    let all = 3 * STREAMS as u64;
    trio.until("each node knows every line", |node| in_heads(node) + in_packs(node) >= all).await;
    let moved = |worker: &str| {
        let report = |n: usize| trio.bed(n).node.workers.get(worker).unwrap().report();
        let reports: Vec<_> = (0..3).map(report).collect();
        assert!(reports.iter().all(|report| report.bytes_per_s == Some(64 << 20)), "{reports:?}");
        reports.iter().map(|report| report.bytes).sum::<u64>()
    };
    assert!(
        moved("repair") > 0 && moved("learn") > 0,
        "what is sent again and read of packs counts for their rates"
    );
    for n in 0..3 {
        trio.bed(n).flush().await;
    }
    trio.until("nothing is left in heads", |node| in_heads(node) == 0).await;
    // Twice, where the owner packed before it heard of the others' packs: read once, and merged later.
    trio.until("each index knows all lines", |node| in_packs(node) >= all).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lone_survivor_takes_pushes_and_the_others_get_them_when_they_come_back() {
    let mut trio = Trio::new(true).await;
    let left = [trio.stop(1).await, trio.stop(2).await];
    let began = Instant::now();
    trio.push(0, 1).await;
    assert!(began.elapsed() < SOON);
    for (n, left) in (1..).zip(left) {
        trio.start(n, left).await;
    }
    trio.until("each node holds all lines", |node| in_heads(node) == STREAMS as u64).await;
    let metrics = &trio.bed(0).node.metrics;
    let line = format!("grapevine_repaired_bytes_total {}", metrics.repaired_bytes.get());
    assert!(metrics.repaired_bytes.get() > 0 && metrics.text().contains(&line), "{}", metrics.text());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn owners_with_stores_of_their_own_each_keep_the_packs() {
    let trio = Trio::new(false).await;
    trio.push(0, 1).await;
    trio.until("each node holds all lines", |node| in_heads(node) == STREAMS as u64).await;
    for n in 0..3 {
        trio.bed(n).flush().await;
    }
    trio.until("nothing is left in heads", |node| in_heads(node) == 0).await;
    trio.until("each index knows all lines, once", |node| in_packs(node) == STREAMS as u64).await;
    trio.until("each store has all packs", |node| {
        let packs = node.index.day(Day::of(NOW)).unwrap().unwrap().read(|snapshot| snapshot.packs()).unwrap();
        packs.iter().all(|(_, record)| node.store.local_path(&record.object_key).unwrap().is_file())
    })
    .await;
    for bed in trio.nodes.iter().flatten() {
        let learn = bed.node.workers.get("learn").unwrap().report();
        let fetched = bed.node.metrics.fetched_bytes.get();
        assert!(fetched > 0 && learn.bytes >= fetched, "{fetched} bytes were fetched: {learn:?}");
        assert!(learn.bytes_per_s.is_some(), "as fast as it goes");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_query_finds_what_only_one_owner_holds_whoever_is_asked() {
    let trio = Trio::new(true).await;
    trio.push(0, 1).await;
    trio.until("each node holds all lines", |node| in_heads(node) == STREAMS as u64).await;
    for n in 0..3 {
        trio.push_to_one(n, n as i64).await;
        let asked = trio.bed((n + 1) % 3);
        let lines = asked.lines(r#"{app="s1"}"#, NOW, NOW + SECOND).await;
        assert!(lines.contains(&format!("only {n}")), "{lines:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn small_packs_are_merged_by_one_member_and_the_others_follow() {
    let trio = Trio::new(true).await;
    for round in 1..=2 {
        trio.push(0, round).await;
        trio.until("each node holds all lines", |node| in_heads(node) == STREAMS as u64).await;
        trio.bed(0).node.replication.as_ref().unwrap().flush_everywhere().await.unwrap();
        trio.until("nothing is left in heads", |node| in_heads(node) == 0).await;
    }
    let all = 2 * STREAMS as u64;
    trio.until("each index knows all lines, once", |node| in_packs(node) == all).await;
    let before = packs(&trio.bed(0).node);
    for bed in trio.nodes.iter().flatten() {
        bed.set_clock(NOW + 3 * 86_400 * SECOND);
    }
    for n in 0..3 {
        trio.bed(n).node.housekeeper.compact().await.unwrap();
        trio.bed(n).flush().await;
    }
    let merged: u64 = trio.nodes.iter().flatten().map(|bed| bed.node.metrics.packs_merged.get()).sum();
    assert!((2..=before.len() as u64).contains(&merged), "{merged} of {before:?}: no pack is merged by two");
    trio.until("each node knows the merged packs alone", |node| {
        packs(node).len() < before.len() && packs(node) == packs(&trio.bed(0).node)
    })
    .await;
    trio.until("each index still knows all lines, once", |node| in_packs(node) == all).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_joiner_takes_over_its_part_of_index_and_heads_and_no_pack_moves() {
    const MANY: usize = 400;
    let mut trio =
        Trio::with(true, &[("cluster.replication_factor", "1"), ("cluster.write_acks", "1")]).await;
    let push = async |trio: &Trio, round: i64| {
        let names: Vec<String> = (0..MANY).map(|stream| format!("s{stream}")).collect();
        let labels: Vec<_> = names.iter().map(|name| [("app", name.as_str())]).collect();
        let entries: Vec<_> =
            labels.iter().map(|labels| (&labels[..], NOW + round, "text".to_owned(), Vec::new())).collect();
        trio.bed(0).push(&entries).await;
    };
    push(&trio, 1).await;
    trio.bed(0).node.replication.as_ref().unwrap().flush_everywhere().await.unwrap();
    push(&trio, 2).await;
    let before = stored(trio.store.path());
    let joiner = trio.join().await;
    // Three members before: a third of all, and a tenth more for the ring's unevenness, at most.
    let most = (MANY as f64 * 1.1 / 3.0) as u64;
    let part = in_packs(&trio.bed(joiner).node);
    assert!((MANY as u64 / 8..=most).contains(&part), "{part} streams of {MANY} are the joiner's");
    trio.until("strangers have let go of what became the joiner's", |node| {
        let heads = node.ingester.heads().all();
        let placement = node.replication.as_ref().unwrap().placement();
        heads.iter().all(|(key, head)| head.pushes().is_empty() || placement.owns(placement.me(), key.id))
    })
    .await;
    assert_eq!(in_heads(&trio.bed(joiner).node), part, "of each of its streams a line in a head");
    assert_eq!(stored(trio.store.path()), before);
    let fetched: u64 = trio.nodes.iter().flatten().map(|bed| bed.node.metrics.fetched_bytes.get()).sum();
    assert_eq!(fetched, 0);
}

/// Three members, two of which hold each stream, and packs of which all streams but one expire after a day.
async fn mostly_expired() -> Trio {
    let rules = r#"[{ selector = '{app!="s1"}', priority = 1, period = "1d" }]"#;
    let keys = [
        ("limits.retention_stream", rules),
        ("limits.reject_old_samples", "false"),
        ("housekeeping.delete_after", "0"),
        // More members than replicas: the index of none has all streams of every pack.
        ("cluster.replication_factor", "2"),
    ];
    let trio = Trio::with(true, &keys).await;
    trio.push(0, 1).await;
    trio.until("enough nodes hold all lines", |node| in_heads(node) > 0).await;
    trio.bed(0).node.replication.as_ref().unwrap().flush_everywhere().await.unwrap();
    trio.until("nothing is left in heads", |node| in_heads(node) == 0).await;
    let before = stored(trio.store.path());
    assert!(before > 1, "{before} packs");
    trio
}

/// Three days later each of these members keeps house: of what they tend one pack is left, with the one line.
async fn keep_house(trio: &Trio, members: std::ops::Range<usize>) {
    for bed in trio.nodes.iter().flatten() {
        bed.set_clock(NOW + 3 * 86_400 * SECOND);
    }
    for n in members.clone() {
        trio.bed(n).node.housekeeper.expire().await.unwrap();
        trio.bed(n).node.housekeeper.compact().await.unwrap();
        trio.bed(n).flush().await;
        trio.bed(n).node.housekeeper.expire().await.unwrap();
    }
    assert_eq!(stored(trio.store.path()), 1, "one pack holds what has not expired");
    let merged = trio.nodes.iter().flatten().map(|bed| bed.node.metrics.packs_merged.get());
    assert_eq!(merged.sum::<u64>(), 1, "one was written anew, by one member, once");
    for n in members {
        let lines = trio.bed(n).lines(r#"{app=~".+"}"#, NOW, NOW + SECOND).await;
        assert_eq!(lines, ["line 1 of 1"], "asked of node {n}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pack_that_has_mostly_expired_is_written_anew_and_one_that_has_whole_is_given_up() {
    keep_house(&mostly_expired().await, 0..3).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_takes_over_from_a_member_that_left_carries_out_retention_for_it() {
    let mut trio = mostly_expired().await;
    let leaver = trio.bed(2).node.replication.clone().unwrap();
    leaver.hand_over(SOON, |_| {}).await.unwrap();
    drop(leaver);
    trio.stop(2).await;
    keep_house(&trio, 0..2).await;
}

fn packs(node: &Node) -> Vec<grapevine_storage::index::PackId> {
    let day = node.index.day(Day::of(NOW)).unwrap().unwrap();
    day.read(|snapshot| snapshot.packs()).unwrap().into_iter().map(|(id, _)| id).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_that_leaves_takes_nothing_with_it() {
    let mut trio = Trio::new(true).await;
    trio.push(0, 1).await;
    trio.until("each node holds all lines", |node| in_heads(node) == STREAMS as u64).await;
    // Only the one that leaves has these.
    trio.push_to_one(2, 0).await;
    let mut told = Vec::new();
    let leaver = trio.bed(2).node.replication.clone().unwrap();
    leaver.hand_over(SOON, |how_far| told.push(how_far.to_owned())).await.unwrap();
    assert_eq!(told.last().unwrap(), "has left the cluster");
    assert_eq!(in_heads(&trio.bed(2).node), 0, "it kept what it was to hand over");
    drop(leaver);
    trio.stop(2).await;
    let all = STREAMS as u64 + 1;
    trio.until("both others have every line", |node| in_heads(node) + in_packs(node) == all).await;
    for n in 0..2 {
        let lines = trio.bed(n).lines(r#"{app=~".+"}"#, NOW, NOW + SECOND).await;
        assert_eq!(lines.len() as u64, all, "{lines:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_that_cannot_hand_over_in_time_says_what_is_left_and_keeps_it() {
    let trio = Trio::new(true).await;
    // Nobody takes over: the others answer nothing any more.
    (0..2).for_each(|n| trio.bed(n).node.cluster.as_ref().unwrap().methods().clear());
    trio.push_to_one(2, 0).await;
    let leaver = trio.bed(2).node.replication.as_ref().unwrap();
    let error = leaver.hand_over(Duration::from_secs(1), |_| {}).await.unwrap_err().to_string();
    assert!(error.contains("not done within 1s: ") && error.contains("waiting for"), "{error}");
    let node = &trio.bed(2).node;
    assert_eq!(in_heads(node) + in_packs(node), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_comes_to_own_more_finds_it_in_packs_that_were_known_in_part() {
    let mut trio = Trio::with(true, &[("cluster.replication_factor", "2")]).await;
    trio.push(0, 1).await;
    trio.until("each push is with its owners", |node| node.metrics.replica_deficit.get() == 0).await;
    trio.bed(0).node.replication.as_ref().unwrap().flush_everywhere().await.unwrap();
    trio.until("nothing is left in heads", |node| in_heads(node) == 0).await;
    let all = STREAMS as u64;
    let known: u64 = trio.nodes.iter().flatten().map(|bed| in_packs(&bed.node)).sum();
    assert_eq!(known, 2 * all, "each stream is known to its two owners and nobody else");
    let leaver = trio.bed(2).node.replication.clone().unwrap();
    leaver.hand_over(SOON, |_| {}).await.unwrap();
    drop(leaver);
    trio.stop(2).await;
    for n in 0..2 {
        assert_eq!(in_packs(&trio.bed(n).node), all, "node {n} owns all streams now");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_last_member_cannot_leave() {
    let mut trio = Trio::new(true).await;
    trio.stop(1).await;
    trio.stop(2).await;
    trio.until("it is alone", |node| {
        node.replication.as_ref().unwrap().placement().live_peers().count() == 0
    })
    .await;
    let error = trio.bed(0).node.replication.as_ref().unwrap().hand_over(SOON, |_| {}).await.unwrap_err();
    assert!(error.to_string().contains("no other active member"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn parts_of_a_push_that_overlap_are_held_once() {
    let trio = Trio::new(true).await;
    let node = &trio.bed(0).node;
    let part = |streams: [u8; 2]| {
        let stream =
            |n| serde_json::json!({"stream": {"app": format!("s{n}")}, "values": [[NOW.to_string(), "x"]]});
        let body = serde_json::json!({"streams": streams.map(stream)});
        let (limits, cache) = (node.limits.of("fake"), StreamCache::default());
        let context = Context { tenant: "fake", limits, cache: &cache, now: NOW };
        let headers =
            Headers { content_type: Some("application/json"), content_encoding: None, backfill_shard: None };
        let (batch, _) = accept(Endpoint::Loki, headers, &body.to_string().into(), &context).unwrap();
        let push = PushId { origin: 8, sequence: 1 };
        let payload = batch.encode_streams(|_| true).to_vec();
        let part = super::message::Replicate { push, tenant: "fake".to_owned(), whole_by: None };
        part.encode(&[&payload]).unwrap()
    };
    let replication = node.replication.as_ref().unwrap();
    for streams in [[1, 2], [2, 3], [1, 3]] {
        replication.take(&part(streams)).await.unwrap();
    }
    assert_eq!(in_heads(node), 3);
}
