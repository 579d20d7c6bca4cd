//! `eq ne lt le gt ge`, by the rules of Go's `text/template`: integers of any type compare with each other,
//! other types only with their own.

use std::cmp::Ordering;

use super::{Args, Env, Function, function, variadic};
use crate::template::value::{IntType, Param::Any, Value};

pub(super) const FUNCTIONS: &[Function] = &[
    variadic("eq", &[Any], Any, |_, args| {
        if args.0.len() < 2 {
            return Err("missing argument for comparison".to_owned());
        }
        for other in args.rest(1) {
            if equal(args.any(0), other)? {
                return Ok(Value::Bool(true));
            }
        }
        Ok(Value::Bool(false))
    }),
    function("ne", &[Any, Any], |_, args| Ok(Value::Bool(!equal(args.any(0), args.any(1))?))),
    function("lt", &[Any, Any], |env, args| holds(env, &args, |less, _| less)),
    function("le", &[Any, Any], |env, args| holds(env, &args, |less, equal| less || equal)),
    function("gt", &[Any, Any], |env, args| holds(env, &args, |less, equal| !(less || equal))),
    function("ge", &[Any, Any], |env, args| holds(env, &args, |less, _| !less)),
];

/// Go derives all four orders from less and equal, which shows where not-a-number is compared.
fn holds<'v>(_: &Env<'v>, args: &Args<'v>, of: fn(bool, bool) -> bool) -> Result<Value<'v>, String> {
    let order = order(args.any(0), args.any(1))?;
    Ok(Value::Bool(of(order == Some(Ordering::Less), order == Some(Ordering::Equal))))
}

fn equal(a: &Value<'_>, b: &Value<'_>) -> Result<bool, String> {
    match (a, b) {
        (Value::Nil | Value::NilElement, other) | (other, Value::Nil | Value::NilElement) => {
            Ok(other.is_nil())
        }
        (Value::Bool(a), Value::Bool(b)) => Ok(a == b),
        (Value::Time(a), Value::Time(b)) => Ok(a == b),
        (Value::Labels | Value::Map(_) | Value::List(_), Value::Labels | Value::Map(_) | Value::List(_)) => {
            Err(format!("non-comparable types {} and {}", a.type_name(), b.type_name()))
        }
        _ => Ok(order(a, b).map_err(|_| incompatible(a, b))? == Some(Ordering::Equal)),
    }
}

/// The order of two values of an ordered type; `None` if one is not a number.
fn order(a: &Value<'_>, b: &Value<'_>) -> Result<Option<Ordering>, String> {
    match (a, b) {
        (Value::Int(a, _), Value::Int(b, _)) => Ok(Some(a.cmp(b))),
        (Value::Float(a), Value::Float(b)) => Ok(a.partial_cmp(b)),
        (Value::Text(a), Value::Text(b)) => Ok(Some(a.cmp(b))),
        _ if is_ordered(a) && is_ordered(b) => Err(incompatible(a, b)),
        _ => Err("invalid type for comparison".to_owned()),
    }
}

fn is_ordered(value: &Value<'_>) -> bool {
    matches!(value, Value::Int(..) | Value::Float(_) | Value::Text(_))
}

fn incompatible(a: &Value<'_>, b: &Value<'_>) -> String {
    format!("incompatible types for comparison: {} and {}", kind_name(a), kind_name(b))
}

fn kind_name(value: &Value<'_>) -> &'static str {
    match value {
        Value::Int(_, kind) if *kind != IntType::Byte => "int",
        other => other.type_name(),
    }
}
