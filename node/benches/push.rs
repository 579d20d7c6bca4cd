//! What taking a push in costs before it is stored: `cargo bench -p grapevine --bench push`.
//!
//! A body is 1 MiB of text in eight streams, packed with snappy. The goal is 1.1 CPU seconds a GB of text for
//! unpacking, decoding, validating and hashing each entry: 1.1 ms for one body.

use bytes::Bytes;
use divan::Bencher;
use divan::counter::BytesCount;
use grapevine::limits::Limits;
use grapevine::push::request::{Context, Endpoint, Headers, accept};
use grapevine::push::stream_cache::StreamCache;

const STREAMS: usize = 8;
const STREAM_BYTES: usize = 128 * 1024;
const NOW: i64 = 1_700_000_000_000_000_000;

fn main() {
    divan::main();
}

/// Lines like those of a few services, digits varied, as a JSON push.
fn json_body() -> Bytes {
    let streams: Vec<_> = (0..STREAMS)
        .map(|stream| {
            let mut values = Vec::new();
            let mut bytes = 0;
            while bytes < STREAM_BYTES {
                let n = values.len() * 7919 + stream;
                let line = format!(
                    "081109 20{:04} {} INFO dfs.DataNode$PacketResponder: PacketResponder {} for block blk_{} terminating",
                    n % 10_000,
                    n % 3000,
                    n % 3,
                    n as u64 * 0x9E37_79B9_7F4A_7C15
                );
                bytes += line.len();
                values.push(serde_json::json!([(NOW + n as i64).to_string(), line]));
            }
            serde_json::json!({"stream": {"app": format!("app-{stream}"), "env": "prod"}, "values": values})
        })
        .collect();
    serde_json::json!({ "streams": streams }).to_string().into()
}

fn headers(content_type: &str) -> Headers<'_> {
    Headers { content_type: Some(content_type), ..Headers::default() }
}

/// The same push as the snappy protobuf body that the write-ahead log would keep of it.
fn protobuf_body(context: &Context<'_>) -> Bytes {
    let (batch, _) =
        accept(Endpoint::Loki, headers("application/json"), &json_body(), context).expect("a push");
    batch.to_wal().body
}

fn run(bencher: Bencher<'_, '_>, content_type: &str, body: impl Fn(&Context<'_>) -> Bytes) {
    let (limits, cache) = (Limits::default(), StreamCache::default());
    let context = Context { tenant: "t", limits: &limits, cache: &cache, now: NOW };
    let body = body(&context);
    bencher.counter(BytesCount::new(STREAMS * STREAM_BYTES)).bench_local(|| {
        let (batch, _) = accept(Endpoint::Loki, headers(content_type), &body, &context).expect("a push");
        let mut digest = 0;
        for stream in batch.streams() {
            batch.for_each_entry(stream, |entry| digest ^= entry.hash().0);
        }
        digest
    });
}

#[divan::bench]
fn snappy_protobuf(bencher: Bencher<'_, '_>) {
    run(bencher, "application/x-protobuf", protobuf_body);
}

#[divan::bench]
fn json(bencher: Bencher<'_, '_>) {
    run(bencher, "application/json", |_| json_body());
}
