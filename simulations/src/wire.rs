//! HTTP between a client and a node, as far as a simulation needs it: one datagram asks, one answers.
//!
//! The node's own router answers, so that a request takes the way of a user's through every layer but the
//! socket. What the network loses is a request without an answer: the client waits, gives up, and asks again,
//! not knowing what has become of the first.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{Request, Response, header};
use bytes::{Buf, BufMut, Bytes};
use tokio::sync::oneshot;
use tokio::time::timeout;
use tower::ServiceExt;

use crate::net::Socket;

/// The largest answer that is read.
const ANSWER_BYTES_MAX: usize = 64 << 20;
/// The status under which the harness reports an answer that was cut off.
const STATUS_BROKEN: u16 = 599;

/// Answers what comes in at a socket. Never ends.
pub async fn serve(router: Router, socket: Arc<Socket>) {
    loop {
        let (from, bytes) = socket.receive().await;
        let Some((number, request)) = decode_request(bytes) else { continue };
        let (router, socket) = (router.clone(), Arc::clone(&socket));
        tokio::spawn(async move {
            let Ok(response) = router.oneshot(request).await;
            socket.send_to(&encode_response(number, response).await, from);
        });
    }
}

/// Asks nodes. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Client {
    socket: Arc<Socket>,
    waiting: Arc<Mutex<Waiting>>,
}

#[derive(Debug, Default)]
struct Waiting {
    next: u64,
    calls: BTreeMap<u64, oneshot::Sender<(u16, Bytes)>>,
}

impl Client {
    /// Asks from a socket; must be called in a runtime.
    pub fn new(socket: Arc<Socket>) -> Self {
        let client = Client { socket, waiting: Arc::default() };
        let receiver = client.clone();
        tokio::spawn(async move {
            loop {
                let (_, answer) = receiver.socket.receive().await;
                receiver.take(answer);
            }
        });
        client
    }

    /// Sends a request to a node and waits so long for status and body; none if nothing came.
    pub async fn call(
        &self,
        server: SocketAddr,
        method: &str,
        target: &str,
        body: &[u8],
        patience: Duration,
    ) -> Option<(u16, Bytes)> {
        let (done, answer) = oneshot::channel();
        let number = {
            let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
            waiting.next += 1;
            let number = waiting.next;
            waiting.calls.insert(number, done);
            number
        };
        self.socket.send_to(&encode_request(number, method, target, body), server);
        let answer = timeout(patience, answer).await;
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).calls.remove(&number);
        answer.ok()?.ok()
    }

    fn take(&self, mut answer: Bytes) {
        if answer.len() < 10 {
            return;
        }
        let (number, status) = (answer.get_u64_le(), answer.get_u16_le());
        let call = self.waiting.lock().unwrap_or_else(PoisonError::into_inner).calls.remove(&number);
        // An answer that came twice, or too late, is nobody's.
        if let Some(call) = call {
            let _ = call.send((status, answer));
        }
    }
}

fn encode_request(number: u64, method: &str, target: &str, body: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(body.len() + target.len() + 32);
    bytes.put_u64_le(number);
    for part in [method, target] {
        bytes.put_u32_le(part.len() as u32);
        bytes.put_slice(part.as_bytes());
    }
    bytes.put_slice(body);
    bytes
}

fn decode_request(mut bytes: Bytes) -> Option<(u64, Request<Body>)> {
    let number = bytes.try_get_u64_le().ok()?;
    let mut part = || {
        let length = bytes.try_get_u32_le().ok()? as usize;
        (length <= bytes.len()).then(|| String::from_utf8(bytes.split_to(length).to_vec()).ok())?
    };
    let (method, target) = (part()?, part()?);
    let request = Request::builder()
        .method(method.as_str())
        .uri(target)
        .header(header::CONTENT_TYPE, "application/json")
        .body(Body::from(bytes));
    Some((number, request.ok()?))
}

async fn encode_response(number: u64, response: Response<Body>) -> Vec<u8> {
    let (parts, body) = response.into_parts();
    let (status, body) = match to_bytes(body, ANSWER_BYTES_MAX).await {
        Ok(body) => (parts.status.as_u16(), body),
        Err(error) => (STATUS_BROKEN, error.to_string().into()),
    };
    let mut bytes = Vec::with_capacity(body.len() + 10);
    bytes.put_u64_le(number);
    bytes.put_u16_le(status);
    bytes.put_slice(&body);
    bytes
}

#[cfg(test)]
mod tests {
    use axum::body::to_bytes;
    use bytes::Bytes;
    use proptest::prelude::{any, prop_assert_eq, proptest};

    use super::{decode_request, encode_request};

    proptest! {
        #[test]
        fn request_survives_a_round_trip(number: u64, body in proptest::collection::vec(any::<u8>(), 0..100)) {
            let bytes = Bytes::from(encode_request(number, "POST", "/a?b=c", &body));
            let (read, request) = decode_request(bytes).unwrap();
            prop_assert_eq!((read, request.method().as_str()), (number, "POST"));
            prop_assert_eq!(request.uri().to_string(), "/a?b=c");
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            prop_assert_eq!(&runtime.block_on(to_bytes(request.into_body(), 1000)).unwrap()[..], &body[..]);
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
            decode_request(bytes.into());
        }
    }
}
