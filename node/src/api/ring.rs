//! `GET /ring`: the members of the cluster, what they own and hold, as JSON or as a page for people.

use std::fmt::Write;
use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{Html, IntoResponse, Response};

use super::error::ApiError;
use super::params::Params;
use super::respond;
use super::server::text;
use crate::cluster::report::{MemberReport, Report};
use crate::cluster::status::{Transfer, statuses};
use crate::node::Node;

/// What a node that stands alone says.
const ALONE: &str = "this node stands alone: it belongs to no cluster; see `grapevine cluster --help`\n";

/// The page's looks: the reader's choice of light or dark, no scripts.
const STYLE: &str = "
:root { color-scheme: light dark; --line: #d5d8dc; --soft: #667; --bad: #b3261e; --bar: #7a4fbf; }
@media (prefers-color-scheme: dark) { :root { --line: #3a3f46; --soft: #9aa; --bad: #ff8a80; --bar: #b79cf0; } }
body { font: 15px/1.45 system-ui, sans-serif; margin: 2rem auto; max-width: 76rem; padding: 0 1rem; }
h1 { font-size: 1.3rem; margin: 0 0 .2rem; } p { margin: .2rem 0 1rem; } .soft { color: var(--soft); }
.scroll { overflow-x: auto; } table { border-collapse: collapse; width: 100%; }
th, td { padding: .4rem .7rem .4rem 0; border-bottom: 1px solid var(--line); text-align: left; white-space: nowrap; }
th { font-weight: 600; color: var(--soft); } td.n, th.n { text-align: right; font-variant-numeric: tabular-nums; }
.bad { color: var(--bad); font-weight: 600; } code { font: .92em ui-monospace, monospace; }
.bar { display: inline-block; width: 5rem; height: .5rem; border: 1px solid var(--line); border-radius: 3px; }
.bar i { display: block; height: 100%; background: var(--bar); border-radius: 2px; }
";

/// `GET /ring`
pub async fn ring(
    State(node): State<Arc<Node>>,
    headers: HeaderMap,
    params: Params,
) -> Result<Response, ApiError> {
    let alone = || ApiError::new(StatusCode::NOT_FOUND, ALONE);
    let cluster = node.cluster.as_ref().ok_or_else(alone)?;
    let statuses = statuses(&node, cluster).await;
    let report = Report::new(cluster, &cluster.view(), &statuses);
    let for_people = text(&headers, header::ACCEPT.as_str()).is_some_and(|kinds| kinds.contains("text/html"));
    if for_people && params.get("format") != Some("json") {
        return Ok(([(header::VARY, "Accept")], Html(page(&report))).into_response());
    }
    Ok(respond::json(&node.env.exec, &headers, &report).await)
}

fn page(report: &Report) -> String {
    let live = report.members.iter().filter(|member| member.live).count();
    let mut page = format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" \
         content=\"width=device-width\"><link rel=\"icon\" href=\"data:,\"><title>Ring {cluster}</title><style>{STYLE}</style></head><body><h1>Ring of \
         cluster <code>{cluster}</code></h1><p class=\"soft\">As <code>{node}</code> sees it: {live} of {all} members \
         live, {rf} replicas, {acks} before a push is answered, ring <code>{hash}</code>.</p>",
        cluster = escaped(&report.cluster),
        node = escaped(&report.node),
        all = report.members.len(),
        rf = report.replication_factor,
        acks = report.write_acks,
        hash = escaped(&report.ring_hash),
    );
    for other in &report.disagreements {
        let (name, hash) = (escaped(&other.name), escaped(&other.ring_hash));
        // Writing to a string cannot fail; so below.
        let _ = write!(
            page,
            "<p class=\"bad\">{name} sees another ring, <code>{hash}</code>: it heard other news; if this lasts, it \
             is cut off from some members.</p>"
        );
    }
    page.push_str(
        "<div class=\"scroll\"><table><thead><tr><th>Member<th>State<th>Zone<th class=\"n\">Weight<th>Owns\
         <th class=\"n\">First for<th class=\"n\">In memory<th class=\"n\">Packs<th class=\"n\">Disk<th>Moving\
         <th>Address<th>Build</tr></thead><tbody>",
    );
    report.members.iter().for_each(|member| row(&mut page, member));
    page.push_str("</tbody></table></div></body></html>\n");
    page
}

fn row(page: &mut String, member: &MemberReport) {
    let state = match member.live {
        true => escaped(&member.state),
        false => format!("<span class=\"bad\">{}, not heard of</span>", escaped(&member.state)),
    };
    let transfer = member.load.as_ref().map(|load| moving(&load.transfer)).unwrap_or_default();
    let [memory, packs, disk] = match (&member.load, &member.error) {
        (Some(load), _) => [
            format!("{} in {} streams", size(load.head_bytes), load.head_streams),
            format!("{} in {}", size(load.pack_bytes), load.packs),
            format!("{}&nbsp;% of {}", 100 * load.disk_used / load.disk_total.max(1), size(load.disk_total)),
        ],
        (None, Some(error)) => [
            format!("<span class=\"bad\" title=\"{}\">no answer</span>", escaped(error)),
            "–".into(),
            "–".into(),
        ],
        (None, None) => ["–".into(), "–".into(), "–".into()],
    };
    let zone = if member.zone.is_empty() { "–".to_owned() } else { escaped(&member.zone) };
    let _ = write!(
        page,
        "<tr><td><code>{name}</code><td>{state}<td>{zone}<td class=\"n\">{weight}<td><span class=\"bar\"><i \
         style=\"width:{owned:.0}%\"></i></span> {owned:.1}&nbsp;% <span class=\"soft\">fair {fair:.1}</span>\
         <td class=\"n\">{primary:.1}&nbsp;%<td class=\"n\">{memory}<td class=\"n\">{packs}<td class=\"n\">{disk}\
         <td>{transfer}<td><code>{address}</code><td>{build}</tr>",
        name = escaped(&member.name),
        weight = member.weight,
        owned = 100.0 * member.owned,
        fair = 100.0 * member.fair,
        primary = 100.0 * member.primary,
        address = escaped(&member.address),
        build = escaped(&member.build),
    );
}

/// What changes hands at a member; empty if nothing does.
pub(crate) fn moving(transfer: &Transfer) -> String {
    let Transfer { learnt, to_learn, lacking, bytes } = transfer;
    let left = to_learn.saturating_sub(*learnt);
    match (transfer.is_done(), lacking) {
        (true, _) => String::new(),
        (false, 0) => format!("{left} days to learn, {} moved", size(*bytes)),
        (false, _) if left == 0 => format!("{lacking} pushes to send, {} moved", size(*bytes)),
        (false, _) => format!("{left} days to learn, {lacking} pushes to send, {} moved", size(*bytes)),
    }
}

/// A number of bytes with three digits at most.
pub(crate) fn size(bytes: u64) -> String {
    let mut rest = bytes as f64;
    let mut units = ["B", "KB", "MB", "GB", "TB", "PB"].into_iter();
    let mut unit = units.next().unwrap_or_default();
    while rest >= 999.5
        && let Some(next) = units.next()
    {
        rest /= 1024.0;
        unit = next;
    }
    let digits = usize::from(unit != "B" && rest < 9.95);
    format!("{rest:.digits$} {unit}")
}

/// Text within HTML. Members say what they like of themselves.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            other => out.push(other),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::{page, size};
    use crate::cluster::report::{Disagreement, MemberReport, Report};

    fn report() -> Report {
        let member = MemberReport {
            name: "a".into(),
            state: "active".into(),
            live: false,
            zone: String::new(),
            weight: 100,
            address: "127.0.0.1:1".into(),
            incarnation: 1,
            build: "<script>alert('x')</script>".into(),
            tokens: 64,
            owned: 0.5,
            fair: 0.5,
            primary: 0.25,
            load: None,
            error: Some("\"quoted\"".into()),
        };
        Report {
            cluster: "c".into(),
            node: "a".into(),
            replication_factor: 3,
            write_acks: 2,
            ring_hash: "0".into(),
            members: vec![member],
            disagreements: vec![Disagreement { name: "b".into(), ring_hash: "1".into() }],
        }
    }

    #[test]
    fn the_page_shows_members_and_lets_none_of_them_write_html() {
        let page = page(&report());
        assert!(page.contains("&lt;script&gt;alert(&#39;x&#39;)") && !page.contains("<script"), "{page}");
        assert!(page.contains("title=\"&quot;quoted&quot;\""), "{page}");
        for part in ["b sees another ring", "active, not heard of", "50.0&nbsp;%", "0 of 1 members"] {
            assert!(page.contains(part), "`{part}` is missing: {page}");
        }
    }

    #[test]
    fn sizes_have_three_digits_at_most() {
        for (bytes, shown) in [
            (0, "0 B"),
            (999, "999 B"),
            (1_000, "1.0 KB"),
            (1 << 20, "1.0 MB"),
            (10 << 20, "10 MB"),
            (1_023 << 20, "1.0 GB"),
            (u64::MAX, "16384 PB"),
        ] {
            assert_eq!(size(bytes), shown);
        }
    }
}
