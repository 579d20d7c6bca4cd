//! Faults as they begin: what each does to nodes, disks, links and the store.

use std::time::Duration;

use anyhow::Result;

use super::{Due, Run, state};
use crate::effects::Effect;
use crate::host::Order;
use crate::net::Weather;
use crate::schedule::Fault;
use crate::timeline::{self, Mark, Stretch};

impl Run {
    /// Begins those that are due.
    pub(super) fn begin_faults(&mut self) -> Result<()> {
        while let Some(event) = self.events.pop_if(|event| self.began + event.at <= self.cluster.now()) {
            timeline::mark(Mark::Fault, None, || event.to_string());
            self.begin(event.fault)?;
        }
        Ok(())
    }

    fn begin(&mut self, fault: Fault) -> Result<()> {
        let now = self.cluster.now();
        match fault {
            Fault::PowerLoss { nodes, down, keep_permille } => {
                for node in self.of_those_that_belong(nodes) {
                    self.lose_power(node, keep_permille, Some(down))?;
                }
            }
            Fault::DiskDies { node, operations, down, keep_permille } => {
                self.members[node].dies = (down, keep_permille);
                self.cluster.disk(node).set(|faults| faults.dies_in = Some(operations));
            }
            Fault::Crash { nodes, down } => {
                for node in self.of_those_that_belong(nodes) {
                    self.nodes.let_go(node);
                    self.cluster.crash(node);
                    self.crashed(node, "crash", Some(down));
                }
            }
            Fault::Pause { nodes, length } => nodes.into_iter().for_each(|node| {
                self.cluster.pause(node, length);
                self.members[node].paused_until = now + length;
                timeline::open(Stretch::Paused, node, "suspended");
            }),
            Fault::ClockJump { nodes, nanos } => nodes.into_iter().for_each(|node| {
                self.cluster.set_skew(node, nanos);
                self.clients.note_trouble(node);
            }),
            Fault::DiskFull { nodes, room, length } => {
                self.effects.begin(now + length, Effect::DiskFull(nodes.clone()), &self.cluster);
                nodes.iter().for_each(|node| self.cluster.disk(*node).set(|faults| faults.room = Some(room)));
            }
            Fault::DiskErrors { nodes, syncs, writes } => {
                for node in nodes {
                    self.cluster.disk(node).set(|faults| {
                        faults.failing_syncs += syncs;
                        faults.failing_writes += writes;
                    });
                }
            }
            Fault::StoreOut { .. }
            | Fault::StoreSlow { .. }
            | Fault::BadWeather { .. }
            | Fault::Partition { .. } => {
                let (length, effect) = lasting(fault);
                self.effects.begin(now + length, effect, &self.cluster);
            }
            Fault::Join { nodes } => {
                for node in nodes {
                    self.members[node].belongs = true;
                    self.start(node)?;
                }
            }
            Fault::Leave { nodes } => nodes.into_iter().for_each(|node| self.leave(node)),
            Fault::Upgrade { nodes, apart } => self.due.push((now, Due::Upgrade(nodes, apart))),
        }
        Ok(())
    }

    fn of_those_that_belong(&self, nodes: Vec<usize>) -> Vec<usize> {
        nodes.into_iter().filter(|node| self.members[*node].belongs).collect()
    }

    /// It takes and answers requests as ever, hands over, and ends by itself. One that is down cannot be told.
    fn leave(&mut self, node: usize) {
        if self.cluster.is_up(node) && self.members[node].belongs && self.members[node].stopping.is_none() {
            state(Some(node), "is told to leave");
            self.members[node].leaving = true;
            self.cluster.order(node, Order::Leave);
        }
    }
}

/// How long a fault lasts, and what it is while it does.
fn lasting(fault: Fault) -> (Duration, Effect) {
    match fault {
        Fault::StoreOut { nodes, length } => (length, Effect::StoreOut(nodes)),
        Fault::StoreSlow { latency, before_permille, after_permille, length } => {
            (length, Effect::StoreSlow { latency, before_permille, after_permille })
        }
        Fault::BadWeather { nodes, loss_permille, duplicate_permille, jitter, length } => {
            let weather = Weather { jitter, loss_permille, duplicate_permille, ..Weather::default() };
            (length, Effect::Weather(nodes, weather))
        }
        Fault::Partition { from, to, one_way, length } => {
            let there = from.iter().flat_map(|from| to.iter().map(move |to| (*from, *to)));
            let back = there.clone().filter(|_| !one_way).map(|(from, to)| (to, from));
            (length, Effect::Partition(there.chain(back).collect()))
        }
        other => unreachable!("{other:?} does not last"),
    }
}
