//! The syntax tree of LogQL: what a query says, before anything is compiled or run.
//!
//! Durations are nanoseconds in `i64`, as timestamps are. Regular expressions, templates and patterns are
//! kept as their source text; the stage that runs them compiles them.

/// A whole query.
#[derive(Clone, Debug, PartialEq)]
pub enum Expr {
    /// Asks for log lines.
    Log(LogExpr),
    /// Asks for numbers.
    Sample(SampleExpr),
}

/// A stream selector and what is done to each line of those streams.
#[derive(Clone, Debug, PartialEq)]
pub struct LogExpr {
    /// `{…}`, in the order written.
    pub selector: Vec<Matcher>,
    /// What follows it, in the order written.
    pub stages: Vec<Stage>,
}

/// One condition on a label: of a stream selector, or of `drop`, `keep` and string label filters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Matcher {
    /// The label's name.
    pub name: String,
    /// How `value` is compared.
    pub op: MatchOp,
    /// A text, or a fully anchored RE2 expression.
    pub value: String,
}

/// How a label's value is compared with a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MatchOp {
    /// `=`
    Equal,
    /// `!=`
    NotEqual,
    /// `=~`
    Regex,
    /// `!~`
    NotRegex,
}

/// One step of a log pipeline.
#[derive(Clone, Debug, PartialEq)]
pub enum Stage {
    /// `|= "x"` and its kin.
    LineFilter(LineFilter),
    /// `| json` (no expressions: every field).
    Json(Vec<Extraction>),
    /// `| logfmt` (no expressions: every field).
    Logfmt {
        /// `--strict`
        strict: bool,
        /// `--keep-empty`
        keep_empty: bool,
        /// `a="b", c`
        extractions: Vec<Extraction>,
    },
    /// `| pattern "<ip> <_>"`
    Pattern(String),
    /// `| regexp "(?P<a>…)"`
    Regexp(String),
    /// `| unpack`
    Unpack,
    /// `| a > 1 and b = "x"`
    LabelFilter(LabelFilter),
    /// `| line_format "…"`
    LineFormat(String),
    /// `| label_format a=b, c="…"`
    LabelFormat(Vec<LabelFormat>),
    /// `| decolorize`
    Decolorize,
    /// `| drop a, b="c"`
    Drop(Vec<LabelSpec>),
    /// `| keep a, b="c"`
    Keep(Vec<LabelSpec>),
}

/// `label="expression"` of `json` and `logfmt`; a bare `label` is `label="label"`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Extraction {
    /// The label to set.
    pub label: String,
    /// Where in the line its value stands.
    pub expression: String,
}

/// A filter on the line's text: one operator and its `or` chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LineFilter {
    /// The operator.
    pub op: LineOp,
    /// The operand and its `or` alternatives, at least one. A positive filter passes a line that fits any of
    /// them, a negative one a line that fits none.
    pub operands: Vec<LineOperand>,
}

/// The operator of a line filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LineOp {
    /// `|=`
    Contains,
    /// `!=`
    NotContains,
    /// `|~`
    Regex,
    /// `!~`
    NotRegex,
    /// `|>`
    Pattern,
    /// `!>`
    NotPattern,
}

/// What a line filter looks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LineOperand {
    /// A text, a regular expression or a pattern, by the operator.
    Text(String),
    /// A text that is not UTF-8, as `"\xff"` is.
    Bytes(Vec<u8>),
    /// `ip("…")`: an address, a CIDR range or `from-to`.
    Ip(String),
}

