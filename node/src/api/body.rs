//! Reads bodies within bounds: of their size, and of how slowly they may come.
//!
//! A body holds its share of what may be in flight for as long as it is read. Whoever declares much and sends little
//! would keep others waiting; so a body must come at a least rate, after a grace for slow beginnings.

use std::time::Duration;

use axum::body::Bytes;
use axum::extract::Request;
use axum::http::{StatusCode, header};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use tokio::time::{Instant, timeout_at};

use super::error::ApiError;
use super::server::text;
use crate::push::error::PushError;

/// How long a body may take, however short it is.
const GRACE: Duration = Duration::from_secs(30);
/// Bytes that must come in each second beyond the grace: an eighth of the slowest line that is still sold.
const BYTES_PER_S_MIN: u64 = 16 << 10;

/// How long after its beginning a body of which so many bytes have come may keep us waiting for the next. A decider.
fn patience(received: u64) -> Duration {
    GRACE + Duration::from_secs(received / BYTES_PER_S_MIN)
}

/// Reads a body of so many bytes at most.
///
/// # Errors
/// 413 if there are more, 408 if they come too slowly, 400 if the client stops sending.
pub async fn read_body(request: Request, most: usize) -> Result<Bytes, ApiError> {
    let declared =
        text(request.headers(), header::CONTENT_LENGTH.as_str()).and_then(|t| t.parse::<u64>().ok());
    if let Some(bytes) = declared.filter(|bytes| *bytes > most as u64) {
        return Err(too_large(bytes, most));
    }
    let mut body = Limited::new(request.into_body(), most);
    let (began, mut received, mut parts) = (Instant::now(), 0, Vec::new());
    loop {
        let frame = timeout_at(began + patience(received), body.frame()).await;
        let Some(frame) = frame.map_err(|_| too_slow(received))? else { break };
        let frame = frame.map_err(|error| match error.is::<LengthLimitError>() {
            true => too_large(most as u64 + 1, most),
            false => ApiError::bad(format!("the body could not be read: {error}")),
        })?;
        // Trailers are nothing to us.
        if let Ok(part) = frame.into_data() {
            received += part.len() as u64;
            parts.push(part);
        }
    }
    Ok(join(parts, received as usize))
}

/// Without a copy where all came at once.
fn join(mut parts: Vec<Bytes>, length: usize) -> Bytes {
    if parts.len() <= 1 {
        return parts.pop().unwrap_or_default();
    }
    let mut body = Vec::with_capacity(length);
    parts.iter().for_each(|part| body.extend_from_slice(part));
    body.into()
}

fn too_large(bytes: u64, most: usize) -> ApiError {
    ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, PushError::too_large(bytes, most as u64).message)
}

fn too_slow(received: u64) -> ApiError {
    let seconds = patience(received).as_secs();
    let text = format!(
        "the body came too slowly: {received} bytes in {seconds} s; {BYTES_PER_S_MIN} bytes a second are the least \
         after {} s",
        GRACE.as_secs()
    );
    ApiError::new(StatusCode::REQUEST_TIMEOUT, text)
}
