//! Who is here: gossip (chitchat, Scuttlebutt) over the endpoint, read into a [`View`].
//!
//! The failure detector is tuned for a handful of machines: chitchat's defaults need 23 to 34 s for a node that is
//! young. Its judgement is an opinion all the same; nothing that must be right may rest on it. A member that stays
//! dead for [`Tuning::grace`] is forgotten by all, and with that leaves the ring: no person needs to remove it.

mod admission;
mod room;
mod state;
mod transport;
mod view;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use chitchat::{Chitchat, ChitchatConfig, ChitchatHandle, ChitchatId, FailureDetectorConfig, spawn_chitchat};
use tokio::{
    sync::watch,
    task::JoinHandle,
    time::{Instant, MissedTickBehavior, interval},
};

pub use room::Room;
pub use state::{Profile, State, UnknownState};
pub use view::{Peer, View};

use self::{admission::Admission, transport::Carrier};
use crate::{
    endpoint::Peers,
    ring::{NodeId, Token},
};

/// What a node needs to be a member.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Its name.
    pub id: NodeId,
    /// Which life of the process this is: a counter kept on disk and raised at each start. The start time will not do,
    /// for clocks jump.
    pub incarnation: u64,
    /// Where others reach it; the endpoint's port.
    pub advertise: SocketAddr,
    /// The cluster's name: [`Identity::cluster`](crate::identity::Identity::cluster).
    pub cluster: String,
    /// Members to begin with, resolved. Empty for the first node, which then takes its tokens at once.
    pub seeds: Vec<SocketAddr>,
    /// What it tells of itself at first. With tokens kept from an earlier life it claims those again; without, it is
    /// placed as soon as what it sees is still.
    pub profile: Profile,
    /// Replicas of each range, by which loads are judged in placement.
    pub replicas: usize,
    /// Times.
    pub tuning: Tuning,
}

/// How fast gossip runs and how soon it judges.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tuning {
    /// Between rounds of gossip. Shorter: news travels faster, for more traffic (some 4 KiB a round at 100 members).
    pub interval: Duration,
    /// After how much silence a member counts as dead, in mean times between its heartbeats. (chitchat calls it phi,
    /// though it is no logarithm.) Lower: faster, with more false alarms on slow networks.
    pub phi: f64,
    /// How long a dead member is remembered, and so stays in the ring.
    pub grace: Duration,
    /// How long a joiner must see the same before it takes its tokens: some rounds, so that all who join at once have
    /// heard of each other.
    pub settle: Duration,
}

impl Default for Tuning {
    /// A member that dies is noticed in some 5 to 10 s, and forgotten after 15 minutes, long enough for a machine to
    /// restart without its ranges moving.
    fn default() -> Self {
        Self {
            interval: Duration::from_secs(1),
            phi: 8.0,
            grace: Duration::from_secs(15 * 60),
            settle: Duration::from_secs(5),
        }
    }
}

impl Tuning {
    fn failure_detector(&self) -> FailureDetectorConfig {
        FailureDetectorConfig {
            phi_threshold: self.phi,
            // Kept for each pair of members; 1,000 would cost 8 GB in all at 1,000 members.
            sampling_window_size: 32,
            max_interval: self.interval * 10,
            // The guess for a member not yet known: chitchat weighs it like five heartbeats, and a guess of 5 s is
            // what makes judging the young so slow.
            initial_interval: self.interval,
            dead_node_grace_period: self.grace,
        }
    }
}

/// Why a node is no member.
#[derive(Debug, thiserror::Error)]
#[error("cannot start gossip: {0}")]
pub struct StartError(String);

/// This node's membership. Dropping it ends gossip at once; others notice by its silence.
pub struct Membership {
    me: NodeId,
    gossip: Arc<ChitchatHandle>,
    views: watch::Receiver<Arc<View>>,
    watching: JoinHandle<()>,
}

impl std::fmt::Debug for Membership {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Membership({})", self.me)
    }
}

impl Drop for Membership {
    fn drop(&mut self) {
        self.watching.abort();
        self.gossip.abort();
    }
}

