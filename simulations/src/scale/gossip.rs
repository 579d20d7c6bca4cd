//! chitchat among many on one paused runtime, over queues that count what goes through them.
//!
//! A message goes from one to the other as it is: writing and reading it would be a third of the work, and its length is
//! known without. What a member's endpoint would not send for its length is not carried here either.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result};
use async_trait::async_trait;
use chitchat::transport::{Socket, Transport};
use chitchat::{
    ChitchatConfig, ChitchatHandle, ChitchatId, ChitchatMessage, FailureDetectorConfig, Serializable,
    spawn_chitchat,
};
use grapevine_gossip::limits::GOSSIP_BYTES_MAX;
use grapevine_gossip::membership::{Room, Tuning};
use grapevine_gossip::ring::placement::TOKENS;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, sleep_until};

use super::{INCARNATIONS, Row};
use crate::net::address;
use crate::random::Random;

/// From one member to another.
const LATENCY: Duration = Duration::from_millis(10);
/// How often it is looked whether all agree.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// How long they may take. Whoever has not heard by then will not.
const PATIENCE: Duration = Duration::from_secs(60);
/// Over how long traffic is counted.
const COUNTED: Duration = Duration::from_secs(5);
/// Members that others are told of.
const SEEDS: usize = 3;
/// Restarts a second.
const RESTARTS: usize = 25;
const PORT: u16 = 1;

pub(super) fn measure(seed: u64, members: usize) -> Result<Row> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build()?;
    runtime.block_on(async {
        crate::det::set_clock(Duration::ZERO, Some(Instant::now()), 0);
        Village::new(seed, members).measured().await
    })
}

struct Village {
    wire: Wire,
    random: Random,
    /// By number, with the number of lives.
    members: BTreeMap<usize, (ChitchatHandle, u64)>,
    count: usize,
}

impl Village {
    fn new(seed: u64, count: usize) -> Self {
        Village {
            wire: Wire::default(),
            random: Random::of_part(seed, "village"),
            members: BTreeMap::new(),
            count,
        }
    }

    async fn measured(mut self) -> Result<Row> {
        for number in 0..self.count {
            self.start(number, 1).await?;
        }
        let joined = self.until_all_agree().await.context("members do not agree after the start")?;
        let bytes = self.traffic().await;
        let told = self.until_told().await?.context("a change is not told to all members")?;
        let dead = self.count.div_ceil(20);
        for _ in 0..dead {
            self.stop_any();
        }
        let mourned = self.until_all_agree().await.context("members do not agree after deaths")?;
        for restart in 0..INCARNATIONS {
            let (number, lives) = self.stop_any();
            self.start(number, lives + 1).await?;
            if restart % RESTARTS == 0 {
                sleep(Duration::from_secs(1)).await;
            }
        }
        let settled = self.until_all_agree().await;
        let bytes_after = self.traffic().await;
        let Carried { largest, dropped, .. } = *lock(&self.wire.0);
        Ok(Row { joined, told, mourned, bytes, largest, bytes_after, settled, dropped, ..Row::default() })
    }

    async fn start(&mut self, number: usize, life: u64) -> Result<()> {
        let tuning = Tuning::default();
        let at = |number: usize| SocketAddr::new(address(number), PORT);
        let config = ChitchatConfig {
            chitchat_id: ChitchatId::new(format!("node-{number:04}"), life, at(number)),
            cluster_id: "scale".into(),
            gossip_interval: tuning.interval,
            listen_addr: at(number),
            seed_nodes: (0..SEEDS.min(self.count)).map(|seed| at(seed).to_string()).collect(),
            failure_detector_config: FailureDetectorConfig {
                phi_threshold: tuning.phi,
                // As members have it.
                sampling_window_size: 32,
                max_interval: tuning.interval * 10,
                initial_interval: tuning.interval,
                dead_node_grace_period: tuning.grace,
            },
            marked_for_deletion_grace_period: tuning.grace,
            catchup_callback: None,
            // Nobody watches here: else each member would keep a second copy of all that it knows of others, and make
            // it anew with every change.
            extra_liveness_predicate: Some(Box::new(|_| false)),
        };
        let tokens: String = (0..TOKENS).map(|_| format!("{:016x}", self.random.next())).collect();
        let profile = [
            ("state", "active"),
            ("zone", "zone-1"),
            ("weight", "100"),
            ("tokens", &tokens),
            ("build", "0.1.0"),
        ];
        let profile = profile.map(|(key, value)| (key.to_owned(), value.to_owned())).to_vec();
        let handle = spawn_chitchat(config, profile, &self.wire).await?;
        self.members.insert(number, (handle, life));
        Ok(())
    }

