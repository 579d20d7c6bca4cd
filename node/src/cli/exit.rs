//! Exit codes, enumerated: scripts branch on them.

use std::process::ExitCode;

use crate::cluster::home::HomeError;

/// Shown at the end of `--help` and in the man page.
pub const HELP: &str = "\
Exit codes:
  0  done
  1  failed: the message says what, and what to do
  2  the command line or the configuration cannot be used
  3  the node cannot be reached, or is not ready
  4  the node refused the request
  5  done, but the answer or the data is incomplete: warnings say what is missing";

/// How a command ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// As asked.
    Done,
    /// Anything that has no code of its own.
    Failed,
    /// Arguments or configuration.
    Usage,
    /// No connection, or 503.
    Unreachable,
    /// Another 4xx or 5xx.
    Refused,
    /// Something is missing or damaged, and was named.
    Incomplete,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        ExitCode::from(match exit {
            Exit::Done => 0,
            Exit::Failed => 1,
            Exit::Usage => 2,
            Exit::Unreachable => 3,
            Exit::Refused => 4,
            Exit::Incomplete => 5,
        })
    }
}

/// An error that ends a command with a code of its own.
#[derive(Debug)]
pub struct ExitError {
    /// The code.
    pub exit: Exit,
    /// What to tell.
    pub message: String,
}

impl std::fmt::Display for ExitError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for ExitError {}

/// The code an error asks for.
pub fn of(error: &anyhow::Error) -> Exit {
    let of_cause = |cause: &(dyn std::error::Error + 'static)| {
        let exit = cause.downcast_ref::<ExitError>().map(|error| error.exit);
        exit.or_else(|| cause.downcast_ref::<HomeError>().map(of_home))
    };
    error.chain().find_map(of_cause).unwrap_or(Exit::Failed)
}

fn of_home(error: &HomeError) -> Exit {
    match error {
        HomeError::OtherCluster { .. } | HomeError::OtherName { .. } | HomeError::Founded(_) => Exit::Usage,
        HomeError::Damaged { .. } | HomeError::Io { .. } | HomeError::Key(_) => Exit::Failed,
    }
}
