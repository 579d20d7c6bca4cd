//! `grapevine ring`: the members of a node's cluster.

use std::io::{self, Write};

use anyhow::{Context, Result};
use clap::{Args, ValueEnum};

use super::ClientArgs;
use super::client::Client;
use super::exit::Exit;
use crate::api::ring::{moving, size};
use crate::cluster::report::{MemberReport, Report};

/// Arguments of `grapevine ring`.
#[derive(Debug, Args)]
pub struct RingArgs {
    #[command(flatten)]
    client: ClientArgs,
    /// How members are printed.
    #[arg(long, short, value_enum, default_value_t)]
    output: RingFormat,
}

/// How members are printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum RingFormat {
    /// A row a member.
    #[default]
    Table,
    /// All there is, as JSON.
    Json,
}

/// Runs `grapevine ring`.
///
/// # Errors
/// The node cannot be reached, or stands alone.
pub async fn run(args: RingArgs) -> Result<Exit> {
    let client = Client::new(&args.client)?;
    let report: Report = client.get("/ring", &[("format", "json".to_owned())]).await?;
    let text = match args.output {
        RingFormat::Json => serde_json::to_string_pretty(&report).context("write JSON")? + "\n",
        RingFormat::Table => table(&report),
    };
    io::stdout().write_all(text.as_bytes()).context("write to standard output")?;
    let agreed = report.disagreements.is_empty() && report.members.iter().all(|member| member.live);
    Ok(if agreed { Exit::Done } else { Exit::Incomplete })
}

const HEADINGS: [&str; 10] =
    ["NAME", "STATE", "ZONE", "WEIGHT", "OWNS", "FIRST", "MEMORY", "PACKS", "MOVING", "ADDRESS"];

/// The members as a table, and who disagrees below it.
fn table(report: &Report) -> String {
    let rows: Vec<[String; HEADINGS.len()]> =
        std::iter::once(HEADINGS.map(str::to_owned)).chain(report.members.iter().map(row)).collect();
    let widths: Vec<usize> = (0..HEADINGS.len())
        .map(|column| rows.iter().map(|row| row[column].len()).max().unwrap_or(0))
        .collect();
    let mut text = String::new();
    for row in &rows {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
        text.push_str(cells.collect::<Vec<_>>().join("  ").trim_end());
        text.push('\n');
    }
    text.push_str(&format!(
        "ring {} of cluster {}, as {} sees it\n",
        report.ring_hash, report.cluster, report.node
    ));
    for other in &report.disagreements {
        text.push_str(&format!("{} sees another ring: {}\n", other.name, other.ring_hash));
    }
    text
}

fn row(member: &MemberReport) -> [String; HEADINGS.len()] {
    let or_dash = |text: &str| if text.is_empty() { "-".to_owned() } else { text.to_owned() };
    let load = member.load.as_ref();
    [
        member.name.clone(),
        if member.live { member.state.clone() } else { format!("{} (not heard of)", member.state) },
        or_dash(&member.zone),
        member.weight.to_string(),
        format!("{:.1}%", 100.0 * member.owned),
        format!("{:.1}%", 100.0 * member.primary),
        or_dash(&load.map(|load| size(load.head_bytes)).unwrap_or_default()),
        or_dash(&load.map(|load| format!("{} in {}", size(load.pack_bytes), load.packs)).unwrap_or_default()),
        or_dash(&load.map(|load| moving(&load.transfer)).unwrap_or_default()),
        member.address.clone(),
    ]
}

#[cfg(test)]
mod tests {
    use super::table;
    use crate::cluster::report::{Disagreement, MemberReport, Report};
    use crate::cluster::status::{Load, Transfer};

    #[test]
    fn members_stand_in_columns_and_who_disagrees_below() {
        let member = |name: &str, live, load| MemberReport {
            name: name.into(),
            state: "active".into(),
            live,
            zone: String::new(),
            weight: 100,
            address: "10.0.0.1:3101".into(),
            incarnation: 1,
            build: String::new(),
            tokens: 64,
            owned: 1.0,
            fair: 1.0,
            primary: 1.0 / 3.0,
            load,
            error: None,
        };
        let transfer = Transfer { learnt: 3, to_learn: 7, lacking: 0, bytes: 2 << 20 };
        let load = Load { head_bytes: 5 << 20, packs: 2, pack_bytes: 3 << 30, transfer, ..Load::default() };
        let report = Report {
            cluster: "c".into(),
            node: "a".into(),
            replication_factor: 3,
            write_acks: 2,
            ring_hash: "12".into(),
            members: vec![member("a", true, Some(load)), member("longer", false, None)],
            disagreements: vec![Disagreement { name: "longer".into(), ring_hash: "34".into() }],
        };
        let expected = "\
NAME    STATE                  ZONE  WEIGHT  OWNS    FIRST  MEMORY  PACKS        MOVING                         ADDRESS
a       active                 -     100     100.0%  33.3%  5.0 MB  3.0 GB in 2  4 days to learn, 2.0 MB moved  10.0.0.1:3101
longer  active (not heard of)  -     100     100.0%  33.3%  -       -            -                              10.0.0.1:3101
ring 12 of cluster c, as a sees it
longer sees another ring: 34
";
        assert_eq!(table(&report), expected);
    }
}
