//! The whole way of a push through this module: from headers and a body to a validated batch.

use bytes::Bytes;
use grapevine_storage::stream::Labels;

use super::batch::PushBatch;
use super::content::{self, Encoding, Format};
use super::error::PushError;
use super::otlp::{self, OtlpFormat};
use super::stream_cache::{Naming, StreamCache};
use super::validate::{self, Outcome};
use super::wal::ClientBody;
use super::{json, protobuf};
use crate::limits::Limits;

/// The label that marks backfilled data, and the one that says which shard of a backfill it is.
const BACKFILL: [&str; 2] = ["__backfill__", "__backfill_shard__"];

/// Bytes of the header that names a backfill's shard.
const BACKFILL_SHARD_BYTES_MAX: usize = 128;

/// Where a push came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// `POST /loki/api/v1/push`.
    Loki,
    /// `POST /api/prom/push`.
    Prom,
    /// `POST /otlp/v1/logs`.
    Otlp,
}

/// The headers that matter; `None` where a header is absent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Headers<'a> {
    /// `Content-Type`.
    pub content_type: Option<&'a str>,
    /// `Content-Encoding`.
    pub content_encoding: Option<&'a str>,
    /// `X-Loki-Backfill-Shard`: the push is backfill, of the shard named.
    pub backfill_shard: Option<&'a str>,
}

/// On whose behalf, under which limits, and when.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    /// The tenant.
    pub tenant: &'a str,
    /// Its limits.
    pub limits: &'a Limits,
    /// The node's cache of label strings.
    pub cache: &'a StreamCache,
    /// Nanoseconds since 1970.
    pub now: i64,
}

impl<'a> Context<'a> {
    fn naming(&self) -> Naming<'a> {
        Naming { tenant: self.tenant, service_name_sources: &self.limits.discover_service_name }
    }
}

/// Unpacks, decodes and validates a push. Entries that are refused are in [`Outcome::complaints`]; what is
/// left is to be stored whatever those say.
///
/// # Errors
/// Nothing of the push is to be stored.
pub fn accept(
    endpoint: Endpoint,
    headers: Headers<'_>,
    body: &Bytes,
    context: &Context<'_>,
) -> Result<(PushBatch, Outcome), PushError> {
    let mut batch = match endpoint {
        Endpoint::Loki => loki(json::Shape::V1, headers, body, context)?,
        Endpoint::Prom => loki(json::Shape::V0, headers, body, context)?,
        Endpoint::Otlp => opentelemetry(headers, body, context)?,
    };
    mark_backfill(&mut batch, headers.backfill_shard, context.tenant)?;
    let outcome = validate::validate(&mut batch, context.tenant, context.limits, context.now)?;
    Ok((batch, outcome))
}

fn loki(
    shape: json::Shape,
    headers: Headers<'_>,
    body: &Bytes,
    context: &Context<'_>,
) -> Result<PushBatch, PushError> {
    let encoding = Encoding::of(headers.content_encoding)?;
    let format = Format::of(headers.content_type)?;
    let naming = context.naming();
    let unpacked = content::unpack(body, encoding, format)?;
    if format == Format::Json {
        return json::decode(unpacked, shape, naming, context.cache);
    }
    let mut batch = protobuf::decode(unpacked, naming, context.cache)?;
    if encoding == Encoding::Plain {
        let sources = naming.service_name_sources.to_vec();
        batch.replayable = Some(ClientBody { packed: body.clone(), sources });
    }
    Ok(batch)
}

fn opentelemetry(headers: Headers<'_>, body: &Bytes, context: &Context<'_>) -> Result<PushBatch, PushError> {
    let format = OtlpFormat::of(headers.content_type)?;
    let unpacked = otlp::unpack(body, headers.content_encoding)?;
    otlp::decode(&unpacked, format, &context.limits.otlp_config, context.naming(), context.now)
}

