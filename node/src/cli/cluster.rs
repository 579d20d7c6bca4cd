//! `grapevine cluster`: makes a cluster's key, and prints the token with which other nodes join.

use std::io::Write;
use std::net::SocketAddr;

use anyhow::{Context, Result};
use clap::{Args, Subcommand};
use grapevine_gossip::identity::{ClusterKey, JoinToken};

use super::exit::{Exit, ExitError};
use super::serve::{ConfigArgs, lock};
use crate::cluster::{advertised, home};
use crate::config::Config;
use crate::env::SystemNet;

/// Most addresses in a token that is printed: one that still lives is enough.
const SEEDS_MAX: usize = 3;

/// Arguments of `grapevine cluster`.
#[derive(Debug, Args)]
pub struct ClusterArgs {
    #[command(subcommand)]
    command: ClusterCommand,
}

/// What to do with a cluster's key.
#[derive(Debug, Subcommand)]
enum ClusterCommand {
    /// Make the key of a new cluster in the data directory of its first node, and print the join token.
    Init(KeyArgs),
    /// Print the join token of the cluster to which a data directory belongs.
    Token(KeyArgs),
}

/// Whose key.
#[derive(Debug, Args)]
struct KeyArgs {
    #[command(flatten)]
    config: ConfigArgs,
    #[command(flatten)]
    peers: PeerArgs,
}

/// Where the node meets its peers.
#[derive(Clone, Debug, Default, Args)]
pub struct PeerArgs {
    /// Address and port (UDP) of everything between nodes [default: 0.0.0.0:3101].
    #[arg(long, value_name = "ADDR:PORT")]
    pub peer_listen: Option<String>,
    /// The address under which others reach this node [default: the one on the way to them].
    #[arg(long, value_name = "ADDR")]
    pub advertise: Option<String>,
}

/// What the node is in its cluster.
#[derive(Clone, Debug, Default, Args)]
pub struct MemberArgs {
    /// The join token of the cluster to belong to. Others may see it in the list of processes: rather put it into
    /// GRAPEVINE_CLUSTER_JOIN, or hand it over as a systemd credential.
    #[arg(long, value_name = "TOKEN@HOST:PORT")]
    pub join: Option<String>,
    #[command(flatten)]
    pub peers: PeerArgs,
    /// The node's name in the cluster, kept from the first start on [default: the machine's and something random].
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
    /// The failure domain; replicas go to distinct ones first.
    #[arg(long, value_name = "ZONE")]
    pub zone: Option<String>,
    /// How much the node should hold in relation to others [default: 100].
    #[arg(long, value_name = "NUMBER")]
    pub weight: Option<String>,
    /// On how many nodes each line is kept; the same on all of them [default: 3].
    #[arg(long, value_name = "NUMBER")]
    pub replication_factor: Option<String>,
    /// How many of them must have a push before it is answered [default: 2].
    #[arg(long, value_name = "NUMBER")]
    pub write_acks: Option<String>,
}

impl PeerArgs {
    /// The keys that these flags set.
    pub fn flags(&self) -> Vec<(&'static str, Option<String>)> {
        vec![("cluster.peer_listen", self.peer_listen.clone()), ("cluster.advertise", self.advertise.clone())]
    }
}

impl MemberArgs {
    /// The keys that these flags set.
    pub fn flags(&self) -> Vec<(&'static str, Option<String>)> {
        let mut flags = self.peers.flags();
        flags.extend([
            ("cluster.join", self.join.clone()),
            ("cluster.name", self.name.clone()),
            ("cluster.zone", self.zone.clone()),
            ("cluster.weight", self.weight.clone()),
            ("cluster.replication_factor", self.replication_factor.clone()),
            ("cluster.write_acks", self.write_acks.clone()),
        ]);
        flags
    }
}

/// Runs `grapevine cluster`. The token alone goes to standard output, what to do with it to standard error.
///
/// # Errors
/// There is a key already, or none; or it cannot be told where others reach the node.
pub fn run(args: ClusterArgs) -> Result<Exit> {
    match args.command {
        ClusterCommand::Init(args) => init(&args),
        ClusterCommand::Token(args) => token(&args),
    }
}

fn init(args: &KeyArgs) -> Result<Exit> {
    let config = args.config.load_with(args.peers.flags())?;
    let address = address(&config)?;
    let dir = &config.server.data_dir;
    std::fs::create_dir_all(dir).with_context(|| format!("make the data directory `{}`", dir.display()))?;
    let _lock = lock(dir)?;
    let token = print(home::found(dir)?, vec![address.to_string()])?;
    let dir = dir.display();
    let mut peers = String::new();
    for (flag, value) in [("--peer-listen", &args.peers.peer_listen), ("--advertise", &args.peers.advertise)]
    {
        peers.extend(value.iter().map(|value| format!(" {flag} {value}")));
    }
    eprintln!(
        "\nThis is the join token of a new cluster: who has it belongs to the cluster, so keep it secret. Start its first \
         node, here:\n\n  grapevine serve --data-dir {dir}{peers}\n\nthen each other node, on its own machine:\n\n  \
         grapevine serve --data-dir {dir} --join {token}\n\n`grapevine cluster token --data-dir {dir}{peers}` prints the \
         token again, `grapevine ring` who is there."
    );
    Ok(Exit::Done)
}

fn token(args: &KeyArgs) -> Result<Exit> {
    let config = args.config.load_with(args.peers.flags())?;
    let dir = &config.server.data_dir;
    let key = home::key(dir)?.ok_or_else(|| ExitError {
        exit: Exit::Usage,
        message: format!(
            "`{}` belongs to no cluster; make one with `grapevine cluster init`, or join one with --join",
            dir.display()
        ),
    })?;
    let mut seeds = vec![address(&config)?.to_string()];
    seeds.extend(
        home::seeds(dir).into_iter().filter(|seed| *seed != seeds[0]).take(SEEDS_MAX - 1).collect::<Vec<_>>(),
    );
    print(key, seeds)?;
    Ok(Exit::Done)
}

/// Where others reach the node of this configuration.
fn address(config: &Config) -> Result<SocketAddr> {
    let meant = config.cluster.meant()?;
    if meant.listen.port() == 0 {
        let message = "a token names a port: give --peer-listen one that is not 0".to_owned();
        return Err(ExitError { exit: Exit::Usage, message }.into());
    }
    Ok(SocketAddr::new(advertised(&SystemNet, &meant, &[])?, meant.listen.port()))
}

fn print(key: ClusterKey, seeds: Vec<String>) -> Result<String> {
    let token = JoinToken { key, seeds }.expose();
    writeln!(std::io::stdout(), "{token}").context("write to standard output")?;
    Ok(token)
}
