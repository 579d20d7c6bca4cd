//! The parsed template: what the parser makes and the executor walks.

use super::functions::{Function, regex::Pattern};

/// One piece of a template, in the order it is written.
#[derive(Debug)]
pub(super) enum Node {
    Text(Box<[u8]>),
    Action(Pipe),
    If(Branch),
    With(Branch),
    Range(Branch),
    /// `{{template "name" pipe}}`, also the calling half of `{{block}}`.
    Template {
        name: String,
        pipe: Option<Pipe>,
    },
    Break,
    Continue,
}

/// A block with a condition, a body, and what runs where the condition is empty.
#[derive(Debug)]
pub(super) struct Branch {
    pub(super) pipe: Pipe,
    pub(super) body: Vec<Node>,
    pub(super) otherwise: Vec<Node>,
}

/// Commands joined by `|`; each one's value is the last argument of the next.
#[derive(Debug, Default)]
pub(super) struct Pipe {
    /// Variables that take the value (at most two, and two only in `range`), with their `$`.
    pub(super) variables: Vec<String>,
    /// True for `=`, false for `:=`.
    pub(super) assigns: bool,
    pub(super) commands: Vec<Command>,
}

/// An operand and its arguments; at least the one.
#[derive(Debug)]
pub(super) struct Command {
    pub(super) operands: Vec<Operand>,
}

#[derive(Debug)]
pub(super) enum Operand {
    Dot,
    Nil,
    Bool(bool),
    Number(Number),
    Text(Box<[u8]>),
    /// `.a.b`: keys looked up from dot.
    Field(Vec<String>),
    /// `$x.a.b`: the variable with its `$`, then keys.
    Variable(String, Vec<String>),
    /// A function, and its first argument compiled where that is a constant regular expression.
    Function(&'static Function, Option<Box<Pattern>>),
    /// A parenthesised pipeline.
    Pipe(Pipe),
    /// `(pipe).a.b` or `function.a.b`.
    Chain(Box<Operand>, Vec<String>),
}

/// A number constant. Go gives it a type only where it is used, so it may be both.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Number {
    /// Its value where an integer is wanted; `None` if it is not a whole number that fits.
    pub(super) int: Option<i64>,
    /// Its value where a float is wanted.
    pub(super) float: f64,
    /// Written with a point or an exponent, so a float where nothing says otherwise.
    pub(super) looks_float: bool,
}
