//! What goes wrong, and when: fixed by the scenario, or drawn from the seed before anything runs.
//!
//! Drawn up front, so that a failing seed can be made smaller by leaving events out: those that stay are the
//! same, at the same times.

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use crate::random::Random;
use crate::scenario::format::Kind;

/// Something that goes wrong with nodes, their disks, their links or their chunk store. Nodes by number; the
/// clients' machine comes after the last node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The power goes; of what was not synced so many changes in a thousand stay.
    PowerLoss { nodes: Vec<usize>, down: Duration, keep_permille: u64 },
    /// The power goes before the disk operation after so many.
    DiskDies { node: usize, operations: u64, down: Duration, keep_permille: u64 },
    /// Processes are killed.
    Crash { nodes: Vec<usize>, down: Duration },
    /// Machines are suspended.
    Pause { nodes: Vec<usize>, length: Duration },
    /// Wall clocks are so far off from now on.
    ClockJump { nodes: Vec<usize>, nanos: i64 },
    /// Disks have so many bytes of room.
    DiskFull { nodes: Vec<usize>, room: u64, length: Duration },
    /// So many syncs and writes fail.
    DiskErrors { nodes: Vec<usize>, syncs: u32, writes: u32 },
    /// The chunk store refuses everything to these nodes.
    StoreOut { nodes: Vec<usize>, length: Duration },
    /// The chunk store is slow and fails, before or after it did what was asked.
    StoreSlow { latency: Duration, before_permille: u64, after_permille: u64, length: Duration },
    /// Links of these nodes lose, double and reorder.
    BadWeather {
        nodes: Vec<usize>,
        loss_permille: u64,
        duplicate_permille: u64,
        jitter: Duration,
        length: Duration,
    },
    /// Nothing passes from some to others, nor back unless it is one way.
    Partition { from: Vec<usize>, to: Vec<usize>, one_way: bool, length: Duration },
    /// Nodes are started that are no members, or not any longer.
    Join { nodes: Vec<usize> },
    /// Nodes leave in good order.
    Leave { nodes: Vec<usize> },
    /// Nodes are stopped in good order and started again, one after the other.
    Upgrade { nodes: Vec<usize>, apart: Duration },
}

/// A fault at a time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Its place in the schedule, by which it can be left out.
    pub number: usize,
    /// When it begins.
    pub at: Duration,
    /// What it is.
    pub fault: Fault,
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{}: {:?}", self.number, self.fault)
    }
}

/// Who can have faults.
#[derive(Clone, Debug)]
pub struct Actors {
    /// Nodes, spare ones included; the clients come after them.
    pub nodes: usize,
    /// Nodes that are there from the beginning.
    pub present: BTreeSet<usize>,
    /// So many nodes stay, whoever leaves.
    pub keep: usize,
}

/// Faults of one run: as many as `events` says, each at a time before `length`, of these kinds.
pub fn draw(
    seed: u64,
    actors: &Actors,
    kinds: &[Kind],
    events: usize,
    length: Duration,
) -> Vec<(Duration, Fault)> {
    if kinds.is_empty() {
        return Vec::new();
    }
    let mut random = Random::of_part(seed, "schedule");
    let mut times: Vec<Duration> =
        (0..events).map(|_| millis(&mut random, 500, length.as_millis() as u64)).collect();
    times.sort_unstable();
    let mut artist = Artist { random, actors: actors.clone(), present: actors.present.clone() };
    times.into_iter().filter_map(|at| Some((at, artist.fault(kinds)?))).collect()
}

fn millis(random: &mut Random, least: u64, most: u64) -> Duration {
    Duration::from_millis(random.within(least..=most.max(least)))
}

struct Artist {
    random: Random,
    actors: Actors,
    /// Who is a member after all that was drawn.
    present: BTreeSet<usize>,
}

impl Artist {
    fn fault(&mut self, kinds: &[Kind]) -> Option<Fault> {
        let kind = kinds[self.random.below(kinds.len() as u64) as usize];
        let down = millis(&mut self.random, 10, 3000);
        let length = millis(&mut self.random, 500, 12_000);
        let keep_permille = [0, 100, 500, 900][self.random.below(4) as usize];
        let node = self.member()?;
        let nodes = vec![node];
        Some(match kind {
            Kind::Power => match self.random.below(5) {
                0 => Fault::PowerLoss { nodes, down, keep_permille },
                _ => Fault::DiskDies { node, operations: self.random.within(0..=120), down, keep_permille },
            },
            Kind::Crash => Fault::Crash { nodes, down },
            Kind::Pause => Fault::Pause { nodes, length },
            Kind::Clock => Fault::ClockJump { nodes, nanos: clock_jump(&mut self.random) },
            Kind::DiskFull => Fault::DiskFull { nodes, room: self.random.below(200_000), length },
            Kind::DiskError => {
                let (syncs, writes) = (self.random.below(3) as u32, self.random.below(3) as u32);
                Fault::DiskErrors { nodes, syncs, writes }
            }
            Kind::Store => self.store(length),
            Kind::Loss | Kind::Dup | Kind::Reorder => self.weather(kind, length),
            Kind::Partition => self.partition(length),
            Kind::Join => return self.join(),
            Kind::Leave => return self.leave(node),
            Kind::Upgrade => Fault::Upgrade { nodes, apart: down },
        })
    }

