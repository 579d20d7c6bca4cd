//! `grapevine-sim`: runs, explains, replays and hunts simulations.

use std::ffi::OsString;
use std::ops::Range;
use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::{Args, Parser, Subcommand, ValueEnum};
use grapevine_simulations::canary::Canary;
use grapevine_simulations::host::watch_panics;
use grapevine_simulations::hunt::{EXIT_BROKEN, Hunt, Verdict};
use grapevine_simulations::logs::Listener;
use grapevine_simulations::page;
use grapevine_simulations::report::Outcome;
use grapevine_simulations::run;
use grapevine_simulations::scale;
use grapevine_simulations::scenario::format::Kind;
use grapevine_simulations::scenario::{Options, SCENARIOS, Scenario, text_of};
use tracing::level_filters::LevelFilter;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;

/// Exit code where the harness itself failed, or two runs of a seed differed.
const EXIT_FAILED: u8 = 3;

/// Many real Grapevine nodes in one process, under one seed and every fault.
#[derive(Debug, Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Run a scenario once. Exits with 1 if a promise was broken.
    Run(One),
    /// Run a scenario once and tell all that happened.
    Explain {
        #[command(flatten)]
        one: One,
        /// Draw it, as one page that needs nothing else.
        #[arg(long, value_name = "FILE")]
        html: Option<PathBuf>,
    },
    /// Name the scenarios that come along, or print one: a file to start your own from.
    List {
        /// The scenario to print.
        scenario: Option<String>,
    },
    /// Run a seed twice in processes of their own, and compare all events.
    Replay(One),
    /// Run many seeds, a process each, until one does not hold. Its faults are then left out one after the other, as
    /// far as it still fails, and the command that replays it is printed.
    Hunt {
        #[command(flatten)]
        what: What,
        /// From the first to before the last.
        #[arg(long, value_name = "A..B", value_parser = seeds)]
        seeds: Range<u64>,
        /// Run each twice, and compare all events.
        #[arg(long)]
        twice: bool,
        /// Go on after the first that does not hold, and leave none of its faults out.
        #[arg(long)]
        all: bool,
        /// Processes at a time.
        #[arg(long, default_value_t = 2)]
        jobs: usize,
    },
    /// Run one seed over and over, with the power going before every so many disk operations of the first node. Without
    /// other faults, if none are asked for.
    Sweep {
        #[command(flatten)]
        what: What,
        /// Decides everything else.
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// From one operation to the next.
        #[arg(long, default_value_t = 1)]
        every: u64,
        /// Processes at a time.
        #[arg(long, default_value_t = 2)]
        jobs: usize,
    },
    /// Measure ring and gossip alone, for many members.
    Scale {
        /// How many, one row each.
        #[arg(long, value_delimiter = ',', default_values_t = [3, 30, 100, 300, 1000])]
        members: Vec<usize>,
        /// Decides everything that happens.
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// Draw it.
        #[arg(long, value_name = "FILE")]
        svg: Option<PathBuf>,
    },
}

/// One run.
#[derive(Debug, Args)]
struct One {
    #[command(flatten)]
    what: What,
    /// Decides everything that happens.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Faults to leave out, by their numbers in the timeline.
    #[arg(long, value_delimiter = ',')]
    skip: Vec<usize>,
    /// Keep all events in a file, a line each.
    #[arg(long, value_name = "FILE")]
    trace: Option<PathBuf>,
    /// Show the nodes' own log, as in `info` or `grapevine=debug`.
    #[arg(long, value_name = "FILTER")]
    log: Option<String>,
}

/// What is run.
#[derive(Debug, Args)]
struct What {
    /// A scenario that comes along, or the path of a file.
    #[arg(default_value = SCENARIOS[0].name)]
    scenario: String,
    /// How many nodes, if not as many as the scenario says.
    #[arg(long)]
    nodes: Option<usize>,
    /// Simulated minutes with faults; the time to recover comes on top.
    #[arg(long)]
    minutes: Option<f64>,
    /// Which faults are drawn from the seed, instead of those of the scenario.
    #[arg(long, value_delimiter = ',', value_enum)]
    faults: Option<Vec<Kind>>,
    /// How many faults are drawn.
    #[arg(long)]
    events: Option<usize>,
    /// The power goes before the first node's disk operation after so many, counted from its start.
    #[arg(long)]
    dies_at: Option<u64>,
    /// A bug to plant, which must be found.
    #[arg(long, hide = true)]
    canary: Option<Canary>,
}

