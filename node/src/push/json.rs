//! The JSON push, both shapes, read as leniently as Loki reads it and no more so.
//!
//! ```text
//! v1  {"streams":[{"stream":{"app":"web"},"values":[["<ns>","<line>",{"k":"v"}]]}]}
//! v0  {"streams":[{"labels":"{app=\"web\"}","entries":[{"ts":"<RFC 3339>","line":"<line>"}]}]}
//! ```
//!
//! A hand-written reader, for the sake of those leniencies (a label value may be a number, a line may be
//! missing, nulls are skipped, whatever follows the object is ignored) and because it notes where a line lies
//! in the body instead of copying it; only strings with escapes are written anew.

mod reader;

use std::borrow::Cow;
use std::collections::BTreeMap;

use bytes::Bytes;

use self::reader::{Inside, Reader, Str};
use super::batch::{BatchBuilder, PushBatch, Span};
use super::error::PushError;
use super::labels::LabelString;
use super::stream_cache::{Naming, StreamCache};

/// Which of the two shapes an endpoint takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// `/loki/api/v1/push`.
    V1,
    /// `/api/prom/push`.
    V0,
}

/// Decodes a decompressed JSON body.
///
/// # Errors
/// The body is not of the shape, a label string cannot be read, or a bound of [`super::batch`] is exceeded.
pub fn decode(
    body: Bytes,
    shape: Shape,
    naming: Naming<'_>,
    cache: &StreamCache,
) -> Result<PushBatch, PushError> {
    let builder = BatchBuilder::new(body);
    let body = builder.body();
    let mut decoder = Decoder { json: Reader::new(&body), builder, naming, cache };
    if decoder.json.peek()?.is_none() {
        return Err(PushError::invalid("EOF"));
    }
    if !decoder.json.null()? {
        let mut object = decoder.json.open(b'{', "an object")?;
        while let Some(key) = decoder.key(&mut object)? {
            match &*key {
                b"streams" => decoder.streams(shape)?,
                _ => decoder.json.skip_value()?,
            }
        }
    }
    decoder.builder.finish()
}

struct Decoder<'a> {
    json: Reader<'a>,
    builder: BatchBuilder,
    naming: Naming<'a>,
    cache: &'a StreamCache,
}

impl<'a> Decoder<'a> {
    fn streams(&mut self, shape: Shape) -> Result<(), PushError> {
        if self.json.null()? {
            return Ok(());
        }
        let mut array = self.json.open(b'[', "an array of streams")?;
        while self.json.item(&mut array)? {
            let labels = match shape {
                Shape::V1 => self.stream_v1()?,
                Shape::V0 => self.stream_v0()?,
            };
            self.builder.stream(self.cache.stream(self.naming, &labels)?)?;
        }
        Ok(())
    }

