//! The protobuf push, `logproto.PushRequest`, walked by hand.
//!
//! A generated decoder allocates a string for each line and costs 0.5 to 0.9 CPU seconds per GB of text; this
//! walk notes where each line lies and costs 0.14. The messages, with the field numbers of Loki's
//! `pkg/push/push.proto`:
//!
//! ```text
//! PushRequest { streams = 1 }            Stream { labels = 1, entries = 2, hash = 3 }
//! Entry { timestamp = 1, line = 2, structuredMetadata = 3, parsed = 4 }
//! Timestamp { seconds = 1, nanos = 2 }   LabelPair { name = 1, value = 2 }
//! ```
//!
//! Fields may come in any order, the last of several counts, unknown ones are skipped.

use std::ops::Range;

use bytes::Bytes;

use super::batch::{BatchBuilder, PushBatch, Span};
use super::error::PushError;
use super::stream_cache::{Naming, StreamCache};
use super::wire::{Field, Value, Wire, write};

const NANOS_PER_SECOND: i64 = 1_000_000_000;
/// What an entry of a common log takes in a body. Room made for too many costs addresses, not memory.
const ENTRY_BYTES_USUAL: usize = 96;

/// Decodes the decompressed body of a push.
///
/// # Errors
/// The body is not a `PushRequest`, a label string cannot be read, or a bound of [`super::batch`] is exceeded.
pub fn decode(body: Bytes, naming: Naming<'_>, cache: &StreamCache) -> Result<PushBatch, PushError> {
    let mut builder = BatchBuilder::new(body);
    let body = builder.body();
    builder.expect_entries(body.len() / ENTRY_BYTES_USUAL);
    let mut wire = Wire::whole(&body);
    while let Some(field) = wire.field()? {
        match field {
            Field { number: 1, value: Value::Bytes(stream) } => {
                decode_stream(&body, stream, &mut builder, naming, cache)?;
            }
            Field { number: 1, .. } => return Err(wrong_type("streams")),
            _ => {}
        }
    }
    builder.finish()
}

fn decode_stream(
    body: &[u8],
    within: Range<usize>,
    builder: &mut BatchBuilder,
    naming: Naming<'_>,
    cache: &StreamCache,
) -> Result<(), PushError> {
    let mut wire = Wire::part(body, within);
    let mut labels = 0..0;
    while let Some(field) = wire.field()? {
        match field {
            Field { number: 1, value: Value::Bytes(text) } => labels = text,
            Field { number: 2, value: Value::Bytes(entry) } => decode_entry(body, entry, builder)?,
            Field { number: 1, .. } => return Err(wrong_type("labels")),
            Field { number: 2, .. } => return Err(wrong_type("entries")),
            _ => {}
        }
    }
    let labels = std::str::from_utf8(&body[labels])
        .map_err(|error| PushError::invalid(format!("couldn't parse labels: {error}")))?;
    builder.stream(cache.stream(naming, labels)?)
}

fn decode_entry(body: &[u8], within: Range<usize>, builder: &mut BatchBuilder) -> Result<(), PushError> {
    let end = within.end;
    if let Some((seconds, nanos, line)) = usual_entry(&body[within.clone()]) {
        let line = Span::new(end - line, end);
        return builder.entry(time(seconds, nanos)?, line, builder.metadata_mark());
    }
    let mut wire = Wire::part(body, within);
    let mut timestamp = 0;
    let mut line = Span::default();
    let mark = builder.metadata_mark();
    while let Some(field) = wire.field()? {
        match field {
            Field { number: 1, value: Value::Bytes(within) } => timestamp = decode_timestamp(body, within)?,
            Field { number: 2, value: Value::Bytes(text) } => line = Span::new(text.start, text.end),
            Field { number: 3, value: Value::Bytes(pair) } => {
                let (name, value) = decode_pair(body, pair)?;
                let (name, value) = (builder.utf8(name)?, builder.utf8(value)?);
                builder.metadata(name, value)?;
            }
            Field { number: 1, .. } => return Err(wrong_type("timestamp")),
            Field { number: 2, .. } => return Err(wrong_type("line")),
            Field { number: 3, .. } => return Err(wrong_type("structuredMetadata")),
            _ => {}
        }
    }
    builder.entry(timestamp, line, mark)
}

