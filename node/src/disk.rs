//! The disk ladder: what a node gives up, step by step, as its disk fills.
//!
//! Above the first rung, where the operator has set one, the oldest days go early; above the second pushes are refused with 429 and
//! `Retry-After`; above the third nothing is written any more. A full disk never stops a node from starting or
//! answering. A decider: it is told how full the disk is.

use std::path::Path;
use std::sync::Mutex;

use crate::config::server::Disk;
use crate::distributor::Gate;
use crate::exec::Exec;

/// How long a client is told to wait.
const RETRY_AFTER_S: u32 = 30;

/// How far up the ladder a node is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rung {
    /// All is well.
    #[default]
    Free,
    /// The oldest days are given up.
    Retention,
    /// Pushes are refused.
    Refuse,
    /// Nothing is written.
    ReadOnly,
}

/// How full a disk is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Bytes in use, as far as this user is concerned.
    pub used: u64,
    /// Bytes in all.
    pub total: u64,
    /// Bytes of packs that wait for the chunk store.
    pub spool: u64,
}

impl Usage {
    /// Looks at the file system of a folder. In a simulation, whose folders lie where others write too, an empty one.
    ///
    /// # Errors
    /// What the system says.
    pub fn of(exec: &Exec, path: &Path, spool: u64) -> std::io::Result<Self> {
        if exec.is_inline() {
            return Ok(Usage { used: 0, total: 1 << 40, spool });
        }
        let fs = rustix::fs::statvfs(path)?;
        // As df reckons: what is in use, of that and what this user may still fill. A quota or a reserve for root
        // makes the file system smaller, not fuller.
        let used = fs.f_blocks.saturating_sub(fs.f_bfree) * fs.f_frsize;
        Ok(Usage { used, total: used + fs.f_bavail * fs.f_frsize, spool })
    }

    /// From 0 to 1.
    pub fn ratio(&self) -> f64 {
        if self.total == 0 { 0.0 } else { self.used as f64 / self.total as f64 }
    }
}

/// The rung that a usage stands for.
pub fn rung(disk: &Disk, usage: Usage) -> Rung {
    let percent = usage.ratio() * 100.0;
    let above = |limit: u8| percent >= f64::from(limit);
    if above(disk.read_only_percent) {
        Rung::ReadOnly
    } else if above(disk.refuse_percent) || usage.spool >= disk.spool_size_max.0 {
        Rung::Refuse
    } else if disk.retention_percent > 0 && above(disk.retention_percent) {
        Rung::Retention
    } else {
        Rung::Free
    }
}

/// The rung a node is on, for those who push.
#[derive(Debug, Default)]
pub struct DiskGate {
    state: Mutex<(Rung, String)>,
}

impl DiskGate {
    /// Notes where the node stands.
    pub fn set(&self, rung: Rung, why: String) {
        *self.state.lock().expect("no one panics with the gate locked") = (rung, why);
    }

    /// Where the node stands.
    pub fn rung(&self) -> Rung {
        self.state.lock().expect("no one panics with the gate locked").0
    }
}

impl Gate for DiskGate {
    fn closed(&self) -> Option<(String, u32)> {
        let state = self.state.lock().expect("no one panics with the gate locked");
        (state.0 >= Rung::Refuse).then(|| (state.1.clone(), RETRY_AFTER_S))
    }
}

#[cfg(test)]
mod tests {
    use super::{DiskGate, Rung, Usage, rung};
    use crate::config::server::Disk;
    use crate::distributor::Gate;

    #[test]
    fn rungs_are_climbed_by_percent_and_by_what_waits_in_the_spool() {
        let disk = Disk { retention_percent: 85, ..Disk::default() };
        let at = |percent: u64, spool: u64| rung(&disk, Usage { used: percent, total: 100, spool });
        assert_eq!(at(84, 0), Rung::Free);
        assert_eq!(at(85, 0), Rung::Retention);
        assert_eq!(at(92, 0), Rung::Refuse);
        assert_eq!(at(97, 0), Rung::ReadOnly);
        assert_eq!(at(10, disk.spool_size_max.0), Rung::Refuse);
        assert_eq!(rung(&disk, Usage::default()), Rung::Free);
        let usage = Usage { used: 91, total: 100, spool: 0 };
        assert_eq!(
            rung(&Disk::default(), usage),
            Rung::Free,
            "nothing is given up unless someone asks for it"
        );
    }

    #[test]
    fn the_gate_closes_at_the_second_rung() {
        let gate = DiskGate::default();
        for (rung, closed) in [(Rung::Retention, false), (Rung::Refuse, true), (Rung::Free, false)] {
            gate.set(rung, "why".into());
            assert_eq!(gate.closed().is_some(), closed, "{rung:?}");
        }
    }
}
