//! What parsers hand their finds to: it knows which labels anyone will look at.

use std::collections::BTreeSet;
use std::ops::Bound;

use crate::labels::{LabelSet, Presence};
use crate::stage::label_filter::TextMatcher;

/// The labels that parsers must extract.
#[derive(Debug)]
pub(crate) enum Needs {
    /// Whatever a line has.
    All,
    /// These; parsers stop when a line has given them all.
    Only(BTreeSet<String>),
}

impl Needs {
    /// Whether no parser has anything to do.
    pub(crate) fn nothing(&self) -> bool {
        matches!(self, Needs::Only(names) if names.is_empty())
    }

    fn name(&self, name: &str) -> bool {
        match self {
            Needs::All => true,
            Needs::Only(names) => names.contains(name),
        }
    }

    /// Whether a needed name may start with this prefix.
    fn below(&self, prefix: &str) -> bool {
        match self {
            Needs::All => true,
            Needs::Only(names) => names
                .range::<str, _>((Bound::Included(prefix), Bound::Unbounded))
                .next()
                .is_some_and(|name| name.starts_with(prefix)),
        }
    }

    fn satisfied(&self, labels: &LabelSet) -> bool {
        match self {
            Needs::All => false,
            Needs::Only(names) => names.iter().all(|name| labels.extracted(name)),
        }
    }
}

/// What a parser does after a find.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flow {
    /// Goes on.
    Continue,
    /// Stops: nothing more is needed of this line.
    Done,
    /// Stops: a filter right behind the parser drops the line.
    Drop,
}

/// Takes what a parser finds in one line.
pub(super) struct Extract<'l> {
    pub(super) labels: &'l mut LabelSet,
    pub(super) needs: &'l Needs,
    /// Filters on text that follow the parser at once: whatever else the line holds, one that fails drops it.
    pub(super) gates: &'l [TextMatcher],
}

impl Extract<'_> {
    /// Whether the line has given everything needed.
    pub(super) fn satisfied(&self) -> bool {
        self.needs.satisfied(self.labels)
    }

    /// Whether an object of this name may hold something needed.
    pub(super) fn wants_below(&self, prefix: &str) -> bool {
        self.needs.below(prefix)
    }

    /// Adds a label under its name, or as `name_extracted` where the stream or the metadata has that name. The
    /// first value of a name stays. `write` appends the value.
    pub(super) fn add(&mut self, name: &str, write: impl FnOnce(&mut String)) -> Flow {
        if name.is_empty() {
            return Flow::Continue;
        }
        match self.labels.presence(name) {
            Presence::Extracted => Flow::Continue,
            Presence::New if !self.needs.name(name) => Flow::Continue,
            Presence::New => {
                self.labels.add_new_parsed(name, write);
                self.flow_after(name)
            }
            Presence::Collides => {
                let Extract { needs, gates, .. } = *self;
                self.labels.renamed(name, |labels, renamed| {
                    if !needs.name(renamed) || labels.extracted(renamed) {
                        return Flow::Continue;
                    }
                    Extract { labels, needs, gates }.set(renamed, write)
                })
            }
        }
    }

    /// Sets a label under exactly this name, whether or not the line has it already.
    pub(super) fn set(&mut self, name: &str, write: impl FnOnce(&mut String)) -> Flow {
        self.labels.set_parsed_with(name, write);
        self.flow_after(name)
    }

    /// Sets a label under its name, or as `name_extracted` where the stream or the metadata has that name.
    pub(super) fn set_or_rename(&mut self, name: &str, write: impl FnOnce(&mut String)) -> Flow {
        if !self.labels.collides(name) {
            return self.set(name, write);
        }
        let Extract { needs, gates, .. } = *self;
        self.labels.renamed(name, |labels, renamed| Extract { labels, needs, gates }.set(renamed, write))
    }

    fn flow_after(&self, name: &str) -> Flow {
        if self.gates.iter().any(|gate| gate.name() == name && !gate.passes(self.labels)) {
            return Flow::Drop;
        }
        if self.needs.satisfied(self.labels) { Flow::Done } else { Flow::Continue }
    }
}
