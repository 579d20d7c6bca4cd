//! The `grapevine` binary: reads the command line, runs a command, says how it ended.

use std::process::ExitCode;

use clap::Parser;
use grapevine::cli::exit::{self, Exit};
use grapevine::cli::{Cli, Command, labels, push, query, serve, tail};

/// Threads that blocking work may use: the lanes bound it far below.
const BLOCKING_THREADS_MAX: usize = 64;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .max_blocking_threads(BLOCKING_THREADS_MAX)
        .build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("grapevine: cannot start threads: {error}");
            return Exit::Failed.into();
        }
    };
    let exit = runtime.block_on(run(cli.command)).unwrap_or_else(|error| {
        eprintln!("grapevine: {error:#}");
        exit::of(&error)
    });
    exit.into()
}

async fn run(command: Command) -> anyhow::Result<Exit> {
    match command {
        Command::Serve(args) => serve::run(args).await,
        Command::Query(args) => query::run(args).await,
        Command::Tail(args) => tail::run(args).await,
        Command::Push(args) => push::run(args).await,
        Command::Labels(args) => labels::labels(args).await,
        Command::Series(args) => labels::series(args).await,
    }
}
