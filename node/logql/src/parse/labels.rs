//! Label sets as Prometheus writes them, which push requests carry: `{app="x", "k8s.pod"="y"}` or `foo{a="b"}`.

use thiserror::Error;

use crate::quote::unquote;

/// A text that is no label set. The words are those of Prometheus' parser as far as clients have met them.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("1:{column}: parse error: {what}")]
pub struct LabelsError {
    /// The column in bytes, from 1.
    column: usize,
    what: String,
}

/// Reads a label set. Names are bare (`[a-zA-Z_][a-zA-Z0-9_]*`) or quoted; values are in double or single quotes
/// or backticks. A name before the braces, or a lone quoted text in them, is the value of `__name__`. A trailing
/// comma is taken. Pairs come in the order written; sorting, and refusing duplicates, is the caller's.
///
/// # Errors
/// Where the text is something else. It names the first offending place.
pub fn parse_labels(text: &str) -> Result<Vec<(String, String)>, LabelsError> {
    let mut reader = Reader { text, at: 0 };
    let mut labels = Vec::new();
    reader.skip_blanks();
    let metric = reader.take_while(|c| c == '_' || c == ':' || c.is_ascii_alphanumeric());
    if metric.starts_with(|c: char| c.is_ascii_digit()) {
        return Err(reader.fail_at(0, format!("unexpected {}", show(metric))));
    }
    if !metric.is_empty() {
        labels.push(("__name__".to_owned(), metric.to_owned()));
    }
    reader.skip_blanks();
    if reader.peek() == Some('{') {
        reader.at += 1;
        reader.pairs(&mut labels)?;
        reader.skip_blanks();
    } else if metric.is_empty() {
        return Err(reader.unexpected());
    }
    match reader.peek() {
        None => Ok(labels),
        Some(_) => Err(reader.unexpected()),
    }
}

fn show(text: &str) -> String {
    format!("`{text}`")
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Reader<'a> {
    fn peek(&self) -> Option<char> {
        self.text[self.at..].chars().next()
    }

    fn take_while(&mut self, fits: impl Fn(char) -> bool) -> &'a str {
        let rest = &self.text[self.at..];
        let taken = &rest[..rest.find(|c| !fits(c)).unwrap_or(rest.len())];
        self.at += taken.len();
        taken
    }

    fn skip_blanks(&mut self) {
        self.take_while(|c| matches!(c, ' ' | '\t' | '\n' | '\r'));
    }

    fn fail_at(&self, at: usize, what: String) -> LabelsError {
        LabelsError { column: at + 1, what }
    }

    /// The error for what stands here.
    fn unexpected(&self) -> LabelsError {
        let what = match self.peek() {
            None => "unexpected end of input inside braces".to_owned(),
            Some(c) => format!("unexpected character inside braces: '{c}'"),
        };
        self.fail_at(self.at, what)
    }

    fn pairs(&mut self, labels: &mut Vec<(String, String)>) -> Result<(), LabelsError> {
        loop {
            self.skip_blanks();
            if self.eat('}') {
                return Ok(());
            }
            labels.push(self.pair()?);
            self.skip_blanks();
            if self.eat('}') {
                return Ok(());
            }
            if !self.eat(',') {
                return Err(self.unexpected());
            }
        }
    }

    fn eat(&mut self, c: char) -> bool {
        let found = self.peek() == Some(c);
        if found {
            self.at += c.len_utf8();
        }
        found
    }

    fn pair(&mut self) -> Result<(String, String), LabelsError> {
        let is_quoted = matches!(self.peek(), Some('"' | '\'' | '`'));
        let name = if is_quoted { self.quoted()? } else { self.bare_name()? };
        self.skip_blanks();
        if is_quoted && matches!(self.peek(), Some(',' | '}')) {
            return Ok(("__name__".to_owned(), name));
        }
        if !self.eat('=') {
            return Err(self.unexpected());
        }
        self.skip_blanks();
        if !matches!(self.peek(), Some('"' | '\'' | '`')) {
            return Err(self.unexpected());
        }
        Ok((name, self.quoted()?))
    }

    fn bare_name(&mut self) -> Result<String, LabelsError> {
        if !self.peek().is_some_and(|c| c == '_' || c.is_ascii_alphabetic()) {
            return Err(self.unexpected());
        }
        Ok(self.take_while(|c| c == '_' || c.is_ascii_alphanumeric()).to_owned())
    }

    /// A quoted text, at its opening quote.
    fn quoted(&mut self) -> Result<String, LabelsError> {
        let start = self.at;
        let quote = self.peek().unwrap_or('"');
        let end = closing_quote(&self.text[start..], quote)
            .ok_or_else(|| self.fail_at(start, "unterminated quoted string".to_owned()))?;
        let text = &self.text[start..start + end];
        let bytes =
            unquote(text).ok_or_else(|| self.fail_at(start, format!("invalid quoted string {text}")))?;
        let value = String::from_utf8(bytes)
            .map_err(|_| self.fail_at(start, format!("quoted string {text} is not UTF-8")))?;
        self.at = start + end;
        Ok(value)
    }
}

/// The length of the quoted text that `text` begins with, both quotes included.
fn closing_quote(text: &str, quote: char) -> Option<usize> {
    let mut chars = text.char_indices().skip(1);
    while let Some((at, c)) = chars.next() {
        match c {
            '\\' if quote != '`' => {
                chars.next();
            }
            c if c == quote => return Some(at + 1),
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::parse_labels;

    #[track_caller]
    fn check(text: &str, expected: &[(&str, &str)]) {
        let labels = parse_labels(text).unwrap();
        let labels: Vec<(&str, &str)> =
            labels.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        assert_eq!(labels, expected, "{text}");
    }

    #[track_caller]
    fn check_refused(text: &str, expected: &str) {
        assert_eq!(parse_labels(text).unwrap_err().to_string(), expected);
    }

    #[test]
    fn label_sets_are_read_in_all_their_forms() {
        check("{}", &[]);
        check(r#"{app="x", env='y',}"#, &[("app", "x"), ("env", "y")]);
        check(r#"{"a.b"="c", d=`e\n`}"#, &[("a.b", "c"), ("d", "e\\n")]);
        check(r#"foo{a="b\"\u00e9"}"#, &[("__name__", "foo"), ("a", "b\"é")]);
        check(r#" { "foo" , a = "b" } "#, &[("__name__", "foo"), ("a", "b")]);
        check("foo", &[("__name__", "foo")]);
        check(r#"{a="b", a="c"}"#, &[("a", "b"), ("a", "c")]);
    }

    #[test]
    fn faults_are_placed() {
        check_refused(r#"{a.b="c"}"#, "1:3: parse error: unexpected character inside braces: '.'");
        check_refused(r#"{1a="c"}"#, "1:2: parse error: unexpected character inside braces: '1'");
        check_refused(r#"{é="c"}"#, "1:2: parse error: unexpected character inside braces: 'é'");
        check_refused(r#"{a="c"#, "1:4: parse error: unterminated quoted string");
        check_refused(r#"{a="c""#, "1:7: parse error: unexpected end of input inside braces");
        check_refused(r#"{a=b}"#, "1:4: parse error: unexpected character inside braces: 'b'");
        check_refused(r#"{a="\q"}"#, "1:4: parse error: invalid quoted string \"\\q\"");
        check_refused("", "1:1: parse error: unexpected end of input inside braces");
    }
}
