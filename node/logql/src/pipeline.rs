//! The stages of a query, run on line after line.
//!
//! ```text
//! Pipeline::compile(stages, wanted)      once a query, shared by threads
//!     .stream(labels, options)           once a stream and thread
//!         .process(ts, line, metadata)   once a line: a line and its labels, or nothing
//! ```
//!
//! A line that a leading line filter drops costs nothing but the search. Parsers extract only what a later
//! stage reads or what is [`Wanted`] of the outcome, and stop when they have it; where a filter on text
//! follows a parser, the line is dropped as soon as the parser comes to that label.
//!
//! Line filters run as early as they can: behind the last stage before them that makes a new line. As in Loki
//! they also run before a `decolorize`, which a query can notice; [`split_leading`] tells which of them see
//! the line as it is stored, so that whole blocks can be searched for them instead.

use std::collections::BTreeSet;
use std::sync::Arc;

use thiserror::Error;

use crate::ast::{LabelFilter, LabelFormatSource, LabelSpec, LineFilter, Stage};
use crate::ip::IpPatternError;
use crate::labels::{DUPLICATE_SUFFIX, ERROR_DETAILS_LABEL, ERROR_LABEL, LabelSet};
use crate::level::{self, LEVEL_LABEL, LevelSources};
use crate::pattern::PatternError;
use crate::re2::RegexError;
pub use crate::stage::PathError;
use crate::stage::extract::Needs;
use crate::stage::label_filter::TextMatcher;
use crate::stage::{Scratch, Step};
use crate::template::{Template, TemplateError};

/// A stage that cannot be compiled; the query is refused.
#[derive(Debug, Error)]
pub enum CompileError {
    /// An `ip("…")` that is no address, prefix or range.
    #[error(transparent)]
    Ip(#[from] IpPatternError),
    /// An `ip("…")` behind `|~` and the like.
    #[error("ip: invalid operation: `{0}` can only follow `|=` and `!=`")]
    IpOperator(String),
    /// A pattern that cannot be used.
    #[error(transparent)]
    Pattern(#[from] PatternError),
    /// A regular expression that cannot be compiled.
    #[error(transparent)]
    Regex(#[from] RegexError),
    /// An expression or a pattern with bytes that are no text.
    #[error("error parsing regexp: invalid UTF-8: `{0}`")]
    NotUtf8(String),
    /// An expression of `json` or `logfmt` that says no place.
    #[error(transparent)]
    Path(#[from] PathError),
    /// A template that cannot be parsed.
    #[error("invalid line template: {0}")]
    Template(#[from] TemplateError),
    /// A `regexp` that extracts nothing.
    #[error("regexp `{0}`: at least one named capture is required, as in `(?P<name>…)`")]
    NoNamedGroup(String),
    /// A name that no label can be given.
    #[error("`{0}` cannot be the name of an extracted label")]
    LabelName(String),
    /// A `label_format` that sets a label twice.
    #[error("multiple label name `{0}` not allowed in a single format operation")]
    DuplicateTarget(String),
}

/// The labels of the outcome that anyone will look at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// All.
    All,
    /// These; whether the outcome has others is left open.
    Only(BTreeSet<String>),
}

/// What a pipeline is told when it starts on a stream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Where the `detected_level` of lines is looked for; none if they have none.
    pub levels: Option<Arc<LevelSources>>,
    /// The wall clock's time for templates, in ns since the Unix epoch.
    pub now: i64,
}

/// Compiled stages.
#[derive(Debug)]
pub struct Pipeline {
    steps: Vec<Step>,
    /// How many line filters come first.
    leading: usize,
    needs: Needs,
    level: LevelUse,
}

/// When a line's level is worked out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LevelUse {
    Never,
    /// For lines that have passed: no stage touches it, but it is wanted.
    AtEnd,
    /// Before the stages: one of them may read or remove it.
    AtStart,
}

impl Pipeline {
    /// Compiles the stages of a query.
    pub fn compile(stages: &[Stage], wanted: &Wanted) -> Result<Pipeline, CompileError> {
        let stages = reorder(stages);
        let mut steps = Vec::with_capacity(stages.len());
        for (place, stage) in stages.iter().enumerate() {
            steps.push(Step::compile(stage, place, gates(&stages[place + 1..])?)?);
        }
        let leading = steps.iter().take_while(|step| matches!(step, Step::LineFilter(_))).count();
        let reads = Reads::of(&stages)?;
        let level = reads.level_use(&stages, wanted);
        Ok(Pipeline { steps, leading, needs: reads.needs(wanted), level })
    }

    /// Starts on a stream with these labels.
    pub fn stream(&self, labels: &[(&str, &str)], options: &Options) -> StreamPipeline<'_> {
        let mut set = LabelSet::new(labels);
        set.expect_metadata(options.levels.is_some().then_some(LEVEL_LABEL));
        let level = options.levels.as_ref().filter(|_| self.level != LevelUse::Never).map(|sources| Level {
            at: self.level,
            of_stream: sources.of_labels(labels.iter().copied()).map(str::to_owned),
            sources: sources.clone(),
            buffer: Vec::new(),
        });
        StreamPipeline {
            pipeline: self,
            labels: set,
            scratch: Scratch::new(self.steps.len(), options.now),
            level,
        }
    }
}

/// A pipeline on the lines of one stream.
#[derive(Debug)]
pub struct StreamPipeline<'p> {
    pipeline: &'p Pipeline,
    labels: LabelSet,
    scratch: Scratch,
    level: Option<Level>,
}

