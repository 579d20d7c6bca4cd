//! The command line: one binary that serves, asks, pushes and mends.

pub mod client;
pub mod cluster;
pub mod config;
pub mod demo;
mod departure;
pub mod exit;
pub mod fsck;
pub mod generate;
pub mod hash;
pub mod index;
pub mod labels;
pub mod leave;
pub mod notify;
mod offline;
pub mod output;
pub mod pack;
pub mod pages;
pub mod push;
pub mod query;
pub mod ring;
pub mod serve;
pub mod tail;
pub mod workers;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// A log store for sites without a cloud: Loki's API, one binary, no coordinator.
#[derive(Debug, Parser)]
#[command(name = "grapevine", version, about, after_help = exit::HELP, max_term_width = 100)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The subcommands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run a node over this machine's own logs, and show what it can do.
    Demo(demo::DemoArgs),
    /// Run a node.
    Serve(serve::ServeArgs),
    /// Make a cluster's key, or print its join token.
    Cluster(cluster::ClusterArgs),
    /// Show the members of a node's cluster, what they own and hold.
    Ring(ring::RingArgs),
    /// Have a node hand over what it holds, leave its cluster and end.
    Leave(leave::LeaveArgs),
    /// Ask for log lines or numbers with LogQL.
    Query(query::QueryArgs),
    /// Follow log lines as they arrive.
    Tail(tail::TailArgs),
    /// Send lines from files or standard input.
    Push(push::PushArgs),
    /// List label names, or the values of one label.
    Labels(labels::LabelsArgs),
    /// List the streams that match a selector.
    Series(labels::SeriesArgs),
    /// Look into packs: list, print, verify.
    Pack(pack::PackArgs),
    /// Mend the index of a stopped node.
    Index(index::IndexArgs),
    /// Check what a stopped node holds: packs against index, spool and chunk store.
    Fsck(fsck::FsckArgs),
    /// Show what a node does in the background; pause it, resume it, run it now.
    Workers(workers::WorkersArgs),
    /// Hash a password, or make a token, for the file of users.
    Hash(hash::HashArgs),
    /// Show the configuration in effect, or the reference of all keys.
    Config(config::ConfigCommandArgs),
    /// Print completions for a shell.
    Completions(generate::CompletionsArgs),
    /// Print the manual page.
    Man,
}

/// How a client command reaches a node.
#[derive(Clone, Default, Args)]
pub struct ClientArgs {
    /// The node's address.
    #[arg(long, env = "GRAPEVINE_ADDR", value_name = "URL", default_value = "http://127.0.0.1:3100")]
    pub addr: String,
    /// The tenant, sent as X-Scope-OrgID.
    #[arg(long, env = "GRAPEVINE_ORG_ID", value_name = "TENANT")]
    pub org_id: Option<String>,
    /// Who to log in as.
    #[arg(long, env = "GRAPEVINE_USERNAME", value_name = "NAME")]
    pub username: Option<String>,
    /// The password that goes with --username; better put into the variable.
    #[arg(long, env = "GRAPEVINE_PASSWORD", value_name = "PASSWORD", hide_env_values = true)]
    pub password: Option<String>,
    /// A token to log in with; better put into the variable.
    #[arg(
        long,
        env = "GRAPEVINE_BEARER_TOKEN",
        value_name = "TOKEN",
        hide_env_values = true,
        conflicts_with = "username"
    )]
    pub bearer_token: Option<String>,
    /// A file that holds the token to log in with.
    #[arg(long, env = "GRAPEVINE_BEARER_TOKEN_FILE", value_name = "FILE", conflicts_with_all = ["bearer_token", "username"])]
    pub bearer_token_file: Option<PathBuf>,
    /// A PEM file of the authorities that the node's certificate may come from, instead of the public ones.
    #[arg(long, env = "GRAPEVINE_CA_CERT", value_name = "FILE")]
    pub ca_cert: Option<PathBuf>,
}

/// Without what to log in with.
impl std::fmt::Debug for ClientArgs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ClientArgs")
            .field("addr", &self.addr)
            .field("org_id", &self.org_id)
            .finish_non_exhaustive()
    }
}

/// From when to when.
#[derive(Clone, Debug, Args)]
pub struct RangeArgs {
    /// How far back from now, or from --to.
    #[arg(long, value_name = "DURATION", default_value = "1h")]
    pub since: String,
    /// The start: RFC 3339, or seconds or nanoseconds since 1970.
    #[arg(long, value_name = "TIME", conflicts_with = "since")]
    pub from: Option<String>,
    /// The end, exclusive; now if not given.
    #[arg(long, value_name = "TIME")]
    pub to: Option<String>,
}

/// How lines are printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum OutputFormat {
    /// Time, labels and line, as logcli prints them.
    #[default]
    Default,
    /// The line alone.
    Raw,
    /// A JSON object a line.
    Jsonl,
}

/// A file, or `-` for standard input.
pub type Source = PathBuf;