impl Membership {
    /// Begins to gossip over `peers`.
    ///
    /// # Errors
    /// When the endpoint carries another membership already.
    pub async fn start(peers: &Peers, mut settings: Settings) -> Result<Self, StartError> {
        if settings.seeds.is_empty() && settings.profile.tokens.is_empty() {
            // The first node of a cluster has nobody to wait for.
            settings.profile.tokens = admission::tokens_alone(&settings);
        }
        let admission = settings
            .profile
            .tokens
            .is_empty()
            .then(|| Admission::new(settings.id.clone(), settings.replicas, settings.tuning.settle));
        let config = ChitchatConfig {
            chitchat_id: ChitchatId::new(settings.id.as_str(), settings.incarnation, settings.advertise),
            cluster_id: settings.cluster,
            gossip_interval: settings.tuning.interval,
            listen_addr: settings.advertise,
            seed_nodes: settings.seeds.iter().map(SocketAddr::to_string).collect(),
            failure_detector_config: settings.tuning.failure_detector(),
            marked_for_deletion_grace_period: settings.tuning.grace,
            catchup_callback: None,
            extra_liveness_predicate: None,
        };
        let carrier = Carrier(peers.clone());
        let gossip = spawn_chitchat(config, settings.profile.encode(), &carrier).await;
        let gossip = Arc::new(gossip.map_err(|error| StartError(error.to_string()))?);
        let first = Arc::new(gossip.with_chitchat(|chitchat| read(chitchat)).await);
        let (sender, views) = watch::channel(first);
        let watching =
            tokio::spawn(watch_gossip(Arc::clone(&gossip), sender, admission, settings.tuning.interval));
        Ok(Self { me: settings.id, gossip, views, watching })
    }

    /// The cluster as it is now.
    pub fn view(&self) -> Arc<View> {
        Arc::clone(&self.views.borrow())
    }

    /// The cluster from now on: changes when something changed.
    pub fn watch(&self) -> watch::Receiver<Arc<View>> {
        self.views.clone()
    }

    /// This node's name.
    pub fn me(&self) -> &NodeId {
        &self.me
    }

    /// Tells of another state.
    pub async fn set_state(&self, state: State) {
        self.update(|profile| profile.state = state).await;
    }

    /// Claims these tokens.
    pub async fn set_tokens(&self, tokens: &[Token]) {
        self.update(|profile| profile.tokens = tokens.to_vec()).await;
    }

    async fn update(&self, change: impl Fn(&mut Profile)) {
        update(&self.gossip, change).await;
    }
}

async fn update(gossip: &ChitchatHandle, change: impl Fn(&mut Profile)) {
    let apply = |chitchat: &mut Chitchat| {
        let own = chitchat.self_node_state();
        // It tells all of it from the start.
        let mut profile = Profile::decode(|key| own.get(key)).unwrap_or_default();
        change(&mut profile);
        // chitchat leaves alone what keeps its value.
        profile.encode().into_iter().for_each(|(key, value)| own.set(key, value));
    };
    gossip.with_chitchat(apply).await;
}

/// Reads gossip into views, at each change of who lives and at each round.
async fn watch_gossip(
    gossip: Arc<ChitchatHandle>,
    views: watch::Sender<Arc<View>>,
    mut admission: Option<Admission>,
    every: Duration,
) {
    let mut rounds = interval(every);
    rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut lives = gossip.with_chitchat(|chitchat| chitchat.live_nodes_watcher()).await;
    loop {
        tokio::select! {
            _ = rounds.tick() => {}
            changed = lives.changed() => if changed.is_err() { return },
        }
        let view = gossip.with_chitchat(|chitchat| read(chitchat)).await;
        let tokens = admission.as_mut().and_then(|admission| admission.handle_view(Instant::now(), &view));
        publish(&views, view);
        if let Some(tokens) = tokens {
            update(&gossip, |profile| profile.tokens.clone_from(&tokens)).await;
            publish(&views, gossip.with_chitchat(|chitchat| read(chitchat)).await);
            admission = None;
        }
    }
}

fn publish(views: &watch::Sender<Arc<View>>, view: View) {
    views.send_if_modified(|known| {
        let changed = **known != view;
        if changed {
            *known = Arc::new(view);
        }
        changed
    });
}

/// What gossip knows, as a view. Names that are none are left out, and lives of which nothing but their being there has
/// been told yet: without its tokens a member would be missing from the ring, and nobody would miss what it holds.
fn read(chitchat: &Chitchat) -> View {
    let me = chitchat.self_chitchat_id();
    let live: std::collections::BTreeSet<&ChitchatId> = chitchat.live_nodes().collect();
    let peer = |(id, state): (&ChitchatId, &chitchat::NodeState)| {
        Some(Peer {
            id: id.node_id.parse().ok()?,
            incarnation: id.generation_id,
            address: id.gossip_advertise_addr,
            profile: Profile::decode(|key| state.get(key))?,
            live: id == me || live.contains(id),
        })
    };
    View::new(chitchat.node_states().iter().filter_map(peer))
}
