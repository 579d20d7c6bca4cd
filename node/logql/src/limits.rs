//! The bounds of the language: what a query may cost before a line is read.

/// Longest query in bytes (128 KiB, as Loki's `maxInputSize`). A longer one is refused before it is looked at.
pub const QUERY_BYTES_MAX: usize = 128 * 1024;

/// Deepest nesting of parentheses and aggregations. Parsing recurses once a level, so this bounds the stack;
/// no query written by a person or a dashboard comes near it.
pub const NESTING_MAX: usize = 96;

/// Deepest syntax tree. A chain (`a or b or c …`) does not recurse while it is parsed, but whatever walks the
/// tree later does, dropping it included.
pub const TREE_DEPTH_MAX: usize = 512;

const _: () = assert!(NESTING_MAX < TREE_DEPTH_MAX, "nesting alone must never exceed the tree's depth");
