//! What a regular expression demands of a chunk's filter: literals, without which no line can match.
//!
//! Expressions are taken apart from the left. As long as what came can be spelled out in a few strings (`timed? ?out`
//! is `timeout`, `timedout`, `time out` and `timed out`) they grow; where it cannot, one of the strings so far is
//! demanded and spelling starts anew. Case is handled by the same means: `(?i)k` is a class of `k`, `K` and U+212A,
//! which in ASCII lower case are two strings. So folding beyond ASCII needs no rule of its own, and is sound.

use regex_syntax::hir::{Class, Hir, HirKind};

use crate::pack::filter::{Filter, FilterQuery};

/// Most strings that a piece of an expression is spelled out in.
const STRINGS_MAX: usize = 16;
/// Most bytes of strings that are joined of several pieces: longer ones rule nothing more out.
const STRING_BYTES_MAX: usize = 64;

/// A condition on a chunk's filter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Demand {
    /// None: any chunk may hold a match.
    Nothing,
    /// These grams.
    Grams(FilterQuery),
    /// All of these.
    All(Vec<Demand>),
    /// One of these.
    Any(Vec<Demand>),
}

impl Demand {
    /// What a match of the expression demands.
    pub(super) fn of(hir: &Hir) -> Self {
        if let Some(strings) = spelled(hir) {
            return Demand::of_strings(&strings);
        }
        match hir.kind() {
            HirKind::Capture(capture) => Demand::of(&capture.sub),
            HirKind::Repetition(repetition) if repetition.min > 0 => Demand::of(&repetition.sub),
            HirKind::Concat(parts) => Demand::of_sequence(parts),
            HirKind::Alternation(parts) => Demand::any(parts.iter().map(Demand::of).collect()),
            _ => Demand::Nothing,
        }
    }

    fn of_sequence(parts: &[Hir]) -> Self {
        let mut demands = Vec::new();
        let mut strings = vec![Vec::new()];
        for part in parts {
            let spelled = spelled(part);
            if let Some(longer) = spelled.as_ref().and_then(|spelled| joined(&strings, spelled)) {
                strings = longer;
                continue;
            }
            demands.push(Demand::of_strings(&strings));
            strings = spelled.unwrap_or_else(|| {
                demands.push(Demand::of(part));
                vec![Vec::new()]
            });
        }
        demands.push(Demand::of_strings(&strings));
        demands.retain(|demand| *demand != Demand::Nothing);
        match demands.len() {
            0 => Demand::Nothing,
            _ => Demand::All(demands),
        }
    }

    fn of_strings(strings: &[Vec<u8>]) -> Self {
        let of_string = |string: &Vec<u8>| {
            let query = FilterQuery::of_literal(string);
            if query.asks_nothing() { Demand::Nothing } else { Demand::Grams(query) }
        };
        Demand::any(strings.iter().map(of_string).collect())
    }

    fn any(demands: Vec<Demand>) -> Self {
        if demands.contains(&Demand::Nothing) { Demand::Nothing } else { Demand::Any(demands) }
    }

    /// Whether a chunk with this filter may hold a match.
    pub(super) fn may_be_met(&self, filter: &Filter) -> bool {
        match self {
            Demand::Nothing => true,
            Demand::Grams(query) => filter.may_hold(query),
            Demand::All(demands) => demands.iter().all(|demand| demand.may_be_met(filter)),
            Demand::Any(demands) => demands.iter().any(|demand| demand.may_be_met(filter)),
        }
    }
}

/// All strings that an expression matches, in ASCII lower case, if they are few.
fn spelled(hir: &Hir) -> Option<Vec<Vec<u8>>> {
    match hir.kind() {
        HirKind::Empty | HirKind::Look(_) => Some(vec![Vec::new()]),
        HirKind::Literal(literal) => Some(vec![literal.0.to_ascii_lowercase()]),
        HirKind::Class(class) => class_members(class),
        HirKind::Capture(capture) => spelled(&capture.sub),
        HirKind::Repetition(repetition) => {
            let times = repetition.max.filter(|max| *max <= 4)?;
            let sub = spelled(&repetition.sub)?;
            let mut all = Vec::new();
            let mut strings = vec![Vec::new()];
            for n in 0..=times {
                if n > 0 {
                    strings = joined(&strings, &sub)?;
                }
                if n >= repetition.min {
                    all.extend_from_slice(&strings);
                }
            }
            few(all)
        }
        HirKind::Concat(parts) => {
            parts.iter().try_fold(vec![Vec::new()], |strings, part| joined(&strings, &spelled(part)?))
        }
        HirKind::Alternation(parts) => {
            let mut all = Vec::new();
            for part in parts {
                all = few([all, spelled(part)?].concat())?;
            }
            Some(all)
        }
    }
}

fn class_members(class: &Class) -> Option<Vec<Vec<u8>>> {
    // A letter has two ASCII cases, so twice the strings come out before they are brought to lower case.
    let most = 2 * STRINGS_MAX;
    let members: Vec<Vec<u8>> = match class {
        Class::Unicode(class) => {
            let members = class.iter().flat_map(|range| range.start()..=range.end()).take(most + 1);
            members.map(|member| member.to_string().into_bytes()).collect()
        }
        Class::Bytes(class) => class
            .iter()
            .flat_map(|range| range.start()..=range.end())
            .take(most + 1)
            .map(|byte| vec![byte])
            .collect(),
    };
    if members.len() > most {
        return None;
    }
    few(members.iter().map(|member| member.to_ascii_lowercase()).collect())
}

/// Each of the first followed by each of the second.
fn joined(first: &[Vec<u8>], second: &[Vec<u8>]) -> Option<Vec<Vec<u8>>> {
    if first.len() * second.len() > 4 * STRINGS_MAX {
        return None;
    }
    let strings = first.iter().flat_map(|a| second.iter().map(move |b| [&a[..], &b[..]].concat()));
    let strings = few(strings.collect())?;
    strings.iter().all(|string| string.len() <= STRING_BYTES_MAX).then_some(strings)
}

fn few(mut strings: Vec<Vec<u8>>) -> Option<Vec<Vec<u8>>> {
    strings.sort_unstable();
    strings.dedup();
    (strings.len() <= STRINGS_MAX).then_some(strings)
}
