//! The network between nodes: datagrams that take their time, get lost, come twice, overtake each other, or meet
//! a partition.
//!
//! Each datagram's fate is drawn when it is sent: whether it is lost or doubled, and how long each copy takes.
//! Jitter reorders. QUIC runs on top unmodified, so that recovery is quinn's own; there is no simulated TCP.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::io::{self, IoSliceMut};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use quinn::udp::{RecvMeta, Transmit};
use quinn::{AsyncUdpSocket, UdpPoller};

use crate::det;
use crate::random::Random;
use crate::trace;
use crate::traffic::Traffic;

/// No datagram is faster. The scheduler's windows are no longer than this, which is what makes nodes independent
/// of each other within one.
pub const LATENCY_MIN: Duration = Duration::from_millis(2);
/// Datagrams that wait in a socket; more are dropped, as the kernel does.
const INBOX_MAX: usize = 4096;

/// What a link is like, or by how much something makes it worse.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Weather {
    /// How long a datagram takes at least; not below [`LATENCY_MIN`] for a link.
    pub latency: Duration,
    /// How much longer it may take.
    pub jitter: Duration,
    /// So many in a thousand are lost.
    pub loss_permille: u64,
    /// So many in a thousand arrive twice.
    pub duplicate_permille: u64,
}

impl Weather {
    /// A cable between two machines of one room.
    pub fn good() -> Self {
        Weather { latency: LATENCY_MIN, jitter: Duration::from_millis(1), ..Weather::default() }
    }

    /// Both on top of each other.
    #[must_use]
    pub fn and(self, worse: Weather) -> Self {
        Weather {
            latency: self.latency + worse.latency,
            jitter: self.jitter + worse.jitter,
            loss_permille: self.loss_permille + worse.loss_permille,
            duplicate_permille: self.duplicate_permille + worse.duplicate_permille,
        }
    }
}

/// A datagram on its way.
#[derive(Clone, Debug)]
pub struct Datagram {
    /// When it arrives.
    pub at: Duration,
    from: SocketAddr,
    port: u16,
    bytes: Bytes,
}

/// All links between all nodes. Cheap to clone.
#[derive(Clone)]
pub struct Network(Arc<Mutex<State>>);

struct State {
    random: Random,
    /// From each host to each.
    links: Vec<Vec<Weather>>,
    /// What makes all links of a host worse.
    worse: Vec<Weather>,
    /// Pairs of (from, to) that nothing passes.
    blocked: BTreeSet<(usize, usize)>,
    hosts: Vec<Host>,
    sent: u64,
    traffic: Traffic,
}

#[derive(Default)]
struct Host {
    /// By arrival, then by the order sent.
    queue: BTreeMap<(Duration, u64), Datagram>,
    ports: BTreeMap<u16, Arc<Mutex<Inbox>>>,
}

#[derive(Default)]
struct Inbox {
    waiting: VecDeque<Datagram>,
    waker: Option<Waker>,
}

/// Locks what nobody can leave half done: a panic ends the simulation anyway.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The address of a node.
pub fn address(host: usize) -> IpAddr {
    let [.., high, low] = (host as u32).to_be_bytes();
    Ipv4Addr::new(10, 1, high, low).into()
}

fn host_of(address: IpAddr) -> Option<usize> {
    match address {
        IpAddr::V4(v4) => match v4.octets() {
            [10, 1, high, low] => Some(usize::from(u16::from_be_bytes([high, low]))),
            _ => None,
        },
        IpAddr::V6(_) => None,
    }
}

impl fmt::Debug for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = lock(&self.0);
        write!(f, "Network({} hosts, {} datagrams)", state.hosts.len(), state.sent)
    }
}

impl Network {
    /// Good links between so many nodes.
    pub fn new(seed: u64, hosts: usize) -> Self {
        Self::of_links(seed, vec![vec![Weather::good(); hosts]; hosts])
    }

    /// These links, from each node to each.
    pub fn of_links(seed: u64, links: Vec<Vec<Weather>>) -> Self {
        let latencies = links.iter().flatten().map(|link| link.latency);
        assert!(
            latencies.min() >= Some(LATENCY_MIN),
            "a shorter latency than a window would break causality"
        );
        let hosts = links.iter().map(|_| Host::default()).collect();
        let (worse, blocked) = (vec![Weather::default(); links.len()], BTreeSet::new());
        let random = Random::of_part(seed, "network");
        Network(Arc::new(Mutex::new(State {
            random,
            links,
            worse,
            blocked,
            hosts,
            sent: 0,
            traffic: Traffic::default(),
        })))
    }

    /// The least time that anything takes from one node to another.
    pub fn latency_min(&self) -> Duration {
        let state = lock(&self.0);
        let between = |(from, links): (usize, &Vec<Weather>)| {
            let others = links.iter().enumerate().filter(move |(to, _)| *to != from);
            others.map(|(_, link)| link.latency).min()
        };
        state.links.iter().enumerate().filter_map(between).min().unwrap_or(LATENCY_MIN)
    }

