//! Searching a whole block: one predicate leads from hit to hit, the others are asked of the lines around hits.

use std::ops::{ControlFlow, Range};

use memchr::memmem::Finder;
use memchr::{memchr, memrchr};
use regex_automata::Input;
use regex_automata::meta::{Config, Regex};
use regex_syntax::hir::{Hir, HirKind};

use super::rewrite;
use crate::pack::text::Lines;

/// Most bytes of a compiled expression; the limit that the `regex` crate has.
const REGEX_BYTES_MAX: usize = 10 << 20;
/// Going backward, a block is searched from its end in windows of this many bytes, each twice the one before.
const WINDOW_BYTES: usize = 16 << 10;

/// Predicates that must all hold.
#[derive(Clone, Debug)]
pub(super) struct Conjunction {
    predicates: Vec<Compiled>,
    /// Which of them leads.
    lead: Option<usize>,
}

#[derive(Clone, Debug)]
struct Compiled {
    negated: bool,
    matcher: Matcher,
}

#[derive(Clone, Debug)]
enum Matcher {
    Always,
    Literal(Box<Finder<'static>>),
    Regex {
        /// For a line on its own.
        line: Box<Regex>,
        /// For lines joined by newlines, where that can be.
        block: Option<Box<Regex>>,
    },
}

impl Matcher {
    fn new(hir: &Hir) -> Result<Self, String> {
        let properties = hir.properties();
        if properties.minimum_len() == Some(0) && properties.look_set().is_empty() {
            return Ok(Matcher::Always);
        }
        if let HirKind::Literal(literal) = hir.kind()
            && !literal.0.contains(&b'\n')
        {
            return Ok(Matcher::Literal(Box::new(Finder::new(&literal.0).into_owned())));
        }
        let block = rewrite::within_lines(hir).map(|hir| compile(&hir)).transpose()?;
        Ok(Matcher::Regex { line: compile(hir)?, block })
    }

    fn is_match(&self, line: &[u8]) -> bool {
        match self {
            Matcher::Always => true,
            Matcher::Literal(finder) => finder.find(line).is_some(),
            Matcher::Regex { line: regex, .. } => regex.is_match(line),
        }
    }

    /// A place within the first line at or after `from` that matches. `lines` are joined, not terminated.
    fn find_in_lines(&self, lines: &[u8], from: usize) -> Option<usize> {
        match self {
            Matcher::Always => (from <= lines.len()).then_some(from),
            Matcher::Literal(finder) => Some(from + finder.find(lines.get(from..)?)?),
            Matcher::Regex { block, .. } => {
                let input = Input::new(lines).range(from..lines.len()).earliest(true);
                Some(block.as_ref()?.search_half(&input)?.offset())
            }
        }
    }

    /// How well it leads; `None` if it cannot. Long literals are the rarest and the fastest to find.
    fn rank(&self) -> Option<usize> {
        match self {
            Matcher::Always | Matcher::Regex { block: None, .. } => None,
            Matcher::Literal(finder) if finder.needle().len() < 3 => Some(finder.needle().len()),
            Matcher::Regex { .. } => Some(3),
            Matcher::Literal(finder) => Some(1 + finder.needle().len()),
        }
    }
}

fn compile(hir: &Hir) -> Result<Box<Regex>, String> {
    let config = Config::new().utf8_empty(false).nfa_size_limit(Some(REGEX_BYTES_MAX));
    let regex = Regex::builder().configure(config).build_from_hir(hir);
    regex.map(Box::new).map_err(|_| format!("compiled it would exceed {REGEX_BYTES_MAX} bytes"))
}

impl Conjunction {
    pub(super) fn new(predicates: &[(bool, Hir)]) -> Result<Self, String> {
        let compile =
            |(negated, hir): &(bool, Hir)| Ok(Compiled { negated: *negated, matcher: Matcher::new(hir)? });
        let predicates = predicates.iter().map(compile).collect::<Result<Vec<_>, String>>()?;
        let ranks = predicates.iter().enumerate().filter_map(|(n, predicate)| {
            let rank = predicate.matcher.rank()?;
            Some(((!predicate.negated, rank), n))
        });
        let lead = ranks.max().map(|(_, n)| n);
        Ok(Conjunction { predicates, lead })
    }

