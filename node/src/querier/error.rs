//! Why a query has no answer.

use grapevine_logql::eval_error::EvalError;
use grapevine_storage::index::IndexError;

use super::select::STREAMS_MAX;

/// Why a query has no answer. What merely makes an answer incomplete is a warning instead.
#[derive(Debug, thiserror::Error)]
pub enum QueryError {
    /// The query's own fault, in Loki's words where Loki has some.
    #[error("{0}")]
    Bad(String),
    /// The query selects more streams than one query may.
    #[error("the query selects more than {STREAMS_MAX} streams; add matchers, or shorten its time range")]
    TooManyStreams,
    /// It could not be evaluated.
    #[error("{0}")]
    Evaluation(#[from] EvalError),
    /// It took longer than the tenant's `query_timeout`.
    #[error("the query took longer than query_timeout; narrow it, or raise the limit")]
    TimedOut,
    /// Another node says that the query is at fault.
    #[error("{text}")]
    Elsewhere {
        /// The HTTP status that says so.
        status: u16,
        /// In that node's words, which are this one's.
        text: String,
    },
    /// This node owns what is asked for and does not know it yet.
    #[error("{0}")]
    Unlearnt(String),
    /// The index cannot be read.
    #[error("the index cannot be read: {0}")]
    Index(#[from] IndexError),
}

impl QueryError {
    /// The HTTP status that says so.
    pub fn status(&self) -> u16 {
        match self {
            QueryError::Bad(_) | QueryError::TooManyStreams => 400,
            QueryError::Evaluation(error) if error.is_client_error() => 400,
            QueryError::TimedOut => 504,
            QueryError::Elsewhere { status, .. } => *status,
            QueryError::Unlearnt(_) => 503,
            QueryError::Evaluation(_) | QueryError::Index(_) => 500,
        }
    }

    /// Whether another node may well answer the same.
    pub fn is_of_one_node(&self) -> bool {
        match self {
            QueryError::Index(_) | QueryError::Unlearnt(_) => true,
            QueryError::Bad(_)
            | QueryError::TooManyStreams
            | QueryError::Evaluation(_)
            | QueryError::TimedOut
            | QueryError::Elsewhere { .. } => false,
        }
    }
}
