//! `grapevine query`: lines and numbers, paged past the server's limit.

use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Args;
use serde::Deserialize;
use serde_json::Value;
use tokio::time::{Instant, timeout};

use super::client::Client;
use super::exit::{Exit, ExitError};
use super::output::{LabelMap, Line, Printer, common, show};
use super::pages::{Page, Pages};
use super::{ClientArgs, OutputFormat, RangeArgs};
use crate::api::time::{parse_duration, parse_time};
use crate::env::{SystemClock, WallClock};

/// How long a query runs in silence before it says on stderr how far it is, and how long it is silent after that.
const PROGRESS_AFTER: Duration = Duration::from_secs(2);

/// Arguments of `grapevine query`.
#[derive(Debug, Args)]
pub struct QueryArgs {
    /// The LogQL query.
    pub query: String,
    #[command(flatten)]
    client: ClientArgs,
    #[command(flatten)]
    range: RangeArgs,
    /// At most so many lines; 0 for all.
    #[arg(long, default_value_t = 30)]
    limit: usize,
    /// Lines asked for at once.
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..))]
    batch: u32,
    /// Which end to start from.
    #[arg(long, value_enum, default_value_t)]
    direction: Order,
    /// The same as --direction forward.
    #[arg(long)]
    forward: bool,
    /// Distance between the points of a metric query.
    #[arg(long, value_name = "DURATION")]
    step: Option<String>,
    /// Evaluate a metric query once, at --to, instead of over a range.
    #[arg(long)]
    instant: bool,
    /// Print on stderr how the server found the answer: the plan, and what it skipped.
    #[arg(long)]
    explain: bool,
    /// How to print.
    #[arg(long, short, value_enum, default_value_t)]
    output: OutputFormat,
    /// Do not print which labels all lines share, nor anything else but the answer.
    #[arg(long, short)]
    quiet: bool,
}

/// The order of lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Order {
    /// The newest first.
    #[default]
    Backward,
    /// The oldest first.
    Forward,
}

/// Loki's answer to a query.
#[derive(Debug, Deserialize)]
struct Answer {
    data: Data,
    #[serde(default)]
    warnings: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Data {
    result_type: String,
    result: Value,
    /// How the answer was found, where that was asked for.
    #[serde(default)]
    explain: Vec<String>,
}

#[derive(Debug, Deserialize)]
struct StreamResult {
    stream: LabelMap,
    values: Vec<(String, String)>,
}

impl RangeArgs {
    /// Start and end in ns.
    ///
    /// # Errors
    /// Where a time or a duration cannot be read.
    pub fn resolve(&self, now: i64) -> Result<(i64, i64)> {
        let time = |name: &str, text: &String| {
            parse_time(text).map_err(|_| ExitError {
                exit: Exit::Usage,
                message: format!(
                    "{name}: `{text}` is no time; write it as 2026-01-31T12:00:00Z or as seconds since 1970"
                ),
            })
        };
        let end = self.to.as_ref().map(|text| time("--to", text)).transpose()?.unwrap_or(now);
        let start = match &self.from {
            Some(text) => time("--from", text)?,
            None => end - since(&self.since)?,
        };
        Ok((start, end))
    }
}

fn since(text: &str) -> Result<i64> {
    parse_duration(text).map_err(|_| {
        let message = format!("--since: `{text}` is no duration; write it as 90s, 15m or 1d12h");
        ExitError { exit: Exit::Usage, message }.into()
    })
}

/// Runs the command.
pub async fn run(args: QueryArgs) -> Result<Exit> {
    let client = Client::new(&args.client)?;
    let (start, end) = args.range.resolve(SystemClock.now())?;
    if args.instant {
        return instant(&client, &args, end).await;
    }
    let forward = args.forward || args.direction == Order::Forward;
    let mut pages = Pages::new(start, end, forward, args.limit, args.batch as usize);
    let colour = io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let mut printer = Printer::new(args.output, colour);
    let mut exit = Exit::Done;
    let mut printed = 0;
    let began = Instant::now();
    while let Some(page) = pages.poll_next() {
        let parameters = args.parameters(page, forward);
        let answer = client.get("/loki/api/v1/query_range", &parameters);
        let answer: Answer = waiting(answer, PROGRESS_AFTER, &mut |line| args.tell(line)).await?;
        exit = warn(&answer.warnings, exit);
        answer.data.explain.iter().for_each(|line| eprintln!("{line}"));
        if answer.data.result_type != "streams" {
            print_numbers(&answer.data)?;
            return Ok(exit);
        }
        let lines = pages.handle_answer(page, lines_of(answer.data.result, forward)?);
        let lines = lines.map_err(|message| ExitError { exit: Exit::Incomplete, message })?;
        if printed == 0 && args.output == OutputFormat::Default {
            hide_common(&mut printer, &lines, args.quiet || pages.poll_next().is_some());
        }
        printed += lines.len();
        print_lines(&printer, &lines)?;
        if began.elapsed() > PROGRESS_AFTER {
            args.tell(&format!("… {printed} lines so far"));
        }
    }
    Ok(exit)
}

impl QueryArgs {
    fn parameters(&self, page: Page, forward: bool) -> Vec<(&'static str, String)> {
        let direction = if forward { "forward" } else { "backward" };
        let mut parameters = vec![
            ("query", self.query.clone()),
            ("start", page.start.to_string()),
            ("end", page.end.to_string()),
            ("limit", page.limit.to_string()),
            ("direction", direction.to_owned()),
        ];
        parameters.extend(self.explain.then(|| ("explain", "true".to_owned())));
        parameters.extend(self.step.clone().map(|step| ("step", step)));
        parameters
    }

