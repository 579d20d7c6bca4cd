//! The functions of Go's `text/template` itself, but for the comparisons.

use super::{Args, Env, Function, Run, check_size, encoding, function, part, variadic};
use crate::template::{
    limits, print, printf,
    value::{
        Param::{Any, Text},
        Value,
    },
};

pub(super) const FUNCTIONS: &[Function] = &[
    Function { run: Run::Until(false), ..variadic("and", &[Any], Any, |_, _| Ok(Value::Nil)) },
    Function { run: Run::Until(true), ..variadic("or", &[Any], Any, |_, _| Ok(Value::Nil)) },
    function("not", &[Any], |env, args| Ok(Value::Bool(!args.any(0).is_true(env.context)))),
    function("len", &[Any], |env, args| match args.any(0) {
        Value::Text(text) => Ok(Value::length_of(text.len())),
        Value::List(list) => Ok(Value::length_of(list.len())),
        Value::Map(map) => Ok(Value::length_of(map.len())),
        Value::Labels => Ok(Value::length_of(env.context.labels().len())),
        Value::Nil | Value::NilElement => Err("len of nil pointer".to_owned()),
        other => Err(format!("len of type {}", other.type_name())),
    }),
    variadic("index", &[Any], Any, |env, args| {
        let mut item = args.any(0).clone();
        if item.is_nil() {
            return Err("index of untyped nil".to_owned());
        }
        for key in args.rest(1) {
            item = index(env, item, key)?;
        }
        Ok(item)
    }),
    variadic("slice", &[Any], Any, |_, args| slice(args)),
    variadic("print", &[], Any, |env, args| printed(env, &args, print::sprint)),
    variadic("println", &[], Any, |env, args| printed(env, &args, print::sprintln)),
    variadic("printf", &[Text], Any, |env, args| {
        let mut out = Vec::new();
        match printf::sprintf(&mut out, args.text(0), args.rest(1), env.context) {
            true => Ok(Value::owned(out)),
            false => Err(format!("result is longer than {} bytes", limits::TEXT_BYTES_MAX)),
        }
    }),
    variadic("html", &[], Any, |env, args| escaped(env, &args, encoding::html)),
    variadic("js", &[], Any, |env, args| escaped(env, &args, encoding::js)),
    variadic("urlquery", &[], Any, |env, args| escaped(env, &args, encoding::url_query)),
    variadic("call", &[Any], Any, |_, args| match args.any(0) {
        Value::Nil | Value::NilElement => Err("call of nil".to_owned()),
        other => Err(format!("non-function of type {}", other.type_name())),
    }),
];

fn index<'v>(env: &Env<'v>, item: Value<'v>, key: &Value<'v>) -> Result<Value<'v>, String> {
    match &item {
        Value::List(list) => Ok(list[position(key, list.len())?].clone()),
        Value::Text(text) => {
            let byte = text[position(key, text.len())?];
            Ok(Value::Int(i64::from(byte), crate::template::value::IntType::Byte))
        }
        Value::Labels => {
            let name = map_key(key)?;
            let value = env.context.label(&name).unwrap_or_default();
            Ok(Value::Text(value.as_bytes().into()))
        }
        Value::Map(map) => Ok(map.get(map_key(key)?.as_ref()).cloned().unwrap_or(Value::NilElement)),
        Value::Nil | Value::NilElement => Err("index of nil pointer".to_owned()),
        other => Err(format!("can't index item of type {}", other.type_name())),
    }
}

fn map_key<'k>(key: &'k Value<'_>) -> Result<std::borrow::Cow<'k, str>, String> {
    match key {
        Value::Text(text) => Ok(String::from_utf8_lossy(text)),
        Value::Nil | Value::NilElement => Err("value is nil; should be of type string".to_owned()),
        other => Err(format!("value has type {}; should be string", other.type_name())),
    }
}

/// An index below `length`.
fn position(key: &Value<'_>, length: usize) -> Result<usize, String> {
    match bound(key, length)? {
        at if at < length => Ok(at),
        at => Err(format!("index out of range: {at}")),
    }
}

/// A slice bound: at most `length`.
fn bound(key: &Value<'_>, length: usize) -> Result<usize, String> {
    match key {
        Value::Int(number, _) => usize::try_from(*number)
            .ok()
            .filter(|at| *at <= length)
            .ok_or_else(|| format!("index out of range: {number}")),
        Value::Nil | Value::NilElement => Err("cannot index slice/array with nil".to_owned()),
        other => Err(format!("cannot index slice/array with type {}", other.type_name())),
    }
}

/// `slice x`, `slice x 1`, `slice x 1 2`, and for lists a third bound on capacity.
fn slice<'v>(mut args: Args<'v>) -> Result<Value<'v>, String> {
    let bounds = args.0.split_off(1);
    let item = args.0.pop().unwrap_or(Value::Nil);
    if bounds.len() > 3 {
        return Err(format!("too many slice indexes: {}", bounds.len()));
    }
    let length = match &item {
        Value::Text(_) if bounds.len() == 3 => return Err("cannot 3-index slice a string".to_owned()),
        Value::Text(text) => text.len(),
        Value::List(list) => list.len(),
        Value::Nil | Value::NilElement => return Err("slice of untyped nil".to_owned()),
        other => return Err(format!("can't slice item of type {}", other.type_name())),
    };
    let at = |index: usize, default| bounds.get(index).map_or(Ok(default), |key| bound(key, length));
    let (start, end, capacity) = (at(0, 0)?, at(1, length)?, at(2, length)?);
    if start > end || end > capacity {
        return Err(format!("invalid slice index: {start} > {end}"));
    }
    match item {
        Value::Text(text) => Ok(part(text, |text| &text[start..end])),
        Value::List(list) => Ok(Value::List(list[start..end].into())),
        other => Ok(other),
    }
}

type Print = fn(&mut Vec<u8>, &[Value<'_>], &dyn crate::template::Context);

fn printed<'v>(env: &Env<'v>, args: &Args<'v>, print: Print) -> Result<Value<'v>, String> {
    let mut out = Vec::new();
    print(&mut out, args.rest(0), env.context);
    check_size(out.len())?;
    Ok(Value::owned(out))
}

/// Escapes one string, or what `print` makes of anything else; nil counts as `<no value>` here.
fn escaped<'v>(env: &Env<'v>, args: &Args<'v>, escape: fn(&[u8]) -> Vec<u8>) -> Result<Value<'v>, String> {
    if let [Value::Text(text)] = args.rest(0) {
        return Ok(Value::owned(escape(text)));
    }
    let no_value = || Value::Text(b"<no value>".as_slice().into());
    let values: Vec<_> =
        args.rest(0).iter().map(|v| if v.is_nil() { no_value() } else { v.clone() }).collect();
    let mut out = Vec::new();
    print::sprint(&mut out, &values, env.context);
    Ok(Value::owned(escape(&out)))
}
