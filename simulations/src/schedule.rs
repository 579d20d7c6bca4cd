//! What goes wrong, and when: drawn from the seed before anything runs.
//!
//! Drawn up front, so that a failing seed can be made smaller by leaving events out: those that stay are the
//! same, at the same times.

use std::fmt;
use std::time::Duration;

use crate::random::Random;

/// Something that goes wrong with a node, its disk, its links or its chunk store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The power goes; of what was not synced so many changes in a thousand stay.
    PowerLoss { down: Duration, keep_permille: u64 },
    /// The power goes before the disk operation after so many.
    DiskDies { operations: u64, down: Duration, keep_permille: u64 },
    /// The process is killed.
    Crash { down: Duration },
    /// The machine is suspended.
    Pause { length: Duration },
    /// The wall clock is so far off from now on.
    ClockJump { nanos: i64 },
    /// The disk has so many bytes of room.
    DiskFull { room: u64, length: Duration },
    /// So many syncs and writes fail.
    DiskErrors { syncs: u32, writes: u32 },
    /// The chunk store refuses everything.
    StoreOut { length: Duration },
    /// The chunk store is slow and fails, before or after it did what was asked.
    StoreFlaky { latency: Duration, before_permille: u64, after_permille: u64, length: Duration },
    /// Links lose, double and reorder.
    BadWeather { loss_permille: u64, duplicate_permille: u64, jitter: Duration, length: Duration },
    /// Nothing passes from clients to the node, or back, or either.
    Partition { requests: bool, answers: bool, length: Duration },
}

/// A fault at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
        write!(f, "#{} at {:.3} s: {:?}", self.number, self.at.as_secs_f64(), self.fault)
    }
}

/// Faults of one run: as many as `events` says, each at a time before `length`.
pub fn draw(seed: u64, events: usize, length: Duration) -> Vec<Event> {
    let mut random = Random::of_part(seed, "schedule");
    let mut drawn: Vec<(Duration, Fault)> = (0..events)
        .map(|_| (millis(&mut random, 500, length.as_millis() as u64), fault(&mut random)))
        .collect();
    drawn.sort_by_key(|(at, _)| *at);
    drawn.into_iter().enumerate().map(|(number, (at, fault))| Event { number, at, fault }).collect()
}

fn millis(random: &mut Random, least: u64, most: u64) -> Duration {
    Duration::from_millis(random.within(least..=most.max(least)))
}

fn fault(random: &mut Random) -> Fault {
    let down = millis(random, 10, 3000);
    let length = millis(random, 500, 12_000);
    let keep_permille = [0, 100, 500, 900][random.below(4) as usize];
    match random.below(14) {
        0 => Fault::PowerLoss { down, keep_permille },
        1..=4 => Fault::DiskDies { operations: random.within(0..=120), down, keep_permille },
        5 => Fault::Crash { down },
        6 => Fault::Pause { length },
        7 => Fault::ClockJump { nanos: clock_jump(random) },
        8 => Fault::DiskFull { room: random.below(200_000), length },
        9 => Fault::DiskErrors { syncs: random.below(3) as u32, writes: random.below(3) as u32 },
        10 => Fault::StoreOut { length },
        11 => Fault::StoreFlaky {
            latency: millis(random, 0, 2000),
            before_permille: random.below(400),
            after_permille: random.below(400),
            length,
        },
        12 => Fault::BadWeather {
            loss_permille: random.below(300),
            duplicate_permille: random.below(300),
            jitter: millis(random, 1, 400),
            length,
        },
        _ => {
            let way = random.below(3);
            Fault::Partition { requests: way != 0, answers: way != 1, length }
        }
    }
}

/// Mostly minutes, as by a wrong time server; at times hours, as after a flat battery.
fn clock_jump(random: &mut Random) -> i64 {
    let most = if random.permille(250) { 10_800 } else { 300 };
    (random.within(0..=2 * most) as i64 - most as i64) * 1_000_000_000
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::draw;

    const MINUTE: Duration = Duration::from_secs(60);

    #[test]
    fn schedule_is_of_its_seed_in_order_and_within_its_time() {
        let events = draw(1, 30, MINUTE);
        assert_eq!(events, draw(1, 30, MINUTE));
        assert_ne!(events, draw(2, 30, MINUTE));
        assert!(events.is_sorted_by_key(|event| event.at) && events.iter().all(|event| event.at <= MINUTE));
        assert!(events.iter().enumerate().all(|(number, event)| event.number == number));
    }

    #[test]
    fn every_kind_of_fault_is_drawn_sooner_or_later() {
        let kinds: std::collections::BTreeSet<String> = (0..50)
            .flat_map(|seed| draw(seed, 10, MINUTE))
            .map(|event| format!("{:?}", event.fault).split(' ').next().unwrap_or_default().to_owned())
            .collect();
        assert_eq!(kinds.len(), 11, "{kinds:?}");
    }
}
