//! LogQL: lexer, parser, printer, log pipeline and evaluation.
//!
//! Pure: no runtime, no clock, no IO, and no other crate of ours. Whoever stores the lines hands them
//! in; whoever asks gets an answer. See `ARCHITECTURE.md` for where each step of a query happens.

pub mod ast;
mod binary;
pub mod eval_error;
pub mod eval_limits;
mod evaluate;
pub mod field_sources;
pub mod ip;
mod label_replace;
pub mod labels;
pub mod leaf_scan;
pub mod level;
mod lex;
pub mod limits;
pub mod log_select;
pub mod memory;
mod names;
mod number;
pub mod parse;
pub mod pattern;
pub mod pipeline;
pub mod plan;
pub mod print;
pub mod quantity;
pub mod quote;
pub mod range;
pub mod re2;
mod regex_words;
pub mod selector;
pub mod series;
mod stage;
pub mod template;
pub mod unwrap;
pub mod value;
mod vector;

pub use evaluate::evaluate;
