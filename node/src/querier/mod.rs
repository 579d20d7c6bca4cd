//! Answers queries: finds what may hold an answer, reads it, and merges.

pub mod answer;
pub mod units;
