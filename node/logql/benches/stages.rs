//! How many lines each stage handles in a second: `cargo bench -p grapevine-logql --bench stages`.

use divan::Bencher;
use divan::counter::ItemsCount;
use grapevine_logql::ast::Stage;
use grapevine_logql::level::LevelSources;
use grapevine_logql::parse::parse_log;
use grapevine_logql::pipeline::{Options, Pipeline, Wanted};

/// Lines of one measurement.
const LINES: usize = 1000;

fn main() {
    divan::main();
}

/// Lines like those of a web server in JSON, of a service in logfmt, and of a server's access log.
fn lines(kind: &str) -> Vec<Vec<u8>> {
    let line = |i: usize| match kind {
        "json" => format!(
            r#"{{"ts":"2024-05-01T12:00:{:02}Z","level":"{}","msg":"request done","http":{{"method":"GET","path":"/api/v1/items/{i}","status":{}}},"duration":"{}ms","bytes":{},"tags":["a","b"],"trace_id":"{i:032x}"}}"#,
            i % 60,
            if i.is_multiple_of(10) { "error" } else { "info" },
            if i.is_multiple_of(10) { 500 } else { 200 },
            i % 700,
            i * 37
        ),
        "logfmt" => format!(
            r#"ts=2024-05-01T12:00:{:02}Z level={} caller=metrics.go:{i} msg="request \"done\" in time" method=GET path=/api/v1/items/{i} status={} duration={}ms bytes={}"#,
            i % 60,
            if i.is_multiple_of(10) { "error" } else { "info" },
            if i.is_multiple_of(10) { 500 } else { 200 },
            i % 700,
            i * 37
        ),
        "packed" => format!(r#"{{"pod":"p-{i}","_entry":"GET /api/v1/items/{i} took {}ms"}}"#, i % 700),
        _ => format!(
            "10.1.{}.{} - - [01/May/2024:12:00:{:02} +0000] \"GET /api/v1/items/{i} HTTP/1.1\" {} {} \x1b[32m\"curl\"\x1b[0m",
            i % 200,
            i % 250,
            i % 60,
            if i.is_multiple_of(10) { 500 } else { 200 },
            i * 37
        ),
    };
    (0..LINES).map(|i| line(i).into_bytes()).collect()
}

fn stages(query: &str) -> Vec<Stage> {
    parse_log(&format!("{{app=\"x\"}} {query}")).expect("the benchmark's queries parse").stages
}

fn run(bencher: Bencher, kind: &str, query: &str, wanted: Wanted, options: &Options) {
    let lines = lines(kind);
    let pipeline = Pipeline::compile(&stages(query), &wanted).expect("the benchmark's queries compile");
    let labels = [("app", "x"), ("cluster", "eu-1"), ("namespace", "shop")];
    let mut stream = pipeline.stream(&labels, options);
    let metadata = [("trace_id", "00112233445566778899aabbccddeeff")];
    bencher.counter(ItemsCount::new(LINES)).bench_local(|| {
        let mut hashes = 0u128;
        for (i, line) in lines.iter().enumerate() {
            if let Some(outcome) = stream.process(i as i64, line, &metadata) {
                hashes ^= outcome.labels.hash();
            }
        }
        hashes
    });
}

#[divan::bench(args = [
    ("access", "|= \"items/77\""),
    ("access", "|~ \"items/7+ \""),
    ("access", "|~ \"(?i)CURL\""),
    ("access", "|> \"<_> 500 <_>\""),
    ("access", "|= ip(\"10.1.7.0/24\")"),
    ("access", "| decolorize"),
    ("access", "| pattern \"<ip> - - [<_>] \\\"<method> <path> <_>\\\" <status> <size> <_>\""),
    ("access", "| regexp \"^(?P<ip>\\\\S+) .*\\\" (?P<status>\\\\d+) \""),
    ("json", "| json"),
    ("json", "| json status=\"http.status\", msg"),
    ("json", "| json | http_status >= 500"),
    ("json", "| json | level=\"error\""),
    ("json", "| json | label_format s=http_status | drop trace_id"),
    ("logfmt", "| logfmt"),
    ("logfmt", "| logfmt status, duration"),
    ("logfmt", "| logfmt | duration > 500ms"),
    ("logfmt", "| logfmt | keep level, status"),
    ("logfmt", "| logfmt | bytes > 10KB"),
    ("logfmt", "| logfmt | line_format \"{{.method}} {{.path}} {{.status}}\""),
    ("logfmt", "| logfmt | label_format took=\"{{.duration}}\""),
    ("access", "| pattern \"<ip> <_>\" | ip=ip(\"10.1.7.0/24\")"),
    ("packed", "| unpack"),
])]
fn all_labels(bencher: Bencher, (kind, query): (&str, &str)) {
    run(bencher, kind, query, Wanted::All, &Options::default());
}

#[divan::bench(args = [
    ("json", "| json"),
    ("logfmt", "| logfmt"),
    ("json", "| json | level=\"error\""),
])]
fn one_label(bencher: Bencher, (kind, query): (&str, &str)) {
    run(bencher, kind, query, Wanted::Only(["level".to_string()].into()), &Options::default());
}

#[divan::bench(args = ["access", "json", "logfmt"])]
fn detected_level(bencher: Bencher, kind: &str) {
    let options = Options { levels: Some(LevelSources::usual()), now: 0 };
    run(bencher, kind, "", Wanted::All, &options);
}
