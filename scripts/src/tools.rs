//! Fetches what the tests need beyond the Rust toolchain. Does nothing for what is already there.

use std::path::Path;

use anyhow::Result;

use crate::run::{command, present, run, tools_dir};

/// A program that the tests start, and the Debian package that brings it.
const PACKAGES: [(&str, &str); 13] = [
    ("python3", "python3"),
    ("zgrep", "gzip"),
    ("curl", "curl"),
    ("node", "nodejs"),
    ("npm", "npm"),
    ("ip", "iproute2"),
    ("nft", "nftables"),
    ("faketime", "faketime"),
    ("mount", "mount"),
    ("unshare", "util-linux"),
    ("systemd-analyze", "systemd"),
    ("systemd-nspawn", "systemd-container"),
    ("chromium", "chromium"),
];
/// Client libraries that push to a running node in the tests.
const PYTHON_CLIENTS: [&str; 3] = [
    "python-logging-loki==0.3.1",
    "opentelemetry-sdk==1.45.2",
    "opentelemetry-exporter-otlp-proto-http==1.45.2",
];
/// The same for Node.js, and what looks at pages in a browser.
const NODE_PACKAGES: [&str; 3] = ["winston@3.19.0", "winston-loki@6.1.7", "playwright-core@1.60.0"];
/// A real S3 server, small enough to build in CI.
const S3_SERVER: (&str, &str) = ("s3s-fs", "0.14.1");

/// Fetches everything.
pub(crate) fn install() -> Result<()> {
    let tools = tools_dir();
    std::fs::create_dir_all(&tools)?;
    debian_packages()?;
    python_clients(&tools)?;
    node_packages(&tools)?;
    s3_server(&tools)
}

fn debian_packages() -> Result<()> {
    let mut missing: Vec<&str> =
        PACKAGES.iter().filter(|(p, _)| !present(p)).map(|(_, name)| *name).collect();
    let has_venv = command("python3", &["-c", "import venv, ensurepip"]).status();
    if !has_venv.is_ok_and(|status| status.success()) {
        missing.push("python3-venv");
    }
    if missing.is_empty() {
        return Ok(());
    }
    let sudo: &[&str] = if present("sudo") { &["sudo"] } else { &[] };
    let apt = |arguments: &[&str]| {
        let words = [sudo, &["apt-get"], arguments].concat();
        run(command(words[0], &words[1..]).env("DEBIAN_FRONTEND", "noninteractive"))
    };
    apt(&["update", "-q"])?;
    apt(&[&["install", "-q", "-y", "--no-install-recommends"], missing.as_slice()].concat())
}

fn python_clients(tools: &Path) -> Result<()> {
    let venv = tools.join("python");
    if !venv.join("bin/pip").is_file() {
        run(command("python3", &["-m", "venv"]).arg(&venv))?;
    }
    let pip = venv.join("bin/pip");
    let arguments =
        [&["install", "--quiet", "--disable-pip-version-check"], PYTHON_CLIENTS.as_slice()].concat();
    run(&mut command(&pip.to_string_lossy(), &arguments))
}

fn node_packages(tools: &Path) -> Result<()> {
    let prefix = tools.join("node");
    let is_there = |package: &&str| {
        package.rsplit_once('@').is_some_and(|(name, _)| prefix.join("node_modules").join(name).is_dir())
    };
    if NODE_PACKAGES.iter().all(is_there) {
        return Ok(());
    }
    std::fs::create_dir_all(&prefix)?;
    let arguments = [&["install", "--no-audit", "--no-fund", "--silent"], NODE_PACKAGES.as_slice()].concat();
    run(command("npm", &arguments).arg("--prefix").arg(&prefix))
}

fn s3_server(tools: &Path) -> Result<()> {
    let (name, version) = S3_SERVER;
    if tools.join("bin").join(name).is_file() {
        return Ok(());
    }
    let arguments = ["install", name, "--version", version, "--locked", "--features", "binary", "--debug"];
    run(command("cargo", &arguments).arg("--root").arg(tools).arg("--target-dir").arg(tools.join("build")))
}
