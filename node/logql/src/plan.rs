//! From what a query says to what has to be done for it.
//!
//! A metric query becomes a tree of operations over [`Leaf`]s, the only part that touches lines. Whatever can
//! be done at a leaf is: labels are reduced before series are told apart, equal leaves are evaluated once, and
//! each leaf says which labels it needs and whether it needs the lines' text at all. A plan is plain data: it
//! can be printed for `explain` and sent to another node.

mod explain;
mod fold;
mod leaf;

use crate::ast::{
    Binary, BinaryOp, Expr, Grouping, LabelReplace, LogExpr, RangeAggregation, SampleExpr, VectorAggregation,
    VectorMatching, VectorOp,
};
use crate::label_replace::Replacement;

pub use leaf::{Leaf, SeriesBy};

/// Most different range aggregations of one query: each is a scan of its own, and holds its series until all
/// are done. Dashboards have one to a dozen.
pub const LEAVES_MAX: usize = 128;

/// What the text of a query cannot tell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PlanOptions {
    /// Whether lines get a `detected_level`, which may have to be read off their text.
    pub discover_levels: bool,
}

/// What has to be done to answer a query.
#[derive(Clone, Debug, PartialEq)]
pub enum Plan {
    /// Lines are asked for: the selector's streams, put through the stages.
    Log(LogExpr),
    /// Numbers are asked for.
    Metric(MetricPlan),
}

/// What has to be done to answer a metric query.
#[derive(Clone, Debug, PartialEq)]
pub struct MetricPlan {
    /// What is asked of the lines; each different thing once.
    pub leaves: Vec<Leaf>,
    /// What is done with the leaves' series.
    pub root: Node,
}

/// An operation on series.
#[derive(Clone, Debug, PartialEq)]
pub enum Node {
    /// The series of `leaves[i]`.
    Leaf(usize),
    /// `sum by (a) (…)` and its kin, where it could not be done at the leaf.
    Aggregate {
        /// The function.
        op: VectorOp,
        /// k of `topk` and its kin.
        parameter: u64,
        /// The groups; none means one group of all.
        grouping: Option<Grouping>,
        /// What it runs over.
        inner: Box<Node>,
    },
    /// Both sides are vectors.
    Binary {
        /// The operator.
        op: BinaryOp,
        /// `bool`.
        return_bool: bool,
        /// `on`, `ignoring`, `group_left`, `group_right`.
        matching: Option<VectorMatching>,
        /// The left-hand side.
        lhs: Box<Node>,
        /// The right-hand side.
        rhs: Box<Node>,
    },
    /// One side is a number.
    Scalar {
        /// The operator, not a set operator.
        op: BinaryOp,
        /// `bool`.
        return_bool: bool,
        /// The number.
        scalar: f64,
        /// Whether the number is the left-hand side.
        scalar_left: bool,
        /// The other side.
        vector: Box<Node>,
    },
    /// `label_replace(…)`
    LabelReplace {
        /// The label that is set.
        dst: String,
        /// What to, with `$1` and `${name}`.
        replacement: String,
        /// The label that is read.
        src: String,
        /// A fully anchored expression, known to compile.
        regex: String,
        /// What it runs over.
        inner: Box<Node>,
    },
    /// A number; only ever the root.
    Literal(f64),
    /// `vector(n)`: one series without labels.
    Vector(f64),
}

/// Why a query that parses cannot be planned; the client's fault.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// The expression of `label_replace` does not compile.
    #[error("invalid regular expression `{regex}` in label_replace: {reason}")]
    InvalidRegex {
        /// The expression.
        regex: String,
        /// What the compiler says.
        reason: String,
    },
    /// There are more different range aggregations than one query may have.
    #[error("the query has more than `{LEAVES_MAX}` different range aggregations; split it")]
    TooManyLeaves,
    /// `and`, `or`, `unless` with a number.
    #[error(
        "unexpected literal for one side of logical/set binary operation (`{op}`): use vector(`{literal}`)"
    )]
    SetOfScalar {
        /// The operator.
        op: &'static str,
        /// The number.
        literal: String,
    },
}

impl Plan {
    /// Plans a query.
    ///
    /// # Errors
    /// The query parses but means nothing: see [`PlanError`].
    pub fn new(expr: &Expr, options: PlanOptions) -> Result<Self, PlanError> {
        match expr {
            Expr::Log(log) => Ok(Plan::Log(log.clone())),
            Expr::Sample(sample) => MetricPlan::new(sample, options).map(Plan::Metric),
        }
    }
}

impl MetricPlan {
    /// Plans a metric query.
    ///
    /// # Errors
    /// As [`Plan::new`].
    pub fn new(expr: &SampleExpr, options: PlanOptions) -> Result<Self, PlanError> {
        let mut planner = Planner { leaves: Vec::new(), options };
        let root = planner.node(expr)?;
        Ok(MetricPlan { leaves: planner.leaves, root })
    }