/// How a stream's lines come by their level.
#[derive(Debug)]
struct Level {
    at: LevelUse,
    sources: Arc<LevelSources>,
    /// What the stream's labels say it is.
    of_stream: Option<String>,
    buffer: Vec<u8>,
}

/// What became of a line.
#[derive(Debug)]
pub struct Outcome<'o> {
    /// The line.
    pub line: &'o [u8],
    /// Its labels, sealed: all visible ones can be iterated.
    pub labels: &'o LabelSet,
}

impl StreamPipeline<'_> {
    /// Runs the stages on a line with its timestamp (ns) and structured metadata (name and value). Nothing if
    /// a stage drops it.
    pub fn process<'o>(
        &'o mut self,
        timestamp: i64,
        line: &'o [u8],
        metadata: &[(&str, &str)],
    ) -> Option<Outcome<'o>> {
        if !self.run(timestamp, line, metadata) {
            return None;
        }
        self.labels.seal();
        Some(Outcome { line: self.scratch.line(line), labels: &self.labels })
    }

    /// [`process`](Self::process) up to, but without, sealing the labels: `unwrap` goes on from there.
    pub(crate) fn run(&mut self, timestamp: i64, line: &[u8], metadata: &[(&str, &str)]) -> bool {
        self.scratch.reset(timestamp);
        let pipeline = self.pipeline;
        let (leading, rest) = pipeline.steps.split_at(pipeline.leading);
        // A line filter reads and writes no labels, so those of the line before may still be there.
        let run = |step: &Step, this: &mut Self| {
            step.run(line, &mut this.labels, &pipeline.needs, &mut this.scratch)
        };
        if !leading.iter().all(|step| run(step, self)) {
            return false;
        }
        self.labels.reset();
        for (name, value) in metadata {
            let is_level = self.level.is_some() && *name == LEVEL_LABEL;
            self.labels.add_metadata(name, if is_level { level::plain(value) } else { value });
        }
        self.add_level(LevelUse::AtStart, line, metadata);
        if !rest.iter().all(|step| run(step, self)) {
            return false;
        }
        self.add_level(LevelUse::AtEnd, line, metadata);
        true
    }

    pub(crate) fn labels_mut(&mut self) -> &mut LabelSet {
        &mut self.labels
    }

    pub(crate) fn labels(&self) -> &LabelSet {
        &self.labels
    }

    /// Adds the level of the line as it was stored, if this is when it is wanted.
    fn add_level(&mut self, at: LevelUse, line: &[u8], metadata: &[(&str, &str)]) {
        let Some(level) = self.level.as_mut().filter(|level| level.at == at) else { return };
        if metadata.iter().any(|(name, _)| *name == LEVEL_LABEL) {
            return;
        }
        let found = match &level.of_stream {
            Some(level) => level,
            None => level.sources.detect(&[], metadata, line, &mut level.buffer),
        };
        self.labels.add_metadata(LEVEL_LABEL, found);
    }
}

/// Takes the line filters that see the line as it is stored off the stages; the rest, in the order in which it
/// runs.
pub fn split_leading(stages: &[Stage]) -> (Vec<LineFilter>, Vec<Stage>) {
    let mut filters = Vec::new();
    let mut rest = Vec::new();
    for stage in reorder(stages) {
        match stage {
            Stage::LineFilter(filter) if rest.is_empty() => filters.push(filter.clone()),
            stage => rest.push(stage.clone()),
        }
    }
    (filters, rest)
}

/// The stages in the order in which they run.
fn reorder(stages: &[Stage]) -> Vec<&Stage> {
    let mut order: Vec<&Stage> = Vec::with_capacity(stages.len());
    for stage in stages {
        let place = if matches!(stage, Stage::LineFilter(_)) { filter_place(&order) } else { order.len() };
        order.insert(place, stage);
    }
    order
}

