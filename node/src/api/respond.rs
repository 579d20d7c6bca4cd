//! Writes answers as Loki's JSON.

use std::collections::BTreeMap;
use std::io::Write;

use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use grapevine_logql::series::{QueryValue, SeriesLabels, format_value};
use serde::Serialize;
use serde_json::json;

use crate::exec::{Exec, Lane};
use crate::querier::answer::{Answer, LineLabels, LogLine, Stats, Value};

/// Smaller bodies cost more to compress than to send.
const GZIP_BYTES_MIN: usize = 1024;
/// Answers are compressed once and read once: speed before size.
const GZIP_LEVEL: i32 = 1;

/// A JSON body, compressed if the client takes it; the compressing is done off the runtime.
pub async fn json_bytes(exec: &Exec, headers: &HeaderMap, body: Vec<u8>) -> Response {
    let mut response_headers = HeaderMap::new();
    response_headers
        .insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json; charset=UTF-8"));
    if body.len() < GZIP_BYTES_MIN || !takes_gzip(headers) {
        return (StatusCode::OK, response_headers, body).into_response();
    }
    let packed = exec.run(Lane::Scan, move || gzip(&body)).await;
    response_headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    response_headers.insert(header::VARY, HeaderValue::from_static("Accept-Encoding"));
    (StatusCode::OK, response_headers, packed).into_response()
}

/// The same of something that can be serialised.
pub async fn json(exec: &Exec, headers: &HeaderMap, value: &impl Serialize) -> Response {
    let body = serde_json::to_vec(value).expect("maps with text keys can be written as JSON");
    json_bytes(exec, headers, body).await
}

fn takes_gzip(headers: &HeaderMap) -> bool {
    let values = headers.get_all(header::ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|coding| {
        let mut parts = coding.split(';').map(str::trim);
        let name = parts.next().unwrap_or_default();
        let refused =
            parts.any(|part| matches!(part.strip_prefix("q="), Some("0" | "0.0" | "0.00" | "0.000")));
        name.eq_ignore_ascii_case("gzip") && !refused
    })
}

fn gzip(body: &[u8]) -> Vec<u8> {
    let level = libdeflater::CompressionLvl::new(GZIP_LEVEL).expect("level 1 exists");
    let mut compressor = libdeflater::Compressor::new(level);
    let mut packed = vec![0; compressor.gzip_compress_bound(body.len())];
    let length = compressor.gzip_compress(body, &mut packed).expect("the buffer has the size asked for");
    packed.truncate(length);
    packed
}