/// Seconds, nanoseconds and the length of the line of an entry that holds a timestamp and then a line, and nothing more,
/// each number in few bytes: as clients write it. Other entries, most of them valid, are none.
#[inline]
fn usual_entry(entry: &[u8]) -> Option<(i64, i32, usize)> {
    let [0x0A, length @ 0..=0x7F, rest @ ..] = entry else { return None };
    let (timestamp, rest) = rest.split_at_checked(usize::from(*length))?;
    let [0x12, rest @ ..] = rest else { return None };
    let (line_len, line) = short_varint(rest)?;
    let [0x08, timestamp @ ..] = timestamp else { return None };
    let (seconds, timestamp) = short_varint(timestamp)?;
    let (nanos, rest) = match timestamp {
        [] => (0, timestamp),
        [0x10, nanos @ ..] => short_varint(nanos)?,
        _ => return None,
    };
    let is_usual = line_len == line.len() as u64 && rest.is_empty();
    is_usual.then_some((seconds as i64, nanos as i32, line.len()))
}

/// A varint of at most five bytes.
#[inline]
fn short_varint(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let mut number = 0;
    for (n, byte) in bytes.iter().take(5).enumerate() {
        number |= u64::from(byte & 0x7F) << (7 * n);
        if *byte < 0x80 {
            return Some((number, &bytes[n + 1..]));
        }
    }
    None
}

fn decode_timestamp(body: &[u8], within: Range<usize>) -> Result<i64, PushError> {
    let mut wire = Wire::part(body, within);
    let (mut seconds, mut nanos) = (0, 0);
    while let Some(field) = wire.field()? {
        match field {
            Field { number: 1, value: Value::Number(number) } => seconds = number as i64,
            // An `int32` on the wire is sign-extended to 64 bits.
            Field { number: 2, value: Value::Number(number) } => nanos = number as i32,
            Field { number: 1 | 2, .. } => return Err(wrong_type("timestamp")),
            _ => {}
        }
    }
    time(seconds, nanos)
}

fn time(seconds: i64, nanos: i32) -> Result<i64, PushError> {
    let nanos = i64::from(nanos);
    let time = seconds.checked_mul(NANOS_PER_SECOND).and_then(|time| time.checked_add(nanos));
    time.ok_or_else(|| {
        PushError::invalid(format!("timestamp of `{seconds}` seconds is out of range: years 1678 to 2262"))
    })
}

fn decode_pair(body: &[u8], within: Range<usize>) -> Result<(Span, Span), PushError> {
    let mut wire = Wire::part(body, within);
    let (mut name, mut value) = (Span::default(), Span::default());
    while let Some(field) = wire.field()? {
        match field {
            Field { number: 1, value: Value::Bytes(text) } => name = Span::new(text.start, text.end),
            Field { number: 2, value: Value::Bytes(text) } => value = Span::new(text.start, text.end),
            Field { number: 1 | 2, .. } => return Err(wrong_type("structuredMetadata")),
            _ => {}
        }
    }
    Ok((name, value))
}

#[cold]
fn wrong_type(field: &str) -> PushError {
    PushError::invalid(format!("proto: wrong wire type for field `{field}`"))
}

