//! Three queries over what was fed, with what they answer and how long that took.

use std::collections::BTreeMap;
use std::fmt::Write;

use anyhow::{Context, Result};
use serde::Deserialize;
use serde_json::Value;
use tokio::time::Instant;

use super::feed::Fed;
use crate::cli::client::Client;
use crate::cli::output::{LabelMap, show_time};

/// Lines and series that are shown of an answer.
const LINES_SHOWN: usize = 3;
const SERIES_SHOWN: usize = 5;
/// Characters of a line that are shown.
const WIDTH: usize = 110;
/// Points that a curve should have at most.
const POINTS_MAX: i64 = 24;
/// Steps that people think in, in seconds, and as LogQL writes them.
const STEPS: [(i64, &str); 10] = [
    (60, "1m"),
    (300, "5m"),
    (900, "15m"),
    (3_600, "1h"),
    (10_800, "3h"),
    (21_600, "6h"),
    (43_200, "12h"),
    (86_400, "1d"),
    (259_200, "3d"),
    (604_800, "7d"),
];
const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
/// A word to look for: neither so short that it is everywhere nor so long that it is no word.
const WORD_BYTES: std::ops::RangeInclusive<usize> = 5..=40;

/// What to ask.
#[derive(Debug)]
pub struct Questions {
    /// Bounds of time in ns, the end exclusive.
    start: i64,
    end: i64,
    step: (i64, &'static str),
    /// The word of a grep.
    pub needle: String,
    /// The label to count by.
    by: &'static str,
}

#[derive(Debug, Deserialize)]
struct Answer {
    data: Data,
    #[serde(default)]
    warnings: Vec<String>,
}

#[derive(Debug, Deserialize)]
struct Data {
    result: Value,
    stats: Stats,
}

#[derive(Debug, Deserialize)]
struct Stats {
    summary: Summary,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Summary {
    total_bytes_processed: u64,
    total_lines_processed: u64,
}

#[derive(Debug, Deserialize)]
struct Streams {
    stream: LabelMap,
    values: Vec<(String, String)>,
}

#[derive(Debug, Deserialize)]
struct Series {
    metric: LabelMap,
    values: Vec<(f64, String)>,
}

impl Questions {
    /// Questions that fit what was fed.
    pub fn new(fed: &Fed) -> Self {
        let (start, newest) = fed.span.unwrap_or_default();
        let seconds = (newest - start) / 1_000_000_000;
        let step = STEPS.into_iter().find(|(step, _)| seconds / step < POINTS_MAX);
        let step = step.unwrap_or(STEPS[STEPS.len() - 1]);
        let unit = fed.streams.iter().any(|labels| labels.contains_key("unit"));
        let by = if unit { "unit" } else { "filename" };
        Questions { start, end: newest + 1, step, needle: needle(&fed.sample), by }
    }

