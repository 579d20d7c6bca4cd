//! Calls between peers: one QUIC stream each, with a method, a deadline and one or many answers.
//!
//! A request is a header and a body; an answer is any number of items and an end, or a refusal. QUIC carries the
//! pressure back: who does not read is not sent to. A call that is dropped resets its stream, and whoever works on
//! it is stopped. The wire format is in [`frame`].

pub mod frame;

mod client;
mod server;

use std::{fmt, future::Future, net::SocketAddr, pin::Pin, time::Duration};

use bytes::Bytes;
use tokio::time::Instant;

pub use client::Call;
pub(crate) use client::open;
pub(crate) use server::{Caller, Serving, answer};
pub use server::{Reply, Unsent};

/// What is called: a number that means one thing for ever, and the version of its messages. A node answers version N
/// and N − 1 of what it knows, so that neighbours in a rolling upgrade understand each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Method {
    /// Which method.
    pub id: u16,
    /// Which version of its messages.
    pub version: u16,
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.id, self.version)
    }
}

/// A call as it reaches the other side.
#[derive(Clone, Debug)]
pub struct Request {
    /// Who calls.
    pub peer: SocketAddr,
    /// What is called.
    pub method: Method,
    /// The message, not looked at.
    pub body: Bytes,
    /// How long it takes to the caller and back, as QUIC has measured it on this connection so far.
    pub round_trip: Duration,
    /// When the caller gives up. Work is stopped then in any case.
    pub deadline: Instant,
}

/// A future on the heap, as [`Handler`] returns it.
pub type Served<'a> = Pin<Box<dyn Future<Output = Result<(), Refusal>> + Send + 'a>>;

/// What answers calls. It is dropped in the middle of its work when the caller goes away or the deadline passes.
pub trait Handler: Send + Sync + 'static {
    /// Answers `request` by sending items to `reply`. The end is sent when the future is done, or its refusal.
    fn serve<'a>(&'a self, request: Request, reply: &'a mut Reply) -> Served<'a>;
}

/// Answers every call with "unknown method": for nodes that only gossip.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoMethods;

impl Handler for NoMethods {
    fn serve<'a>(&'a self, request: Request, _reply: &'a mut Reply) -> Served<'a> {
        let refusal =
            Refusal::new(RefusalCode::UnknownMethod, format!("nobody answers method `{}`", request.method));
        Box::pin(async move { Err(refusal) })
    }
}

/// Why a peer refused a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub enum RefusalCode {
    /// The peer does not know the method.
    UnknownMethod = 1,
    /// The peer does not know this version of the method.
    UnknownVersion = 2,
    /// The request says something that cannot be.
    Invalid = 3,
    /// The peer has too much to do; nothing was done.
    Busy = 4,
    /// The peer cannot do this now: it is joining, leaving, or its disk is full. Nothing was done.
    Unavailable = 5,
    /// The peer tried and failed. Something may have been done.
    Failed = 6,
    /// The deadline passed at the peer. Something may have been done.
    DeadlinePassed = 7,
    /// A code of a later version.
    Other = 0,
}

impl RefusalCode {
    /// Whether the same call may succeed later or elsewhere.
    pub fn is_retryable(self) -> bool {
        match self {
            Self::Busy | Self::Unavailable | Self::Failed | Self::DeadlinePassed => true,
            Self::UnknownMethod | Self::UnknownVersion | Self::Invalid | Self::Other => false,
        }
    }

    /// Whether it is certain that nothing was done.
    pub fn has_no_side_effects(self) -> bool {
        match self {
            Self::UnknownMethod | Self::UnknownVersion | Self::Invalid | Self::Busy | Self::Unavailable => {
                true
            }
            Self::Failed | Self::DeadlinePassed | Self::Other => false,
        }
    }

    fn from_wire(code: u16) -> Self {
        let known = [
            Self::UnknownMethod,
            Self::UnknownVersion,
            Self::Invalid,
            Self::Busy,
            Self::Unavailable,
            Self::Failed,
            Self::DeadlinePassed,
        ];
        known.into_iter().find(|known| *known as u16 == code).unwrap_or(Self::Other)
    }
}

/// A refusal and its reason.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub struct Refusal {
    /// For deciding what to do.
    pub code: RefusalCode,
    /// For people.
    pub text: String,
}

impl Refusal {
    /// A refusal with a reason, cut at [`REFUSAL_BYTES_MAX`](crate::limits::REFUSAL_BYTES_MAX) when sent.
    pub fn new(code: RefusalCode, text: impl Into<String>) -> Self {
        Self { code, text: text.into() }
    }
}

/// Why a call did not succeed.
#[derive(Clone, Debug, thiserror::Error)]
pub enum CallError {
    /// No connection: nothing was sent.
    #[error("cannot connect to `{peer}`: {reason}")]
    Unreachable {
        /// Who was called.
        peer: SocketAddr,
        /// Why.
        reason: String,
    },
    /// A connection failed a moment ago, and it is too early to try again: nothing was sent.
    #[error("`{peer}` could not be reached; next try in {wait:?}")]
    BackingOff {
        /// Who was called.
        peer: SocketAddr,
        /// How long until the next try.
        wait: Duration,
    },
    /// The connection was lost on the way.
    #[error("lost the connection to `{peer}`: {reason}")]
    Lost {
        /// Who was called.
        peer: SocketAddr,
        /// Why.
        reason: String,
    },
    /// The deadline passed.
    #[error("`{peer}` did not answer in time")]
    DeadlinePassed {
        /// Who was called.
        peer: SocketAddr,
    },
    /// The peer refused.
    #[error("`{peer}` refused: {refusal}")]
    Refused {
        /// Who was called.
        peer: SocketAddr,
        /// Its reason.
        refusal: Refusal,
    },
    /// The request is larger than [`MESSAGE_BYTES_MAX`](crate::limits::MESSAGE_BYTES_MAX); nothing was sent.
    #[error("a message of `{0}` bytes is too large to send; split it")]
    TooLarge(usize),
    /// The peer answered something that cannot be read.
    #[error("`{peer}` sent an answer that cannot be read: {error}")]
    Malformed {
        /// Who was called.
        peer: SocketAddr,
        /// What is wrong.
        error: frame::FrameError,
    },
}

impl CallError {
    /// Whether the same call may succeed later or elsewhere.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Unreachable { .. }
            | Self::BackingOff { .. }
            | Self::Lost { .. }
            | Self::DeadlinePassed { .. } => true,
            Self::Refused { refusal, .. } => refusal.code.is_retryable(),
            Self::TooLarge(_) | Self::Malformed { .. } => false,
        }
    }

    /// Whether it is certain that the peer did nothing.
    pub fn has_no_side_effects(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::BackingOff { .. } | Self::TooLarge(_) => true,
            Self::Refused { refusal, .. } => refusal.code.has_no_side_effects(),
            Self::Lost { .. } | Self::DeadlinePassed { .. } | Self::Malformed { .. } => false,
        }
    }
}
