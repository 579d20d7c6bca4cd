//! QUIC's settings.

use std::sync::Arc;

use quinn::{ClientConfig, EndpointConfig, IdleTimeout, ServerConfig, TransportConfig, VarInt};
use rustls::time_provider::TimeProvider;

use crate::{
    identity::{self, Identity},
    limits::{
        CALLS_PER_CONNECTION_MAX, GOSSIP_BYTES_MAX, GOSSIP_SENDS_MAX, HANDSHAKES_MAX, IDLE_TIMEOUT,
        KEEP_ALIVE,
    },
};

/// Bytes a peer may have on the way to this node on one stream before anybody reads: the product of bandwidth and
/// delay of 1 Gbit/s at 32 ms.
const STREAM_WINDOW_BYTES: u32 = 4 << 20;

/// The same for all streams of a connection, and for what this node has on the way to a peer.
const CONNECTION_WINDOW_BYTES: u32 = 16 << 20;

/// Bytes of datagrams waiting in either direction on a connection.
const DATAGRAM_BUFFER_BYTES: usize = 4 * GOSSIP_BYTES_MAX;

/// Bytes kept of strangers who were not answered yet.
const INCOMING_BYTES_MAX: u64 = 1 << 20;

const _: () = assert!(IDLE_TIMEOUT.as_millis() < u32::MAX as u128);

/// How this node connects to others.
pub(super) struct Outward {
    pub(super) config: ClientConfig,
    /// The name peers' certificates must be made out to.
    pub(super) name: String,
    pub(super) certificate: Arc<[u8]>,
}

impl Outward {
    pub(super) fn new(identity: &Identity, time: &Arc<dyn TimeProvider>) -> Result<Self, rustls::Error> {
        let tls = identity::client_config(identity, Arc::clone(time))?;
        let mut config = ClientConfig::new(tls);
        config.transport_config(Arc::new(transport()));
        Ok(Self { config, name: identity.host_name(), certificate: identity.certificate().into() })
    }
}

pub(super) fn server(
    identity: &Identity,
    time: &Arc<dyn TimeProvider>,
) -> Result<ServerConfig, rustls::Error> {
    let mut config = ServerConfig::with_crypto(identity::server_config(identity, Arc::clone(time))?);
    config.transport_config(Arc::new(transport()));
    // Peers are known by their addresses; one that moves connects anew.
    config.migration(false);
    config.max_incoming(HANDSHAKES_MAX).incoming_buffer_size_total(INCOMING_BYTES_MAX);
    Ok(config)
}

pub(super) fn endpoint() -> EndpointConfig {
    let mut config = EndpointConfig::default();
    // So that a datagram without the fixed bit is known to be a stranger's.
    config.grease_quic_bit(false);
    config
}

fn transport() -> TransportConfig {
    let mut transport = TransportConfig::default();
    transport
        .max_idle_timeout(Some(IdleTimeout::from(VarInt::from_u32(IDLE_TIMEOUT.as_millis() as u32))))
        .keep_alive_interval(Some(KEEP_ALIVE))
        .max_concurrent_bidi_streams(VarInt::from_u32(CALLS_PER_CONNECTION_MAX))
        .max_concurrent_uni_streams(VarInt::from_u32(GOSSIP_SENDS_MAX as u32))
        .stream_receive_window(VarInt::from_u32(STREAM_WINDOW_BYTES))
        .receive_window(VarInt::from_u32(CONNECTION_WINDOW_BYTES))
        .send_window(u64::from(CONNECTION_WINDOW_BYTES))
        .datagram_receive_buffer_size(Some(DATAGRAM_BUFFER_BYTES))
        .datagram_send_buffer_size(DATAGRAM_BUFFER_BYTES);
    transport
}
