//! A small typed harness: a node as a child process, a client without a library's good manners, a workload whose
//! every line can be told from its place.

pub mod answers;
pub mod browser;
pub mod client;
pub mod cluster;
pub mod disk;
pub mod files;
pub mod fleet;
pub mod http;
pub mod load;
pub mod log;
pub mod machine;
pub mod net;
pub mod node;
pub mod push;
pub mod s3;
pub mod tools;
pub mod workload;

use std::time::Duration;

pub use grapevine_storage::testdata::Random;
use tokio::time::Instant;

/// How long anything may take before a test gives up: far beyond what a busy machine needs.
pub const DEADLINE: Duration = Duration::from_secs(120);
/// How often a condition is looked at that nobody announces.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// Waits until something is there.
///
/// # Panics
/// When it is not there in time; `what` says what never came.
pub fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(began.elapsed() < DEADLINE, "never came: {what}");
        std::thread::park_timeout(LOOK_EVERY);
    }
}
