//! `grapevine demo`: a node of one's own over this machine's own logs, within a minute of having the source.
//!
//! It shows the whole path: a real node on its defaults, fed over HTTP like by any client, flushed to packs, asked
//! three questions. Then it stays, follows what is logged, and says what to try next.

pub mod feed;
pub mod files;
pub mod journal;
pub mod made_up;
pub mod place;
pub mod show;
pub mod timestamp;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Args;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use self::feed::{Enough, Fed, Outlet, Record};
use self::files::Growing;
use self::made_up::MadeUp;
use self::show::{Questions, megabytes};
use super::ClientArgs;
use super::client::Client;
use super::exit::Exit;
use super::serve::{serve, wait_for_stop};
use crate::config::Config;
use crate::env::{SystemClock, WallClock};

/// Lines that make a demo worth seeing; with fewer, the next source is asked as well.
const LINES_ENOUGH: usize = 1000;
/// How often made-up lines are added.
const MAKE_UP_EVERY: Duration = Duration::from_millis(500);
/// Seeds the made-up lines: every machine without logs sees the same story.
const SEED: u64 = 0x6772_6170;

/// Arguments of `grapevine demo`.
#[derive(Debug, Args)]
pub struct DemoArgs {
    /// Where the node keeps what it is fed [default: grapevine/demo in the user's cache]; used again next time.
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Address and port of the HTTP API [default: the first free port from 127.0.0.1:3100 on].
    #[arg(long, value_name = "ADDR:PORT")]
    http_listen: Option<SocketAddr>,
    /// Feed the text files below this folder instead of the machine's journal or /var/log.
    #[arg(long, value_name = "DIR")]
    logs: Option<PathBuf>,
    /// End after the three queries.
    #[arg(long)]
    once: bool,
}

/// Runs the demo until SIGINT or SIGTERM, or to the end of its queries.
pub async fn run(args: DemoArgs) -> Result<Exit> {
    let config = config(&args)?;
    crate::logging::start(&config.log)?;
    let packs = config.server.data_dir.join("packs");
    let (stop, stopped) = oneshot::channel::<()>();
    let (ready, listening) = oneshot::channel();
    // An error means that the other end is gone, which means the same.
    let serving = tokio::spawn(serve(config, async { drop(stopped.await) }, ready));
    let shown = match listening.await {
        Ok(address) => tokio::select! {
            shown = Box::pin(show_all(&args, address, &packs)) => shown,
            () = wait_for_stop() => Ok(()),
        },
        Err(_) => Ok(()),
    };
    drop(stop);
    serving.await.context("run the node")??;
    shown.map(|()| Exit::Done)
}

/// A node's defaults, but for its place, and for what a look at old logs needs.
fn config(args: &DemoArgs) -> Result<Config> {
    let data_dir = match &args.data_dir {
        Some(dir) => dir.clone(),
        None => place::data_dir(|name| std::env::var_os(name))?,
    };
    let address = args.http_listen.unwrap_or_else(place::address);
    let flags = [
        ("data_dir", data_dir.display().to_string()),
        ("http_listen", address.to_string()),
        ("log.level", "warn".to_owned()),
        ("limits.max_query_length", "0".to_owned()),
    ];
    let flags = flags.map(|(key, value)| (key.to_owned(), value));
    Config::load("", [], flags).context("set up the node")
}

async fn show_all(args: &DemoArgs, address: SocketAddr, packs: &Path) -> Result<()> {
    let client = Client::new(&ClientArgs { addr: format!("http://{address}"), ..ClientArgs::default() })?;
    println!("A node of your own answers at http://{address}");
    if args.http_listen.is_none() && !place::is_usual(address) {
        println!("(Loki's usual port, 3100, is in use.)");
    }
    let (fed, sources) = feed_all(&client, args.logs.clone()).await?;
    let questions = Questions::new(&fed);
    questions.ask(&client).await?;
    if args.once {
        return Ok(());
    }
    try_next(address, packs, &questions);
    sources.follow(&client).await
}

/// Where lines came from, and more will come from.
#[derive(Debug)]
struct Sources {
    journal: bool,
    files: Vec<Growing>,
    made_up: Option<MadeUp>,
}

