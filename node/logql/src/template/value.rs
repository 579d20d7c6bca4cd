//! What a template computes with: the Go types Loki's functions take and give, and the rules by which a
//! value fits a parameter, is true, or compares.

use std::{borrow::Cow, collections::BTreeMap, rc::Rc};

use super::{Context, time::Time};

/// A value. Strings are bytes, as in Go, and borrow from the labels, the line or the template.
#[derive(Debug, Clone)]
pub(super) enum Value<'v> {
    /// No value at all: untyped nil, printed `<no value>` by an action and `<nil>` by `print`.
    Nil,
    /// A nil element of decoded JSON, before a pipeline unwraps it: looking up a key in it is an error.
    NilElement,
    Bool(bool),
    Int(i64, IntType),
    Float(f64),
    Text(Cow<'v, [u8]>),
    /// All labels, a `map[string]string`; read from the context when it is looked into.
    Labels,
    /// A decoded JSON object.
    Map(Rc<BTreeMap<String, Value<'v>>>),
    /// A decoded JSON array, or a part of one.
    List(Rc<[Value<'v>]>),
    Time(Time),
}

/// Go's integer types: they print and fit parameters differently, and compare alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum IntType {
    Int,
    Int64,
    Byte,
    Duration,
    Month,
    Weekday,
}

impl IntType {
    pub(super) fn name(self) -> &'static str {
        match self {
            IntType::Int => "int",
            IntType::Int64 => "int64",
            IntType::Byte => "uint8",
            IntType::Duration => "time.Duration",
            IntType::Month => "time.Month",
            IntType::Weekday => "time.Weekday",
        }
    }
}

impl<'v> Value<'v> {
    pub(super) fn int(value: i64) -> Self {
        Value::Int(value, IntType::Int)
    }

    pub(super) fn int64(value: i64) -> Self {
        Value::Int(value, IntType::Int64)
    }

    pub(super) fn owned(text: impl Into<Vec<u8>>) -> Self {
        Value::Text(Cow::Owned(text.into()))
    }

    pub(super) fn length_of(length: usize) -> Self {
        Value::int(i64::try_from(length).unwrap_or(i64::MAX))
    }

    /// The name of its Go type, as error texts and `%T` print it.
    pub(super) fn type_name(&self) -> &'static str {
        match self {
            Value::Nil => "<nil>",
            Value::NilElement => "interface {}",
            Value::Bool(_) => "bool",
            Value::Int(_, kind) => kind.name(),
            Value::Float(_) => "float64",
            Value::Text(_) => "string",
            Value::Labels => "map[string]string",
            Value::Map(_) => "map[string]interface {}",
            Value::List(_) => "[]interface {}",
            Value::Time(_) => "time.Time",
        }
    }

    /// Go's truth: not empty, not zero, not nil.
    pub(super) fn is_true(&self, context: &dyn Context) -> bool {
        match self {
            Value::Nil | Value::NilElement => false,
            Value::Bool(truth) => *truth,
            Value::Int(number, _) => *number != 0,
            Value::Float(number) => *number != 0.0,
            Value::Text(text) => !text.is_empty(),
            Value::Labels => !context.labels().is_empty(),
            Value::Map(map) => !map.is_empty(),
            Value::List(list) => !list.is_empty(),
            Value::Time(_) => true,
        }
    }

    pub(super) fn is_nil(&self) -> bool {
        matches!(self, Value::Nil | Value::NilElement)
    }

    /// Unwraps a JSON element, as the end of a pipeline does.
    pub(super) fn unwrapped(self) -> Self {
        if matches!(self, Value::NilElement) { Value::Nil } else { self }
    }

    /// Bytes it holds itself, for the account of work.
    pub(super) fn weight(&self) -> usize {
        match self {
            Value::Text(text) => text.len(),
            Value::List(list) => list.len(),
            Value::Map(map) => map.len(),
            _ => 0,
        }
    }
}

/// The types a parameter of a function or method may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Param {
    Text,
    Int,
    Float,
    Duration,
    Time,
    /// `interface {}`: anything, nil too.
    Any,
}

impl Param {
    fn name(self) -> &'static str {
        match self {
            Param::Text => "string",
            Param::Int => "int",
            Param::Float => "float64",
            Param::Duration => "time.Duration",
            Param::Time => "time.Time",
            Param::Any => "interface {}",
        }
    }

    /// Whether a computed value may be passed: Go converts nothing here.
    pub(super) fn accept<'v>(self, value: Value<'v>) -> Result<Value<'v>, String> {
        let fits = match self {
            Param::Text => matches!(value, Value::Text(_)),
            Param::Int => matches!(value, Value::Int(_, IntType::Int)),
            Param::Float => matches!(value, Value::Float(_)),
            Param::Duration => matches!(value, Value::Int(_, IntType::Duration)),
            Param::Time => matches!(value, Value::Time(_)),
            Param::Any => true,
        };
        match value {
            value if fits => Ok(value.unwrapped()),
            Value::Nil => Err(format!("invalid value; expected {}", self.name())),
            value => {
                Err(format!("wrong type for value; expected {}; got {}", self.name(), value.type_name()))
            }
        }
    }

    pub(super) fn expected(self) -> &'static str {
        match self {
            Param::Text => "string",
            Param::Int | Param::Duration => "integer",
            Param::Float => "float",
            Param::Time => "time",
            Param::Any => "value",
        }
    }
}