    /// Makes all links of a node worse, for what is sent from now on.
    pub fn set_worse(&self, host: usize, worse: Weather) {
        lock(&self.0).worse[host] = worse;
    }

    /// How much was sent between whom.
    pub fn traffic(&self) -> Traffic {
        lock(&self.0).traffic.clone()
    }

    /// How many datagrams were sent.
    pub fn sent(&self) -> u64 {
        lock(&self.0).sent
    }

    /// Lets nothing pass from one node to another any more, or lets it pass again. One way only.
    pub fn set_blocked(&self, from: usize, to: usize, blocked: bool) {
        let mut state = lock(&self.0);
        if blocked {
            state.blocked.insert((from, to));
        } else {
            state.blocked.remove(&(from, to));
        }
    }

    /// Ends all partitions, losses and delays.
    pub fn heal(&self) {
        let mut state = lock(&self.0);
        state.blocked.clear();
        state.worse.fill(Weather::default());
    }

    /// Binds a port of a node.
    ///
    /// # Errors
    /// [`io::ErrorKind::AddrInUse`] when another socket of this node has it.
    pub fn bind(&self, host: usize, port: u16) -> io::Result<Arc<Socket>> {
        let inbox = Arc::default();
        match lock(&self.0).hosts[host].ports.entry(port) {
            std::collections::btree_map::Entry::Occupied(_) => return Err(io::ErrorKind::AddrInUse.into()),
            std::collections::btree_map::Entry::Vacant(free) => free.insert(Arc::clone(&inbox)),
        };
        Ok(Arc::new(Socket { network: self.clone(), host, port, inbox }))
    }

    /// Takes the datagrams that arrive at a node before a time, in order.
    pub(crate) fn take_due(&self, host: usize, before: Duration) -> Vec<Datagram> {
        let queue = &mut lock(&self.0).hosts[host].queue;
        let later = queue.split_off(&(before, 0));
        std::mem::replace(queue, later).into_values().collect()
    }

    /// Hands an arrived datagram to the socket it is for, if there is one.
    pub(crate) fn hand_over(&self, host: usize, datagram: Datagram) {
        let inbox = lock(&self.0).hosts[host].ports.get(&datagram.port).cloned();
        let Some(inbox) = inbox else { return };
        let mut inbox = lock(&inbox);
        if inbox.waiting.len() < INBOX_MAX {
            inbox.waiting.push_back(datagram);
        }
        let waker = inbox.waker.take();
        drop(inbox);
        waker.into_iter().for_each(Waker::wake);
    }

    /// A node is down: what is on its way to it is lost, and its ports are free.
    pub(crate) fn forget(&self, host: usize) {
        lock(&self.0).hosts[host] = Host::default();
    }

    fn send(&self, from: (usize, u16), to: SocketAddr, bytes: &[u8]) {
        trace::event("send", from.0, bytes);
        let now = det::elapsed();
        let mut state = lock(&self.0);
        let state = &mut *state;
        let Some(target) = host_of(to.ip()).filter(|host| *host < state.hosts.len()) else { return };
        let weather = state.links[from.0][target].and(state.worse[from.0]).and(state.worse[target]);
        let lost = state.random.permille(weather.loss_permille) || state.blocked.contains(&(from.0, target));
        state.traffic.add(now, from.0, target, bytes.len(), lost);
        if lost {
            return;
        }
        let copies = 1 + u64::from(state.random.permille(weather.duplicate_permille));
        let bytes = Bytes::copy_from_slice(bytes);
        let from = SocketAddr::new(address(from.0), from.1);
        for _ in 0..copies {
            let jitter = Duration::from_nanos(state.random.below(weather.jitter.as_nanos() as u64 + 1));
            let at = now + weather.latency + jitter;
            state.sent += 1;
            let datagram = Datagram { at, from, port: to.port(), bytes: bytes.clone() };
            state.hosts[target].queue.insert((at, state.sent), datagram);
        }
    }
}

/// A bound port of a node: for QUIC, or for whoever speaks in datagrams.
pub struct Socket {
    network: Network,
    host: usize,
    port: u16,
    inbox: Arc<Mutex<Inbox>>,
}

impl fmt::Debug for Socket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Socket({}:{})", address(self.host), self.port)
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        let mut state = lock(&self.network.0);
        let ports = &mut state.hosts[self.host].ports;
        // After a crash the port may be another incarnation's already.
        if ports.get(&self.port).is_some_and(|inbox| Arc::ptr_eq(inbox, &self.inbox)) {
            ports.remove(&self.port);
        }
    }
}

impl Socket {
    /// Sends a datagram of any length. Nobody learns whether it arrives.
    pub fn send_to(&self, bytes: &[u8], to: SocketAddr) {
        self.network.send((self.host, self.port), to, bytes);
    }

    /// The next datagram, and where it came from.
    pub async fn receive(&self) -> (SocketAddr, Bytes) {
        let datagram = std::future::poll_fn(|cx| self.poll_next(cx)).await;
        (datagram.from, datagram.bytes)
    }

