//! What a scenario's file says: TOML, every key documented here and in the files that come along.
//!
//! A key that does not exist is an error, and so is a node or zone that nobody named. What is written here is
//! turned into a [`Scenario`](super::Scenario) by `super::read`, which is where defaults are filled in.

use std::collections::BTreeMap;

use grapevine::config::units::{ByteSize, Period};
use serde::Deserialize;

/// The whole file.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct File {
    /// What it is about, in a sentence.
    pub about: String,
    /// Simulated time with faults; that to recover comes on top.
    #[serde(default = "minute")]
    pub length: Period,
    /// The nodes, in order. The clients have a machine of their own.
    pub node: Vec<Node>,
    /// What joins zones; every link not named is a cable of 2 ms.
    #[serde(default)]
    pub link: Vec<Link>,
    /// The replicas.
    #[serde(default)]
    pub cluster: Cluster,
    /// Keys of the nodes' configuration, as in their file: `[config.head]`, then `age_max = "10s"`.
    #[serde(default)]
    pub config: toml::Table,
    /// The chunk store.
    #[serde(default)]
    pub store: Store,
    /// What clients do.
    #[serde(default)]
    pub workload: Workload,
    /// Faults drawn from the seed.
    #[serde(default)]
    pub faults: Generator,
    /// Faults at fixed times; one list entry each, in any order.
    #[serde(default)]
    pub fault: Vec<Fault>,
    /// What must hold.
    #[serde(default)]
    pub expect: Expect,
}

fn minute() -> Period {
    Period::seconds(60)
}

/// A node, or several that differ in their names alone.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Node {
    /// What it is called; with `count`, what they are called before their numbers.
    pub name: String,
    /// Where it stands. Links and faults name zones; replicas go to distinct ones first.
    #[serde(default)]
    pub zone: String,
    /// How much it is to hold, 100 being usual.
    #[serde(default = "hundred")]
    pub weight: u16,
    /// How many of them there are: `n1`, `n2`, ...
    pub count: Option<usize>,
    /// It is not there from the beginning: a `join` starts it.
    #[serde(default)]
    pub spare: bool,
    /// Keys of its own configuration, over those of all.
    #[serde(default)]
    pub config: toml::Table,
}

fn hundred() -> u16 {
    100
}

/// What joins two zones, or the nodes of one (`between = ["a", "a"]`). The clients' zone is `clients`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Link {
    /// The two zones.
    pub between: [String; 2],
    /// How long a datagram takes at least; 2 ms and more.
    pub latency: Period,
    /// How much longer it may take; a tenth of the latency where not said.
    pub jitter: Option<Period>,
    /// The part that is lost, as in 0.01.
    #[serde(default)]
    pub loss: f64,
    /// The part that comes twice.
    #[serde(default)]
    pub duplicates: f64,
}

/// The replicas. With one node there is no cluster.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Cluster {
    /// How many owners each stream has.
    pub replication_factor: usize,
    /// How many must have a push on their disks before it is answered.
    pub write_acks: usize,
}

impl Default for Cluster {
    fn default() -> Self {
        Cluster { replication_factor: 3, write_acks: 2 }
    }
}

/// Whose the chunk store is.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum StoreKind {
    /// One bucket for all.
    #[default]
    Shared,
    /// A directory for each node.
    Private,
}

/// The chunk store in good times.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Store {
    /// Whose it is.
    pub kind: StoreKind,
    /// How long a request takes at least.
    pub latency: Period,
    /// How much longer it may take.
    pub jitter: Period,
    /// The part of requests that fail, half of them after they did what was asked.
    pub failures: f64,
}

/// What clients do while there are faults.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Workload {
    /// Streams written at a time; when one has some thousand lines, another takes its place.
    pub streams: u64,
    /// Lines a second, of all streams together.
    pub lines_per_second: f64,
    /// Lines of one stream in one push at most.
    pub batch: u64,
    /// Questions a second, of lines and of counts.
    pub queries_per_second: f64,
    /// Pushes come for so long, ...
    pub busy: Period,
    /// ... then none for so long, and again. 0 is never quiet.
    pub quiet: Period,
    /// How long a client waits for an answer before it gives up.
    pub patience: Period,
}

impl Default for Workload {
    fn default() -> Self {
        Workload {
            streams: 6,
            lines_per_second: 150.0,
            batch: 12,
            queries_per_second: 1.2,
            busy: Period::seconds(60),
            quiet: Period::ZERO,
            patience: Period::seconds(5),
        }
    }
}

