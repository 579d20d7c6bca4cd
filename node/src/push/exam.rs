//! Puts recorded pushes to the decoder: those that must be refused (`tests/bad_requests.rs`), and what real
//! Loki answered (`../shared/exam/http_cases.json` beside the repository, where that is present).

use std::path::Path;

use bytes::Bytes;
use serde_json::Value;

use super::bad_requests::BAD_REQUESTS;
use super::error::{ErrorShape, PushError};
use super::request::{Context, Endpoint, Headers, accept};
use super::stream_cache::StreamCache;
use crate::config::server::Tenancy;
use crate::limits::Limits;
use crate::tenant;

/// A whole ten minutes: the exam's `T`. The present is 15 minutes later.
const T: i64 = 1_700_000_400;
const NOW: i64 = (T + 900) * 1_000_000_000;

fn endpoint(path: &str) -> Endpoint {
    match path {
        "/loki/api/v1/push" => Endpoint::Loki,
        "/api/prom/push" => Endpoint::Prom,
        "/otlp/v1/logs" => Endpoint::Otlp,
        other => panic!("no push goes to {other}"),
    }
}

/// What a client is told: the refusal, or the complaints about a push that was otherwise stored.
fn push(endpoint: Endpoint, tenant: &str, headers: Headers<'_>, body: Vec<u8>) -> Result<(), PushError> {
    let limits = Limits { reject_old_samples: true, ..Limits::default() };
    let context = Context { tenant, limits: &limits, cache: &StreamCache::default(), now: NOW };
    let (_, outcome) = accept(endpoint, headers, &Bytes::from(body), &context)?;
    outcome.complaints.error().map_or(Ok(()), Err)
}

#[test]
fn bad_requests_are_refused_with_their_reason() {
    assert!(BAD_REQUESTS.len() >= 60);
    for request in BAD_REQUESTS {
        let some = |text: &'static str| Some(text).filter(|text| !text.is_empty());
        let headers = Headers {
            content_type: some(request.content_type),
            content_encoding: some(request.content_encoding),
            backfill_shard: None,
        };
        let body = match std::str::from_utf8(request.body) {
            Ok(text) => text.replace("{NOW}", &NOW.to_string()).into_bytes(),
            Err(_) => request.body.to_vec(),
        };
        let Err(error) = push(endpoint(request.path), "t", headers, body) else {
            panic!("taken: {request:?}")
        };
        assert_eq!(error.code.status(), request.status, "{request:?}: {error}");
        assert!(error.message.contains(request.text), "{request:?}: {error}");
    }
}

/// Replaces `${NS+n}`, `${S+n}`, `${RFC+n}`, `${NOWNS+n}` and `${REPEAT c n}`.
fn fill(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(start) = rest.find("${") {
        let end = start + rest[start..].find('}').unwrap();
        out.push_str(&rest[..start]);
        let inner = &rest[start + 2..end];
        let number = |text: &str| text.parse::<i64>().unwrap();
        if let Some(repeat) = inner.strip_prefix("REPEAT ") {
            let (what, times) = repeat.split_once(' ').unwrap();
            out.push_str(&what.repeat(times.parse().unwrap()));
        } else if let Some(n) = inner.strip_prefix("NOWNS") {
            out.push_str(&(NOW + number(n)).to_string());
        } else if let Some(n) = inner.strip_prefix("NS") {
            out.push_str(&(T * 1_000_000_000 + number(n)).to_string());
        } else if let Some(n) = inner.strip_prefix("RFC") {
            out.push_str(&jiff::Timestamp::from_second(T + number(n)).unwrap().to_string());
        } else {
            out.push_str(&(T + number(inner.strip_prefix('S').unwrap())).to_string());
        }
        rest = &rest[end + 1..];
    }
    out + rest
}

/// Masks what the exam masks: times, and runs of one character.
fn mask(text: &str) -> String {
    let times = regex::Regex::new(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?( ?\+0000 UTC|Z)").unwrap();
    let mut masked = times.replace_all(text, "<TIME>").into_owned();
    for c in ["a", "v", "x"] {
        let long = regex::Regex::new(&format!("{c}{{501,}}")).unwrap();
        masked = long.replace_all(&masked, format!("<REPEAT {c}>")).into_owned();
    }
    masked
}

fn encode(body: &str, encoding: Option<&str>) -> Vec<u8> {
    use std::io::Write;
    let level = flate2::Compression::fast();
    let mut out = Vec::new();
    let bytes = body.as_bytes();
    match encoding {
        None => out.extend_from_slice(bytes),
        Some("gzip") => flate2::write::GzEncoder::new(&mut out, level).write_all(bytes).unwrap(),
        Some("deflate") => flate2::write::DeflateEncoder::new(&mut out, level).write_all(bytes).unwrap(),
        Some("zlib") => flate2::write::ZlibEncoder::new(&mut out, level).write_all(bytes).unwrap(),
        Some(other) => panic!("no encoder for {other}"),
    }
    out
}

/// The tenant from the header, then the push: what the two scenarios exercise of this part.
fn answer(case: &Value) -> Result<(), PushError> {
    let header = |name: &str| case["headers"].get(name).and_then(Value::as_str);
    let tenant = tenant::tenant(Tenancy::Header, header("X-Scope-OrgID"))?;
    let headers = Headers {
        content_type: header("Content-Type"),
        content_encoding: header("Content-Encoding"),
        backfill_shard: header("X-Loki-Backfill-Shard"),
    };
    let body = encode(&fill(case["body"].as_str().unwrap_or_default()), case["body_encoding"].as_str());
    push(endpoint(case["path"].as_str().unwrap()), &tenant, headers, body)
}

#[test]
fn pushes_are_answered_as_loki_answered() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/exam/http_cases.json");
    let Ok(text) = std::fs::read_to_string(path) else { return };
    let cases: Vec<Value> = serde_json::from_str(&text).unwrap();
    let mut sat = 0;
    for case in &cases {
        let scenario = case["scenario"].as_str().unwrap();
        // How far an entry is behind its stream is for whoever knows the stream (`drop_late`).
        let posts = case["method"] == "POST" && case["body"].is_string() && case["name"] != "too far behind";
        if !posts || !(scenario == "push_json" || scenario == "auth") {
            continue;
        }
        sat += 1;
        let (expected, name) = (&case["expect"], &case["name"]);
        let Err(error) = answer(case) else {
            assert_eq!(expected["status"], 204, "{name}");
            continue;
        };
        let got = error.response(ErrorShape::Text);
        assert_eq!(expected["status"], got.status, "{name}: {error}");
        assert_eq!(expected["content_type"], got.content_type, "{name}");
        if case["compare"] != "status" {
            let text = String::from_utf8(got.body).unwrap();
            assert_eq!(expected["text"].as_str().unwrap().trim(), mask(&text).trim(), "{name}");
        }
    }
    assert!(sat >= 70, "{sat}");
}
