//! Push, ask, flush, ask again: the same answers from the log, from heads and from packs.

use std::process::Command;

use tempfile::TempDir;

use crate::harness::answers::Lines;
use crate::harness::client::{Client, Query, forward};
use crate::harness::files::packs;
use crate::harness::node::Serve;
use crate::harness::push::{Form, Push};
use crate::harness::workload::{END, START, Workload};

const FORMS: [(Form, &str); 3] =
    [(Form::Json, "json"), (Form::Protobuf, "protobuf"), (Form::OpenTelemetry, "opentelemetry")];
const SECOND: i64 = 1_000_000_000;

/// Five lines a form: two of one timestamp, one with an inner line end, one that is not ASCII, one empty.
fn pushes() -> Vec<(Form, Push)> {
    let push = |(form, name): (Form, &str)| {
        let texts = ["first", "second", "two\nlines", "ünï \"quoted\" \\ \t", ""];
        let times = [0, 0, 1, 2, 3].map(|seconds| START + seconds * SECOND);
        let lines = times.into_iter().zip(texts.map(|text| format!("{name} {text}"))).collect();
        // OpenTelemetry's attributes keep their dots on the wire, and Loki makes underscores of them.
        let label = if form == Form::OpenTelemetry { "service.name" } else { "service_name" };
        (form, Push::new([(label, name)], lines))
    };
    FORMS.map(push).to_vec()
}

