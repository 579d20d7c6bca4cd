//! `grapevine pack`: looks into packs, prints them, verifies them. Needs no node and no index: the files alone.

mod cat;
mod ls;
mod verify;

use std::fs::File;
use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::{Args, Subcommand};
use jiff::Timestamp;

use super::exit::Exit;

/// Looks into packs. A pack is a plain gzip file: `zcat` prints its lines as well.
#[derive(Debug, Args)]
pub struct PackArgs {
    #[command(subcommand)]
    command: PackCommand,
}

#[derive(Debug, Subcommand)]
enum PackCommand {
    /// List what packs hold: streams, chunks, times, counts.
    Ls(ls::LsArgs),
    /// Print the lines of packs, of damaged ones what is whole.
    Cat(cat::CatArgs),
    /// Check every checksum of packs, and say what is damaged and what is left.
    Verify(verify::VerifyArgs),
}

/// Runs `grapevine pack`.
///
/// # Errors
/// A file that cannot be opened, or output that cannot be written. Damage is told and ends with exit code 5.
pub async fn run(args: PackArgs) -> Result<Exit> {
    let work = move || match args.command {
        PackCommand::Ls(args) => ls::run(&args),
        PackCommand::Cat(args) => cat::run(&args),
        PackCommand::Verify(args) => verify::run(&args),
    };
    tokio::task::spawn_blocking(work).await?
}

/// Does the same with each file; ends as the worst of them does. A file that cannot be opened stops nothing.
fn for_each_file(files: &[PathBuf], mut work: impl FnMut(&Path, File) -> Result<Exit>) -> Result<Exit> {
    let mut worst = Exit::Done;
    for path in files {
        let exit = match File::open(path) {
            Ok(file) => work(path, file)?,
            Err(error) => {
                eprintln!("grapevine: cannot open `{}`: {error}", path.display());
                Exit::Failed
            }
        };
        if worst == Exit::Done || exit == Exit::Failed {
            worst = exit;
        }
    }
    Ok(worst)
}

/// A timestamp as people read it, to the nanosecond.
fn show_time(ns: i64) -> String {
    format!("{:.9}", Timestamp::from_nanosecond(ns.into()).unwrap_or_default())
}
