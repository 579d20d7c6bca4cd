//! Arithmetic of the sprig library. Integers wrap as in Go; `addf` and its kin compute in decimals.

use super::{
    Args, Env, Function,
    convert::{to_float, to_int},
    decimal::Decimal,
    function, variadic,
};
use crate::template::value::{
    Param::{Any, Float, Int},
    Value,
};

pub(super) const FUNCTIONS: &[Function] = &[
    variadic("add", &[], Any, |_, args| {
        Ok(Value::int64(args.rest(0).iter().map(to_int).fold(0, i64::wrapping_add)))
    }),
    function("sub", &[Any, Any], |_, args| {
        Ok(Value::int64(to_int(args.any(0)).wrapping_sub(to_int(args.any(1)))))
    }),
    variadic("mul", &[Any], Any, |_, args| {
        Ok(Value::int64(args.rest(0).iter().map(to_int).fold(1, i64::wrapping_mul)))
    }),
    function("div", &[Any, Any], |_, args| divided(&args, i64::wrapping_div)),
    function("mod", &[Any, Any], |_, args| divided(&args, i64::wrapping_rem)),
    variadic("max", &[Any], Any, |_, args| {
        Ok(Value::int64(args.rest(0).iter().map(to_int).max().unwrap_or(0)))
    }),
    variadic("min", &[Any], Any, |_, args| {
        Ok(Value::int64(args.rest(0).iter().map(to_int).min().unwrap_or(0)))
    }),
    variadic("addf", &[], Any, |env, mut args| {
        args.0.insert(0, Value::int(0));
        decimals(env, &args, |a, b| Some(a.plus(b)))
    }),
    variadic("subf", &[Any], Any, |env, args| decimals(env, &args, |a, b| Some(a.minus(b)))),
    variadic("mulf", &[Any], Any, |env, args| decimals(env, &args, |a, b| Some(a.times(b)))),
    variadic("divf", &[Any], Any, |env, args| decimals(env, &args, Decimal::over)),
    variadic("maxf", &[Any], Any, |_, args| Ok(Value::Float(fold_floats(&args, larger)))),
    variadic("minf", &[Any], Any, |_, args| Ok(Value::Float(fold_floats(&args, smaller)))),
    function("ceil", &[Any], |_, args| Ok(Value::Float(to_float(args.any(0)).ceil()))),
    function("floor", &[Any], |_, args| Ok(Value::Float(to_float(args.any(0)).floor()))),
    variadic("round", &[Any, Int], Float, |_, args| {
        let round_on = if args.0.len() > 2 { to_float(args.any(2)) } else { 0.5 };
        Ok(Value::Float(round(to_float(args.any(0)), args.int(1), round_on)))
    }),
];

fn divided<'v>(args: &Args<'v>, operation: fn(i64, i64) -> i64) -> Result<Value<'v>, String> {
    match to_int(args.any(1)) {
        0 => Err("runtime error: integer divide by zero".to_owned()),
        divisor => Ok(Value::int64(operation(to_int(args.any(0)), divisor))),
    }
}

/// Folds all arguments in decimal arithmetic, where 0.1 + 0.2 is 0.3.
fn decimals<'v>(
    _: &Env<'v>,
    args: &Args<'v>,
    operation: fn(&Decimal, &Decimal) -> Option<Decimal>,
) -> Result<Value<'v>, String> {
    let decimal = |value: &Value<'_>| {
        let float = to_float(value);
        Decimal::from_float(float).ok_or_else(|| format!("cannot create a decimal from {float}"))
    };
    let mut result = decimal(args.any(0))?;
    for value in args.rest(1) {
        result = operation(&result, &decimal(value)?).ok_or("decimal division by 0")?;
        if !result.is_bounded() {
            return Err("decimal has too many digits".to_owned());
        }
    }
    Ok(Value::Float(result.to_float()))
}

fn fold_floats(args: &Args<'_>, pick: fn(f64, f64) -> f64) -> f64 {
    args.rest(0).iter().map(to_float).reduce(pick).unwrap_or(0.0)
}

/// Go's `math.Max`: infinity wins, then not-a-number.
fn larger(a: f64, b: f64) -> f64 {
    match (a, b) {
        (f64::INFINITY, _) | (_, f64::INFINITY) => f64::INFINITY,
        _ if a.is_nan() || b.is_nan() => f64::NAN,
        _ => a.max(b),
    }
}

fn smaller(a: f64, b: f64) -> f64 {
    -larger(-a, -b)
}

/// Sprig's rounding: up where the rest is at least `round_on`. A negative number has a negative rest, so
/// it is always rounded down.
fn round(value: f64, places: i64, round_on: f64) -> f64 {
    let power = 10f64.powi(i32::try_from(places.clamp(-400, 400)).unwrap_or(0));
    let shifted = power * value;
    let rounded = if shifted.fract() >= round_on { shifted.ceil() } else { shifted.floor() };
    rounded / power
}
