//! Methods to call in tests.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use bytes::Bytes;
use grapevine_gossip::rpc::{Handler, Method, Refusal, RefusalCode, Reply, Request, Served};
use tokio::sync::Notify;

pub(crate) const ECHO: Method = Method { id: 1, version: 1 };
/// Answers as many items as the body says, of 64 KiB each.
pub(crate) const FLOOD: Method = Method { id: 2, version: 1 };
/// Never answers.
pub(crate) const STALL: Method = Method { id: 3, version: 1 };
pub(crate) const REFUSE: Method = Method { id: 4, version: 1 };
/// Sends one item, then fails.
pub(crate) const BREAK: Method = Method { id: 5, version: 1 };

/// Answers how far away the caller is, in microseconds.
pub(crate) const FAR: Method = Method { id: 6, version: 1 };

pub(crate) const FLOOD_ITEM_BYTES: usize = 64 << 10;

#[derive(Clone, Default)]
pub(crate) struct Methods {
    pub(crate) flooded: Arc<AtomicU64>,
    pub(crate) stall_began: Arc<Notify>,
    pub(crate) stall_ended: Arc<Notify>,
}

/// Tells that it was dropped.
struct Tell(Arc<Notify>);

impl Drop for Tell {
    fn drop(&mut self) {
        self.0.notify_one();
    }
}

impl Methods {
    async fn flood(&self, count: Bytes, reply: &mut Reply) -> Result<(), Refusal> {
        let count = u32::from_be_bytes(count[..].try_into().unwrap());
        for _ in 0..count {
            reply.send(Bytes::from(vec![7; FLOOD_ITEM_BYTES])).await?;
            self.flooded.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    }

    async fn stall(&self) -> Result<(), Refusal> {
        let _tell = Tell(Arc::clone(&self.stall_ended));
        self.stall_began.notify_one();
        std::future::pending().await
    }

    async fn answer(&self, request: Request, reply: &mut Reply) -> Result<(), Refusal> {
        match request.method {
            ECHO => Ok(reply.send(request.body).await?),
            FLOOD => self.flood(request.body, reply).await,
            STALL => self.stall().await,
            FAR => {
                let micros = request.round_trip.as_micros() as u64;
                Ok(reply.send(Bytes::copy_from_slice(&micros.to_be_bytes())).await?)
            }
            REFUSE => Err(Refusal::new(RefusalCode::Unavailable, "the disk is full")),
            BREAK => {
                reply.send(Bytes::from_static(b"half")).await?;
                Err(Refusal::new(RefusalCode::Failed, "broke in the middle"))
            }
            other => Err(Refusal::new(RefusalCode::UnknownMethod, format!("`{other}`"))),
        }
    }
}

impl Handler for Methods {
    fn serve<'a>(&'a self, request: Request, reply: &'a mut Reply) -> Served<'a> {
        Box::pin(self.answer(request, reply))
    }
}
