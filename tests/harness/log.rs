//! What a process says on standard error, line by line: something to wait for, and something to complain of.

use std::io::{BufRead, BufReader};
use std::process::ChildStderr;
use std::sync::{Arc, Condvar, Mutex};

use super::DEADLINE;

/// The lines so far. A thread of its own reads them, so that no process ever waits for its reader.
#[derive(Clone, Debug)]
pub struct Log(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    lines: Vec<String>,
    ended: bool,
}

impl Log {
    /// Reads until the process closes its end.
    pub fn read(stderr: ChildStderr) -> Self {
        let log = Log(Arc::default());
        let shared = log.0.clone();
        std::thread::spawn(move || {
            let mut lines = BufReader::new(stderr).split(b'\n');
            while let Some(Ok(line)) = lines.next() {
                shared.state.lock().unwrap().lines.push(String::from_utf8_lossy(&line).into_owned());
                shared.changed.notify_all();
            }
            shared.state.lock().unwrap().ended = true;
            shared.changed.notify_all();
        });
        log
    }

    /// Waits for a line that contains a text; none if the process ends without it.
    ///
    /// # Panics
    /// When neither happens in time.
    pub fn line_with(&self, text: &str) -> Option<String> {
        let found = |state: &State| state.lines.iter().find(|line| line.contains(text)).cloned();
        let state = self.0.state.lock().unwrap();
        let waits = |state: &mut State| !state.ended && found(state).is_none();
        let (state, timeout) = self.0.changed.wait_timeout_while(state, DEADLINE, waits).unwrap();
        assert!(!timeout.timed_out(), "never said: {text}\n{}", state.lines.join("\n"));
        found(&state)
    }

    /// Every line, once the process has ended.
    pub fn whole(&self) -> Vec<String> {
        let state = self.0.state.lock().unwrap();
        let (state, timeout) =
            self.0.changed.wait_timeout_while(state, DEADLINE, |state| !state.ended).unwrap();
        assert!(!timeout.timed_out(), "the process does not end:\n{}", state.lines.join("\n"));
        state.lines.clone()
    }
}

/// Whether a line tells of trouble: a warning, an error, a panic.
pub fn is_trouble(line: &str) -> bool {
    let mut words = line.split_whitespace();
    let level = words.nth(1).unwrap_or_default();
    matches!(level, "WARN" | "ERROR") || line.contains("panicked at")
}
