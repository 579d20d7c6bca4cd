//! `| label_format a=b, c="{{.d}}"`: renames labels and makes new ones.

use crate::ast::{LabelFormat as Source, LabelFormatSource};
use crate::labels::{ERROR_LABEL, LabelSet, LineError};
use crate::pipeline::CompileError;
use crate::stage::line_format::{LineContext, Times};
use crate::stage::text::push_lossy;
use crate::template::Template;

/// A compiled `label_format`.
#[derive(Debug)]
pub(crate) struct LabelFormat {
    assignments: Vec<Assignment>,
}

#[derive(Debug)]
enum Assignment {
    Rename { target: String, source: String },
    Template { target: String, template: Template },
}

/// Buffers kept from line to line.
#[derive(Debug, Default)]
pub(super) struct LabelFormatScratch {
    /// What the templates yield, one behind the other.
    rendered: Vec<u8>,
    /// Where each ends; nothing for one that failed.
    ends: Vec<Option<usize>>,
}

impl LabelFormat {
    /// Compiles a `label_format`; a label may be set once, and `__error__` not at all.
    pub(super) fn compile(source: &[Source]) -> Result<LabelFormat, CompileError> {
        let mut assignments = Vec::with_capacity(source.len());
        for (i, Source { target, source: value }) in source.iter().enumerate() {
            if target == ERROR_LABEL {
                return Err(CompileError::LabelName(target.clone()));
            }
            if source[..i].iter().any(|earlier| earlier.target == *target) {
                return Err(CompileError::DuplicateTarget(target.clone()));
            }
            let target = target.clone();
            assignments.push(match value {
                LabelFormatSource::Rename(source) => Assignment::Rename { target, source: source.clone() },
                LabelFormatSource::Template(source) => {
                    Assignment::Template { target, template: Template::parse(source)? }
                }
            });
        }
        Ok(LabelFormat { assignments })
    }

    /// Applies the assignments in order; all templates see the labels as they are when the first is reached.
    pub(super) fn apply(
        &self,
        line: &[u8],
        labels: &mut LabelSet,
        times: Times,
        scratch: &mut LabelFormatScratch,
    ) {
        let (mut start, mut rendered) = (0, 0);
        for assignment in &self.assignments {
            match assignment {
                Assignment::Rename { target, source } => labels.rename(target, source),
                Assignment::Template { target, .. } => {
                    if rendered == 0 {
                        self.render(line, labels, times, scratch);
                    }
                    let end = scratch.ends[rendered];
                    rendered += 1;
                    let Some(end) = end else { continue };
                    labels.set_parsed_with(target, |out| push_lossy(out, &scratch.rendered[start..end]));
                    start = end;
                }
            }
        }
    }

    fn render(&self, line: &[u8], labels: &mut LabelSet, times: Times, scratch: &mut LabelFormatScratch) {
        let LabelFormatScratch { rendered, ends } = scratch;
        rendered.clear();
        ends.clear();
        let mut failure = None;
        for assignment in &self.assignments {
            let Assignment::Template { template, .. } = assignment else { continue };
            let start = rendered.len();
            let context = LineContext { labels, line, timestamp: times.timestamp, now: times.now };
            match template.render(&context, rendered) {
                Ok(()) => ends.push(Some(rendered.len())),
                Err(error) => {
                    rendered.truncate(start);
                    ends.push(None);
                    failure = Some(error);
                }
            }
        }
        if let Some(error) = failure {
            labels.set_error(LineError::Template, format_args!("{error}"));
        }
    }
}
