//! What it costs to keep everything thrice: three nodes beside one, under the same load, asked the same.
//!
//! The three keep one copy of each pack, in a directory they share. Both sides run to the end, and each query is asked
//! of one and of the other in turn, so that a noisy machine disturbs both alike.

use std::net::UdpSocket;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use tokio::time::{Instant, sleep};

use super::server::{Server, Target};
use super::{
    Options, Plan, Pushed, Question, one_app, parameters, push_all, questions, stored_bytes, summary,
};
use crate::cluster::token;

/// Members, and copies of what is not yet in packs.
const NODES: usize = 3;
/// Rounds of each query; the median counts.
const ROUNDS: usize = 3;
/// Cheap and heavy queries are repeated so many times more often than with one node: processes' clocks have steps of
/// 10 ms each.
const REPEATS_MORE: u32 = 2;
/// How often the nodes are looked at, and how long they may take to settle.
pub(super) const LOOK_EVERY: Duration = Duration::from_millis(500);
pub(super) const LOOKS_MAX: u32 = 120;
/// What nodes show of their heads is no older.
const GAUGES_AGE_MAX: Duration = Duration::from_secs(2);
/// How long idle nodes are watched: what they use then is in all other figures too.
const IDLE: Duration = Duration::from_secs(10);

/// What shows whether owners kept up with each other, and that one of them compresses for all.
const WATCHED: [&str; 4] = [
    "grapevine_replica_lags_total",
    "grapevine_replica_failures_total",
    "grapevine_repaired_bytes_total",
    "grapevine_compressed_text_bytes_total",
];

/// Servers that hold the same load.
struct Side {
    name: &'static str,
    servers: Vec<Server>,
}

/// What it took one side to take the load in.
struct Ingested {
    pushed: Pushed,
    cpu_s: Vec<f64>,
    peak_rss_mib: Vec<f64>,
    pack_bytes: u64,
}

/// Measures both sides and prints tables.
pub(super) async fn measure(options: &Options) -> Result<()> {
    let folder = tempfile::tempdir().context("make a folder for the data")?;
    let plan = Plan::new();
    println!("\n## one node and {NODES}: {}", plan.title(options));
    let (one_packs, all_packs) = (folder.path().join("one/packs"), folder.path().join("all/packs"));
    let one = Side { name: "one node", servers: vec![start_one(options, folder.path(), &one_packs).await?] };
    let one_in = one.ingest(&plan, options, &one_packs).await?;
    let all = start_all(options, folder.path(), &all_packs).await?;
    let all = Side { name: "three nodes", servers: all };
    let all_in = all.ingest(&plan, options, &all_packs).await?;
    print_ingest(&one_in, &all_in);
    for metric in WATCHED {
        println!("| `{metric}` | | {} | |", shown(&all.metric(metric).await?, 0));
    }
    let (idle_one, idle_all) = (one.idle().await?, all.idle().await?);
    println!("| idle, CPU ms a second | {} | {} | |", shown(&idle_one, 1), shown(&idle_all, 1));
    let questions = questions(one_app(&plan.load(options)?));
    ask(&one, &all, &questions, &plan).await
}

fn store(packs: &Path) -> String {
    format!("--chunk-store=file://{}", packs.display())
}

async fn start_one(options: &Options, folder: &Path, packs: &Path) -> Result<Server> {
    let mut extra = vec![store(packs)];
    extra.extend_from_slice(&options.extra);
    Server::start(&options.binary(), folder.join("one/node"), &extra).await
}

/// Starts the cluster and waits until each node knows all.
async fn start_all(options: &Options, folder: &Path, packs: &Path) -> Result<Vec<Server>> {
    let all = folder.join("all");
    let mut cluster = Cluster::new(&all, packs, NODES);
    let mut servers = Vec::new();
    for _ in 1..=NODES {
        servers.push(cluster.start_next(options).await?);
    }
    until_active(&servers).await?;
    Ok(servers)
}

