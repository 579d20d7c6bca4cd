//! Packs that rot or go missing: the others answer, the answer says what is missing, and nothing is invented.

use std::path::Path;

use tempfile::TempDir;

use crate::harness::answers::Lines;
use crate::harness::client::{Client, forward};
use crate::harness::files::packs;
use crate::harness::node::{Node, Serve};
use crate::harness::push::Form;
use crate::harness::workload::{END, START, Workload};

const LINES: u64 = 1000;
const WORKLOAD: Workload = Workload { seed: 31 };

/// A stopped node's directory with three packs of one stream.
fn three_packs() -> TempDir {
    let dir = TempDir::new().unwrap();
    let node = Serve::on(dir.path()).start();
    for n in 0..3 {
        node.push(Form::Protobuf, &[WORKLOAD.push(0, n * LINES..(n + 1) * LINES)]);
        node.flush();
    }
    assert!(node.stop().success());
    assert_eq!(packs(&dir.path().join("packs")).len(), 3);
    dir
}

/// Damage is told to whoever runs the node, in words that name the pack.
fn start(dir: &Path) -> Node {
    ["pack", "chunk", "a filter cannot be"].into_iter().fold(Serve::on(dir), Serve::listing).start()
}

fn ask(client: &Client) -> Lines {
    client.lines(&forward(r#"{stream="0"}"#, START, END))
}

/// Damages one pack, and checks what a node answers then.
fn check_after(damage: impl FnOnce(&Path)) {
    let dir = three_packs();
    damage(&packs(&dir.path().join("packs"))[1]);
    let node = start(dir.path());
    let lines = ask(&node);
    // Each line is one that was pushed, and none comes twice.
    WORKLOAD.check(0, &lines.all(), 0, 0, 3 * LINES);
    let kept = lines.len() as u64;
    assert!((2 * LINES..3 * LINES).contains(&kept), "two packs of three answer: {kept}");
    assert!(!lines.warnings.is_empty(), "the answer says that something is missing");
    assert!(node.metric("grapevine_incomplete_answers_total") >= 1.0);
    let count = r#"sum(count_over_time({stream="0"} |= "id="[7h]))"#;
    let counted = node.ask("/loki/api/v1/query", &[("query", count), ("time", &END.to_string())]);
    let counted = counted.expect(200).json();
    assert!(counted["warnings"].is_array(), "numbers say so, too: {counted}");
    // The node takes lines in as ever.
    node.push(Form::Protobuf, &[WORKLOAD.push(0, 3 * LINES..3 * LINES + 1)]);
    node.flush();
    assert_eq!(ask(&node).len() as u64, kept + 1);
}

#[test]
fn flipped_bits_in_a_pack_cost_that_pack_alone_and_the_answer_says_so() {
    check_after(|pack| {
        let mut bytes = std::fs::read(pack).unwrap();
        let end = bytes.len() * 3 / 4;
        for at in (40..end).step_by(997) {
            bytes[at] ^= 1 << (at % 8);
        }
        std::fs::write(pack, bytes).unwrap();
    });
}

#[test]
fn a_pack_cut_short_costs_that_pack_alone_and_the_answer_says_so() {
    check_after(|pack| {
        let file = std::fs::File::options().write(true).open(pack).unwrap();
        file.set_len(file.metadata().unwrap().len() / 4).unwrap();
    });
}

#[test]
fn a_pack_of_noise_costs_that_pack_alone_and_the_answer_says_so() {
    check_after(|pack| {
        let bytes = std::fs::metadata(pack).unwrap().len() as usize;
        let mut random = crate::harness::Random(32);
        let noise: Vec<u8> = (0..bytes).map(|_| random.draw() as u8).collect();
        std::fs::write(pack, noise).unwrap();
    });
}

#[test]
fn a_missing_pack_costs_that_pack_alone_and_the_answer_says_so() {
    check_after(|pack| std::fs::remove_file(pack).unwrap());
}
