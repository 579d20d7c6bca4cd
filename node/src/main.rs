//! The `grapevine` binary.
fn main() {}
