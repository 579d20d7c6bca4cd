//! What one template may cost. A template is written by whoever may query, and runs once for every line,
//! so each thing it could make large is bounded here; passing a bound is an error, never a cut-off answer.

/// Longest template source, in bytes. Far above what people write; bounds the parsed tree.
pub(super) const SOURCE_BYTES_MAX: usize = 64 << 10;

/// Deepest nesting of blocks and parentheses in the source. The parser recurses once per level.
pub(super) const NESTING_MAX: u32 = 100;

/// Deepest nesting of evaluation: blocks, parentheses and `{{template}}` calls together. The executor
/// recurses once per level, and a thread's stack may be as small as 2 MiB.
pub(super) const DEPTH_MAX: u32 = 200;

/// Longest output of one render, and longest string any function may build on the way, in bytes.
pub(super) const TEXT_BYTES_MAX: usize = 4 << 20;

/// Work one render may do, in units. Each node walked, command evaluated and `range` iteration costs
/// [`STEP_COST`], each byte a function reads or makes costs one: about half a million steps.
pub(super) const WORK_MAX: u64 = 32 << 20;

/// What one step costs, in the units of [`WORK_MAX`].
pub(super) const STEP_COST: u64 = 64;

/// What compiling a regular expression that is no constant costs, in the units of [`WORK_MAX`]. Constants are
/// compiled once, when the template is parsed.
pub(super) const PATTERN_COST: u64 = 16 << 10;

/// Largest width or precision of a `printf` verb, as in Go; beyond it the verb prints `%!(BADWIDTH)`.
pub(super) const WIDTH_MAX: i64 = 1_000_000;

const _: () = assert!(DEPTH_MAX > NESTING_MAX, "whatever parses must have room to run");
