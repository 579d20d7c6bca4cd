//! Loki's HTTP API.

pub mod error;
pub mod params;
pub mod respond;
pub mod time;
