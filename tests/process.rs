//! The life of a process: how it starts, how it stops, and that one directory has one node.

use tempfile::TempDir;

use crate::harness::client::forward;
use crate::harness::http::Request;
use crate::harness::node::Serve;
use crate::harness::push::Form;
use crate::harness::workload::{END, START, Workload};

#[test]
fn sigterm_packs_what_heads_hold_and_ends_with_0() {
    let dir = TempDir::new().unwrap();
    let node = Serve::on(dir.path()).start();
    let workload = Workload { seed: 1 };
    node.push(Form::Protobuf, &[workload.push(0, 0..100)]);
    assert_eq!(node.stop().code(), Some(0));
    let node = Serve::on(dir.path()).start();
    assert_eq!(node.metric("loki_ingester_memory_streams"), 0.0, "nothing had to be replayed");
    let lines = node.lines(&forward(r#"{stream="0"}"#, START, END));
    assert_eq!(lines.all(), workload.push(0, 0..100).lines);
}

#[test]
fn a_second_node_on_a_directory_is_refused_and_the_first_goes_on() {
    let dir = TempDir::new().unwrap();
    let node = Serve::on(dir.path()).start();
    let refusal = Serve::on(dir.path()).refusal();
    assert_eq!(refusal.status.code(), Some(2), "{}", refusal.log);
    assert!(refusal.log.contains("is in use by a node"), "{}", refusal.log);
    node.push(Form::Json, &[Workload { seed: 1 }.push(0, 0..1)]);
    node.kill();
    // The lock went with the process: nothing has to be removed by hand.
    Serve::on(dir.path()).start();
}

#[test]
fn a_configuration_that_cannot_be_used_is_named_with_the_way_out() {
    let check = |serve: Serve, text: &str| {
        let refusal = serve.refusal();
        assert_eq!(refusal.status.code(), Some(2), "{text}: {}", refusal.log);
        assert!(refusal.log.contains(text), "{text}: {}", refusal.log);
    };
    let dir = TempDir::new().unwrap();
    let serve = || Serve::on(dir.path());
    check(serve().set("wal.size_maxx", "1GB"), "unknown key `wal.size_maxx`; did you mean `wal.size_max`?");
    check(serve().set("wal.size_max", "soon"), "soon");
    check(serve().with("--chunk-store=gs://logs"), "`chunk_store` = `gs://logs` is not a place for packs");
    check(serve().with("--config=/nowhere/grapevine.toml"), "cannot read `/nowhere/grapevine.toml`");
    check(serve().variable("GRAPEVINE_TENANCI", "single"), "did you mean `GRAPEVINE_TENANCY`?");
}

#[test]
fn the_log_level_can_be_changed_while_a_node_runs() {
    let dir = TempDir::new().unwrap();
    let node = Serve::on(dir.path()).start();
    let level = || String::from_utf8(node.get("/log_level").body).unwrap();
    assert_eq!(level(), r#"{"message":"Current log level is info"}"#);
    let set = |level: &str| node.send(Request::post(format!("/log_level?log_level={level}"), "")).unwrap();
    assert_eq!(set("debug").status, 200);
    assert_eq!(level(), r#"{"message":"Current log level is debug"}"#);
    assert_eq!((set("loud").status, set("").status), (400, 400));
    assert_eq!(level(), r#"{"message":"Current log level is debug"}"#);
}
