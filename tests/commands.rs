//! The commands that talk to a node, as a user's shell sees them: arguments in, text and an exit code out.

use std::io::{BufRead, BufReader, Lines, Write};
use std::process::{Child, ChildStdout, Command, Output, Stdio};

use tempfile::TempDir;

use crate::harness::client::Client;
use crate::harness::node::{GRAPEVINE, Serve};
use crate::harness::push::{Form, Push};
use crate::harness::workload::START;

fn run(client: &Client, arguments: &[&str], input: &str) -> Output {
    let mut command = Command::new(GRAPEVINE);
    command.args(arguments).env("GRAPEVINE_ADDR", client.url());
    let piped = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = piped.spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

/// Runs a command that must succeed, and gives back what it printed.
fn printed(client: &Client, arguments: &[&str], input: &str) -> String {
    let output = run(client, arguments, input);
    let complaints = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{arguments:?}: {complaints}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn lines_pushed_from_a_pipe_are_queried_in_their_order() {
    let dir = TempDir::new().unwrap();
    let node = Serve::on(dir.path()).start();
    let text: String = (0..2500).map(|n| format!("line {n} of a pipe\n")).collect();
    printed(&node, &["push", "--label=job=pipe"], &text);
    // More lines than one answer holds: the command pages.
    let query = ["query", "--limit=0", "--batch=1000", "--output=raw", r#"{job="pipe"}"#];
    assert_eq!(printed(&node, &[&query[..], &["--forward"]].concat(), ""), text);
    let backward = printed(&node, &query, "");
    assert!(backward.lines().eq(text.lines().rev()), "the newest comes first");
    let few = printed(&node, &["query", "--limit=2", "--output=raw", r#"{job="pipe"} |= "249""#], "");
    assert_eq!(few, "line 2499 of a pipe\nline 2498 of a pipe\n");
}

#[test]
fn files_are_pushed_with_their_names() {
    let dir = TempDir::new().unwrap();
    let node = Serve::on(&dir.path().join("data")).start();
    let file = dir.path().join("app.log");
    std::fs::write(&file, "one\r\ntwo\nthree").unwrap();
    let path = file.to_str().unwrap();
    printed(&node, &["push", "-l", "app=x", path], "");
    let query = format!(r#"{{app="x", filename="{path}"}}"#);
    assert_eq!(printed(&node, &["query", "--forward", "--output=raw", &query], ""), "one\ntwo\nthree\n");
}

#[test]
fn labels_series_and_numbers_are_listed() {
    let dir = TempDir::new().unwrap();
    let node = Serve::on(dir.path()).start();
    for app in ["api", "web"] {
        let push = Push::new([("service_name", "s"), ("app", app)], vec![(START, "x".to_owned())]);
        node.push(Form::Json, &[push]);
    }
    let range = ["--from=2026-01-01T09:00:00Z", "--to=2026-01-01T11:00:00Z"];
    let list = |arguments: &[&str]| printed(&node, &[arguments, &range].concat(), "");
    assert_eq!(list(&["labels"]), "app\nservice_name\n");
    assert_eq!(list(&["labels", "app"]), "api\nweb\n");
    assert_eq!(list(&["labels", "app", r#"--query={app=~"w.*"}"#]), "web\n");
    let series = list(&["series", r#"{service_name="s"}"#]);
    assert_eq!(series.lines().count(), 2, "{series}");
    assert!(series.contains(r#"{app="api", service_name="s"}"#), "{series}");
    let instant = ["query", "--instant", "--to=2026-01-01T10:01:00Z"];
    let count = r#"sum(count_over_time({service_name="s"}[5m]))"#;
    let numbers = printed(&node, &[&instant[..], &[count]].concat(), "");
    let value: serde_json::Value = serde_json::from_str(&numbers).unwrap();
    assert_eq!(value[0]["value"][1], "2", "{numbers}");
}

#[test]
fn each_way_to_fail_has_its_exit_code_and_says_why() {
    let dir = TempDir::new().unwrap();
    let node = Serve::on(dir.path()).start();
    let check = |client: &Client, arguments: &[&str], code: i32, text: &str| {
        let output = run(client, arguments, "");
        let complaint = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {complaint}");
        assert!(complaint.contains(text), "{arguments:?}: {complaint}");
    };
    check(&node, &["query", "{"], 4, "parse error");
    check(&node, &["query", "{a=\"b\"}", "--since=yesterday"], 2, "`yesterday` is no duration");
    check(&node, &["query"], 2, "<QUERY>");
    check(&node, &["push", "/nowhere/at/all"], 2, "cannot read `/nowhere/at/all`");
    check(&node, &["labels", "--addr=localhost:3100"], 2, "write it with its scheme");
    // Port 1 is reserved, and nobody listens there.
    check(&Client::new("127.0.0.1:1"), &["labels"], 3, "cannot reach a node at `http://127.0.0.1:1`");
}

/// A tail that runs, and the lines that it prints.
struct Tail {
    process: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Tail {
    fn start(client: &Client, tenant: &str, query: &str) -> Self {
        let mut command = Command::new(GRAPEVINE);
        command.args(["tail", "--output=raw", "--org-id", tenant, query]).env("GRAPEVINE_ADDR", client.url());
        let mut process = command.stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(process.stdout.take().unwrap()).lines();
        Tail { process, lines }
    }

    fn next_line(&mut self) -> String {
        self.lines.next().unwrap().unwrap()
    }
}

impl Drop for Tail {
    fn drop(&mut self) {
        // It may have ended with its node.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
fn lines_are_followed_as_they_arrive_and_by_their_tenant_alone() {
    let dir = TempDir::new().unwrap();
    let node = Serve::on(dir.path()).with("--tenancy=header").start();
    let push = |tenant: &str, text: &str| {
        printed(&node, &["push", "--org-id", tenant, "-l", "job=followed"], &format!("{text}\n"));
    };
    push("other", "a secret of the past");
    push("owner", "before");
    let mut tail = Tail::start(&node, "owner", r#"{job="followed"}"#);
    assert_eq!(tail.next_line(), "before");
    push("other", "a secret of now");
    push("owner", "while it runs");
    assert_eq!(tail.next_line(), "while it runs");
}
