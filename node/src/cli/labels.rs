//! `grapevine labels` and `grapevine series`.

use std::io::{self, Write};

use anyhow::{Context, Result};
use clap::Args;
use serde::Deserialize;

use super::client::Client;
use super::exit::Exit;
use super::output::{LabelMap, show};
use super::{ClientArgs, RangeArgs};
use crate::env::{SystemClock, WallClock};

/// Arguments of `grapevine labels`.
#[derive(Debug, Args)]
pub struct LabelsArgs {
    /// Print the values of this label instead of all names.
    name: Option<String>,
    #[command(flatten)]
    client: ClientArgs,
    #[command(flatten)]
    range: RangeArgs,
    /// Only of streams that match, as in '{app="api"}'.
    #[arg(long, value_name = "SELECTOR")]
    query: Option<String>,
}

/// Arguments of `grapevine series`.
#[derive(Debug, Args)]
pub struct SeriesArgs {
    /// The selector, as in '{app="api"}'; all streams if not given.
    #[arg(default_value = "{}")]
    selector: String,
    #[command(flatten)]
    client: ClientArgs,
    #[command(flatten)]
    range: RangeArgs,
}

#[derive(Debug, Deserialize)]
struct Answer<T> {
    #[serde(default = "Vec::new")]
    data: Vec<T>,
}

/// Runs `grapevine labels`.
pub async fn labels(args: LabelsArgs) -> Result<Exit> {
    let client = Client::new(&args.client)?;
    let mut parameters = bounds(&args.range)?;
    parameters.extend(args.query.map(|query| ("query", query)));
    let path = match &args.name {
        Some(name) => format!("/loki/api/v1/label/{name}/values"),
        None => "/loki/api/v1/labels".to_owned(),
    };
    let answer: Answer<String> = client.get(&path, &parameters).await?;
    print(answer.data.into_iter())
}

/// Runs `grapevine series`.
pub async fn series(args: SeriesArgs) -> Result<Exit> {
    let client = Client::new(&args.client)?;
    let mut parameters = bounds(&args.range)?;
    parameters.push(("match[]", args.selector));
    let answer: Answer<LabelMap> = client.get("/loki/api/v1/series", &parameters).await?;
    let mut rows: Vec<String> = answer.data.iter().map(show).collect();
    rows.sort();
    print(rows.into_iter())
}

fn bounds(range: &RangeArgs) -> Result<Vec<(&'static str, String)>> {
    let (start, end) = range.resolve(SystemClock.now())?;
    Ok(vec![("start", start.to_string()), ("end", end.to_string())])
}

fn print(rows: impl Iterator<Item = String>) -> Result<Exit> {
    let mut out = io::BufWriter::new(io::stdout().lock());
    for row in rows {
        writeln!(out, "{row}").context("write to standard output")?;
    }
    out.flush().context("write to standard output")?;
    Ok(Exit::Done)
}
