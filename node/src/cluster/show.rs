//! The cluster in the node's metrics, brought up to date when they are asked for.

use std::sync::atomic::Ordering;

use grapevine_gossip::endpoint::Event;
use grapevine_gossip::membership::State;

use super::Cluster;
use crate::metrics::{MemberLabel, Metrics, PeerEventLabel, RingLabel};

impl Cluster {
    /// Writes what there is to know about members and peers into the metrics.
    pub fn show(&self, metrics: &Metrics) {
        let view = self.view();
        metrics.ring.clear();
        metrics.ring.get_or_create(&RingLabel { hash: view.ring().hash().to_string() }).set(1);
        for state in [State::Joining, State::Active, State::Leaving, State::Left] {
            let count = view.peers().values().filter(|peer| peer.profile.state == state).count();
            metrics.members.get_or_create(&MemberLabel { state: state.to_string() }).set(count as i64);
        }
        let live = view.peers().values().filter(|peer| peer.live).count();
        metrics.members_live.set(live as i64);
        metrics.peers_connected.set(self.peers().connected() as i64);
        for event in Event::ALL {
            let counter = metrics.peer_events.get_or_create(&PeerEventLabel { event: event.name() });
            // The endpoint counts; this counter only repeats it.
            counter.inner().store(self.peers().counters().get(event), Ordering::Relaxed);
        }
    }
}
