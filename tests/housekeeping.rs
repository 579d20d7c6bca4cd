//! Housekeeping against a real S3 server: merges, retention, deleting, taking in, rebuilding. Workers are asked for
//! their rounds, so that nobody waits for a clock.

use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::harness::client::{Client, forward};
use crate::harness::files::packs;
use crate::harness::http::Request;
use crate::harness::node::{Node, Serve};
use crate::harness::push::{Form, Push};
use crate::harness::s3::S3;

const DAY_NS: i64 = 86_400_000_000_000;
const LINES: usize = 50;

fn serve(dir: &TempDir) -> Serve {
    // Nobody queries while objects are deleted.
    Serve::on(dir.path()).set("housekeeping.delete_after", "0").set("limits.reject_old_samples", "false")
}

/// Noon of a day so many days ago.
fn noon(client: &Client, days_ago: i64) -> i64 {
    client.now_ns() / DAY_NS * DAY_NS - days_ago * DAY_NS + DAY_NS / 2
}

/// Pushes lines of one stream at a day's noon, and makes a pack of them.
fn pack(client: &Client, app: &str, days_ago: i64, number: usize) {
    let noon = noon(client, days_ago) + number as i64;
    let line =
        |n: usize| (noon + (n * 1_000_000) as i64, format!("{app} {number} {n} of {days_ago} days ago"));
    client.push(Form::Protobuf, &[Push::new([("service_name", app)], (0..LINES).map(line).collect())]);
    client.flush();
}

/// Runs rounds of workers.
fn run(client: &Client, workers: &[&str]) {
    for name in workers {
        client.send(Request::post(format!("/workers/{name}/run"), "")).unwrap().expect(200);
    }
}

/// How many lines an app has, of any day, and that the answer is whole.
fn lines(client: &Client, app: &str) -> usize {
    let now = client.now_ns();
    let lines = client.lines(&forward(&format!(r#"{{service_name="{app}"}}"#), now - 30 * DAY_NS, now));
    assert_eq!(lines.warnings, [""; 0]);
    lines.len()
}

fn start(store: &S3, serve: Serve) -> Node {
    let node = store.store_of(serve).start();
    // Merges would begin on their own a minute from now: here they come when they are asked for.
    node.send(Request::post("/workers/merge/pause", "")).unwrap().expect(200);
    node
}

fn merge(node: &Node) {
    node.send(Request::post("/workers/merge/resume", "")).unwrap().expect(200);
    run(node, &["merge"]);
    node.flush();
}

fn object(store: &S3, app_of: impl Fn(&Path) -> bool) -> PathBuf {
    let found: Vec<PathBuf> = packs(&store.bucket()).into_iter().filter(|path| app_of(path)).collect();
    let [one] = &found[..] else { panic!("one of {found:?}") };
    one.clone()
}

#[test]
fn small_packs_in_a_bucket_become_one_and_the_others_are_deleted() {
    let Some(store) = S3::start() else { return };
    let dir = TempDir::new().unwrap();
    let node = start(&store, serve(&dir));
    (0..4).for_each(|number| pack(&node, "a", 3, number));
    pack(&node, "a", 1, 4);
    assert_eq!(packs(&store.bucket()).len(), 5);
    merge(&node);
    run(&node, &["retention", "reconcile"]);
    assert_eq!(packs(&store.bucket()).len(), 2, "one of each day");
    assert_eq!((lines(&node, "a"), node.metric("grapevine_packs_merged_total")), (5 * LINES, 4.0));
    assert_eq!(packs(&dir.path().join("spool")), [""; 0].map(PathBuf::from), "no copy is left behind");
}

#[test]
fn an_outage_in_the_middle_of_a_merge_loses_nothing_and_it_is_made_up_for() {
    let Some(mut store) = S3::start() else { return };
    let dir = TempDir::new().unwrap();
    let node = start(&store, serve(&dir).listing("the chunk store").listing("housekeeping failed"));
    (0..3).for_each(|number| pack(&node, "a", 3, number));
    store.take_away();
    node.send(Request::post("/workers/merge/resume", "")).unwrap().expect(200);
    let failed = node.send(Request::post("/workers/merge/run", "")).unwrap().expect(500).text();
    assert!(failed.contains("merge packs of"), "{failed}");
    store.bring_back();
    assert_eq!(lines(&node, "a"), 3 * LINES);
    run(&node, &["merge"]);
    node.flush();
    run(&node, &["retention"]);
    assert_eq!((packs(&store.bucket()).len(), lines(&node, "a")), (1, 3 * LINES));
}

#[test]
fn what_is_past_its_retention_leaves_the_bucket() {
    let Some(store) = S3::start() else { return };
    let dir = TempDir::new().unwrap();
    let node = start(&store, serve(&dir));
    for (app, days_ago) in [("old", 5), ("short", 2), ("long", 2)] {
        pack(&node, app, days_ago, 0);
    }
    assert!(node.stop().success());
    let rules =
        r#"limits.retention_stream=[{ selector = '{service_name="short"}', priority = 1, period = "1d" }]"#;
    let (key, value) = rules.split_once('=').unwrap();
    let node = start(&store, serve(&dir).set("limits.retention_period", "4d").set(key, value));
    run(&node, &["retention"]);
    // What was merged before it could be paused is shipped, and what it replaced deleted.
    node.flush();
    run(&node, &["retention"]);
    assert_eq!(["old", "short", "long"].map(|app| lines(&node, app)), [0, 0, LINES]);
    let left = object(&store, |_| true);
    assert!(std::fs::metadata(left).unwrap().len() > 0);
    run(&node, &["reconcile"]);
    assert_eq!(lines(&node, "long"), LINES, "nothing comes back");
}

#[test]
fn an_object_that_no_index_knows_is_taken_in_and_a_lost_index_is_rebuilt_from_the_bucket() {
    let Some(store) = S3::start() else { return };
    let (dir, other) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let node = start(&store, serve(&dir));
    pack(&node, "a", 1, 0);
    // Another node's pack, carried over by hand.
    let elsewhere = serve(&other).start();
    pack(&elsewhere, "b", 1, 0);
    let root = other.path().join("packs");
    let [foreign] = &packs(&root)[..] else { panic!("one pack") };
    let target = store.bucket().join("packs").join(foreign.strip_prefix(&root).unwrap());
    std::fs::create_dir_all(target.parent().unwrap()).unwrap();
    std::fs::copy(foreign, &target).unwrap();
    assert_eq!(lines(&node, "b"), 0);
    drop(node);

    let node = start(&store, serve(&dir).listing("were taken in"));
    run(&node, &["reconcile"]);
    assert_eq!((lines(&node, "a"), lines(&node, "b")), (LINES, LINES));
    assert!(node.stop().success());
    std::fs::remove_dir_all(dir.path().join("index")).unwrap();
    let node = start(&store, serve(&dir).listing("a day was missing from the index"));
    assert_eq!((lines(&node, "a"), lines(&node, "b")), (LINES, LINES));
}