/// Appends an entry as field 2 of a stream.
pub(super) fn write_entry(out: &mut Vec<u8>, timestamp: i64, line: &[u8], metadata: &[(&str, &str)]) {
    let seconds = timestamp.div_euclid(NANOS_PER_SECOND) as u64;
    let nanos = timestamp.rem_euclid(NANOS_PER_SECOND) as u64;
    let field = |len: usize| 1 + write::varint_len(len as u64) + len;
    let time_len = 2 + write::varint_len(seconds) + write::varint_len(nanos);
    let pair_len = |(name, value): &(&str, &str)| field(name.len()) + field(value.len());
    let pairs_len: usize = metadata.iter().map(|pair| field(pair_len(pair))).sum();
    out.push(2 << 3 | 2);
    write::varint(out, (field(time_len) + field(line.len()) + pairs_len) as u64);
    out.extend_from_slice(&[1 << 3 | 2, time_len as u8, 1 << 3]);
    write::varint(out, seconds);
    out.push(2 << 3);
    write::varint(out, nanos);
    write::bytes(out, 2, line);
    for pair in metadata {
        out.push(3 << 3 | 2);
        write::varint(out, pair_len(pair) as u64);
        write::bytes(out, 1, pair.0.as_bytes());
        write::bytes(out, 2, pair.1.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;

    use super::{decode, write_entry};
    use crate::push::batch::PushBatch;
    use crate::push::error::PushError;
    use crate::push::stream_cache::{Naming, StreamCache};
    use crate::push::wire::write;

    fn read(body: &[u8]) -> Result<PushBatch, PushError> {
        let naming = Naming { tenant: "t", service_name_sources: &[] };
        decode(Bytes::copy_from_slice(body), naming, &StreamCache::default())
    }

    type Entry = (i64, Vec<u8>, Vec<(String, String)>);

    fn entries(batch: &PushBatch) -> Vec<(String, Entry)> {
        let mut all = Vec::new();
        for stream in batch.streams() {
            batch.for_each_entry(stream, |entry| {
                let pairs = entry.metadata.iter().map(|&(n, v)| (n.to_owned(), v.to_owned())).collect();
                all.push((stream.labels().to_string(), (entry.timestamp, entry.line.to_vec(), pairs)));
            });
        }
        all
    }

    type Written<'a> = (i64, &'a [u8], &'a [(&'a str, &'a str)]);

    fn stream(labels: &str, entries: &[Written<'_>]) -> Vec<u8> {
        let mut stream = Vec::new();
        write::bytes(&mut stream, 1, labels.as_bytes());
        for &(timestamp, line, metadata) in entries {
            write_entry(&mut stream, timestamp, line, metadata);
        }
        let mut request = Vec::new();
        write::bytes(&mut request, 1, &stream);
        request
    }

    #[test]
    fn a_request_is_read_as_it_was_written() {
        let body = stream(r#"{a="b"}"#, &[(1, b"x", &[]), (-1, b"\xFF\n", &[("k", "v"), ("l", "")])]);
        let pair = |n: &str, v: &str| (n.to_owned(), v.to_owned());
        assert_eq!(
            entries(&read(&body).unwrap()),
            [
                (r#"{a="b"}"#.to_owned(), (1, b"x".to_vec(), vec![])),
                (r#"{a="b"}"#.to_owned(), (-1, b"\xFF\n".to_vec(), vec![pair("k", "v"), pair("l", "")])),
            ]
        );
    }

    #[test]
    fn unknown_fields_and_any_order_are_taken() {
        let mut inner = Vec::new();
        write_entry(&mut inner, 5, b"x", &[]);
        inner.extend_from_slice(&[3 << 3, 9, 7 << 3 | 5, 1, 2, 3, 4, 8 << 3 | 1, 1, 2, 3, 4, 5, 6, 7, 8]);
        write::bytes(&mut inner, 9, b"ignored");
        write::bytes(&mut inner, 1, br#"{a="b"}"#);
        let mut request = vec![2 << 3, 1];
        write::bytes(&mut request, 1, &inner);
        let batch = read(&request).unwrap();
        assert_eq!(entries(&batch), [(r#"{a="b"}"#.to_owned(), (5, b"x".to_vec(), vec![]))]);
    }

    #[test]
    fn broken_requests_are_refused() {
        for (body, status) in [
            (&b""[..], 422),
            (b"\x0A", 400),
            (b"\x0A\x05\x0A", 400),
            (b"\x08\x01", 400),
            (b"\x0B", 400),
            (b"\x00\x00", 400),
            (b"\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF", 400),
            (b"\x0A\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\x01", 400),
            (b"\x0A\x02\x08\x01", 400),
            (b"\x0A\x02\x10\x01", 400),
            (b"\x0A\x04\x12\x02\x08\x01", 400),
            (b"\x0A\x04\x12\x02\x10\x01", 400),
            (b"\x0A\x04\x12\x02\x18\x01", 400),
            (b"\x0A\x03\x0A\x01\xFF", 400),
            (b"\x0A\x03\x0A\x01{", 400),
        ] {
            assert_eq!(read(body).map_err(|error| error.code.status()).err(), Some(status), "{body:x?}");
        }
    }

    #[test]
    fn timestamps_beyond_64_bits_are_refused() {
        let mut time = vec![1 << 3];
        write::varint(&mut time, i64::MAX as u64);
        let mut entry = Vec::new();
        write::bytes(&mut entry, 1, &time);
        let mut stream = Vec::new();
        write::bytes(&mut stream, 2, &entry);
        let mut request = Vec::new();
        write::bytes(&mut request, 1, &stream);
        assert!(read(&request).unwrap_err().message.contains("out of range"));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(body in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = read(&body);
        }

        #[test]
        fn a_damaged_request_is_read_or_refused(at in 0usize..60, to in any::<u8>()) {
            let mut body = stream(r#"{a="b"}"#, &[(1_700_000_000_000_000_000, b"line", &[("k", "v")])]);
            if let Some(byte) = body.get_mut(at) {
                *byte = to;
            }
            if let Ok(batch) = read(&body) {
                entries(&batch);
            }
        }

        /// An unknown field in front makes any entry an unusual one.
        #[test]
        fn an_unusual_entry_is_read_as_the_usual_one(
            time: i64, line in prop::collection::vec(any::<u8>(), 0..300), at in 0usize..24, to: u8, is_damaged: bool
        ) {
            let mut entry = Vec::new();
            write_entry(&mut entry, time, &line, &[]);
            // Without the tag and the length in front.
            entry.drain(..2 + usize::from(entry[1] >= 0x80));
            if is_damaged && let Some(byte) = entry.get_mut(at) {
                *byte = to;
            }
            let of = |entry: &[u8]| {
                let mut stream = Vec::new();
                write::bytes(&mut stream, 2, entry);
                let mut request = Vec::new();
                write::bytes(&mut request, 1, &stream);
                read(&request).map(|batch| entries(&batch)).map_err(|error| error.message)
            };
            let unusual = [&[9 << 3, 1], &entry[..]].concat();
            prop_assert_eq!(of(&entry), of(&unusual));
        }

        #[test]
        fn entries_survive_the_wire(
            all in prop::collection::vec(
                (any::<i64>(), prop::collection::vec(any::<u8>(), 0..300), prop::collection::vec(("[a-z]{1,5}", "\\PC{0,9}"), 0..3)),
                1..20,
            )
        ) {
            let mut inner = Vec::new();
            write::bytes(&mut inner, 1, b"{a=\"b\"}");
            for (timestamp, line, pairs) in &all {
                let pairs: Vec<_> = pairs.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
                write_entry(&mut inner, *timestamp, line, &pairs);
            }
            let mut body = Vec::new();
            write::bytes(&mut body, 1, &inner);
            let got: Vec<Entry> = entries(&read(&body).unwrap()).into_iter().map(|(_, entry)| entry).collect();
            prop_assert_eq!(got, all);
        }
    }
}
