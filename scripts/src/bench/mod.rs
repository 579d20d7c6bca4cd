//! `cargo xtask bench`: makes the load, pushes it, asks six queries, prints a table.
//!
//! `--hard` makes the load hard on a store, `--s3` keeps the packs in a real S3 server, `--cold` asks once more with
//! nothing in memory, `--peer URL` does the same to another Loki-compatible server. `--cluster` sets three nodes beside
//! one instead, `--join` weighs what moves when a node joins so many, and `--rebuild` makes so many chunks and lets a node
//! find them that has lost its disk.
//!
//! Figures are CPU seconds of the server's process and its peak memory, which a noisy machine does not
//! disturb as it disturbs wall time; wall times stand beside them.

mod cluster;
mod cold;
mod join;
mod load;
mod rebuild;
mod server;
mod store;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, bail, ensure};
use tokio::sync::Semaphore;

use crate::run::{command, root, run};
use load::{Load, NEEDLE_SUBSTRING, NEEDLE_WORD, SPAN_S, Shape};
use server::{Server, Target};
use store::Store;

/// Pushes under way at once, as from a few agents.
const PUSHES_AT_ONCE: usize = 4;
/// Cheap queries run often enough that the process's clock (10 ms) resolves one.
const REPEATS: u32 = 20;
/// The heavy ones.
const REPEATS_HEAVY: u32 = 3;
/// Text of the load, where the command line does not say.
const TEXT_MB: u64 = 1074;
/// The same where three nodes share two cores with whoever pushes.
const TEXT_MB_CLUSTER: u64 = TEXT_MB / 4;

/// What the command line asks for.
struct Options {
    text_mb: u64,
    shape: Shape,
    /// Set three nodes beside one.
    cluster: bool,
    /// Keep the packs in an S3 server.
    s3: bool,
    /// Ask once more with nothing in memory.
    cold: bool,
    peer: Option<String>,
    peer_pid: Option<u32>,
    /// Only measure how long a node takes to find so many chunks.
    rebuild: Option<usize>,
    /// Only weigh what moves when a node joins so many.
    join: Option<usize>,
    /// Measure this binary instead of building one.
    binary: Option<String>,
    extra: Vec<String>,
}

impl Options {
    /// The program that is measured.
    fn binary(&self) -> String {
        let built = || root().join("target/release/grapevine").to_string_lossy().into_owned();
        self.binary.clone().unwrap_or_else(built)
    }
}

/// One query of the benchmark.
struct Question {
    name: &'static str,
    query: String,
    repeats: u32,
    goal: &'static str,
}

/// Runs the benchmark.
pub(crate) fn bench(arguments: &[&str]) -> Result<()> {
    let options = read(arguments)?;
    // Fails only where a provider is installed already, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    if options.binary.is_none() {
        run(&mut command("cargo", &["build", "--release", "--locked", "--package", "grapevine"]))?;
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        match (options.rebuild, options.join) {
            (Some(chunks), _) => rebuild::measure(&options, chunks).await,
            (None, Some(nodes)) => join::measure(&options, nodes).await,
            (None, None) if options.cluster => cluster::measure(&options).await,
            (None, None) => measure(&options).await,
        }
    })
}

fn read(arguments: &[&str]) -> Result<Options> {
    let cluster = arguments.contains(&"--cluster");
    let mut options = Options {
        text_mb: if cluster { TEXT_MB_CLUSTER } else { TEXT_MB },
        shape: Shape::Plain,
        cluster,
        s3: false,
        cold: false,
        peer: None,
        peer_pid: None,
        rebuild: None,
        join: None,
        binary: None,
        extra: Vec::new(),
    };
    let mut words = arguments.iter();
    while let Some(word) = words.next() {
        let mut value = || words.next().with_context(|| format!("`{word}` wants a value"));
        match *word {
            "--hard" => options.shape = Shape::Hard,
            "--s3" => options.s3 = true,
            "--cold" => options.cold = true,
            "--cluster" => {}
            "--mb" => options.text_mb = value()?.parse().context("--mb")?,
            "--peer" => options.peer = Some((*value()?).to_owned()),
            "--rebuild" => options.rebuild = Some(value()?.parse().context("--rebuild")?),
            "--join" => options.join = Some(value()?.parse().context("--join")?),
            "--binary" => options.binary = Some((*value()?).to_owned()),
            "--peer-pid" => options.peer_pid = Some(value()?.parse().context("--peer-pid")?),
            "--" => options.extra = words.by_ref().map(|w| (*w).to_owned()).collect(),
            _ => bail!(
                "`{word}` is none of --hard, --s3, --cold, --cluster, --mb N, --binary FILE, --peer URL, --peer-pid N, --rebuild CHUNKS, --join NODES, -- SERVE-OPTIONS"
            ),
        }
    }
    let others = options.s3 || options.cold || options.peer.is_some();
    ensure!(!(cluster && others), "--cluster goes with --hard, --mb, --binary and -- SERVE-OPTIONS only");
    Ok(options)
}

