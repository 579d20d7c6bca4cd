//! Segmentation offload (GSO): many packets a system call, where the kernel has it.

use std::{
    fmt, io,
    io::IoSliceMut,
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
};

use bytes::Bytes;
use grapevine_gossip::{
    endpoint::{Peers, bind_udp},
    rpc::NoMethods,
};
use quinn::{
    AsyncUdpSocket, UdpPoller,
    udp::{RecvMeta, Transmit},
};

use crate::{
    methods::{ECHO, Methods},
    node::{Clock, NOW, ample, identity, key, open},
};

/// The system's socket, and the most packets that it was given at once.
struct Counting {
    inner: Arc<dyn AsyncUdpSocket>,
    most: AtomicUsize,
}

impl fmt::Debug for Counting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

impl AsyncUdpSocket for Counting {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Arc::clone(&self.inner).create_io_poller()
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        let packets = transmit.segment_size.map_or(1, |size| transmit.contents.len().div_ceil(size));
        self.most.fetch_max(packets, Ordering::Relaxed);
        self.inner.try_send(transmit)
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        buffers: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        self.inner.poll_recv(cx, buffers, meta)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.inner.local_addr()
    }

    fn max_transmit_segments(&self) -> usize {
        self.inner.max_transmit_segments()
    }

    fn max_receive_segments(&self) -> usize {
        self.inner.max_receive_segments()
    }

    fn may_fragment(&self) -> bool {
        self.inner.may_fragment()
    }
}

#[tokio::test]
async fn many_packets_go_to_the_kernel_at_once_where_it_can_part_them() {
    let (_called, address) = open(&identity(&key(), "called"), Methods::default());
    let inner = bind_udp(([127, 0, 0, 1], 0).into()).unwrap();
    let socket = Arc::new(Counting { inner, most: AtomicUsize::new(0) });
    let caller =
        Peers::open(socket.clone(), &identity(&key(), "caller"), Arc::new(Clock(NOW)), Arc::new(NoMethods))
            .unwrap();
    let body = Bytes::from(vec![7; 5 << 20]);
    assert!(caller.call(address, ECHO, body.clone(), ample()).await.unwrap() == body);
    let (most, can) = (socket.most.load(Ordering::Relaxed), socket.max_transmit_segments());
    assert!(can == 1 || most > 1, "{most} at once, where the kernel takes {can}");
}
