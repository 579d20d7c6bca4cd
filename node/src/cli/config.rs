//! `grapevine config`: the configuration in effect, or the reference of all keys.

use anyhow::Result;
use clap::Args;

use super::exit::Exit;
use super::serve::ConfigArgs;
use crate::config::reference;

/// Shows the configuration.
#[derive(Debug, Args)]
pub struct ConfigCommandArgs {
    #[command(flatten)]
    config: ConfigArgs,
    /// Print the reference of all keys, as Markdown, instead.
    #[arg(long)]
    reference: bool,
}

/// Prints what a node with these flags, variables and file would run with; secrets are hidden.
///
/// # Errors
/// A configuration that cannot be used: this checks one without starting a node.
pub fn run(args: &ConfigCommandArgs) -> Result<Exit> {
    match args.reference {
        true => print!("{}", reference::markdown()),
        false => print!("{}", args.config.load()?.to_toml()),
    }
    Ok(Exit::Done)
}
