//! What moves when a node joins so many: index and heads of the streams that become its own, and no pack.
//!
//! Real nodes with three replicas and one directory for packs. Each of many streams has a chunk in a pack and lines in a
//! head. What the joiner holds once it is active is set beside what all members held together before: it is to be a part
//! of one in so many, and a tenth more at most.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use grapevine_storage::testdata::LogLines;
use tokio::time::sleep;

use super::cluster::{Cluster, LOOK_EVERY, LOOKS_MAX, until_active, wait_until};
use super::server::{Server, Target};
use super::{Options, stored_bytes, wall_now_ns};

/// Streams: so many that chance does not make the joiner's part.
const STREAMS: usize = 12_000;
/// Streams of a push.
const STREAMS_A_PUSH: usize = 500;
/// Lines of a stream in its chunk, and as many in its head.
const LINES: usize = 4;
/// Copies of what is not in packs, and of what is known of those that are.
const REPLICAS: usize = 3;
/// The most that may move, as a part of one in so many.
const GOAL: f64 = 1.1;

/// Looks in a row that see the same: longer than two rounds of repair.
const STILL: u32 = 16;

/// What some nodes hold.
#[derive(Clone, Copy, Debug, Default)]
struct Held {
    index_bytes: u64,
    head_bytes: u64,
    head_streams: u64,
}

