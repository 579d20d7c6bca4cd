//! A node to test with.

use std::{future::Future, net::SocketAddr, sync::Arc, time::Duration};

use grapevine_gossip::{
    endpoint::{Peers, bind_udp},
    identity::{ClusterKey, Identity},
    rpc::Handler,
};
use rustls::{pki_types::UnixTime, time_provider::TimeProvider};
use tokio::time::{Instant, timeout};

/// 2026-01-01: any moment does, as long as all agree on it.
pub(crate) const NOW: Duration = Duration::from_secs(1_767_225_600);

/// A clock that stands still.
#[derive(Debug)]
pub(crate) struct Clock(pub(crate) Duration);

impl TimeProvider for Clock {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(self.0))
    }
}

/// The cluster most tests are in.
pub(crate) fn key() -> ClusterKey {
    ClusterKey::from_bytes([1; 32])
}

pub(crate) fn identity(key: &ClusterKey, name: &str) -> Identity {
    Identity::mint(key, &name.parse().unwrap(), UnixTime::since_unix_epoch(NOW)).unwrap()
}

pub(crate) fn open(identity: &Identity, handler: impl Handler) -> (Peers, SocketAddr) {
    let socket = bind_udp(([127, 0, 0, 1], 0).into()).unwrap();
    let peers = Peers::open(socket, identity, Arc::new(Clock(NOW)), Arc::new(handler)).unwrap();
    let address = peers.local_addr().unwrap();
    (peers, address)
}

/// Later than anything that works takes.
pub(crate) fn ample() -> Instant {
    Instant::now() + Duration::from_secs(30)
}

/// Fails instead of hanging.
pub(crate) async fn in_time<T>(what: &str, future: impl Future<Output = T>) -> T {
    match timeout(Duration::from_secs(30), future).await {
        Ok(value) => value,
        Err(_) => panic!("{what} did not happen in 30 s"),
    }
}
