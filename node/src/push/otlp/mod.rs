//! The OpenTelemetry push, `/otlp/v1/logs`, mapped onto streams, lines and structured metadata as Loki maps it.
//!
//! The generated messages take a hundred times the memory of the bytes they come from if a client wants them
//! to, so a request is never decoded as a whole: it is walked (`request`), and one resource, scope or record
//! at a time is decoded and mapped (`record`).

pub mod attributes;
mod record;
mod request;
mod value;

use bytes::Bytes;

use self::attributes::OtlpConfig;
use super::batch::{BatchBuilder, PushBatch};
use super::content;
use super::error::PushError;
use super::stream_cache::Naming;

/// The two formats of a request. Unlike the Loki push, the header must be exactly one of the two names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OtlpFormat {
    /// `application/x-protobuf`.
    Protobuf,
    /// `application/json`.
    Json,
}

impl OtlpFormat {
    /// Reads `Content-Type`.
    ///
    /// # Errors
    /// Any other type, and parameters.
    pub fn of(header: Option<&str>) -> Result<Self, PushError> {
        match header.unwrap_or_default() {
            "application/x-protobuf" => Ok(OtlpFormat::Protobuf),
            "application/json" => Ok(OtlpFormat::Json),
            other => Err(PushError::invalid(format!("content type: {other} is not supported"))),
        }
    }
}

/// Unpacks a body: `gzip`, `zstd`, `lz4` (frames), or nothing.
///
/// # Errors
/// Another encoding, a damaged body, or one above a limit.
pub fn unpack(body: &Bytes, content_encoding: Option<&str>) -> Result<Bytes, PushError> {
    content::check_packed(body)?;
    match content_encoding.unwrap_or_default() {
        "" => Ok(body.clone()),
        "gzip" => content::gzip(body),
        "zstd" => {
            let decoder = ruzstd::decoding::StreamingDecoder::new(&body[..])
                .map_err(|error| PushError::invalid(format!("zstd: {error}")))?;
            content::bounded(decoder, "zstd")
        }
        "lz4" => content::bounded(lz4_flex::frame::FrameDecoder::new(&body[..]), "lz4"),
        other => Err(PushError::invalid(format!(
            "unsupported content encoding {other}: only gzip, lz4 and zstd are supported"
        ))),
    }
}

