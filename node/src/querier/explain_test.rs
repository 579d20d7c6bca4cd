//! What `explain` says of data whose shape is known: what was skipped and what was read on each level is counted by
//! hand here.

use std::ops::Range;

use serde_json::Value;

use crate::testbed::{SECOND, Testbed, with_params};

const NOW: i64 = 1_700_000_000 * SECOND;
/// 22:13:20, so that hours before it are the same day.
const TODAY: i64 = NOW - 7200 * SECOND;
const YESTERDAY: i64 = TODAY - 24 * 3600 * SECOND;
/// Lines of a block, one a second.
const LINES: i64 = 20;
/// Bytes of a line and its end: four blocks are enough for a filter, two are not.
const LINE_BYTES: usize = 1000;

/// Text that does not get much smaller, so that its filter has room, and has none of the words asked for.
fn line(n: i64, word: &str) -> String {
    let mut state = n as u64 ^ 0x9E37_79B9_7F4A_7C15;
    let mut text = format!("n={n} word={word} noise=");
    while text.len() < LINE_BYTES - 1 {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        text.push_str(&format!("{:08x}", state >> 32));
    }
    text.truncate(LINE_BYTES - 1);
    text
}

async fn push(bed: &Testbed, app: &str, from: i64, word: &str) {
    push_lines(bed, app, from, 0..LINES, word).await;
}

async fn push_lines(bed: &Testbed, app: &str, from: i64, numbers: Range<i64>, word: &str) {
    let labels = [("app", app)];
    let entry = |n: i64| (&labels[..], from + n * SECOND, line(n, word), Vec::new());
    bed.push(&numbers.map(entry).collect::<Vec<_>>()).await;
}

/// One block after the other, each 100 s behind the one before.
async fn push_blocks(bed: &Testbed, app: &str, from: i64, words: &[&str]) {
    for (n, word) in (0..).zip(words) {
        push(bed, app, from + n * 100 * SECOND, word).await;
        bed.seal();
    }
}

/// Three days: one block; two chunks of four blocks; two streams with a chunk each, of four blocks and of two, and of
/// the first a block in its head that is compressed, and one that is not.
async fn bed() -> Testbed {
    let bed = Testbed::new(NOW, &[("limits.discover_log_levels", "false")]).await;
    push_blocks(&bed, "x", YESTERDAY - 24 * 3600 * SECOND, &["zebra"]).await;
    bed.flush().await;
    let chunks = ["quokka", "quokka", "quokka", "quokka", "zebra", "zebra", "zebra", "zebra"];
    push_blocks(&bed, "x", YESTERDAY, &chunks).await;
    bed.flush().await;
    push_blocks(&bed, "x", TODAY, &["walrus"; 4]).await;
    push_blocks(&bed, "y", TODAY, &["walrus"; 2]).await;
    bed.flush().await;
    push_blocks(&bed, "x", NOW - 3000 * SECOND, &["walrus"]).await;
    push(&bed, "x", NOW - 1000 * SECOND, "walrus").await;
    bed
}

async fn explained(bed: &Testbed, path: &str, params: &[(&str, &str)]) -> Vec<String> {
    let params = [params, &[("explain", "true")]].concat();
    let answer = bed.get(path, &params).await;
    let Value::Array(lines) = &answer["data"]["explain"] else { panic!("{answer}") };
    let lines = lines.iter().map(|line| line.as_str().unwrap().to_owned());
    // How well text is compressed is no matter of its shape.
    let without_packed = |line: String| match (line.starts_with("blocks read:"), line.rsplit_once(", ")) {
        (true, Some((known, packed))) if !packed.starts_with("0 ") => format!("{known})"),
        _ => line,
    };
    lines.map(without_packed).collect()
}

async fn check_range(bed: &Testbed, query: &str, (start, end): (i64, i64), limit: &str, expected: &[&str]) {
    let (start, end) = (start.to_string(), end.to_string());
    let params = [("query", query), ("start", &start), ("end", &end), ("limit", limit)];
    let found = explained(bed, "/loki/api/v1/query_range", &params).await;
    assert!(
        found.ends_with(&expected.iter().map(|line| (*line).to_owned()).collect::<Vec<_>>()),
        "{found:#?}"
    );
}

async fn check_instant(bed: &Testbed, query: &str, at: i64, expected: &[&str]) {
    let found = explained(bed, "/loki/api/v1/query", &[("query", query), ("time", &at.to_string())]).await;
    assert!(
        found.ends_with(&expected.iter().map(|line| (*line).to_owned()).collect::<Vec<_>>()),
        "{found:#?}"
    );
}

#[tokio::test]
async fn lines_are_counted_on_each_level_they_are_skipped_on() {
    let range = (YESTERDAY + 500 * SECOND, NOW - 2000 * SECOND);
    check_range(
        &bed().await,
        r#"{app=~".+"} |= "zebra""#,
        range,
        "5000",
        &[
            r#"pushed into the scan of blocks: |= "zebra""#,
            "days in the index: 3, skipped by time 1, left 2",
            "chunks of these streams on those days: 4, skipped by time 1, left 3",
            "blocks of those chunks: 14, skipped by time 5, left 9",
            "blocks in heads of those days: 2, skipped by time 1, left 1",
            "streams chosen: 2",
            "pieces of chunks: 3, skipped by filter 1",
            "blocks read: 6 (120000 bytes of text)",
            "lines in them: 120 (20 in memory), passed 60, dropped as duplicates 0",
        ],
    )
    .await;
}

