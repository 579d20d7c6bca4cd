//! A small typed harness: a node as a child process, a client without a library's good manners, a workload whose
//! every line can be told from its place.

pub mod answers;
pub mod client;
pub mod cluster;
pub mod disk;
pub mod files;
pub mod http;
pub mod log;
pub mod machine;
pub mod node;
pub mod push;
pub mod s3;
pub mod tools;
pub mod workload;

use std::time::Duration;

use tokio::time::Instant;

/// How long anything may take before a test gives up: far beyond what a busy machine needs.
pub const DEADLINE: Duration = Duration::from_secs(60);
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

/// splitmix64 (Steele, Lea, Flood 2014): numbers from a seed.
#[derive(Clone, Debug)]
pub struct Random(pub u64);

impl Random {
    /// The next number.
    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ z >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ z >> 31
    }

    /// A number less than `bound`.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.draw() % bound
    }
}