impl What {
    fn arguments(&self) -> Vec<OsString> {
        let mut arguments = vec![self.scenario.clone()];
        let mut option = |name: &str, value: Option<String>| {
            arguments.extend(value.into_iter().flat_map(|value| [name.to_owned(), value]));
        };
        option("--nodes", self.nodes.map(|nodes| nodes.to_string()));
        option("--minutes", self.minutes.map(|minutes| minutes.to_string()));
        let name = |kind: &Kind| kind.to_possible_value().expect("no kind is hidden").get_name().to_owned();
        let names = |kinds: &Vec<Kind>| kinds.iter().map(name).collect::<Vec<_>>().join(",");
        option("--faults", self.faults.as_ref().map(names));
        option("--events", self.events.map(|events| events.to_string()));
        option("--dies-at", self.dies_at.map(|operations| operations.to_string()));
        option("--canary", self.canary.map(|canary| canary.to_string()));
        arguments.into_iter().map(OsString::from).collect()
    }

    fn options(&self, seed: u64, skip: &[usize]) -> Result<Options> {
        let seconds = self.minutes.map(|minutes| Duration::try_from_secs_f64(minutes * 60.0));
        Ok(Options {
            seed,
            nodes: self.nodes,
            length: seconds.transpose().context("read --minutes")?,
            kinds: self.faults.clone(),
            events: self.events,
            skip: skip.to_vec(),
            dies_at: self.dies_at,
            canary: self.canary,
        })
    }

    fn hunt(&self, twice: bool, jobs: usize) -> Result<Hunt> {
        Ok(Hunt { program: std::env::current_exe()?, arguments: self.arguments(), twice, jobs })
    }
}

fn seeds(text: &str) -> Result<Range<u64>, String> {
    let parse =
        |part: &str| part.parse().map_err(|_| format!("`{part}` is no number; write seeds as 0..100"));
    let (first, end) = text.split_once("..").ok_or("write seeds as 0..100")?;
    Ok(parse(first)?..parse(end)?)
}

fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Task::Run(one) => run_one(&one).map(|(outcome, ended)| {
            print!("{}", outcome.timeline.told(&outcome.names, false));
            println!("{}", outcome.summary());
            ended
        }),
        Task::Explain { one, html } => explain(&one, html),
        Task::List { scenario } => list(scenario.as_deref()),
        Task::Replay(one) => replay(&one),
        Task::Sweep { what, seed, every, jobs } => sweep(what, seed, every, jobs),
        Task::Scale { members, seed, svg } => measure_scale(&members, seed, svg),
        Task::Hunt { what, seeds, twice, all, jobs } => hunt(&what, seeds, twice, all, jobs),
    };
    done.unwrap_or_else(|error| {
        eprintln!("grapevine-sim: {error:#}");
        ExitCode::from(EXIT_FAILED)
    })
}

fn run_one(one: &One) -> Result<(Outcome, ExitCode)> {
    let options = one.what.options(one.seed, &one.skip)?;
    let scenario = Scenario::load(&one.what.scenario, &options)?;
    println!("{}", headline(&one.what, one.seed, &one.skip));
    let shown = one.log.as_ref().map(EnvFilter::try_new).transpose().context("read --log")?;
    let shown =
        shown.map(|filter| tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_filter(filter));
    tracing_subscriber::registry().with(shown).with(Listener.with_filter(LevelFilter::WARN)).init();
    watch_panics();
    let outcome = run::run(scenario, &options, one.trace.as_deref())?;
    let held = outcome.violations.is_empty();
    Ok((outcome, if held { ExitCode::SUCCESS } else { ExitCode::from(EXIT_BROKEN) }))
}

fn explain(one: &One, html: Option<PathBuf>) -> Result<ExitCode> {
    let (outcome, ended) = run_one(one)?;
    print!("{}", outcome.timeline.told(&outcome.names, true));
    println!("{}", outcome.summary());
    if let Some(path) = html {
        let about = Scenario::load(&one.what.scenario, &Options::default())?.about;
        let page = page::draw(&outcome, &about, &headline(&one.what, one.seed, &one.skip));
        std::fs::write(&path, page).with_context(|| format!("write `{}`", path.display()))?;
    }
    Ok(ended)
}

