//! Takes entries in: the log, the heads, and what leaves them.

pub mod policy;
