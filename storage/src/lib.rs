//! What is kept: the head, the write-ahead log, packs of gzip blocks, the index, and the chunk store.
#![deny(missing_docs)]

pub mod chunk_store;
pub mod entry;
pub mod head;
pub mod index;
pub mod pack;
pub mod stream;
pub mod wal;
