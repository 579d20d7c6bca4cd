//! What is deleted on one member is gone from all, and none that was away brings it back.

use std::io::Read;
use std::path::Path;
use std::time::Duration;

use axum::http::StatusCode;
use flate2::read::MultiGzDecoder;
use grapevine_storage::index::Day;
use tokio::time::timeout;

use super::{NOW, SOON, STREAMS, Trio, in_heads, in_packs, stored};
use crate::deletes::Status;
use crate::node::Node;
use crate::testbed::{SECOND, Testbed, with_params};

const HOUR: i64 = 3600 * SECOND;
const PATH: &str = "/loki/api/v1/delete";
const REQUEST: [(&str, &str); 2] = [("query", r#"{app=~".+"} |= "line 1 of""#), ("start", "0000000000")];

impl Trio {
    /// Rounds of the workers that delete, on all nodes that run, each some minutes later, until something holds on all.
    async fn tidy_until(&self, now: &mut i64, what: &str, holds: impl Fn(&Node) -> bool) {
        let tidying = async {
            while !self.nodes.iter().flatten().all(|bed| holds(&bed.node)) {
                *now += 10 * 60 * SECOND;
                self.nodes.iter().flatten().for_each(|bed| bed.set_clock(*now));
                for bed in self.nodes.iter().flatten() {
                    let node = &bed.node;
                    node.housekeeper.expire().await.unwrap();
                    node.housekeeper.erase(&node.ingester).await.unwrap();
                    bed.flush().await;
                }
                // As every minute, but about no day that is not asked about.
                self.learn(0).await;
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        timeout(SOON, tidying).await.unwrap_or_else(|_| panic!("not in time: {what}"));
    }

    /// Asks one of them to delete what the first push brought.
    async fn request(&self) {
        self.nodes.iter().flatten().for_each(|bed| bed.set_clock(NOW + SECOND));
        let answer = self.bed(1).call("POST", &with_params(PATH, &REQUEST), None).await;
        assert_eq!(answer.0, StatusCode::NO_CONTENT, "{}", answer.1);
    }

    /// Has all members tell each other of requests, and of packs of the latest days and those that are asked about.
    async fn learn(&self, days: usize) {
        for bed in self.nodes.iter().flatten() {
            let replication = bed.node.replication.as_ref().unwrap();
            replication.learn_all(&replication.placement(), days).await.unwrap();
        }
    }

    /// How many lines of the first push and of the second each node that runs finds.
    async fn found(&self) -> Vec<(usize, usize)> {
        let mut found = Vec::new();
        for bed in self.nodes.iter().flatten() {
            let lines = bed.lines(r#"{app=~".+"}"#, NOW - SECOND, NOW + SECOND).await;
            let count = |part: &str| lines.iter().filter(|line| line.starts_with(part)).count();
            found.push((count("line 1 of"), count("line 2 of")));
        }
        found
    }

    /// Whether the shared store has a text.
    fn stores(&self, text: &str) -> bool {
        text_of(self.store.path()).contains(text)
    }
}

/// What `zcat` of every pack in a directory prints.
fn text_of(dir: &Path) -> String {
    let mut text = String::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        match path.extension() {
            _ if path.is_dir() => text += &text_of(&path),
            Some(ending) if ending == "gz" => {
                let file = std::fs::File::open(path).unwrap();
                MultiGzDecoder::new(file).read_to_string(&mut text).unwrap();
            }
            _ => {}
        }
    }
    text
}

fn statuses(node: &Node) -> Vec<Status> {
    node.deletes.list("fake").iter().map(|request| node.deletes.status(request)).collect()
}

fn is_done_here(node: &Node) -> bool {
    node.deletes.list("fake").iter().all(|request| node.deletes.is_done_here(request))
}

async fn id_of(bed: &Testbed) -> String {
    bed.get(PATH, &[]).await[0]["request_id"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_made_or_taken_back_on_one_node_is_known_to_all() {
    let mut trio = Trio::new(true).await;
    trio.push(0, 1).await;
    trio.push(0, 2).await;
    trio.until("each node holds all lines", |node| in_heads(node) == 2 * STREAMS as u64).await;
    trio.request().await;
    assert_eq!(trio.found().await, [(0, STREAMS); 3], "as soon as the request is answered");
    let left = trio.stop(2).await;
    let id = id_of(trio.bed(0)).await;
    let uri = with_params(PATH, &[("request_id", &id)]);
    assert_eq!(trio.bed(0).call("DELETE", &uri, None).await.0, StatusCode::NO_CONTENT);
    trio.start(2, left).await;
    trio.until("who was away hears that it was taken back", |node| statuses(node).is_empty()).await;
    trio.learn(0).await;
    assert_eq!(trio.found().await, [(STREAMS, STREAMS); 3], "and nobody brings the request up again");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_deleted_is_in_no_pack_and_a_node_that_was_away_for_long_does_not_bring_it_back() {
    let mut trio = Trio::new(true).await;
    trio.push(0, 1).await;
    trio.push(0, 2).await;
    trio.until("each node holds all lines", |node| in_heads(node) == 2 * STREAMS as u64).await;
    // Its log has all lines.
    let left = trio.stop(2).await;
    trio.request().await;
    assert_eq!(trio.found().await, [(0, STREAMS); 2]);
    let mut now = NOW + 25 * HOUR;
    trio.tidy_until(&mut now, "both that live have carried it out", is_done_here).await;
    assert!(!trio.stores("line 1 of") && trio.stores("line 2 of"));
    trio.learn(0).await;
    trio.until("it waits for who is away", |node| statuses(node) == [Status::Received]).await;
    // Longer than covered pushes are remembered and requests listed; the others do not count it any more, and have had
    // reason to forget.
    now += 40 * 24 * HOUR;
    for bed in trio.nodes.iter().flatten() {
        bed.set_clock(now);
        bed.node.deletes.set_members(["n0", "n1"].map(str::to_owned).into()).await.unwrap();
        assert!(statuses(&bed.node).is_empty(), "it is past");
        bed.node.deletes.create("another", r#"{app="a"}"#, 0, 1).await.unwrap();
    }
    trio.start_at(now, 2, left).await;
    trio.until("who was away hears of it", |node| statuses(node).len() == 1).await;
    assert_eq!(trio.found().await, [(0, STREAMS); 3]);
    let is_settled = |node: &Node| is_done_here(node) && in_heads(node) == 0;
    trio.tidy_until(&mut now, "all have carried it out", is_settled).await;
    trio.learn(0).await;
    trio.until("it is done", |node| statuses(node) == [Status::Processed]).await;
    assert!(!trio.stores("line 1 of") && trio.stores("line 2 of"));
    assert!(
        trio.nodes.iter().flatten().all(|bed| !bed.node.deletes.due().is_empty()),
        "late entries may come"
    );
    now += 7 * HOUR;
    trio.nodes.iter().flatten().for_each(|bed| bed.set_clock(now));
    let is_over = |trio: &Trio| trio.nodes.iter().flatten().all(|bed| bed.node.deletes.due().is_empty());
    assert!(is_over(&trio));
    assert_eq!(trio.found().await, [(0, STREAMS); 3], "nothing hides them any more: they are gone");
    // Who comes with nothing has nothing to look for, nor have the others.
    let joiner = trio.join_at(now).await;
    assert_eq!(statuses(&trio.bed(joiner).node), [Status::Processed]);
    trio.learn(0).await;
    assert!(is_over(&trio));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_pack_is_rewritten_once_whoever_leaves_meanwhile_and_all_hear_of_it_however_old_its_day_is() {
    let mut trio = Trio::new(true).await;
    trio.push(0, 1).await;
    trio.until("each node holds all lines", |node| in_heads(node) == STREAMS as u64).await;
    trio.bed(0).node.replication.as_ref().unwrap().flush_everywhere().await.unwrap();
    trio.until("each index knows all lines", |node| in_packs(node) == STREAMS as u64).await;
    let packs = stored(trio.store.path()) as u64;
    trio.request().await;
    // Some of the packs were its to rewrite.
    let leaver = trio.bed(2).node.replication.clone().unwrap();
    leaver.hand_over(SOON, |_| {}).await.unwrap();
    drop(leaver);
    trio.stop(2).await;
    let mut now = NOW + 25 * HOUR;
    let is_done = |node: &Node| statuses(node) == [Status::Processed] && in_packs(node) == 0;
    trio.tidy_until(&mut now, "no index knows a pack", is_done).await;
    assert_eq!(text_of(trio.store.path()), "");
    let erased = trio.nodes.iter().flatten().map(|bed| bed.node.metrics.packs_erased.get());
    assert_eq!(erased.sum::<u64>(), packs);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pack_that_others_gave_up_and_that_turns_up_again_is_given_up_by_who_never_heard_of_it() {
    let trio = Trio::new(true).await;
    trio.push(0, 1).await;
    trio.until("each node holds all lines", |node| in_heads(node) == STREAMS as u64).await;
    trio.bed(0).node.replication.as_ref().unwrap().flush_everywhere().await.unwrap();
    trio.until("each index knows all lines", |node| in_packs(node) == STREAMS as u64).await;
    let day = |n: usize| trio.bed(n).node.index.day(Day::of(NOW)).unwrap().unwrap();
    let (id, _) = day(0).read(|snapshot| snapshot.packs()).unwrap().remove(0);
    for n in 0..2 {
        day(n).remove_packs(&[id], NOW).unwrap();
    }
    // As one that came later, on a store that was rolled back.
    trio.bed(2).node.index.drop_day(Day::of(NOW)).unwrap();
    trio.bed(2).node.housekeeper.reconcile().await.unwrap();
    assert_eq!(in_packs(&trio.bed(2).node), STREAMS as u64);
    // As every minute, but about no day that is not asked about.
    trio.learn(0).await;
    assert!(in_packs(&trio.bed(2).node) < STREAMS as u64);
}