    /// The next key of an object.
    fn key(&mut self, object: &mut Inside) -> Result<Option<Cow<'a, [u8]>>, PushError> {
        if !self.json.item(object)? {
            return Ok(None);
        }
        let key = self.json.string()?;
        self.json.expect(b':')?;
        Ok(Some(key.text()))
    }

    fn stream_v1(&mut self) -> Result<String, PushError> {
        let mut object = self.json.open(b'{', "a stream object")?;
        let mut labels = String::from("{}");
        while let Some(key) = self.key(&mut object)? {
            match &*key {
                b"stream" => labels = self.label_set()?,
                b"values" => self.values()?,
                _ => self.json.skip_value()?,
            }
        }
        Ok(labels)
    }

    /// The labels as the string that a protobuf push would carry: what is not a label name fails in one place.
    fn label_set(&mut self) -> Result<String, PushError> {
        let mut labels = BTreeMap::new();
        let mut object = self.json.open(b'{', "an object of labels")?;
        while let Some(key) = self.key(&mut object)? {
            let value = self.label_value()?;
            labels.insert(utf8(&key)?, utf8(&value)?);
        }
        let mut text = String::from("{");
        for (name, value) in &labels {
            let separator = if text.len() > 1 { ", " } else { "" };
            text.extend([separator, name, "=", &super::labels::quoted(value)]);
        }
        text.push('}');
        Ok(text)
    }

    /// A string, or whatever else stands there, as it is written.
    fn label_value(&mut self) -> Result<Cow<'a, [u8]>, PushError> {
        if self.json.peek()? == Some(b'"') {
            return Ok(self.json.string()?.text());
        }
        let start = self.json.at();
        self.json.skip_value()?;
        Ok(Cow::Borrowed(self.json.since(start)))
    }

    fn values(&mut self) -> Result<(), PushError> {
        if self.json.null()? {
            return Ok(());
        }
        let mut array = self.json.open(b'[', "an array of entries")?;
        while self.json.item(&mut array)? {
            if !self.json.null()? {
                self.entry_v1()?;
            }
        }
        Ok(())
    }

    fn entry_v1(&mut self) -> Result<(), PushError> {
        let mut array = self.json.open(b'[', "an entry `[\"<ns>\", \"<line>\"]`")?;
        let mark = self.builder.metadata_mark();
        let mut line = Span::default();
        if !self.json.item(&mut array)? {
            return Err(self.json.error("an entry needs a timestamp"));
        }
        let timestamp = self.nanoseconds()?;
        if self.json.item(&mut array)? {
            line = self.string_span()?;
            if self.json.item(&mut array)? {
                self.metadata()?;
                while self.json.item(&mut array)? {
                    self.json.skip_value()?;
                }
            }
        }
        self.builder.entry(timestamp, line, mark)
    }

    fn nanoseconds(&mut self) -> Result<i64, PushError> {
        let text = self.json.string()?.text();
        let digits = text.strip_prefix(b"-").unwrap_or(&text);
        let number = std::str::from_utf8(&text).ok().filter(|_| digits.iter().all(u8::is_ascii_digit));
        number.and_then(|number| number.parse().ok()).ok_or_else(|| {
            let text = String::from_utf8_lossy(&text);
            PushError::invalid(format!("timestamp `{text}` is not a string of nanoseconds since 1970"))
        })
    }

    fn metadata(&mut self) -> Result<(), PushError> {
        let mut object = self.json.open(b'{', "an object of structured metadata")?;
        while self.json.item(&mut object)? {
            let name = self.string_span()?;
            self.json.expect(b':')?;
            let value = self.string_span()?;
            let (name, value) = (self.builder.utf8(name)?, self.builder.utf8(value)?);
            self.builder.metadata(name, value)?;
        }
        Ok(())
    }

    fn stream_v0(&mut self) -> Result<String, PushError> {
        let mut object = self.json.open(b'{', "a stream object")?;
        let mut labels = LabelString(std::iter::empty()).to_string();
        while let Some(key) = self.key(&mut object)? {
            match &*key {
                b"labels" => labels = utf8(&self.json.string()?.text())?,
                b"entries" if !self.json.null()? => self.entries_v0()?,
                b"entries" => {}
                _ => self.json.skip_value()?,
            }
        }
        Ok(labels)
    }

    fn entries_v0(&mut self) -> Result<(), PushError> {
        let mut array = self.json.open(b'[', "an array of entries")?;
        while self.json.item(&mut array)? {
            let mark = self.builder.metadata_mark();
            let (mut timestamp, mut line) = (0, Span::default());
            let mut object = self.json.open(b'{', "an entry object")?;
            while let Some(key) = self.key(&mut object)? {
                match &*key {
                    b"ts" | b"timestamp" => timestamp = self.rfc3339()?,
                    b"line" => line = self.string_span()?,
                    _ => self.json.skip_value()?,
                }
            }
            self.builder.entry(timestamp, line, mark)?;
        }
        Ok(())
    }

    fn rfc3339(&mut self) -> Result<i64, PushError> {
        let text = self.json.string()?.text();
        let text = String::from_utf8_lossy(&text);
        let time: Option<jiff::Timestamp> = text.parse().ok();
        time.and_then(|time| i64::try_from(time.as_nanosecond()).ok()).ok_or_else(|| {
            PushError::invalid(format!("timestamp `{text}` is not a time such as `2026-01-31T12:00:00.5Z`"))
        })
    }

    fn string_span(&mut self) -> Result<Span, PushError> {
        match self.json.string()? {
            Str::Plain { start, end, .. } => Ok(Span::new(start, end)),
            Str::Escaped(text) => self.builder.add_text(&text),
        }
    }
}

