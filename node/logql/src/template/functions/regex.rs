//! The functions that use regular expressions, in RE2 syntax as everywhere in the language.

use regex::bytes::{Captures, Regex};

use super::{Args, Env, Function, check_size, function};
use crate::{
    re2::Re2,
    template::value::{Param::Text, Value},
};

pub(super) const FUNCTIONS: &[Function] = &[
    Function {
        takes_pattern: true,
        ..function("regexReplaceAll", &[Text, Text, Text], |env, args| {
            replace_all(env, &args, |captures, template, out| captures.expand(template, out))
        })
    },
    Function {
        takes_pattern: true,
        ..function("regexReplaceAllLiteral", &[Text, Text, Text], |env, args| {
            replace_all(env, &args, |_, literal, out| out.extend_from_slice(literal))
        })
    },
    Function {
        takes_pattern: true,
        ..function("count", &[Text, Text], |env, args| {
            let text = args.text(1);
            with_regex(env, &args, |regex| {
                let found =
                    regex.find_iter(text).filter(|found| stands_apart(text, found.start(), found.end()));
                Ok(Value::length_of(found.count()))
            })
        })
    },
];

/// A regular expression, or why it is none; a bad one fails the call, not the template.
#[derive(Debug)]
pub(in crate::template) struct Pattern(Result<Re2, String>);

impl Pattern {
    pub(in crate::template) fn new(source: &[u8]) -> Self {
        Pattern(compile(source))
    }
}

fn compile(source: &[u8]) -> Result<Re2, String> {
    let source = std::str::from_utf8(source).map_err(|_| "invalid UTF-8 in regular expression".to_owned())?;
    Re2::new(source).map_err(|error| error.to_string())
}

fn with_regex<'v>(
    env: &Env<'v>,
    args: &Args<'v>,
    run: impl FnOnce(&Regex) -> Result<Value<'v>, String>,
) -> Result<Value<'v>, String> {
    match env.pattern {
        Some(Pattern(Ok(compiled))) => run(compiled.regex()),
        Some(Pattern(Err(error))) => Err(error.clone()),
        None => run(compile(args.text(0))?.regex()),
    }
}

fn replace_all<'v>(
    env: &Env<'v>,
    args: &Args<'v>,
    expand: fn(&Captures<'_>, &[u8], &mut Vec<u8>),
) -> Result<Value<'v>, String> {
    let (text, replacement) = (args.text(1), args.text(2));
    with_regex(env, args, |regex| {
        let mut out = Vec::with_capacity(text.len());
        let mut copied = 0;
        for captures in regex.captures_iter(text) {
            let Some(found) = captures.get(0).filter(|m| stands_apart(text, m.start(), m.end())) else {
                continue;
            };
            out.extend_from_slice(&text[copied..found.start()]);
            expand(&captures, replacement, &mut out);
            copied = found.end();
            check_size(out.len())?;
        }
        check_size(out.len() + text.len() - copied)?;
        out.extend_from_slice(&text[copied..]);
        Ok(Value::owned(out))
    })
}

/// Go never finds an empty match inside a code point.
fn stands_apart(text: &[u8], start: usize, end: usize) -> bool {
    let continues = text.get(start).is_some_and(|byte| byte & 0xc0 == 0x80);
    start < end || !continues
}

#[cfg(test)]
mod tests {
    use super::{Pattern, stands_apart};

    #[test]
    fn a_bad_pattern_is_an_error() {
        for bad in ["[", "(", "a{2,1}", "*", r"\", "(?=a)"] {
            assert!(Pattern::new(bad.as_bytes()).0.is_err(), "{bad}");
        }
        assert!(Pattern::new(b"\xff").0.is_err());
        assert!(Pattern::new(br"\d+").0.is_ok());
    }

    #[test]
    fn an_empty_match_inside_a_code_point_does_not_count() {
        let text = "é!".as_bytes();
        let found: Vec<_> = (0..=text.len()).filter(|at| stands_apart(text, *at, *at)).collect();
        assert_eq!(found, [0, 2, 3]);
        assert!(stands_apart(text, 1, 2));
    }
}
