//! `cargo xtask`: the commands that developers and CI share.
fn main() {}
