//! What nodes tell of their work in the background, over HTTP, in metrics and on the command line; and that they do as
//! they are told there.

use serde_json::Value;
use tempfile::TempDir;

use crate::harness::client::Client;
use crate::harness::cluster::{Site, agreed, grapevine, printed, ring};
use crate::harness::node::Serve;
use crate::harness::push::{Form, Push};
use crate::harness::until;
use crate::harness::workload::START;

/// Packs that there are before the other joins.
const PACKS: i64 = 3;

/// `grapevine workers …` of a node.
fn workers(client: &Client, order: &[&str]) -> String {
    let url = client.url();
    printed(&grapevine(&[&["workers", "--addr", &url], order].concat()))
}

/// What is told of one member of the ring.
fn member(client: &Client, name: &str) -> Option<Value> {
    let ring = ring(client);
    ring["members"].as_array().unwrap().iter().find(|member| member["name"] == name).cloned()
}

fn learning(client: &Client) -> f64 {
    let metrics = client.get("/metrics").expect(200).text();
    let name = r#"grapevine_worker_steps_left{worker="learn"} "#;
    let line = metrics.lines().find_map(|line| line.strip_prefix(name));
    line.map_or(0.0, |value| value.parse().unwrap())
}

#[test]
fn a_join_shows_how_far_it_is_in_the_ring_in_metrics_and_on_the_command_line() {
    let site = Site::new();
    // Each keeps its packs itself.
    let serve = |n: u8| Serve::on(&site.data_dir(n)).with(format!("--peer-listen={}", site.address(n)));
    let first = serve(1).start();
    assert!(workers(&first, &["pause", "merge"]).contains("paused"));
    for n in 0..PACKS {
        first.push(Form::Json, &[Push::new([("service_name", "s")], vec![(START + n, format!("line {n}"))])]);
        first.flush();
    }
    // What is read of a pack counts 64 KiB at least, which takes four seconds at this rate.
    let joiner =
        site.joining(2).with("--name=late").set("cluster.transfer_rate_max", "16KB").start_listening();
    let late = until("a joiner that has something to learn", || {
        let late = member(&first, "late")?;
        let transfer = &late["load"]["transfer"];
        (transfer["to_learn"].as_u64()? > transfer["learnt"].as_u64()? && transfer["bytes"].as_u64()? > 0)
            .then_some(late)
    });
    assert_eq!(late["state"], "joining", "{late}");
    assert_eq!(learning(&joiner), 1.0);
    let shown = workers(&joiner, &[]);
    let learn = shown.lines().find(|line| line.starts_with("learn ")).unwrap();
    assert!(learn.contains(", 0 of 1 steps, ") && learn.contains("at most 16KB a second"), "{shown}");
    let shown = printed(&grapevine(&["ring", "--addr", &first.url()]));
    assert!(shown.contains("1 days to learn, ") && shown.contains(" joining "), "{shown}");
    agreed(&[first, joiner]);
}

#[test]
fn workers_do_as_they_are_told_on_the_command_line() {
    let site = Site::new();
    let node = site.serve(1).start();
    let shown = workers(&node, &[]);
    for name in [
        "announce",
        "delete",
        "disk",
        "learn",
        "leave",
        "mend",
        "merge",
        "missing",
        "reconcile",
        "relief",
        "repair",
        "retention",
        "ship",
    ] {
        assert!(shown.lines().any(|line| line.starts_with(&format!("{name} "))), "no `{name}`: {shown}");
    }
    let merge = || {
        let shown = workers(&node, &["list"]);
        shown.lines().find(|line| line.starts_with("merge ")).unwrap().to_owned()
    };
    workers(&node, &["pause", "merge"]);
    assert!(merge().contains(" paused "), "{}", merge());
    let refused = grapevine(&["workers", "--addr", &node.url(), "run", "merge"]);
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(refused.status.code() == Some(4) && said.contains("paused"), "{said}");
    workers(&node, &["resume", "merge"]);
    assert!(!merge().contains(" paused "), "{}", merge());
    workers(&node, &["run", "merge"]);
    workers(&node, &["rate", "merge", "3MB"]);
    assert!(merge().contains("at most 3MB a second"), "{}", merge());
    let unknown = grapevine(&["workers", "--addr", &node.url(), "pause", "merg"]);
    assert!(String::from_utf8_lossy(&unknown.stderr).contains("did you mean `merge`?"));
}

#[test]
fn a_node_alone_has_nobody_to_learn_from() {
    let dir = TempDir::new().unwrap();
    let shown = workers(&Serve::on(dir.path()).start(), &[]);
    assert!(shown.contains("merge ") && !shown.contains("learn "), "{shown}");
}