    fn member(&mut self) -> Option<usize> {
        let place = self.random.below(self.present.len().max(1) as u64) as usize;
        self.present.iter().nth(place).copied()
    }

    fn store(&mut self, length: Duration) -> Fault {
        let nodes = (0..self.actors.nodes).collect();
        if self.random.permille(500) {
            return Fault::StoreOut { nodes, length };
        }
        Fault::StoreSlow {
            latency: millis(&mut self.random, 0, 2000),
            before_permille: self.random.below(400),
            after_permille: self.random.below(400),
            length,
        }
    }

    /// Of all links or of one node's.
    fn weather(&mut self, kind: Kind, length: Duration) -> Fault {
        let hosts = self.actors.nodes as u64 + 1;
        let one = self.random.permille(500).then(|| self.random.below(hosts) as usize);
        let nodes = one.map_or_else(|| (0..=self.actors.nodes).collect(), |node| vec![node]);
        let part = 1 + self.random.below(300);
        let (loss_permille, duplicate_permille) = match kind {
            Kind::Loss => (part, 0),
            Kind::Dup => (0, part),
            _ => (0, 0),
        };
        let most = if kind == Kind::Reorder { 400 } else { 10 };
        let jitter = millis(&mut self.random, 1, most);
        Fault::BadWeather { nodes, loss_permille, duplicate_permille, jitter, length }
    }

    /// Of two sides, with the clients on either; or between one pair alone. At times longer than QUIC waits.
    fn partition(&mut self, length: Duration) -> Fault {
        let length = if self.random.permille(300) { length * 4 } else { length };
        let hosts = self.actors.nodes + 1;
        let one_way = self.random.permille(400);
        if self.random.permille(400) {
            let from = self.random.below(hosts as u64) as usize;
            let to = (from + 1 + self.random.below(hosts as u64 - 1) as usize) % hosts;
            return Fault::Partition { from: vec![from], to: vec![to], one_way, length };
        }
        let (mut from, mut to): (Vec<_>, Vec<_>) = (0..hosts).partition(|_| self.random.permille(500));
        if from.is_empty() || to.is_empty() {
            (from, to) = ((1..hosts).collect(), vec![0]);
        }
        Fault::Partition { from, to, one_way, length }
    }

    fn join(&mut self) -> Option<Fault> {
        let node = (0..self.actors.nodes).find(|node| !self.present.contains(node))?;
        self.present.insert(node);
        Some(Fault::Join { nodes: vec![node] })
    }

    fn leave(&mut self, node: usize) -> Option<Fault> {
        if self.present.len() <= self.actors.keep {
            return None;
        }
        self.present.remove(&node);
        Some(Fault::Leave { nodes: vec![node] })
    }
}

/// Mostly minutes, as by a wrong time server; at times hours, as after a flat battery.
fn clock_jump(random: &mut Random) -> i64 {
    let most = if random.permille(250) { 10_800 } else { 300 };
    (random.within(0..=2 * most) as i64 - most as i64) * 1_000_000_000
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::time::Duration;

    use clap::ValueEnum;

    use super::{Actors, Fault, draw};
    use crate::scenario::format::Kind;

    const MINUTE: Duration = Duration::from_secs(60);

    fn actors() -> Actors {
        Actors { nodes: 5, present: (0..4).collect(), keep: 3 }
    }

    #[test]
    fn schedule_is_of_its_seed_in_order_and_within_its_time() {
        let of = |seed| draw(seed, &actors(), Kind::value_variants(), 30, MINUTE);
        assert_eq!(of(1), of(1));
        assert_ne!(of(1), of(2));
        assert!(of(1).is_sorted_by_key(|(at, _)| *at) && of(1).iter().all(|(at, _)| *at <= MINUTE));
        assert_eq!(draw(1, &actors(), &[], 30, MINUTE), []);
    }

    #[test]
    fn every_kind_of_fault_is_drawn_sooner_or_later() {
        let kinds: BTreeSet<String> = (0..50)
            .flat_map(|seed| draw(seed, &actors(), Kind::value_variants(), 20, MINUTE))
            .map(|(_, fault)| format!("{fault:?}").split(' ').next().unwrap_or_default().to_owned())
            .collect();
        assert_eq!(kinds.len(), 14, "{kinds:?}");
    }

    #[test]
    fn no_more_nodes_leave_than_may_and_only_who_is_away_joins() {
        for seed in 0..50 {
            let mut present = actors().present;
            for (_, fault) in draw(seed, &actors(), &[Kind::Join, Kind::Leave], 30, MINUTE) {
                match fault {
                    Fault::Join { nodes } => assert!(nodes.into_iter().all(|node| present.insert(node))),
                    Fault::Leave { nodes } => assert!(nodes.iter().all(|node| present.remove(node))),
                    other => panic!("{other:?} was not asked for"),
                }
                assert!(present.len() >= 3);
            }
        }
    }
}