fn utf8(text: &[u8]) -> Result<String, PushError> {
    match std::str::from_utf8(text) {
        Ok(text) => Ok(text.to_owned()),
        Err(error) => Err(PushError::invalid(format!("couldn't parse labels: {error}"))),
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;

    use super::{Shape, decode};
    use crate::push::batch::PushBatch;
    use crate::push::error::PushError;
    use crate::push::stream_cache::{Naming, StreamCache};

    fn read(body: &str, shape: Shape) -> Result<PushBatch, PushError> {
        let naming = Naming { tenant: "t", service_name_sources: &[] };
        decode(Bytes::copy_from_slice(body.as_bytes()), shape, naming, &StreamCache::default())
    }

    /// Prints a batch as `labels timestamp line key=value…`, one entry a line.
    fn print(batch: &PushBatch) -> String {
        let mut out = Vec::new();
        for stream in batch.streams() {
            batch.for_each_entry(stream, |entry| {
                let pairs: String = entry.metadata.iter().map(|(n, v)| format!(" {n}={v}")).collect();
                let line = String::from_utf8_lossy(entry.line);
                out.push(format!("{} {} {line:?}{pairs}", stream.labels(), entry.timestamp));
            });
        }
        out.join("\n")
    }

    fn check(body: &str, expected: &str) {
        let batch = read(body, Shape::V1).unwrap_or_else(|error| panic!("{body}: {error}"));
        assert_eq!(print(&batch), expected, "{body}");
    }

    fn values(values: &str) -> String {
        format!(r#"{{"streams":[{{"stream":{{"a":"b"}},"values":[{values}]}}]}}"#)
    }

    fn labels(labels: &str) -> String {
        format!(r#"{{"streams":[{{"values":[["1","x"]],"stream":{labels}}}]}}"#)
    }

    #[test]
    fn entries_are_read() {
        check(&values(r#"["1","x"]"#), r#"{a="b"} 1 "x""#);
        check(&values(r#"["-1","x",{"k":"v","l":""}]"#), r#"{a="b"} -1 "x" k=v l="#);
        check(&values(r#"["1"]"#), r#"{a="b"} 1 """#);
        check(&values(r#"["1","x",{},"more",[{}]]"#), r#"{a="b"} 1 "x""#);
        check(&values(r#"null,["1","x"],null"#), r#"{a="b"} 1 "x""#);
        check(&values(" [ \"1\" ,\n\"x\" ] "), r#"{a="b"} 1 "x""#);
        check(&values(""), "");
        check(
            &values(r#"["1","a\"b\\c\/\n\t\u00e9\ud83d\ude00\ud83d!"]"#),
            "{a=\"b\"} 1 \"a\\\"b\\\\c/\\n\\té😀\u{FFFD}!\"",
        );
    }

    #[test]
    fn labels_are_read_leniently() {
        check(&labels(r#"{"a":5,"b":true}"#), r#"{a="5", b="true"} 1 "x""#);
        check(&labels(r#"{"a":"b","a":"c"}"#), r#"{a="c"} 1 "x""#);
        check(&labels(r#"{"a":"","b":"c"}"#), r#"{b="c"} 1 "x""#);
        check(&labels("{}"), r#"{} 1 "x""#);
        check(r#"{"foo":[{"x":"]"}],"streams":[{"x":1,"values":[["1","x"]]}]} zzz"#, r#"{} 1 "x""#);
        check(r#"{"streams":[{"stream":{"a":"b"},"values":null}]}"#, "");
        check(&labels(r#"{"a":"日本 \"q\" \\ \n"}"#), r#"{a="日本 \"q\" \\ \n"} 1 "x""#);
    }

    #[test]
    fn the_old_shape_is_read() {
        let body = r#"{"streams":[{"labels":"{a=\"b\"}","entries":[{"ts":"1970-01-01T00:00:01.5Z","line":"x","y":1},{"line":"z"}]}]}"#;
        assert_eq!(print(&read(body, Shape::V0).unwrap()), "{a=\"b\"} 1500000000 \"x\"\n{a=\"b\"} 0 \"z\"");
        assert_eq!(print(&read(body, Shape::V1).unwrap()), "");
    }

    #[test]
    fn what_loki_refuses_is_refused() {
        for (body, status) in [
            ("{}", 422),
            ("null", 422),
            (r#"{"streams":[]}"#, 422),
            (r#"{"streams":null}"#, 422),
            ("", 400),
            ("  ", 400),
            ("hello", 400),
            ("[]", 400),
            (r#"{"streams""#, 400),
            (r#"{"streams":{}}"#, 400),
            (r#"{"streams":[{"stream":"{}"}]}"#, 400),
            (r#"{"streams":[{"stream":null}]}"#, 400),
            (r#"{"streams":[{"stream":{"a":"b"},"values":[["1","x"]"#, 400),
            (r#"{"streams":[{"stream":{"a":"b"},"values":{}}]}"#, 400),
            (&values(r#"[1,"x"]"#), 400),
            (&values(r#"["","x"]"#), 400),
            (&values(r#"["1.5","x"]"#), 400),
            (&values(r#"["+1","x"]"#), 400),
            (&values(r#"["99999999999999999999","x"]"#), 400),
            (&values(r#"["2024-01-01T00:00:00Z","x"]"#), 400),
            (&values("[]"), 400),
            (&values(r#"["1",5]"#), 400),
            (&values(r#"["1",null]"#), 400),
            (&values(r#"["1","x",{"k":5}]"#), 400),
            (&values(r#"["1","x",{"k":{}}]"#), 400),
            (&values(r#"["1","x","k"]"#), 400),
            (&values(r#"["1","x",null]"#), 400),
            (&values(r#"["1","x\q"]"#), 400),
            (&values(r#"["1","x\u12"]"#), 400),
            (&values(r#"{"ts":"1","line":"x"}"#), 400),
            (&labels(r#"{"a.b":"c"}"#), 400),
            (&labels(r#"{"é":"c"}"#), 400),
        ] {
            let got = read(body, Shape::V1).map_err(|error| error.code.status()).err();
            assert_eq!(got, Some(status), "{body}");
        }
        let old = |entry: &str| format!(r#"{{"streams":[{{"labels":"{{}}","entries":[{entry}]}}]}}"#);
        for entry in [r#"{"ts":"yesterday"}"#, r#"{"ts":1}"#, r#"{"line":1}"#, "[]"] {
            assert!(read(&old(entry), Shape::V0).is_err(), "{entry}");
        }
    }

    #[test]
    fn nesting_costs_no_stack() {
        let deep = format!(r#"{{"x":{}"#, "[".repeat(1 << 20));
        assert!(read(&deep, Shape::V1).is_err());
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(body in "[\\[\\]{}\",:0-9 \\\\untraslev\u{e9}]{0,60}") {
            let _ = read(&body, Shape::V1);
            let _ = read(&body, Shape::V0);
        }

        #[test]
        fn a_damaged_push_is_read_or_refused(at in 0usize..90, with in "[\\[\\]{}\",:\\\\\u{e9}x]?") {
            let mut body = values(r#"["1","x\u00e9\n",{"k":"v"}],["2","y"]"#);
            if body.is_char_boundary(at) && at < body.len() {
                body.replace_range(at..at + 1, &with);
            }
            if let Ok(batch) = read(&body, Shape::V1) {
                print(&batch);
            }
        }

        #[test]
        fn entries_survive_any_json_writer(line in any::<String>(), name in "[a-z]{1,4}", value in any::<String>()) {
            let entry = serde_json::json!(["7", line, {name.clone(): value}]).to_string();
            let batch = read(&values(&entry), Shape::V1).unwrap();
            batch.for_each_entry(&batch.streams()[0], |entry| {
                assert_eq!((entry.timestamp, entry.line), (7, line.as_bytes()));
                assert_eq!(entry.metadata, [(name.as_str(), value.as_str())]);
            });
        }
    }
}
