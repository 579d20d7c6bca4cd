//! A line that is dropped allocates nothing, whatever stage drops it.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use grapevine_logql::level::LevelSources;
use grapevine_logql::parse::parse_log;
use grapevine_logql::pipeline::{Options, Pipeline, Wanted};

thread_local! {
    /// How often this thread has allocated: the test harness has threads of its own, and they allocate when they like.
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

/// Counts what each thread allocates.
struct Counting;

// SAFETY: everything is handed on to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: the caller's promises are those that the system's allocator asks for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as above; all memory came from the system's allocator.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: as above.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

const LINES: usize = 200;

fn lines(kind: &str) -> Vec<Vec<u8>> {
    let line = |i: usize| match kind {
        "json" => format!(
            r#"{{"ts":"2024-05-01T12:00:{:02}Z","level":"info","msg":"it \"went\" well","http":{{"path":"/items/{i}","status":200}},"took":"{}ms","size":"{i}KB","ip":"10.0.0.1"}}"#,
            i % 60,
            i % 90
        ),
        "logfmt" => format!(
            r#"ts=2024-05-01T12:00:{:02}Z level=info msg="it \"went\" well" path=/items/{i} status=200 took={}ms size={i}KB ip=10.0.0.1"#,
            i % 60,
            i % 90
        ),
        "packed" => format!(r#"{{"pod":"p-{i}","_entry":"GET /items/{i} took {}ms"}}"#, i % 90),
        _ => format!("10.0.0.1 - \"GET /items/{i} HTTP/1.1\" 200 {} \x1b[32mcurl\x1b[0m", i * 37),
    };
    (0..LINES).map(|i| line(i).into_bytes()).collect()
}

#[test]
fn a_line_that_is_dropped_allocates_nothing_whatever_drops_it() {
    for (kind, stages) in [
        ("access", r#"|= "nowhere""#),
        ("access", r#"!= "GET""#),
        ("access", r#"|~ "items/[a-z]+""#),
        ("access", r#"|~ "(?i)NOWHERE|ELSEWHERE""#),
        ("access", r#"!~ "items/[0-9]+""#),
        ("access", r#"|> "<_> 500 <_>""#),
        ("access", r#"!> "<_> 200 <_>""#),
        ("access", r#"|= ip("192.168.0.0/16")"#),
        ("access", r#"|= "a" or "nowhere" |= "nowhere""#),
        ("access", r#"| decolorize | app="y""#),
        ("access", r#"| pattern "<ip> - <_> <path> <_> <status> <size> <_>" | path="x""#),
        ("access", r#"| regexp "(?P<ip>\\S+) .* (?P<status>\\d+) " | status="500""#),
        ("json", r#"| json | level="error""#),
        ("json", r#"| json | http_status >= 500"#),
        ("json", r#"| json | took > 1h"#),
        ("json", r#"| json | size > 1GB"#),
        ("json", r#"| json | ip=ip("192.168.0.0/16")"#),
        ("json", r#"| json | msg=~"it .* badly""#),
        ("json", r#"| json status="http.status" | status="500""#),
        ("json", r#"| json | level="error" or http_status >= 500 and took > 1h"#),
        ("json", r#"| json | label_format s=http_status | s="500""#),
        ("json", r#"| json | drop level | level="info""#),
        ("json", r#"| json | keep level | http_status="200""#),
        ("logfmt", r#"| logfmt | level="error""#),
        ("logfmt", r#"| logfmt | status >= 500 | took > 1h"#),
        ("logfmt", r#"| logfmt status, took | status > 500"#),
        ("logfmt", r#"| logfmt --strict --keep-empty | path="/""#),
        ("logfmt", r#"| logfmt | line_format "{{.msg}} {{.took}}" |= "nowhere""#),
        ("logfmt", r#"| logfmt | label_format t="{{.took}}" | t="x""#),
        ("packed", r#"| unpack | pod="x""#),
        ("packed", r#"| unpack |= "POST""#),
        ("access", r#"| trace_id="x""#),
        ("access", r#"| detected_level="error""#),
        ("json", r#"| detected_level="error""#),
        ("logfmt", r#"| detected_level="error""#),
        ("logfmt", r#"| logfmt | drop path | keep level | detected_level="error""#),
    ] {
        let lines = lines(kind);
        let log = parse_log(&format!("{{app=\"x\"}} {stages}")).unwrap();
        let pipeline = Pipeline::compile(&log.stages, &Wanted::All).unwrap();
        let options = Options { levels: Some(LevelSources::usual()), now: 0 };
        let mut stream = pipeline.stream(&[("app", "x"), ("cluster", "eu-1")], &options);
        let metadata = [("trace_id", "00112233445566778899aabbccddeeff")];
        let mut run = || {
            let kept = lines.iter().filter(|line| stream.process(1, line, &metadata).is_some()).count();
            assert_eq!(kept, 0, "{stages}");
        };
        // Buffers grow while the first lines are read, and are used again from then on.
        run();
        let before = ALLOCATIONS.get();
        run();
        let allocated = ALLOCATIONS.get() - before;
        assert_eq!(allocated, 0, "`{stages}` allocated over {LINES} lines");
    }
}
