//! Nodes of this crate on real sockets of the loopback interface, where time limits are deadlines and never
//! synchronisation; and in paused time on a network in memory, where time itself is tested.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should say where")]

mod calls;
mod membership;
mod methods;
mod node;
mod offload;
mod paused;
mod strangers;
mod wire;
