//! The exams: what real Loki answered, put to a real node over real sockets.
//!
//! The cases and their runners lie beside the project, in `../shared/exam`, and may be absent: then these tests
//! say so and pass. Where a node differs from Loki on purpose, the case is listed here with the reason; a case
//! that is listed and does not fail any more is an error too, so that the list stays true.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;

use crate::served::Node;

/// Cases of the HTTP exam, as `scenario / name`, that are answered differently on purpose, and why.
const DELIBERATE: [(&str, &str); 0] = [];

/// Loki's limits where this store's defaults are wider: late and old entries are taken within retention.
const LOKIS_LIMITS: [&str; 2] = ["limits.reject_old_samples=true", "limits.max_out_of_order_age=1h"];

/// What the language exam asks of a server: old samples, long ranges, no enrichment, no rate limits.
const LANGUAGE_LIMITS: [&str; 7] = [
    "limits.discover_log_levels=false",
    "limits.discover_service_name=[]",
    "limits.max_query_length=0",
    "limits.shard_aggregations=[\"approx_topk\"]",
    "limits.ingestion_rate_mb=0",
    "limits.per_stream_rate_limit=0",
    "limits.max_global_streams_per_user=0",
];

/// Where the exams lie; none where they are absent.
fn exam() -> Option<PathBuf> {
    let dir = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared/exam");
    let python = Command::new("python3").arg("--version").output().is_ok();
    if dir.join("http_exam.py").is_file() && python {
        return Some(dir);
    }
    eprintln!("SKIPPED: the exams need python3 and the folder ../shared/exam");
    None
}

/// Runs a runner; gives back what it printed, and whether it was content.
fn sit(runner: &str, arguments: &[&str], dir: &PathBuf) -> (String, bool) {
    let output = Command::new("python3").arg(runner).args(arguments).current_dir(dir).output().unwrap();
    let text =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    (text, output.status.success())
}

#[test]
fn clients_are_answered_as_loki_answers_them() {
    let Some(dir) = exam() else { return };
    let node = Node::start(&LOKIS_LIMITS);
    let (text, _) = sit("http_exam.py", &["run", node.port(), "http_cases.json", "-v"], &dir);
    assert!(text.contains("TOTAL"), "the runner did not get to its end:\n{text}");
    let failed = text.lines().filter_map(|line| line.strip_prefix("FAIL "));
    let failed: BTreeMap<&str, ()> = failed.map(|name| (name.trim(), ())).collect();
    let expected: BTreeMap<&str, ()> = DELIBERATE.iter().map(|(name, _)| (*name, ())).collect();
    assert_eq!(failed, expected, "{text}");
}

#[test]
fn logql_means_what_it_means_in_loki() {
    let Some(dir) = exam() else { return };
    let node = Node::start(&LANGUAGE_LIMITS);
    let address = format!("http://{}", node.address);
    let (text, passed) = sit("run_exam.py", &["--addr", &address, "--sample", ".", "-v"], &dir);
    assert!(passed, "{text}");
}