async fn measure(options: &Options) -> Result<()> {
    let folder = tempfile::tempdir().context("make a folder for the data")?;
    let binary = &options.binary();
    let store = options.s3.then(|| Store::start(folder.path().join("s3"))).transpose()?;
    let mut extra = store.as_ref().map(Store::arguments).unwrap_or_default();
    extra.extend_from_slice(&options.extra);
    let data_dir = folder.path().join("grapevine");
    let mut ours = Server::start(binary, data_dir.clone(), &extra).await?;
    // Whatever is stored lies somewhere in here.
    ours.data_dir = Some(folder.path().to_owned());
    let name = if options.s3 { "grapevine, packs in S3" } else { "grapevine" };
    let (questions, range) = measure_server(name, &ours, options).await?;
    if options.cold {
        let folders: Vec<&Path> = [Some(&data_dir), store.as_ref().map(Store::folder)]
            .into_iter()
            .flatten()
            .map(PathBuf::as_path)
            .collect();
        cold::measure(&mut ours, &questions, range, &folders).await?;
    }
    drop(ours);
    if let Some(url) = &options.peer {
        measure_server(url, &Server::attach(url, options.peer_pid), options).await?;
    }
    Ok(())
}

/// Measures all but the cold figures; gives back what was asked, and of which time.
async fn measure_server(
    name: &str,
    server: &Server,
    options: &Options,
) -> Result<([Question; 6], (i64, i64))> {
    let plan = Plan::new();
    let load = plan.load(options)?;
    let questions = questions(one_app(&load));
    println!("\n## {name}: {}", plan.title(options));
    ingest(server, load).await?;
    queries(server, &questions, plan.start_ns, plan.end_ns).await?;
    Ok((questions, (plan.start_ns, plan.end_ns)))
}

/// What is pushed, and of which time.
struct Plan {
    corpus: Option<PathBuf>,
    start_ns: i64,
    end_ns: i64,
}

impl Plan {
    /// Until now.
    fn new() -> Self {
        let corpus = root().join("../shared/corpus");
        let corpus = corpus.is_dir().then_some(corpus);
        let end_ns = wall_now_ns();
        Plan { corpus, start_ns: end_ns - (SPAN_S + 60) * 1_000_000_000, end_ns }
    }

    /// The same load at each call.
    fn load(&self, options: &Options) -> Result<Load> {
        Load::new(self.corpus.as_deref(), options.shape, options.text_mb * 1_000_000, self.start_ns)
    }

    fn title(&self, options: &Options) -> String {
        format!("{} MB, {:?}, {}", options.text_mb, options.shape, source(self.corpus.as_ref()))
    }
}

/// The kind of log that the parsing query looks at.
fn one_app(load: &Load) -> &str {
    load.apps().find(|app| *app == "openstack").or(load.apps().next()).unwrap_or("")
}

fn source(corpus: Option<&PathBuf>) -> &'static str {
    if corpus.is_some() { "lines of the real corpus" } else { "generated lines" }
}

#[expect(clippy::disallowed_methods, reason = "a benchmark of real processes lives in real time")]
fn wall_now_ns() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}

/// What was pushed.
#[derive(Default)]
struct Pushed {
    text: u64,
    lines: u64,
    wire: usize,
    wall_s: f64,
}

impl Pushed {
    fn gb(&self) -> f64 {
        self.text as f64 / 1e9
    }
}

/// Pushes all of a load to the targets in turn.
async fn push_all(targets: &[Target], load: Load) -> Result<Pushed> {
    let mut pushed = Pushed::default();
    let places = Arc::new(Semaphore::new(PUSHES_AT_ONCE));
    let mut pushes = tokio::task::JoinSet::new();
    let began = tokio::time::Instant::now();
    for (batch, target) in load.zip(targets.iter().cycle()) {
        pushed.text += batch.text_bytes;
        pushed.lines += batch.lines;
        pushed.wire += batch.body.len();
        let place = places.clone().acquire_owned().await?;
        let target = target.clone();
        pushes.spawn(async move {
            let done = target.push(batch.body).await;
            drop(place);
            done
        });
        while let Some(done) = pushes.try_join_next() {
            done??;
        }
    }
    while let Some(done) = pushes.join_next().await {
        done??;
    }
    pushed.wall_s = began.elapsed().as_secs_f64();
    Ok(pushed)
}