/// A kind of fault, as on the command line.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
#[value(rename_all = "kebab-case")]
pub enum Kind {
    /// Nothing passes between some nodes, both ways or one.
    Partition,
    /// A process is killed.
    Crash,
    /// The power goes, most often at a chosen disk operation.
    Power,
    /// A disk has no room.
    DiskFull,
    /// Syncs and writes fail.
    DiskError,
    /// A wall clock jumps.
    Clock,
    /// The chunk store is out, or slow and failing.
    Store,
    /// Links lose.
    Loss,
    /// Links double.
    Dup,
    /// Links reorder.
    Reorder,
    /// A machine is suspended.
    Pause,
    /// A spare node joins, or one that left comes back.
    Join,
    /// A node leaves in good order.
    Leave,
    /// A node is stopped in good order and started again.
    Upgrade,
}

/// Faults drawn from the seed.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Generator {
    /// Which; one that is named twice is drawn twice as often.
    pub kinds: Vec<Kind>,
    /// How many a simulated minute.
    pub per_minute: f64,
}

/// Which nodes: names, zones as `zone:kitchen`, `all`, or `clients`.
pub type Nodes = Vec<String>;

/// A fault at a time. Each `at` counts from when the nodes have found together; `down` and `length` say for how long.
#[derive(Clone, Debug, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Fault {
    /// Kills processes; all that was written stays on their disks.
    Crash { at: Period, nodes: Nodes, down: Period },
    /// Takes the power: of what was not synced the part `keep` stays, by chance.
    Power {
        at: Period,
        nodes: Nodes,
        down: Period,
        #[serde(default)]
        keep: f64,
    },
    /// Suspends machines.
    Pause { at: Period, nodes: Nodes, length: Period },
    /// Sets wall clocks wrong by so much, as in `-5m`.
    Clock { at: Period, nodes: Nodes, by: String },
    /// Leaves so much room on disks.
    DiskFull { at: Period, nodes: Nodes, room: ByteSize, length: Period },
    /// Lets so many syncs and writes fail.
    DiskError { at: Period, nodes: Nodes, syncs: u32, writes: u32 },
    /// The chunk store refuses everything, to these nodes (all, if none is named).
    StoreOut {
        at: Period,
        #[serde(default)]
        nodes: Nodes,
        length: Period,
    },
    /// The chunk store takes its time, and the part `failures` of requests fails.
    StoreSlow { at: Period, latency: Period, failures: f64, length: Period },
    /// All links of these nodes lose and double parts of what they carry, and delay it by up to `jitter`.
    Weather {
        at: Period,
        nodes: Nodes,
        #[serde(default)]
        loss: f64,
        #[serde(default)]
        duplicates: f64,
        #[serde(default)]
        jitter: Period,
        length: Period,
    },
    /// Nothing passes from `from` to `to`, nor back unless `one_way`.
    Partition {
        at: Period,
        from: Nodes,
        to: Nodes,
        #[serde(default)]
        one_way: bool,
        length: Period,
    },
    /// Starts spare nodes, or nodes that left.
    Join { at: Period, nodes: Nodes },
    /// Lets nodes leave in good order.
    Leave { at: Period, nodes: Nodes },
    /// Stops nodes in good order and starts them again, the next when the one before has been up for `apart`.
    Upgrade { at: Period, nodes: Nodes, apart: Period },
}

/// Between which lines of one timestamp the order of arrival is checked.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum Ties {
    /// Those of one push.
    #[default]
    WithinPushes,
    /// Those of different pushes too, if the earlier was acknowledged before the later was sent.
    AcrossPushes,
}

/// What must hold, beside what always must.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Expect {
    /// How long it may take, once the faults are over, until all is well.
    pub recovery: Period,
    /// How strictly order is checked.
    pub ties: Ties,
    /// Time without pushes before the store is weighed; needed for `amplification`.
    pub quiet: Period,
    /// Text in the chunk store in relation to what clients sent of it at most.
    pub amplification: Option<f64>,
    /// Parts of messages of level ERROR that may be logged.
    pub errors: Vec<String>,
    /// Parts of messages that must be logged (level WARN or ERROR), by some node.
    pub messages: Vec<String>,
}

impl Default for Expect {
    fn default() -> Self {
        Expect {
            recovery: Period::seconds(120),
            ties: Ties::default(),
            quiet: Period::ZERO,
            amplification: None,
            errors: Vec::new(),
            messages: Vec::new(),
        }
    }
}

/// Settings of the configuration as `--set` would give them.
pub fn flattened(config: &toml::Table) -> BTreeMap<String, String> {
    let mut flat = BTreeMap::new();
    for (key, value) in config {
        match value {
            toml::Value::Table(inner) => {
                flat.extend(inner.iter().map(|(name, value)| (format!("{key}.{name}"), text(value))));
            }
            value => _ = flat.insert(key.clone(), text(value)),
        }
    }
    flat
}

fn text(value: &toml::Value) -> String {
    match value {
        toml::Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}
