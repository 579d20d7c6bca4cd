//! What happened at the endpoint, counted: the only trace that strangers leave.

use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::Notify;

/// Something worth counting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// A datagram that is no QUIC of a known version came in; dropped unread.
    ForeignDatagram,
    /// A handshake was refused because too many were under way.
    HandshakeRefused,
    /// An address was asked to prove itself first.
    HandshakeRetried,
    /// A stranger did not get in: wrong, expired or missing certificate, or no TLS at all.
    HandshakeFailed,
    /// A handshake began and was never finished.
    HandshakeTimedOut,
    /// A peer connected to this node.
    Accepted,
    /// This node connected to a peer.
    Dialled,
    /// Connecting to a peer failed.
    DialFailed,
    /// Two connections to one peer came up at once; one of them goes.
    Duplicate,
    /// A gossip message did not fit its queue, or was too long.
    GossipDropped,
    /// A gossip message could not be sent.
    GossipUnsent,
    /// A peer sent something that cannot be read.
    Malformed,
    /// A request was answered.
    Answered,
    /// A request was refused.
    Refused,
    /// A request was dropped because its caller went away.
    Cancelled,
}

impl Event {
    /// All events.
    pub const ALL: [Self; 15] = [
        Self::ForeignDatagram,
        Self::HandshakeRefused,
        Self::HandshakeRetried,
        Self::HandshakeFailed,
        Self::HandshakeTimedOut,
        Self::Accepted,
        Self::Dialled,
        Self::DialFailed,
        Self::Duplicate,
        Self::GossipDropped,
        Self::GossipUnsent,
        Self::Malformed,
        Self::Answered,
        Self::Refused,
        Self::Cancelled,
    ];

    /// The event's name in metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::ForeignDatagram => "foreign_datagram",
            Self::HandshakeRefused => "handshake_refused",
            Self::HandshakeRetried => "handshake_retried",
            Self::HandshakeFailed => "handshake_failed",
            Self::HandshakeTimedOut => "handshake_timed_out",
            Self::Accepted => "accepted",
            Self::Dialled => "dialled",
            Self::DialFailed => "dial_failed",
            Self::Duplicate => "duplicate",
            Self::GossipDropped => "gossip_dropped",
            Self::GossipUnsent => "gossip_unsent",
            Self::Malformed => "malformed",
            Self::Answered => "answered",
            Self::Refused => "refused",
            Self::Cancelled => "cancelled",
        }
    }
}

/// How often each event happened since the start.
#[derive(Debug, Default)]
pub struct Counters {
    counts: [AtomicU64; Event::ALL.len()],
    changed: Notify,
}

impl Counters {
    /// How often `event` happened.
    pub fn get(&self, event: Event) -> u64 {
        self.counts[event as usize].load(Ordering::Relaxed)
    }

    /// Waits until `event` has happened at least `count` times.
    pub async fn reach(&self, event: Event, count: u64) {
        loop {
            // Asked for before looking, so that nothing between is missed.
            let changed = self.changed.notified();
            if self.get(event) >= count {
                return;
            }
            changed.await;
        }
    }

    pub(crate) fn count(&self, event: Event) {
        self.counts[event as usize].fetch_add(1, Ordering::Relaxed);
        self.changed.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::{Counters, Event};

    #[test]
    fn each_event_is_counted_by_itself_under_its_own_name() {
        let counters = Counters::default();
        for (index, event) in Event::ALL.into_iter().enumerate() {
            assert_eq!(event as usize, index);
            (0..=index).for_each(|_| counters.count(event));
        }
        for (index, event) in Event::ALL.into_iter().enumerate() {
            assert_eq!(counters.get(event), index as u64 + 1);
            assert_eq!(Event::ALL.into_iter().filter(|other| other.name() == event.name()).count(), 1);
        }
    }
}
