//! What a run keeps an eye on while it goes on: what nodes bring each other, and how much they hold.

use std::time::Duration;

use grapevine::node::Node;

use crate::member::Nodes;
use crate::scenario::Scenario;
use crate::timeline::{self, Mark};

/// A head's memory may be over its bound by what arrives until the next look at it: it is looked at with each push.
const HELD_SLACK_BYTES: u64 = 4 << 20;
/// Times its bound that a log may have: a node keeps twice as long what another is to pack, and half of what is too long
/// goes at a time.
const LOG_TIMES: u64 = 4;

/// What was seen of each node.
#[derive(Debug)]
pub struct Watch {
    carried: Vec<Carried>,
}

/// Bytes that a node's present process has brought others or fetched.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Carried {
    repaired: u64,
    fetched: u64,
}

impl Carried {
    fn of(node: &Node) -> Self {
        let metrics = &node.metrics;
        Carried { repaired: metrics.repaired_bytes.get(), fetched: metrics.fetched_bytes.get() }
    }

    /// What came to it since an earlier look; all of it, if that was at another process.
    fn since(self, before: Self) -> Self {
        let grown = |now: u64, then: u64| now.checked_sub(then).unwrap_or(now);
        Carried {
            repaired: grown(self.repaired, before.repaired),
            fetched: grown(self.fetched, before.fetched),
        }
    }
}

impl Watch {
    /// Nothing was seen yet.
    pub fn new(nodes: usize) -> Self {
        Watch { carried: vec![Carried::default(); nodes] }
    }

    /// Notes in the timeline what nodes have brought each other since the last look, and says which hold more than they
    /// may.
    pub fn look(&mut self, nodes: &Nodes, scenario: &Scenario) -> Vec<String> {
        let mut excesses = Vec::new();
        for (number, carried) in self.carried.iter_mut().enumerate() {
            let Some(node) = nodes.get(number) else { continue };
            let now = Carried::of(&node);
            let Carried { repaired, fetched } = now.since(std::mem::replace(carried, now));
            let moved = |text: String| timeline::mark(Mark::Moved, Some(number), || text);
            if repaired > 0 {
                moved(format!("brought other owners {repaired} bytes that they lacked"));
            }
            if fetched > 0 {
                moved(format!("fetched {fetched} bytes of packs"));
            }
            excesses.extend(excess(&node).map(|text| format!("`{}` {text}", scenario.nodes[number].name)));
        }
        excesses
    }
}

/// What a node holds more of than it may.
fn excess(node: &Node) -> Option<String> {
    let (metrics, head) = (&node.metrics, &node.config.head);
    let held = (metrics.head_open_bytes.get() + metrics.head_sealed_bytes.get()).max(0) as u64;
    // What it packs, and twice the open text for what others pack; while one such amount is written, another gathers.
    let most = 2 * head.sealed_size_max.0 + 3 * head.open_size_max.0 + HELD_SLACK_BYTES;
    if held > most {
        return Some(format!("holds {} MiB in heads, of {} at most", held >> 20, most >> 20));
    }
    let (log, most) = (metrics.wal_bytes.get().max(0) as u64, LOG_TIMES * node.config.wal.size_max.0);
    (log > most).then(|| format!("has a log of {} MiB, of {} at most", log >> 20, most >> 20))
}

/// How often it is looked.
pub const LOOK_EVERY: Duration = Duration::from_millis(500);

#[cfg(test)]
mod tests {
    use super::Carried;

    #[test]
    fn what_a_new_process_has_carried_counts_from_nothing() {
        let of = |repaired, fetched| Carried { repaired, fetched };
        assert_eq!(of(9, 5).since(of(4, 5)), of(5, 0));
        assert_eq!(of(3, 0).since(of(4, 5)), of(3, 0));
    }
}
