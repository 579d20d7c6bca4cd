//! The disk ladder at work: one worker measures and sets the gate that pushes ask, another gives up the oldest day
//! while too much is in use. Days go one at a time, each followed by a new look.

use grapevine_storage::index::{Day, Index, IndexError};

use super::Housekeeper;
use crate::disk::{Rung, Usage, rung};
use crate::exec::Lane;

impl Housekeeper {
    /// One look at the disk.
    pub(super) async fn watch_disk(&self) -> anyhow::Result<()> {
        let (dir, spool) = (self.env.data_dir.clone(), self.metrics.spool_bytes.get().max(0) as u64);
        let exec = self.env.exec.clone();
        let usage = self.env.exec.run(Lane::Disk, move || Usage::of(&exec, &dir, spool)).await?;
        let rung = rung(&self.config.disk, usage);
        self.metrics.disk_used.set(usage.ratio());
        self.metrics.disk_rung.set(rung as i64);
        if rung != self.disk.rung() {
            let percent = (usage.ratio() * 100.0) as u64;
            tracing::warn!(?rung, percent, spool, "the disk ladder: the node is on another rung now");
        }
        self.disk.set(rung, reason(rung, usage));
        Ok(())
    }

    /// Gives up the oldest day, if the last look at the disk found it too full.
    pub(super) async fn relieve(&self) -> anyhow::Result<()> {
        let (rung, limits) = (self.disk.rung(), &self.config.disk);
        // Where packs lie behind a network, giving them up frees nothing here.
        let is_local = self.store.local_path("probe").is_some();
        let is_full = limits.retention_percent > 0 && rung >= Rung::Retention;
        if !is_local || !is_full && limits.size_max.0 == 0 {
            return Ok(());
        }
        let index = self.index.clone();
        let days = self.env.exec.run(Lane::Disk, move || sizes(&index)).await?;
        let today = Day::of(self.env.clock.now());
        if let Some(day) = day_to_give_up(&days, is_full, limits.size_max.0, today) {
            tracing::warn!(%day, ?rung, "the disk is too full: the oldest day is given up before its time");
            self.drop_day(day, |_| true).await?;
            self.staff.relief.progress(1, 1);
            // The next day goes only if the disk is still too full without this one.
            self.watch_disk().await?;
        }
        Ok(())
    }
}

fn reason(rung: Rung, usage: Usage) -> String {
    let percent = (usage.ratio() * 100.0) as u64;
    match rung {
        Rung::Free | Rung::Retention => String::new(),
        Rung::Refuse | Rung::ReadOnly => format!(
            "the disk is {percent}% full and {} bytes wait for the chunk store: pushes are refused until there is room",
            usage.spool
        ),
    }
}

/// Bytes of the packs of each day, oldest first.
fn sizes(index: &Index) -> Result<Vec<(Day, u64)>, IndexError> {
    let mut sizes = Vec::new();
    for day in index.days()? {
        let Some(open) = index.day(day)? else { continue };
        let packs = open.read(|snapshot| snapshot.packs())?;
        sizes.push((day, packs.iter().map(|(_, record)| record.bytes).sum()));
    }
    Ok(sizes)
}

/// The day to give up: the oldest, if the disk is fuller than it may be or the sum of all packs larger. Never today or later, whose
/// entries were only just acknowledged; pushes are refused instead.
pub fn day_to_give_up(days: &[(Day, u64)], is_full: bool, size_max: u64, today: Day) -> Option<Day> {
    let total: u64 = days.iter().map(|(_, bytes)| bytes).sum();
    let too_much = is_full || size_max > 0 && total > size_max;
    let oldest = days.iter().map(|(day, _)| *day).min().filter(|day| *day < today);
    oldest.filter(|_| too_much)
}

#[cfg(test)]
mod tests {
    use grapevine_storage::index::Day;

    use super::day_to_give_up;

    #[test]
    fn the_oldest_day_goes_when_the_disk_or_the_limit_asks_and_today_never() {
        let days = [(Day(5), 10), (Day(6), 20), (Day(9), 30)];
        for (is_full, size_max, expected) in [
            (false, 0, None),
            (false, 60, None),
            (false, 59, Some(Day(5))),
            (true, 0, Some(Day(5))),
            (true, 1000, Some(Day(5))),
        ] {
            assert_eq!(day_to_give_up(&days, is_full, size_max, Day(9)), expected, "{is_full} {size_max}");
        }
        assert_eq!(day_to_give_up(&days[2..], true, 1, Day(9)), None);
        assert_eq!(day_to_give_up(&[], true, 1, Day(9)), None);
    }
}
