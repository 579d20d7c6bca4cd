//! Bounds on what evaluating one metric query may hold. Defaults suit a node of a few hundred MiB; the
//! querier passes a tenant's own.

/// Bounds of one query.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EvalLimits {
    /// Series of the answer (`max_query_series`); Loki's default.
    pub answer_series_max: usize,
    /// Series of one range aggregation before anything above it aggregates them. Far more than an answer may
    /// have, since `topk` and `avg` need every series below them.
    pub leaf_series_max: usize,
    /// Points held at once: what the range aggregations finish with, and what is made of it. One line in a long
    /// window gives a point for each step, so bytes of state do not bound this.
    pub points_max: usize,
    /// Bytes of state of one range aggregation: labels, cells, and samples where a function needs them all.
    pub leaf_bytes_max: usize,
}

impl EvalLimits {
    /// What applies unless the tenant has limits of its own.
    pub const DEFAULT: EvalLimits = EvalLimits {
        answer_series_max: 500,
        leaf_series_max: 100_000,
        points_max: 8 << 20,
        leaf_bytes_max: 128 << 20,
    };
}

impl Default for EvalLimits {
    fn default() -> Self {
        Self::DEFAULT
    }
}