    /// Whether an instant vector keeps the order its operations gave it: the query sorts by value.
    pub(crate) fn keeps_order(&self) -> bool {
        self.root.any(&|node| matches!(node, Node::Aggregate { op: VectorOp::Sort | VectorOp::SortDesc, .. }))
    }
}

impl Node {
    /// Whether this node or one below it satisfies `test`.
    pub(crate) fn any(&self, test: &impl Fn(&Node) -> bool) -> bool {
        test(self) || self.inner().any(|node| node.any(test))
    }

    /// The nodes directly below, left to right.
    pub(crate) fn inner(&self) -> impl Iterator<Item = &Node> {
        let (first, second) = match self {
            Node::Aggregate { inner, .. } | Node::LabelReplace { inner, .. } => (Some(inner), None),
            Node::Scalar { vector, .. } => (Some(vector), None),
            Node::Binary { lhs, rhs, .. } => (Some(lhs), Some(rhs)),
            Node::Leaf(_) | Node::Literal(_) | Node::Vector(_) => (None, None),
        };
        first.into_iter().chain(second).map(Box::as_ref)
    }
}

struct Planner {
    leaves: Vec<Leaf>,
    options: PlanOptions,
}

impl Planner {
    fn node(&mut self, expr: &SampleExpr) -> Result<Node, PlanError> {
        match expr {
            SampleExpr::Range(range) => self.leaf(range, None),
            SampleExpr::Vector(vector) => self.aggregate(vector),
            SampleExpr::Binary(binary) => self.binary(binary),
            SampleExpr::LabelReplace(replace) => self.label_replace(replace),
            SampleExpr::Literal(value) => Ok(Node::Literal(*value)),
            SampleExpr::VectorLiteral(value) => Ok(Node::Vector(*value)),
        }
    }

    fn leaf(
        &mut self,
        range: &RangeAggregation,
        outer: Option<&VectorAggregation>,
    ) -> Result<Node, PlanError> {
        let leaf = Leaf::new(range, outer, self.options);
        if let Some(known) = self.leaves.iter().position(|other| *other == leaf) {
            return Ok(Node::Leaf(known));
        }
        if self.leaves.len() >= LEAVES_MAX {
            return Err(PlanError::TooManyLeaves);
        }
        self.leaves.push(leaf);
        Ok(Node::Leaf(self.leaves.len() - 1))
    }

    fn aggregate(&mut self, vector: &VectorAggregation) -> Result<Node, PlanError> {
        if let SampleExpr::Range(range) = &*vector.inner
            && leaf::takes_in(range, vector.op)
        {
            return self.leaf(range, Some(vector));
        }
        let inner = match self.node(&vector.inner)? {
            Node::Literal(value) => Node::Vector(value),
            inner => inner,
        };
        Ok(Node::Aggregate {
            op: vector.op,
            parameter: vector.parameter.unwrap_or(0),
            grouping: vector.grouping.clone(),
            inner: Box::new(inner),
        })
    }

    fn binary(&mut self, binary: &Binary) -> Result<Node, PlanError> {
        let (lhs, rhs) = (self.node(&binary.lhs)?, self.node(&binary.rhs)?);
        let (op, return_bool) = (binary.op, binary.return_bool);
        if let (true, Node::Literal(value), _) | (true, _, Node::Literal(value)) =
            (op.is_set_operation(), &lhs, &rhs)
        {
            return Err(PlanError::SetOfScalar { op: op.as_str(), literal: value.to_string() });
        }
        Ok(match (lhs, rhs) {
            (Node::Literal(lhs), Node::Literal(rhs)) => Node::Literal(op.fold(lhs, rhs)),
            (Node::Literal(scalar), vector) => {
                Node::Scalar { op, return_bool, scalar, scalar_left: true, vector: Box::new(vector) }
            }
            (vector, Node::Literal(scalar)) => {
                Node::Scalar { op, return_bool, scalar, scalar_left: false, vector: Box::new(vector) }
            }
            (lhs, rhs) => {
                let (lhs, rhs) = (Box::new(lhs), Box::new(rhs));
                Node::Binary { op, return_bool, matching: binary.matching.clone(), lhs, rhs }
            }
        })
    }

    fn label_replace(&mut self, replace: &LabelReplace) -> Result<Node, PlanError> {
        Replacement::compile(&replace.regex)?;
        Ok(Node::LabelReplace {
            dst: replace.dst.clone(),
            replacement: replace.replacement.clone(),
            src: replace.src.clone(),
            regex: replace.regex.clone(),
            inner: Box::new(self.node(&replace.inner)?),
        })
    }
}

#[cfg(test)]
mod tests;
