//! The scenarios: what is run, under which faults, and what must hold.

pub mod lone_node;

use std::path::PathBuf;

use anyhow::{Result, bail};

use crate::check::Ties;
use crate::report::Outcome;

/// A bug planted on purpose: a harness that does not find it is worth nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Canary {
    /// Syncs of files do nothing: a node that acknowledges before it syncs.
    SyncsLie,
    /// Syncs of folders do nothing: a node that forgets that names must be synced too.
    FolderSyncsLie,
    /// Puts into the chunk store do nothing: a node that lets go of a pack before it is stored.
    PutsLie,
}

/// What a run is told.
#[derive(Clone, Debug)]
pub struct Options {
    /// Decides everything.
    pub seed: u64,
    /// How long faults go on, in simulated seconds.
    pub seconds: u64,
    /// How many faults.
    pub faults: usize,
    /// Faults to leave out, by number.
    pub skip: Vec<usize>,
    /// How strictly order is checked.
    pub ties: Ties,
    /// A bug to plant.
    pub canary: Option<Canary>,
    /// Where to keep the trace.
    pub trace: Option<PathBuf>,
}

/// A scenario by name.
#[derive(Clone, Copy, Debug)]
pub struct Scenario {
    /// Its name.
    pub name: &'static str,
    /// What it is about.
    pub about: &'static str,
    run: fn(&Options) -> Result<Outcome>,
}

/// All scenarios.
pub const SCENARIOS: [Scenario; 1] = [Scenario {
    name: "lone-node",
    about: "one node, its clients and its chunk store: power losses at any disk operation, full and failing \
            disks, store outages, clock jumps, pauses, lost and doubled requests",
    run: lone_node::run,
}];

impl Scenario {
    /// The scenario of a name.
    ///
    /// # Errors
    /// There is none.
    pub fn of_name(name: &str) -> Result<Self> {
        match SCENARIOS.iter().find(|scenario| scenario.name == name) {
            Some(scenario) => Ok(*scenario),
            None => bail!("no scenario is called `{name}`; `grapevine-sim list` names them"),
        }
    }

    /// Runs it in a thread of its own, with time and chance from the seed.
    ///
    /// # Errors
    /// The harness itself failed.
    pub fn run(self, options: &Options) -> Result<Outcome> {
        if !crate::det::is_linked() {
            bail!("this executable was linked without the harness's own clock and randomness");
        }
        std::thread::scope(|scope| {
            let work = || {
                let _entered = crate::det::enter(options.seed);
                (self.run)(options)
            };
            // Deep enough for a debug build's parsers and compressors.
            let thread = std::thread::Builder::new().stack_size(64 << 20).spawn_scoped(scope, work)?;
            thread.join().unwrap_or_else(|_| bail!("the harness itself panicked; see above"))
        })
    }
}
