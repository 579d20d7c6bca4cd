//! The node's own log, on standard error, and its level, which can be changed while the node runs.

use std::io::IsTerminal;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock};

use anyhow::Context as _;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::layer::{Context, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer};

use crate::config::server::{Log, LogFormat};
use crate::metrics::{LevelLabel, Metrics};

/// Puts another filter in the place of the one in effect; says whether it could.
type Change = Box<dyn Fn(EnvFilter) -> bool + Send + Sync>;

/// There is one log in a process, and one level.
static CHANGE: OnceLock<Change> = OnceLock::new();
static LEVEL: Mutex<Option<String>> = Mutex::new(None);

const POISON: &str = "no one panics with the level locked";

/// Lines of the log so far, by how grave they are.
static LINES: [(Level, &str, AtomicU64); 5] = [
    (Level::ERROR, "error", AtomicU64::new(0)),
    (Level::WARN, "warn", AtomicU64::new(0)),
    (Level::INFO, "info", AtomicU64::new(0)),
    (Level::DEBUG, "debug", AtomicU64::new(0)),
    (Level::TRACE, "trace", AtomicU64::new(0)),
];

/// Counts the lines that are written.
struct Count;

impl<S: Subscriber> Layer<S> for Count {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let of_level = LINES.iter().find(|(level, ..)| level == event.metadata().level());
        if let Some((.., lines)) = of_level {
            lines.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Shows how many lines the log has.
pub fn show(metrics: &Metrics) {
    for (_, level, lines) in &LINES {
        let shown = metrics.log_messages.get_or_create(&LevelLabel { level });
        shown.inc_by(lines.load(Ordering::Relaxed).saturating_sub(shown.get()));
    }
}

/// Starts the log.
///
/// # Errors
/// A level that is none.
pub fn start(log: &Log) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(&log.level).with_context(|| format!("read log.level `{}`", log.level))?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match log.format {
        LogFormat::Text => {
            let builder = builder.with_ansi(std::io::stderr().is_terminal()).with_filter_reloading();
            let handle = builder.reload_handle();
            builder.finish().with(Count).init();
            keep(Box::new(move |filter| handle.reload(filter).is_ok()));
        }
        LogFormat::Json => {
            let builder = builder.json().with_filter_reloading();
            let handle = builder.reload_handle();
            builder.finish().with(Count).init();
            keep(Box::new(move |filter| handle.reload(filter).is_ok()));
        }
    }
    *LEVEL.lock().expect(POISON) = Some(log.level.clone());
    Ok(())
}

fn keep(change: Change) {
    // A second log in a process is refused by `init` before it comes here.
    let _ = CHANGE.set(change);
}

/// The level in effect; none where no log was started.
pub fn level() -> Option<String> {
    LEVEL.lock().expect(POISON).clone()
}

/// Changes the level until the process ends; says whether it could.
pub fn set_level(level: &str) -> bool {
    let Ok(filter) = EnvFilter::try_new(level) else { return false };
    let changed = CHANGE.get().is_some_and(|change| change(filter));
    if changed {
        *LEVEL.lock().expect(POISON) = Some(level.to_owned());
    }
    changed
}