#[tokio::test]
async fn counts_by_timestamp_read_no_text_and_say_how_many_lines_count() {
    let bed = bed().await;
    let youngest = [
        "pushed into the scan of blocks: nothing",
        "days in the index: 3, skipped by time 2, left 1",
        "chunks of these streams on those days: 2, skipped by time 2, left 0",
        "blocks of those chunks: 6, skipped by time 6, left 0",
        "blocks in heads of those days: 2, skipped by time 1, left 1",
        "streams chosen: 1",
        "pieces of chunks: 0, skipped by filter 0",
        "blocks read: 1 (0 bytes of text, 0 bytes packed)",
        "lines in them: 20 (20 in memory), passed 20, dropped as duplicates 0",
    ];
    check_instant(&bed, r#"sum(count_over_time({app=~".+"}[2000s]))"#, NOW, &youngest).await;
    // The window begins within the second block and ends within the third.
    let cut = [
        "pieces of chunks: 1, skipped by filter 0",
        "blocks read: 2 (0 bytes of text, 0 bytes packed)",
        "lines in them: 40 (0 in memory), passed 20, dropped as duplicates 0",
    ];
    let end = TODAY + 209 * SECOND;
    check_instant(&bed, r#"sum(count_over_time({app="x"}[100s]))"#, end, &cut).await;
}

#[tokio::test]
async fn lines_pass_once_all_stages_have_let_them_through() {
    let bed = bed().await;
    let (read, end) = ("blocks read: 2 (40000 bytes of text)", TODAY + 209 * SECOND);
    for (stages, passed) in [(r#"|= "walrus""#, 20), (r#"| logfmt | n="3""#, 1), ("| logfmt | n > 16", 3)] {
        let lines = format!("lines in them: 40 (0 in memory), passed {passed}, dropped as duplicates 0");
        let query = format!("sum(count_over_time({{app=\"x\"}} {stages} [100s]))");
        check_instant(&bed, &query, end, &[read, &lines]).await;
    }
}

#[tokio::test]
async fn what_came_twice_is_read_twice_and_dropped_once() {
    let bed = Testbed::new(NOW, &[]).await;
    for numbers in [0..LINES, 10..10 + LINES] {
        push_lines(&bed, "z", TODAY, numbers, "walrus").await;
        bed.flush().await;
    }
    let expected = [
        "chunks of these streams on those days: 2, skipped by time 0, left 2",
        "blocks of those chunks: 2, skipped by time 0, left 2",
        "blocks in heads of those days: 0, skipped by time 0, left 0",
        "streams chosen: 1",
        "pieces of chunks: 0, skipped by filter 0",
        "blocks read: 2 (40000 bytes of text)",
        "lines in them: 40 (0 in memory), passed 30, dropped as duplicates 10",
    ];
    check_range(&bed, r#"{app="z"}"#, (TODAY, NOW), "100", &expected).await;
}

#[tokio::test]
async fn blocks_that_a_full_answer_leaves_closed_are_not_counted() {
    let bed = Testbed::new(NOW, &[]).await;
    // Each overlaps the one before in time: they are merged.
    for from in [0, 15, 30] {
        push(&bed, "z", TODAY + from * SECOND, "walrus").await;
        bed.seal();
    }
    let expected = [
        "blocks in heads of those days: 3, skipped by time 0, left 3",
        "streams chosen: 1",
        "pieces of chunks: 0, skipped by filter 0",
        "blocks read: 1 (20000 bytes of text)",
        "lines in them: 20 (20 in memory), passed 5, dropped as duplicates 0",
    ];
    check_range(&bed, r#"{app="z"}"#, (TODAY, NOW), "5", &expected).await;
}

#[tokio::test]
async fn of_several_tenants_only_those_that_a_matcher_chooses_are_counted() {
    let flags = [("tenancy", "header"), ("limits.discover_log_levels", "false")];
    let bed = Testbed::new(NOW, &flags).await;
    for (tenant, blocks) in [("a", 1), ("b", 2)] {
        for block in 0..blocks {
            let lines = (0..LINES).map(|n| {
                serde_json::json!([(TODAY + (100 * block + n) * SECOND).to_string(), line(n, "walrus")])
            });
            let body = serde_json::json!({"streams": [{"stream": {"app": "x"}, "values": lines.collect::<Vec<_>>()}]});
            let headers = [("X-Scope-OrgID", tenant)];
            let (status, text) = bed.call_with("POST", "/loki/api/v1/push", &headers, Some(body)).await;
            assert!(status.is_success(), "{text}");
            bed.seal();
        }
    }
    bed.flush().await;
    let check = async |selector: &str, chunks: u64, blocks: u64| {
        let query = format!("sum(count_over_time({{{selector}}}[400s]))");
        let params =
            [("query", query.as_str()), ("time", &(TODAY + 300 * SECOND).to_string()), ("explain", "true")];
        let uri = with_params("/loki/api/v1/query", &params);
        let (_, text) = bed.call_with("GET", &uri, &[("X-Scope-OrgID", "a|b|none")], None).await;
        for line in [
            format!("chunks of these streams on those days: {chunks}, skipped by time 0, left {chunks}"),
            format!("blocks of those chunks: {blocks}, skipped by time 0, left {blocks}"),
            format!("streams chosen: {chunks}"),
            format!("passed {}, dropped", blocks as i64 * LINES),
        ] {
            assert!(text.contains(&line), "{query}: no {line:?} in {text}");
        }
    };
    check(r#"app="x""#, 2, 3).await;
    check(r#"app="x", __tenant_id__="b""#, 1, 2).await;
    check(r#"app="x", __tenant_id__!="b""#, 1, 1).await;
    check(r#"app="x", __tenant_id__=~"none|c""#, 0, 0).await;
}
