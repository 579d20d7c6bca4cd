//! Every bound this crate keeps to, in one place, each with the reason for its size.

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
