//! Methods of Go's `time.Time`, `Duration`, `Month` and `Weekday`, as a template may call them on
//! `__timestamp__`, `now` and parsed dates.

use super::Args;
use crate::template::{
    layout,
    time::{NANOS_PER_SECOND, Time, Zone, integer_name},
    value::{
        IntType,
        Param::{self, Duration, Int, Text, Time as Moment},
        Value,
    },
};

/// A method by its name: its parameters and what it does with its receiver.
pub(in crate::template) struct Method {
    name: &'static str,
    pub(in crate::template) params: &'static [Param],
    run: Body,
}

enum Body {
    Time(for<'v> fn(&Time, Args<'v>) -> Value<'v>),
    Int(for<'v> fn(i64, Args<'v>) -> Value<'v>),
}

impl Method {
    /// The method of a value by name; `None` if its type has none so called.
    pub(in crate::template) fn find(receiver: &Value<'_>, name: &str) -> Option<&'static Method> {
        let methods = match receiver {
            Value::Time(_) => TIME,
            Value::Int(_, IntType::Duration) => DURATION,
            Value::Int(_, IntType::Month) => MONTH,
            Value::Int(_, IntType::Weekday) => WEEKDAY,
            _ => &[],
        };
        methods.iter().find(|method| method.name == name)
    }

    pub(in crate::template) fn call<'v>(&self, receiver: &Value<'v>, args: Args<'v>) -> Value<'v> {
        match (&self.run, receiver) {
            (Body::Time(run), Value::Time(time)) => run(time, args),
            (Body::Int(run), Value::Int(number, _)) => run(*number, args),
            // `find` pairs each method with its receiver's type.
            _ => Value::Nil,
        }
    }
}

const fn of_time(
    name: &'static str,
    params: &'static [Param],
    run: for<'v> fn(&Time, Args<'v>) -> Value<'v>,
) -> Method {
    Method { name, params, run: Body::Time(run) }
}

const fn of_int(
    name: &'static str,
    params: &'static [Param],
    run: for<'v> fn(i64, Args<'v>) -> Value<'v>,
) -> Method {
    Method { name, params, run: Body::Int(run) }
}

const TIME: &[Method] = &[
    of_time("Format", &[Text], |time, args| {
        let mut out = Vec::new();
        layout::format(&mut out, time, args.text(0));
        Value::owned(out)
    }),
    of_time("String", &[], |time, _| Value::owned(time.to_string())),
    of_time("Unix", &[], |time, _| Value::int64(time.seconds)),
    of_time("UnixMilli", &[], |time, _| Value::int64(time.unix_units(1_000))),
    of_time("UnixMicro", &[], |time, _| Value::int64(time.unix_units(1_000_000))),
    of_time("UnixNano", &[], |time, _| Value::int64(time.unix_nanos())),
    of_time("Year", &[], |time, _| Value::int(time.civil().year)),
    of_time("Month", &[], |time, _| Value::Int(time.civil().month, IntType::Month)),
    of_time("Day", &[], |time, _| Value::int(time.civil().day)),
    of_time("Hour", &[], |time, _| Value::int(time.civil().hour)),
    of_time("Minute", &[], |time, _| Value::int(time.civil().minute)),
    of_time("Second", &[], |time, _| Value::int(time.civil().second)),
    of_time("Nanosecond", &[], |time, _| Value::int(i64::from(time.nanos))),
    of_time("Weekday", &[], |time, _| Value::Int(time.weekday(), IntType::Weekday)),
    of_time("YearDay", &[], |time, _| Value::int(time.year_day())),
    of_time("IsZero", &[], |time, _| Value::Bool(time.is_zero())),
    of_time("IsDST", &[], |time, _| Value::Bool(time.offset().is_dst)),
    of_time("UTC", &[], |time, _| Value::Time(time.in_zone(Zone::Utc))),
    of_time("Local", &[], |time, _| Value::Time(time.in_zone(Zone::Utc))),
    of_time("Add", &[Duration], |time, args| Value::Time(time.plus_nanos(args.int(0)))),
    of_time("AddDate", &[Int, Int, Int], |time, args| {
        Value::Time(time.plus_date(args.int(0), args.int(1), args.int(2)))
    }),
    of_time("Sub", &[Moment], |time, args| duration(time.nanos_since(&args.time(0)))),
    of_time("Before", &[Moment], |time, args| Value::Bool(time.key() < args.time(0).key())),
    of_time("After", &[Moment], |time, args| Value::Bool(time.key() > args.time(0).key())),
    of_time("Equal", &[Moment], |time, args| Value::Bool(time.key() == args.time(0).key())),
    of_time("Compare", &[Moment], |time, args| Value::int(time.key().cmp(&args.time(0).key()) as i64)),
    of_time("Truncate", &[Duration], |time, args| Value::Time(rounded_time(time, args.int(0), false))),
    of_time("Round", &[Duration], |time, args| Value::Time(rounded_time(time, args.int(0), true))),
];

