//! Dates: layouts are Go's, and the local zone is always UTC, so that no answer depends on a node's setting.

use super::{Args, Env, Function, function};
use crate::template::{
    date, layout,
    time::{Time, Zone},
    value::{
        IntType,
        Param::{Any, Text, Time as Moment},
        Value,
    },
};

pub(super) const FUNCTIONS: &[Function] = &[
    function("__line__", &[], |env, _| Ok(Value::Text(env.context.line().into()))),
    function("__timestamp__", &[], |env, _| Ok(Value::Time(Time::from_nanos(env.context.timestamp())))),
    function("now", &[], |env, _| Ok(Value::Time(Time::from_nanos(env.context.now())))),
    function("date", &[Text, Any], |env, args| formatted(env, &args)),
    function("toDate", &[Text, Text], |_, args| Ok(parsed(args.text(0), args.text(1), &Zone::Utc))),
    function("toDateInZone", &[Text, Text, Text], |_, args| {
        let zone = Zone::named(&String::from_utf8_lossy(args.text(1)));
        Ok(parsed(args.text(0), args.text(2), &zone))
    }),
    function("unixEpoch", &[Moment], |_, args| Ok(Value::owned(args.time(0).seconds.to_string()))),
    function("unixEpochMillis", &[Moment], |_, args| {
        Ok(Value::owned(args.time(0).unix_units(1_000).to_string()))
    }),
    function("unixEpochNanos", &[Moment], |_, args| Ok(Value::owned(args.time(0).unix_nanos().to_string()))),
    function("unixToTime", &[Text], |_, args| unix_to_time(args.text(0)).map(Value::Time)),
];

/// Formats a time, or seconds since the epoch; anything else counts as now.
fn formatted<'v>(env: &Env<'v>, args: &Args<'v>) -> Result<Value<'v>, String> {
    let time = match args.any(1) {
        Value::Time(time) => time.in_zone(Zone::Utc),
        Value::Int(seconds, IntType::Int | IntType::Int64) => Time::from_parts(*seconds, 0),
        _ => Time::from_nanos(env.context.now()),
    };
    let mut out = Vec::new();
    layout::format(&mut out, &time, args.text(0));
    Ok(Value::owned(out))
}

/// A date by a layout; Go's zero time where it does not fit.
fn parsed<'v>(layout: &[u8], text: &[u8], zone: &Zone) -> Value<'v> {
    Value::Time(date::parse(layout, text, zone).unwrap_or_else(Time::zero))
}

/// The count of digits tells days, seconds, milliseconds, microseconds and nanoseconds apart.
fn unix_to_time(text: &[u8]) -> Result<Time, String> {
    let shown = String::from_utf8_lossy(text);
    let error = || format!("unable to parse time `{shown}`");
    let count: i64 = shown.parse().map_err(|_| error())?;
    match text.len() {
        5 => Ok(Time::from_parts(count * 86_400, 0)),
        10 => Ok(Time::from_parts(count, 0)),
        13 => Ok(Time::from_nanos(count * 1_000_000)),
        16 => Ok(Time::from_nanos(count * 1_000)),
        19 => Ok(Time::from_nanos(count)),
        _ => Err(error()),
    }
}
