//! What a query costs that finds nothing in memory: the server has just started, and the disk is asked for all of it.

use std::path::Path;

use anyhow::{Context, Result};

use super::server::Server;
use super::{Question, parameters};

/// Runs of each query; the median counts.
const RUNS: usize = 3;

/// Asks each question of a server that has just started, over files that are not in memory, and prints a table.
pub(crate) async fn measure(
    server: &mut Server,
    questions: &[Question],
    (start_ns, end_ns): (i64, i64),
    folders: &[&Path],
) -> Result<()> {
    println!("\n| query, nothing in memory | CPU ms | wall ms |\n| --- | --- | --- |");
    for question in questions {
        let mut runs = Vec::new();
        for _ in 0..RUNS {
            server.stop()?;
            folders.iter().try_for_each(|folder| forget(folder))?;
            server.launch().await?;
            let before = server.cpu_s();
            let began = tokio::time::Instant::now();
            server.target.query(&parameters(question, start_ns, end_ns)).await?;
            let wall = began.elapsed().as_secs_f64() * 1000.0;
            let cpu =
                before.zip(server.cpu_s()).map_or(f64::NAN, |(before, after)| (after - before) * 1000.0);
            runs.push((wall, cpu));
        }
        runs.sort_by(|a, b| a.0.total_cmp(&b.0));
        let (wall, cpu) = runs[RUNS / 2];
        println!("| {} | {cpu:.0} | {wall:.0} |", question.name);
    }
    Ok(())
}

/// Writes files out and drops their pages from the kernel's cache.
fn forget(folder: &Path) -> Result<()> {
    for entry in std::fs::read_dir(folder).with_context(|| format!("read `{}`", folder.display()))? {
        let path = entry?.path();
        if path.is_dir() {
            forget(&path)?;
        } else if let Ok(file) = std::fs::File::open(&path) {
            file.sync_all()?;
            rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed)?;
        }
    }
    Ok(())
}
