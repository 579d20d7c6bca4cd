//! Lines that no program wrote, for a machine that keeps no logs: a web shop with a database, in a small town.
//!
//! Not the made-up lines of the storage crate's tests: those have sixteen foreign shapes and their own clock; a
//! demo wants few programs whose lines tell a story one can ask about.

use std::sync::Arc;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::feed::{Enough, Outlet, Record};
use crate::cli::output::LabelMap;

/// How far back the lines begin, and how far apart they are on average.
const PAST_NS: i64 = 6 * 3600 * 1_000_000_000;
const GAP_NS: i64 = 200_000_000;
const UNITS: [&str; 4] = ["web", "shop", "database", "backup"];
const PATHS: [&str; 6] = ["/", "/cart", "/login", "/item/17", "/item/4711", "/static/logo.svg"];

/// A steady stream of lines.
#[derive(Debug)]
pub struct MadeUp {
    random: StdRng,
    streams: [Arc<LabelMap>; UNITS.len()],
    /// The time of the next line.
    next: i64,
}

impl MadeUp {
    /// Begins some hours before `now`.
    pub fn new(now: i64, host: &str, seed: u64) -> Self {
        let streams = UNITS.map(|unit| {
            let pairs = [("job", "made-up"), ("unit", unit), ("host", host)];
            Arc::new(pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).into())
        });
        MadeUp { random: StdRng::seed_from_u64(seed), streams, next: now - PAST_NS }
    }

    /// All lines up to `now`.
    ///
    /// # Errors
    /// [`Enough`]: nobody wants more.
    pub async fn run_to(&mut self, now: i64, outlet: &mut Outlet) -> Result<(), Enough> {
        while self.next <= now {
            let record = self.record();
            outlet.put_async(record).await?;
        }
        Ok(())
    }

    fn record(&mut self) -> Record {
        let unit = [0, 0, 0, 0, 0, 0, 1, 1, 2, 3][self.random.random_range(0..10)];
        let record =
            Record { labels: self.streams[unit].clone(), timestamp: self.next, line: self.line(unit) };
        self.next += self.random.random_range(1..2 * GAP_NS);
        record
    }

    fn line(&mut self, unit: usize) -> String {
        let (id, n) = (self.random.random::<u32>(), self.random.random_range(1..1000));
        let rare = self.random.random_ratio(1, 40);
        let path = PATHS[self.random.random_range(0..PATHS.len())];
        match (unit, rare) {
            (0, false) => format!("method=GET path={path} status=200 duration={n}ms request=req-{id:08x}"),
            (0, true) => {
                format!(
                    "method=GET path={path} status=502 duration={n}ms request=req-{id:08x} error=\"upstream timed out\""
                )
            }
            (1, false) => {
                format!(r#"{{"level":"info","msg":"order placed","order":"{id:08x}","items":{}}}"#, n % 9 + 1)
            }
            (1, true) => format!(
                r#"{{"level":"error","msg":"payment failed","order":"{id:08x}","attempt":{}}}"#,
                n % 3
            ),
            (2, false) => {
                format!("LOG:  checkpoint complete: wrote {n} buffers; distance={} kB", id % 100_000)
            }
            (2, true) => format!("ERROR:  deadlock detected: process {n} waits for transaction {id}"),
            (_, false) => format!("copied {n} files, {id} bytes"),
            (_, true) => format!("warning: tape {} is slow, retry {}", n % 7, n % 3),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{MadeUp, PAST_NS, UNITS};
    use crate::cli::demo::feed::channel;

    const NOW: i64 = 1_700_000_000_000_000_000;

    #[tokio::test]
    async fn lines_come_from_all_units_in_the_order_of_time_and_none_from_the_future() {
        let (mut outlet, mut records) = channel();
        let mut made_up = MadeUp::new(NOW, "here", 7);
        made_up.run_to(NOW - PAST_NS + 600_000_000_000, &mut outlet).await.unwrap();
        drop(outlet);
        let mut all = Vec::new();
        records.recv_many(&mut all, 5000).await;
        assert!(all.len() > 1000);
        assert!(all.is_sorted_by_key(|record| record.timestamp));
        assert!(all.iter().all(|record| record.timestamp <= NOW));
        for unit in UNITS {
            assert!(all.iter().any(|record| record.labels["unit"] == unit), "{unit}");
        }
    }
}
