//! `| line_format "{{.a}}"`: makes a new line out of the labels and the old line.

use crate::labels::{ERROR_DETAILS_LABEL, ERROR_LABEL, LabelSet, LineError};
use crate::template::{Context, Template, TemplateError};

/// What a template of a stage sees.
pub(super) struct LineContext<'c> {
    pub(super) labels: &'c LabelSet,
    pub(super) line: &'c [u8],
    pub(super) timestamp: i64,
    pub(super) now: i64,
}

impl Context for LineContext<'_> {
    fn label(&self, name: &str) -> Option<&str> {
        self.labels.get_or_error(name)
    }

    fn labels(&self) -> Vec<(&str, &str)> {
        let errors = [ERROR_LABEL, ERROR_DETAILS_LABEL];
        let errors = errors.into_iter().filter_map(|name| Some((name, self.labels.get_or_error(name)?)));
        let mut labels: Vec<_> = errors.collect();
        let known = labels.len();
        for label in self.labels.visible() {
            if !labels[..known].iter().any(|(name, _)| *name == label.name) {
                labels.push((label.name, label.value));
            }
        }
        labels.sort_unstable();
        labels
    }

    fn line(&self) -> &[u8] {
        self.line
    }

    fn timestamp(&self) -> i64 {
        self.timestamp
    }

    fn now(&self) -> i64 {
        self.now
    }
}

/// A compiled `line_format`.
#[derive(Debug)]
pub(crate) struct LineFormat {
    template: Template,
    /// The label that is the line, where the template is nothing else. Loki then looks it up among the labels
    /// proper, so that `{{.__error__}}` alone is empty.
    label: Option<String>,
}

impl LineFormat {
    /// Compiles a `line_format`.
    pub(super) fn compile(source: &str) -> Result<LineFormat, TemplateError> {
        let template = Template::parse(source)?;
        let label = template.only_label().map(str::to_owned);
        Ok(LineFormat { template, label })
    }

    /// Appends the new line; false if the template failed and the old line stays, with an error noted.
    pub(super) fn apply(&self, line: &[u8], labels: &mut LabelSet, times: Times, out: &mut Vec<u8>) -> bool {
        if let Some(label) = &self.label {
            out.extend_from_slice(labels.get(label).unwrap_or("").as_bytes());
            return true;
        }
        let context = LineContext { labels, line, timestamp: times.timestamp, now: times.now };
        match self.template.render(&context, out) {
            Ok(()) => true,
            Err(error) => {
                labels.set_error(LineError::Template, format_args!("{error}"));
                false
            }
        }
    }
}

/// The line's timestamp and the wall clock's time, in ns since the Unix epoch.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Times {
    pub(crate) timestamp: i64,
    pub(crate) now: i64,
}
