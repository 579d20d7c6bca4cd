//! One UDP port for everything between peers: gossip and calls, over QUIC with mutual TLS.
//!
//! [`Peers`] owns the endpoint and a connection to each peer, made when first needed, shared by all, kept alive, and
//! made again with growing waits when it fails. Peers are known by the address they advertise, which is the one they
//! send from, because there is only one port.
//!
//! **Invariant.** Nothing of a stranger's is parsed beyond TLS, and strangers occupy nothing but one of
//! [`HANDSHAKES_MAX`] places, for [`HANDSHAKE_TIMEOUT`] at most.

mod backoff;
mod config;
mod counters;
mod links;
mod socket;
mod tie;

use std::{
    io,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use quinn::{Connection, ConnectionError, Incoming, VarInt};
use rustls::time_provider::TimeProvider;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, mpsc},
    task::JoinSet,
    time::{Instant, timeout, timeout_at},
};

pub use counters::{Counters, Event};
pub use quinn::AsyncUdpSocket;
pub use socket::bind_udp;

use self::{
    config::Outward,
    links::{Gate, Links},
    socket::Watched,
};
use crate::{
    identity::Identity,
    limits::{DUPLICATE_LINGER, GOSSIP_BYTES_MAX, GOSSIP_QUEUE_MAX, HANDSHAKE_TIMEOUT, HANDSHAKES_MAX},
    rpc::{self, Call, CallError, Handler, Method, Serving},
};

/// Code with which a node that goes away closes its connections.
const GOING_AWAY: VarInt = VarInt::from_u32(0);
/// Code with which one of two connections to the same peer is closed.
const DUPLICATE: VarInt = VarInt::from_u32(2);
/// Code with which a connection is closed because there are too many.
const TOO_MANY: VarInt = VarInt::from_u32(3);

/// A gossip message that came in, and from whom.
pub(crate) type Gossip = (SocketAddr, Bytes);

/// This node's peers: calls go out and come in here. Cheap to clone; the endpoint closes with [`Peers::close`].
#[derive(Clone)]
pub struct Peers {
    shared: Arc<Shared>,
}

struct Shared {
    endpoint: quinn::Endpoint,
    time: Arc<dyn TimeProvider>,
    outward: Mutex<Outward>,
    links: Mutex<Links>,
    counters: Arc<Counters>,
    serving: Serving,
    handshakes: Arc<Semaphore>,
    gossip_in: mpsc::Sender<Gossip>,
    /// Taken by membership.
    gossip_out: Mutex<Option<mpsc::Receiver<Gossip>>>,
}

impl std::fmt::Debug for Peers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Peers({} connected)", self.connected())
    }
}

