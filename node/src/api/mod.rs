//! Loki's HTTP API.

pub mod error;
pub mod ingest;
pub mod ops;
pub mod params;
pub mod query;
pub mod respond;
pub mod server;
pub mod time;
