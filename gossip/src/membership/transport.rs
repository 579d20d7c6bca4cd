//! chitchat's messages over [`Peers`].
//!
//! chitchat awaits [`Socket::send`] in its gossip loop, so connecting there would let one dead peer stall all gossip.
//! Messages are queued instead and sent by tasks of their own, a bounded number at once; what does not fit is dropped
//! and counted, for gossip repeats itself.

use std::{future::Future, net::SocketAddr, pin::Pin, sync::Arc};

use bytes::Bytes;
use chitchat::{
    ChitchatMessage, Deserializable, Serializable,
    transport::{Socket, Transport},
};
use tokio::{
    sync::{Semaphore, mpsc},
    time::timeout,
};

use super::room::Room;
use crate::{
    endpoint::{Event, Gossip, Peers},
    limits::{GOSSIP_BYTES_MAX, GOSSIP_SEND_TIMEOUT, GOSSIP_SENDS_MAX},
};

/// What the traits' `async fn` come to; written out, because naming this is all that `async-trait` would be for.
type Boxed<'a, T> = Pin<Box<dyn Future<Output = anyhow::Result<T>> + Send + 'a>>;

/// Opens one socket: the endpoint's gossip can be taken once.
pub(super) struct Carrier(pub(super) Peers);

impl Transport for Carrier {
    fn open<'a, 'b>(&'a self, address: SocketAddr) -> Boxed<'b, Box<dyn Socket>>
    where
        'a: 'b,
    {
        let socket = self.0.take_gossip().map(|inbox| CarrierSocket {
            peers: self.0.clone(),
            me: address,
            inbox,
            places: Arc::new(Semaphore::new(GOSSIP_SENDS_MAX)),
            room: Room::default(),
        });
        Box::pin(async { Ok(Box::new(socket.ok_or(AlreadyTaken)?) as Box<dyn Socket>) })
    }
}

/// A second membership on one endpoint.
#[derive(Debug, thiserror::Error)]
#[error("this endpoint's gossip is taken already; open another endpoint")]
struct AlreadyTaken;

/// The endpoint was closed.
#[derive(Debug, thiserror::Error)]
#[error("the endpoint is closed")]
struct Closed;

struct CarrierSocket {
    peers: Peers,
    /// Where this member is reached itself.
    me: SocketAddr,
    inbox: mpsc::Receiver<Gossip>,
    places: Arc<Semaphore>,
    room: Room,
}

impl Socket for CarrierSocket {
    fn send<'a, 'b>(&'a mut self, to: SocketAddr, message: ChitchatMessage) -> Boxed<'b, ()>
    where
        'a: 'b,
    {
        // chitchat looks after the dead, a member's own earlier lives among them: those are reached here.
        if to == self.me {
            return Box::pin(async { Ok(()) });
        }
        let bytes = Bytes::from(message.serialize_to_vec());
        self.room.on_sent(&message, bytes.len());
        match Arc::clone(&self.places).try_acquire_owned() {
            Ok(place) if bytes.len() <= GOSSIP_BYTES_MAX => {
                let peers = self.peers.clone();
                tokio::spawn(async move {
                    if !matches!(timeout(GOSSIP_SEND_TIMEOUT, peers.gossip(to, bytes)).await, Ok(Ok(()))) {
                        peers.counters().count(Event::GossipUnsent);
                    }
                    drop(place);
                });
            }
            _ => self.peers.counters().count(Event::GossipDropped),
        }
        Box::pin(async { Ok(()) })
    }

    fn recv<'a, 'b>(&'a mut self) -> Boxed<'b, (SocketAddr, ChitchatMessage)>
    where
        'a: 'b,
        Self: 'b,
    {
        Box::pin(async {
            loop {
                let (peer, bytes) = self.inbox.recv().await.ok_or(Closed)?;
                match ChitchatMessage::deserialize(&mut &bytes[..]) {
                    Ok(message) if self.room.admits(&message, bytes.len()) => return Ok((peer, message)),
                    Ok(_) => self.peers.counters().count(Event::GossipDropped),
                    Err(_) => self.peers.counters().count(Event::Malformed),
                }
            }
        })
    }
}