/// A filter on labels.
#[derive(Clone, Debug, PartialEq)]
pub enum LabelFilter {
    /// `a = "b"`
    Text(Matcher),
    /// `a > 1`
    Number {
        /// The label.
        name: String,
        /// The comparison.
        op: CompareOp,
        /// The number.
        value: f64,
    },
    /// `a > 1s`
    Duration {
        /// The label.
        name: String,
        /// The comparison.
        op: CompareOp,
        /// Nanoseconds.
        value: i64,
    },
    /// `a > 1KB`
    Bytes {
        /// The label.
        name: String,
        /// The comparison.
        op: CompareOp,
        /// Bytes.
        value: u64,
    },
    /// `a = ip("…")`; `negated` for `!=`.
    Ip {
        /// The label.
        name: String,
        /// `!=`
        negated: bool,
        /// The address, CIDR range or `from-to`.
        value: String,
    },
    /// Both (`and`, `,` or mere juxtaposition).
    And(Box<LabelFilter>, Box<LabelFilter>),
    /// Either.
    Or(Box<LabelFilter>, Box<LabelFilter>),
}

/// A comparison of quantities.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CompareOp {
    /// `==` or `=`
    Equal,
    /// `!=`
    NotEqual,
    /// `>`
    Greater,
    /// `>=`
    GreaterEqual,
    /// `<`
    Less,
    /// `<=`
    LessEqual,
}

/// One assignment of `label_format`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LabelFormat {
    /// The label that is set.
    pub target: String,
    /// What it is set to.
    pub source: LabelFormatSource,
}

/// The right-hand side of a `label_format` assignment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LabelFormatSource {
    /// `a=b`: take b's value and remove b.
    Rename(String),
    /// `a="…"`: a template.
    Template(String),
}

/// One item of `drop` or `keep`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LabelSpec {
    /// The label, whatever its value.
    Name(String),
    /// The label if its value fits.
    Matcher(Matcher),
}

/// An expression that yields numbers.
#[derive(Clone, Debug, PartialEq)]
pub enum SampleExpr {
    /// `rate({…}[1m])` and its kin.
    Range(RangeAggregation),
    /// `sum by (a) (…)` and its kin.
    Vector(VectorAggregation),
    /// `a + b` and its kin.
    Binary(Box<Binary>),
    /// `label_replace(v, dst, replacement, src, regex)`
    LabelReplace(Box<LabelReplace>),
    /// A number.
    Literal(f64),
    /// `vector(1)`
    VectorLiteral(f64),
}

/// An aggregation over the lines of a window.
#[derive(Clone, Debug, PartialEq)]
pub struct RangeAggregation {
    /// The function.
    pub op: RangeOp,
    /// The quantile of `quantile_over_time`.
    pub parameter: Option<f64>,
    /// What it runs over.
    pub range: LogRange,
    /// `by (…)` or `without (…)`, where the function takes it.
    pub grouping: Option<Grouping>,
}

/// A log expression cut into windows.
#[derive(Clone, Debug, PartialEq)]
pub struct LogRange {
    /// The lines (the stages before `unwrap`).
    pub log: LogExpr,
    /// The label that gives the samples' values, if not the line itself.
    pub unwrap: Option<Unwrap>,
    /// Length of a window in ns, more than 0.
    pub interval: i64,
    /// `offset` in ns; may be negative.
    pub offset: i64,
}

/// `| unwrap conversion(label) | filters`
#[derive(Clone, Debug, PartialEq)]
pub struct Unwrap {
    /// The label.
    pub label: String,
    /// How its text becomes a number.
    pub conversion: Conversion,
    /// The label filters behind it.
    pub filters: Vec<LabelFilter>,
}

/// How `unwrap` reads a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Conversion {
    /// As a float.
    None,
    /// `duration(x)`: as a duration, in seconds.
    Duration,
    /// `duration_seconds(x)`: the same, by its other name.
    DurationSeconds,
    /// `bytes(x)`: as a size, in bytes.
    Bytes,
}

