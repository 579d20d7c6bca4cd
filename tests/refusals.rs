//! Requests that must be refused, each through a socket: status, message, and no memory given away.

use std::io::Write;

use tempfile::TempDir;

use crate::bad_requests::{BAD_REQUESTS, BadRequest};
use crate::harness::answers::Lines;
use crate::harness::client::{Client, forward};
use crate::harness::http::{Answer, Request};
use crate::harness::node::{Node, Serve};
use crate::harness::push::{Form, Push};
use crate::harness::workload::START;

/// What all refusals together may add to a node's peak, bytes: a body may unpack to 128 MiB, and while its buffer
/// grows there is half of it again; twice that, since what is given back is not gone at once.
const GROWTH_BYTES_MAX: u64 = 384 << 20;
const HOUR: i64 = 3_600_000_000_000;
const RANGE: &str = "/loki/api/v1/query_range";
const LOKI: &str = "/loki/api/v1/push";
const JSON: &str = "application/json";
const PROTOBUF: &str = "application/x-protobuf";

fn node(dir: &TempDir) -> Node {
    let node = Serve::on(dir.path()).set("limits.reject_old_samples", "true");
    // What is refused is told to whoever runs the node, too.
    node.listing("lines were refused").start()
}

/// Runs requests and checks that the node's memory stays bounded and that it still answers.
fn bounded(node: &Node, requests: impl FnOnce()) {
    let (_, before) = node.memory();
    requests();
    let (_, after) = node.memory();
    let grown = after - before;
    assert!(grown < GROWTH_BYTES_MAX, "memory grew by {grown} bytes");
    assert_eq!(node.get("/ready").status, 200);
}

fn check(answer: &Answer, status: u16, text: &str, what: &dyn std::fmt::Debug) {
    assert_eq!(answer.status, status, "{what:?}: {}", answer.text());
    assert!(answer.text().contains(text), "{what:?}: {}", answer.text());
}

