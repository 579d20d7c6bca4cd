//! `cargo xtask check`: everything that must hold before a change lands.

use anyhow::{Result, ensure};

use crate::run::{command, output, present, run, tools_dir};
use crate::tidy;

/// Who must not know whom: the first package must not depend on the second.
const ARROWS_FORBIDDEN: [(&str, &str); 9] = [
    ("grapevine-gossip", "grapevine-storage"),
    ("grapevine-gossip", "grapevine-logql"),
    ("grapevine-gossip", "grapevine"),
    ("grapevine-storage", "grapevine-gossip"),
    ("grapevine-storage", "grapevine-logql"),
    ("grapevine-storage", "grapevine"),
    ("grapevine-logql", "grapevine-storage"),
    ("grapevine-logql", "grapevine-gossip"),
    ("grapevine-logql", "tokio"),
];

/// Runs all checks, the quick ones first.
pub(crate) fn check() -> Result<()> {
    cargo(&["fmt", "--all", "--check"])?;
    tidy::check()?;
    arrows()?;
    cargo(&["clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"])?;
    docs()?;
    deny()?;
    // The simulator apart: it turns on features that the users' binary must not have.
    cargo_test(&["test", "--workspace", "--exclude", "grapevine-simulations", "--locked"])?;
    cargo_test(&["test", "--package", "grapevine-simulations", "--locked"])
}

/// Simulates so many seeds of three nodes under every fault for two minutes each, twice, and compares all events.
pub(crate) fn simulate(seeds: &str) -> Result<()> {
    let seeds = format!("0..{seeds}");
    let build = ["run", "--release", "--quiet", "--locked", "--package", "grapevine-simulations", "--"];
    let hunt = ["hunt", "three-nodes", "--minutes", "2", "--twice", "--seeds", &seeds];
    cargo(&[&build[..], &hunt[..]].concat())
}

fn cargo(arguments: &[&str]) -> Result<()> {
    run(&mut command("cargo", arguments))
}

fn cargo_test(arguments: &[&str]) -> Result<()> {
    run(command("cargo", arguments).env("GRAPEVINE_TOOLS", tools_dir()))
}

fn docs() -> Result<()> {
    let arguments = ["doc", "--workspace", "--no-deps", "--locked", "--document-private-items"];
    run(command("cargo", &arguments).env("RUSTDOCFLAGS", "-D warnings"))
}

/// Licences, bans and sources; where the tool is installed, since building it takes longer than the check.
fn deny() -> Result<()> {
    if !present("cargo-deny") {
        eprintln!("cargo-deny is not installed: licences, bans and sources go unchecked");
        return Ok(());
    }
    cargo(&["deny", "--offline", "check", "bans", "licenses", "sources"])
}

fn arrows() -> Result<()> {
    for (package, forbidden) in ARROWS_FORBIDDEN {
        let arguments = ["tree", "--locked", "--edges", "normal,build", "-p", package, "-i", forbidden];
        let (depends, tree) = output(&mut command("cargo", &arguments))?;
        ensure!(!depends || tree.trim().is_empty(), "`{package}` must not depend on `{forbidden}`:\n{tree}");
    }
    Ok(())
}
