//! Clients that no one here wrote push to a running node and are read back exactly.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use tempfile::TempDir;
use tracing_subscriber::layer::SubscriberExt;

use crate::harness::client::{Client, forward};
use crate::harness::node::Serve;
use crate::harness::tools::tool;
use crate::harness::until;

const HOUR: i64 = 3_600_000_000_000;

/// What each client logs: text that a careless encoder would change. None is empty, since not every client sends
/// empty lines.
fn texts() -> Vec<String> {
    let odd = ["plain", "\"quoted\" \\ back", "tab\tbetween", "ünïcode ☃ 𝄞", "{\"json\":true}", "%s {} $x"];
    let long = "x".repeat(10_000);
    odd.iter().map(|text| (*text).to_owned()).chain([long]).collect()
}

fn run(program: &Path, script: &str, client: &Client, variables: &[(&str, &Path)]) {
    let script = format!("{}/../tests/clients/{script}", env!("CARGO_MANIFEST_DIR"));
    let mut command = Command::new(program);
    command.arg(&script).arg(client.url()).envs(variables.iter().copied());
    let mut child = command.stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all((texts().join("\n") + "\n").as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{script}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Checks that a selector finds exactly what was logged, in order, before and after a flush.
fn check(client: &Client, selector: &str, want: &[String]) {
    let now = client.now_ns();
    let read = |when: &str| {
        let lines = client.lines(&forward(selector, now - HOUR, now + HOUR));
        let got: Vec<String> = lines.all().into_iter().map(|(_, line)| line).collect();
        assert_eq!(got, want, "{selector} {when}");
    };
    read("in heads");
    client.flush();
    read("in packs");
}

#[test]
fn python_logging_loki_is_read_back_exactly() {
    let Some(python) = tool("python/bin/python") else { return };
    let dir = TempDir::new().unwrap();
    let node = Serve::on(dir.path()).start();
    run(&python, "python_logging_loki.py", &node, &[]);
    let selector = r#"{application="python", severity="info", logger="shop", order="kept"}"#;
    check(&node, selector, &texts());
}

#[test]
fn the_opentelemetry_sdk_is_read_back_exactly() {
    let Some(python) = tool("python/bin/python") else { return };
    let dir = TempDir::new().unwrap();
    let node = Serve::on(dir.path()).start();
    run(&python, "opentelemetry_sdk.py", &node, &[]);
    let metadata = r#"deployment_color="blue" | severity_text="WARN" | order="7""#;
    // Metadata is shown with a line's labels, and here it is alike for all lines but for where they were logged.
    check(&node, &format!(r#"{{service_name="otel"}} | {metadata}"#), &texts());
}

#[test]
fn winston_loki_is_read_back_exactly() {
    let Some(modules) = tool("node/node_modules") else { return };
    let dir = TempDir::new().unwrap();
    let node = Serve::on(dir.path()).start();
    run(Path::new("node"), "winston_loki.cjs", &node, &[("NODE_PATH", &modules)]);
    check(&node, r#"{app="winston", level="info"}"#, &texts());
}

#[test]
fn tracing_loki_is_read_back_exactly() {
    let dir = TempDir::new().unwrap();
    let node = Serve::on(dir.path()).start();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let url = url::Url::parse(&node.url()).unwrap();
    let builder = tracing_loki::builder().label("app", "tracing").unwrap();
    let (layer, controller, task) = builder.build_controller_url(url).unwrap();
    let sending = runtime.spawn(task);
    tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
        texts().iter().for_each(|text| tracing::info!(target: "shop", order = 7, "{text}"));
    });
    runtime.block_on(async {
        controller.shutdown().await;
        sending.await.unwrap();
    });
    let now = node.now_ns();
    let everything = forward(r#"{app="tracing", level="info"}"#, now - HOUR, now + HOUR);
    let lines = until("the lines of tracing-loki", || {
        let lines = node.lines(&everything).all();
        (lines.len() == texts().len()).then_some(lines)
    });
    // The client makes a JSON object of each event.
    for ((_, line), text) in lines.iter().zip(texts()) {
        let event: serde_json::Value = serde_json::from_str(line).unwrap();
        assert_eq!((event["message"].as_str(), event["order"].as_i64()), (Some(&*text), Some(7)), "{line}");
    }
    let raw: Vec<String> = lines.into_iter().map(|(_, line)| line).collect();
    check(&node, r#"{app="tracing", level="info"}"#, &raw);
}
