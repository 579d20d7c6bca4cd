//! `| keep a, b="c"`: takes all other labels away, those of the stream included; errors stay.

use crate::ast::LabelSpec;
use crate::labels::{ERROR_DETAILS_LABEL, ERROR_LABEL, LabelSet};
use crate::pipeline::CompileError;
use crate::stage::drop::Item;

/// A compiled `keep`.
#[derive(Debug)]
pub(crate) struct Keep {
    items: Vec<Item>,
}

impl Keep {
    /// Compiles a `keep`.
    pub(crate) fn compile(specs: &[LabelSpec]) -> Result<Keep, CompileError> {
        Ok(Keep { items: Item::compile(specs)? })
    }

    /// Takes the other labels away.
    pub(crate) fn apply(&self, labels: &mut LabelSet) {
        if !self.items.is_empty() {
            labels.retain(|name, value| self.keeps(name, value));
        }
    }

    fn keeps(&self, name: &str, value: &str) -> bool {
        matches!(name, ERROR_LABEL | ERROR_DETAILS_LABEL)
            || self.items.iter().any(|item| match item {
                Item::Name(kept) => kept == name,
                Item::Matcher(matcher) => matcher.name() == name && matcher.fits(value),
            })
    }
}
