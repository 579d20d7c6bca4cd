//! What nodes log: warnings and errors go into the timeline, and errors are held against what may be expected.

use std::fmt::{self, Write};
use std::sync::{Mutex, OnceLock, PoisonError};

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::layer::{Context, Layer};

use crate::host;
use crate::timeline::{self, Mark};

/// Lines kept at most.
const LINES_MAX: usize = 10_000;

/// A line of a node's log.
#[derive(Clone, Debug)]
pub struct Line {
    /// Whose; none where the harness itself logs.
    pub node: Option<usize>,
    /// Whether it is an error.
    pub is_error: bool,
    /// The message, then its fields.
    pub text: String,
}

static LINES: OnceLock<Mutex<Vec<Line>>> = OnceLock::new();

fn lines() -> std::sync::MutexGuard<'static, Vec<Line>> {
    LINES.get_or_init(Mutex::default).lock().unwrap_or_else(PoisonError::into_inner)
}

/// All lines so far; this process runs one simulation.
pub fn take() -> Vec<Line> {
    std::mem::take(&mut lines())
}

/// Listens to the nodes.
#[derive(Debug, Default)]
pub struct Listener;

impl<S: Subscriber> Layer<S> for Listener {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let level = *event.metadata().level();
        if level > Level::WARN {
            return;
        }
        let mut text = Text::default();
        event.record(&mut text);
        let line = Line { node: host::current(), is_error: level == Level::ERROR, text: text.whole() };
        let mark = if line.is_error { Mark::Error } else { Mark::Warning };
        timeline::mark(mark, line.node, || format!("{level}: {}", line.text));
        let mut lines = lines();
        if lines.len() < LINES_MAX {
            lines.push(line);
        }
    }
}

#[derive(Default)]
struct Text {
    message: String,
    fields: String,
}

impl Text {
    fn whole(self) -> String {
        self.message + &self.fields
    }
}

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let _ = match field.name() {
            "message" => write!(self.message, "{value:?}"),
            name => write!(self.fields, " {name}={value:?}"),
        };
    }
}

#[cfg(test)]
mod tests {
    use tracing_subscriber::layer::SubscriberExt;

    use super::{Listener, take};

    #[test]
    fn warnings_and_errors_are_heard_with_their_fields() {
        let subscriber = tracing_subscriber::registry().with(Listener);
        tracing::subscriber::with_default(subscriber, || {
            tracing::info!("not this");
            tracing::error!(pack = 7, "lost it");
        });
        let lines = take();
        assert_eq!(lines.len(), 1);
        assert!(lines[0].is_error && lines[0].text == "lost it pack=7", "{}", lines[0].text);
    }
}
