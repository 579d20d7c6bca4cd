//! Requests that a push endpoint must refuse, and how. Plain data: the library's own tests put them to the
//! decoder, and the tests of whole processes can put them to a socket.

/// One request that is refused under Loki's default limits (`reject_old_samples` on).
#[derive(Debug)]
pub struct BadRequest {
    /// The path it is posted to.
    pub path: &'static str,
    /// `Content-Type`; empty for none.
    pub content_type: &'static str,
    /// `Content-Encoding`; empty for none.
    pub content_encoding: &'static str,
    /// The body. `{NOW}` in a text stands for the present in nanoseconds.
    pub body: &'static [u8],
    /// The status of the answer.
    pub status: u16,
    /// A part of the answer's text.
    pub text: &'static str,
}

const LOKI: &str = "/loki/api/v1/push";
const PROM: &str = "/api/prom/push";
const OTLP: &str = "/otlp/v1/logs";
const JSON: &str = "application/json";
const PROTOBUF: &str = "application/x-protobuf";

const fn bad(
    path: &'static str,
    content_type: &'static str,
    body: &'static [u8],
    status: u16,
    text: &'static str,
) -> BadRequest {
    BadRequest { path, content_type, content_encoding: "", body, status, text }
}

const fn packed(
    path: &'static str,
    content_encoding: &'static str,
    body: &'static [u8],
    text: &'static str,
) -> BadRequest {
    BadRequest { path, content_type: JSON, content_encoding, body, status: 400, text }
}

const NO_STREAMS: &str = "error at least one valid stream is required for ingestion";