async fn ingest(server: &Server, load: Load) -> Result<()> {
    let before = server.cpu_s();
    let pushed = push_all(std::slice::from_ref(&server.target), load).await?;
    server.target.flush().await?;
    let (gb, lines, wire) = (pushed.gb(), pushed.lines, pushed.wire as f64 / 1e6);
    println!("| ingest | value | goal |\n| --- | --- | --- |");
    println!("| text | {gb:.3} GB, {lines} lines, {wire:.0} MB on the wire | |");
    if let (Some(before), Some(after)) = (before, server.cpu_s()) {
        println!("| CPU s per GB, flush included | {:.2} | ≤ 10 |", (after - before) / gb);
    }
    println!("| wall s, pushes alone | {:.1} | |", pushed.wall_s);
    if let Some(rss) = server.peak_rss_mib() {
        println!("| peak RSS, MiB | {rss:.0} | ≤ 256 |");
    }
    if let Some(folder) = &server.data_dir {
        let scaled = stored_bytes(folder)? as f64 / 1e6 * 1.074 / gb;
        println!("| stored, MB per 1,074 MB | {scaled:.1} | ≤ 195 |");
    }
    Ok(())
}

/// Bytes of all files but the log, which is emptied by time, not by a flush.
fn stored_bytes(folder: &Path) -> Result<u64> {
    let mut total = 0;
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let kind = entry.file_type()?;
        if kind.is_dir() && entry.file_name() != "wal" {
            total += stored_bytes(&entry.path())?;
        } else if kind.is_file() {
            // Blocks on the disk, not length: an LMDB file has holes.
            total += std::os::unix::fs::MetadataExt::blocks(&entry.metadata()?) * 512;
        }
    }
    Ok(total)
}

fn parameters(question: &Question, start_ns: i64, end_ns: i64) -> [(&'static str, String); 5] {
    [
        ("query", question.query.clone()),
        ("start", start_ns.to_string()),
        ("end", end_ns.to_string()),
        ("step", "60".to_owned()),
        ("limit", "1000".to_owned()),
    ]
}

async fn queries(server: &Server, questions: &[Question], start_ns: i64, end_ns: i64) -> Result<()> {
    println!("\n| query | CPU ms | wall ms | goal, CPU | answer |\n| --- | --- | --- | --- | --- |");
    for question in questions {
        let parameters = parameters(question, start_ns, end_ns);
        let answer = server.target.query(&parameters).await?;
        let before = server.cpu_s();
        let began = tokio::time::Instant::now();
        for _ in 0..question.repeats {
            server.target.query(&parameters).await?;
        }
        let wall = began.elapsed().as_secs_f64() * 1000.0 / f64::from(question.repeats);
        let cpu = match (before, server.cpu_s()) {
            (Some(before), Some(after)) => {
                format!("{:.1}", (after - before) * 1000.0 / f64::from(question.repeats))
            }
            _ => "?".to_owned(),
        };
        let (name, goal) = (question.name, question.goal);
        println!("| {name} | {cpu} | {wall:.1} | {goal} | {} |", summary(&answer));
    }
    Ok(())
}

fn questions(one_app: &str) -> [Question; 6] {
    let all = r#"{site="bench"}"#;
    let question = |name, query, repeats, goal| Question { name, query, repeats, goal };
    let parse = match one_app {
        "openstack" => r#"regexp "status: (?P<status>[0-9]+)""#,
        _ => r#"pattern "<_> <status> <_>""#,
    };
    let wanted = if one_app == "openstack" { r#"|= "status: " "# } else { "" };
    [
        question("needle, word", format!("{all} |= \"{NEEDLE_WORD}\""), REPEATS, "≤ 8"),
        question("needle, substring", format!("{all} |= \"{NEEDLE_SUBSTRING}\""), REPEATS, "≤ 30"),
        question(
            "regex count",
            format!(r#"sum by (app, host) (count_over_time({all} |~ "(?i)error|timed? ?out" [1m]))"#),
            REPEATS_HEAVY,
            "≤ 1000",
        ),
        question("rate", format!("sum by (app) (rate({all}[1m]))"), REPEATS, "≤ 50"),
        question(
            "parse and count, 1/16",
            format!(r#"sum by (status) (count_over_time({{app="{one_app}"}} {wanted}| {parse} [1m]))"#),
            REPEATS,
            "≤ 120",
        ),
        question("last 1000 lines", all.to_owned(), REPEATS, ""),
    ]
}

/// Enough of an answer to see that two servers agree: series or lines, and the sum of values.
fn summary(answer: &serde_json::Value) -> String {
    let empty = Vec::new();
    let result = answer["data"]["result"].as_array().unwrap_or(&empty);
    let values = || result.iter().flat_map(|series| series["values"].as_array().unwrap_or(&empty));
    let sum: f64 = values().filter_map(|pair| pair[1].as_str()?.parse::<f64>().ok()).sum();
    match answer["data"]["resultType"].as_str() {
        Some("streams") => format!("{} lines", values().count()),
        _ => format!("{} series, sum {sum:.0}", result.len()),
    }
}
