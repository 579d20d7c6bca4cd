//! The scenario `lone-node`, by its executable: a few seeds, and the bugs that it must find.

use std::path::PathBuf;
use std::process::{Command, Output};

use grapevine_simulations::hunt::{Hunt, Verdict};

fn hunt(arguments: &[&str], twice: bool) -> Hunt {
    let program = PathBuf::from(env!("CARGO_BIN_EXE_grapevine-sim"));
    Hunt { program, arguments: arguments.iter().map(Into::into).collect(), twice, jobs: 2 }
}

fn run(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_grapevine-sim"))
        .arg("run")
        .args(arguments)
        .output()
        .expect("the executable was built")
}

#[test]
fn no_acknowledged_line_is_lost_and_every_seed_replays_event_by_event() {
    let found =
        hunt(&["lone-node", "--minutes", "0.7", "--events", "12"], true).run(0..5, true, &|_, _| ()).unwrap();
    assert_eq!(found, []);
}

/// At every one: `grapevine-sim sweep lone-node`.
#[test]
fn the_power_may_go_at_any_disk_operation() {
    let arguments = ["lone-node", "--minutes", "0.3", "--events", "0"];
    assert_eq!(hunt(&arguments, false).sweep(1, 23, &|_, _| ()).unwrap(), []);
    let lies = [&arguments[..], &["--canary", "answers-unsynced"]].concat();
    let found = hunt(&lies, false).sweep(1, 23, &|_, _| ()).unwrap();
    assert!(!found.is_empty(), "a node that answers before it syncs is found out");
}

#[test]
fn planted_bugs_are_found() {
    for canary in ["syncs-lie", "folder-syncs-lie", "puts-lie"] {
        let hunt = hunt(&["lone-node", "--minutes", "0.2", "--events", "3", "--canary", canary], false);
        let found = hunt.run(0..2, true, &|_, _| ()).unwrap();
        let broken = |(_, verdict): &(u64, Verdict)| matches!(verdict, Verdict::Broken(_));
        assert!(found.iter().any(broken), "{canary}: {found:?}");
    }
}

#[test]
fn first_line_says_how_to_see_it_again() {
    let arguments = ["lone-node", "--minutes", "0.03", "--events", "2", "--seed", "7", "--skip", "1"];
    let output = run(&arguments);
    let text = String::from_utf8(output.stdout).unwrap();
    let first = text.lines().next().unwrap();
    let (_, command) = first.split_once("replay with: grapevine-sim run ").unwrap();
    let again = run(&command.split(' ').collect::<Vec<_>>());
    assert_eq!(text, String::from_utf8(again.stdout).unwrap());
    assert!(text.lines().last().unwrap().starts_with("held hash="), "{text}");
    assert!(first.starts_with("seed 7, commit ") && !text.contains("#1:"), "{text}");
}

#[test]
fn keeping_a_trace_changes_nothing_of_a_run() {
    let dir = tempfile::tempdir().unwrap();
    let trace = dir.path().join("trace");
    let last_line = |arguments: &[&str]| {
        let output = run(&[&["--seed", "3", "--minutes", "0.5"], arguments].concat());
        String::from_utf8(output.stdout).unwrap().lines().last().unwrap().to_owned()
    };
    assert_eq!(last_line(&["--trace", trace.to_str().unwrap()]), last_line(&[]));
}

#[test]
fn faults_that_do_not_matter_are_left_out() {
    let hunt = hunt(&["lone-node", "--minutes", "0.1", "--events", "3", "--canary", "puts-lie"], false);
    assert_eq!(hunt.shrink(1, 3).unwrap(), [0, 1, 2], "this bug needs no fault at all");
}