    /// Tells a person how far the query is.
    fn tell(&self, line: &str) {
        if !self.quiet && io::stderr().is_terminal() {
            eprintln!("{line}");
        }
    }
}

/// Waits for an answer, and tells now and then for how long.
async fn waiting<T>(answer: impl Future<Output = T>, every: Duration, tell: &mut dyn FnMut(&str)) -> T {
    tokio::pin!(answer);
    let began = Instant::now();
    loop {
        match timeout(every, &mut answer).await {
            Ok(answer) => return answer,
            Err(_) => tell(&format!("… no answer yet, after {} s", began.elapsed().as_secs())),
        }
    }
}

async fn instant(client: &Client, args: &QueryArgs, time: i64) -> Result<Exit> {
    let mut parameters = vec![("query", args.query.clone()), ("time", time.to_string())];
    parameters.extend(args.explain.then(|| ("explain", "true".to_owned())));
    let answer = client.get("/loki/api/v1/query", &parameters);
    let answer: Answer = waiting(answer, PROGRESS_AFTER, &mut |line| args.tell(line)).await?;
    answer.data.explain.iter().for_each(|line| eprintln!("{line}"));
    print_numbers(&answer.data)?;
    Ok(warn(&answer.warnings, Exit::Done))
}

fn warn(warnings: &[String], exit: Exit) -> Exit {
    for warning in warnings {
        eprintln!("warning: {warning}");
    }
    if warnings.is_empty() { exit } else { Exit::Incomplete }
}

/// Streams of lines as one list, in the order of time.
fn lines_of(result: Value, forward: bool) -> Result<Vec<Line>> {
    let streams: Vec<StreamResult> = serde_json::from_value(result).context("read the answer's streams")?;
    let mut lines = Vec::new();
    for stream in streams {
        for (time, text) in stream.values {
            let timestamp = time.parse().with_context(|| format!("`{time}` is no timestamp"))?;
            lines.push(Line { timestamp, labels: stream.stream.clone(), text });
        }
    }
    // Stable: lines of one stream with one timestamp keep the server's order.
    if forward {
        lines.sort_by_key(|line| line.timestamp);
    } else {
        lines.sort_by_key(|line| std::cmp::Reverse(line.timestamp));
    }
    Ok(lines)
}

/// Says once which labels all lines share; with more pages to come nobody knows yet.
fn hide_common(printer: &mut Printer, lines: &[Line], silent: bool) {
    let shared = common(lines.iter().map(|line| &line.labels));
    if silent || shared.is_empty() || lines.len() < 2 {
        return;
    }
    eprintln!("Common labels: {}", show(&shared));
    printer.hide(shared);
}

fn print_lines(printer: &Printer, lines: &[Line]) -> Result<()> {
    let mut out = io::BufWriter::new(io::stdout().lock());
    for line in lines {
        printer.line(&mut out, line)?;
    }
    out.flush().context("write to standard output")
}

/// Numbers as JSON, as logcli prints them.
fn print_numbers(data: &Data) -> Result<()> {
    let text = serde_json::to_string_pretty(&data.result).context("print the answer")?;
    writeln!(io::stdout(), "{text}").context("write to standard output")
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::future::poll_fn;
    use std::task::Poll;
    use std::time::Duration;

    use super::waiting;

    #[tokio::test]
    async fn who_waits_is_told_so_again_and_again_until_there_is_an_answer() {
        let told = Cell::new(0);
        for most in [0, 3] {
            told.set(0);
            let answer = poll_fn(|_| if told.get() == most { Poll::Ready("here") } else { Poll::Pending });
            let mut tell = |line: &str| {
                assert!(line.starts_with("… no answer yet"), "{line}");
                told.set(told.get() + 1);
            };
            assert_eq!(waiting(answer, Duration::from_millis(1), &mut tell).await, "here");
            assert_eq!(told.get(), most);
        }
    }
}
