//! What can be wrong with a pack: damage, told by part and offset, or a source that cannot be read.

use std::io;

use thiserror::Error;

/// Bytes that are not what the format says.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{part} is damaged at byte `{offset}`: {problem}")]
pub struct FormatError {
    /// The part that was being read, such as `block header`.
    pub part: &'static str,
    /// Where: in the pack if the reader knows where the part lies, else within the part.
    pub offset: u64,
    /// What is wrong there.
    pub problem: &'static str,
}

impl FormatError {
    pub(crate) fn new(part: &'static str, offset: usize, problem: &'static str) -> Self {
        FormatError { part, offset: offset as u64, problem }
    }

    /// The same error, told by an offset in whatever the part begins at `base` of.
    pub fn within(mut self, base: u64) -> Self {
        self.offset = self.offset.saturating_add(base);
        self
    }
}

/// Why a pack cannot be read.
#[derive(Debug, Error)]
pub enum PackError {
    /// It is damaged.
    #[error(transparent)]
    Format(#[from] FormatError),
    /// Its bytes could not be read.
    #[error("cannot read `{length}` bytes of the pack at byte `{offset}`")]
    Read {
        /// First byte wanted.
        offset: u64,
        /// How many bytes were wanted.
        length: u64,
        /// Why not.
        source: io::Error,
    },
}
