//! What a node does: takes logs in, keeps them, answers for them.
//!
//! One binary, every node the same. `ARCHITECTURE.md` follows a line and a query through these modules.

pub mod access;
pub mod api;
pub mod cli;
pub mod cluster;
pub mod config;
pub mod deletes;
pub mod disk;
pub mod distributor;
pub mod env;
pub mod exec;
pub mod housekeeping;
pub mod ingester;
pub mod limits;
pub mod logging;
pub mod metrics;
pub mod node;
pub mod planted;
pub mod push;
pub mod querier;
pub mod replication;
pub mod rules;
pub mod tenant;
#[cfg(test)]
mod testbed;
pub mod tls;
pub mod workers;
