//! The seams: every place where a node touches time, entropy, the network, threads or the disk.
//!
//! Production and simulation run the same node; they differ in the [`Env`] they hand it. Monotonic time has
//! no seam of its own: it is `tokio::time`, which a simulation pauses. Random numbers come from generators
//! seeded with [`Env::seed`].

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::exec::Exec;

/// What time it is on the wall.
pub trait WallClock: Send + Sync + fmt::Debug {
    /// Nanoseconds since 1970-01-01 UTC. May jump either way.
    fn now(&self) -> i64;
}

/// The operating system's clock.
#[derive(Debug)]
pub struct SystemClock;

impl WallClock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is the seam that everyone else goes through")]
    fn now(&self) -> i64 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
    }
}

/// How a node reaches the network.
#[async_trait::async_trait]
pub trait Net: Send + Sync + fmt::Debug {
    /// Listens for HTTP clients.
    ///
    /// # Errors
    /// Whatever the bind says: the address is taken, not ours, or not allowed.
    async fn http(&self, address: SocketAddr) -> io::Result<tokio::net::TcpListener>;
}

/// The operating system's sockets.
#[derive(Debug)]
pub struct SystemNet;

#[async_trait::async_trait]
impl Net for SystemNet {
    async fn http(&self, address: SocketAddr) -> io::Result<tokio::net::TcpListener> {
        tokio::net::TcpListener::bind(address).await
    }
}

/// What a node is given to live in.
#[derive(Clone, Debug)]
pub struct Env {
    /// Wall time.
    pub clock: Arc<dyn WallClock>,
    /// Sockets.
    pub net: Arc<dyn Net>,
    /// Where work that would block the runtime goes.
    pub exec: Exec,
    /// The node's own directory: log, index, spool.
    pub data_dir: PathBuf,
    /// Seeds the node's generators of random numbers.
    pub seed: u64,
}

impl Env {
    /// The environment of a real node.
    pub fn system(data_dir: PathBuf) -> Self {
        Env {
            clock: Arc::new(SystemClock),
            net: Arc::new(SystemNet),
            exec: Exec::threads(),
            data_dir,
            seed: rand::random(),
        }
    }
}
