//! A line that is dropped allocates nothing, whatever stage drops it.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use grapevine_logql::eval_limits::EvalLimits;
use grapevine_logql::leaf_scan::LeafScan;
use grapevine_logql::level::LevelSources;
use grapevine_logql::parse::{parse, parse_log};
use grapevine_logql::pipeline::{Options, Pipeline, Wanted};
use grapevine_logql::plan::{Plan, PlanOptions};
use grapevine_logql::range::{Accumulator, Steps};

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
        "escapes" => format!(
            r#"{{"l\u0065vel":"inf\u006f","a.b c\n":"x\ty","\u00e9t\u00e9":{{"k\"q":"\ud83d\ude00 {i}"}},"bad":"\x","half":"\ud800","app":"\"{i}\""}}"#
        ),
        "quotes" => format!(
            r#"lev"el=info msg="a=\"{i}\" \u00e9\n" app="x \\ y" "quoted"=1 broken="\x{i} = = took="{}ms" n=1_0{i:03} size="1,{i:03} KB" open="{i}"#,
            i % 90
        ),
        "no json" => format!(r#"{{"level":"info","n":{i}"#),
        "packed" => format!(r#"{{"pod":"p-{i}","_entry":"GET /items/{i} took {}ms"}}"#, i % 90),
        "packed escapes" => {
            format!(r#"{{"p\u006fd":"p-\"{i}\"","app":"\t","n":{i},"_entry":"GET \"\u002fitems\/{i}\"\n"}}"#)
        }
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
        ("access", r#"| pattern "<app> - \"<method> <_>" | method="POST" or app_extracted="y""#),
        ("access", r#"| pattern "<_> nowhere <rest>" | rest!="""#),
        ("access", r#"| regexp "(?P<ip>\\S+) .* (?P<status>\\d+) " | status="500""#),
        ("access", r#"| regexp "(?P<app>\\S+) - (?P<none>x)?.(?P<method>\\w+)" | method="POST" or none="x""#),
        ("access", r#"| regexp "nowhere (?P<rest>.*)" | rest!="""#),
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
        ("escapes", r#"| json | level="error""#),
        ("escapes", r#"| json | a_b_c_="y" or _t__k_q="z""#),
        ("escapes", r#"| json | bad="x" or half="x" or app_extracted="x""#),
        ("escapes", r#"| json a="[\"a.b c\\n\"]", l="level" | a="y" or l="y""#),
        ("no json", r#"| json | __error__="""#),
        ("access", r#"| json | __error__="""#),
        ("logfmt", r#"| logfmt | level="error""#),
        ("logfmt", r#"| logfmt | msg="it went""#),
        ("quotes", r#"| logfmt | msg="it went" or app_extracted="y""#),
        ("quotes", r#"| logfmt --keep-empty | broken="y" or open="y" or quoted="y""#),
        ("quotes", r#"| logfmt --strict | __error__="""#),
        ("quotes", r#"| logfmt | n > 1_000_000 or size > 1GB"#),
        ("quotes", r#"| logfmt m="msg", t="took" | m="y" or t="y""#),
        ("logfmt", r#"| logfmt | status >= 500 | took > 1h"#),
        ("logfmt", r#"| logfmt status, took | status > 500"#),
        ("logfmt", r#"| logfmt --strict --keep-empty | path="/""#),
        ("logfmt", r#"| logfmt | line_format "{{.msg}} {{.took}}" |= "nowhere""#),
        ("logfmt", r#"| logfmt | label_format t="{{.took}}" | t="x""#),
        ("packed", r#"| unpack | pod="x""#),
        ("packed", r#"| unpack |= "POST""#),
        ("packed escapes", r#"| unpack | pod="x" or app_extracted="x""#),
        ("packed escapes", r#"| unpack |= "POST""#),
        ("access", r#"| unpack | __error__="""#),
        ("access", r#"| trace_id="x""#),
        ("access", r#"| detected_level="error""#),
        ("json", r#"| detected_level="error""#),
        ("escapes", r#"| detected_level="error""#),
        ("quotes", r#"| detected_level="error""#),
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

#[test]
fn a_line_without_a_sample_allocates_nothing_whatever_is_unwrapped() {
    for (kind, range) in [
        ("logfmt", r#"| logfmt | unwrap absent"#),
        ("logfmt", r#"| logfmt | unwrap level | __error__="""#),
        ("logfmt", r#"| logfmt | unwrap duration(took) | took > 1h"#),
        ("logfmt", r#"| logfmt | unwrap duration_seconds(msg) | __error__="""#),
        ("logfmt", r#"| logfmt | unwrap bytes(size) | size > 1GB"#),
        ("quotes", r#"| logfmt | unwrap msg | __error__="""#),
        ("json", r#"| json | unwrap http_status | http_status > 500"#),
        ("json", r#"| json | level="error" | unwrap duration(took)"#),
        ("escapes", r#"| json | unwrap level | __error__="""#),
        ("access", r#"| pattern "<_> HTTP/1.1\" <status> <_>" | unwrap status | status > 500"#),
        ("access", r#"| regexp "(?P<path>/\\S+)" | unwrap path | __error__="""#),
        ("packed escapes", r#"| unpack | unwrap pod | __error__="""#),
    ] {
        let query = format!("sum_over_time({{app=\"x\"}} {range} [1m])");
        let Plan::Metric(plan) = Plan::new(&parse(&query).unwrap(), PlanOptions::default()).unwrap() else {
            panic!("`{query}` asks for numbers")
        };
        let (leaf, lines) = (&plan.leaves[0], lines(kind));
        let mut into = Accumulator::new(leaf, leaf.windows(&Steps::instant(1)), EvalLimits::DEFAULT);
        let scan = LeafScan::compile(leaf).unwrap();
        let mut stream = scan.stream(&[("app", "x")], &Options::default());
        let mut run = || lines.iter().for_each(|line| assert!(!stream.add(&mut into, 1, line, &[]).unwrap()));
        // Buffers grow while the first lines are read, and are used again from then on.
        run();
        let before = ALLOCATIONS.get();
        run();
        let allocated = ALLOCATIONS.get() - before;
        assert_eq!(allocated, 0, "`{query}` allocated over {LINES} lines");
    }
}
