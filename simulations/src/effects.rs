//! Faults that last: which are on at the moment, and what nodes, links and stores are like under all of them.
//!
//! Whatever begins or ends, everything is set anew from those that are on, so that faults of one kind can overlap.

use std::time::Duration;

use crate::client::Clients;
use crate::host::Cluster;
use crate::net::Weather;
use crate::store::{FaultyStore, StoreFaults};
use crate::timeline::{self, Stretch};

/// A fault that lasts.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// The chunk store refuses these nodes.
    StoreOut(Vec<usize>),
    /// The chunk store is worse than it was.
    StoreSlow {
        /// How much slower.
        latency: Duration,
        /// So many more requests in a thousand fail and do nothing.
        before_permille: u64,
        /// So many more do what was asked, and fail.
        after_permille: u64,
    },
    /// The links of these are worse.
    Weather(Vec<usize>, Weather),
    /// Nothing passes between pairs of (from, to).
    Partition(Vec<(usize, usize)>),
    /// These disks are full.
    DiskFull(Vec<usize>),
}

/// All that are on.
#[derive(Debug)]
pub struct Effects {
    on: Vec<(Duration, Effect)>,
    /// The stores as they are in good times, by node.
    stores: Vec<FaultyStore>,
    good: StoreFaults,
}

impl Effects {
    /// None is on; each node has a way to a store.
    pub fn new(stores: Vec<FaultyStore>, good: StoreFaults) -> Self {
        stores.iter().for_each(|store| store.set(|faults| *faults = good));
        Effects { on: Vec::new(), stores, good }
    }

    /// Whether none is on.
    pub fn is_empty(&self) -> bool {
        self.on.is_empty()
    }

    /// One begins, until a time.
    pub fn begin(&mut self, until: Duration, effect: Effect, cluster: &Cluster) {
        let (stretch, nodes, text) = self.told(&effect);
        nodes.iter().for_each(|node| timeline::open(stretch, *node, &text));
        self.on.push((until, effect));
        self.apply(cluster);
    }

    /// Those whose time has come end.
    pub fn end_due(&mut self, cluster: &Cluster) {
        let now = cluster.now();
        if self.on.iter().all(|(until, _)| *until > now) {
            return;
        }
        let (over, on) = std::mem::take(&mut self.on).into_iter().partition(|(until, _)| *until <= now);
        self.on = on;
        self.close(over);
        self.apply(cluster);
    }

    /// All end.
    pub fn end_all(&mut self, cluster: &Cluster) {
        let over = std::mem::take(&mut self.on);
        self.close(over);
        self.apply(cluster);
    }

    fn close(&self, over: Vec<(Duration, Effect)>) {
        for (_, effect) in over {
            let (stretch, nodes, _) = self.told(&effect);
            let goes_on = |node: &usize| {
                let others = self.on.iter().map(|(_, other)| self.told(other));
                others.into_iter().any(|(other, nodes, _)| other == stretch && nodes.contains(node))
            };
            nodes.iter().filter(|node| !goes_on(node)).for_each(|node| timeline::close(stretch, *node));
        }
    }

    /// Tells the clients who has trouble at the moment.
    pub fn note_trouble(&self, clients: &Clients) {
        for (_, effect) in &self.on {
            let (stretch, nodes, _) = self.told(effect);
            if stretch == Stretch::Store {
                clients.note_trouble(self.stores.len());
            }
            nodes
                .iter()
                .filter(|node| **node < self.stores.len())
                .for_each(|node| clients.note_trouble(*node));
        }
    }

    /// What kind of stretch it is, of whom, and in words.
    fn told(&self, effect: &Effect) -> (Stretch, Vec<usize>, String) {
        let all = || (0..self.stores.len()).collect();
        match effect {
            Effect::StoreOut(nodes) => (Stretch::Store, nodes.clone(), "the chunk store is out".into()),
            Effect::StoreSlow { latency, before_permille, after_permille } => {
                let failing = before_permille + after_permille;
                (Stretch::Store, all(), format!("the chunk store takes {latency:?} more, {failing} ‰ fail"))
            }
            Effect::Weather(nodes, weather) => (Stretch::Weather, nodes.clone(), format!("{weather:?}")),
            Effect::Partition(pairs) => {
                let mut nodes: Vec<usize> = pairs.iter().flat_map(|(from, to)| [*from, *to]).collect();
                nodes.sort_unstable();
                nodes.dedup();
                (Stretch::Partition, nodes, format!("nothing passes from and to {pairs:?}"))
            }
            Effect::DiskFull(nodes) => (Stretch::DiskFull, nodes.clone(), "the disk is full".into()),
        }
    }

    fn apply(&self, cluster: &Cluster) {
        let network = cluster.network();
        network.heal();
        let mut worse = vec![Weather::default(); self.stores.len() + 1];
        let mut stores = vec![self.good; self.stores.len()];
        let mut full = vec![false; self.stores.len()];
        for (_, effect) in &self.on {
            match effect {
                Effect::StoreOut(nodes) => nodes.iter().for_each(|node| stores[*node].out = true),
                Effect::StoreSlow { latency, before_permille, after_permille } => {
                    for faults in &mut stores {
                        faults.latency += *latency;
                        faults.jitter += *latency;
                        faults.fail_before_permille += before_permille;
                        faults.fail_after_permille += after_permille;
                    }
                }
                Effect::Weather(nodes, weather) => {
                    nodes.iter().for_each(|node| worse[*node] = worse[*node].and(*weather));
                }
                Effect::Partition(pairs) => {
                    pairs.iter().for_each(|(from, to)| network.set_blocked(*from, *to, true));
                }
                Effect::DiskFull(nodes) => nodes.iter().for_each(|node| full[*node] = true),
            }
        }
        worse.into_iter().enumerate().for_each(|(host, worse)| network.set_worse(host, worse));
        for (store, now) in self.stores.iter().zip(stores) {
            store.set(|faults| *faults = now);
        }
        for (node, _) in full.iter().enumerate().filter(|(_, full)| !**full) {
            cluster.disk(node).set(|faults| faults.room = None);
        }
    }
}