/// Lets a node join so many and prints what moved.
pub(super) async fn measure(options: &Options, nodes: usize) -> Result<()> {
    ensure!(nodes > 0, "--join wants the number of nodes that are there before");
    let folder = tempfile::tempdir().context("make a folder for the data")?;
    let packs = folder.path().join("packs");
    let mut cluster = Cluster::new(folder.path(), &packs, REPLICAS);
    let mut servers = Vec::new();
    for _ in 0..nodes {
        servers.push(cluster.start_next(options).await?);
        until_active(&servers).await?;
    }
    load(&servers).await?;
    let stored = names(&packs)?;
    let dirs =
        |numbers: std::ops::RangeInclusive<usize>| numbers.map(|n| cluster.data_dir(n)).collect::<Vec<_>>();
    let (before, own) = (dirs(1..=nodes), dirs(nodes + 1..=nodes + 1));
    let all = held(&servers[0].target, &before, |_| true).await?;
    servers.push(cluster.start_next(options).await?);
    until_active(&servers).await?;
    let joiner = format!("node-{}", nodes + 1);
    until_handed_over(&servers[nodes].target, &joiner).await?;
    wait_until(&servers, &[("grapevine_replica_deficit", 0.0)]).await?;
    let moved = held(&servers[nodes].target, &own, |name| name == joiner).await?;
    let kept = names(&packs)?;
    print(nodes, all, moved);
    println!(
        "| packs in the store, of which new or gone | {} | {} |",
        stored.len(),
        stored.symmetric_difference(&kept).count()
    );
    let metric = async |server: &Server, name: &str| server.target.metric(name).await;
    let mut fetched = 0.0;
    for server in &servers {
        fetched += metric(server, "grapevine_fetched_pack_bytes_total").await?;
    }
    // A worker that has moved nothing has no such metric.
    let read =
        metric(&servers[nodes], r#"grapevine_worker_bytes_total{worker="learn"}"#).await.unwrap_or_default();
    println!("| bytes of packs fetched; of packs' tails read by the joiner | {fetched:.0} | {read:.0} |");
    ensure!(fetched == 0.0 && stored == kept, "packs have moved");
    let worst =
        part(moved.index_bytes, all.index_bytes, nodes).max(part(moved.head_bytes, all.head_bytes, nodes));
    ensure!(worst <= GOAL, "{worst:.2} of one in {nodes} has moved, of {GOAL} at most");
    Ok(())
}

/// Waits until the joiner has its part of the heads: what it holds has not grown for a while.
async fn until_handed_over(target: &Target, joiner: &str) -> Result<()> {
    let (mut streams, mut still) = (0, 0);
    for _ in 0..LOOKS_MAX {
        let now = held(target, &[], |name| name == joiner).await?.head_streams;
        still = if now == streams { still + 1 } else { 0 };
        streams = now;
        if streams > 0 && still == STILL {
            return Ok(());
        }
        sleep(LOOK_EVERY).await;
    }
    bail!("the heads of the joiner do not settle; they have {streams} streams")
}

/// What has moved, in parts of one in so many.
fn part(moved: u64, all: u64, nodes: usize) -> f64 {
    moved as f64 / all as f64 * nodes as f64
}

fn print(nodes: usize, all: Held, moved: Held) {
    println!("\n## a node joins {nodes}: {STREAMS} streams, {REPLICAS} replicas\n");
    println!("| | all before | the joiner | × {nodes} ÷ all, goal |\n| --- | --- | --- | --- |");
    for (what, all, moved) in [
        ("index, KB", all.index_bytes >> 10, moved.index_bytes >> 10),
        ("heads, KB", all.head_bytes >> 10, moved.head_bytes >> 10),
        ("streams in heads", all.head_streams, moved.head_streams),
    ] {
        println!("| {what} | {all} | {moved} | {:.2} ≤ {GOAL} |", part(moved, all, nodes));
    }
}

/// Half of the lines in packs, and half in heads, with all their owners.
async fn load(servers: &[Server]) -> Result<()> {
    let mut lines = LogLines::new(0, 1);
    let now = wall_now_ns();
    push(servers, &mut lines, now).await?;
    servers[0].target.flush().await?;
    let empty = [("grapevine_head_open_bytes", 0.0), ("grapevine_head_sealed_bytes", 0.0)];
    wait_until(servers, &empty).await?;
    push(servers, &mut lines, now + 1_000_000_000).await?;
    wait_until(servers, &[("grapevine_replica_deficit", 0.0), ("grapevine_spool_packs", 0.0)]).await
}

async fn push(servers: &[Server], lines: &mut LogLines, start: i64) -> Result<()> {
    for (n, first) in (0..STREAMS).step_by(STREAMS_A_PUSH).enumerate() {
        let mut body = String::from(r#"{"streams":["#);
        for stream in first..STREAMS.min(first + STREAMS_A_PUSH) {
            let comma = if stream == first { "" } else { "," };
            write!(
                body,
                r#"{comma}{{"stream":{{"site":"bench","service_name":"service-{stream}"}},"values":["#
            )?;
            for line in 0..LINES {
                let comma = if line == 0 { "" } else { "," };
                let text = serde_json::to_string(&lines.next_entry().1)?;
                write!(body, r#"{comma}["{}",{text}]"#, start + line as i64)?;
            }
            body.push_str("]}");
        }
        body.push_str("]}");
        servers[n % servers.len()].target.push_json(body).await?;
    }
    Ok(())
}

/// What members hold, by their folders and by what a node tells of them.
async fn held(target: &Target, folders: &[PathBuf], of: impl Fn(&str) -> bool) -> Result<Held> {
    let mut held = Held::default();
    for folder in folders {
        held.index_bytes += stored_bytes(&folder.join("index"))?;
    }
    let ring = target.get("/ring", &[]).await?;
    let members = ring["members"].as_array().context("members of the ring")?;
    for member in members.iter().filter(|member| member["name"].as_str().is_some_and(&of)) {
        let load = &member["load"];
        held.head_bytes += load["head_bytes"].as_u64().with_context(|| format!("what {member} holds"))?;
        held.head_streams += load["head_streams"].as_u64().unwrap_or_default();
    }
    Ok(held)
}

/// The names of all packs.
fn names(folder: &Path) -> Result<BTreeSet<PathBuf>> {
    let mut found = BTreeSet::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            found.append(&mut names(&path)?);
        } else {
            found.insert(path);
        }
    }
    Ok(found)
}
