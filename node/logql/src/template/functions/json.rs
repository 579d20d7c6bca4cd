//! `fromJson`: decoded as Go decodes into `interface {}`, numbers all floats.

use std::{collections::BTreeMap, rc::Rc};

use super::{Function, function};
use crate::template::value::{Param::Text, Value};

pub(super) const FUNCTIONS: &[Function] =
    &[function("fromJson", &[Text], |_, args| Ok(decode(args.text(0)).unwrapped()))];

/// The value; nil for text that is no JSON.
fn decode<'v>(text: &[u8]) -> Value<'v> {
    let text = String::from_utf8_lossy(text);
    serde_json::from_str(&text).map_or(Value::Nil, from_json)
}

/// Recursion is bounded by the depth to which `serde_json` parses.
fn from_json<'v>(json: serde_json::Value) -> Value<'v> {
    match json {
        serde_json::Value::Null => Value::NilElement,
        serde_json::Value::Bool(truth) => Value::Bool(truth),
        serde_json::Value::Number(number) => Value::Float(number.as_f64().unwrap_or(f64::NAN)),
        serde_json::Value::String(text) => Value::owned(text),
        serde_json::Value::Array(items) => Value::List(items.into_iter().map(from_json).collect()),
        serde_json::Value::Object(entries) => {
            let map: BTreeMap<_, _> =
                entries.into_iter().map(|(key, value)| (key, from_json(value))).collect();
            Value::Map(Rc::new(map))
        }
    }
}
