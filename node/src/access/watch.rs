//! Looks whether files have changed, and has them read again.

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use crate::exec::{Exec, Lane};

/// How often files are looked at: how long who was struck from the list may still come in.
const INTERVAL: Duration = Duration::from_secs(5);

/// What tells one state of a file from another.
type State = Vec<Option<(u64, SystemTime)>>;

fn state(files: &[PathBuf]) -> State {
    let state = |file: &PathBuf| {
        let meta = std::fs::metadata(file).ok()?;
        Some((meta.len(), meta.modified().ok()?))
    };
    files.iter().map(state).collect()
}

/// Calls `reload` each time one of the files has changed, until it is dropped. A file that cannot be used is
/// complained of once and read again when it changes again.
pub async fn on_change(
    exec: Exec,
    files: Vec<PathBuf>,
    what: &'static str,
    reload: impl Fn() -> anyhow::Result<()> + Clone + Send + 'static,
) {
    let look =
        |exec: Exec, files: Vec<PathBuf>| async move { exec.run(Lane::Disk, move || state(&files)).await };
    let mut known = look(exec.clone(), files.clone()).await;
    loop {
        tokio::time::sleep(INTERVAL).await;
        let now = look(exec.clone(), files.clone()).await;
        if now == known {
            continue;
        }
        known = now;
        match exec.run(Lane::Disk, reload.clone()).await {
            Ok(()) => tracing::info!(what, "read again, since it has changed"),
            Err(error) => {
                tracing::warn!(
                    what,
                    error = format!("{error:#}"),
                    "it has changed and cannot be used; what was read before stays"
                );
            }
        }
    }
}
