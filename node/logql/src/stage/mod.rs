//! The stages of a log pipeline, one a file.
//!
//! A stage is compiled once a query and shared by all threads; what it needs to write to comes from the
//! [`StreamPipeline`](crate::pipeline::StreamPipeline) that runs it. Parsers hand their finds to `extract`.

mod decolorize;
mod drop;
pub(crate) mod extract;
mod json;
mod json_path;
mod json_scan;
mod keep;
pub(crate) mod label_filter;
mod label_format;
mod line_filter;
mod line_format;
mod logfmt;
mod logfmt_scan;
mod path;
mod pattern;
mod regexp;
mod step;
mod text;
mod unpack;

pub(crate) use json::json_strings;
pub(crate) use json_scan::DEPTH_MAX as JSON_DEPTH_MAX;
pub(crate) use logfmt::logfmt_value;
pub use path::PathError;
pub(crate) use path::{JsonPath, json_value};
pub(crate) use step::{Scratch, Step};
