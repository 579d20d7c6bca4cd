//! Scenarios of several nodes, by the executable.

use std::path::PathBuf;

use grapevine_simulations::hunt::Hunt;
use grapevine_simulations::scenario::text_of;

fn hunt(arguments: &[&str], twice: bool) -> Hunt {
    let program = PathBuf::from(env!("CARGO_BIN_EXE_grapevine-sim"));
    Hunt { program, arguments: arguments.iter().map(Into::into).collect(), twice, jobs: 2 }
}

#[test]
fn members_agree_on_the_ring_after_every_fault_and_each_seed_replays_event_by_event() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("gossip.toml");
    let quiet = text_of("three-nodes").unwrap().replace("\nstreams = 6 ", "\nstreams = 0 ");
    std::fs::write(&path, quiet).unwrap();
    let found = hunt(&[path.to_str().unwrap()], true).run(0..4, true, &|_, _| ()).unwrap();
    assert_eq!(found, []);
}

#[test]
fn whatever_node_is_pushed_to_and_asked_nothing_is_lost_and_each_seed_replays_event_by_event() {
    let found = hunt(&["three-nodes", "--minutes", "0.2", "--events", "0"], true)
        .run(0..2, true, &|_, _| ())
        .unwrap();
    assert_eq!(found, []);
}

/// What broke in each and what mended it is in `ARCHITECTURE.md`.
#[test]
fn seeds_that_once_lost_lines_or_left_them_out_without_a_warning_hold() {
    let seeds = [("three-nodes", 4), ("three-nodes", 5), ("all-power-lost", 2), ("five-nodes-two-zones", 1)];
    for (scenario, seed) in seeds {
        let found = hunt(&[scenario], false).run(seed..seed + 1, true, &|_, _| ()).unwrap();
        assert_eq!(found, [], "{scenario}");
    }
}
