//! The scenarios: what is run, under which faults, and what must hold.
//!
//! A scenario is a file ([`mod@format`]); some come along ([`SCENARIOS`]), and a path leads to any other.

pub mod format;
mod read;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use self::format::{Expect, File, Generator, Kind, Store, Workload};
use crate::canary::Canary;
use crate::net::Weather;
use crate::schedule::{self, Actors, Event, Fault};

/// What a run is told, beside its scenario.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Decides everything.
    pub seed: u64,
    /// How many nodes there are, if not as many as the scenario says.
    pub nodes: Option<usize>,
    /// How long faults go on, if not as long as the scenario says.
    pub length: Option<Duration>,
    /// Which faults are drawn, if not those the scenario says.
    pub kinds: Option<Vec<Kind>>,
    /// How many faults are drawn, if not as many as the scenario says.
    pub events: Option<usize>,
    /// Faults to leave out, by number.
    pub skip: Vec<usize>,
    /// The power goes before the first node's disk operation after so many, from its start on.
    pub dies_at: Option<u64>,
    /// A bug to plant.
    pub canary: Option<Canary>,
}

/// A scenario that comes along.
#[derive(Clone, Copy, Debug)]
pub struct Shipped {
    /// Its name.
    pub name: &'static str,
    /// Its file.
    pub text: &'static str,
}

macro_rules! shipped {
    ($($name:literal),+ $(,)?) => {
        [$(Shipped { name: $name, text: include_str!(concat!("scenarios/", $name, ".toml")) }),+]
    };
}

/// All that come along.
pub const SCENARIOS: [Shipped; 11] = shipped![
    "lone-node",
    "three-nodes",
    "five-nodes-two-zones",
    "grows-and-shrinks",
    "two-flaky-shops-and-a-head-office",
    "rolling-upgrade-at-peak",
    "ship-at-sea",
    "one-rack-loses-power",
    "all-power-lost",
    "partition-and-heal",
    "little-memory",
];

/// A node of a scenario.
#[derive(Clone, Debug, PartialEq)]
pub struct NodePlan {
    /// Its name.
    pub name: String,
    /// Where it stands.
    pub zone: String,
    /// How much it is to hold.
    pub weight: u16,
    /// Whether it is not there from the beginning.
    pub spare: bool,
    /// Keys of its configuration with their values, as for `--set`.
    pub config: BTreeMap<String, String>,
}

/// A scenario that has been read: everything named exists.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// Its name, or its path.
    pub name: String,
    /// What it is about.
    pub about: String,
    /// How long faults go on.
    pub length: Duration,
    /// The nodes.
    pub nodes: Vec<NodePlan>,
    /// From each node to each; the clients' machine is the last.
    pub links: Vec<Vec<Weather>>,
    /// Owners of each stream.
    pub replication_factor: usize,
    /// How many must have a push.
    pub write_acks: usize,
    /// The chunk store.
    pub store: Store,
    /// What clients do.
    pub workload: Workload,
    /// What must hold.
    pub expect: Expect,
    /// What goes wrong, in order of time.
    pub events: Vec<Event>,
}

impl Scenario {
    /// The scenario of a name, or of the file at a path, as far as the options leave it as it is.
    ///
    /// # Errors
    /// There is none, or what it says cannot be; with what is wrong.
    pub fn load(name: &str, options: &Options) -> Result<Self> {
        let text = text_of(name)?;
        let file: File = toml::from_str(&text).with_context(|| format!("read scenario `{name}`"))?;
        read::scenario(name, file, options).with_context(|| format!("scenario `{name}`"))
    }

    /// The clients' machine, as a number of a node.
    pub fn clients(&self) -> usize {
        self.nodes.len()
    }

    /// Whether the nodes know each other.
    pub fn is_cluster(&self) -> bool {
        self.nodes.len() > 1
    }

    /// Fixed faults and drawn ones, numbered in order of time, without those to skip.
    fn schedule(&mut self, mut fixed: Vec<(Duration, Fault)>, generator: &Generator, options: &Options) {
        let minutes = self.length.as_secs_f64() / 60.0;
        let count = options.events.unwrap_or((generator.per_minute * minutes).round() as usize);
        let present = (0..self.nodes.len()).filter(|node| !self.nodes[*node].spare).collect();
        let keep = self.replication_factor.min(self.nodes.len());
        let actors = Actors { nodes: self.nodes.len(), present, keep };
        fixed.extend(schedule::draw(options.seed, &actors, &generator.kinds, count, self.length));
        fixed.sort_by_key(|(at, _)| *at);
        let events = fixed.into_iter().enumerate().map(|(number, (at, fault))| Event { number, at, fault });
        self.events = events.filter(|event| !options.skip.contains(&event.number)).collect();
    }
}

/// The text of a scenario that comes along, or of a file.
///
/// # Errors
/// There is neither.
pub fn text_of(name: &str) -> Result<String> {
    if let Some(shipped) = SCENARIOS.iter().find(|shipped| shipped.name == name) {
        return Ok(shipped.text.to_owned());
    }
    if !name.contains(['/', '.']) {
        bail!("no scenario is called `{name}`; `grapevine-sim list` names them, or give the path of a file");
    }
    std::fs::read_to_string(PathBuf::from(name))
        .with_context(|| format!("read the scenario `{}`", Path::new(name).display()))
}