/// The body of a query's answer. `categorize` keeps labels apart by where they come from; `next` names the next page
/// of an answer that comes in pages.
pub fn query_body(answer: &Answer, categorize: bool, next: Option<String>) -> Vec<u8> {
    let mut out = Vec::with_capacity(4096);
    out.extend_from_slice(br#"{"status":"success","data":{"resultType":""#);
    let kind = match &answer.value {
        Value::Lines(_) => "streams",
        Value::Numbers(QueryValue::Matrix(_)) => "matrix",
        Value::Numbers(QueryValue::Vector(_)) => "vector",
        Value::Numbers(QueryValue::Scalar { .. }) => "scalar",
    };
    out.extend_from_slice(kind.as_bytes());
    out.push(b'"');
    if categorize && kind == "streams" {
        out.extend_from_slice(br#","encodingFlags":["categorize-labels"]"#);
    }
    out.extend_from_slice(br#","result":"#);
    match &answer.value {
        Value::Lines(lines) => write_streams(&mut out, lines, categorize),
        Value::Numbers(numbers) => write_numbers(&mut out, numbers),
    }
    out.extend_from_slice(br#","stats":"#);
    write(&mut out, &stats(&answer.stats));
    if !answer.explain.is_empty() {
        out.extend_from_slice(br#","explain":"#);
        write(&mut out, &answer.explain);
    }
    if let Some(next) = next {
        out.extend_from_slice(br#","next":"#);
        write(&mut out, &next);
    }
    out.push(b'}');
    if !answer.warnings.is_empty() {
        out.extend_from_slice(br#","warnings":"#);
        write(&mut out, &answer.warnings);
    }
    out.push(b'}');
    out
}

/// Lines grouped by labels, each group in the order of the answer.
pub fn write_streams(out: &mut Vec<u8>, lines: &[LogLine], categorize: bool) {
    let mut groups: BTreeMap<Vec<(&str, &str)>, Vec<&LogLine>> = BTreeMap::new();
    for line in lines {
        let key = if categorize { borrowed(&line.labels.stream) } else { line.labels.merged() };
        groups.entry(key).or_default().push(line);
    }
    list(out, groups, |out, (labels, lines)| {
        out.extend_from_slice(br#"{"stream":"#);
        write_labels(out, &labels);
        out.extend_from_slice(br#","values":"#);
        list(out, lines, |out, line| write_line(out, line, categorize));
        out.push(b'}');
    });
}

fn write_line(out: &mut Vec<u8>, line: &LogLine, categorize: bool) {
    write!(out, "[\"{}\",", line.timestamp).expect("a Vec takes whatever is written to it");
    write(out, &String::from_utf8_lossy(&line.line));
    if categorize {
        out.push(b',');
        write_categories(out, &line.labels);
    }
    out.push(b']');
}

fn write_categories(out: &mut Vec<u8>, labels: &LineLabels) {
    out.push(b'{');
    let categories = [("structuredMetadata", &labels.metadata), ("parsed", &labels.parsed)];
    let mut first = true;
    for (name, pairs) in categories.iter().filter(|(_, pairs)| !pairs.is_empty()) {
        if !std::mem::take(&mut first) {
            out.push(b',');
        }
        write(out, name);
        out.push(b':');
        write_labels(out, &borrowed(pairs));
    }
    out.push(b'}');
}

fn write_numbers(out: &mut Vec<u8>, numbers: &QueryValue) {
    match numbers {
        QueryValue::Scalar { at, value } => {
            // Loki gives a scalar's time in milliseconds, unlike every other time.
            write!(out, "[{at},\"{}\"]", format_value(*value))
                .expect("a Vec takes whatever is written to it");
        }
        QueryValue::Vector(samples) => list(out, samples, |out, sample| {
            write_metric(out, &sample.labels);
            out.extend_from_slice(br#","value":"#);
            write_point(out, sample.at, sample.value);
            out.push(b'}');
        }),
        QueryValue::Matrix(series) => list(out, series, |out, series| {
            write_metric(out, &series.labels);
            out.extend_from_slice(br#","values":"#);
            list(out, &series.points, |out, (at, value)| write_point(out, *at, *value));
            out.push(b'}');
        }),
    }
}

fn write_metric(out: &mut Vec<u8>, labels: &SeriesLabels) {
    out.extend_from_slice(br#"{"metric":"#);
    let pairs: Vec<_> = labels.pairs().iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
    write_labels(out, &pairs);
}

/// Seconds with up to three decimals, as Prometheus writes them.
fn write_point(out: &mut Vec<u8>, at_ms: i64, value: f64) {
    let (seconds, ms) = (at_ms.div_euclid(1000), at_ms.rem_euclid(1000));
    let fraction = if ms == 0 { String::new() } else { format!(".{ms:03}").trim_end_matches('0').to_owned() };
    write!(out, "[{seconds}{fraction},\"{}\"]", format_value(value))
        .expect("a Vec takes whatever is written to it");
}

fn write_labels(out: &mut Vec<u8>, pairs: &[(&str, &str)]) {
    out.push(b'{');
    for (n, (name, value)) in pairs.iter().enumerate() {
        if n > 0 {
            out.push(b',');
        }
        write(out, name);
        out.push(b':');
        write(out, value);
    }
    out.push(b'}');
}

fn list<T>(out: &mut Vec<u8>, items: impl IntoIterator<Item = T>, mut item: impl FnMut(&mut Vec<u8>, T)) {
    out.push(b'[');
    for (n, one) in items.into_iter().enumerate() {
        if n > 0 {
            out.push(b',');
        }
        item(out, one);
    }
    out.push(b']');
}

fn write(out: &mut Vec<u8>, value: &(impl Serialize + ?Sized)) {
    serde_json::to_writer(out, value).expect("a Vec takes whatever is written to it");
}

fn borrowed(pairs: &[(String, String)]) -> Vec<(&str, &str)> {
    pairs.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect()
}

/// Loki's statistics, with Loki's names.
pub fn stats(stats: &Stats) -> serde_json::Value {
    let seconds = stats.elapsed.as_secs_f64();
    let per_second = |count: u64| if seconds > 0.0 { (count as f64 / seconds) as u64 } else { 0 };
    let chunk = |bytes: u64, lines: u64, compressed: u64| {
        json!({
            "decompressedBytes": bytes, "decompressedLines": lines, "compressedBytes": compressed,
            "totalDuplicates": stats.duplicates, "headChunkBytes": 0, "headChunkLines": 0,
        })
    };
    json!({
        "summary": {
            "bytesProcessedPerSecond": per_second(stats.text_bytes),
            "linesProcessedPerSecond": per_second(stats.lines),
            "totalBytesProcessed": stats.text_bytes,
            "totalLinesProcessed": stats.lines,
            "execTime": seconds,
            "queueTime": 0.0,
            "subqueries": 0,
            "totalEntriesReturned": stats.returned,
            "splits": 0,
            "shards": 0,
            "totalPostFilterLines": stats.lines_passed,
            "totalStructuredMetadataBytesProcessed": stats.metadata_bytes,
        },
        "querier": { "store": {
            "totalChunksRef": stats.chunks,
            "totalChunksDownloaded": stats.chunks - stats.chunks_skipped.min(stats.chunks),
            "chunksDownloadTime": 0,
            "chunkRefsFetchTime": 0,
            "chunk": chunk(
                stats.text_bytes.saturating_sub(stats.head_bytes),
                stats.lines.saturating_sub(stats.head_lines),
                stats.compressed_bytes,
            ),
        }},
        "ingester": {
            "totalReached": 1,
            "totalChunksMatched": 0,
            "totalBatches": 0,
            "totalLinesSent": stats.head_lines,
            "store": {
                "totalChunksRef": 0, "totalChunksDownloaded": 0, "chunksDownloadTime": 0,
                "chunkRefsFetchTime": 0, "chunk": chunk(stats.head_bytes, stats.head_lines, 0),
            },
        },
        "cache": {},
        "index": { "totalChunks": stats.chunks, "postFilterChunks": stats.chunks - stats.chunks_skipped.min(stats.chunks), "totalStreams": stats.streams },
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use axum::http::{HeaderMap, HeaderValue, header};
    use serde_json::{Value as Json, json};

    use super::{gzip, takes_gzip, write_point, write_streams};
    use crate::querier::answer::{LineLabels, LogLine};

    fn lines() -> Vec<LogLine> {
        let pairs = |name: &str, value: &str| vec![(name.to_owned(), value.to_owned())];
        let labels = |id: &str| {
            let (stream, metadata) = (pairs("app", "a"), pairs("id", id));
            Arc::new(LineLabels { stream, metadata, parsed: Vec::new() })
        };
        let line =
            |timestamp, text: &[u8], id| LogLine { timestamp, line: text.to_vec(), labels: labels(id) };
        vec![line(3, b"\"x\"\n", "1"), line(2, b"\xFF", "2"), line(1, b"z", "1")]
    }

    fn streams(categorize: bool) -> Json {
        let mut out = Vec::new();
        write_streams(&mut out, &lines(), categorize);
        serde_json::from_slice(&out).unwrap()
    }

    #[test]
    fn lines_are_grouped_by_all_labels_or_by_the_streams_alone() {
        let expected = json!([
            {"stream": {"app": "a", "id": "1"}, "values": [["3", "\"x\"\n"], ["1", "z"]]},
            {"stream": {"app": "a", "id": "2"}, "values": [["2", "\u{FFFD}"]]},
        ]);
        assert_eq!(streams(false), expected);
        let sm = |id: &str| json!({"structuredMetadata": {"id": id}});
        let expected = json!([{"stream": {"app": "a"}, "values": [
            ["3", "\"x\"\n", sm("1")], ["2", "\u{FFFD}", sm("2")], ["1", "z", sm("1")],
        ]}]);
        assert_eq!(streams(true), expected);
    }

    #[test]
    fn points_are_in_seconds_with_the_decimals_they_need() {
        let point = |at| {
            let mut out = Vec::new();
            write_point(&mut out, at, 0.5);
            String::from_utf8(out).unwrap()
        };
        assert_eq!(point(60_000), r#"[60,"0.5"]"#);
        assert_eq!(point(37_500), r#"[37.5,"0.5"]"#);
        assert_eq!(point(-1), r#"[-1.999,"0.5"]"#);
    }

    #[test]
    fn gzip_is_taken_unless_refused() {
        let takes = |value: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static(value));
            takes_gzip(&headers)
        };
        assert!(takes("gzip") && takes("br, gzip;q=0.5") && takes("GZIP"));
        assert!(!takes("br") && !takes("gzip;q=0") && !takes_gzip(&HeaderMap::new()));
    }

    #[test]
    fn what_is_packed_unpacks() {
        let mut text = Vec::new();
        std::io::Read::read_to_end(&mut flate2::read::GzDecoder::new(&gzip(b"hello")[..]), &mut text)
            .unwrap();
        assert_eq!(text, b"hello");
    }
}
