//! The task beside a member: finds somebody to join, follows the view, keeps what the member needs to come back.
//!
//! A node that was never placed must not take tokens before it has reached a member: alone it would found a second
//! ring. One that has tokens was placed, and starts without asking.

use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;
use grapevine_gossip::endpoint::Peers;
use grapevine_gossip::membership::{Membership, Settings, State, View};
use grapevine_gossip::ring::Token;
use grapevine_gossip::rpc::CallError;
use tokio::time::{Instant, sleep};

use super::{Cluster, lock, methods};
use crate::exec::Lane;

/// How long one member is waited for.
const CALL: Duration = Duration::from_secs(3);
/// How long after all were asked in vain they are asked again. The endpoint has its own backoff to each.
const AGAIN: Duration = Duration::from_secs(1);

/// How often a new certificate is shown. They are valid for a year from the clock's time as they are made: a machine
/// that started with a wrong clock is let in this long after it was set right, at the latest.
const RENEW_EVERY: Duration = Duration::from_secs(10 * 60);

/// Shows a new certificate now and then.
pub(super) async fn renew(cluster: Weak<Cluster>) {
    loop {
        sleep(RENEW_EVERY).await;
        let Some(cluster) = cluster.upgrade() else { return };
        if let Err(error) = cluster.renew() {
            tracing::warn!(error = format!("{error:#}"), "cannot renew this node's certificate");
        }
    }
}

/// Runs until the cluster is dropped.
pub(super) async fn run(cluster: Weak<Cluster>, peers: Peers, settings: Settings) {
    if settings.profile.tokens.is_empty() && !settings.seeds.is_empty() {
        reach_somebody(&cluster, &peers, &settings.seeds).await;
    }
    let membership = match Membership::start(&peers, settings).await {
        Ok(membership) => Arc::new(membership),
        Err(error) => return tracing::error!(%error, "this node is no member of its cluster"),
    };
    let mut views = membership.watch();
    match cluster.upgrade() {
        Some(cluster) => lock(&cluster.running).membership = Some(membership),
        None => return,
    }
    loop {
        let view = Arc::clone(&views.borrow_and_update());
        match cluster.upgrade() {
            Some(cluster) => cluster.on_view(view).await,
            None => return,
        }
        if views.changed().await.is_err() {
            return;
        }
    }
}

/// Asks one member after the other until one answers.
async fn reach_somebody(cluster: &Weak<Cluster>, peers: &Peers, seeds: &[SocketAddr]) {
    loop {
        let mut reasons = Vec::new();
        for seed in seeds {
            match peers.call(*seed, methods::STATUS, Bytes::new(), Instant::now() + CALL).await {
                Ok(_) | Err(CallError::Refused { .. }) => return note(cluster, String::new()),
                // The reason was told before.
                Err(CallError::BackingOff { .. }) => {}
                Err(error) => reasons.push(error.to_string()),
            }
        }
        if !reasons.is_empty() {
            note(cluster, format!("no member of the cluster can be reached: {}", reasons.join("; ")));
        }
        sleep(AGAIN).await;
    }
}

/// Notes why the node waits, and logs what is new about it.
fn note(cluster: &Weak<Cluster>, waiting: String) {
    let Some(cluster) = cluster.upgrade() else { return };
    let mut running = lock(&cluster.running);
    if running.waiting != waiting && !waiting.is_empty() {
        tracing::warn!("{waiting}; trying again");
    }
    running.waiting = waiting;
}

impl Cluster {
    async fn on_view(&self, view: Arc<View>) {
        let me = self.myself(&view).map(|me| me.profile.clone()).unwrap_or_default();
        let others = view.peers().values().filter(|peer| peer.id != *self.me());
        let (left, there): (Vec<_>, Vec<_>) = others.partition(|peer| peer.profile.state == State::Left);
        self.views.send_replace(Arc::clone(&view));
        // After the view: who finds that somebody was heard of sees whom.
        if !there.is_empty() {
            self.heard.store(true, Ordering::Release);
        }
        let [left, there] = [left, there]
            .map(|peers| peers.iter().map(|peer| peer.address.to_string()).collect::<Vec<String>>());
        // Tokens are kept as soon as they are there: a node that forgot them would take others. Who has left gives them up:
        // back with them it would take pushes before those who stayed know of it.
        let tokens = match me.state {
            State::Left => Some(Vec::new()),
            _ => Some(me.tokens).filter(|tokens| !tokens.is_empty()),
        };
        self.keep(tokens, there, left).await;
    }

    /// Writes down what changed. A disk that refuses is no reason to leave: the next change tries again.
    async fn keep(&self, tokens: Option<Vec<Token>>, there: Vec<String>, left: Vec<String>) {
        let home = Arc::clone(&self.home);
        let kept = self.exec.run(Lane::Disk, move || {
            let mut home = lock(&home);
            if let Some(tokens) = tokens {
                home.keep_tokens(&tokens)?;
            }
            // Those not in sight stay behind the others: they may be who is left after a long separation.
            let former: Vec<String> =
                home.seeds().iter().filter(|seed| !left.contains(seed)).cloned().collect();
            home.keep_seeds(there.into_iter().chain(former))
        });
        if let Err(error) = kept.await {
            tracing::warn!(%error, "cannot keep what this member needs to come back");
        }
    }
}
