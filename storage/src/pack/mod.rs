//! Packs: immutable files of gzip members that hold the blocks of many streams, and all that reading them needs.
//!
//! ```text
//! pack := block* | slice of columns* | slice of filters* | slice of the directory* | footer
//! ```
//!
//! **Invariant:** `zcat` of a pack prints the lines it holds, one per line, grouped by stream in order of time, and
//! nothing else. [`block`] describes the members with text, [`area`] those without. Streams ascend by id; a chunk is
//! a run of at most six blocks of one stream that share a [`filter`]; [`directory`] says where each lies.
//!
//! A block's life: [`text`] gathers entries, [`seal`] compresses them, [`mod@settle`] puts blocks that overlap in time
//! in order, [`writer`] writes packs, [`reader`] and [`sealed`] read them, [`mod@merge`] makes large ones of small ones,
//! [`mod@sift`] takes entries out of one, [`mod@verify`] checks all of one, and [`salvage`] saves what it can of a damaged one.

pub mod area;
pub mod block;
pub mod column;
mod cursor;
pub mod directory;
pub mod error;
pub mod filter;
pub(crate) mod grams;
pub mod gzip;
pub mod limits;
mod line_ends;
pub mod merge;
pub mod metadata;
pub mod reader;
pub mod salvage;
pub mod seal;
pub mod sealed;
pub mod settle;
pub mod sift;
pub mod text;
mod timestamps;
pub mod verify;
pub mod writer;

pub use area::{AreaRange, Footer};
pub use block::BlockHeader;
pub use directory::{BlockEntry, ChunkEntry, Directory, StreamEntry};
pub use error::{FormatError, PackError};
pub use filter::{Filter, FilterQuery};
pub use merge::merge;
pub use metadata::Metadata;
pub use reader::{PackReader, ReadAt};
pub use seal::{ChunkBuilder, Level, SealedChunk, Sealer};
pub use sealed::{BlockReader, SealedBlock, TextBuffer};
pub use settle::settle;
pub use sift::{Fate, Sieve, holds_any, sift};
pub use text::{Append, BlockText, Lines};
pub use verify::verify;
pub use writer::{PackSummary, PackWriter};

#[cfg(test)]
mod tests;
