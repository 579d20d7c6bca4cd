//! Rewriting regular expressions: so that they search many lines at once, and so that they search lower-case text.

use regex_syntax::hir::{
    Class, ClassBytes, ClassBytesRange, ClassUnicode, ClassUnicodeRange, Hir, HirKind, Look, Repetition,
};

/// An expression which, searched for in lines joined by `\n` (none of which holds one), matches within just those
/// lines that the given one matches alone, and never across a line's end.
///
/// Classes and literals lose the newline, as no line has one; `^` and `$` mean a line's edges. Word boundaries need
/// no change: to them a newline is what the edge of the text is. `None` for expressions in CRLF mode, whose edges
/// look at what follows a `\r`.
pub(super) fn within_lines(hir: &Hir) -> Option<Hir> {
    rebuild(
        hir,
        &Rules {
            literal: |bytes| Some(if bytes.contains(&b'\n') { Hir::fail() } else { Hir::literal(bytes) }),
            unicode: |class| Some(without_unicode(class, '\n', '\n')),
            bytes: |class| Some(without_bytes(class, b'\n', b'\n')),
            look: |look| match look {
                Look::Start => Some(Look::StartLF),
                Look::End => Some(Look::EndLF),
                Look::StartCRLF | Look::EndCRLF => None,
                other => Some(other),
            },
        },
    )
}

/// An expression that matches a text in ASCII lower case just where the given one matches the text itself. `None` if
/// upper and lower case of some ASCII letter are not alike to it.
pub(super) fn lowered(hir: &Hir) -> Option<Hir> {
    rebuild(
        hir,
        &Rules {
            literal: |bytes| (!bytes.iter().any(u8::is_ascii_alphabetic)).then(|| Hir::literal(bytes)),
            unicode: |class| {
                let has =
                    |letter: u8| class.iter().any(|r| (r.start()..=r.end()).contains(&char::from(letter)));
                caseless(has).then(|| without_unicode(class, 'A', 'Z'))
            },
            bytes: |class| {
                let has = |letter: u8| class.iter().any(|r| (r.start()..=r.end()).contains(&letter));
                caseless(has).then(|| without_bytes(class, b'A', b'Z'))
            },
            look: Some,
        },
    )
}

fn caseless(has: impl Fn(u8) -> bool) -> bool {
    (b'a'..=b'z').all(|letter| has(letter) == has(letter.to_ascii_uppercase()))
}

fn without_unicode(class: &ClassUnicode, first: char, last: char) -> ClassUnicode {
    let mut class = class.clone();
    class.difference(&ClassUnicode::new([ClassUnicodeRange::new(first, last)]));
    class
}

fn without_bytes(class: &ClassBytes, first: u8, last: u8) -> ClassBytes {
    let mut class = class.clone();
    class.difference(&ClassBytes::new([ClassBytesRange::new(first, last)]));
    class
}

/// What becomes of an expression's leaves; `None` gives the rewriting up.
struct Rules {
    literal: fn(&[u8]) -> Option<Hir>,
    unicode: fn(&ClassUnicode) -> Option<ClassUnicode>,
    bytes: fn(&ClassBytes) -> Option<ClassBytes>,
    look: fn(Look) -> Option<Look>,
}

/// The expression with other leaves and without groups. The parser limits its depth.
fn rebuild(hir: &Hir, rules: &Rules) -> Option<Hir> {
    let all = |parts: &[Hir]| parts.iter().map(|part| rebuild(part, rules)).collect::<Option<Vec<_>>>();
    Some(match hir.kind() {
        HirKind::Empty => Hir::empty(),
        HirKind::Literal(literal) => (rules.literal)(&literal.0)?,
        HirKind::Class(Class::Unicode(class)) => Hir::class(Class::Unicode((rules.unicode)(class)?)),
        HirKind::Class(Class::Bytes(class)) => Hir::class(Class::Bytes((rules.bytes)(class)?)),
        HirKind::Look(look) => Hir::look((rules.look)(*look)?),
        HirKind::Capture(capture) => rebuild(&capture.sub, rules)?,
        HirKind::Repetition(repetition) => {
            let sub = Box::new(rebuild(&repetition.sub, rules)?);
            Hir::repetition(Repetition { sub, ..repetition.clone() })
        }
        HirKind::Concat(parts) => Hir::concat(all(parts)?),
        HirKind::Alternation(parts) => Hir::alternation(all(parts)?),
    })
}