/// Waits until all servers, and nobody else, are active members that all see.
pub(super) async fn until_active(servers: &[Server]) -> Result<()> {
    let nodes = servers.len() as f64;
    let whole = [(r#"grapevine_members{state="active"}"#, nodes), ("grapevine_members_live", nodes)];
    wait_until(servers, &whole).await
}

/// A cluster whose nodes start one after the other and share a directory for packs.
pub(super) struct Cluster<'a> {
    folder: &'a Path,
    packs: &'a Path,
    replicas: usize,
    nodes: usize,
    token: Option<String>,
}

impl<'a> Cluster<'a> {
    /// Nobody yet.
    pub(super) fn new(folder: &'a Path, packs: &'a Path, replicas: usize) -> Self {
        Cluster { folder, packs, replicas, nodes: 0, token: None }
    }

    /// Where a node, counted from 1 on, keeps its things.
    pub(super) fn data_dir(&self, number: usize) -> PathBuf {
        self.folder.join(format!("node-{number}"))
    }

    /// Starts one more node, and waits until it is ready.
    pub(super) async fn start_next(&mut self, options: &Options) -> Result<Server> {
        self.nodes += 1;
        let data_dir = self.data_dir(self.nodes);
        let peer_listen = UdpSocket::bind("127.0.0.1:0")?.local_addr()?.to_string();
        let mut extra = vec![store(self.packs), format!("--name=node-{}", self.nodes)];
        extra.push(format!("--peer-listen={peer_listen}"));
        extra.push(format!("--replication-factor={}", self.replicas));
        match &self.token {
            Some(token) => extra.push(format!("--join={token}")),
            None => self.token = Some(token(options.binary().as_ref(), &data_dir, &peer_listen)?),
        }
        extra.extend_from_slice(&options.extra);
        Server::start(&options.binary(), data_dir, &extra).await
    }
}

/// Waits until the metrics of all servers have these values at the same look.
pub(super) async fn wait_until(servers: &[Server], wanted: &[(&str, f64)]) -> Result<()> {
    let mut unmet = String::new();
    for _ in 0..LOOKS_MAX {
        unmet.clear();
        for (number, server) in (1..).zip(servers) {
            for (metric, value) in wanted {
                let is = server.target.metric(metric).await?;
                if is != *value {
                    unmet.push_str(&format!("; node {number}: `{metric}` is {is}, not {value}"));
                }
            }
        }
        if unmet.is_empty() {
            return Ok(());
        }
        sleep(LOOK_EVERY).await;
    }
    bail!("the nodes do not settle{unmet}")
}

impl Side {
    /// A metric of each.
    async fn metric(&self, name: &str) -> Result<Vec<f64>> {
        let mut values = Vec::new();
        for server in &self.servers {
            values.push(server.target.metric(name).await?);
        }
        Ok(values)
    }

    fn cpu_s(&self) -> Result<Vec<f64>> {
        self.servers.iter().map(|server| server.cpu_s().context("a node has ended")).collect()
    }

    /// CPU seconds of each since then.
    fn cpu_s_since(&self, before: &[f64]) -> Result<Vec<f64>> {
        Ok(self.cpu_s()?.iter().zip(before).map(|(after, before)| after - before).collect())
    }

    /// Pushes the load through all nodes in turn, and waits until everything is in packs that all know.
    async fn ingest(&self, plan: &Plan, options: &Options, packs: &Path) -> Result<Ingested> {
        let before = self.cpu_s()?;
        let targets: Vec<Target> = self.servers.iter().map(|server| server.target.clone()).collect();
        let pushed = push_all(&targets, plan.load(options)?).await?;
        // A push is answered before all owners have it: the one that packs it may get it after the first flush.
        for _ in 0..2 {
            targets[0].flush().await?;
            sleep(GAUGES_AGE_MAX).await;
        }
        let settled = [
            ("grapevine_head_open_bytes", 0.0),
            ("grapevine_head_sealed_bytes", 0.0),
            ("grapevine_replica_deficit", 0.0),
            ("grapevine_spool_packs", 0.0),
        ];
        wait_until(&self.servers, &settled).await?;
        let rss = self.servers.iter().map(|server| server.peak_rss_mib().unwrap_or(f64::NAN));
        Ok(Ingested {
            pushed,
            cpu_s: self.cpu_s_since(&before)?,
            peak_rss_mib: rss.collect(),
            pack_bytes: stored_bytes(packs)?,
        })
    }

    /// CPU milliseconds a second of nodes that have nothing to do.
    async fn idle(&self) -> Result<Vec<f64>> {
        let before = self.cpu_s()?;
        sleep(IDLE).await;
        let used = self.cpu_s_since(&before)?;
        Ok(used.iter().map(|s| s * 1000.0 / IDLE.as_secs_f64()).collect())
    }

    /// Asks the first node again and again; CPU ms of each node and wall ms, a query.
    async fn ask(&self, question: &Question, plan: &Plan) -> Result<(Vec<f64>, f64, String)> {
        let parameters = parameters(question, plan.start_ns, plan.end_ns);
        let target = &self.servers[0].target;
        let answer = target.query(&parameters).await?;
        let repeats = question.repeats * REPEATS_MORE;
        let before = self.cpu_s()?;
        let began = Instant::now();
        for _ in 0..repeats {
            let again = target.query(&parameters).await?;
            let warnings = &again["warnings"];
            let quiet = warnings.as_array().map_or(warnings.is_null(), Vec::is_empty);
            ensure!(quiet, "{} answered `{}` with {warnings}", self.name, question.name);
        }
        let wall = began.elapsed().as_secs_f64() * 1000.0 / f64::from(repeats);
        let cpu = self.cpu_s_since(&before)?;
        let cpu = cpu.iter().map(|s| s * 1000.0 / f64::from(repeats)).collect();
        Ok((cpu, wall, summary(&answer)))
    }
}

fn print_ingest(one: &Ingested, all: &Ingested) {
    let per_gb = |side: &Ingested| side.cpu_s.iter().map(|s| s / side.pushed.gb()).collect::<Vec<f64>>();
    let (gb, lines) = (one.pushed.gb(), one.pushed.lines);
    println!("| ingest of {gb:.3} GB, {lines} lines | one node | three nodes | ratio, goal |");
    println!("| --- | --- | --- | --- |");
    let (cpu, cpus) = (per_gb(one), per_gb(all));
    let ratio = sum(&cpus) / sum(&cpu);
    println!("| CPU s per GB, until settled | {} | {} | {ratio:.2} ≤ 1.8 |", shown(&cpu, 2), shown(&cpus, 2));
    println!("| wall s, pushes alone | {:.1} | {:.1} | |", one.pushed.wall_s, all.pushed.wall_s);
    println!("| peak RSS, MiB | {} | {} | |", shown(&one.peak_rss_mib, 0), each(&all.peak_rss_mib, 0));
    let (bytes, shared) = (one.pack_bytes as f64 / 1e6, all.pack_bytes as f64 / 1e6);
    println!("| packs in the store, MB | {bytes:.2} | {shared:.2} | {:.3} ≤ 1.02 |", shared / bytes);
}

/// Asks both sides each question, and prints a table.
async fn ask(one: &Side, all: &Side, questions: &[Question], plan: &Plan) -> Result<()> {
    println!(
        "\n| query, of one of the nodes | one node, CPU / wall ms | three nodes | ratio, CPU | answer |"
    );
    println!("| --- | --- | --- | --- | --- |");
    for question in questions {
        let (mut alone, mut together) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            alone.push(one.ask(question, plan).await?);
            together.push(all.ask(question, plan).await?);
        }
        let (cpu, wall, answer) = median(alone);
        let (cpus, walls, same) = median(together);
        ensure!(answer == same, "`{}`: one node answers {answer}, three answer {same}", question.name);
        let ratio = sum(&cpus) / sum(&cpu);
        println!(
            "| {} | {} / {wall:.0} | {} / {walls:.0} | {ratio:.2} | {answer} |",
            question.name,
            shown(&cpu, 1),
            shown(&cpus, 1)
        );
    }
    Ok(())
}

/// The round in the middle by CPU.
fn median(mut rounds: Vec<(Vec<f64>, f64, String)>) -> (Vec<f64>, f64, String) {
    rounds.sort_by(|a, b| sum(&a.0).total_cmp(&sum(&b.0)));
    rounds.swap_remove(rounds.len() / 2)
}

fn sum(values: &[f64]) -> f64 {
    values.iter().sum()
}

fn each(values: &[f64], digits: usize) -> String {
    values.iter().map(|value| format!("{value:.digits$}")).collect::<Vec<_>>().join(" + ")
}

/// One value, or several and their sum.
fn shown(values: &[f64], digits: usize) -> String {
    match values {
        [one] => format!("{one:.digits$}"),
        _ => format!("{} = {:.digits$}", each(values, digits), sum(values)),
    }
}
