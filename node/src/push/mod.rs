//! The decoding and validating side of ingestion: from an HTTP body to what an ingester appends.
//!
//! Synchronous and pure: no runtime, no socket, no clock. Three decoders ([`protobuf`], [`json`], [`otlp`])
//! feed one [`batch::BatchBuilder`]; [`validate`] takes out what the tenant's limits refuse, [`admit`] what must not come now; [`wal`] says what
//! the write-ahead log keeps of the rest. [`request`] is the way through all of them.

pub mod admit;
pub mod batch;
mod buffers;
pub mod content;
pub mod error;
pub mod generic_fields;
pub mod json;
pub mod labels;
pub mod metadata;
pub mod otlp;
pub mod protobuf;
pub mod rate_limit;
pub mod rejection;
pub mod request;
pub mod service_name;
pub mod stream_cache;
pub mod validate;
pub mod wal;
mod wire;

#[cfg(test)]
#[path = "../../../tests/bad_requests.rs"]
pub mod bad_requests;
#[cfg(test)]
mod exam;
#[cfg(test)]
mod testing;
