//! Patterns such as `<ip> - - [<_>] "<method> <_>"`: literals and captures in turn.
//!
//! One language, two uses: the `pattern` parser names its captures, the pattern filters `|>` and `!>` only
//! know `<_>`.

use memchr::memmem::Finder;
use thiserror::Error;

/// A pattern that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum PatternError {
    /// Nothing to extract.
    #[error("pattern `{0}`: at least one capture is required")]
    NoCapture(String),
    /// Nothing says where one capture ends and the next begins.
    #[error("pattern `{0}`: two captures need text between them")]
    ConsecutiveCaptures(String),
    /// One name twice.
    #[error("pattern `{pattern}`: capture `{name}` stands there twice")]
    DuplicateCapture {
        /// The pattern.
        pattern: String,
        /// The capture's name.
        name: String,
    },
    /// A filter extracts nothing.
    #[error("pattern `{pattern}`: named captures are not allowed: found `<{name}>`; write `<_>`")]
    NamedCapture {
        /// The pattern.
        pattern: String,
        /// The capture's name.
        name: String,
    },
}

#[derive(Clone, Debug)]
enum Node {
    Literal(Box<Finder<'static>>),
    /// A name, or nothing for `<_>`.
    Capture(Option<String>),
}

/// A compiled pattern.
#[derive(Clone, Debug)]
pub struct Pattern {
    nodes: Vec<Node>,
}

impl Pattern {
    /// Compiles the pattern of a parser: at least one named capture.
    pub fn parser(source: &str) -> Result<Pattern, PatternError> {
        let pattern = Self::parse(source)?;
        let mut names: Vec<&str> = pattern.names().collect();
        if names.is_empty() {
            return Err(PatternError::NoCapture(source.into()));
        }
        names.sort_unstable();
        if let Some(twice) = names.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(PatternError::DuplicateCapture { pattern: source.into(), name: twice[0].into() });
        }
        Ok(pattern)
    }

    /// Compiles the pattern of a filter: no named captures.
    pub fn filter(source: &str) -> Result<Pattern, PatternError> {
        let pattern = Self::parse(source)?;
        if let Some(name) = pattern.names().next() {
            return Err(PatternError::NamedCapture { pattern: source.into(), name: name.into() });
        }
        Ok(pattern)
    }

    fn parse(source: &str) -> Result<Pattern, PatternError> {
        let mut nodes = Vec::new();
        let mut literal = String::new();
        let mut rest = source;
        while let Some(c) = rest.chars().next() {
            let Some(name) = capture_name(rest) else {
                literal.push(c);
                rest = &rest[c.len_utf8()..];
                continue;
            };
            if !literal.is_empty() {
                nodes.push(Node::Literal(Box::new(Finder::new(literal.as_bytes()).into_owned())));
                literal.clear();
            }
            nodes.push(Node::Capture((name != "_").then(|| name.into())));
            rest = &rest[name.len() + 2..];
        }
        if !literal.is_empty() {
            nodes.push(Node::Literal(Box::new(Finder::new(literal.as_bytes()).into_owned())));
        }
        if nodes.windows(2).any(|pair| matches!(pair, [Node::Capture(_), Node::Capture(_)])) {
            return Err(PatternError::ConsecutiveCaptures(source.into()));
        }
        Ok(Pattern { nodes })
    }