#[test]
fn bad_pushes_are_refused_through_a_socket_with_status_and_reason() {
    let dir = TempDir::new().unwrap();
    let node = node(&dir);
    bounded(&node, || {
        for bad in BAD_REQUESTS {
            check(&put(&node, bad), bad.status, bad.text, bad);
        }
    });
    let now = node.now_ns();
    let kept = node.lines(&forward(r#"{service_name=~".+"}"#, now - HOUR, now + HOUR));
    assert_eq!(kept, Lines::default(), "nothing of them is kept");
}

fn put(client: &Client, bad: &BadRequest) -> Answer {
    let now = client.now_ns().to_string();
    let body = match std::str::from_utf8(bad.body) {
        Ok(text) => text.replace("{NOW}", &now).into_bytes(),
        Err(_) => bad.body.to_vec(),
    };
    let request = Request::post(bad.path, body).header("Content-Type", bad.content_type);
    client.send(request.header("Content-Encoding", bad.content_encoding)).unwrap()
}

/// Bodies too large for a table of constants: status, part of the message.
#[test]
fn bombs_and_giants_are_refused_and_cost_no_memory() {
    let dir = TempDir::new().unwrap();
    let node = node(&dir);
    let post = |kind: &str, encoding: &str, body: Vec<u8>| {
        let request = Request::post(LOKI, body).header("Content-Type", kind);
        node.send(request.header("Content-Encoding", encoding)).unwrap()
    };
    let zeros = vec![b' '; 300 << 20];
    let now = node.now_ns();
    let stream = |labels: &str, line: &str| {
        format!(r#"{{"streams":[{{"stream":{{{labels}}},"values":[["{now}","{line}"]]}}]}}"#).into_bytes()
    };
    let many: Vec<String> = (0..40).map(|n| format!(r#""l{n}":"v""#)).collect();
    bounded(&node, || {
        check(&post(JSON, "gzip", gzip(&zeros)), 413, "", &"gzip bomb");
        check(&post(JSON, "gzip", gzip(&gzip(&zeros))), 400, "", &"gzip in gzip");
        check(&post(JSON, "deflate", deflate(&zeros)), 413, "", &"deflate bomb");
        let snappy = snap::raw::Encoder::new().compress_vec(&zeros).unwrap();
        check(&post(PROTOBUF, "", snappy), 413, "", &"snappy bomb");
        // Claims 4 GiB and brings nothing.
        check(&post(PROTOBUF, "", b"\xFF\xFF\xFF\xFF\x0F\x00".to_vec()), 400, "snappy", &"snappy claim");
        let claim = Request::post(LOKI, "").header("Content-Type", JSON).declare(1 << 40);
        check(&node.send(claim).unwrap(), 413, "", &"a terabyte is announced");
        let open = "[".repeat(4 << 20).into_bytes();
        check(&post(JSON, "", open), 400, "expected an object", &"deep nesting");
        let deep = format!(r#"{{"x":{}"#, "[".repeat(1 << 20)).into_bytes();
        check(&post(JSON, "", deep), 400, "", &"deep nesting under an unknown key");
        let long = "x".repeat(300 << 10);
        check(&post(JSON, "", stream(r#""a":"b""#, &long)), 400, "max entry size", &"long line");
        let value = format!(r#""a":"{}""#, "v".repeat(1 << 20));
        check(&post(JSON, "", stream(&value, "x")), 400, "label value too long", &"huge label value");
        let name = format!(r#""{}":"v""#, "n".repeat(1 << 20));
        check(&post(JSON, "", stream(&name, "x")), 400, "label name too long", &"huge label name");
        check(&post(JSON, "", stream(&many.join(","), "x")), 400, "label names", &"many labels");
    });
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn deflate(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// A question that is refused: path, parameters, status, part of the message.
type BadQuestion = (&'static str, &'static [(&'static str, &'static str)], u16, &'static str);

const ALL: (&str, &str) = ("query", r#"{a="b"}"#);

const BAD_QUESTIONS: &[BadQuestion] = &[
    // Queries that are none.
    (RANGE, &[], 400, "parse error"),
    (RANGE, &[("query", "")], 400, "parse error"),
    (RANGE, &[("query", "{")], 400, "parse error"),
    (RANGE, &[("query", "}")], 400, "parse error"),
    (RANGE, &[("query", "{}")], 400, "queries require at least one"),
    (RANGE, &[("query", r#"{a=~".*"}"#)], 400, "queries require at least one"),
    (RANGE, &[("query", r#"{a="b"#)], 400, "literal not terminated"),
    (RANGE, &[("query", r#"{a="b"} |= "#)], 400, "parse error"),
    (RANGE, &[("query", r#"{a="b"} | json |"#)], 400, "parse error"),
    (RANGE, &[("query", r#"((({a="b"})"#)], 400, "parse error"),
    (RANGE, &[("query", r#"rate({a="b"}[5m]"#)], 400, "parse error"),
    (RANGE, &[("query", r#"rate({a="b"})"#)], 400, "parse error"),
    (RANGE, &[("query", r#"rate({a="b"}[5parsecs])"#)], 400, "parse error"),
    (RANGE, &[("query", r#"sum by (rate({a="b"}[1m]))"#)], 400, "parse error"),
    (RANGE, &[("query", r#"topk(0, rate({a="b"}[1m]))"#)], 400, "parse error"),
    (RANGE, &[("query", r#"{a="b"} | label_format a=b,a=c"#)], 400, "multiple label name"),
    (RANGE, &[("query", r#"{a="b"} | line_format "{{.x""#)], 400, "template"),
    (RANGE, &[("query", r#"{a="b"} | pattern "no captures""#)], 400, "at least one capture"),
    (RANGE, &[("query", r#"{a="b"} | regexp "no names""#)], 400, "at least one named capture"),
    (RANGE, &[("query", r#"{a="b"} | unwrap x"#)], 400, "parse error"),
    (RANGE, &[("query", r#"{a="b"} |= ip("no address")"#)], 400, "ip"),
    // Regular expressions that explode.
    (RANGE, &[("query", r#"{a="b"} |~ "(""#)], 400, "error parsing regexp"),
    (RANGE, &[("query", r#"{a="b"} |~ "a**""#)], 400, "error parsing regexp"),
    (RANGE, &[("query", r#"{a=~"(?=x)"}"#)], 400, "error parsing regexp"),
    (RANGE, &[("query", r#"{a="b"} |~ "(((a{1000}){1000}){1000})""#)], 400, "error parsing regexp"),
    (RANGE, &[("query", r#"{a="b"} |~ "(\\pL{500}){500}""#)], 400, "error parsing regexp"),
    // Numbers out of bounds.
    (RANGE, &[ALL, ("limit", "0")], 400, "limit must be a positive value"),
    (RANGE, &[ALL, ("limit", "-5")], 400, "limit must be a positive value"),
    (RANGE, &[ALL, ("limit", "many")], 400, "invalid syntax"),
    (RANGE, &[ALL, ("limit", "1000001")], 400, "max entries limit per query exceeded"),
    (RANGE, &[ALL, ("limit", "99999999999")], 400, "max entries limit per query exceeded"),
    (RANGE, &[ALL, ("start", "2"), ("end", "1")], 400, "end timestamp must not be before"),
    (RANGE, &[ALL, ("start", "yesterday")], 400, "could not parse 'start' parameter"),
    (RANGE, &[ALL, ("end", "99999999999999999999")], 400, "could not parse 'end' parameter"),
    (RANGE, &[ALL, ("since", "1 parsec")], 400, "could not parse 'since' parameter"),
    (RANGE, &[ALL, ("start", "0"), ("end", "4000000000")], 400, "exceeds the limit"),
    (RANGE, &[ALL, ("step", "0")], 400, "zero or negative query resolution"),
    (RANGE, &[ALL, ("step", "-1")], 400, "zero or negative query resolution"),
    (RANGE, &[ALL, ("start", "0"), ("end", "86400"), ("step", "1ms")], 400, "11,000 points"),
    (RANGE, &[ALL, ("interval", "-1")], 400, "interval must be >= 0"),
    (RANGE, &[ALL, ("direction", "sideways")], 400, "invalid direction 'sideways'"),
    // Other endpoints.
    ("/loki/api/v1/query", &[ALL], 400, "log queries are not supported as an instant query type"),
    ("/loki/api/v1/query", &[("query", r#"rate({a="b"}[1m])"#), ("time", "noon")], 400, "'time' parameter"),
    ("/loki/api/v1/labels", &[("start", "x")], 400, "could not parse 'start' parameter"),
    ("/loki/api/v1/labels", &[("query", "{")], 400, "parse error"),
    ("/loki/api/v1/label/a/values", &[("query", r#"{a="b"} |= "c""#)], 400, "only label matchers"),
    ("/loki/api/v1/series", &[("match[]", "{a=}")], 400, "parse error"),
    ("/loki/api/v1/series", &[("match[]", r#"{a="b"#)], 400, "literal not terminated"),
    ("/loki/api/v1/format_query", &[("query", "{")], 400, "parse error"),
    ("/loki/api/v1/nowhere", &[], 404, ""),
    (LOKI, &[], 405, ""),
];

#[test]
fn bad_questions_are_refused_with_status_and_reason() {
    let dir = TempDir::new().unwrap();
    let node = node(&dir);
    assert!(BAD_QUESTIONS.len() + BAD_REQUESTS.len() >= 60);
    bounded(&node, || {
        let wrong: Vec<String> =
            BAD_QUESTIONS.iter().filter_map(|question| complaint(&node, question)).collect();
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    });
}

/// How an answer differs from what it should be.
fn complaint(client: &Client, (path, parameters, status, text): &BadQuestion) -> Option<String> {
    let answer = client.ask(path, parameters);
    let right = answer.status == *status && answer.text().contains(text);
    (!right).then(|| format!("{path} {parameters:?}: {}: {}", answer.status, answer.text()))
}

#[test]
fn questions_of_any_depth_and_length_are_refused_and_cost_no_memory() {
    let dir = TempDir::new().unwrap();
    let node = node(&dir);
    let post = |query: String| {
        let mut body = url::form_urlencoded::Serializer::new(String::new());
        let body = body.append_pair("query", &query).finish();
        let request = Request::post(RANGE, body).header("Content-Type", "application/x-www-form-urlencoded");
        node.send(request).unwrap()
    };
    let around = |open: &str, inner: &str, close: &str, n: usize| {
        format!("{}{inner}{}", open.repeat(n), close.repeat(n))
    };
    let rate = r#"rate({a="b"}[1m])"#;
    bounded(&node, || {
        check(&post(around("(", rate, ")", 100_000)), 400, "", &"parentheses");
        check(&post(around("sum(", rate, ")", 50_000)), 400, "", &"aggregations");
        check(&post(format!("{}{rate}", "-".repeat(100_000))), 400, "", &"signs");
        check(&post(vec![rate; 20_000].join("+")), 400, "", &"sums");
        check(&post(format!(r#"{{a="b"}}{}"#, r#" |= "x""#.repeat(50_000))), 400, "", &"filters");
        check(&post(format!(r#"{{a="{}"}}"#, "x".repeat(2 << 20))), 413, "", &"a form too large");
        let not_utf8 = Request::get(format!("{RANGE}?query=%7Ba%3D%22%FF%22%7D%20%7C%3D%20"));
        check(&node.send(not_utf8).unwrap(), 400, "parse error", &"not UTF-8");
    });
}

#[test]
fn a_regex_that_backtracking_would_die_of_is_answered() {
    let dir = TempDir::new().unwrap();
    let node = Serve::on(dir.path()).start();
    let line = format!("{}!", "a".repeat(20_000));
    node.push(Form::Json, &[Push::new([("service_name", "s")], vec![(START, line)])]);
    bounded(&node, || {
        for pattern in ["(a+)+$", "(a|aa)+$", "(.*)*x", "(a?){50}a{50}b"] {
            let query = format!(r#"{{service_name="s"}} |~ "{pattern}""#);
            let lines = node.lines(&forward(&query, START, START + 1));
            assert_eq!(lines.len(), 0, "{pattern}");
        }
    });
}
