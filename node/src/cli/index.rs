//! `grapevine index rebuild`: makes the index of a stopped node anew from its packs.

use anyhow::Result;
use clap::{Args, Subcommand};
use grapevine_storage::index::{Day, NotADay};

use super::exit::Exit;
use super::offline::open;
use super::serve::ConfigArgs;

/// Mends the index.
#[derive(Debug, Args)]
pub struct IndexArgs {
    #[command(subcommand)]
    command: IndexCommand,
}

#[derive(Debug, Subcommand)]
enum IndexCommand {
    /// Read all packs in the spool and the chunk store and index them anew. The node must be stopped.
    Rebuild(RebuildArgs),
}

#[derive(Debug, Args)]
struct RebuildArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// Only this day, as in 2026-11-23; all days if not given.
    #[arg(long, value_name = "DAY", value_parser = day)]
    day: Option<Day>,
}

fn day(text: &str) -> Result<Day, NotADay> {
    text.parse()
}

/// Runs `grapevine index`.
///
/// # Errors
/// A node runs, or the packs or the index cannot be reached.
pub async fn run(args: IndexArgs) -> Result<Exit> {
    let IndexCommand::Rebuild(args) = args.command;
    let stopped = open(&args.config).await?;
    let days = match args.day {
        Some(day) => [day].into(),
        None => stopped.keeper.stored_days().await?,
    };
    let mut exit = Exit::Done;
    for day in days {
        let found = stopped.keeper.rebuild_day(day).await?;
        println!("{day}: {} packs", found.added.len());
        for (key, why) in found.unreadable {
            println!("  `{key}` is left out: {why}");
            exit = Exit::Incomplete;
        }
    }
    Ok(exit)
}
