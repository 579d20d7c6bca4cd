//! The answering side.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use quinn::{RecvStream, SendStream};
use tokio::{
    sync::Semaphore,
    time::{Instant, timeout, timeout_at},
};

use super::{
    Handler, Refusal, RefusalCode, Request,
    client::{BodyError, CANCELLED, read_body},
    frame::{Kind, REQUEST_HEADER_BYTES, RequestHeader, encode_frame_header, encode_refusal},
};
use crate::{
    endpoint::{Counters, Event},
    limits::{BODIES_BYTES_MAX, MESSAGE_BYTES_MAX, REQUEST_HEADER_TIMEOUT, REQUESTS_MAX},
};

/// Unit in which bodies are counted against [`BODIES_BYTES_MAX`], so that the number of units fits a semaphore.
const BODY_UNIT: usize = 1024;

/// What all connections share for answering.
pub(crate) struct Serving {
    handler: Arc<dyn Handler>,
    counters: Arc<Counters>,
    requests: Semaphore,
    bodies: Semaphore,
}

impl Serving {
    pub(crate) fn new(handler: Arc<dyn Handler>, counters: Arc<Counters>) -> Self {
        let (requests, bodies) = (Semaphore::new(REQUESTS_MAX), Semaphore::new(BODIES_BYTES_MAX / BODY_UNIT));
        Self { handler, counters, requests, bodies }
    }
}

/// Where a handler sends its items.
#[derive(Debug)]
pub struct Reply {
    stream: SendStream,
}

/// The caller is gone, or the item was too large to send.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("cannot send an answer: {0}")]
pub struct Unsent(String);

impl From<Unsent> for Refusal {
    fn from(unsent: Unsent) -> Self {
        Self::new(RefusalCode::Failed, unsent.to_string())
    }
}

impl Reply {
    /// Sends one item, waiting while the caller does not read.
    ///
    /// # Errors
    /// When the caller is gone or the item is larger than [`MESSAGE_BYTES_MAX`].
    pub async fn send(&mut self, item: Bytes) -> Result<(), Unsent> {
        if item.len() > MESSAGE_BYTES_MAX {
            return Err(Unsent(format!("`{}` bytes are too many for one item; split it", item.len())));
        }
        let header = encode_frame_header(Kind::Item, item.len());
        let mut chunks = [Bytes::copy_from_slice(&header), item];
        self.stream.write_all_chunks(&mut chunks).await.map_err(|error| Unsent(error.to_string()))
    }
}

/// How a request came to its end.
enum Outcome {
    Done(Result<(), Refusal>),
    Gone,
    Malformed,
}

/// Who calls, and how far away it is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Caller {
    pub(crate) peer: SocketAddr,
    pub(crate) round_trip: Duration,
}

/// Answers one request on its stream.
pub(crate) async fn answer(serving: &Serving, caller: Caller, stream: SendStream, mut requests: RecvStream) {
    let gone = stream.stopped();
    let mut reply = Reply { stream };
    // The caller's reset shows on the answers' side, whatever this side is doing.
    let outcome = tokio::select! {
        biased;
        _ = gone => Outcome::Gone,
        outcome = work(serving, caller, &mut requests, &mut reply) => outcome,
    };
    let (event, last) = match outcome {
        Outcome::Done(Ok(())) => (Event::Answered, encode_frame_header(Kind::End, 0).to_vec()),
        Outcome::Done(Err(refusal)) => (Event::Refused, encode_refusal(&refusal)),
        Outcome::Gone => (Event::Cancelled, Vec::new()),
        Outcome::Malformed => (Event::Malformed, Vec::new()),
    };
    serving.counters.count(event);
    if last.is_empty() {
        let _ = reply.stream.reset(CANCELLED);
        return;
    }
    // A caller that does not read its last frame loses it with the connection; nothing waits for it here but this.
    let sent = timeout(REQUEST_HEADER_TIMEOUT, reply.stream.write_all(&last)).await;
    let _ = if let Ok(Ok(())) = sent { reply.stream.finish() } else { reply.stream.reset(CANCELLED) };
}

async fn work(serving: &Serving, caller: Caller, requests: &mut RecvStream, reply: &mut Reply) -> Outcome {
    let mut header = [0; REQUEST_HEADER_BYTES];
    let Ok(Ok(())) = timeout(REQUEST_HEADER_TIMEOUT, requests.read_exact(&mut header)).await else {
        return Outcome::Malformed;
    };
    let Ok(header) = RequestHeader::decode(header) else { return Outcome::Malformed };
    let deadline = Instant::now() + header.timeout;
    let Ok(_permit) = serving.requests.try_acquire() else {
        let text = format!("`{REQUESTS_MAX}` requests are being worked on; try another node");
        return Outcome::Done(Err(Refusal::new(RefusalCode::Busy, text)));
    };
    let served = timeout_at(deadline, async {
        let units = header.body.div_ceil(BODY_UNIT) as u32;
        let Ok(_room) = serving.bodies.acquire_many(units).await else { return Outcome::Gone };
        let body = match read_body(requests, header.body).await {
            Ok(body) => body,
            Err(BodyError::Frame(_)) => return Outcome::Malformed,
            Err(BodyError::Lost(_)) => return Outcome::Gone,
        };
        let Caller { peer, round_trip } = caller;
        let request = Request { peer, round_trip, method: header.method, body, deadline };
        Outcome::Done(serving.handler.serve(request, reply).await)
    });
    let passed = || Refusal::new(RefusalCode::DeadlinePassed, "the deadline passed while working on it");
    served.await.unwrap_or_else(|_| Outcome::Done(Err(passed())))
}
