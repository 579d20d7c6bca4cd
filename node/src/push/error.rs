//! What a refused push is answered with: one code, one text, and the two shapes Loki writes them in.

use prost::Message;

/// Why a push was refused, as far as a client or a caller has to branch on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorCode {
    /// The request, or some of its entries, cannot be taken whatever the state of the node.
    Invalid,
    /// No tenant was named.
    Unauthenticated,
    /// The body, packed or unpacked, is above a limit.
    TooLarge,
    /// The body came too slowly.
    TooSlow,
    /// The request holds no stream.
    NoStreams,
    /// A rate or a number of streams is exceeded; the same request may pass later.
    RateLimited,
    /// The operator has blocked this tenant; the status is the operator's choice.
    Blocked(u16),
    /// Loki answers 500 here although the request is at fault (a metadata name that normalises to nothing).
    Internal,
    /// The node cannot take writes now.
    Unavailable,
}

impl ErrorCode {
    /// The HTTP status.
    pub fn status(self) -> u16 {
        match self {
            ErrorCode::Invalid => 400,
            ErrorCode::Unauthenticated => 401,
            ErrorCode::TooLarge => 413,
            ErrorCode::TooSlow => 408,
            ErrorCode::NoStreams => 422,
            ErrorCode::RateLimited => 429,
            ErrorCode::Blocked(status) => status,
            ErrorCode::Internal => 500,
            ErrorCode::Unavailable => 503,
        }
    }

    /// Whether the same request may succeed later.
    pub fn is_retryable(self) -> bool {
        match self {
            ErrorCode::TooSlow | ErrorCode::RateLimited | ErrorCode::Unavailable => true,
            ErrorCode::Invalid
            | ErrorCode::Unauthenticated
            | ErrorCode::TooLarge
            | ErrorCode::NoStreams
            | ErrorCode::Blocked(_)
            | ErrorCode::Internal => false,
        }
    }

    /// Whether nothing of the request was stored. `Invalid` may be a partial success.
    pub fn has_no_side_effects(self) -> bool {
        match self {
            ErrorCode::Invalid | ErrorCode::Unavailable => false,
            ErrorCode::Unauthenticated
            | ErrorCode::TooLarge
            | ErrorCode::TooSlow
            | ErrorCode::NoStreams
            | ErrorCode::RateLimited
            | ErrorCode::Blocked(_)
            | ErrorCode::Internal => true,
        }
    }
}

/// A refusal: what to answer, and the words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct PushError {
    /// The kind of refusal.
    pub code: ErrorCode,
    /// Loki's text where clients are known to read it, ours elsewhere. Without a line end.
    pub message: String,
}

/// Which of Loki's two error shapes an endpoint answers with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorShape {
    /// `/loki/api/v1/push` and `/api/prom/push`: plain text and a line end.
    Text,
    /// `/otlp/v1/logs`: a protobuf `google.rpc.Status` without a code.
    OtlpStatus,
}

/// An HTTP answer, ready to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ErrorResponse {
    /// The HTTP status.
    pub status: u16,
    /// The value of `Content-Type`; empty for an answer without a body.
    pub content_type: &'static str,
    /// The body.
    pub body: Vec<u8>,
}

impl PushError {
    /// An error of the given code.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        PushError { code, message: message.into() }
    }

    /// A 400.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(ErrorCode::Invalid, message)
    }

    /// The 413 for a body of `size` bytes under a limit of `limit` bytes.
    pub fn too_large(size: u64, limit: u64) -> Self {
        Self::new(ErrorCode::TooLarge, format!("request body too large: {size} bytes, limit: {limit} bytes"))
    }

    /// The 422 for a request without a stream.
    pub fn no_streams() -> Self {
        Self::new(ErrorCode::NoStreams, "error at least one valid stream is required for ingestion")
    }

    /// The answer in the shape of an endpoint.
    pub fn response(&self, shape: ErrorShape) -> ErrorResponse {
        if self.code == ErrorCode::Blocked(200) {
            // The operator wants clients to believe that all is well.
            return ErrorResponse { status: 204, content_type: "", body: Vec::new() };
        }
        match shape {
            ErrorShape::Text => ErrorResponse {
                status: self.code.status(),
                content_type: "text/plain; charset=utf-8",
                body: format!("{}\n", self.message).into_bytes(),
            },
            ErrorShape::OtlpStatus => ErrorResponse {
                status: otlp_status(self.code),
                content_type: "application/octet-stream",
                body: RpcStatus { code: 0, message: self.message.clone() }.encode_to_vec(),
            },
        }
    }
}

/// OTLP clients never retry after a 500, so Loki turns it into a 503.
fn otlp_status(code: ErrorCode) -> u16 {
    match code.status() {
        500 => 503,
        status => status,
    }
}

/// The two fields of `google.rpc.Status` that OTLP's HTTP errors carry.
#[derive(Clone, PartialEq, Message)]
struct RpcStatus {
    #[prost(int32, tag = "1")]
    code: i32,
    #[prost(string, tag = "2")]
    message: String,
}

#[cfg(test)]
mod tests {
    use super::{ErrorCode, ErrorShape, PushError};

    #[test]
    fn text_ends_with_a_line_end() {
        let answer = PushError::invalid("no").response(ErrorShape::Text);
        assert_eq!((answer.status, answer.body.as_slice()), (400, b"no\n".as_slice()));
        assert_eq!(answer.content_type, "text/plain; charset=utf-8");
    }

    #[test]
    fn otlp_answers_a_status_message_and_never_500() {
        let answer = PushError::new(ErrorCode::Internal, "no").response(ErrorShape::OtlpStatus);
        assert_eq!((answer.status, answer.body.as_slice()), (503, b"\x12\x02no".as_slice()));
        assert_eq!(answer.content_type, "application/octet-stream");
    }

    #[test]
    fn only_what_time_can_mend_is_retryable() {
        for (code, status, retryable) in [
            (ErrorCode::Invalid, 400, false),
            (ErrorCode::Unauthenticated, 401, false),
            (ErrorCode::TooLarge, 413, false),
            (ErrorCode::NoStreams, 422, false),
            (ErrorCode::RateLimited, 429, true),
            (ErrorCode::Blocked(260), 260, false),
            (ErrorCode::Internal, 500, false),
            (ErrorCode::Unavailable, 503, true),
        ] {
            assert_eq!((code.status(), code.is_retryable()), (status, retryable), "{code:?}");
        }
    }
}
