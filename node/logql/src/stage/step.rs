//! One compiled stage, and running it.

use regex::bytes::CaptureLocations;

use crate::ast::Stage;
use crate::labels::LabelSet;
use crate::pattern::Pattern;
use crate::pipeline::CompileError;
use crate::stage::decolorize::decolorize;
use crate::stage::drop::Drop;
use crate::stage::extract::{Extract, Needs};
use crate::stage::json::{JsonScratch, json};
use crate::stage::json_path::JsonPaths;
use crate::stage::keep::Keep;
use crate::stage::label_filter::{LabelFilter, TextMatcher};
use crate::stage::label_format::{LabelFormat, LabelFormatScratch};
use crate::stage::line_filter::LineFilter;
use crate::stage::line_format::LineFormat;
pub(crate) use crate::stage::line_format::Times;
use crate::stage::logfmt::{Logfmt, LogfmtScratch};
use crate::stage::pattern::pattern;
use crate::stage::regexp::Regexp;
use crate::stage::unpack::{UnpackScratch, Unpacked, unpack};

/// What stages write to, kept from line to line.
#[derive(Debug)]
pub(crate) struct Scratch {
    /// The line as the stages have made it, if they have.
    line: Vec<u8>,
    rewritten: bool,
    /// Where the next version of the line is made.
    spare: Vec<u8>,
    times: Times,
    /// Captures of the regular expressions, by place of the stage.
    locations: Vec<Option<CaptureLocations>>,
    json: JsonScratch,
    logfmt: LogfmtScratch,
    unpack: UnpackScratch,
    label_format: LabelFormatScratch,
}

impl Scratch {
    /// Scratch for a pipeline of so many stages.
    pub(crate) fn new(steps: usize, now: i64) -> Scratch {
        Scratch {
            line: Vec::new(),
            rewritten: false,
            spare: Vec::new(),
            times: Times { timestamp: 0, now },
            locations: vec![None; steps],
            json: JsonScratch::default(),
            logfmt: LogfmtScratch::default(),
            unpack: UnpackScratch::default(),
            label_format: LabelFormatScratch::default(),
        }
    }

    /// Starts a line.
    pub(crate) fn reset(&mut self, timestamp: i64) {
        self.rewritten = false;
        self.times.timestamp = timestamp;
    }

    /// The line as it is now.
    pub(crate) fn line<'l>(&'l self, original: &'l [u8]) -> &'l [u8] {
        if self.rewritten { &self.line } else { original }
    }

    fn take_spare(&mut self) {
        std::mem::swap(&mut self.line, &mut self.spare);
        self.rewritten = true;
    }
}

/// A compiled stage.
#[derive(Debug)]
pub(crate) enum Step {
    LineFilter(LineFilter),
    /// A parser, and the filters on text right behind it.
    Parser(Parser, Vec<TextMatcher>),
    LabelFilter(LabelFilter),
    LineFormat(LineFormat),
    LabelFormat(LabelFormat),
    Decolorize,
    Drop(Drop),
    Keep(Keep),
}

#[derive(Debug)]
pub(crate) enum Parser {
    Json,
    JsonPaths(JsonPaths),
    Logfmt(Logfmt),
    Pattern(Pattern),
    /// With the place of its captures in the scratch.
    Regexp(Regexp, usize),
    Unpack,
}

impl Step {
    /// Compiles the stage at a place of the pipeline; `gates` are the filters on text right behind it.
    pub(crate) fn compile(
        stage: &Stage,
        place: usize,
        gates: Vec<TextMatcher>,
    ) -> Result<Step, CompileError> {
        let parser = match stage {
            Stage::LineFilter(source) => return Ok(Step::LineFilter(LineFilter::compile(source)?)),
            Stage::LabelFilter(source) => return Ok(Step::LabelFilter(LabelFilter::compile(source)?)),
            Stage::LineFormat(source) => return Ok(Step::LineFormat(LineFormat::compile(source)?)),
            Stage::LabelFormat(source) => return Ok(Step::LabelFormat(LabelFormat::compile(source)?)),
            Stage::Decolorize => return Ok(Step::Decolorize),
            Stage::Drop(specs) => return Ok(Step::Drop(Drop::compile(specs)?)),
            Stage::Keep(specs) => return Ok(Step::Keep(Keep::compile(specs)?)),
            Stage::Json(paths) if paths.is_empty() => Parser::Json,
            Stage::Json(paths) => Parser::JsonPaths(JsonPaths::compile(paths)?),
            Stage::Logfmt { strict, keep_empty, extractions } => {
                Parser::Logfmt(Logfmt::compile(*strict, *keep_empty, extractions)?)
            }
            Stage::Pattern(source) => Parser::Pattern(Pattern::parser(source)?),
            Stage::Regexp(source) => Parser::Regexp(Regexp::compile(source)?, place),
            Stage::Unpack => Parser::Unpack,
        };
        Ok(Step::Parser(parser, gates))
    }

    /// Runs the stage on a line. False if the line is to be dropped.
    pub(crate) fn run(
        &self,
        original: &[u8],
        labels: &mut LabelSet,
        needs: &Needs,
        scratch: &mut Scratch,
    ) -> bool {
        let Scratch { line, spare, rewritten, times, .. } = scratch;
        let current = if *rewritten { line.as_slice() } else { original };
        let rewrote = match self {
            Step::LineFilter(filter) => return filter.passes(current),
            Step::LabelFilter(filter) => return filter.passes(labels),
            Step::Parser(parser, gates) => {
                return parser.run(original, &mut Extract { labels, needs, gates }, scratch);
            }
            Step::LabelFormat(format) => {
                format.apply(current, labels, *times, &mut scratch.label_format);
                false
            }
            Step::Drop(drop) => {
                drop.apply(labels);
                false
            }
            Step::Keep(keep) => {
                keep.apply(labels);
                false
            }
            Step::LineFormat(format) => {
                spare.clear();
                format.apply(current, labels, *times, spare)
            }
            Step::Decolorize => {
                spare.clear();
                decolorize(current, spare)
            }
        };
        if rewrote {
            scratch.take_spare();
        }
        true
    }
}

impl Parser {
    /// Loki's parsers do nothing, and see no errors, where no label is needed any more; only `unpack` changes
    /// the line as well.
    fn run(&self, original: &[u8], extract: &mut Extract<'_>, scratch: &mut Scratch) -> bool {
        if !matches!(self, Parser::Unpack) && (extract.needs.nothing() || extract.satisfied()) {
            return true;
        }
        let Scratch { line, spare, rewritten, locations, .. } = scratch;
        let current = if *rewritten { line.as_slice() } else { original };
        match self {
            Parser::Json => json(current, extract, &mut scratch.json),
            Parser::JsonPaths(paths) => {
                paths.apply(current, extract, &mut scratch.json);
                true
            }
            Parser::Logfmt(logfmt) => logfmt.apply(current, extract, &mut scratch.logfmt),
            Parser::Pattern(source) => pattern(source, current, extract),
            Parser::Regexp(regexp, slot) => {
                let room = locations[*slot].get_or_insert_with(|| regexp.locations());
                regexp.apply(current, extract, room)
            }
            Parser::Unpack => {
                spare.clear();
                match unpack(current, extract, &mut scratch.unpack, spare) {
                    Unpacked::Same => true,
                    Unpacked::Drop => false,
                    Unpacked::Line => {
                        scratch.take_spare();
                        true
                    }
                }
            }
        }
    }
}
