//! The functions a template may call, one file for each kind, and what they are called with.

use std::borrow::Cow;

use super::{
    Context, limits,
    time::Time,
    value::{Param, Value},
};

mod builtins;
mod compare;
mod convert;
mod dates;
mod decimal;
mod encoding;
mod json;
mod math;
pub(super) mod methods;
mod quantity;
pub(super) mod regex;
mod strings;

/// A function by its name: its parameters and what it does.
#[derive(Debug)]
pub(super) struct Function {
    pub(super) name: &'static str,
    pub(super) params: &'static [Param],
    /// The type of any further arguments; `None` if it takes no more.
    pub(super) rest: Option<Param>,
    /// Its first argument is a regular expression.
    pub(super) takes_pattern: bool,
    pub(super) run: Run,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Run {
    /// `and`, `or`: arguments are evaluated until one is this.
    Until(bool),
    Call(Body),
}

/// What a function does with arguments that already fit its parameters.
pub(super) type Body = for<'v> fn(&Env<'v>, Args<'v>) -> Result<Value<'v>, String>;

/// What a function may know besides its arguments.
pub(super) struct Env<'v> {
    pub(super) context: &'v dyn Context,
    /// The first argument compiled, where it is a constant.
    pub(super) pattern: Option<&'v regex::Pattern>,
}

/// Arguments of one call, as many and of such types as the function's parameters say.
pub(super) struct Args<'v>(pub(super) Vec<Value<'v>>);

impl<'v> Args<'v> {
    fn text(&self, at: usize) -> &[u8] {
        match self.0.get(at) {
            Some(Value::Text(text)) => text,
            _ => b"",
        }
    }

    /// The text itself, so that a part of it may go on borrowing what it borrows.
    fn take_text(&mut self, at: usize) -> Cow<'v, [u8]> {
        match self.0.get_mut(at) {
            Some(Value::Text(text)) => std::mem::take(text),
            _ => Cow::Borrowed(b""),
        }
    }

    fn int(&self, at: usize) -> i64 {
        match self.0.get(at) {
            Some(Value::Int(number, _)) => *number,
            _ => 0,
        }
    }

    fn time(&self, at: usize) -> Time {
        match self.0.get(at) {
            Some(Value::Time(time)) => time.clone(),
            _ => Time::zero(),
        }
    }

    fn any(&self, at: usize) -> &Value<'v> {
        self.0.get(at).unwrap_or(&Value::Nil)
    }

    /// The arguments from number `at` on.
    fn rest(&self, at: usize) -> &[Value<'v>] {
        self.0.get(at..).unwrap_or_default()
    }
}

const fn function(name: &'static str, params: &'static [Param], body: Body) -> Function {
    Function { name, params, rest: None, takes_pattern: false, run: Run::Call(body) }
}

/// A function that takes any number of further arguments of one type.
const fn variadic(name: &'static str, params: &'static [Param], rest: Param, body: Body) -> Function {
    Function { name, params, rest: Some(rest), takes_pattern: false, run: Run::Call(body) }
}

/// The function of this name.
pub(super) fn find(name: &str) -> Option<&'static Function> {
    const GROUPS: [&[Function]; 10] = [
        builtins::FUNCTIONS,
        compare::FUNCTIONS,
        convert::FUNCTIONS,
        dates::FUNCTIONS,
        encoding::FUNCTIONS,
        json::FUNCTIONS,
        math::FUNCTIONS,
        quantity::FUNCTIONS,
        regex::FUNCTIONS,
        strings::FUNCTIONS,
    ];
    GROUPS.into_iter().flatten().find(|function| function.name == name)
}

/// The function of Go's own of this name.
pub(super) fn find_builtin(name: &str) -> Option<&'static Function> {
    let builtins = builtins::FUNCTIONS.iter().chain(compare::FUNCTIONS);
    builtins.into_iter().find(|function| function.name == name)
}

/// Stands for a function of which only the name is known: whoever renders the template has it.
pub(super) static ELSEWHERE: Function =
    variadic("", &[], Param::Any, |_, _| Err("not known here".to_owned()));

/// Applies a cut to a text; what was borrowed stays borrowed.
fn part<'v>(text: Cow<'v, [u8]>, cut: impl for<'t> Fn(&'t [u8]) -> &'t [u8]) -> Value<'v> {
    match text {
        Cow::Borrowed(text) => Value::Text(Cow::Borrowed(cut(text))),
        Cow::Owned(text) => Value::owned(cut(&text)),
    }
}

/// Refuses to build a text beyond the bound; called before it is built.
fn check_size(bytes: usize) -> Result<(), String> {
    if bytes > limits::TEXT_BYTES_MAX {
        return Err(format!("result is longer than {} bytes", limits::TEXT_BYTES_MAX));
    }
    Ok(())
}