    fn poll_next(&self, cx: &Context<'_>) -> Poll<Datagram> {
        let mut inbox = lock(&self.inbox);
        match inbox.waiting.pop_front() {
            Some(datagram) => Poll::Ready(datagram),
            None => {
                inbox.waker = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }
}

/// Simulated sockets take everything at once.
#[derive(Debug)]
struct AlwaysWritable;

impl UdpPoller for AlwaysWritable {
    fn poll_writable(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

impl AsyncUdpSocket for Socket {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Box::pin(AlwaysWritable)
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        let segment = transmit.segment_size.unwrap_or(transmit.contents.len()).max(1);
        transmit.contents.chunks(segment).for_each(|datagram| self.send_to(datagram, transmit.destination));
        Ok(())
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        buffers: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        let mut received = 0;
        for (buffer, meta) in buffers.iter_mut().zip(meta) {
            let Poll::Ready(datagram) = self.poll_next(cx) else { break };
            let length = datagram.bytes.len().min(buffer.len());
            buffer[..length].copy_from_slice(&datagram.bytes[..length]);
            *meta = RecvMeta::default();
            (meta.addr, meta.len, meta.stride) = (datagram.from, length, length);
            meta.dst_ip = Some(address(self.host));
            received += 1;
        }
        if received > 0 { Poll::Ready(Ok(received)) } else { Poll::Pending }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(SocketAddr::new(address(self.host), self.port))
    }

    fn may_fragment(&self) -> bool {
        false
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;
    use std::time::Duration;

    use super::{LATENCY_MIN, Network, Weather, address};

    const LONG: Duration = Duration::from_secs(3600);

    fn send(network: &Network, from: usize, to: usize, count: usize) -> Vec<u8> {
        let socket = network.bind(from, 9).unwrap();
        (0..count).for_each(|n| socket.send_to(&[n as u8], SocketAddr::new(address(to), 9)));
        network.take_due(to, LONG).iter().map(|datagram| datagram.bytes[0]).collect()
    }

    #[test]
    fn good_weather_delivers_everything_once_after_the_latency() {
        let network = Network::new(1, 2);
        let socket = network.bind(0, 9).unwrap();
        socket.send_to(b"x", SocketAddr::new(address(1), 9));
        assert!(network.take_due(1, LATENCY_MIN).is_empty());
        let arrived = network.take_due(1, LONG);
        assert_eq!((arrived.len(), &arrived[0].bytes[..]), (1, &b"x"[..]));
        assert!(network.take_due(1, LONG).is_empty());
    }

    #[test]
    fn bad_weather_loses_doubles_and_reorders() {
        let network = Network::new(1, 2);
        let jitter = Duration::from_millis(50);
        let bad = Weather { jitter, loss_permille: 300, duplicate_permille: 300, ..Weather::default() };
        network.set_worse(1, bad);
        let arrived = send(&network, 0, 1, 200);
        assert!((0..200).any(|n| !arrived.contains(&n)), "none was lost");
        assert!((0..200).any(|n| arrived.iter().filter(|a| **a == n).count() == 2), "none came twice");
        assert!(!arrived.is_sorted(), "none overtook another");
    }

    #[test]
    fn each_pair_has_a_link_of_its_own() {
        let far = Weather { latency: Duration::from_millis(90), jitter: Duration::ZERO, ..Weather::good() };
        let near = Weather { jitter: Duration::ZERO, ..Weather::good() };
        let network = Network::of_links(1, vec![vec![near, near, far]; 3]);
        let socket = network.bind(0, 9).unwrap();
        for to in [1, 2] {
            socket.send_to(b"x", SocketAddr::new(address(to), 9));
        }
        assert_eq!(network.take_due(1, LONG)[0].at, LATENCY_MIN);
        assert_eq!(network.take_due(2, LONG)[0].at, Duration::from_millis(90));
        assert_eq!(network.latency_min(), LATENCY_MIN);
    }

    #[test]
    fn one_way_partition_stops_one_way_until_healed() {
        let network = Network::new(1, 2);
        network.set_blocked(0, 1, true);
        assert_eq!((send(&network, 0, 1, 3).len(), send(&network, 1, 0, 3).len()), (0, 3));
        network.heal();
        assert_eq!(send(&network, 0, 1, 3).len(), 3);
    }

    #[test]
    fn port_is_taken_until_its_socket_or_its_node_is_gone() {
        let network = Network::new(1, 1);
        let first = network.bind(0, 9).unwrap();
        assert!(network.bind(0, 9).is_err());
        network.forget(0);
        let second = network.bind(0, 9).unwrap();
        drop(first);
        assert!(network.bind(0, 9).is_err(), "an old socket frees no other's port");
        drop(second);
        network.bind(0, 9).unwrap();
    }

    #[test]
    fn addresses_tell_nodes_apart() {
        for host in [0, 1, 255, 256, 65_535] {
            assert_eq!(super::host_of(address(host)), Some(host));
        }
        assert_eq!(super::host_of([10, 2, 0, 1].into()), None);
    }
}
