//! How far the design carries: ring and gossip alone, for up to a thousand members on one thread.
//!
//! QUIC is left out: it would cost a connection for each pair that ever talks, and changes nothing about what is said.

mod chart;
mod gossip;
mod ring;

use std::fmt;
use std::time::Duration;

use anyhow::Result;

pub use chart::draw;

/// What one size of cluster showed.
#[derive(Clone, Debug, Default)]
pub struct Row {
    /// How many members.
    pub members: usize,
    /// Until all knew all and their tokens, from an empty start.
    pub joined: Duration,
    /// Until all knew of one member's change.
    pub told: Duration,
    /// Until all agreed that a twentieth of them were dead.
    pub mourned: Duration,
    /// Bytes that each sent a second in quiet times.
    pub bytes: f64,
    /// The largest message in bytes.
    pub largest: usize,
    /// The same after [`INCARNATIONS`] restarts, which are remembered for a while.
    pub bytes_after: f64,
    /// Until all agreed on who lives after them; none if they never did.
    pub settled: Option<Duration>,
    /// Messages that were too large to be sent or answered.
    pub dropped: u64,
    /// What the most loaded member holds in relation to what is fair.
    pub heaviest: f64,
    /// What moved in relation to the least that had to, while members came and went [`INCARNATIONS`] times.
    pub moved: f64,
}

/// Restarts, and in the ring joins and departures.
pub const INCARNATIONS: usize = 500;

/// Measures one size.
///
/// # Errors
/// The members do not agree within a bounded time.
pub fn measure(seed: u64, members: usize) -> Result<Row> {
    let (heaviest, moved) = ring::measure(seed, members);
    std::thread::scope(|scope| {
        let work = || {
            let _entered = crate::det::enter(seed);
            gossip::measure(seed, members)
        };
        let thread = std::thread::Builder::new().stack_size(64 << 20).spawn_scoped(scope, work)?;
        let row = thread.join().unwrap_or_else(|_| anyhow::bail!("gossip panicked; see above"))?;
        Ok(Row { members, heaviest, moved, ..row })
    })
}

/// The names of a row's columns.
pub const HEAD: &str = " members   all joined  change told  deaths told   KiB/s each  largest KiB  \
                        restarts told  KiB/s after  dropped  max ÷ fair  moved ÷ least";

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = |time: Duration| format!("{:.1} s", time.as_secs_f64());
        let kib = |bytes: f64| format!("{:.1}", bytes / 1024.0);
        write!(
            f,
            "{:>8} {:>12} {:>12} {:>12} {:>12} {:>12} {:>14} {:>12} {:>8} {:>11.3} {:>14.3}",
            self.members,
            seconds(self.joined),
            seconds(self.told),
            seconds(self.mourned),
            kib(self.bytes),
            kib(self.largest as f64),
            self.settled.map_or_else(|| "never".into(), seconds),
            kib(self.bytes_after),
            self.dropped,
            self.heaviest,
            self.moved,
        )
    }
}

#[cfg(test)]
mod tests {
    use super::measure;

    #[test]
    fn ten_members_agree_within_seconds_and_share_evenly() {
        let row = measure(1, 10).unwrap();
        assert!(
            row.joined.as_secs() < 20
                && row.mourned.as_secs() < 30
                && row.settled.is_some_and(|settled| settled.as_secs() < 30),
            "{row}"
        );
        assert!((1.0..1.1).contains(&row.heaviest) && (0.99..1.5).contains(&row.moved), "{row}");
        assert!(row.bytes > 100.0 && row.bytes_after > 100.0, "{row}");
    }
}