fn everything(client: &Client) -> Lines {
    client.lines(&forward(r#"{service_name=~".+"}"#, START - SECOND, END))
}

#[test]
fn what_is_pushed_in_each_form_is_answered_alike_from_head_log_and_packs() {
    let dir = TempDir::new().unwrap();
    let node = Serve::on(dir.path()).start();
    for (form, push) in pushes() {
        node.push(form, &[push]);
    }
    let from_heads = everything(&node);
    for ((_, push), (_, name)) in pushes().iter().zip(FORMS) {
        let labels = crate::harness::push::labels([("service_name", name)]);
        assert_eq!(from_heads.of_stream(&labels), push.lines, "{name}");
    }
    node.kill();
    let node = Serve::on(dir.path()).start();
    assert_eq!(everything(&node), from_heads, "from the log");
    node.flush();
    assert_eq!(node.metric("grapevine_spool_packs"), 0.0);
    assert_eq!(everything(&node), from_heads, "from packs");
    assert!(!packs(&dir.path().join("packs")).is_empty());
    node.kill();
    let node = Serve::on(dir.path()).start();
    assert_eq!(everything(&node), from_heads, "from packs after a crash");
}

#[test]
fn direction_and_limit_choose_the_same_lines_in_heads_and_packs() {
    let dir = TempDir::new().unwrap();
    let node = Serve::on(dir.path()).start();
    let workload = Workload { seed: 7 };
    node.push(Form::Protobuf, &[workload.push(0, 0..500), workload.push(1, 0..500)]);
    let whole = workload.push(1, 0..500).lines;
    let ask = |limit, direction| {
        let query = r#"{stream="1"}"#.to_owned();
        node.lines(&Query { query, start: START, end: END, limit, direction }).all()
    };
    let check = || {
        let reversed: Vec<_> = whole.iter().rev().cloned().collect();
        assert_eq!(ask(10, "forward"), whole[..10]);
        assert_eq!(ask(10, "backward"), reversed[..10]);
        assert_eq!(ask(1000, "backward"), reversed);
        let needle = forward(r#"{service_name="load"} |= "1 321 id=""#, START, END);
        assert_eq!(node.lines(&needle).all(), whole[321..322]);
        // The start of a range is inclusive and its end exclusive.
        let range = forward(r#"{stream="1"}"#, Workload::time(100), Workload::time(110));
        assert_eq!(node.lines(&range).all(), whole[100..110]);
    };
    check();
    node.flush();
    check();
}

#[test]
fn zcat_of_every_pack_prints_the_lines_that_were_pushed_by_stream_in_time_order() {
    let dir = TempDir::new().unwrap();
    let node = Serve::on(dir.path()).start();
    let workload = Workload { seed: 11 };
    // Late first: a pack is in time order whatever the order of arrival.
    for numbers in [2000..4000, 0..2000, 4000..5000] {
        node.push(Form::Protobuf, &[0, 1, 2].map(|stream| workload.push(stream, numbers.clone())));
    }
    node.flush();
    let mut seen: Vec<String> = Vec::new();
    for pack in packs(&dir.path().join("packs")) {
        let output = Command::new("zcat").arg(&pack).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let lines = String::from_utf8(output.stdout).unwrap();
        seen.extend(lines.lines().map(str::to_owned));
    }
    // Which stream comes first is the pack's affair.
    let runs: Vec<&str> = seen.chunk_by(|a, b| a[..1] == b[..1]).map(|run| &run[0][..1]).collect();
    assert_eq!(runs.len(), 3, "grouped by stream: {runs:?}");
    for run in seen.chunk_by(|a, b| a[..1] == b[..1]) {
        let stream = run[0][..1].parse().unwrap();
        let want: Vec<String> = workload.push(stream, 0..5000).lines.into_iter().map(|(_, l)| l).collect();
        assert!(run == want, "stream {stream}: {} lines, of {}", run.len(), want.len());
    }
}

#[test]
fn duplicates_collapse_across_retries_flushes_and_restarts() {
    let dir = TempDir::new().unwrap();
    let workload = Workload { seed: 13 };
    let push = |client: &Client, form| client.push(form, &[workload.push(0, 0..300)]);
    let check = |client: &Client, when: &str| {
        let lines = client.lines(&forward(r#"{stream="0"}"#, START, END));
        assert_eq!(lines.all(), workload.push(0, 0..300).lines, "{when}");
        let query = r#"sum(count_over_time({stream="0"}[7h]))"#;
        let (path, time) = ("/loki/api/v1/query", END.to_string());
        let count = client.ask(path, &[("query", query), ("time", &time)]).expect(200).json();
        assert_eq!(count["data"]["result"][0]["value"][1], "300", "{when}: {count}");
    };
    let node = Serve::on(dir.path()).start();
    push(&node, Form::Json);
    push(&node, Form::Protobuf);
    check(&node, "a retry in another form");
    node.flush();
    push(&node, Form::Protobuf);
    check(&node, "a retry after a flush");
    node.kill();
    let node = Serve::on(dir.path()).start();
    check(&node, "after a crash");
    push(&node, Form::Json);
    check(&node, "a retry after a crash");
    node.flush();
    check(&node, "both in packs");
}

#[test]
fn late_entries_take_their_place_in_heads_and_packs() {
    let dir = TempDir::new().unwrap();
    let node = Serve::on(dir.path()).start();
    let workload = Workload { seed: 17 };
    let want = workload.push(0, 0..400).lines;
    let check = |when: &str| {
        assert_eq!(node.lines(&forward(r#"{stream="0"}"#, START, END)).all(), want, "{when}");
    };
    node.push(Form::Protobuf, &[workload.push(0, 300..400)]);
    node.push(Form::Json, &[workload.push(0, 0..100)]);
    node.flush();
    // Later than what is packed, then between two packed ranges.
    node.push(Form::Protobuf, &[workload.push(0, 200..300)]);
    node.push(Form::Protobuf, &[workload.push(0, 100..200)]);
    check("heads over packs");
    node.flush();
    check("packs alone");
}

#[test]
fn a_line_of_yesterday_and_one_of_tomorrow_lie_in_packs_of_their_own_days() {
    let dir = TempDir::new().unwrap();
    let node = Serve::on(dir.path()).start();
    let day = 86_400 * SECOND;
    let lines: Vec<_> = (-2..3).map(|n| (START + n * day, format!("day {n}"))).collect();
    node.push(Form::Json, &[Push::new([("service_name", "days")], lines.clone())]);
    let query = forward(r#"{service_name="days"}"#, START - 3 * day, START + 3 * day);
    assert_eq!(node.lines(&query).all(), lines);
    node.flush();
    assert_eq!(node.lines(&query).all(), lines);
    assert_eq!(packs(&dir.path().join("packs")).len(), 5);
}
