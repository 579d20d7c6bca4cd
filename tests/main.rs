//! Whole processes, real sockets, real files.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should say where")]

/// What real Loki answered, asked of a real node.
mod exams;