/// Locks what is never held across an await, and what no panic leaves half done.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Peers {
    /// Opens the endpoint on `socket` ([`bind_udp`], or the simulation's), and answers calls with `handler`. `time` is
    /// the wall clock by which certificates are judged. Must be called in a tokio runtime.
    ///
    /// # Errors
    /// When the identity does not fit TLS or the socket is unusable.
    pub fn open(
        socket: Arc<dyn AsyncUdpSocket>,
        identity: &Identity,
        time: Arc<dyn TimeProvider>,
        handler: Arc<dyn Handler>,
    ) -> io::Result<Self> {
        let counters = Arc::new(Counters::default());
        let socket = Arc::new(Watched::new(socket, Arc::clone(&counters)));
        let server = config::server(identity, &time).map_err(io::Error::other)?;
        let outward = Outward::new(identity, &time).map_err(io::Error::other)?;
        let runtime = Arc::new(quinn::TokioRuntime);
        let endpoint =
            quinn::Endpoint::new_with_abstract_socket(config::endpoint(), Some(server), socket, runtime)?;
        let (gossip_in, gossip_out) = mpsc::channel(GOSSIP_QUEUE_MAX);
        let links = Links::new(&outward.certificate);
        let shared = Arc::new(Shared {
            endpoint,
            time,
            outward: Mutex::new(outward),
            links: Mutex::new(links),
            serving: Serving::new(handler, Arc::clone(&counters)),
            counters,
            handshakes: Arc::new(Semaphore::new(HANDSHAKES_MAX)),
            gossip_in,
            gossip_out: Mutex::new(Some(gossip_out)),
        });
        tokio::spawn(Arc::clone(&shared).accept());
        Ok(Self { shared })
    }

    /// Shows and believes another identity from now on, before the old one expires. Connections stay as they are.
    ///
    /// # Errors
    /// When the identity does not fit TLS.
    pub fn renew(&self, identity: &Identity) -> Result<(), rustls::Error> {
        let server = config::server(identity, &self.shared.time)?;
        *lock(&self.shared.outward) = Outward::new(identity, &self.shared.time)?;
        self.shared.endpoint.set_server_config(Some(server));
        Ok(())
    }

    /// Calls a method with one answer.
    ///
    /// # Errors
    /// See [`CallError`].
    pub async fn call(
        &self,
        peer: SocketAddr,
        method: Method,
        body: Bytes,
        deadline: Instant,
    ) -> Result<Bytes, CallError> {
        self.stream(peer, method, body, deadline).await?.only().await
    }

    /// Calls a method with any number of answers.
    ///
    /// # Errors
    /// See [`CallError`].
    pub async fn stream(
        &self,
        peer: SocketAddr,
        method: Method,
        body: Bytes,
        deadline: Instant,
    ) -> Result<Call, CallError> {
        let connecting = timeout_at(deadline, self.shared.connection(peer)).await;
        let connection = connecting.unwrap_or(Err(CallError::DeadlinePassed { peer }))?;
        rpc::open(&connection, peer, method, body, deadline).await
    }

    /// Sends a gossip message: as a datagram where it fits into one, else on a stream of its own.
    pub(crate) async fn gossip(&self, peer: SocketAddr, message: Bytes) -> Result<(), CallError> {
        let connection = self.shared.connection(peer).await?;
        let lost = |error: &dyn ToString| CallError::Lost { peer, reason: error.to_string() };
        if connection.max_datagram_size().is_some_and(|most| message.len() <= most) {
            return connection.send_datagram(message).map_err(|error| lost(&error));
        }
        let mut stream = connection.open_uni().await.map_err(|error| lost(&error))?;
        stream.write_chunk(message).await.map_err(|error| lost(&error))?;
        stream.finish().map_err(|error| lost(&error))
    }

    /// The gossip that comes in; once only.
    pub(crate) fn take_gossip(&self) -> Option<mpsc::Receiver<Gossip>> {
        lock(&self.shared.gossip_out).take()
    }

    /// The address the socket is bound to.
    ///
    /// # Errors
    /// When the system does not tell.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.shared.endpoint.local_addr()
    }

    /// What happened so far.
    pub fn counters(&self) -> &Counters {
        &self.shared.counters
    }

    /// How many peers there is a connection to.
    pub fn connected(&self) -> usize {
        lock(&self.shared.links).connected()
    }

    /// How many connections QUIC holds in any state, strangers' handshakes included.
    pub fn held_by_quic(&self) -> usize {
        self.shared.endpoint.open_connections()
    }

    /// Closes all connections and waits until peers can know.
    pub async fn close(&self) {
        self.hang_up();
        self.shared.endpoint.wait_idle().await;
    }

    /// Closes all connections without waiting; the socket is given back once peers can know.
    pub fn hang_up(&self) {
        self.shared.endpoint.close(GOING_AWAY, b"going away");
    }
}

impl Shared {
    async fn accept(self: Arc<Self>) {
        while let Some(incoming) = self.endpoint.accept().await {
            self.on_incoming(incoming);
        }
    }

    fn on_incoming(self: &Arc<Self>, incoming: Incoming) {
        let Ok(place) = Arc::clone(&self.handshakes).try_acquire_owned() else {
            self.counters.count(Event::HandshakeRefused);
            // Not even an answer: it may be many, under forged addresses.
            incoming.ignore();
            return;
        };
        let crowded = self.handshakes.available_permits() < HANDSHAKES_MAX / 2;
        if crowded && !incoming.remote_address_validated() && incoming.may_retry() {
            self.counters.count(Event::HandshakeRetried);
            let _ = incoming.retry();
            return;
        }
        tokio::spawn(Arc::clone(self).shake_hands(incoming, place));
    }

    async fn shake_hands(self: Arc<Self>, incoming: Incoming, place: OwnedSemaphorePermit) {
        let handshake = async { incoming.accept()?.await };
        let outcome = timeout(HANDSHAKE_TIMEOUT, handshake).await;
        drop(place);
        match outcome {
            Ok(Ok(connection)) => {
                self.counters.count(Event::Accepted);
                self.adopt(connection, false);
            }
            Ok(Err(error)) => {
                self.counters.count(Event::HandshakeFailed);
                tracing::debug!(%error, "refused a stranger");
            }
            Err(_) => self.counters.count(Event::HandshakeTimedOut),
        }
    }

    /// The connection to a peer, made if there is none. A caller that gives up does not stop the making of it: the
    /// next one profits from it, or from knowing that it failed.
    async fn connection(self: &Arc<Self>, peer: SocketAddr) -> Result<Connection, CallError> {
        let gate = match lock(&self.links).find(peer) {
            Ok(connection) => return Ok(connection),
            Err(gate) => gate,
        };
        let connecting = tokio::spawn(Arc::clone(self).connect(peer, gate));
        connecting
            .await
            .unwrap_or_else(|error| Err(CallError::Unreachable { peer, reason: error.to_string() }))
    }