/// Where a line filter behind these stages runs. Loki takes it past everything up to a label filter, a
/// `line_format` or an `unpack`, past a `decolorize` too; from there it goes past whatever leaves the line
/// alone, which nobody can notice.
fn filter_place(before: &[&Stage]) -> usize {
    let barrier =
        |stage: &&Stage| matches!(stage, Stage::LineFormat(_) | Stage::Unpack | Stage::LabelFilter(_));
    let changes = |stage: &&Stage| matches!(stage, Stage::LineFormat(_) | Stage::Unpack | Stage::Decolorize);
    let filter = |stage: &&Stage| matches!(stage, Stage::LineFilter(_));
    let behind_barrier = before.iter().rposition(barrier).map_or(0, |i| i + 1);
    let behind_change = before[..behind_barrier].iter().rposition(changes).map_or(0, |i| i + 1);
    behind_change + before[behind_change..].iter().take_while(|stage| filter(stage)).count()
}

/// The filters on text that these stages start with; a line that fails one is dropped whatever else it holds.
fn gates(stages: &[&Stage]) -> Result<Vec<TextMatcher>, CompileError> {
    let mut gates = Vec::new();
    for stage in stages {
        let Stage::LabelFilter(filter) = stage else { break };
        let mut open = vec![filter];
        while let Some(filter) = open.pop() {
            match filter {
                LabelFilter::And(a, b) => open.extend([a.as_ref(), b.as_ref()]),
                LabelFilter::Text(matcher)
                    if !matches!(matcher.name.as_str(), ERROR_LABEL | ERROR_DETAILS_LABEL) =>
                {
                    gates.push(TextMatcher::compile(matcher)?);
                }
                _ => {}
            }
        }
    }
    Ok(gates)
}

/// The labels that stages read.
struct Reads {
    names: BTreeSet<String>,
    /// A template may read any.
    any: bool,
}

impl Reads {
    fn of(stages: &[&Stage]) -> Result<Reads, TemplateError> {
        let mut reads = Reads { names: BTreeSet::new(), any: false };
        for stage in stages {
            match stage {
                Stage::LabelFilter(filter) => reads.filter(filter),
                Stage::LineFormat(source) => reads.template(source)?,
                Stage::LabelFormat(formats) => {
                    for format in formats {
                        match &format.source {
                            LabelFormatSource::Rename(name) => reads.name(name),
                            LabelFormatSource::Template(source) => reads.template(source)?,
                        }
                    }
                }
                Stage::Drop(specs) | Stage::Keep(specs) => {
                    for spec in specs {
                        if let LabelSpec::Matcher(matcher) = spec {
                            reads.name(&matcher.name);
                        }
                    }
                }
                _ => {}
            }
        }
        Ok(reads)
    }

    fn name(&mut self, name: &str) {
        self.names.insert(name.into());
    }

    fn template(&mut self, source: &str) -> Result<(), TemplateError> {
        match Template::parse(source)?.label_names() {
            Some(names) => self.names.extend(names),
            None => self.any = true,
        }
        Ok(())
    }

    fn filter(&mut self, filter: &LabelFilter) {
        match filter {
            LabelFilter::Text(matcher) => self.name(&matcher.name),
            LabelFilter::Number { name, .. }
            | LabelFilter::Duration { name, .. }
            | LabelFilter::Bytes { name, .. }
            | LabelFilter::Ip { name, .. } => self.name(name),
            LabelFilter::And(a, b) | LabelFilter::Or(a, b) => {
                self.filter(a);
                self.filter(b);
            }
        }
    }

    /// What parsers must extract. A name that ends in `_extracted` may be that of a field without it.
    fn needs(&self, wanted: &Wanted) -> Needs {
        match wanted {
            Wanted::Only(wanted) if !self.any => {
                let mut names: BTreeSet<String> = self.names.union(wanted).cloned().collect();
                let bare = names.iter().filter_map(|name| name.strip_suffix(DUPLICATE_SUFFIX));
                let bare: Vec<String> = bare.map(Into::into).collect();
                names.extend(bare);
                Needs::Only(names)
            }
            _ => Needs::All,
        }
    }

    fn level_use(&self, stages: &[&Stage], wanted: &Wanted) -> LevelUse {
        let wanted = match wanted {
            Wanted::All => true,
            Wanted::Only(names) => names.contains(LEVEL_LABEL),
        };
        let touches = |stage: &&Stage| match stage {
            Stage::Drop(specs) => {
                specs.iter().any(|spec| matches!(spec, LabelSpec::Name(name) if name == LEVEL_LABEL))
            }
            Stage::Keep(_) => wanted,
            Stage::LabelFormat(formats) => formats.iter().any(|format| format.target == LEVEL_LABEL),
            _ => false,
        };
        if self.any || self.names.contains(LEVEL_LABEL) || stages.iter().any(touches) {
            LevelUse::AtStart
        } else if wanted {
            LevelUse::AtEnd
        } else {
            LevelUse::Never
        }
    }
}

#[cfg(test)]
mod tests;
