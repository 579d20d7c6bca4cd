//! What the template language answers, by kind of function and by feature of the language.

use super::{Context, Template, TemplateError};

mod bounds;
mod exam;
mod functions;
mod language;

/// The labels, line and clock most tables run over.
#[derive(Debug)]
struct Line {
    labels: Vec<(String, String)>,
    line: Vec<u8>,
}

const TIMESTAMP: i64 = 1_700_000_000_123_456_789;
const NOW: i64 = 1_800_000_000_000_000_000;

impl Line {
    fn new(labels: &[(&str, &str)]) -> Self {
        let mut labels: Vec<_> =
            labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        labels.sort();
        Line { labels, line: b"the \xff line".to_vec() }
    }

    /// Labels of every kind of value.
    fn sample() -> Self {
        Self::new(&[
            ("app", "x"),
            ("s", "Hello World"),
            ("n", "42"),
            ("f", "3.75"),
            ("e", ""),
            ("neg", "-7"),
            ("j", r#"{"k":[1,2,{"z":"y"}],"n":null,"f":1.5}"#),
        ])
    }
}

impl Context for Line {
    fn label(&self, name: &str) -> Option<&str> {
        self.labels.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    fn labels(&self) -> Vec<(&str, &str)> {
        self.labels.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect()
    }

    fn line(&self) -> &[u8] {
        &self.line
    }

    fn timestamp(&self) -> i64 {
        TIMESTAMP
    }

    fn now(&self) -> i64 {
        NOW
    }
}

fn render(source: &str, context: &dyn Context) -> Result<Vec<u8>, TemplateError> {
    let mut out = Vec::new();
    Template::parse(source)?.render(context, &mut out)?;
    Ok(out)
}

/// The template must print this over [`Line::sample`].
#[track_caller]
fn check(source: &str, want: &str) {
    let got = render(source, &Line::sample()).map(|out| String::from_utf8_lossy(&out).into_owned());
    assert_eq!(got.as_deref(), Ok(want), "{source}");
}

/// The template must parse, and fail for a line.
#[track_caller]
fn check_fails(source: &str) {
    let template = Template::parse(source).unwrap();
    let mut out = b"before".to_vec();
    let done = template.render(&Line::sample(), &mut out);
    assert!(matches!(done, Err(TemplateError::Render { .. })), "{source} gave {done:?}");
    assert_eq!(out, b"before", "{source} left output behind");
}

/// The source must be refused.
#[track_caller]
fn check_refused(source: &str) {
    let parsed = Template::parse(source);
    assert!(matches!(parsed, Err(TemplateError::Parse { .. })), "{source}");
}
