//! Values to numbers, as the sprig library does through the `cast` package: whatever cannot be one is zero. And
//! sprig's `default`, for what is empty.

use super::{Function, function, variadic};
use crate::template::{
    number,
    value::{Param::Any, Value},
};

pub(super) const FUNCTIONS: &[Function] = &[
    function("int", &[Any], |_, args| Ok(Value::int(to_int(args.any(0))))),
    function("float64", &[Any], |_, args| Ok(Value::Float(to_float(args.any(0))))),
    variadic("default", &[Any], Any, |env, mut args| {
        let empty = args.0.get(1).is_none_or(|given| !given.is_true(env.context));
        Ok(args.0.swap_remove(usize::from(!empty)))
    }),
];

/// A whole number: strings by Go's literals (`010` is 8), their decimals cut off.
pub(super) fn to_int(value: &Value<'_>) -> i64 {
    match value {
        Value::Int(number, _) => *number,
        Value::Float(number) => truncated(*number),
        Value::Bool(truth) => i64::from(*truth),
        Value::Text(text) => {
            std::str::from_utf8(text).ok().and_then(|text| number::parse_int(whole_part(text))).unwrap_or(0)
        }
        _ => 0,
    }
}

/// Go on amd64 gives the smallest integer for a float that does not fit one.
fn truncated(number: f64) -> i64 {
    if (-(2f64.powi(63))..2f64.powi(63)).contains(&number) { number as i64 } else { i64::MIN }
}

/// `-12.5` without its decimals; anything but digits and one point is left alone.
fn whole_part(text: &str) -> &str {
    let Some((whole, decimals)) = text.split_once('.') else { return text };
    let digits = whole.strip_prefix(['-', '+']).unwrap_or(whole);
    if !digits.bytes().chain(decimals.bytes()).all(|b| b.is_ascii_digit()) {
        return text;
    }
    if digits.is_empty() { "0" } else { whole }
}

pub(super) fn to_float(value: &Value<'_>) -> f64 {
    match value {
        Value::Int(number, _) => *number as f64,
        Value::Float(number) => *number,
        Value::Bool(truth) => f64::from(u8::from(*truth)),
        Value::Text(text) => std::str::from_utf8(text).ok().and_then(number::parse_float).unwrap_or(0.0),
        _ => 0.0,
    }
}
