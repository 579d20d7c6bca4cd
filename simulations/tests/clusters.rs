//! Scenarios of several nodes, by the executable.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should say where")]

use std::path::PathBuf;

use grapevine_simulations::hunt::{Hunt, Verdict};
use grapevine_simulations::scenario::text_of;

fn hunt(arguments: &[&str], twice: bool) -> Hunt {
    let program = PathBuf::from(env!("CARGO_BIN_EXE_grapevine-sim"));
    Hunt { program, arguments: arguments.iter().map(Into::into).collect(), twice, jobs: 2 }
}

/// A scenario that comes along, with other values for some keys.
fn changed(scenario: &str, keys: &[(&str, &str)]) -> (tempfile::TempDir, String) {
    let mut text = text_of(scenario).unwrap();
    for (key, value) in keys {
        // The last of that name: `quiet` is a key of the workload too.
        let at = text.rfind(&format!("\n{key} = ")).unwrap() + 1;
        let end = at + text[at..].find('\n').unwrap();
        text.replace_range(at..end, &format!("{key} = {value}"));
    }
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("changed.toml");
    std::fs::write(&path, text).unwrap();
    (dir, path.to_str().unwrap().to_owned())
}

#[test]
fn members_agree_on_the_ring_after_every_fault_and_each_seed_replays_event_by_event() {
    let (_dir, path) = changed("three-nodes", &[("streams", "0")]);
    let found = hunt(&[&path], true).run(0..4, true, &|_, _| ()).unwrap();
    assert_eq!(found, []);
}

#[test]
fn whatever_node_is_pushed_to_and_asked_nothing_is_lost_and_each_seed_replays_event_by_event() {
    let found = hunt(&["three-nodes", "--minutes", "0.2", "--events", "0"], true)
        .run(0..2, true, &|_, _| ())
        .unwrap();
    assert_eq!(found, []);
}

/// Nothing is lost, doubled, invented or left out in silence under the faults of these, all works again after them, the
/// members agree and lack nothing; and two runs of a seed are alike, event by event.
#[test]
fn scenarios_that_come_along_hold_and_replay_event_by_event() {
    let scenarios = [
        ("three-nodes", 2),
        ("five-nodes-two-zones", 2),
        ("all-power-lost", 1),
        ("one-rack-loses-power", 1),
        ("rolling-upgrade-at-peak", 1),
        ("grows-and-shrinks", 1),
        ("partition-and-heal", 1),
        ("little-memory", 1),
    ];
    for (scenario, seeds) in scenarios {
        let found = hunt(&[scenario], true).run(10..10 + seeds, true, &|_, _| ()).unwrap();
        assert_eq!(found, [], "{scenario}");
    }
}

/// Packs that were merged into another are deleted a quarter of an hour later, or half of one where who should has not heard.
#[test]
fn the_store_holds_each_line_once_after_a_while() {
    let (_dir, path) = changed("three-nodes", &[("quiet", "\"35m\"")]);
    let arguments = [&path, "--minutes", "0.5", "--events", "0"];
    assert_eq!(hunt(&arguments, true).run(0..2, true, &|_, _| ()).unwrap(), []);
}

/// What broke in each and what mended it is in `ARCHITECTURE.md`.
#[test]
fn seeds_that_once_lost_lines_or_left_them_out_without_a_warning_hold() {
    let seeds: [(&[&str], u64); 11] = [
        (&["three-nodes"], 4),
        (&["three-nodes"], 5),
        (&["three-nodes", "--minutes", "2"], 31),
        (&["three-nodes", "--minutes", "2"], 101),
        (&["all-power-lost"], 2),
        (&["five-nodes-two-zones"], 1),
        (&["five-nodes-two-zones"], 11),
        (&["five-nodes-two-zones"], 121),
        (&["five-nodes-two-zones"], 193),
        (&["grows-and-shrinks"], 3),
        (&["two-flaky-shops-and-a-head-office"], 2),
    ];
    for (arguments, seed) in seeds {
        let found = hunt(arguments, true).run(seed..seed + 1, true, &|_, _| ()).unwrap();
        assert_eq!(found, [], "{arguments:?}");
    }
}

/// So many seeds are enough to find any of them.
const SEEDS: u64 = 8;

/// Each breaks one rule; see [`grapevine::planted`]. Beside it, faults under which the rule matters.
const PLANTED: [(&str, &[&str]); 9] = [
    ("answers-unsynced", &["all-power-lost", "--minutes", "0.5"]),
    (
        "answers-unheld",
        &["three-nodes", "--faults", "power,crash,power", "--events", "20", "--minutes", "0.6"],
    ),
    ("forgets-repairs", &["three-nodes"]),
    ("forgets-a-day", &["grows-and-shrinks"]),
    ("reads-unlearnt", &["grows-and-shrinks", "--minutes", "1"]),
    ("lets-go-unindexed", &["three-nodes"]),
    ("doubts-nothing", &["three-nodes"]),
    ("keeps-silent", &["partition-and-heal", "--minutes", "1"]),
    ("reads-twice", &["three-nodes", "--minutes", "0.2", "--events", "0"]),
];

#[test]
fn bugs_planted_in_the_nodes_of_a_cluster_are_found() {
    for (canary, arguments) in PLANTED {
        let arguments = [arguments, &["--canary", canary]].concat();
        let found = hunt(&arguments, false).run(0..SEEDS, false, &|_, _| ()).unwrap();
        let broken = |(_, verdict): &(u64, Verdict)| matches!(verdict, Verdict::Broken(_));
        assert!(found.iter().any(broken), "{canary}: {found:?}");
    }
}
