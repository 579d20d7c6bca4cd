//! `|= "x"`, `|~ "x"`, `|> "<_> x"`, `|= ip("…")`, their negations and `or` chains.

use memchr::memmem::Finder;

use crate::ast::{LineFilter as Source, LineOp, LineOperand};
use crate::ip::IpMatcher;
use crate::pattern::Pattern;
use crate::pipeline::CompileError;
use crate::re2::{Re2, literal_core};

/// A compiled line filter.
#[derive(Debug)]
pub(crate) struct LineFilter {
    negated: bool,
    needles: Vec<Needle>,
}

#[derive(Debug)]
enum Needle {
    /// `""` or `.*`: any line.
    Always,
    /// `.+`: any line but the empty one.
    Something,
    Text(Box<Finder<'static>>),
    Regex(Re2),
    Pattern(Pattern),
    Ip(IpMatcher),
}

impl LineFilter {
    /// Compiles a filter.
    pub(crate) fn compile(source: &Source) -> Result<LineFilter, CompileError> {
        let negated = matches!(source.op, LineOp::NotContains | LineOp::NotRegex | LineOp::NotPattern);
        let mut needles = Vec::with_capacity(source.operands.len());
        for operand in &source.operands {
            needles.push(Needle::compile(source.op, operand)?);
        }
        // Loki drops an alternative that fits any line from an `or` chain: `|= "" or "x"` means `|= "x"`.
        let telling = needles.iter().any(|needle| !matches!(needle, Needle::Always));
        if telling && !negated {
            needles.retain(|needle| !matches!(needle, Needle::Always));
        }
        Ok(LineFilter { negated, needles })
    }

    /// Whether the line passes.
    pub(crate) fn passes(&self, line: &[u8]) -> bool {
        self.needles.iter().any(|needle| needle.is_in(line)) != self.negated
    }
}

impl Needle {
    fn compile(op: LineOp, operand: &LineOperand) -> Result<Needle, CompileError> {
        let text = match (op, operand) {
            (LineOp::Contains | LineOp::NotContains, LineOperand::Ip(pattern)) => {
                return Ok(Needle::Ip(IpMatcher::parse(pattern)?));
            }
            (_, LineOperand::Ip(pattern)) => return Err(CompileError::IpOperator(pattern.clone())),
            (LineOp::Contains | LineOp::NotContains, LineOperand::Bytes(bytes)) => {
                return Ok(Needle::text(bytes));
            }
            (_, LineOperand::Bytes(bytes)) => {
                return Err(CompileError::NotUtf8(String::from_utf8_lossy(bytes).into_owned()));
            }
            (_, LineOperand::Text(text)) => text,
        };
        Ok(match op {
            LineOp::Contains | LineOp::NotContains => Needle::text(text.as_bytes()),
            LineOp::Pattern | LineOp::NotPattern => Needle::Pattern(Pattern::filter(text)?),
            LineOp::Regex | LineOp::NotRegex => match (text.as_str(), literal_core(text), folded(text)) {
                (".+", ..) => Needle::Something,
                (_, Some(literal), _) => Needle::text(literal.as_bytes()),
                (.., Some(folded)) => Needle::Regex(Re2::new(&folded)?),
                (text, ..) => Needle::Regex(Re2::new(text)?),
            },
        })
    }

    fn text(text: &[u8]) -> Needle {
        if text.is_empty() { Needle::Always } else { Needle::Text(Box::new(Finder::new(text).into_owned())) }
    }

    fn is_in(&self, line: &[u8]) -> bool {
        match self {
            Needle::Always => true,
            Needle::Something => !line.is_empty(),
            Needle::Text(finder) => finder.find(line).is_some(),
            Needle::Regex(regex) => regex.is_match(line),
            Needle::Pattern(pattern) => pattern.is_match(line),
            Needle::Ip(ip) => ip.is_match(line),
        }
    }
}

/// `(?i)` before nothing but texts: Loki compares lower-cased text then, in which the long `ſ` is no `s`,
/// though an expression would find it. (The Kelvin sign is a `k` either way.)
fn folded(pattern: &str) -> Option<String> {
    let texts = pattern.strip_prefix("(?i)")?;
    let plain = |c: char| c == '|' || !regex_syntax::is_meta_character(c);
    if !texts.contains(['s', 'S']) || !texts.chars().all(plain) || texts.split('|').any(str::is_empty) {
        return None;
    }
    Some(format!("(?i:{})", texts.replace(['s', 'S'], "(?-i:[sS])")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(op: LineOp, operands: &[&str], passing: &[&str], dropped: &[&str]) {
        let operands = operands.iter().map(|text| LineOperand::Text(text.to_string())).collect();
        let filter = LineFilter::compile(&Source { op, operands }).unwrap();
        passing.iter().for_each(|line| assert!(filter.passes(line.as_bytes()), "{filter:?} passes {line:?}"));
        dropped.iter().for_each(|line| assert!(!filter.passes(line.as_bytes()), "{filter:?} drops {line:?}"));
    }

    #[test]
    fn alternatives_pass_any_and_negations_none() {
        check(LineOp::Contains, &["a", "b"], &["xa", "b"], &["c", ""]);
        check(LineOp::NotContains, &["a", "b"], &["c", ""], &["xa", "b"]);
        check(LineOp::Regex, &["^a", "b$"], &["ax", "xb"], &["xa", "bx"]);
        check(LineOp::NotPattern, &["<_> a", "b"], &["a", "b c"], &["x a", "b"]);
    }

    #[test]
    fn bytes_that_are_no_text_are_found_as_they_are() {
        let compile =
            |op| LineFilter::compile(&Source { op, operands: vec![LineOperand::Bytes(b"\xffb".to_vec())] });
        let filter = compile(LineOp::Contains).unwrap();
        assert!(filter.passes(b"a\xffb") && !filter.passes("a\u{fffd}b".as_bytes()));
        assert!(compile(LineOp::Regex).is_err() && compile(LineOp::NotPattern).is_err());
    }

    #[test]
    fn an_alternative_that_fits_everything_does_not_count() {
        check(LineOp::Contains, &[""], &["", "x"], &[]);
        check(LineOp::Contains, &["", "a"], &["a"], &["x"]);
        check(LineOp::Regex, &[".*", "a"], &["a"], &["x"]);
        check(LineOp::NotContains, &["", "a"], &[], &["", "x"]);
    }

    #[test]
    fn expressions_that_are_texts_are_searched_as_texts() {
        check(LineOp::Regex, &[".*foo.*"], &["a\nfoo"], &["fo"]);
        check(LineOp::Regex, &[".+"], &["\n"], &[""]);
        check(LineOp::Regex, &["a\\.*"], &["a", "a..."], &["b"]);
        check(LineOp::Regex, &["(?i)miss|K"], &["MISS", "\u{212a}", "k"], &["mi\u{17f}s"]);
    }
}
