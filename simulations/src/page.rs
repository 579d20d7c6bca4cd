//! A run as one page: lanes of nodes, the network between them, where the checker objected. No script, nothing from
//! elsewhere; what a mark means is shown when one points at it.

mod leads;

use std::fmt::Write;
use std::time::Duration;

use crate::report::Outcome;
use crate::timeline::{Mark, Moment, Span, Stretch};
use crate::traffic::Step;

const LEFT: f64 = 150.0;
const WIDTH: f64 = 1100.0;
const LANE: f64 = 58.0;
const LINK: f64 = 18.0;
/// Where the lanes begin, below the axis.
const TOP: f64 = 40.0;

const STYLE: &str = "
body { font: 14px/1.45 system-ui, sans-serif; margin: 24px auto; max-width: 1320px; padding: 0 16px; color: #1d2733; background: #fff }
h1 { font-size: 20px; margin: 0 0 4px } h2 { font-size: 16px; margin: 26px 0 8px }
code { background: #f1f4f7; padding: 1px 5px; border-radius: 3px; overflow-wrap: anywhere }
.held { color: #1c7c4a; font-weight: 600 } .broken { color: #b3261e; font-weight: 600 }
.objections { border-left: 4px solid #b3261e; background: #fdf1f0; padding: 8px 14px; margin: 12px 0; overflow-wrap: anywhere }
.objections p { margin: 3px 0 }
.legend span { display: inline-block; margin: 0 16px 4px 0; white-space: nowrap } .legend i { display: inline-block; width: 14px; height: 10px; margin-right: 6px; border-radius: 2px }
svg { width: 100%; height: auto; display: block; font: 12px system-ui, sans-serif } svg text { fill: #38444f }
table { border-collapse: collapse; width: 100%; font-size: 13px } td { padding: 2px 10px 2px 0; vertical-align: top; border-top: 1px solid #edf0f3; overflow-wrap: anywhere }
td:first-child { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; color: #667 } td:nth-child(2) { white-space: nowrap }
tr.Fault td { color: #9a5b00 } tr.Objection td, tr.Error td { color: #b3261e } tr.Stored td { color: #1c7c4a } tr.Warning td { color: #7a6a00 }
";

const STRETCHES: [(Stretch, &str, &str); 6] = [
    (Stretch::Down, "#c9372c", "down"),
    (Stretch::Paused, "#8592a2", "suspended"),
    (Stretch::Partition, "#7a4fbf", "cut off from some"),
    (Stretch::Weather, "#3d8bd4", "bad links"),
    (Stretch::Store, "#b8860b", "chunk store out or slow"),
    (Stretch::DiskFull, "#d9730d", "disk full"),
];
const MARKS: [(Mark, &str, &str); 5] = [
    (Mark::Stored, "#1c9a5b", "a pack is stored"),
    (Mark::Moved, "#2f6fd0", "what others lacked or had is moved"),
    (Mark::Warning, "#d9b400", "a warning is logged"),
    (Mark::Error, "#b3261e", "an error is logged"),
    (Mark::State, "#1d2733", "starts or stops"),
];

/// Draws a run; the first line says how to see it again.
pub fn draw(outcome: &Outcome, about: &str, headline: &str) -> String {
    let broken = !outcome.violations.is_empty();
    let (class, verdict) =
        if broken { ("broken", "a promise was broken") } else { ("held", "all promises were kept") };
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" \
         content=\"width=device-width\"><title>Grapevine, simulated</title><style>{STYLE}</style></head><body>\n\
         <h1>{}</h1>\n<p><span class=\"{class}\">{verdict}</span> in {:.1} simulated seconds. {}</p>\n\
         <p><code>{}</code></p>\n<p>{}</p>\n",
        escaped(about),
        outcome.simulated.as_secs_f64(),
        legend(),
        escaped(headline),
        escaped(&outcome.facts),
    );
    if broken {
        page += "<div class=\"objections\">";
        outcome.violations.iter().for_each(|text| _ = write!(page, "<p>{}</p>", escaped(text)));
        page += "</div>\n";
    }
    let scale = Scale::of(outcome);
    page += "<h2>Nodes</h2>\n";
    page += &nodes(outcome, &scale);
    if !outcome.timeline.leads.is_empty() {
        page += "<h2>Who leads which range of the ring</h2>\n";
        page += &leads::draw(outcome, &scale);
    }
    page += "<h2>The network: the darker the more bytes; red is lost</h2>\n";
    page += &network(outcome, &scale);
    page += "<h2>What happened</h2>\n<table>\n";
    outcome.timeline.moments.iter().take(ROWS_MAX).for_each(|moment| page += &row(outcome, moment));
    page + "</table>\n</body></html>\n"
}

/// Rows of the table at most: a browser is to open it.
const ROWS_MAX: usize = 3000;

fn legend() -> String {
    let stretches = STRETCHES.iter().map(|(_, colour, name)| (colour, name));
    let marks = MARKS.iter().map(|(_, colour, name)| (colour, name));
    let item = |(colour, name)| format!("<span><i style=\"background:{colour}\"></i>{name}</span>");
    format!("</p><p class=\"legend\">{}", stretches.chain(marks).map(item).collect::<String>())
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// From simulated time to a place across.
struct Scale {
    seconds: f64,
}

impl Scale {
    fn of(outcome: &Outcome) -> Self {
        Scale { seconds: outcome.simulated.as_secs_f64().max(0.001) }
    }

    fn x(&self, at: Duration) -> f64 {
        LEFT + WIDTH * (at.as_secs_f64() / self.seconds).min(1.0)
    }

    /// A step of some ten on the axis, as people count time.
    fn step(&self) -> f64 {
        let steps =
            [1.0, 2.0, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0, 21_600.0, 86_400.0];
        steps.into_iter().find(|step| self.seconds / step <= 12.0).unwrap_or(864_000.0)
    }

    fn axis(&self, height: f64) -> String {
        let mut svg = String::new();
        let step = self.step();
        for tick in 0..=(self.seconds / step) as u64 {
            let at = Duration::from_secs_f64(tick as f64 * step);
            let x = self.x(at);
            let label = grapevine::config::units::Period(at).to_string();
            let _ = writeln!(
                svg,
                "<path d=\"M{x:.1} {TOP}V{height}\" stroke=\"#e3e8ed\"/><text x=\"{x:.1}\" y=\"{}\" \
                 text-anchor=\"middle\">{label}</text>",
                TOP - 8.0
            );
        }
        svg
    }
}

fn frame(height: f64, inner: &str) -> String {
    let width = LEFT + WIDTH + 30.0;
    format!("<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\">\n{inner}</svg>\n")
}

fn nodes(outcome: &Outcome, scale: &Scale) -> String {
    let height = TOP + LANE * outcome.names.len() as f64 + 6.0;
    let mut svg = scale.axis(height);
    let faults = outcome.timeline.moments.iter().filter(|moment| moment.mark == Mark::Fault);
    for fault in faults {
        let _ = writeln!(
            svg,
            "<path d=\"M{0:.1} {TOP}V{height}\" stroke=\"#d9a25a\" stroke-dasharray=\"3 3\"><title>{1}</title></path>",
            scale.x(fault.at),
            escaped(&fault.text)
        );
    }
    for (node, name) in outcome.names.iter().enumerate() {
        svg += &lane(outcome, scale, node, name);
    }
    for objection in outcome.timeline.moments.iter().filter(|moment| moment.mark == Mark::Objection) {
        let at = told_time(&objection.text).unwrap_or(objection.at);
        let _ = writeln!(
            svg,
            "<path d=\"M{0:.1} {TOP}V{height}\" stroke=\"#b3261e\" stroke-width=\"2\"><title>{1}</title></path>",
            scale.x(at),
            escaped(&objection.text)
        );
    }
    frame(height, &svg)
}

/// The time that an objection itself names: it is judged later than it happened.
fn told_time(text: &str) -> Option<Duration> {
    let seconds: f64 = text.strip_prefix("at ")?.split(' ').next()?.parse().ok()?;
    Duration::try_from_secs_f64(seconds).ok()
}

fn lane(outcome: &Outcome, scale: &Scale, node: usize, name: &str) -> String {
    let top = TOP + LANE * node as f64;
    let (bar, middle) = (top + 12.0, top + LANE / 2.0);
    let mut svg = format!(
        "<text x=\"8\" y=\"{:.1}\" font-weight=\"600\">{}</text><rect x=\"{LEFT}\" y=\"{bar:.1}\" width=\"{WIDTH}\" \
         height=\"{:.1}\" fill=\"#e9f5ee\"/>\n",
        middle + 4.0,
        escaped(name),
        LANE - 24.0
    );
    let of_node = outcome.timeline.spans.iter().filter(|span| span.node == node);
    for span in of_node {
        svg += &stretch(span, scale, bar);
    }
    let marks = outcome.timeline.moments.iter().filter(|moment| moment.node == Some(node));
    for moment in marks {
        let Some((_, colour, _)) = MARKS.iter().find(|(mark, ..)| *mark == moment.mark) else { continue };
        let below = matches!(moment.mark, Mark::Stored | Mark::Moved);
        let y = if below { top + LANE - 7.0 } else { top + 7.0 };
        let _ = writeln!(
            svg,
            "<circle cx=\"{:.1}\" cy=\"{y:.1}\" r=\"3\" fill=\"{colour}\"><title>{:.3} s: {}</title></circle>",
            scale.x(moment.at),
            moment.at.as_secs_f64(),
            escaped(&moment.text)
        );
    }
    svg
}

/// Being down takes the whole height; what else is wrong has a band of its own.
fn stretch(span: &Span, scale: &Scale, top: f64) -> String {
    let place = STRETCHES.iter().position(|(stretch, ..)| *stretch == span.stretch).unwrap_or(0);
    let full = LANE - 24.0;
    let (y, height) = match place {
        0 | 1 => (top, full),
        band => (top + full / 4.0 * (band - 2) as f64, full / 4.0),
    };
    let (from, to) = (scale.x(span.from), scale.x(span.to));
    format!(
        "<rect x=\"{from:.1}\" y=\"{y:.1}\" width=\"{:.1}\" height=\"{height:.1}\" fill=\"{}\" fill-opacity=\"0.85\"><title>{:.1} to {:.1} s: {}</title></rect>\n",
        (to - from).max(1.0),
        STRETCHES[place].1,
        span.from.as_secs_f64(),
        span.to.as_secs_f64(),
        escaped(&span.text)
    )
}

fn network(outcome: &Outcome, scale: &Scale) -> String {
    let traffic = &outcome.traffic;
    let height = TOP + LINK * traffic.links.len() as f64 + 6.0;
    let mut svg = scale.axis(height);
    let most = traffic.links.values().flatten().map(|step| step.sent).max().unwrap_or(1).max(1) as f64;
    let name = |host: usize| outcome.names.get(host).map_or("", String::as_str);
    for (place, ((from, to), steps)) in traffic.links.iter().enumerate() {
        let y = TOP + LINK * place as f64;
        let _ = writeln!(
            svg,
            "<text x=\"8\" y=\"{:.1}\">{} → {}</text>",
            y + 13.0,
            escaped(name(*from)),
            escaped(name(*to))
        );
        for (number, step) in steps.iter().enumerate().filter(|(_, step)| step.sent > 0) {
            let at = |number: usize| scale.x(traffic.step * number as u32);
            let _ = writeln!(
                svg,
                "<rect x=\"{:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{:.1}\" fill=\"{}\" fill-opacity=\"{:.2}\"/>",
                at(number),
                y + 2.0,
                (at(number + 1) - at(number)).max(0.6),
                LINK - 4.0,
                colour(*step),
                0.2 + 0.8 * (step.sent as f64).ln_1p() / most.ln_1p()
            );
        }
    }
    frame(height, &svg)
}

fn colour(step: Step) -> &'static str {
    match step.lost * 10 / step.sent.max(1) {
        0 if step.lost == 0 => "#2f6f9f",
        0..=4 => "#a0529a",
        _ => "#c9372c",
    }
}

fn row(outcome: &Outcome, moment: &Moment) -> String {
    let name = moment.node.and_then(|node| outcome.names.get(node)).map_or("", String::as_str);
    format!(
        "<tr class=\"{:?}\"><td>{:.3} s</td><td>{}</td><td>{}</td></tr>\n",
        moment.mark,
        moment.at.as_secs_f64(),
        escaped(name),
        escaped(&moment.text)
    )
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::draw;
    use crate::report::Outcome;
    use crate::timeline::{Mark, Moment, SLICES, Span, Stretch, Timeline};
    use crate::trace::Digest;
    use crate::traffic::Traffic;

    #[test]
    fn page_holds_lanes_links_and_objections_and_nothing_from_elsewhere() {
        let second = Duration::from_secs;
        let moment = |mark, node, text: &str| Moment { at: second(3), mark, node, text: text.into() };
        let span =
            Span { from: second(1), to: second(2), stretch: Stretch::Down, node: 0, text: "power".into() };
        // Of `a` until there, then of `b`.
        let of = |end| (0..SLICES).map(|slice| Some(usize::from(slice >= end))).collect();
        let timeline = Timeline {
            moments: vec![
                moment(Mark::Fault, None, "#0: <crash>"),
                moment(Mark::Objection, None, "at 2.500 s, stream 1: a & b"),
            ],
            spans: vec![span],
            leads: vec![(second(0), of(0x40)), (second(4), of(0x80))],
            ..Timeline::default()
        };
        let mut traffic = Traffic::default();
        traffic.add(second(1), 0, 1, 100, true);
        let outcome = Outcome {
            names: ["a", "b", "clients"].map(String::from).to_vec(),
            timeline,
            traffic,
            violations: vec!["at 2.500 s, stream 1: a & b".into()],
            digest: Digest { hash: 1, events: 1 },
            simulated: second(10),
            facts: String::new(),
        };
        let page = draw(&outcome, "a test", "seed 1");
        for part in [
            "a → b",
            "power",
            "tokens from 3f…: a leads, 0.0 to 10.0 s",
            "tokens from 40…: b leads, 0.0 to 4.0 s",
            "tokens from 40…: a leads, 4.0 to 10.0 s",
            "a 50 %",
            "a &amp; b",
            "&lt;crash&gt;",
            "a promise was broken",
        ] {
            assert!(page.contains(part), "{part}: {page}");
        }
        assert!(
            !page.contains("<script") && page.matches("http").count() == page.matches("www.w3.org").count()
        );
    }
}
