//! `grapevine demo`, as the README's first command starts it: over files, over nothing, and as a user without rights.

use std::path::Path;
use std::process::{Command, Stdio};

use tempfile::TempDir;

/// Runs a demo to its end in a folder of its own, and gives back what it printed.
fn demo(folder: &Path, logs: &Path) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_grapevine"));
    command.args(["demo", "--once", "--http-listen=127.0.0.1:0", "--logs"]).arg(logs);
    command.env_clear().env("XDG_CACHE_HOME", folder).env("PATH", "/usr/bin:/bin");
    let output = command.stdin(Stdio::null()).output().unwrap();
    let complaints = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{complaints}");
    assert_eq!(complaints, "", "a demo has nothing to complain about");
    String::from_utf8(output.stdout).unwrap()
}

fn check(printed: &str, parts: &[&str]) {
    assert_eq!(printed.matches("\n  took ").count(), 3, "three queries:\n{printed}");
    for part in parts {
        assert!(printed.contains(part), "`{part}` is missing:\n{printed}");
    }
}

#[test]
fn a_demo_over_files_answers_from_them_and_a_second_one_finds_the_first_ones_lines_once() {
    let dir = TempDir::new().unwrap();
    let logs = dir.path().join("logs");
    std::fs::create_dir(&logs).unwrap();
    let lines: String =
        (0..60).map(|n| format!("2026-01-01T10:{n:02}:00Z worker{n:02} request timed out\n")).collect();
    std::fs::write(logs.join("app.log"), lines).unwrap();
    // The needle comes from the thirty-second line; the errors are counted by file.
    let parts =
        ["Fed it 60 lines", r#"|= "worker31""#, "worker31 request timed out", " 60 lines  ", "app.log"];
    check(&demo(dir.path(), &logs), &parts);
    check(&demo(dir.path(), &logs), &parts);
    let cache = dir.path().join("grapevine/demo/packs");
    assert!(cache.is_dir(), "the demo keeps its packs in the user's cache");
}

#[test]
fn a_machine_without_logs_gets_made_up_ones() {
    let dir = TempDir::new().unwrap();
    let printed = demo(dir.path(), &dir.path().join("nowhere"));
    check(&printed, &["No logs that you may read", "sum by (unit)", "made-up"]);
}
