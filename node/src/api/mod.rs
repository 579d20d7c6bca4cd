//! Loki's HTTP API.

pub mod auth;
pub mod body;
pub mod cursor;
pub mod delete;
pub mod detected;
pub mod error;
pub mod guard;
pub mod ingest;
pub mod legacy;
pub mod listen;
#[cfg(test)]
mod neighbours;
pub mod ops;
pub mod params;
pub mod partial;
pub mod patterns;
pub mod published;
pub mod query;
pub mod reach;
pub mod respond;
pub mod ring;
pub mod rules;
pub mod server;
pub mod starting;
pub mod strict;
pub mod tail;
pub mod time;
pub mod tls;
pub mod volume;
pub mod workers;
