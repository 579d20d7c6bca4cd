//! The table as a picture: two panels on logarithmic axes.

use std::fmt::Write;

use super::Row;

const WIDTH: f64 = 420.0;
const HEIGHT: f64 = 260.0;
const LEFT: f64 = 56.0;
const TOP: f64 = 48.0;
const GAP: f64 = 96.0;

/// A line of a panel: its name, its colour, and what it shows of a row, if there is anything.
type Series = (&'static str, &'static str, fn(&Row) -> Option<f64>);

/// Draws rows in ascending order of members.
pub fn draw(rows: &[Row]) -> String {
    let times: [Series; 4] = [
        ("all joined", "#1b6ca8", |row| Some(row.joined.as_secs_f64())),
        ("a change told", "#2a9d5c", |row| Some(row.told.as_secs_f64())),
        ("deaths told", "#c0392b", |row| Some(row.mourned.as_secs_f64())),
        ("restarts told", "#8e6bbf", |row| Some(row.settled?.as_secs_f64())),
    ];
    let traffic: [Series; 3] = [
        ("each sends, a second", "#1b6ca8", |row| Some(row.bytes / 1024.0)),
        ("the same after restarts", "#8e6bbf", |row| Some(row.bytes_after / 1024.0)),
        ("largest message", "#c0392b", |row| Some(row.largest as f64 / 1024.0)),
    ];
    let (width, height) = (LEFT + 2.0 * WIDTH + GAP + 40.0, TOP + HEIGHT + 90.0);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" font-family=\"sans-serif\" \
         font-size=\"12\" fill=\"#222\">\n<rect width=\"{width}\" height=\"{height}\" fill=\"#fff\"/>\n"
    );
    panel(&mut svg, LEFT, "Seconds until all agree", rows, &times);
    panel(&mut svg, LEFT + WIDTH + GAP, "KiB of gossip", rows, &traffic);
    svg + "</svg>\n"
}

/// The powers of ten around all values.
fn decades(values: impl Iterator<Item = f64>) -> (i32, i32) {
    let (least, most) =
        values.fold((f64::MAX, f64::MIN), |(least, most), value| (least.min(value), most.max(value)));
    let least = least.log10().floor() as i32;
    (least, (most.log10().ceil() as i32).max(least + 1))
}

fn panel(svg: &mut String, left: f64, title: &str, rows: &[Row], series: &[Series]) {
    let positive = |value: f64| value.max(0.01);
    let across = decades(rows.iter().map(|row| row.members as f64));
    let up =
        decades(rows.iter().flat_map(|row| series.iter().filter_map(move |(.., of)| of(row).map(positive))));
    let along =
        |value: f64, (least, most): (i32, i32)| (value.log10() - f64::from(least)) / f64::from(most - least);
    let x = |members: f64| left + WIDTH * along(members, across);
    let y = |value: f64| TOP + HEIGHT * (1.0 - along(positive(value), up));
    let mut line = |text: std::fmt::Arguments<'_>| _ = writeln!(svg, "{text}");
    line(format_args!("<text x=\"{left}\" y=\"28\" font-size=\"15\" font-weight=\"bold\">{title}</text>"));
    let (bottom, right) = (TOP + HEIGHT, left + WIDTH);
    for power in up.0..=up.1 {
        let at = y(10f64.powi(power));
        line(format_args!("<path d=\"M{left} {at}H{right}\" stroke=\"#ddd\"/>"));
        let label = 10f64.powi(power);
        line(format_args!(
            "<text x=\"{}\" y=\"{}\" text-anchor=\"end\">{label}</text>",
            left - 6.0,
            at + 4.0
        ));
    }
    for row in rows {
        let (at, members) = (x(row.members as f64), row.members);
        line(format_args!("<path d=\"M{at} {TOP}V{bottom}\" stroke=\"#eee\"/>"));
        line(format_args!(
            "<text x=\"{at}\" y=\"{}\" text-anchor=\"middle\">{members}</text>",
            bottom + 18.0
        ));
    }
    line(format_args!(
        "<text x=\"{}\" y=\"{}\" text-anchor=\"middle\">members</text>",
        left + WIDTH / 2.0,
        bottom + 36.0
    ));
    for (place, (name, colour, of)) in series.iter().enumerate() {
        let point = |row: &Row| Some(format!("{:.1},{:.1}", x(row.members as f64), y(of(row)?)));
        let points: Vec<String> = rows.iter().filter_map(point).collect();
        line(format_args!(
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>",
            points.join(" ")
        ));
        for point in points.iter().filter_map(|point| point.split_once(',')) {
            line(format_args!("<circle cx=\"{}\" cy=\"{}\" r=\"3\" fill=\"{colour}\"/>", point.0, point.1));
        }
        let (at, down) = (left + (place % 2) as f64 * 190.0, bottom + 56.0 + (place / 2) as f64 * 18.0);
        line(format_args!(
            "<rect x=\"{at}\" y=\"{}\" width=\"14\" height=\"4\" fill=\"{colour}\"/>",
            down - 6.0
        ));
        line(format_args!("<text x=\"{}\" y=\"{down}\">{name}</text>", at + 20.0));
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Row, draw};

    #[test]
    fn every_row_is_a_point_of_every_line_but_where_members_never_agreed() {
        let row = |members: usize| Row {
            members,
            joined: Duration::from_secs(members as u64),
            settled: (members < 1000).then_some(Duration::from_secs(9)),
            bytes: 100.0 * members as f64,
            ..Row::default()
        };
        let svg = draw(&[row(10), row(100), row(1000)]);
        assert_eq!(svg.matches("<circle").count(), 3 * 7 - 1);
        assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
    }
}
