//! Every bound this crate keeps to, in one place, each with the reason for its size.

use std::time::Duration;

/// Longest node or zone name in bytes: what fits a DNS label, so that a name may also be a host name.
pub const NAME_BYTES_MAX: usize = 63;

/// Largest weight. With 100 as the usual one, a member may be a hundred times as big as another.
pub const WEIGHT_MAX: u16 = 10_000;

/// Most members a ring takes; more are left out, the last names first. Gossip itself grows with the square of the
/// members and is the tighter limit (about 1,000).
pub const RING_MEMBERS_MAX: usize = 4_096;

/// Most tokens of one member that count; more are left out, the largest first. Bounds what a peer can gossip.
pub const TOKENS_PER_MEMBER_MAX: usize = 256;

/// Most replicas of a range. Owners are kept in an array of this size, so that looking them up allocates nothing.
pub const REPLICAS_MAX: usize = 8;

const _: () = assert!(RING_MEMBERS_MAX <= u16::MAX as usize, "members are numbered by u16");

/// Largest message in either direction of a call, in bytes. A push of 4 MiB with its framing fits several times over;
/// larger answers are streamed.
pub const MESSAGE_BYTES_MAX: usize = 32 << 20;

/// Bytes of request bodies held at once on behalf of all peers. Further bodies wait in the senders' memory: QUIC's
/// flow control carries the pressure back to them. Must hold at least one message of the largest size.
pub const BODIES_BYTES_MAX: usize = 128 << 20;

/// Requests worked on at once on behalf of all peers; more are refused as busy, which callers may retry elsewhere.
pub const REQUESTS_MAX: usize = 1_024;

/// Calls open at once on one connection; more wait on the caller's side.
pub const CALLS_PER_CONNECTION_MAX: u32 = 256;

/// Longest text of a refusal in bytes.
pub const REFUSAL_BYTES_MAX: usize = 1_024;

/// How long a request may take to say what it is, once its stream is open.
pub const REQUEST_HEADER_TIMEOUT: Duration = Duration::from_secs(5);

/// Longest deadline a call can have. Bounds what a peer can make this node keep open.
pub const CALL_TIMEOUT_MAX: Duration = Duration::from_secs(60 * 60);

/// Handshakes under way at once. Strangers fill these and nothing else; above half of it, addresses must prove
/// themselves first, which costs peers a round trip and senders of forged addresses everything.
pub const HANDSHAKES_MAX: usize = 64;

/// How long a handshake may take, on either side.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);

/// Connections that are kept at once. Members are at most [`RING_MEMBERS_MAX`]; more connections are refused.
pub const CONNECTIONS_MAX: usize = RING_MEMBERS_MAX;

/// A connection without a sign of life for this long is lost.
pub const IDLE_TIMEOUT: Duration = Duration::from_secs(10);

/// Quiet connections are kept alive by a packet this often: three may be lost in a row.
pub const KEEP_ALIVE: Duration = Duration::from_secs(3);

/// How long the lesser of two connections to one peer stays open for the calls that are on it.
pub const DUPLICATE_LINGER: Duration = Duration::from_secs(5);

/// First wait after a failed connection.
pub const BACKOFF_MIN: Duration = Duration::from_millis(250);

/// Longest wait after failed connections: how late a peer that came back may be noticed by those it does not call.
pub const BACKOFF_MAX: Duration = Duration::from_secs(5);

/// Gossip messages waiting in either direction. Gossip repeats itself, so what does not fit is dropped and counted.
pub const GOSSIP_QUEUE_MAX: usize = 256;

/// Gossip messages being sent at once; each may wait for a connection.
pub const GOSSIP_SENDS_MAX: usize = 64;

/// Largest gossip message in bytes: chitchat keeps to 64 KiB.
pub const GOSSIP_BYTES_MAX: usize = 64 << 10;

/// How long sending one gossip message may take, connecting included; by then the next round has better news.
pub const GOSSIP_SEND_TIMEOUT: Duration = Duration::from_secs(3);

const _: () = assert!(BODIES_BYTES_MAX >= MESSAGE_BYTES_MAX);
const _: () = assert!(MESSAGE_BYTES_MAX <= u32::MAX as usize, "lengths on the wire have 32 bits");
const _: () = assert!(CALL_TIMEOUT_MAX.as_millis() <= u32::MAX as u128, "timeouts on the wire have 32 bits");
const _: () = assert!(3 * KEEP_ALIVE.as_millis() < IDLE_TIMEOUT.as_millis());

/// Longest text by which a member tells the version of its software, in bytes.
pub const BUILD_BYTES_MAX: usize = 64;