/// Adds the labels of a backfill, which only the header may set.
fn mark_backfill(batch: &mut PushBatch, shard: Option<&str>, tenant: &str) -> Result<(), PushError> {
    let reserved = |labels: &Labels| BACKFILL.iter().any(|name| labels.get(name).is_some());
    if batch.streams.iter().any(|stream| reserved(stream.labels())) {
        return Err(PushError::invalid(
            "streams must not contain the reserved labels __backfill__ or __backfill_shard__; set the X-Loki-Backfill-Shard header to mark a push as backfill data",
        ));
    }
    let Some(shard) = shard.filter(|shard| !shard.is_empty()) else { return Ok(()) };
    if shard.len() > BACKFILL_SHARD_BYTES_MAX {
        let text = format!("X-Loki-Backfill-Shard is too long: at most {BACKFILL_SHARD_BYTES_MAX} bytes");
        return Err(PushError::invalid(text));
    }
    let naming = Naming { tenant, service_name_sources: &[] };
    for stream in &mut batch.streams {
        let own = stream.named.labels.iter().map(|(name, value)| (name.into(), value.into()));
        let marks =
            BACKFILL.into_iter().zip(["true", shard]).map(|(name, value)| (name.into(), value.into()));
        let mut named = naming.stream(own.chain(marks).collect());
        named.duplicate.clone_from(&stream.named.duplicate);
        stream.named = named.into();
    }
    batch.replayable = None;
    Ok(())
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::{Context, Endpoint, Headers, accept};
    use crate::limits::Limits;
    use crate::push::content::pack_snappy;
    use crate::push::protobuf::write_entry;
    use crate::push::stream_cache::StreamCache;
    use crate::push::wire::write;

    const NOW: i64 = 1_700_000_000_000_000_000;

    fn run(
        endpoint: Endpoint,
        headers: Headers<'_>,
        body: &[u8],
        limits: &Limits,
    ) -> Result<(String, bool, u64), (u16, String)> {
        let context = Context { tenant: "t", limits, cache: &StreamCache::default(), now: NOW };
        match accept(endpoint, headers, &Bytes::copy_from_slice(body), &context) {
            Ok((batch, outcome)) => {
                let labels: Vec<_> =
                    batch.streams().iter().map(|stream| stream.labels().to_string()).collect();
                Ok((labels.join(";"), batch.keeps_client_body(), outcome.lines))
            }
            Err(error) => Err((error.code.status(), error.message)),
        }
    }

    fn snappy_push(labels: &str, lines: &[&[u8]]) -> Vec<u8> {
        let mut stream = Vec::new();
        write::bytes(&mut stream, 1, labels.as_bytes());
        for line in lines {
            write_entry(&mut stream, NOW, line, &[("k.k", "v")]);
        }
        let mut request = Vec::new();
        write::bytes(&mut request, 1, &stream);
        pack_snappy(&request)
    }

    const PROTOBUF: Headers<'_> = Headers {
        content_type: Some("application/x-protobuf"),
        content_encoding: None,
        backfill_shard: None,
    };
    const JSON: Headers<'_> = Headers { content_type: Some("application/json"), ..PROTOBUF };

    #[test]
    fn the_clients_body_is_kept_unless_something_was_changed() {
        let body = snappy_push(r#"{app="x"}"#, &[b"a", b"bbb"]);
        let labels = r#"{app="x", service_name="x"}"#.to_owned();
        let limits = Limits::default();
        assert_eq!(run(Endpoint::Loki, PROTOBUF, &body, &limits), Ok((labels.clone(), true, 2)));
        let short = Limits { max_line_size: crate::config::units::ByteSize(2), ..limits.clone() };
        assert_eq!(run(Endpoint::Loki, PROTOBUF, &body, &short), Ok((labels.clone(), false, 1)));
        let cut = Limits { max_line_size_truncate: true, ..short };
        assert_eq!(run(Endpoint::Loki, PROTOBUF, &body, &cut), Ok((labels.clone(), false, 2)));
        let apart = Limits { increment_duplicate_timestamp: true, ..limits };
        assert_eq!(run(Endpoint::Loki, PROTOBUF, &body, &apart), Ok((labels, false, 2)));
    }

    #[test]
    fn backfill_is_marked_by_the_header_alone() {
        let marked = Headers { backfill_shard: Some("s1"), ..PROTOBUF };
        let body = snappy_push(r#"{a="b"}"#, &[b"x"]);
        assert_eq!(
            run(Endpoint::Loki, marked, &body, &Limits::default()).unwrap().0,
            r#"{__backfill__="true", __backfill_shard__="s1", a="b", service_name="unknown_service"}"#
        );
        let reserved = snappy_push(r#"{a="b",__backfill__="true"}"#, &[b"x"]);
        assert_eq!(run(Endpoint::Loki, PROTOBUF, &reserved, &Limits::default()).unwrap_err().0, 400);
        let long = "s".repeat(129);
        let long = Headers { backfill_shard: Some(&long), ..PROTOBUF };
        assert_eq!(run(Endpoint::Loki, long, &body, &Limits::default()).unwrap_err().0, 400);
    }

    #[test]
    fn each_endpoint_takes_its_own_shape() {
        let v1 = br#"{"streams":[{"stream":{"a":"b"},"values":[["1","x"]]}]}"#;
        let v0 =
            br#"{"streams":[{"labels":"{a=\"b\"}","entries":[{"ts":"1970-01-01T00:00:00Z","line":"x"}]}]}"#;
        let otlp = br#"{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"body":{"stringValue":"x"}}]}]}]}"#;
        let lines =
            |endpoint, body: &[u8]| run(endpoint, JSON, body, &Limits::default()).map(|(_, _, lines)| lines);
        assert_eq!(lines(Endpoint::Loki, v1), Ok(1));
        assert_eq!(lines(Endpoint::Loki, v0), Ok(0));
        assert_eq!(lines(Endpoint::Prom, v0), Ok(1));
        assert_eq!(lines(Endpoint::Prom, v1), Ok(0));
        assert_eq!(lines(Endpoint::Otlp, otlp), Ok(1));
        assert_eq!(lines(Endpoint::Otlp, v1).unwrap_err().0, 422);
    }
}
