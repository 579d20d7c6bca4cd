//! Pushes in each of the forms that clients send: encoded here by other means than the node decodes them.

use std::collections::BTreeMap;

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value::Value};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::resource::v1::Resource;
use prost::Message;
use serde_json::json;

use super::http::Request;

/// Labels by name.
pub type Labels = BTreeMap<String, String>;

/// Lines of one stream.
#[derive(Clone, Debug)]
pub struct Push {
    pub labels: Labels,
    pub lines: Vec<(i64, String)>,
}

/// How lines are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    Json,
    Protobuf,
    OpenTelemetry,
}

/// Label sets as maps.
pub fn labels<const N: usize>(pairs: [(&str, &str); N]) -> Labels {
    pairs.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

impl Push {
    pub fn new<const N: usize>(pairs: [(&str, &str); N], lines: Vec<(i64, String)>) -> Self {
        Push { labels: labels(pairs), lines }
    }
}

/// The request that pushes these streams.
pub fn request(form: Form, streams: &[Push]) -> Request {
    match form {
        Form::Json => {
            let body = json_body(streams).to_string();
            Request::post("/loki/api/v1/push", body).header("Content-Type", "application/json")
        }
        Form::Protobuf => Request::post("/loki/api/v1/push", protobuf(streams))
            .header("Content-Type", "application/x-protobuf"),
        Form::OpenTelemetry => Request::post("/otlp/v1/logs", opentelemetry(streams).encode_to_vec())
            .header("Content-Type", "application/x-protobuf"),
    }
}

fn json_body(streams: &[Push]) -> serde_json::Value {
    let stream = |push: &Push| {
        let values: Vec<_> = push.lines.iter().map(|(time, line)| json!([time.to_string(), line])).collect();
        json!({"stream": push.labels, "values": values})
    };
    json!({"streams": streams.iter().map(stream).collect::<Vec<_>>()})
}

/// Snappy over Loki's `logproto.PushRequest`.
pub fn protobuf(streams: &[Push]) -> Vec<u8> {
    let bytes = PushRequest { streams: streams.iter().map(stream).collect() }.encode_to_vec();
    snap::raw::Encoder::new().compress_vec(&bytes).unwrap()
}

fn stream(push: &Push) -> Stream {
    let pairs: Vec<String> = push.labels.iter().map(|(name, value)| format!("{name}={value:?}")).collect();
    let entry = |(time, line): &(i64, String)| Entry {
        timestamp: Some(Timestamp {
            seconds: time.div_euclid(1_000_000_000),
            nanos: time.rem_euclid(1_000_000_000) as i32,
        }),
        line: line.clone(),
    };
    let entries = push.lines.iter().map(entry).collect();
    Stream { labels: format!("{{{}}}", pairs.join(", ")), entries }
}

/// Labels travel as attributes of the resource; those that Loki makes labels of are named as OpenTelemetry
/// names them.
fn opentelemetry(streams: &[Push]) -> ExportLogsServiceRequest {
    let text = |text: &str| AnyValue { value: Some(Value::StringValue(text.to_owned())) };
    let resource = |push: &Push| ResourceLogs {
        resource: Some(Resource {
            attributes: push
                .labels
                .iter()
                .map(|(name, value)| KeyValue {
                    key: name.clone(),
                    value: Some(text(value)),
                    ..KeyValue::default()
                })
                .collect(),
            ..Resource::default()
        }),
        scope_logs: vec![ScopeLogs {
            log_records: push
                .lines
                .iter()
                .map(|(time, line)| LogRecord {
                    time_unix_nano: *time as u64,
                    body: Some(text(line)),
                    ..LogRecord::default()
                })
                .collect(),
            ..ScopeLogs::default()
        }],
        ..ResourceLogs::default()
    };
    ExportLogsServiceRequest { resource_logs: streams.iter().map(resource).collect() }
}

/// Loki's `push.proto`.
#[derive(Clone, PartialEq, prost::Message)]
struct PushRequest {
    #[prost(message, repeated, tag = "1")]
    streams: Vec<Stream>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Stream {
    #[prost(string, tag = "1")]
    labels: String,
    #[prost(message, repeated, tag = "2")]
    entries: Vec<Entry>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Entry {
    #[prost(message, optional, tag = "1")]
    timestamp: Option<Timestamp>,
    #[prost(string, tag = "2")]
    line: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Timestamp {
    #[prost(int64, tag = "1")]
    seconds: i64,
    #[prost(int32, tag = "2")]
    nanos: i32,
}