    fn stop_any(&mut self) -> (usize, u64) {
        let place = self.random.below(self.members.len() as u64) as usize;
        let number = self.members.keys().nth(place).copied().unwrap_or_default();
        let (handle, life) = self.members.remove(&number).expect("there are always some left");
        handle.abort();
        lock(&self.wire.0).inboxes.remove(&SocketAddr::new(address(number), PORT));
        (number, life)
    }

    /// Until each sees all that live, with their tokens, and nobody else; none if that takes too long.
    async fn until_all_agree(&self) -> Option<Duration> {
        let count = self.members.len();
        let sees_all = |chitchat: &mut chitchat::Chitchat| {
            let live = chitchat.live_nodes();
            let known =
                live.filter(|id| chitchat.node_state(id).is_some_and(|state| state.get("tokens").is_some()));
            known.count() == count
        };
        self.until(&sees_all).await
    }

    async fn until_told(&self) -> Result<Option<Duration>> {
        let (_, (teller, _)) = self.members.first_key_value().context("nobody is there")?;
        teller.with_chitchat(|chitchat| chitchat.self_node_state().set("weight", "200")).await;
        let id = teller.chitchat_id().clone();
        let knows = |chitchat: &mut chitchat::Chitchat| {
            chitchat.node_state(&id).is_some_and(|state| state.get("weight") == Some("200"))
        };
        Ok(self.until(&knows).await)
    }

    async fn until(&self, holds: &dyn Fn(&mut chitchat::Chitchat) -> bool) -> Option<Duration> {
        let began = Instant::now();
        while began.elapsed() < PATIENCE {
            let mut all = true;
            for (handle, _) in self.members.values() {
                all = all && handle.with_chitchat(|chitchat| holds(chitchat)).await;
            }
            if all {
                return Some(began.elapsed());
            }
            sleep(LOOK_EVERY).await;
        }
        None
    }

    /// Bytes a second of each member.
    async fn traffic(&self) -> f64 {
        let before = lock(&self.wire.0).bytes;
        sleep(COUNTED).await;
        let sent = lock(&self.wire.0).bytes - before;
        sent as f64 / self.members.len() as f64 / COUNTED.as_secs_f64()
    }
}

/// Carries messages, and counts them as the bytes they are.
#[derive(Clone, Default)]
struct Wire(Arc<Mutex<Carried>>);

#[derive(Default)]
struct Carried {
    inboxes: BTreeMap<SocketAddr, mpsc::UnboundedSender<Letter>>,
    bytes: u64,
    largest: usize,
    /// Messages that were too large to be sent or answered.
    dropped: u64,
}

struct Letter {
    due: Instant,
    from: SocketAddr,
    message: ChitchatMessage,
    bytes: usize,
}

fn lock(carried: &Mutex<Carried>) -> MutexGuard<'_, Carried> {
    carried.lock().unwrap_or_else(PoisonError::into_inner)
}

#[async_trait]
impl Transport for Wire {
    async fn open(&self, listen: SocketAddr) -> Result<Box<dyn Socket>> {
        let (sender, inbox) = mpsc::unbounded_channel();
        lock(&self.0).inboxes.insert(listen, sender);
        Ok(Box::new(End { wire: self.clone(), listen, inbox, next: None, room: Room::default() }))
    }
}

struct End {
    wire: Wire,
    listen: SocketAddr,
    inbox: mpsc::UnboundedReceiver<Letter>,
    /// On its way: who waits for it may be interrupted.
    next: Option<Letter>,
    room: Room,
}

#[async_trait]
impl Socket for End {
    async fn send(&mut self, to: SocketAddr, message: ChitchatMessage) -> Result<()> {
        let bytes = message.serialized_len();
        self.room.on_sent(&message, bytes);
        let mut carried = lock(&self.wire.0);
        carried.largest = carried.largest.max(bytes);
        if bytes > GOSSIP_BYTES_MAX {
            carried.dropped += 1;
            return Ok(());
        }
        carried.bytes += bytes as u64;
        let letter = Letter { due: Instant::now() + LATENCY, from: self.listen, message, bytes };
        // Whoever is gone gets nothing.
        if let Some(inbox) = carried.inboxes.get(&to) {
            let _ = inbox.send(letter);
        }
        Ok(())
    }

    async fn recv(&mut self) -> Result<(SocketAddr, ChitchatMessage)> {
        loop {
            if self.next.is_none() {
                self.next = self.inbox.recv().await;
            }
            sleep_until(self.next.as_ref().context("this member was stopped")?.due).await;
            let letter = self.next.take().context("it was there a moment ago")?;
            if self.room.admits(&letter.message, letter.bytes) {
                return Ok((letter.from, letter.message));
            }
            lock(&self.wire.0).dropped += 1;
        }
    }
}
