//! The command line of the simulation harness.
fn main() {}