/// A function over the lines of a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RangeOp {
    /// `rate`
    Rate,
    /// `rate_counter`
    RateCounter,
    /// `count_over_time`
    CountOverTime,
    /// `bytes_rate`
    BytesRate,
    /// `bytes_over_time`
    BytesOverTime,
    /// `sum_over_time`
    SumOverTime,
    /// `avg_over_time`
    AvgOverTime,
    /// `min_over_time`
    MinOverTime,
    /// `max_over_time`
    MaxOverTime,
    /// `stddev_over_time`
    StddevOverTime,
    /// `stdvar_over_time`
    StdvarOverTime,
    /// `quantile_over_time`
    QuantileOverTime,
    /// `first_over_time`
    FirstOverTime,
    /// `last_over_time`
    LastOverTime,
    /// `absent_over_time`
    AbsentOverTime,
}

/// An aggregation over the series of a vector.
#[derive(Clone, Debug, PartialEq)]
pub struct VectorAggregation {
    /// The function.
    pub op: VectorOp,
    /// k of `topk`, `bottomk` and `approx_topk`.
    pub parameter: Option<u64>,
    /// `by (…)` or `without (…)`; none means one group of all (`sum(x)`).
    pub grouping: Option<Grouping>,
    /// What it runs over.
    pub inner: Box<SampleExpr>,
}

/// A function over the series of a vector.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum VectorOp {
    /// `sum`
    Sum,
    /// `avg`
    Avg,
    /// `min`
    Min,
    /// `max`
    Max,
    /// `count`
    Count,
    /// `stddev`
    Stddev,
    /// `stdvar`
    Stdvar,
    /// `topk`
    TopK,
    /// `bottomk`
    BottomK,
    /// `approx_topk`
    ApproxTopK,
    /// `sort`
    Sort,
    /// `sort_desc`
    SortDesc,
}

/// `by (…)` or `without (…)`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grouping {
    /// `without`: the labels are those that go.
    pub without: bool,
    /// The labels, in the order written.
    pub labels: Vec<String>,
}

/// `lhs op rhs`
#[derive(Clone, Debug, PartialEq)]
pub struct Binary {
    /// The operator.
    pub op: BinaryOp,
    /// `bool`: a comparison yields 0 or 1 and drops nothing.
    pub return_bool: bool,
    /// How the series of both sides find each other.
    pub matching: Option<VectorMatching>,
    /// The left-hand side.
    pub lhs: SampleExpr,
    /// The right-hand side.
    pub rhs: SampleExpr,
}

/// A binary operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BinaryOp {
    /// `+`
    Add,
    /// `-`
    Sub,
    /// `*`
    Mul,
    /// `/`
    Div,
    /// `%`
    Mod,
    /// `^`
    Pow,
    /// `==`
    Equal,
    /// `!=`
    NotEqual,
    /// `>`
    Greater,
    /// `>=`
    GreaterEqual,
    /// `<`
    Less,
    /// `<=`
    LessEqual,
    /// `and`
    And,
    /// `or`
    Or,
    /// `unless`
    Unless,
}

/// `on (…)`/`ignoring (…)` and `group_left`/`group_right`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VectorMatching {
    /// `on`: the labels are those compared; else those left out.
    pub on: bool,
    /// The labels.
    pub labels: Vec<String>,
    /// Which side may have several series for one of the other.
    pub group: Option<Group>,
}

/// `group_left (…)` or `group_right (…)`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// The side with many series.
    pub many: Side,
    /// Labels copied from the side with one.
    pub include: Vec<String>,
}

/// A side of a binary operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Side {
    /// The left-hand side: `group_left`.
    Left,
    /// The right-hand side: `group_right`.
    Right,
}

/// `label_replace(inner, dst, replacement, src, regex)`
#[derive(Clone, Debug, PartialEq)]
pub struct LabelReplace {
    /// The vector.
    pub inner: SampleExpr,
    /// The label that is set.
    pub dst: String,
    /// What to, with `$1` and `${name}`.
    pub replacement: String,
    /// The label that is read.
    pub src: String,
    /// A fully anchored RE2 expression.
    pub regex: String,
}
