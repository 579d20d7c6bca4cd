//! A network in memory, for tests in paused time: datagrams arrive after a fixed delay, and nodes can be cut off.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt, io,
    io::IoSliceMut,
    net::SocketAddr,
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll},
    time::Duration,
};

use quinn::{
    AsyncUdpSocket, UdpPoller,
    udp::{RecvMeta, Transmit},
};
use tokio::{
    sync::mpsc,
    time::{Instant, sleep_until},
};

/// One way.
const DELAY: Duration = Duration::from_millis(2);

type Packet = (Instant, SocketAddr, Vec<u8>);

/// All sockets by address, and those that are cut off.
#[derive(Clone, Default)]
pub(crate) struct Wire {
    sockets: Arc<Mutex<BTreeMap<SocketAddr, mpsc::UnboundedSender<Packet>>>>,
    cut: Arc<Mutex<BTreeSet<SocketAddr>>>,
}

impl Wire {
    /// A socket at an address nobody has yet.
    pub(crate) fn socket(&self, address: SocketAddr) -> Arc<dyn AsyncUdpSocket> {
        let (sender, mut packets) = mpsc::unbounded_channel::<Packet>();
        let (arrive, arrived) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            while let Some((at, from, bytes)) = packets.recv().await {
                sleep_until(at).await;
                if arrive.send((from, bytes)).is_err() {
                    return;
                }
            }
        });
        self.sockets.lock().unwrap().insert(address, sender);
        Arc::new(Socket { wire: self.clone(), address, arrived: Mutex::new(arrived) })
    }

    /// Whether a node is cut off: nothing gets out of it or into it.
    pub(crate) fn cut_off(&self, address: SocketAddr, cut: bool) {
        let mut all = self.cut.lock().unwrap();
        _ = if cut { all.insert(address) } else { all.remove(&address) };
    }

    fn send(&self, from: SocketAddr, to: SocketAddr, bytes: &[u8]) {
        let cut = self.cut.lock().unwrap();
        if cut.contains(&from) || cut.contains(&to) {
            return;
        }
        if let Some(socket) = self.sockets.lock().unwrap().get(&to) {
            let _ = socket.send((Instant::now() + DELAY, from, bytes.to_vec()));
        }
    }
}

struct Socket {
    wire: Wire,
    address: SocketAddr,
    arrived: Mutex<mpsc::UnboundedReceiver<(SocketAddr, Vec<u8>)>>,
}

impl fmt::Debug for Socket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.address.fmt(f)
    }
}

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
        transmit
            .contents
            .chunks(segment)
            .for_each(|bytes| self.wire.send(self.address, transmit.destination, bytes));
        Ok(())
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        buffers: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        let Poll::Ready(Some((from, bytes))) = self.arrived.lock().unwrap().poll_recv(cx) else {
            return Poll::Pending;
        };
        buffers[0][..bytes.len()].copy_from_slice(&bytes);
        let (len, stride) = (bytes.len(), bytes.len());
        let mut received = RecvMeta::default();
        (received.addr, received.len, received.stride) = (from, len, stride);
        meta[0] = received;
        Poll::Ready(Ok(1))
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.address)
    }

    fn may_fragment(&self) -> bool {
        false
    }
}
