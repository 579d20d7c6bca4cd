//! `grapevine-sim`: runs, replays and hunts simulations.

use std::ffi::OsString;
use std::ops::Range;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

use anyhow::Result;
use clap::{Args, Parser, Subcommand};
use grapevine_simulations::check::Ties;
use grapevine_simulations::host::watch_panics;
use grapevine_simulations::hunt::{EXIT_BROKEN, Hunt, Verdict};
use grapevine_simulations::scenario::{Canary, Options, SCENARIOS, Scenario};
use tracing_subscriber::EnvFilter;

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
    Run {
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
    },
    /// Name the scenarios.
    List,
    /// Run a seed twice in processes of their own, and compare all events.
    Replay {
        #[command(flatten)]
        what: What,
        /// The seed.
        #[arg(long)]
        seed: u64,
        /// Faults to leave out.
        #[arg(long, value_delimiter = ',')]
        skip: Vec<usize>,
    },
    /// Run many seeds, a process each.
    Hunt {
        #[command(flatten)]
        what: What,
        /// From the first to before the last.
        #[arg(long, value_name = "A..B", value_parser = seeds)]
        seeds: Range<u64>,
        /// Run each twice, and compare all events.
        #[arg(long)]
        twice: bool,
        /// Leave faults out of each seed found, as long as it does not hold.
        #[arg(long)]
        shrink: bool,
        /// Processes at a time.
        #[arg(long, default_value_t = 2)]
        jobs: usize,
    },
}

/// What is run.
#[derive(Debug, Args)]
struct What {
    /// The scenario.
    #[arg(default_value = SCENARIOS[0].name)]
    scenario: String,
    /// Simulated seconds with faults; the time to recover comes on top.
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// How many faults there are.
    #[arg(long, default_value_t = 12)]
    faults: usize,
    /// Check the order of lines of one timestamp within a push alone, not across pushes.
    #[arg(long)]
    lenient_ties: bool,
    /// A bug to plant, which must be found.
    #[arg(long, hide = true)]
    canary: Option<Canary>,
}

impl What {
    fn arguments(&self) -> Vec<OsString> {
        let (seconds, faults) = (self.seconds.to_string(), self.faults.to_string());
        let mut arguments: Vec<OsString> =
            [&self.scenario, "--seconds", &seconds, "--faults", &faults].map(OsString::from).into();
        if self.lenient_ties {
            arguments.push("--lenient-ties".into());
        }
        if let Some(canary) = self.canary {
            let name = clap::ValueEnum::to_possible_value(&canary).expect("no canary is hidden");
            arguments.extend(["--canary".into(), name.get_name().into()]);
        }
        arguments
    }

    fn hunt(&self, twice: bool, jobs: usize) -> Result<Hunt> {
        Scenario::of_name(&self.scenario)?;
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
        Task::Run { what, seed, skip, trace, log } => run(&what, seed, skip, trace, log.as_deref()),
        Task::List => {
            SCENARIOS.iter().for_each(|scenario| println!("{:12} {}", scenario.name, scenario.about));
            Ok(ExitCode::SUCCESS)
        }
        Task::Replay { what, seed, skip } => replay(&what, seed, &skip),
        Task::Hunt { what, seeds, twice, shrink, jobs } => hunt(&what, seeds, twice, shrink, jobs),
    };
    done.unwrap_or_else(|error| {
        eprintln!("grapevine-sim: {error:#}");
        ExitCode::from(EXIT_FAILED)
    })
}

fn run(
    what: &What,
    seed: u64,
    skip: Vec<usize>,
    trace: Option<PathBuf>,
    log: Option<&str>,
) -> Result<ExitCode> {
    let scenario = Scenario::of_name(&what.scenario)?;
    println!("{}", headline(what, seed, &skip));
    if let Some(filter) = log {
        tracing_subscriber::fmt()
            .with_env_filter(EnvFilter::try_new(filter)?)
            .with_writer(std::io::stderr)
            .init();
    }
    watch_panics();
    let What { seconds, faults, lenient_ties, canary, .. } = *what;
    let ties = if lenient_ties { Ties::WithinPushes } else { Ties::AcrossPushes };
    let outcome = scenario.run(&Options { seed, seconds, faults, skip, ties, canary, trace })?;
    print!("{}", outcome.timeline);
    println!("{}", outcome.summary());
    let held = outcome.violations.is_empty();
    Ok(if held { ExitCode::SUCCESS } else { ExitCode::from(EXIT_BROKEN) })
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

fn replay(what: &What, seed: u64, skip: &[usize]) -> Result<ExitCode> {
    println!("{}", headline(what, seed, skip));
    let verdict = what.hunt(true, 1)?.judge(seed, skip)?;
    println!("{verdict}");
    Ok(code(&verdict))
}

fn code(verdict: &Verdict) -> ExitCode {
    match verdict {
        Verdict::Held => ExitCode::SUCCESS,
        Verdict::Broken(_) => ExitCode::from(EXIT_BROKEN),
        Verdict::Diverged(_) | Verdict::Failed(_) => ExitCode::from(EXIT_FAILED),
    }
}

fn hunt(what: &What, seeds: Range<u64>, twice: bool, shrink: bool, jobs: usize) -> Result<ExitCode> {
    println!("commit {}, seeds {}..{}, {:?}", commit(), seeds.start, seeds.end, what);
    let hunt = what.hunt(twice, jobs)?;
    let found = hunt.run(seeds, &|seed, verdict| println!("seed {seed}: {verdict}"))?;
    for (seed, _) in found.iter().filter(|_| shrink) {
        let skip = hunt.shrink(*seed, what.faults)?;
        println!("smaller: {}", headline(what, *seed, &skip));
    }
    let numbers: Vec<String> = found.iter().map(|(seed, _)| seed.to_string()).collect();
    println!("{} seeds did not hold: {}", found.len(), numbers.join(" "));
    Ok(found.first().map_or(ExitCode::SUCCESS, |(_, verdict)| code(verdict)))
}
