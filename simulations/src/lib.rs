//! Many real nodes in one process, one seed, every fault.
//!
//! The node is what users run; what it stands on is simulated: time and chance ([`det`]), the disk ([`disk`]),
//! the network ([`net`]), the chunk store ([`store`]). One seed decides everything, so that a failure replays
//! byte for byte.

pub mod det;
pub mod disk;
pub mod host;
pub mod net;
pub mod random;
pub mod store;
pub mod trace;
