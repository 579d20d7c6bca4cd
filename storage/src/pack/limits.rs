//! How large the parts of a pack may be. Writers keep to these; readers refuse what exceeds them, so that no
//! damaged length makes them allocate without bound.

/// Text a block is sealed at, in bytes. Deflate looks back 32 KiB, so larger blocks gain nothing (measured:
/// 128 KiB cost 1.2 % more bytes, 512 KiB save 0.1 %) and every needle found would inflate more.
pub const BLOCK_TEXT_BYTES: usize = 256 << 10;

/// Most bytes of text in a block. Only a block of one line larger than [`BLOCK_TEXT_BYTES`] comes near it.
pub const BLOCK_TEXT_BYTES_MAX: usize = 64 << 20;

/// Most entries in a block: bounds the columns of blocks of empty lines.
pub const BLOCK_ENTRIES_MAX: usize = 65_536;

/// Structured metadata a block is sealed at, in bytes as they are held in memory.
pub const BLOCK_METADATA_BYTES: usize = 1 << 20;

/// Most bytes of a column part once inflated. Only the metadata of one huge entry comes near it.
pub const COLUMN_PART_BYTES_MAX: usize = 64 << 20;

/// Most blocks in a chunk that is read.
pub const CHUNK_BLOCKS_MAX: usize = 6;

/// Blocks a chunk is closed at. A filter is shared by them: fewer blocks cost bytes, more cost inflating, of the mates
/// of a block that holds the needle, and of chunks that do not hold it where ids crowd the filter.
pub const CHUNK_BLOCKS: usize = 4;

/// Text a chunk is closed at, in bytes; a single block may be larger.
pub const CHUNK_TEXT_BYTES: usize = CHUNK_BLOCKS * BLOCK_TEXT_BYTES;

/// Chunks of less text get no filter: it would be large beside the text and save one small read.
pub const FILTER_TEXT_BYTES_MIN: usize = 64 << 10;

/// Most bytes of a directory; a pack whose directory would be larger cannot be finished.
pub const DIRECTORY_BYTES_MAX: u64 = 256 << 20;

/// Most bytes of columns, or of filters, in a pack.
pub const AREA_BYTES_MAX: u64 = 8 << 30;

const _: () = assert!(BLOCK_TEXT_BYTES < BLOCK_TEXT_BYTES_MAX);
const _: () = assert!(BLOCK_TEXT_BYTES_MAX < u32::MAX as usize / 2, "offsets within a block are u32");
const _: () = assert!(CHUNK_BLOCKS <= CHUNK_BLOCKS_MAX);
const _: () =
    assert!(CHUNK_BLOCKS_MAX <= u8::MAX as usize, "the directory counts a chunk's blocks in a byte");