    /// Connects to a peer. One at a time; others wait at the gate for what comes of it.
    async fn connect(self: Arc<Self>, peer: SocketAddr, gate: Gate) -> Result<Connection, CallError> {
        let _alone = gate.lock().await;
        if let Ok(connection) = lock(&self.links).find(peer) {
            return Ok(connection);
        }
        if let Some(wait) = lock(&self.links).wait(peer, Instant::now()) {
            return Err(CallError::BackingOff { peer, wait });
        }
        match self.dial(peer).await {
            Ok(connection) => {
                self.counters.count(Event::Dialled);
                Ok(self.adopt(connection, true))
            }
            Err(reason) => {
                self.counters.count(Event::DialFailed);
                lock(&self.links).on_failure(peer, Instant::now());
                Err(CallError::Unreachable { peer, reason })
            }
        }
    }

    async fn dial(&self, peer: SocketAddr) -> Result<Connection, String> {
        let connecting = {
            let outward = lock(&self.outward);
            self.endpoint.connect_with(outward.config.clone(), peer, &outward.name)
        };
        let connecting = connecting.map_err(|error| error.to_string())?;
        match timeout(HANDSHAKE_TIMEOUT, connecting).await {
            Ok(outcome) => outcome.map_err(|error| failure(&error)),
            Err(_) => Err(format!("no answer within {HANDSHAKE_TIMEOUT:?}")),
        }
    }

    /// Takes a new connection in and serves it; returns the one to use, which may be an older one.
    fn adopt(self: &Arc<Self>, connection: Connection, begun_here: bool) -> Connection {
        let peer = connection.remote_address();
        let ours = Arc::clone(&lock(&self.outward).certificate);
        let Some(adopted) = lock(&self.links).adopt(peer, connection.clone(), begun_here, ours) else {
            connection.close(TOO_MANY, b"too many connections");
            return connection;
        };
        tokio::spawn(Arc::clone(self).serve(connection));
        if let Some(lesser) = adopted.lesser {
            self.counters.count(Event::Duplicate);
            tokio::spawn(close_later(lesser));
        }
        adopted.best
    }

    async fn serve(self: Arc<Self>, connection: Connection) {
        let peer = connection.remote_address();
        // Bounded by the numbers of streams a peer may open; dropped, and so ended, with the connection.
        let mut work = JoinSet::new();
        loop {
            tokio::select! {
                Some(_) = work.join_next() => {}
                streams = connection.accept_bi() => {
                    let Ok((answers, requests)) = streams else { break };
                    let shared = Arc::clone(&self);
                    let caller = rpc::Caller { peer, round_trip: connection.rtt() };
                    work.spawn(async move { rpc::answer(&shared.serving, caller, answers, requests).await });
                }
                stream = connection.accept_uni() => {
                    let Ok(mut stream) = stream else { break };
                    let shared = Arc::clone(&self);
                    work.spawn(async move {
                        match timeout(HANDSHAKE_TIMEOUT, stream.read_to_end(GOSSIP_BYTES_MAX)).await {
                            Ok(Ok(message)) => shared.on_gossip(peer, message.into()),
                            _ => shared.counters.count(Event::Malformed),
                        }
                    });
                }
                datagram = connection.read_datagram() => {
                    let Ok(message) = datagram else { break };
                    self.on_gossip(peer, message);
                }
            }
        }
        lock(&self.links).on_closed(peer, &connection, Instant::now());
    }

    fn on_gossip(&self, peer: SocketAddr, message: Bytes) {
        if self.gossip_in.try_send((peer, message)).is_err() {
            self.counters.count(Event::GossipDropped);
        }
    }
}

/// Why there is no connection, in words.
fn failure(error: &ConnectionError) -> String {
    // Codes 0x100 to 0x1ff are alerts of TLS (RFC 9001, section 4.8), raised here or by the peer.
    let code = match error {
        ConnectionError::TransportError(error) => u64::from(error.code),
        ConnectionError::ConnectionClosed(close) => u64::from(close.error_code),
        _ => 0,
    };
    if (0x100..0x200).contains(&code) {
        return format!("it belongs to another cluster, or a certificate is not valid now ({error})");
    }
    error.to_string()
}

async fn close_later(connection: Connection) {
    let _ = timeout(DUPLICATE_LINGER, connection.closed()).await;
    connection.close(DUPLICATE, b"another connection is used");
}
