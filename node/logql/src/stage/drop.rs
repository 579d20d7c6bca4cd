//! `| drop a, b="c"`: takes labels away.

use crate::ast::LabelSpec;
use crate::labels::{ERROR_DETAILS_LABEL, ERROR_LABEL, LabelSet};
use crate::pipeline::CompileError;
use crate::stage::label_filter::TextMatcher;

/// A compiled `drop`.
#[derive(Debug)]
pub(crate) struct Drop {
    items: Vec<Item>,
}

/// What `drop` and `keep` list.
#[derive(Debug)]
pub(super) enum Item {
    Name(String),
    Matcher(TextMatcher),
}

impl Item {
    pub(super) fn compile(specs: &[LabelSpec]) -> Result<Vec<Item>, CompileError> {
        let item = |spec: &LabelSpec| match spec {
            LabelSpec::Name(name) => Ok(Item::Name(name.clone())),
            LabelSpec::Matcher(matcher) => TextMatcher::compile(matcher).map(Item::Matcher),
        };
        specs.iter().map(item).collect()
    }
}

impl Drop {
    /// Compiles a `drop`.
    pub(crate) fn compile(specs: &[LabelSpec]) -> Result<Drop, CompileError> {
        Ok(Drop { items: Item::compile(specs)? })
    }

    /// Takes the labels away.
    pub(crate) fn apply(&self, labels: &mut LabelSet) {
        for item in &self.items {
            let name = match item {
                Item::Name(name) => name,
                Item::Matcher(matcher) if fits(matcher, labels) => matcher.name(),
                Item::Matcher(_) => continue,
            };
            match name {
                ERROR_LABEL => labels.clear_error(),
                ERROR_DETAILS_LABEL => labels.clear_error_details(),
                name => labels.remove(name),
            }
        }
    }
}

/// Whether a label is to be dropped; unlike a filter, `drop` sees what the stages noted of an error.
fn fits(matcher: &TextMatcher, labels: &LabelSet) -> bool {
    match matcher.name() {
        ERROR_DETAILS_LABEL => matcher.fits(labels.error_details()),
        _ => matcher.passes(labels),
    }
}
