//! The commands that look after a node that is stopped: its packs, its index, its configuration.

use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::{Command, Output};

use tempfile::TempDir;

use crate::harness::files::packs;
use crate::harness::http::Request;
use crate::harness::node::{GRAPEVINE, Serve};
use crate::harness::push::Form;
use crate::harness::workload::Workload;

const WORKLOAD: Workload = Workload { seed: 61 };
const LINES: u64 = 300;

fn run(arguments: &[&str]) -> Output {
    Command::new(GRAPEVINE).args(arguments).env_remove("GRAPEVINE_CONFIG").output().unwrap()
}

/// Runs a command that must end with a code and print a text.
fn check(arguments: &[&str], code: i32, text: &str) -> String {
    let output = run(arguments);
    let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap()).concat();
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {said}");
    assert!(said.contains(text), "{arguments:?}: `{text}` is not in: {said}");
    said
}

/// A directory with one pack of one stream, its node stopped.
fn packed(dir: &Path) -> String {
    let node = Serve::on(dir).start();
    node.push(Form::Protobuf, &[WORKLOAD.push(0, 0..LINES)]);
    assert!(node.stop().success());
    let [pack] = &packs(dir)[..] else { panic!("one stream of one day makes one pack") };
    pack.to_str().unwrap().to_owned()
}

#[test]
fn a_pack_is_listed_printed_and_verified() {
    let dir = TempDir::new().unwrap();
    let pack = packed(dir.path());
    check(&["pack", "ls", &pack], 0, &format!("{LINES} lines"));
    let lines: Vec<String> = (0..LINES).map(|number| WORKLOAD.line(0, number)).collect();
    assert_eq!(check(&["pack", "cat", &pack], 0, ""), lines.join("\n") + "\n");
    check(&["pack", "verify", &pack], 0, "whole");
}

#[test]
fn a_damaged_pack_is_found_by_verify_and_by_fsck() {
    let dir = TempDir::new().unwrap();
    let data = dir.path().to_str().unwrap();
    let pack = packed(dir.path());
    check(&["fsck", "--deep", "--data-dir", data], 0, "0 things wrong");
    let file = std::fs::OpenOptions::new().write(true).open(&pack).unwrap();
    file.write_all_at(b"damage", 200).unwrap();
    check(&["pack", "verify", &pack], 5, "damaged");
    check(&["fsck", "--deep", "--data-dir", data], 5, &pack[data.len() + "/packs/".len()..]);
}

#[test]
fn an_object_that_is_no_pack_is_listed_and_stays_until_it_has_been_seen_for_long() {
    let dir = TempDir::new().unwrap();
    let data = dir.path().to_str().unwrap();
    let pack = packed(dir.path());
    let orphan = Path::new(&pack).with_file_name(format!("{:032x}.gz", 7));
    std::fs::write(&orphan, "no pack at all").unwrap();
    check(&["fsck", "--data-dir", data], 5, "00000007.gz` is no pack");
    let complaint = "a pack cannot be indexed";
    let node = Serve::on(dir.path()).listing(complaint).start();
    node.send(Request::post("/workers/reconcile/run", "")).unwrap().expect(200);
    assert_eq!(node.metric("grapevine_chunk_store_orphans"), 1.0);
    assert!(node.stop().success() && orphan.is_file());
}

#[test]
fn packs_that_were_replaced_and_are_back_are_told_from_those_that_are_needed() {
    let dir = TempDir::new().unwrap();
    let data = dir.path().to_str().unwrap();
    let node = Serve::on(dir.path()).set("housekeeping.delete_after", "0").start();
    node.send(Request::post("/workers/merge/pause", "")).unwrap().expect(200);
    for part in [0..LINES, LINES..2 * LINES] {
        node.push(Form::Protobuf, &[WORKLOAD.push(0, part)]);
        node.flush();
    }
    let saved: Vec<_> =
        packs(dir.path()).into_iter().map(|pack| (std::fs::read(&pack).unwrap(), pack)).collect();
    let order = |path: &str| drop(node.send(Request::post(path, "")).unwrap().expect(200));
    order("/workers/merge/resume");
    order("/workers/merge/run");
    node.flush();
    order("/workers/retention/run");
    assert!(node.stop().success());
    let [merged] = &packs(dir.path())[..] else { panic!("two packs become one") };
    assert_eq!(saved.len(), 2);
    saved.iter().for_each(|(bytes, pack)| std::fs::write(pack, bytes).unwrap());
    let said = check(&["fsck", "--data-dir", data], 0, "0 things wrong");
    assert_eq!(said.matches("it is safe to delete").count(), 2, "{said}");
    assert!(said.contains("2 objects are back that were replaced or given up"), "{said}");
    std::fs::remove_file(merged).unwrap();
    let said = check(&["fsck", "--data-dir", data], 5, "1 things wrong");
    assert_eq!(said.matches("keep it: ").count(), 2, "{said}");
}

#[test]
fn an_index_is_rebuilt_by_command_and_holds_what_it_held() {
    let dir = TempDir::new().unwrap();
    let data = dir.path().to_str().unwrap();
    packed(dir.path());
    std::fs::remove_dir_all(dir.path().join("index")).unwrap();
    check(&["fsck", "--data-dir", data], 5, "index");
    check(&["index", "rebuild", "--data-dir", data], 0, "1 packs");
    check(&["fsck", "--deep", "--data-dir", data], 0, "0 things wrong");
}

#[test]
fn nothing_is_mended_under_a_running_node() {
    let dir = TempDir::new().unwrap();
    let data = dir.path().to_str().unwrap();
    let _node = Serve::on(dir.path()).start();
    check(&["fsck", "--data-dir", data], 2, "is in use by a node");
    check(&["index", "rebuild", "--data-dir", data], 2, "is in use by a node");
}

#[test]
fn the_configuration_the_manual_and_completions_are_printed() {
    check(&["config", "--set", "limits.query_timeout=9s"], 0, "query_timeout = \"9s\"");
    check(&["config", "--reference"], 0, "retention_period");
    check(&["man"], 0, ".TH grapevine");
    check(&["completions", "bash"], 0, "_grapevine()");
}
