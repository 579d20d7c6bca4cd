//! The one UDP socket: the system's, or any the caller has, and a look at what comes in before QUIC does.

use std::{
    fmt, io,
    io::IoSliceMut,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use quinn::{
    AsyncUdpSocket, Runtime, UdpPoller,
    udp::{RecvMeta, Transmit},
};

use super::counters::{Counters, Event};

/// Binds the system's UDP socket, with segmentation offload (GSO, GRO) where the kernel has it. Must be called in a
/// tokio runtime.
///
/// # Errors
/// When the address cannot be bound.
pub fn bind_udp(address: SocketAddr) -> io::Result<Arc<dyn AsyncUdpSocket>> {
    quinn::TokioRuntime.wrap_udp_socket(std::net::UdpSocket::bind(address)?)
}

/// A socket that counts datagrams which cannot be QUIC version 1, and empties them so that nothing parses them.
pub(super) struct Watched {
    inner: Arc<dyn AsyncUdpSocket>,
    counters: Arc<Counters>,
}

impl Watched {
    pub(super) fn new(inner: Arc<dyn AsyncUdpSocket>, counters: Arc<Counters>) -> Self {
        Self { inner, counters }
    }

    /// Looks at each datagram of what came in; `meta.stride` is the length of each but the last (GRO).
    fn inspect(&self, buffer: &[u8], meta: &mut RecvMeta) {
        let foreign =
            buffer[..meta.len].chunks(meta.stride.max(1)).filter(|datagram| is_foreign(datagram)).count();
        (0..foreign).for_each(|_| self.counters.count(Event::ForeignDatagram));
        // A batch is from one sender: where all of it is foreign, none of it need be read.
        if foreign > 0 && foreign * meta.stride.max(1) >= meta.len {
            meta.len = 0;
        }
    }
}

/// Whether a datagram cannot be ours: the fixed bit must be set, and a long header must name QUIC version 1
/// (RFC 9000, section 17.2; peers do not grease the fixed bit because we do not offer it).
fn is_foreign(datagram: &[u8]) -> bool {
    match datagram {
        [first, version @ ..] if first & 0xc0 == 0xc0 => !version.starts_with(&[0, 0, 0, 1]),
        [first, ..] => first & 0x40 == 0,
        [] => true,
    }
}

impl fmt::Debug for Watched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

impl AsyncUdpSocket for Watched {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Arc::clone(&self.inner).create_io_poller()
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        self.inner.try_send(transmit)
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        buffers: &mut [IoSliceMut<'_>],
        meta: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        let polled = self.inner.poll_recv(cx, buffers, meta);
        if let Poll::Ready(Ok(count)) = polled {
            buffers.iter().zip(&mut *meta).take(count).for_each(|(buffer, meta)| self.inspect(buffer, meta));
        }
        polled
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

#[cfg(test)]
mod tests {
    use super::is_foreign;

    #[test]
    fn only_what_may_be_quic_version_one_passes() {
        for (datagram, foreign) in [
            (&[][..], true),
            (b"GET / HTTP/1.1", false), // 0x47: may be a short header, and belongs to no connection.
            (&[0x00, 1, 2], true),
            (&[0x80, 0, 0, 0, 1], true),
            (&[0xc0, 0, 0, 0, 1, 9], false),
            (&[0xc0, 0xff, 0, 0, 1, 9], true),
            (&[0xc0, 0, 0], true),
            (&[0x40], false),
        ] {
            assert_eq!(is_foreign(datagram), foreign, "{datagram:x?}");
        }
    }
}