/// Decodes an unpacked request. `now` is the time of records that carry none, in nanoseconds.
///
/// # Errors
/// The body is not an `ExportLogsServiceRequest`, an attribute's name cannot be made a label's, or a bound is
/// exceeded.
pub fn decode(
    body: &Bytes,
    format: OtlpFormat,
    config: &OtlpConfig,
    naming: Naming<'_>,
    now: i64,
) -> Result<PushBatch, PushError> {
    let mut mapping = record::Mapping::new(BatchBuilder::new(Bytes::new()), config, naming, now);
    match format {
        OtlpFormat::Protobuf => request::protobuf(body, &mut mapping)?,
        OtlpFormat::Json => request::json(body, &mut mapping)?,
    }
    mapping.finish()
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use bytes::Bytes;
    use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
    use proptest::prelude::*;
    use prost::Message;

    use super::attributes::OtlpConfig;
    use super::{OtlpFormat, decode, unpack};
    use crate::push::batch::PushBatch;
    use crate::push::error::PushError;
    use crate::push::service_name::DEFAULT_SOURCES;
    use crate::push::stream_cache::Naming;

    const NOW: i64 = 99;

    fn read(body: &[u8], format: OtlpFormat, config: &str) -> Result<PushBatch, PushError> {
        let config: OtlpConfig = toml::from_str(config).unwrap();
        let sources = DEFAULT_SOURCES.map(String::from);
        let naming = Naming { tenant: "t", service_name_sources: &sources };
        let mut batch = decode(&Bytes::copy_from_slice(body), format, &config, naming, NOW)?;
        for entry in 0..batch.entries.len() {
            batch.normalise_metadata(entry)?;
        }
        Ok(batch)
    }

    fn print(batch: &PushBatch) -> String {
        let mut out = Vec::new();
        for stream in batch.streams() {
            batch.for_each_entry(stream, |entry| {
                let pairs: String = entry.metadata.iter().map(|(n, v)| format!(" {n}={v}")).collect();
                let line = String::from_utf8_lossy(entry.line);
                out.push(format!("{} {} {line}{pairs}", stream.labels(), entry.timestamp));
            });
        }
        out.join("\n")
    }

    fn check(config: &str, resource: &str, scope: &str, records: &str, expected: &str) {
        let json = format!(
            r#"{{"resourceLogs":[{{"scopeLogs":[{{"logRecords":[{records}],"scope":{scope}}}],"resource":{resource}}}]}}"#
        );
        let batch =
            read(json.as_bytes(), OtlpFormat::Json, config).unwrap_or_else(|error| panic!("{json}: {error}"));
        assert_eq!(print(&batch), expected, "{json}");
        let request: ExportLogsServiceRequest = serde_json::from_str(&json).unwrap();
        let batch = read(&request.encode_to_vec(), OtlpFormat::Protobuf, config).unwrap();
        assert_eq!(print(&batch), expected, "{json}");
    }

    const EMPTY: &str = "{}";

    #[test]
    fn a_record_becomes_a_line_with_metadata() {
        check(
            "",
            r#"{"attributes":[{"key":"service.name","value":{"stringValue":"web"}},{"key":"host.ip","value":{"intValue":"5"}}]}"#,
            r#"{"name":"lib","version":"2","droppedAttributesCount":3,"attributes":[{"key":"a.b","value":{"boolValue":true}}]}"#,
            r#"{"timeUnixNano":"7","observedTimeUnixNano":"8","severityNumber":9,"severityText":"INFO","body":{"stringValue":"hello"},"attributes":[{"key":"m","value":{"kvlistValue":{"values":[{"key":"x.y","value":{"doubleValue":1.5}}]}}}],"droppedAttributesCount":1,"flags":1,"traceId":"000102030405060708090a0b0c0d0e0f","spanId":"0001020304050607","eventName":"e"}"#,
            r#"{service_name="web"} 7 hello a_b=true dropped_attributes_count=1 event_name=e flags=1 host_ip=5 m_x_y=1.5 observed_timestamp=8 scope_dropped_attributes_count=3 scope_name=lib scope_version=2 severity_number=9 severity_text=INFO span_id=0001020304050607 trace_id=000102030405060708090a0b0c0d0e0f"#,
        );
    }

    #[test]
    fn times_fall_back_to_the_observed_one_and_to_now() {
        let records = r#"{"observedTimeUnixNano":"8","body":{"stringValue":"a"}},{"body":{"intValue":"1"}},{"timeUnixNano":"3"}"#;
        check(
            "",
            EMPTY,
            EMPTY,
            records,
            "{service_name=\"unknown_service\"} 8 a\n{service_name=\"unknown_service\"} 99 1\n{service_name=\"unknown_service\"} 3 ",
        );
    }

    #[test]
    fn service_names_come_from_label_attributes() {
        let attribute =
            |key: &str| format!(r#"{{"attributes":[{{"key":"{key}","value":{{"stringValue":"x"}}}}]}}"#);
        let record = r#"{"timeUnixNano":"1"}"#;
        check("", &attribute("k8s.job.name"), EMPTY, record, r#"{k8s_job_name="x", service_name="x"} 1 "#);
        check(
            "",
            &attribute("cloud.region"),
            EMPTY,
            record,
            r#"{cloud_region="x", service_name="unknown_service"} 1 "#,
        );
        check("", &attribute("app"), EMPTY, record, r#"{service_name="unknown_service"} 1  app=x"#);
    }

    #[test]
    fn rules_drop_and_index() {
        let config = r#"
            resource_attributes.attributes_config = [{ action = "drop", attributes = ["secret"] }]
            log_attributes = [{ action = "index_label", attributes = ["env"] }]
            severity_text_as_label = true
        "#;
        let resource = r#"{"attributes":[{"key":"secret","value":{"stringValue":"x"}}]}"#;
        let record = |env: &str, at: u8| {
            format!(
                r#"{{"timeUnixNano":"{at}","severityText":"W","attributes":[{{"key":"env","value":{{"stringValue":"{env}"}}}}]}}"#
            )
        };
        let records = [record("a", 1), record("b", 2), record("a", 3)].join(",");
        let line = |env, at| {
            format!(
                r#"{{env="{env}", service_name="unknown_service", severity_text="W"}} {at}  severity_text=W"#
            )
        };
        let json = format!(
            r#"{{"resourceLogs":[{{"scopeLogs":[{{"logRecords":[{records}]}}],"resource":{resource}}}]}}"#
        );
        let batch = read(json.as_bytes(), OtlpFormat::Json, config).unwrap();
        assert_eq!(batch.streams().len(), 2);
        let printed = print(&batch);
        let mut lines: Vec<_> = printed.lines().collect();
        lines.sort_unstable();
        assert_eq!(lines, [line("a", 1), line("a", 3), line("b", 2)]);
    }

    #[test]
    fn what_is_no_request_is_refused() {
        let record =
            |record: &str| format!(r#"{{"resourceLogs":[{{"scopeLogs":[{{"logRecords":[{record}]}}]}}]}}"#);
        for (body, status) in [
            ("{}".to_owned(), 422),
            (record(""), 422),
            (String::new(), 400),
            ("[]".to_owned(), 400),
            ("{".to_owned(), 400),
            (r#"{"resourceLogs":{}}"#.to_owned(), 400),
            (record("5"), 400),
            (record(r#"{"timeUnixNano":"x"}"#), 400),
            (record(r#"{"traceId":"00"}"#), 400),
            (record(r#"{"traceId":"zz"}"#), 400),
            (record(r#"{"attributes":[{"key":"é","value":{"intValue":"1"}}]}"#), 400),
            (record(&format!(r#"{{"body":{}}}"#, "[".repeat(100_000))), 400),
        ] {
            let got = read(body.as_bytes(), OtlpFormat::Json, "").map_err(|error| error.code.status()).err();
            assert_eq!(got, Some(status), "{body:.200}");
        }
        for (body, status) in [
            (&b""[..], 422),
            (b"\x0A\x00", 422),
            (b"\xFF", 400),
            (b"\x0A\x05", 400),
            (b"\x0A\x02\x0A\x01", 400),
        ] {
            let got = read(body, OtlpFormat::Protobuf, "").map_err(|error| error.code.status()).err();
            assert_eq!(got, Some(status), "{body:x?}");
        }
    }

    #[test]
    fn only_the_exact_types_are_taken() {
        assert_eq!(OtlpFormat::of(Some("application/json")), Ok(OtlpFormat::Json));
        assert_eq!(OtlpFormat::of(Some("application/x-protobuf")), Ok(OtlpFormat::Protobuf));
        for other in [None, Some("application/json; charset=utf-8"), Some("text/plain")] {
            assert_eq!(OtlpFormat::of(other).map_err(|error| error.code.status()), Err(400));
        }
    }

    #[test]
    fn four_encodings_are_taken() {
        let text = b"text text text text";
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(text).unwrap();
        let mut lz4 = lz4_flex::frame::FrameEncoder::new(Vec::new());
        lz4.write_all(text).unwrap();
        let zstd = ruzstd::encoding::compress_to_vec(&text[..], ruzstd::encoding::CompressionLevel::Fastest);
        for (encoding, body) in [
            (None, text.to_vec()),
            (Some("gzip"), gzip.finish().unwrap()),
            (Some("lz4"), lz4.finish().unwrap()),
            (Some("zstd"), zstd),
        ] {
            assert_eq!(unpack(&body.into(), encoding).as_deref(), Ok(&text[..]), "{encoding:?}");
            if encoding.is_some() {
                assert_eq!(
                    unpack(&Bytes::from_static(b"text that is not packed"), encoding)
                        .unwrap_err()
                        .code
                        .status(),
                    400
                );
            }
        }
        assert_eq!(
            unpack(&Bytes::new(), Some("br")).unwrap_err().message,
            "unsupported content encoding br: only gzip, lz4 and zstd are supported"
        );
    }

    proptest! {
        #[test]
        fn any_body_is_read_or_refused(body in prop::collection::vec(any::<u8>(), 0..150)) {
            let _ = read(&body, OtlpFormat::Protobuf, "");
            let _ = read(&body, OtlpFormat::Json, "");
            for encoding in ["gzip", "zstd", "lz4"] {
                let _ = unpack(&Bytes::from(body.clone()), Some(encoding));
            }
        }

        #[test]
        fn a_damaged_request_is_read_or_refused(at in 0usize..200, to in any::<u8>()) {
            let json = r#"{"resourceLogs":[{"resource":{"attributes":[{"key":"service.name","value":{"stringValue":"w"}}]},"scopeLogs":[{"scope":{"name":"s"},"logRecords":[{"timeUnixNano":"1","body":{"arrayValue":{"values":[{"intValue":"1"}]}},"attributes":[{"key":"a","value":{"boolValue":true}}]}]}]}]}"#;
            let request: ExportLogsServiceRequest = serde_json::from_str(json).unwrap();
            for (mut body, format) in [(request.encode_to_vec(), OtlpFormat::Protobuf), (json.as_bytes().to_vec(), OtlpFormat::Json)] {
                if let Some(byte) = body.get_mut(at) {
                    *byte = to;
                }
                if let Ok(batch) = read(&body, format, "") {
                    print(&batch);
                }
            }
        }
    }
}