async fn feed_all(client: &Client, logs: Option<PathBuf>) -> Result<(Fed, Sources)> {
    let began = Instant::now();
    let mut fed = Fed::default();
    let host = host();
    let (mut outlet, records) = feed::channel();
    let reading = tokio::task::spawn_blocking({
        let host = host.clone();
        move || read(logs.as_deref(), &host, &mut outlet)
    });
    feed::pump(client, records, &mut fed).await?;
    let (journal, files) = reading.await.context("read this machine's logs")?;
    let mut sources = Sources { journal, files, made_up: None };
    if fed.lines == 0 {
        println!("No logs that you may read: here are made-up ones.");
        let mut made_up = MadeUp::new(SystemClock.now(), &host, SEED);
        let (mut outlet, records) = feed::channel();
        let making = async {
            let made = made_up.run_to(SystemClock.now(), &mut outlet).await;
            drop(outlet);
            made
        };
        let (pumped, _) = tokio::join!(feed::pump(client, records, &mut fed), making);
        pumped?;
        sources.made_up = Some(made_up);
    }
    client.post("/flush", "text/plain", Vec::new()).await?;
    let (oldest, newest) = fed.span.unwrap_or_default();
    println!(
        "Fed it {} lines, {}, in {} streams, from {} to {}, in {:.1} s, packs on disk included.",
        fed.lines,
        megabytes(fed.bytes as u64),
        fed.streams.len(),
        day(oldest),
        day(newest),
        began.elapsed().as_secs_f64(),
    );
    Ok((fed, sources))
}

/// The journal, and the files if that is little. A folder that was named is the only source.
fn read(logs: Option<&Path>, host: &str, outlet: &mut Outlet) -> (bool, Vec<Growing>) {
    if let Some(folder) = logs {
        println!("Reading the text files below {} …", folder.display());
        return (false, files::read(folder, host, outlet));
    }
    println!("Reading this machine's logs …");
    journal::read(outlet);
    let journal = outlet.lines() > 0;
    let few = outlet.lines() < LINES_ENOUGH;
    (journal, if few { files::read(Path::new("/var/log"), host, outlet) } else { Vec::new() })
}

impl Sources {
    /// Feeds what is logged from now on, for as long as it is polled.
    async fn follow(self, client: &Client) -> Result<()> {
        let (outlet, records) = feed::endless_channel();
        let (files_outlet, files_records) = feed::endless_channel();
        let _journal =
            self.journal.then(|| journal::follow(outlet)).transpose().context("follow the journal")?;
        let files = files::follow(self.files, files_outlet);
        let made_up = make_up(client, self.made_up);
        let ((), journal, files_fed, made_up) =
            tokio::join!(files, pump(client, records), pump(client, files_records), made_up);
        journal.and(files_fed).and(made_up)?;
        std::future::pending().await
    }
}

async fn pump(client: &Client, records: mpsc::Receiver<Record>) -> Result<()> {
    feed::pump(client, records, &mut Fed::default()).await
}

async fn make_up(client: &Client, made_up: Option<MadeUp>) -> Result<()> {
    let Some(mut made_up) = made_up else { return Ok(()) };
    let (mut outlet, records) = feed::endless_channel();
    let making = async {
        let mut interval = tokio::time::interval(MAKE_UP_EVERY);
        loop {
            interval.tick().await;
            if made_up.run_to(SystemClock.now(), &mut outlet).await == Err(Enough) {
                return;
            }
        }
    };
    tokio::select! {
        fed = pump(client, records) => fed,
        () = making => Ok(()),
    }
}

fn host() -> String {
    let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
    if name.is_empty() { "localhost".to_owned() } else { name }
}

fn day(ns: i64) -> String {
    super::output::show_time(ns).chars().take(16).collect::<String>().replace('T', " ")
}

/// What to type next: with the path of this very program, which may be on no search path.
fn try_next(address: SocketAddr, packs: &Path, questions: &Questions) {
    let program = program();
    let addr = if place::is_usual(address) { String::new() } else { format!(" --addr http://{address}") };
    let (grep, needle, packs) = (questions.grep(), &questions.needle, packs.display());
    let since = questions.since(SystemClock.now());
    println!(
        "
The node stays up and follows these logs until Ctrl-C. In another terminal:
  {program} tail{addr} '{{job=~\".+\"}}'
  {program} query{addr} --since {since} '{grep}'
  {program} labels{addr} job
  curl -sG http://{address}/loki/api/v1/query_range -d since={since} --data-urlencode 'query={grep}'
  find {packs} -name '*.gz' -exec zgrep -h {needle} {{}} +
In Grafana, add a data source of the type Loki with the URL http://{address}"
    );
}

fn program() -> String {
    let here = std::env::current_dir().unwrap_or_default();
    let program = std::env::current_exe().unwrap_or_else(|_| "grapevine".into());
    match program.strip_prefix(&here) {
        // A bare name would be looked for on the search path.
        Ok(below) => format!("./{}", below.display()),
        Err(_) => program.display().to_string(),
    }
}
