//! Many real nodes in one process, one seed, every fault.
//!
//! The node is what users run; what it stands on is simulated: time and chance ([`det`]), the disk ([`disk`]),
//! the network ([`net`]), the chunk store ([`store`]). One seed decides everything, so that a failure replays
//! byte for byte.

pub mod canary;
pub mod check;
pub mod client;
pub mod det;
pub mod disk;
pub mod effects;
pub mod health;
pub mod host;
pub mod hunt;
pub mod logs;
pub mod member;
pub mod net;
pub mod page;
pub mod random;
pub mod report;
pub mod run;
pub mod scale;
pub mod scenario;
pub mod schedule;
pub mod store;
pub mod timeline;
pub mod trace;
pub mod traffic;
pub mod watch;
pub mod wire;
pub mod workload;
