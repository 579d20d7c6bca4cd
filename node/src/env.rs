//! The seams: every place where a node touches time, entropy, the network, threads or the disk.
//!
//! Production and simulation run the same node; they differ in the [`Env`] they hand it. Monotonic time has
//! no seam of its own: it is `tokio::time`, which a simulation pauses. Random numbers come from generators
//! seeded with [`Env::seed`].

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use grapevine_gossip::endpoint::{AsyncUdpSocket, bind_udp};
use rustls::pki_types::UnixTime;
use rustls::time_provider::TimeProvider;

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

/// The wall clock as TLS asks for it: by it certificates are judged.
#[derive(Clone, Debug)]
pub struct CertificateTime(pub Arc<dyn WallClock>);

impl TimeProvider for CertificateTime {
    fn current_time(&self) -> Option<UnixTime> {
        let since = u64::try_from(self.0.now()).ok()?;
        Some(UnixTime::since_unix_epoch(Duration::from_nanos(since)))
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

    /// Binds the one port over which the node and its peers talk. Called in a tokio runtime.
    ///
    /// # Errors
    /// Whatever the bind says.
    fn udp(&self, address: SocketAddr) -> io::Result<Arc<dyn AsyncUdpSocket>>;

    /// The address that this machine has on the way to `peer`.
    ///
    /// # Errors
    /// There is no way there.
    fn route(&self, peer: SocketAddr) -> io::Result<IpAddr>;

    /// The addresses of `host:port`; at least one.
    ///
    /// # Errors
    /// Nobody is known by that name.
    async fn resolve(&self, host: &str) -> io::Result<Vec<SocketAddr>>;
}

/// The operating system's sockets.
#[derive(Debug)]
pub struct SystemNet;

#[async_trait::async_trait]
impl Net for SystemNet {
    async fn http(&self, address: SocketAddr) -> io::Result<tokio::net::TcpListener> {
        tokio::net::TcpListener::bind(address).await
    }

    fn udp(&self, address: SocketAddr) -> io::Result<Arc<dyn AsyncUdpSocket>> {
        bind_udp(address)
    }

    fn route(&self, peer: SocketAddr) -> io::Result<IpAddr> {
        let any: IpAddr = match peer {
            SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
            SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        };
        // Connecting a UDP socket looks up the route and sends nothing.
        let socket = UdpSocket::bind((any, 0))?;
        socket.connect(peer)?;
        Ok(socket.local_addr()?.ip())
    }

    async fn resolve(&self, host: &str) -> io::Result<Vec<SocketAddr>> {
        let found: Vec<SocketAddr> = tokio::net::lookup_host(host).await?.collect();
        if found.is_empty() { Err(io::Error::from(io::ErrorKind::NotFound)) } else { Ok(found) }
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use rustls::time_provider::TimeProvider;

    use super::{CertificateTime, Net, SystemNet, WallClock};

    #[derive(Debug)]
    struct Stopped(i64);

    impl WallClock for Stopped {
        fn now(&self) -> i64 {
            self.0
        }
    }

    #[test]
    fn certificates_are_judged_by_the_nodes_own_clock() {
        let seconds = |now| CertificateTime(Arc::new(Stopped(now))).current_time().map(|time| time.as_secs());
        assert_eq!(seconds(1_700_000_000_999_999_999), Some(1_700_000_000));
        assert_eq!(seconds(-1), None);
    }

    #[tokio::test]
    async fn a_peers_port_is_bound_and_the_way_to_it_found() {
        let socket = SystemNet.udp(([127, 0, 0, 1], 0).into()).unwrap();
        let address = socket.local_addr().unwrap();
        assert_eq!(SystemNet.route(address).unwrap(), address.ip());
        assert_eq!(SystemNet.resolve(&address.to_string()).await.unwrap(), [address]);
        SystemNet.resolve("127.0.0.1").await.unwrap_err();
    }
}
