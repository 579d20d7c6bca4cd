//! `|= "x"`, `|~ "x"`, `|> "<_> x"`, `|= ip("…")`, their negations and `or` chains.

use memchr::memmem::Finder;

use crate::ast::{LineFilter as Source, LineOp, LineOperand};
use crate::ip::IpMatcher;
use crate::pattern::Pattern;
use crate::pipeline::CompileError;
use crate::re2::Re2;

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
            (_, LineOperand::Text(text)) => text,
        };
        Ok(match op {
            LineOp::Contains | LineOp::NotContains => Needle::text(text),
            LineOp::Pattern | LineOp::NotPattern => Needle::Pattern(Pattern::filter(text)?),
            LineOp::Regex | LineOp::NotRegex => match text.as_str() {
                "" | ".*" | "(?s).*" => Needle::Always,
                text if !text.chars().any(regex_syntax::is_meta_character) => Needle::text(text),
                text => Needle::Regex(Re2::new(text)?),
            },
        })
    }

    fn text(text: &str) -> Needle {
        if text.is_empty() { Needle::Always } else { Needle::Text(Box::new(Finder::new(text).into_owned())) }
    }

    fn is_in(&self, line: &[u8]) -> bool {
        match self {
            Needle::Always => true,
            Needle::Text(finder) => finder.find(line).is_some(),
            Needle::Regex(regex) => regex.is_match(line),
            Needle::Pattern(pattern) => pattern.is_match(line),
            Needle::Ip(ip) => ip.is_match(line),
        }
    }
}