    /// The LogQL of the grep.
    pub fn grep(&self) -> String {
        format!(r#"{{job=~".+"}} |= "{}""#, self.needle)
    }

    /// How far back the oldest line lies, in days as LogQL writes them.
    pub fn since(&self, now: i64) -> String {
        format!("{}d", (now - self.start).max(0) / 86_400_000_000_000 + 1)
    }

    fn count(&self) -> String {
        let (by, (_, step)) = (self.by, self.step);
        format!(r#"sum by ({by}) (count_over_time({{job=~".+"}} |~ "(?i)error|fail|timed? ?out" [{step}]))"#)
    }

    fn rate(&self) -> String {
        format!(r#"sum by (job) (rate({{job=~".+"}}[{}]))"#, self.step.1)
    }

    /// Asks, and prints questions and answers.
    ///
    /// # Errors
    /// Those of the node.
    pub async fn ask(&self, client: &Client) -> Result<()> {
        self.show(client, "One word in everything, the newest lines first", &self.grep(), newest_lines)
            .await?;
        let title = format!("What went wrong, counted by {} every {}", self.by, self.step.1);
        self.show(client, &title, &self.count(), |result| self.curves(result, "lines")).await?;
        let title = "How much is logged: a rate, from timestamps alone";
        self.show(client, title, &self.rate(), |result| self.curves(result, "lines/s at most")).await
    }

    async fn show(
        &self,
        client: &Client,
        title: &str,
        query: &str,
        print: impl FnOnce(Value) -> Result<String>,
    ) -> Result<()> {
        // Windows end at their points: the last point takes in the newest line.
        let end = if query.starts_with('{') { self.end } else { self.end + self.step_ns() };
        let parameters = [
            ("query", query.to_owned()),
            ("start", self.start.to_string()),
            ("end", end.to_string()),
            ("step", self.step.1.to_owned()),
            ("limit", LINES_SHOWN.to_string()),
        ];
        let began = Instant::now();
        let answer: Answer = client.get("/loki/api/v1/query_range", &parameters).await?;
        let took = began.elapsed().as_secs_f64() * 1e3;
        let Summary { total_bytes_processed: bytes, total_lines_processed: lines } =
            answer.data.stats.summary;
        println!("\n{title}:\n  {query}");
        print!("{}", print(answer.data.result)?);
        println!("  took {took:.1} ms; looked at {lines} lines, {}", megabytes(bytes));
        for warning in answer.warnings {
            println!("  warning: {warning}");
        }
        Ok(())
    }

    fn step_ns(&self) -> i64 {
        self.step.0 * 1_000_000_000
    }

    /// One curve a series, the largest first.
    fn curves(&self, result: Value, unit: &str) -> Result<String> {
        let series: Vec<Series> = serde_json::from_value(result).context("read the answer's series")?;
        let points = usize::try_from((self.end - self.start) / self.step_ns()).unwrap_or(0) + 2;
        let mut curves: Vec<(f64, Vec<f64>, String)> = Vec::new();
        for one in series {
            let mut curve = vec![0.0; points];
            for (time, value) in one.values {
                let at = ((time - self.start as f64 / 1e9) / self.step.0 as f64).round();
                if let Some(point) = curve.get_mut(at.max(0.0) as usize) {
                    *point = value.parse().with_context(|| format!("`{value}` is no number"))?;
                }
            }
            let name = one.metric.into_values().next().unwrap_or_else(|| "(none)".to_owned());
            let size = if unit == "lines" {
                curve.iter().sum()
            } else {
                curve.iter().fold(0.0, |most: f64, value| most.max(*value))
            };
            curves.push((size, curve, name));
        }
        curves.sort_by(|a, b| b.0.total_cmp(&a.0).then_with(|| a.2.cmp(&b.2)));
        let mut text = String::new();
        for (size, curve, name) in curves.iter().take(SERIES_SHOWN) {
            let digits = if unit == "lines" { 0 } else { 3 };
            let _ = writeln!(text, "  {} {size:>10.digits$} {unit}  {name}", bars(curve));
        }
        let rest = curves.len().saturating_sub(SERIES_SHOWN);
        if rest > 0 {
            let _ = writeln!(text, "  … and {rest} more");
        }
        Ok(if curves.is_empty() { "  nothing at all\n".to_owned() } else { text })
    }
}

fn newest_lines(result: Value) -> Result<String> {
    let streams: Vec<Streams> = serde_json::from_value(result).context("read the answer's lines")?;
    let mut lines = BTreeMap::new();
    for stream in streams {
        let origin = ["unit", "filename"].iter().find_map(|name| stream.stream.get(*name));
        for (time, line) in stream.values {
            let time: i64 = time.parse().with_context(|| format!("`{time}` is no timestamp"))?;
            lines.insert((std::cmp::Reverse(time), line), origin.cloned().unwrap_or_default());
        }
    }
    let mut text = String::new();
    for ((time, line), origin) in &lines {
        let shown = format!("  {} {origin}  {}", show_time(time.0), line.replace(char::is_control, " "));
        let _ = writeln!(text, "{}", shown.chars().take(WIDTH).collect::<String>());
    }
    Ok(text)
}

fn bars(curve: &[f64]) -> String {
    let most = curve.iter().fold(0.0, |most: f64, value| most.max(*value));
    let bar = |value: &f64| match (value / most * BARS.len() as f64).ceil() {
        height if height >= 1.0 => BARS[(height as usize).min(BARS.len()) - 1],
        _ => ' ',
    };
    curve.iter().map(bar).collect()
}

/// The longest word of a line, best one with digits: something that only few lines hold.
fn needle(line: &str) -> String {
    let words =
        line.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| WORD_BYTES.contains(&word.len()));
    let rarity = |word: &&str| {
        let digits = word.bytes().any(|byte| byte.is_ascii_digit());
        (digits && word.bytes().any(|byte| byte.is_ascii_alphabetic()), word.len())
    };
    words.max_by_key(rarity).unwrap_or("error").to_owned()
}

/// Bytes as people read them.
pub fn megabytes(bytes: u64) -> String {
    format!("{:.1} MB", bytes as f64 / 1e6)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{Questions, bars, needle, newest_lines};
    use crate::cli::demo::feed::Fed;

    #[test]
    fn the_needle_is_a_rare_word_of_the_line() {
        for (line, want) in [
            ("2026-09-22 04:51:01 status installed libc6", "libc6"),
            ("Failed password for invalid user", "password"),
            ("method=GET request=req-0badcafe took 17ms", "0badcafe"),
            ("a b c \"\\", "error"),
        ] {
            assert_eq!(needle(line), want);
        }
    }

    #[test]
    fn steps_fit_the_span() {
        let hour = 3_600_000_000_000;
        for (span, step) in
            [(0, "1m"), (hour, "5m"), (20 * hour, "1h"), (60 * 24 * hour, "3d"), (i64::MAX / 2, "7d")]
        {
            let fed = Fed { span: Some((1, 1 + span)), ..Fed::default() };
            let questions = Questions::new(&fed);
            assert!(questions.count().contains(&format!("[{step}]")), "{span}");
            assert_eq!(questions.since(24 * hour + 1), "2d");
        }
    }

    #[test]
    fn curves_are_scaled_to_their_highest_point() {
        assert_eq!(bars(&[0.0, 1.0, 4.0, 8.0]), " ▁▄█");
        assert_eq!(bars(&[0.0, 0.0]), "  ");
    }

    #[test]
    fn lines_of_all_streams_are_shown_the_newest_first_without_control_characters() {
        let streams = json!([
            {"stream": {"unit": "a"}, "values": [["1000000000", "old"]]},
            {"stream": {"filename": "/b"}, "values": [["2000000000", "new\u{1b}[2J"]]},
        ]);
        let text = newest_lines(streams).unwrap();
        assert_eq!(text, "  1970-01-01T00:00:02Z /b  new [2J\n  1970-01-01T00:00:01Z a  old\n");
    }

    #[test]
    fn series_are_ranked_and_the_rest_is_counted() {
        let fed = Fed { span: Some((0, 120_000_000_000)), ..Fed::default() };
        let series: Vec<_> = (0..7)
            .map(|n| json!({"metric": {"unit": format!("u{n}")}, "values": [[0.0, "0"], [60.0, n.to_string()]]}))
            .collect();
        let text = Questions::new(&fed).curves(json!(series), "lines").unwrap();
        let first = text.lines().next().unwrap();
        assert!(first.contains("6 lines  u6") && first.contains('█'), "{text}");
        assert!(text.ends_with("  … and 2 more\n"), "{text}");
    }
}
