//! The page of a run, in a real browser.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should say where")]
#![allow(unreachable_pub, reason = "shared with the tests of the node")]

#[path = "../../tests/harness/browser.rs"]
mod browser;
#[path = "../../tests/harness/tools.rs"]
mod tools;

use std::process::Command;

use browser::look_at;

#[test]
fn a_run_drawn_as_a_page_can_be_read_in_a_browser_without_anything_else() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("run.html");
    let mut command = Command::new(env!("CARGO_BIN_EXE_grapevine-sim"));
    command.args([
        "explain",
        "two-flaky-shops-and-a-head-office",
        "--minutes",
        "0.3",
        "--seed",
        "7",
        "--html",
    ]);
    let output = command.arg(&path).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    let url = format!("file://{}", path.display());
    for width in [1280, 700] {
        let Some(seen) = look_at(&url, width) else { return };
        assert_eq!(seen.title, "Grapevine, simulated");
        assert_eq!(seen.requests, [&*url], "it needs nothing but itself");
        for heading in ["Nodes", "Who leads which range of the ring", "What happened"] {
            assert!(seen.headings.iter().any(|shown| shown == heading), "{heading}: {:?}", seen.headings);
        }
        assert!(seen.text.contains("all promises were kept"), "{}", seen.text);
        assert!(seen.rows > 10 && seen.shapes > 500 && seen.explained > 256, "{seen:?}");
        assert_eq!(seen.cut, [""; 0], "text is cut off or covered");
        assert!(!seen.overflows, "{width}");
    }
}
