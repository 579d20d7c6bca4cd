//! `grapevine workers`: what a node does in the background, and how to stop it doing so.

use std::io::{self, Write};

use anyhow::{Context, Result};
use clap::{Args, Subcommand};
use serde::Deserialize;

use super::ClientArgs;
use super::client::Client;
use super::exit::Exit;

/// Arguments of `grapevine workers`.
#[derive(Debug, Args)]
pub struct WorkersArgs {
    #[command(subcommand)]
    order: Option<Order>,
    #[command(flatten)]
    client: ClientArgs,
}

/// What a worker is told.
#[derive(Debug, Subcommand)]
enum Order {
    /// List them (the default).
    List,
    /// Begin no more rounds, until the node is started again.
    Pause {
        /// The worker.
        name: String,
    },
    /// Go on.
    Resume {
        /// The worker.
        name: String,
    },
    /// Run a round now, and wait until it is over.
    Run {
        /// The worker.
        name: String,
    },
    /// Bound the bytes moved in a second, until the node is started again.
    Rate {
        /// The worker.
        name: String,
        /// Such as 10MB; 0 is no bound.
        bytes_per_s: String,
    },
}

/// A worker, as the node tells of it.
#[derive(Debug, Deserialize)]
struct Row {
    name: String,
    about: String,
    state: String,
    paused: bool,
    done: u64,
    total: u64,
    rounds: u64,
    errors: u64,
    last_error: Option<String>,
    #[serde(default)]
    bytes: u64,
    bytes_per_s: Option<u64>,
}

/// Runs `grapevine workers`.
pub async fn run(args: WorkersArgs) -> Result<Exit> {
    let client = Client::new(&args.client)?;
    let rows = match args.order.unwrap_or(Order::List) {
        Order::List => client.get::<Vec<Row>>("/workers", &[]).await?,
        Order::Pause { name } => vec![client.order(&format!("/workers/{name}/pause")).await?],
        Order::Resume { name } => vec![client.order(&format!("/workers/{name}/resume")).await?],
        Order::Run { name } => vec![client.order(&format!("/workers/{name}/run")).await?],
        Order::Rate { name, bytes_per_s } => {
            vec![client.order(&format!("/workers/{name}/rate?bytes_per_s={bytes_per_s}")).await?]
        }
    };
    let text: String = rows.iter().map(show).collect();
    io::stdout().lock().write_all(text.as_bytes()).context("write to standard output")?;
    Ok(Exit::Done)
}

fn show(row: &Row) -> String {
    let state = if row.paused && row.state != "working" { "paused" } else { &row.state };
    let mut line = format!("{:<10} {state:<8} {:>6} rounds", row.name, row.rounds);
    if row.state == "working" && row.total > 0 {
        line += &format!(", {} of {} steps", row.done, row.total);
    }
    if row.errors > 0 {
        line += &format!(", {} failed", row.errors);
    }
    if row.bytes > 0 {
        line += &format!(", {} moved", crate::api::ring::size(row.bytes));
    }
    if let Some(rate) = row.bytes_per_s {
        line += &format!(", at most {} a second", crate::config::units::ByteSize(rate));
    }
    line += &format!("  {}\n", row.about);
    if let Some(error) = &row.last_error {
        line += &format!("           last failure: {error}\n");
    }
    line
}

#[cfg(test)]
mod tests {
    use super::{Row, show};

    #[test]
    fn a_row_says_how_far_it_is_and_what_went_wrong() {
        let json = r#"{"name":"merge","about":"merges","state":"working","paused":true,"done":1,"total":3,
            "rounds":7,"errors":2,"last_error":"no room","bytes":2097152,"bytes_per_s":1048576}"#;
        let row: Row = serde_json::from_str(json).unwrap();
        let text = "merge      working       7 rounds, 1 of 3 steps, 2 failed, 2.0 MB moved, at most 1MB a second  merges\n           \
                    last failure: no room\n";
        assert_eq!(show(&row), text);
        assert!(show(&Row { state: "waiting".into(), ..row }).contains("paused"));
    }
}
