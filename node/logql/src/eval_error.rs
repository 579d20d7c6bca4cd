//! Why a metric query has no answer, in Loki's words where Loki has some, and whose fault that is.

/// Why evaluation stopped.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EvalError {
    /// A line that failed a stage reached a window, and the query does not filter such lines out.
    #[error(
        "pipeline error: '{kind}' for series: '{series}'.\n\
         Use a label filter to intentionally skip this error. (e.g | __error__!=\"{kind}\").\n\
         To skip all potential errors you can match empty errors.(e.g __error__=\"\")\n\
         The label filter can also be specified after unwrap. (e.g | unwrap latency | __error__=\"\" )\n"
    )]
    Pipeline {
        /// The value of `__error__`.
        kind: String,
        /// The labels of the line, as `{a="b", …}`.
        series: String,
    },
    /// Two series of the side that must be unique match the same labels.
    #[error(
        "found duplicate series on the {side} hand-side;many-to-many matching not allowed: \
         matching labels must be unique on one side"
    )]
    ManyToMany {
        /// `left` or `right`.
        side: &'static str,
    },
    /// Several series of the left match one of the right without `group_left`.
    #[error("multiple matches for labels: many-to-one matching must be explicit (group_left/group_right)")]
    ImplicitManyToOne,
    /// `group_left`/`group_right` give several results the same labels.
    #[error("multiple matches for labels: grouping labels must ensure unique matches")]
    AmbiguousGroup,
    /// `approx_topk` in a range query.
    #[error("count min sketches are only supported on instant queries")]
    ApproxTopKOverRange,
    /// The answer has more series than the tenant may have.
    #[error(
        "maximum number of series ({limit}) reached for a single query; consider reducing query \
         cardinality by adding more specific stream selectors, reducing the time range, or aggregating \
         results with functions like sum(), count() or topk()"
    )]
    TooManySeries {
        /// How many it may have.
        limit: usize,
    },
    /// The query gathers more series, before they are aggregated, than are kept in memory.
    #[error(
        "the query groups its lines into more than `{limit}` series before aggregating them; \
         group by fewer labels, or select fewer streams"
    )]
    TooManyGroups {
        /// How many may be kept.
        limit: usize,
    },
    /// The query gathers more state than is kept in memory.
    #[error(
        "the query needs more than `{limit}` bytes of intermediate results; \
         shorten its time range, widen its step, or select fewer streams"
    )]
    TooMuchState {
        /// How many bytes may be kept.
        limit: usize,
    },
    /// The query makes more points, before the answer is left, than are kept in memory.
    #[error(
        "the query makes more than `{limit}` points; \
         shorten its time range, widen its step, or group by fewer labels"
    )]
    TooManyPoints {
        /// How many may be kept.
        limit: usize,
    },
    /// The step does not divide the time range into a bearable number of points.
    #[error("the query asks for `{asked}` points a series, at most `{limit}` are allowed; widen its step")]
    TooManySteps {
        /// How many were asked for.
        asked: u64,
        /// How many may be asked for.
        limit: u32,
    },
    /// The time range ends before it begins, or its step is not positive.
    #[error("the query's time range is invalid: start `{start}`, end `{end}`, step `{step}` (ns)")]
    InvalidRange {
        /// Unix ns.
        start: i64,
        /// Unix ns.
        end: i64,
        /// ns.
        step: i64,
    },
}

impl EvalError {
    /// Whether the query, not the server, is to blame (status 400). Loki answers 500 to the matching errors,
    /// and so do we: a client may tell them apart by the status.
    pub fn is_client_error(&self) -> bool {
        match self {
            EvalError::ManyToMany { .. }
            | EvalError::ImplicitManyToOne
            | EvalError::AmbiguousGroup
            | EvalError::ApproxTopKOverRange => false,
            EvalError::Pipeline { .. }
            | EvalError::TooManySeries { .. }
            | EvalError::TooManyGroups { .. }
            | EvalError::TooMuchState { .. }
            | EvalError::TooManyPoints { .. }
            | EvalError::TooManySteps { .. }
            | EvalError::InvalidRange { .. } => true,
        }
    }
}
