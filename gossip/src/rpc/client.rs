//! The calling side.

use std::net::SocketAddr;

use bytes::Bytes;
use quinn::{Connection, ReadExactError, RecvStream, SendStream, VarInt};
use tokio::time::{Instant, timeout_at};

use super::{
    CallError, Method,
    frame::{FRAME_HEADER_BYTES, FrameError, Kind, RequestHeader, decode_frame_header, decode_refusal},
};
use crate::limits::MESSAGE_BYTES_MAX;

/// Code with which a dropped call resets its stream.
pub(super) const CANCELLED: VarInt = VarInt::from_u32(1);

/// A call under way. Dropping it cancels it on the other side too.
#[derive(Debug)]
pub struct Call {
    peer: SocketAddr,
    deadline: Instant,
    answers: RecvStream,
    ended: bool,
}

/// Begins a call: sends the whole request.
pub(crate) async fn open(
    connection: &Connection,
    peer: SocketAddr,
    method: Method,
    body: Bytes,
    deadline: Instant,
) -> Result<Call, CallError> {
    if body.len() > MESSAGE_BYTES_MAX {
        return Err(CallError::TooLarge(body.len()));
    }
    let sending = async {
        let (requests, answers) = connection.open_bi().await.map_err(|error| lost(peer, error))?;
        let timeout = deadline.saturating_duration_since(Instant::now());
        let header = RequestHeader { method, timeout, body: body.len() }.encode();
        let mut chunks = [Bytes::copy_from_slice(&header), body];
        write_request(requests, &mut chunks).await.map_err(|error| lost(peer, error))?;
        Ok(Call { peer, deadline, answers, ended: false })
    };
    timeout_at(deadline, sending).await.unwrap_or(Err(CallError::DeadlinePassed { peer }))
}

/// A request stream that is reset unless it was written to its end.
struct Unfinished(Option<SendStream>);

impl Drop for Unfinished {
    fn drop(&mut self) {
        if let Some(stream) = &mut self.0 {
            let _ = stream.reset(CANCELLED);
        }
    }
}

/// Writes a whole request. Dropped before its end, the stream is reset: the peer must not take a part for the whole.
async fn write_request(stream: SendStream, chunks: &mut [Bytes]) -> Result<(), quinn::WriteError> {
    let mut unfinished = Unfinished(Some(stream));
    if let Some(stream) = &mut unfinished.0 {
        stream.write_all_chunks(chunks).await?;
        // Fails only on a stream that was finished or reset, which this one was not.
        let _ = stream.finish();
    }
    unfinished.0 = None;
    Ok(())
}

fn lost(peer: SocketAddr, error: impl ToString) -> CallError {
    CallError::Lost { peer, reason: error.to_string() }
}

impl Call {
    /// The next item; none after the last.
    ///
    /// # Errors
    /// When the peer refuses, is lost, or does not answer by the deadline.
    pub async fn next(&mut self) -> Result<Option<Bytes>, CallError> {
        if self.ended {
            return Ok(None);
        }
        let (peer, deadline) = (self.peer, self.deadline);
        timeout_at(deadline, self.read()).await.unwrap_or(Err(CallError::DeadlinePassed { peer }))
    }

    /// The only item of a call that has one answer.
    ///
    /// # Errors
    /// As [`Call::next`], and when there is none.
    pub async fn only(mut self) -> Result<Bytes, CallError> {
        let item = self.next().await?;
        let malformed = CallError::Malformed { peer: self.peer, error: FrameError::CutOff };
        let item = item.ok_or(malformed)?;
        // The end tells that the peer's work succeeded after the item, too.
        self.next().await?;
        Ok(item)
    }

    async fn read(&mut self) -> Result<Option<Bytes>, CallError> {
        let peer = self.peer;
        let malformed = |error| CallError::Malformed { peer, error };
        let mut header = [0; FRAME_HEADER_BYTES];
        self.answers.read_exact(&mut header).await.map_err(|error| match error {
            ReadExactError::FinishedEarly(_) => malformed(FrameError::CutOff),
            ReadExactError::ReadError(error) => lost(peer, error),
        })?;
        let (kind, length) = decode_frame_header(header).map_err(malformed)?;
        let payload = read_body(&mut self.answers, length).await.map_err(|error| match error {
            BodyError::Frame(error) => malformed(error),
            BodyError::Lost(error) => lost(peer, error),
        })?;
        match kind {
            Kind::Item => Ok(Some(payload)),
            Kind::End => {
                self.ended = true;
                Ok(None)
            }
            Kind::Refusal => {
                self.ended = true;
                let refusal = decode_refusal(&payload).map_err(malformed)?;
                Err(CallError::Refused { peer, refusal })
            }
        }
    }
}

/// Why the bytes of a message did not all come.
pub(super) enum BodyError {
    Frame(FrameError),
    Lost(quinn::ReadError),
}

/// The room made for a body before it comes: a push of the usual size then is not moved while it grows.
const BODY_ROOM: usize = 512 << 10;

/// Reads `length` bytes. Beyond [`BODY_ROOM`], memory grows with what has come, not with what was announced; a message
/// that came in one piece is not copied.
pub(super) async fn read_body(stream: &mut RecvStream, length: usize) -> Result<Bytes, BodyError> {
    let mut whole: Vec<u8> = Vec::new();
    while whole.len() < length {
        let chunk = stream.read_chunk(length - whole.len(), true).await.map_err(BodyError::Lost)?;
        let Some(chunk) = chunk else { return Err(BodyError::Frame(FrameError::CutOff)) };
        if chunk.bytes.len() == length {
            return Ok(chunk.bytes);
        }
        if whole.capacity() == 0 {
            whole.reserve_exact(length.min(BODY_ROOM));
        }
        whole.extend_from_slice(&chunk.bytes);
    }
    Ok(whole.into())
}
