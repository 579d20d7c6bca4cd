//! The table of connections: one to each peer, and when to try again where there is none.

use std::{collections::BTreeMap, net::SocketAddr, sync::Arc, time::Duration};

use quinn::Connection;
use rustls::pki_types::CertificateDer;
use tokio::{sync::Mutex, time::Instant};

use super::{
    backoff::Backoff,
    tie::{Facts, newer_stays},
};
use crate::{limits::CONNECTIONS_MAX, ring::Draw};

/// Held by whoever connects to a peer.
pub(super) type Gate = Arc<Mutex<()>>;

pub(super) struct Links {
    table: BTreeMap<SocketAddr, Entry>,
    draw: Draw,
}

#[derive(Default)]
struct Entry {
    link: Option<Link>,
    backoff: Backoff,
    gate: Gate,
}

struct Link {
    connection: Connection,
    begun_here: bool,
    ours: Arc<[u8]>,
    theirs: Vec<u8>,
}

impl Link {
    fn facts(&self) -> Facts<'_> {
        let closed = self.connection.close_reason().is_some();
        Facts { begun_here: self.begun_here, ours: &self.ours, theirs: &self.theirs, closed }
    }
}

/// What became of a new connection.
pub(super) struct Adopted {
    /// The one to use.
    pub(super) best: Connection,
    /// The one to close.
    pub(super) lesser: Option<Connection>,
}

impl Links {
    /// `certificate` seeds the chance in waits: it differs from node to node.
    pub(super) fn new(certificate: &[u8]) -> Self {
        let seed = certificate.rchunks(8).fold(0, |seed, chunk| {
            Draw::new(chunk.iter().fold(seed, |sum, byte| (sum << 8) ^ u64::from(*byte))).next()
        });
        Self { table: BTreeMap::new(), draw: Draw::new(seed) }
    }

    pub(super) fn connected(&self) -> usize {
        self.table.values().filter(|entry| entry.is_open()).count()
    }

    /// The open connection to a peer, or the gate to pass for making one.
    pub(super) fn find(&mut self, peer: SocketAddr) -> Result<Connection, Gate> {
        if self.table.len() >= CONNECTIONS_MAX && !self.table.contains_key(&peer) {
            self.sweep();
        }
        let entry = self.table.entry(peer).or_default();
        match &entry.link {
            Some(link) if link.connection.close_reason().is_none() => Ok(link.connection.clone()),
            _ => Err(Arc::clone(&entry.gate)),
        }
    }

    /// How long to wait before connecting; none if it may be now.
    pub(super) fn wait(&self, peer: SocketAddr, now: Instant) -> Option<Duration> {
        self.table.get(&peer).and_then(|entry| entry.backoff.wait(now))
    }

    pub(super) fn on_failure(&mut self, peer: SocketAddr, now: Instant) {
        if let Some(entry) = self.table.get_mut(&peer) {
            entry.backoff.on_failure(now, &mut self.draw);
        }
    }

    /// Takes a new connection in; none if there is no room for it.
    pub(super) fn adopt(
        &mut self,
        peer: SocketAddr,
        connection: Connection,
        begun_here: bool,
        ours: Arc<[u8]>,
    ) -> Option<Adopted> {
        if !self.table.contains_key(&peer) && self.table.len() >= CONNECTIONS_MAX {
            self.sweep();
            if self.table.len() >= CONNECTIONS_MAX {
                return None;
            }
        }
        let theirs = certificate_of(&connection);
        let newer = Link { connection, begun_here, ours, theirs };
        let entry = self.table.entry(peer).or_default();
        entry.backoff.on_success();
        let Some(older) = entry.link.take() else {
            let best = newer.connection.clone();
            entry.link = Some(newer);
            return Some(Adopted { best, lesser: None });
        };
        let newer_stays = newer_stays(older.facts(), newer.facts());
        let (stays, goes) = if newer_stays { (newer, older) } else { (older, newer) };
        let lesser = goes.connection.close_reason().is_none().then_some(goes.connection);
        let best = stays.connection.clone();
        entry.link = Some(stays);
        Some(Adopted { best, lesser })
    }

    /// A connection ended. One that was refused right after its handshake counts as a failure: a client learns only
    /// then that its certificate was not welcome, and must not try again at once for ever.
    pub(super) fn on_closed(&mut self, peer: SocketAddr, connection: &Connection, now: Instant) {
        let Some(entry) = self.table.get_mut(&peer) else { return };
        if entry.link.as_ref().is_some_and(|link| link.connection.stable_id() == connection.stable_id()) {
            entry.link = None;
            if matches!(connection.close_reason(), Some(quinn::ConnectionError::ConnectionClosed(_))) {
                entry.backoff.on_failure(now, &mut self.draw);
            } else {
                self.table.remove(&peer);
            }
        }
    }

    /// Forgets peers without a connection.
    fn sweep(&mut self) {
        self.table.retain(|_, entry| entry.is_open());
    }
}

impl Entry {
    fn is_open(&self) -> bool {
        self.link.as_ref().is_some_and(|link| link.connection.close_reason().is_none())
    }
}

/// The certificate the peer showed; TLS has verified it.
fn certificate_of(connection: &Connection) -> Vec<u8> {
    let chain =
        connection.peer_identity().and_then(|any| any.downcast::<Vec<CertificateDer<'static>>>().ok());
    chain.and_then(|chain| chain.first().map(|own| own.to_vec())).unwrap_or_default()
}
