//! What is kept: the head, the write-ahead log, packs of gzip blocks, the index, and the chunk store.
#![deny(missing_docs)]

pub mod atom;
pub mod chunk_store;
pub mod durable;
pub mod entry;
pub mod head;
pub mod index;
pub mod pack;
pub mod scan;
pub mod spare;
pub mod stream;
#[cfg(any(test, feature = "testdata"))]
pub mod testdata;
pub mod wal;
