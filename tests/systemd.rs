//! The unit under a booted systemd: what it says when, how it stops, what brings it back, and what does not.

use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::harness::files::packs;
use crate::harness::machine::Machine;
use crate::harness::node::GRAPEVINE;
use crate::harness::until;

/// The most that `systemd-analyze security` may find, in tenths: 10 is "safe" up to 20, of 100.
const EXPOSURE_MAX: &str = "--threshold=15";

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("scripts/systemd")
}

fn active(machine: &Machine) {
    until("a unit that is active", || (machine.property("ActiveState") == "active").then_some(()));
}

fn lines(machine: &Machine) -> String {
    machine.output_of(&["/usr/local/bin/grapevine", "query", "--output=raw", r#"{app="boot"}"#])
}

#[test]
fn systemd_starts_stops_and_restarts_the_unit_without_losing_a_line() {
    let Some(machine) = Machine::boot(&folder().join("grapevine.service")) else { return };
    // Returns once the node has said READY=1.
    machine.output_of(&["systemctl", "start", "grapevine"]);
    assert_eq!(machine.property("StatusText"), "answers requests");
    let shell = "echo one line | grapevine push --label app=boot";
    machine.output_of(&["sh", "-c", shell]);

    let pid = machine.property("MainPID");
    machine.output_of(&["systemctl", "kill", "--signal=KILL", "--kill-whom=main", "grapevine"]);
    until("another process", || (machine.property("MainPID") != pid).then_some(()));
    active(&machine);
    assert_eq!((machine.property("NRestarts").as_str(), lines(&machine).as_str()), ("1", "one line\n"));

    let stored = machine.path("/var/lib/private/grapevine/packs");
    assert_eq!(packs(&stored).len(), 0, "the line is in the log alone");
    machine.output_of(&["systemctl", "stop", "grapevine"]);
    let ended = ["Result", "ExecMainStatus", "ActiveState"].map(|name| machine.property(name));
    assert_eq!(ended, ["success", "0", "inactive"], "{}", machine.journal());
    assert_eq!(packs(&stored).len(), 1, "SIGTERM packs what heads hold");

    machine.output_of(&["systemctl", "start", "grapevine"]);
    assert_eq!(lines(&machine), "one line\n");
}

#[test]
fn systemd_does_not_try_again_where_the_configuration_cannot_be_used() {
    let Some(machine) = Machine::boot(&folder().join("grapevine.service")) else { return };
    std::fs::create_dir(machine.path("/etc/grapevine")).unwrap();
    std::fs::write(machine.path("/etc/grapevine/environment"), "GRAPEVINE_TENANCI=single\n").unwrap();
    let started = machine.run(&["systemctl", "start", "grapevine"]);
    assert!(!started.status.success());
    let ended = ["ActiveState", "ExecMainStatus", "NRestarts"].map(|name| machine.property(name));
    assert_eq!(ended, ["failed", "2", "0"], "{}", machine.journal());
    assert!(machine.journal().contains("did you mean `GRAPEVINE_TENANCY`?"), "{}", machine.journal());
}

#[test]
fn systemd_takes_the_unit_and_finds_it_shut_in() {
    let folder = folder();
    let unit = std::fs::read_to_string(folder.join("grapevine.service")).unwrap();
    assert!(unit.contains("/usr/local/bin/grapevine serve "));
    // systemd looks for the program; the one under test stands in for the one that is installed.
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("grapevine.service");
    std::fs::write(&path, unit.replace("/usr/local/bin/grapevine", GRAPEVINE)).unwrap();
    let drop_ins = dir.path().join("grapevine.service.d");
    std::fs::create_dir(&drop_ins).unwrap();
    for name in ["cluster.conf", "s3.conf"] {
        std::fs::copy(folder.join("grapevine.service.d").join(name), drop_ins.join(name)).unwrap();
    }
    for arguments in [
        ["verify", "--man=no", "--generators=no"].as_slice(),
        &["security", "--offline=yes", "--no-pager", EXPOSURE_MAX],
    ] {
        let Ok(output) = Command::new("systemd-analyze").args(arguments).arg(&path).output() else {
            crate::harness::tools::skipped("systemd-analyze is not installed: the unit goes unverified");
            return;
        };
        let complaints = String::from_utf8_lossy(&output.stderr);
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && !complaints.contains("grapevine"), "{complaints}{said}");
    }
}
