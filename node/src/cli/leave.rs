//! `grapevine leave`: has a node hand over what it holds and leave its cluster.

use std::time::Duration;

use anyhow::Result;
use clap::Args;

use super::ClientArgs;
use super::client::Client;
use super::exit::{Exit, ExitError};

/// How often it is looked whether the node is still there.
const LOOK: Duration = Duration::from_secs(1);

/// Arguments of `grapevine leave`.
#[derive(Debug, Args)]
pub struct LeaveArgs {
    #[command(flatten)]
    client: ClientArgs,
    /// Come back at once; the node goes on by itself.
    #[arg(long)]
    no_wait: bool,
}

/// Runs `grapevine leave`.
///
/// # Errors
/// The node cannot be reached, or stands alone.
pub async fn run(args: LeaveArgs) -> Result<Exit> {
    let client = Client::new(&args.client)?;
    client.post("/leave", "text/plain", Vec::new()).await?;
    if args.no_wait {
        return Ok(Exit::Done);
    }
    eprintln!("handing over; the node ends when it has");
    loop {
        tokio::time::sleep(LOOK).await;
        let answer = client.get::<serde_json::Value>("/loki/api/v1/status/buildinfo", &[]).await;
        match answer.map_err(|error| error.downcast::<ExitError>()) {
            Ok(_) => {}
            // Nobody listens any more.
            Err(Ok(ExitError { exit: Exit::Unreachable, .. })) => return Ok(Exit::Done),
            Err(Ok(error)) => return Err(error.into()),
            Err(Err(error)) => return Err(error),
        }
    }
}
