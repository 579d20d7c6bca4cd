//! OpenTelemetry values as text, as the collector's `AsString` writes them.

use std::fmt::Write;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use opentelemetry_proto::tonic::common::v1::AnyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use serde_json::Value as Json;

/// The text of a value: strings as they are, bytes in base64, maps and arrays as JSON.
pub(super) fn text(value: Option<&AnyValue>) -> String {
    match value.and_then(|value| value.value.as_ref()) {
        None | Some(Value::StringValueStrindex(_)) => String::new(),
        Some(Value::StringValue(text)) => text.clone(),
        Some(Value::BoolValue(value)) => value.to_string(),
        Some(Value::IntValue(number)) => number.to_string(),
        Some(Value::DoubleValue(number)) => double(*number),
        Some(Value::BytesValue(bytes)) => STANDARD.encode(bytes),
        Some(value @ (Value::ArrayValue(_) | Value::KvlistValue(_))) => {
            let mut out = String::new();
            write_json(&mut out, &json(value));
            out
        }
    }
}

/// As JSON writers of Go print it: without an exponent in the range where people read numbers.
fn double(number: f64) -> String {
    if !number.is_finite() {
        return if number.is_nan() {
            "NaN"
        } else if number > 0.0 {
            "+Inf"
        } else {
            "-Inf"
        }
        .to_owned();
    }
    let size = number.abs();
    if size == 0.0 || (1e-6..1e21).contains(&size) {
        return number.to_string();
    }
    let text = format!("{number:e}");
    if text.contains("e-") { text } else { text.replace('e', "e+") }
}

/// The decoders bound the depth of nesting (prost at 100, serde_json at 128), so recursion is safe here.
fn json(value: &Value) -> Json {
    let inner = |value: &AnyValue| value.value.as_ref().map_or(Json::Null, json);
    match value {
        Value::StringValue(text) => Json::String(text.clone()),
        Value::BoolValue(value) => Json::Bool(*value),
        Value::IntValue(number) => Json::from(*number),
        Value::DoubleValue(number) => serde_json::Number::from_f64(*number).map_or(Json::Null, Json::Number),
        Value::BytesValue(bytes) => Json::String(STANDARD.encode(bytes)),
        Value::StringValueStrindex(_) => Json::Null,
        Value::ArrayValue(array) => array.values.iter().map(inner).collect(),
        Value::KvlistValue(list) => {
            let pairs = list.values.iter();
            let pairs = pairs.map(|pair| (pair.key.clone(), pair.value.as_ref().map_or(Json::Null, inner)));
            // Sorted, as Go prints maps; whatever features other crates turn on in serde_json.
            let sorted: std::collections::BTreeMap<_, _> = pairs.collect();
            Json::Object(sorted.into_iter().collect())
        }
    }
}

fn write_json(out: &mut String, value: &Json) {
    match value {
        Json::Array(values) => {
            out.push('[');
            for (n, value) in values.iter().enumerate() {
                out.push_str(if n > 0 { "," } else { "" });
                write_json(out, value);
            }
            out.push(']');
        }
        Json::Object(pairs) => {
            out.push('{');
            for (n, (name, value)) in pairs.iter().enumerate() {
                out.push_str(if n > 0 { "," } else { "" });
                write_string(out, name);
                out.push(':');
                write_json(out, value);
            }
            out.push('}');
        }
        Json::String(text) => write_string(out, text),
        Json::Number(number) => match number.as_f64().filter(|_| number.is_f64()) {
            Some(number) => out.push_str(&double(number)),
            None => out.push_str(&number.to_string()),
        },
        Json::Null | Json::Bool(_) => out.push_str(&value.to_string()),
    }
}

/// Go's JSON escapes what could end a `<script>` too.
fn write_string(out: &mut String, text: &str) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\x08' => out.push_str("\\b"),
            '\x0C' => out.push_str("\\f"),
            '<' | '>' | '&' | '\0'..='\x1F' | '\u{2028}' | '\u{2029}' => {
                // Writing to a string cannot fail.
                let _ = write!(out, "\\u{:04x}", c as u32);
            }
            c => out.push(c),
        }
    }
    out.push('"');
}

#[cfg(test)]
mod tests {
    use opentelemetry_proto::tonic::common::v1::any_value::Value;
    use opentelemetry_proto::tonic::common::v1::{AnyValue, ArrayValue, KeyValue, KeyValueList};

    use super::text;

    fn any(value: Value) -> AnyValue {
        AnyValue { value: Some(value) }
    }

    fn pair(key: &str, value: Value) -> KeyValue {
        KeyValue { key: key.to_owned(), value: Some(any(value)), ..KeyValue::default() }
    }

    fn check(value: Value, expected: &str) {
        assert_eq!(text(Some(&any(value))), expected);
    }

    #[test]
    fn values_print_as_in_the_collector() {
        check(Value::StringValue("a\"b".into()), "a\"b");
        check(Value::BoolValue(true), "true");
        check(Value::IntValue(-5), "-5");
        check(Value::BytesValue(b"\x00\xFF".to_vec()), "AP8=");
        for (number, expected) in [
            (1.0, "1"),
            (0.0, "0"),
            (1.5, "1.5"),
            (1e20, "100000000000000000000"),
            (1e21, "1e+21"),
            (1.5e-7, "1.5e-7"),
            (f64::NAN, "NaN"),
            (f64::NEG_INFINITY, "-Inf"),
        ] {
            check(Value::DoubleValue(number), expected);
        }
        assert_eq!(text(None), "");
        assert_eq!(text(Some(&AnyValue { value: None })), "");
    }

    #[test]
    fn what_nests_prints_as_json() {
        let array = ArrayValue { values: vec![any(Value::IntValue(1)), AnyValue { value: None }] };
        check(Value::ArrayValue(array.clone()), "[1,null]");
        let list = KeyValueList {
            values: vec![
                pair("b", Value::ArrayValue(array)),
                pair("a", Value::StringValue("<\n\u{1}é>".into())),
                pair("c", Value::DoubleValue(2.0)),
            ],
        };
        check(Value::KvlistValue(list), r#"{"a":"\u003c\n\u0001é\u003e","b":[1,null],"c":2}"#);
    }
}