    pub(super) fn is_match(&self, line: &[u8]) -> bool {
        self.predicates.iter().all(|predicate| predicate.matcher.is_match(line) != predicate.negated)
    }

    fn others_match(&self, lead: usize, line: &[u8]) -> bool {
        let mut others = self.predicates.iter().enumerate().filter(|(n, _)| *n != lead);
        others.all(|(_, predicate)| predicate.matcher.is_match(line) != predicate.negated)
    }

    /// Visits matching lines in order.
    pub(super) fn forward<B>(
        &self,
        text: &[u8],
        line_ends: Option<&[u32]>,
        visit: &mut impl FnMut(Range<usize>) -> ControlFlow<B>,
    ) -> ControlFlow<B> {
        match (line_ends, self.lead) {
            (None, Some(lead)) => self.led(lead, text, visit),
            _ => self.line_by_line(text, Lines::new(text, line_ends), visit),
        }
    }

    fn line_by_line<B>(
        &self,
        text: &[u8],
        lines: impl Iterator<Item = Range<usize>>,
        visit: &mut impl FnMut(Range<usize>) -> ControlFlow<B>,
    ) -> ControlFlow<B> {
        for line in lines {
            if self.is_match(&text[line.clone()]) {
                visit(line)?;
            }
        }
        ControlFlow::Continue(())
    }

    fn led<B>(
        &self,
        lead: usize,
        text: &[u8],
        visit: &mut impl FnMut(Range<usize>) -> ControlFlow<B>,
    ) -> ControlFlow<B> {
        let Some(lines) = text.strip_suffix(b"\n") else { return ControlFlow::Continue(()) };
        let Compiled { negated, matcher } = &self.predicates[lead];
        let mut from = 0;
        while from <= lines.len() {
            let hit = matcher.find_in_lines(lines, from).map(|at| line_around(lines, at));
            if *negated {
                let free = from..hit.as_ref().map_or(text.len(), |hit| hit.start);
                self.free_of_lead(lead, text, free, visit)?;
            }
            let Some(hit) = hit else { break };
            from = hit.end + 1;
            if !negated && self.others_match(lead, &text[hit.clone()]) {
                visit(hit)?;
            }
        }
        ControlFlow::Continue(())
    }

    /// Visits lines that are known not to match the lead, which is negated.
    fn free_of_lead<B>(
        &self,
        lead: usize,
        text: &[u8],
        free: Range<usize>,
        visit: &mut impl FnMut(Range<usize>) -> ControlFlow<B>,
    ) -> ControlFlow<B> {
        for line in Lines::new(&text[free.clone()], None) {
            let line = free.start + line.start..free.start + line.end;
            if self.others_match(lead, &text[line.clone()]) {
                visit(line)?;
            }
        }
        ControlFlow::Continue(())
    }

    /// Visits matching lines from the last to the first.
    pub(super) fn backward<B>(
        &self,
        text: &[u8],
        line_ends: Option<&[u32]>,
        visit: &mut impl FnMut(Range<usize>) -> ControlFlow<B>,
    ) -> ControlFlow<B> {
        if let Some(ends) = line_ends {
            let starts = |n: usize| n.checked_sub(1).map_or(0, |before| ends[before] as usize + 1);
            let lines = (0..ends.len()).rev().map(|n| starts(n)..ends[n] as usize);
            return self.line_by_line(text, lines, visit);
        }
        let mut end = text.len();
        let mut window = WINDOW_BYTES;
        let mut found = Vec::new();
        while end > 0 {
            let start = memrchr(b'\n', &text[..(end - 1).saturating_sub(window)]).map_or(0, |at| at + 1);
            found.clear();
            let _: ControlFlow<()> = self.forward(&text[start..end], None, &mut |line| {
                found.push(start + line.start..start + line.end);
                ControlFlow::Continue(())
            });
            for line in found.drain(..).rev() {
                visit(line)?;
            }
            end = start;
            window *= 2;
        }
        ControlFlow::Continue(())
    }
}

/// The line that holds the place `at`, which may be its end.
fn line_around(lines: &[u8], at: usize) -> Range<usize> {
    let start = memrchr(b'\n', &lines[..at]).map_or(0, |before| before + 1);
    start..memchr(b'\n', &lines[at..]).map_or(lines.len(), |end| at + end)
}
