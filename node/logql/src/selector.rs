//! `{app="x", pod=~"a.*"}`: which streams a query is about.

use crate::ast::Matcher;
use crate::pipeline::CompileError;
use crate::stage::label_filter::TextMatcher;

/// A compiled stream selector.
#[derive(Debug)]
pub struct Selector {
    matchers: Vec<TextMatcher>,
}

impl Selector {
    /// Compiles the matchers of a selector.
    ///
    /// # Errors
    /// A regular expression cannot be compiled.
    pub fn compile(matchers: &[Matcher]) -> Result<Self, CompileError> {
        Ok(Selector { matchers: matchers.iter().map(TextMatcher::compile).collect::<Result<_, _>>()? })
    }

    /// Whether a stream with these labels, in any order, is selected. A missing label is an empty one.
    pub fn matches(&self, labels: &[(&str, &str)]) -> bool {
        let value =
            |wanted: &str| labels.iter().find(|(name, _)| *name == wanted).map_or("", |(_, value)| value);
        self.matchers.iter().all(|matcher| matcher.fits(value(matcher.name())))
    }
}