    /// The names captured, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.nodes.iter().filter_map(|node| match node {
            Node::Capture(name) => name.as_deref(),
            Node::Literal(_) => None,
        })
    }

    /// Hands each named capture of the line to `found` until that says stop. A literal at the start must be
    /// there; where a later one is missing, its capture takes the rest of the line and the search ends.
    pub fn captures<'t>(&self, line: &'t [u8], mut found: impl FnMut(&str, &'t [u8]) -> bool) {
        if line.is_empty() {
            return;
        }
        let mut rest = line;
        let mut open = None;
        for node in &self.nodes {
            match node {
                Node::Capture(name) => open = Some(name),
                Node::Literal(literal) => match (literal.find(rest), open.take()) {
                    (Some(0), None) => rest = &rest[literal.needle().len()..],
                    (_, None) => return,
                    (Some(at), Some(name)) => {
                        if name.as_ref().is_some_and(|name| !found(name, &rest[..at])) {
                            return;
                        }
                        rest = &rest[at + literal.needle().len()..];
                    }
                    (None, Some(name)) => {
                        open = Some(name);
                        break;
                    }
                },
            }
        }
        if let Some(Some(name)) = open {
            found(name, rest);
        }
    }

    /// Whether the line fits: captures are not empty, the end is anchored, the start is not if it is a
    /// literal. The empty pattern fits the empty line alone.
    pub fn is_match(&self, line: &[u8]) -> bool {
        let Some(last) = self.nodes.last() else { return line.is_empty() };
        if line.is_empty() {
            return false;
        }
        let mut rest = line;
        for (i, node) in self.nodes.iter().enumerate() {
            let Node::Literal(literal) = node else { continue };
            match literal.find(rest) {
                None => return false,
                Some(0) if i > 0 => return false,
                Some(at) => rest = &rest[at + literal.needle().len()..],
            }
        }
        matches!(last, Node::Capture(_)) != rest.is_empty()
    }
}

/// The name of the capture `<name>` a text starts with.
fn capture_name(text: &str) -> Option<&str> {
    let (name, _) = text.strip_prefix('<')?.split_once('>')?;
    let mut bytes = name.bytes();
    let first = bytes.next()?;
    let valid = (first.is_ascii_alphabetic() || first == b'_')
        && bytes.all(|b| b.is_ascii_alphanumeric() || b == b'_');
    valid.then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_captures(pattern: &str, line: &str, expected: &[(&str, &str)]) {
        let mut got = Vec::new();
        Pattern::parser(pattern).unwrap().captures(line.as_bytes(), |name, value| {
            got.push((name.to_string(), String::from_utf8_lossy(value).into_owned()));
            true
        });
        let got: Vec<_> = got.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
        assert_eq!(got, expected, "{pattern} on {line:?}");
    }

    #[test]
    fn captures_run_to_the_next_literal_or_the_end() {
        check_captures("GET <p>", "GET /a 200", &[("p", "/a 200")]);
        check_captures("GET <p>", "PUT GET /a", &[]);
        check_captures("<a> <b>", "x", &[("a", "x")]);
        check_captures("<a> <b>", "  ", &[("a", ""), ("b", " ")]);
        check_captures("<_> <b>!", "x y! z", &[("b", "y")]);
        check_captures("<a-b> <c>", "<a-b> x", &[("c", "x")]);
        check_captures("<a> <b>", "", &[]);
    }

    #[test]
    fn filters_anchor_the_end_and_want_something_in_every_gap() {
        for (pattern, line, fits) in [
            ("<_>", "x", true),
            ("<_>", "", false),
            ("", "", true),
            ("", "x", false),
            ("foo <_> baz", "foo bar baz", true),
            ("foo <_> baz", "foo bar baz qux", false),
            ("<_>b<_>", "bar", false),
            ("<_>b<_>", " bar", true),
            ("foo", "xfoo", true),
            ("foo", "foofoo", false),
            ("foo <_>", "a foo b", true),
            ("foo <_>", "foo ", false),
        ] {
            assert_eq!(
                Pattern::filter(pattern).unwrap().is_match(line.as_bytes()),
                fits,
                "{pattern} on {line:?}"
            );
        }
    }

    #[test]
    fn patterns_that_cannot_work_are_refused() {
        assert!(matches!(Pattern::parser("<_> a"), Err(PatternError::NoCapture(_))));
        assert!(matches!(Pattern::parser("<a><b>"), Err(PatternError::ConsecutiveCaptures(_))));
        assert!(matches!(Pattern::parser("<a> <a>"), Err(PatternError::DuplicateCapture { .. })));
        assert!(matches!(Pattern::filter("<x> a"), Err(PatternError::NamedCapture { .. })));
    }
}
