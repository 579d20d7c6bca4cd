//! Nodes of this crate on real sockets of the loopback interface. Time limits are deadlines, never synchronisation.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should say where")]

mod calls;
mod membership;
mod methods;
mod node;
mod strangers;
