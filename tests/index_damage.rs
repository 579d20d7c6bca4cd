//! The index is a cache: deleted or overwritten with noise it is rebuilt from packs, and no answer lacks a line.

use std::path::Path;

use tempfile::TempDir;

use crate::harness::Random;
use crate::harness::client::{Client, forward};
use crate::harness::files::files;
use crate::harness::node::Serve;
use crate::harness::push::Form;
use crate::harness::workload::{END, START, Workload};

const WORKLOAD: Workload = Workload { seed: 51 };
const STREAMS: usize = 3;
const LINES: u64 = 500;

fn push(client: &Client, batch: u64) {
    let numbers = batch * LINES..(batch + 1) * LINES;
    client.push(Form::Protobuf, &[0, 1, 2].map(|stream| WORKLOAD.push(stream, numbers.clone())));
}

fn check(client: &Client, batches: u64, when: &str) {
    for stream in 0..STREAMS {
        let lines = client.lines(&forward(&format!(r#"{{stream="{stream}"}}"#), START, END));
        assert_eq!(lines.warnings, [""; 0], "{when}");
        WORKLOAD.check(stream, &lines.all(), 0, batches * LINES, batches * LINES);
    }
    let (start, end) = (START.to_string(), END.to_string());
    let values = client.ask("/loki/api/v1/label/stream/values", &[("start", &start), ("end", &end)]);
    assert_eq!(values.json()["data"], serde_json::json!(["0", "1", "2"]), "{when}");
}

/// Packs, then a log that is partly covered by them, then a kill; and the damage.
fn rebuilt_after(damage: impl Fn(&Path)) {
    let dir = TempDir::new().unwrap();
    let node = Serve::on(dir.path()).start();
    push(&node, 0);
    node.flush();
    push(&node, 1);
    node.flush();
    push(&node, 2);
    node.kill();
    let index = dir.path().join("index");
    assert!(!files(&index).is_empty());
    damage(&index);
    let node = Serve::on(dir.path()).listing("index").start();
    check(&node, 3, "rebuilt");
    push(&node, 3);
    node.flush();
    check(&node, 4, "and written to");
    assert!(node.stop().success());
    // What was rebuilt is whole: nothing is left to complain of.
    check(&Serve::on(dir.path()).start(), 4, "and opened again");
}

#[test]
fn a_deleted_index_is_rebuilt_and_every_answer_is_complete() {
    rebuilt_after(|index| std::fs::remove_dir_all(index).unwrap());
}

#[test]
fn an_index_overwritten_with_noise_is_rebuilt_and_every_answer_is_complete() {
    rebuilt_after(|index| {
        let mut random = Random(52);
        for file in files(index) {
            let bytes = file.metadata().unwrap().len().min(1 << 20);
            let noise: Vec<u8> = (0..bytes).map(|_| random.draw() as u8).collect();
            std::fs::write(file, noise).unwrap();
        }
    });
}

#[test]
fn an_index_cut_to_nothing_is_rebuilt_and_every_answer_is_complete() {
    rebuilt_after(|index| files(index).iter().for_each(|file| std::fs::write(file, "").unwrap()));
}