fn list(scenario: Option<&str>) -> Result<ExitCode> {
    if let Some(name) = scenario {
        print!("{}", text_of(name)?);
        return Ok(ExitCode::SUCCESS);
    }
    for shipped in SCENARIOS {
        let scenario = Scenario::load(shipped.name, &Options::default())?;
        println!("{:34} {}", shipped.name, scenario.about);
    }
    Ok(ExitCode::SUCCESS)
}

fn measure_scale(members: &[usize], seed: u64, svg: Option<PathBuf>) -> Result<ExitCode> {
    println!("seed {seed}, commit {}\n{}", commit(), scale::HEAD);
    let mut rows = Vec::new();
    for count in members {
        anyhow::ensure!((3..=2000).contains(count), "`{count}` members: 3 to 2000 can be measured");
        let row = scale::measure(seed, *count)?;
        println!("{row}");
        rows.push(row);
    }
    rows.sort_by_key(|row| row.members);
    if let Some(path) = svg {
        std::fs::write(&path, scale::draw(&rows)).with_context(|| format!("write `{}`", path.display()))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Seed, commit, options, and the command that shows it all again.
fn headline(what: &What, seed: u64, skip: &[usize]) -> String {
    let mut words: Vec<String> = what.arguments().iter().map(|word| word.to_string_lossy().into()).collect();
    words.extend(["--seed".into(), seed.to_string()]);
    if !skip.is_empty() {
        words.extend(["--skip".into(), skip.iter().map(usize::to_string).collect::<Vec<_>>().join(",")]);
    }
    format!("seed {seed}, commit {}, replay with: grapevine-sim run {}", commit(), words.join(" "))
}

/// The commit that is checked out, if this is run where it was built.
fn commit() -> String {
    let described = Command::new("git")
        .args(["-C", env!("CARGO_MANIFEST_DIR"), "describe", "--always", "--dirty", "--exclude=*"])
        .output();
    let text = described.ok().filter(|output| output.status.success()).map(|output| output.stdout);
    text.map_or_else(|| "unknown".into(), |text| String::from_utf8_lossy(&text).trim().to_owned())
}

fn replay(one: &One) -> Result<ExitCode> {
    println!("{}", headline(&one.what, one.seed, &one.skip));
    let verdict = one.what.hunt(true, 1)?.judge(one.seed, &one.skip)?;
    println!("{verdict}");
    Ok(code(&verdict))
}

fn code(verdict: &Verdict) -> ExitCode {
    match verdict {
        Verdict::Held(_) => ExitCode::SUCCESS,
        Verdict::Broken(_) => ExitCode::from(EXIT_BROKEN),
        Verdict::Diverged(_) | Verdict::Failed(_) => ExitCode::from(EXIT_FAILED),
    }
}

fn sweep(mut what: What, seed: u64, every: u64, jobs: usize) -> Result<ExitCode> {
    what.events = what.events.or_else(|| what.faults.is_none().then_some(0));
    println!("{}", headline(&what, seed, &[]));
    let tell = |operation: u64, verdict: &Verdict| println!("--dies-at {operation}: {verdict}");
    let found = what.hunt(false, jobs)?.sweep(seed, every, &tell)?;
    let operations: Vec<String> = found.iter().map(|(operation, _)| operation.to_string()).collect();
    match found.first() {
        None => println!("all held"),
        Some(_) => println!("did not hold with --dies-at {}", operations.join(" ")),
    }
    Ok(found.first().map_or(ExitCode::SUCCESS, |(_, verdict)| code(verdict)))
}

fn hunt(what: &What, seeds: Range<u64>, twice: bool, all: bool, jobs: usize) -> Result<ExitCode> {
    println!("commit {}, seeds {}..{}, {:?}", commit(), seeds.start, seeds.end, what.arguments());
    let hunt = what.hunt(twice, jobs)?;
    let found = hunt.run(seeds, all, &|seed, verdict| println!("seed {seed}: {verdict}"))?;
    let Some((seed, verdict)) = found.first() else {
        println!("all seeds held");
        return Ok(ExitCode::SUCCESS);
    };
    let numbers: Vec<String> = found.iter().map(|(seed, _)| seed.to_string()).collect();
    println!("{} seeds did not hold: {}", found.len(), numbers.join(" "));
    if !all {
        let events = Scenario::load(&what.scenario, &what.options(*seed, &[])?)?.events.len();
        println!("leaving out those of its {events} faults that do not matter");
        println!("{}", headline(what, *seed, &hunt.shrink(*seed, events)?));
    }
    Ok(code(verdict))
}
