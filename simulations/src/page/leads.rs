//! Who led which range of the ring, and when: the ring from top to bottom, time across, a colour for each member; beside
//! their names what they lead in the end.

use std::fmt::Write;
use std::time::Duration;

use super::{LEFT, Scale, TOP, WIDTH, escaped, frame};
use crate::report::Outcome;
use crate::timeline::SLICES;

/// Height of a slice of the ring.
const SLICE: f64 = 1.25;
const COLOURS: [&str; 8] =
    ["#4c78a8", "#f58518", "#54a24b", "#e45756", "#72b7b2", "#b279a2", "#9d755d", "#eeca3b"];

/// A member led a slice for a while.
struct Reign {
    slice: usize,
    leader: usize,
    from: Duration,
    to: Duration,
}

/// Each slice's leaders one after another; stretches without one are left out.
fn reigns(outcome: &Outcome) -> Vec<Reign> {
    let leads = &outcome.timeline.leads;
    let mut reigns = Vec::new();
    for slice in 0..SLICES {
        let at = |place: usize| leads[place].1.get(slice).copied().flatten();
        let mut place = 0;
        while place < leads.len() {
            let after = (place + 1..leads.len()).find(|next| at(*next) != at(place));
            let to = after.map_or(outcome.simulated, |next| leads[next].0);
            let reign = at(place).map(|leader| Reign { slice, leader, from: leads[place].0, to });
            reigns.extend(reign);
            place = after.unwrap_or(leads.len());
        }
    }
    reigns
}

pub(super) fn draw(outcome: &Outcome, scale: &Scale) -> String {
    let full = SLICE * SLICES as f64;
    let mut svg = scale.axis(TOP + full);
    let name = |node: usize| escaped(outcome.names.get(node).map_or("", String::as_str));
    for Reign { slice, leader, from, to } in reigns(outcome) {
        let _ = writeln!(
            svg,
            "<rect x=\"{:.1}\" y=\"{:.2}\" width=\"{:.1}\" height=\"{SLICE}\" fill=\"{}\" shape-rendering=\"crispEdges\"><title>tokens from {slice:02x}…: {} \
             leads, {:.1} to {:.1} s</title></rect>",
            scale.x(from),
            TOP + SLICE * slice as f64,
            (scale.x(to) - scale.x(from)).max(0.5),
            COLOURS[leader % COLOURS.len()],
            name(leader),
            from.as_secs_f64(),
            to.as_secs_f64(),
        );
    }
    let last = outcome.timeline.leads.last();
    for node in 0..outcome.names.len().saturating_sub(1) {
        let y = TOP + 12.0 + node as f64 * 16.0;
        let led = last.map_or(0, |(_, slices)| slices.iter().filter(|leader| **leader == Some(node)).count());
        let _ = writeln!(
            svg,
            "<rect x=\"8\" y=\"{}\" width=\"10\" height=\"10\" fill=\"{}\"/><text x=\"22\" y=\"{y}\">{} {:.0} %</text>",
            y - 9.0,
            COLOURS[node % COLOURS.len()],
            name(node),
            led as f64 * 100.0 / SLICES as f64,
        );
    }
    let _ = writeln!(
        svg,
        "<rect x=\"{LEFT}\" y=\"{TOP}\" width=\"{WIDTH}\" height=\"{full}\" fill=\"none\" stroke=\"#8592a2\"/>"
    );
    frame(TOP + full + 6.0, &svg)
}