const DURATION: &[Method] = &[
    of_int("String", &[], |nanos, _| named(nanos, IntType::Duration)),
    of_int("Nanoseconds", &[], |nanos, _| Value::int64(nanos)),
    of_int("Microseconds", &[], |nanos, _| Value::int64(nanos / 1_000)),
    of_int("Milliseconds", &[], |nanos, _| Value::int64(nanos / 1_000_000)),
    of_int("Seconds", &[], |nanos, _| Value::Float(in_units(nanos, NANOS_PER_SECOND))),
    of_int("Minutes", &[], |nanos, _| Value::Float(in_units(nanos, 60 * NANOS_PER_SECOND))),
    of_int("Hours", &[], |nanos, _| Value::Float(in_units(nanos, 3600 * NANOS_PER_SECOND))),
    of_int("Abs", &[], |nanos, _| duration(nanos.saturating_abs())),
    of_int("Truncate", &[Duration], |nanos, args| {
        let unit = args.int(0);
        duration(if unit <= 0 { nanos } else { nanos - nanos % unit })
    }),
    of_int("Round", &[Duration], |nanos, args| duration(rounded_duration(nanos, args.int(0)))),
];

const MONTH: &[Method] = &[of_int("String", &[], |month, _| named(month, IntType::Month))];
const WEEKDAY: &[Method] = &[of_int("String", &[], |day, _| named(day, IntType::Weekday))];

fn named<'v>(number: i64, kind: IntType) -> Value<'v> {
    Value::owned(integer_name(number, kind).unwrap_or_default())
}

fn duration<'v>(nanos: i64) -> Value<'v> {
    Value::Int(nanos, IntType::Duration)
}

/// Whole units and the rest apart, so that no digit is lost.
fn in_units(nanos: i64, unit: i64) -> f64 {
    (nanos / unit) as f64 + (nanos % unit) as f64 / unit as f64
}

/// A time cut down to a multiple of `unit` since Go's zero time, or rounded to the nearest, half up.
fn rounded_time(time: &Time, unit: i64, nearest: bool) -> Time {
    if unit <= 0 {
        return time.clone();
    }
    let zero = Time::zero();
    let since =
        i128::from(time.seconds - zero.seconds) * i128::from(NANOS_PER_SECOND) + i128::from(time.nanos);
    let rest = i64::try_from(since.rem_euclid(i128::from(unit))).unwrap_or(0);
    let up = nearest && rest >= unit - rest;
    time.plus_nanos(if up { unit - rest } else { -rest })
}

/// To the nearest multiple of `unit`, half away from zero.
fn rounded_duration(nanos: i64, unit: i64) -> i64 {
    if unit <= 0 {
        return nanos;
    }
    let rest = (nanos % unit).abs();
    let down = nanos - nanos % unit;
    match rest >= unit - rest {
        true => down.saturating_add(unit.saturating_mul(nanos.signum())),
        false => down,
    }
}
