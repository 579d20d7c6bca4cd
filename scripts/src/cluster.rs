//! `cargo xtask cluster`: three nodes on this machine, to try things with.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::sleep;

use crate::run::{command, run, target_dir};

/// Ports of the first node; each next node has the next.
const HTTP_PORT: u16 = 3100;
const PEER_PORT: u16 = 3200;
const NODES: u16 = 3;
/// How often nodes are looked at.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// How long nodes may take to pack what they hold when they stop.
const STOP_LOOKS_MAX: u32 = 300;

/// Builds the binary, starts the nodes where they were the last time, and ends them on Ctrl-C.
pub(crate) fn cluster(options: &[&str]) -> Result<()> {
    let profile = match options {
        [] => "debug",
        ["--release"] => "release",
        _ => bail!("unknown options `{}`; there is only --release", options.join(" ")),
    };
    let mut build = command("cargo", &["build", "--package", "grapevine"]);
    run(build.args(options))?;
    let target = target_dir();
    let binary = target.join(profile).join("grapevine");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(run_nodes(&binary, &target.join("cluster")))
}

async fn run_nodes(binary: &Path, dir: &Path) -> Result<()> {
    let mut signals = [SignalKind::interrupt(), SignalKind::terminate()].map(signal);
    let [Ok(interrupt), Ok(terminate)] = &mut signals else { bail!("cannot wait for Ctrl-C") };
    std::fs::create_dir_all(dir)?;
    let token = token(binary, &data_dir(dir, 1), &peer_listen(1))?;
    let mut nodes = Vec::new();
    for number in 1..=NODES {
        nodes.push(start(binary, dir, &token, number)?);
    }
    tell(binary, dir);
    let ended = tokio::select! {
        _ = interrupt.recv() => Ok(()),
        _ = terminate.recv() => Ok(()),
        number = first_to_end(&mut nodes) => {
            Err(anyhow::anyhow!("node {number} ended; see {}", log(dir, number).display()))
        }
    };
    stop(&mut nodes).await?;
    ended
}

fn data_dir(dir: &Path, number: u16) -> PathBuf {
    dir.join(format!("node-{number}"))
}

fn log(dir: &Path, number: u16) -> PathBuf {
    dir.join(format!("node-{number}.log"))
}

fn peer_listen(number: u16) -> String {
    format!("127.0.0.1:{}", PEER_PORT + number - 1)
}

/// The join token of a cluster whose first node is here: made the first time, printed again later.
pub(crate) fn token(binary: &Path, first: &Path, peer_listen: &str) -> Result<String> {
    let word = if first.join("cluster/key").exists() { "token" } else { "init" };
    let mut command = Command::new(binary);
    command.args(["cluster", word, "--peer-listen", peer_listen, "--data-dir"]).arg(first);
    let output = command.output().with_context(|| format!("start `{}`", binary.display()))?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8(output.stdout)?.trim_end().to_owned())
}

fn start(binary: &Path, dir: &Path, token: &str, number: u16) -> Result<Child> {
    let mut command = Command::new(binary);
    command
        .args(["serve", "--name", &format!("node-{number}"), "--peer-listen", &peer_listen(number)])
        .args(["--http-listen", &format!("127.0.0.1:{}", HTTP_PORT + number - 1)])
        .args(["--chunk-store", &format!("file://{}", dir.join("packs").display()), "--data-dir"])
        .arg(data_dir(dir, number));
    if number > 1 {
        command.env("GRAPEVINE_CLUSTER_JOIN", token);
    }
    let log = File::create(log(dir, number))?;
    let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn();
    child.with_context(|| format!("start `{}`", binary.display()))
}

fn tell(binary: &Path, dir: &Path) {
    let (binary, dir) = (binary.display(), dir.display());
    println!(
        "\
Three nodes are starting: http://127.0.0.1:3100, :3101 and :3102, in {dir}. In another terminal:

  {binary} ring
  echo 'hello from node 1' | {binary} push --label app=try
  {binary} query --addr http://127.0.0.1:3102 '{{app=\"try\"}}'
  kill -9 $(pgrep -f 'name node-2')

The ring for people: http://127.0.0.1:3100/ring. What nodes say: tail -f {dir}/node-*.log
Ctrl-C ends them; the next time they go on where they were. To begin anew, remove {dir}."
    );
}

/// Waits until a node ends by itself. One that somebody killed on purpose leaves two to look at.
async fn first_to_end(nodes: &mut [Child]) -> u16 {
    loop {
        for (number, node) in (1..).zip(&mut *nodes) {
            if let Ok(Some(status)) = node.try_wait()
                && status.code().is_some()
            {
                return number;
            }
        }
        sleep(LOOK_EVERY).await;
    }
}

/// Asks the nodes to end, and waits until they have.
async fn stop(nodes: &mut [Child]) -> Result<()> {
    println!("ending");
    for node in &mut *nodes {
        if node.try_wait()?.is_none() {
            kill_process(Pid::from_child(node), Signal::TERM)?;
        }
    }
    for node in nodes {
        let mut looks = 0;
        while node.try_wait()?.is_none() {
            looks += 1;
            if looks > STOP_LOOKS_MAX {
                node.kill()?;
            }
            sleep(LOOK_EVERY).await;
        }
    }
    Ok(())
}