/// All of them.
pub const BAD_REQUESTS: &[BadRequest] = &[
    // Headers.
    bad(LOKI, "", b"{}", 400, "mime: no media type"),
    bad(LOKI, "application/", b"{}", 400, "mime: expected token after slash"),
    bad(LOKI, "a b/c", b"{}", 400, "mime: expected slash after first token"),
    bad(LOKI, "a/b/c", b"{}", 400, "mime: unexpected content after media subtype"),
    bad(LOKI, "application/json; charset", b"{}", 400, "mime: invalid media parameter"),
    bad(LOKI, "text/plain", b"{}", 400, "snappy: corrupt input"),
    packed(LOKI, "br", b"{}", "Content-Encoding \"br\" not supported"),
    packed(LOKI, "zstd", b"{}", "Content-Encoding \"zstd\" not supported"),
    packed(LOKI, "gzip, br", b"{}", "Content-Encoding \"gzip, br\" not supported"),
    packed(LOKI, "gzip", b"{}", "gzip: "),
    packed(LOKI, "gzip", b"\x1F\x8B\x08\0\0\0\0\0\0\xFF", "gzip: "),
    packed(LOKI, "deflate", b"\x78\x9C\x03\0\0\0\0\x01", "flate: "),
    // JSON that is none, or of another shape.
    bad(LOKI, JSON, b"", 400, "EOF"),
    bad(LOKI, JSON, b" \n", 400, "EOF"),
    bad(LOKI, JSON, b"hello", 400, "expected an object"),
    bad(LOKI, JSON, b"[]", 400, "expected an object"),
    bad(LOKI, JSON, b"5", 400, "expected an object"),
    bad(LOKI, JSON, b"{", 400, "expected `,` or `}`"),
    bad(LOKI, JSON, b"{\"streams\"", 400, "expected `:`"),
    bad(LOKI, JSON, b"{\"streams\":[", 400, "expected `,` or `]`"),
    bad(LOKI, JSON, b"{\"streams\":{}}", 400, "expected an array of streams"),
    bad(LOKI, JSON, b"{\"streams\":[5]}", 400, "expected a stream object"),
    bad(LOKI, JSON, br#"{"streams":[{"stream":"{a=\"b\"}"}]}"#, 400, "expected an object of labels"),
    bad(LOKI, JSON, br#"{"streams":[{"stream":null}]}"#, 400, "expected an object of labels"),
    bad(LOKI, JSON, br#"{"streams":[{"stream":{"a":"b}]}"#, 400, "a string does not end"),
    bad(LOKI, JSON, br#"{"streams":[{"stream":{"a":"\x"}}]}"#, 400, "unknown escape"),
    bad(LOKI, JSON, br#"{"streams":[{"stream":{"a":"\u00g0"}}]}"#, 400, "expected four hex digits"),
    bad(LOKI, JSON, br#"{"streams":[{"values":{}}]}"#, 400, "expected an array of entries"),
    bad(LOKI, JSON, b"{}", 422, NO_STREAMS),
    bad(LOKI, JSON, b"null", 422, NO_STREAMS),
    bad(LOKI, JSON, br#"{"streams":[]}"#, 422, NO_STREAMS),
    bad(LOKI, JSON, br#"{"streams":null}"#, 422, NO_STREAMS),
    // Entries.
    bad(LOKI, JSON, br#"{"streams":[{"values":[{"ts":"1"}]}]}"#, 400, "expected an entry"),
    bad(LOKI, JSON, br#"{"streams":[{"values":[[]]}]}"#, 400, "an entry needs a timestamp"),
    bad(LOKI, JSON, br#"{"streams":[{"values":[[1,"x"]]}]}"#, 400, "expected a string"),
    bad(LOKI, JSON, br#"{"streams":[{"values":[["","x"]]}]}"#, 400, "timestamp `` is not"),
    bad(LOKI, JSON, br#"{"streams":[{"values":[["1.5","x"]]}]}"#, 400, "timestamp `1.5` is not"),
    bad(
        LOKI,
        JSON,
        br#"{"streams":[{"values":[["2024-01-01T00:00:00Z","x"]]}]}"#,
        400,
        "is not a string of nanoseconds",
    ),
    bad(
        LOKI,
        JSON,
        br#"{"streams":[{"values":[["99999999999999999999","x"]]}]}"#,
        400,
        "is not a string of nanoseconds",
    ),
    bad(LOKI, JSON, br#"{"streams":[{"values":[["1",5]]}]}"#, 400, "expected a string"),
    bad(LOKI, JSON, br#"{"streams":[{"values":[["1",null]]}]}"#, 400, "expected a string"),
    bad(
        LOKI,
        JSON,
        br#"{"streams":[{"values":[["1","x","k"]]}]}"#,
        400,
        "expected an object of structured metadata",
    ),
    bad(
        LOKI,
        JSON,
        br#"{"streams":[{"values":[["1","x",null]]}]}"#,
        400,
        "expected an object of structured metadata",
    ),
    bad(LOKI, JSON, br#"{"streams":[{"values":[["1","x",{"k":5}]]}]}"#, 400, "expected a string"),
    bad(LOKI, JSON, br#"{"streams":[{"values":[["1","x",{"k":{}}]]}]}"#, 400, "expected a string"),
    bad(
        LOKI,
        JSON,
        br#"{"streams":[{"values":[["1","x"]]}]}"#,
        400,
        "has timestamp too old: 1970-01-01T00:00:00Z",
    ),
    bad(
        LOKI,
        JSON,
        br#"{"streams":[{"values":[["9000000000000000000","x"]]}]}"#,
        400,
        "has timestamp too new: 2255-03-14T16:00:00Z",
    ),
    bad(
        LOKI,
        JSON,
        r#"{"streams":[{"values":[["{NOW}","x",{"é":"1"}]]}]}"#.as_bytes(),
        500,
        "resulted in invalid name \"_\"",
    ),
    bad(LOKI, JSON, br#"{"streams":[{"values":[["{NOW}","x",{"":"1"}]]}]}"#, 500, "label name is empty"),
    // Labels.
    bad(
        LOKI,
        JSON,
        br#"{"streams":[{"stream":{"a.b":"c"}}]}"#,
        400,
        "couldn't parse labels: 1:3: parse error: unexpected character inside braces: '.'",
    ),
    bad(
        LOKI,
        JSON,
        br#"{"streams":[{"stream":{"1a":"c"}}]}"#,
        400,
        "couldn't parse labels: 1:2: parse error: unexpected character inside braces: '1'",
    ),
    bad(
        LOKI,
        JSON,
        br#"{"streams":[{"stream":{"":"c"}}]}"#,
        400,
        "couldn't parse labels: 1:2: parse error: unexpected character inside braces: '='",
    ),
    bad(
        LOKI,
        JSON,
        br#"{"streams":[{"stream":{"__backfill__":"true"},"values":[["{NOW}","x"]]}]}"#,
        400,
        "must not contain the reserved labels",
    ),
    bad(
        PROM,
        JSON,
        br#"{"streams":[{"labels":"{a","entries":[]}]}"#,
        400,
        "couldn't parse labels: 1:3: parse error",
    ),
    bad(PROM, JSON, br#"{"streams":[{"labels":5}]}"#, 400, "expected a string"),
    bad(
        PROM,
        JSON,
        br#"{"streams":[{"labels":"{}","entries":[["1","x"]]}]}"#,
        400,
        "expected an entry object",
    ),
    bad(
        PROM,
        JSON,
        br#"{"streams":[{"labels":"{}","entries":[{"ts":"yesterday"}]}]}"#,
        400,
        "timestamp `yesterday` is not a time",
    ),
    // Protobuf; a snappy block begins with its unpacked length.
    bad(LOKI, PROTOBUF, b"", 400, "snappy: corrupt input"),
    bad(LOKI, PROTOBUF, b"\x00", 422, NO_STREAMS),
    bad(LOKI, PROTOBUF, b"\x80\x80\x80\x40\x00\x00", 400, "snappy: corrupt input"),
    bad(LOKI, PROTOBUF, b"\xFF\xFF\xFF\xFF\xFF", 400, "snappy: corrupt input"),
    bad(LOKI, PROTOBUF, b"\x01\x00\x0A", 400, "proto: unexpected end of message"),
    bad(LOKI, PROTOBUF, b"\x02\x04\x0A\x05", 400, "proto: unexpected end of message"),
    bad(LOKI, PROTOBUF, b"\x02\x04\x08\x01", 400, "proto: wrong wire type for field `streams`"),
    bad(LOKI, PROTOBUF, b"\x01\x00\x0B", 400, "proto: unsupported wire type `3`"),
    bad(LOKI, PROTOBUF, b"\x02\x04\x00\x00", 400, "proto: illegal field number `0`"),
    bad(LOKI, PROTOBUF, b"\x04\x0C\x0A\x02\x08\x01", 400, "proto: wrong wire type for field `labels`"),
    bad(LOKI, PROTOBUF, b"\x05\x10\x0A\x03\x0A\x01{", 400, "couldn't parse labels"),
    bad(LOKI, PROTOBUF, b"\x05\x10\x0A\x03\x0A\x01\xFF", 400, "couldn't parse labels"),
    // OpenTelemetry.
    bad(OTLP, "", b"{}", 400, "is not supported"),
    bad(
        OTLP,
        "application/json; charset=utf-8",
        b"{}",
        400,
        "content type: application/json; charset=utf-8 is not supported",
    ),
    packed(OTLP, "br", b"{}", "unsupported content encoding br: only gzip, lz4 and zstd are supported"),
    packed(OTLP, "gzip", b"{}", "gzip: "),
    packed(OTLP, "zstd", b"no zstandard frame", "zstd: "),
    packed(OTLP, "lz4", b"no frame of lz4", "lz4: "),
    bad(OTLP, JSON, b"", 400, "invalid JSON"),
    bad(OTLP, JSON, b"[]", 400, "invalid JSON: expected an object"),
    bad(OTLP, JSON, b"{}", 422, NO_STREAMS),
    bad(OTLP, JSON, br#"{"resourceLogs":{}}"#, 400, "invalid JSON"),
    bad(
        OTLP,
        JSON,
        br#"{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"traceId":"00"}]}]}]}"#,
        400,
        "invalid length for TraceID",
    ),
    bad(
        OTLP,
        JSON,
        br#"{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"timeUnixNano":"1"}]}]}]}"#,
        400,
        "has timestamp too old",
    ),
    bad(OTLP, PROTOBUF, b"", 422, NO_STREAMS),
    bad(OTLP, PROTOBUF, b"\xFF", 400, "proto: "),
    bad(OTLP, PROTOBUF, b"\x0A\x02\x0A\x01", 400, "proto: "),
];
