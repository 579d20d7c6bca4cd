//! Generated syntax trees, printed and read back.

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::{Just, Strategy, any, prop_oneof, proptest};
use proptest::sample::select;

use crate::ast::{
    Binary, BinaryOp, CompareOp, Conversion, Expr, Extraction, Group, Grouping, LabelFilter, LabelFormat,
    LabelFormatSource, LabelReplace, LabelSpec, LineFilter, LineOp, LineOperand, LogExpr, LogRange, MatchOp,
    Matcher, RangeAggregation, RangeOp, SampleExpr, Side, Stage, Unwrap, VectorAggregation, VectorMatching,
    VectorOp,
};
use crate::parse::{begins_with_a_literal, parse};
use crate::print::{pretty, to_query};

/// A millisecond in nanoseconds: windows are not finer.
const MILLISECOND: i64 = 1_000_000;

fn name() -> impl Strategy<Value = String> {
    // Functions are names where no parenthesis follows.
    prop_oneof!["[a-z]_[a-z0-9]{0,3}", select(vec!["sum", "bytes", "ip", "rate"]).prop_map(String::from)]
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof!["[a-z]{0,5}", any::<String>()]
}

fn regex() -> impl Strategy<Value = String> {
    select(vec!["a+", "x.*|y", "[a-z]{2}", "(?i)\\d", ".+"]).prop_map(String::from)
}

fn matcher() -> impl Strategy<Value = Matcher> {
    let plain = (name(), select(vec![MatchOp::Equal, MatchOp::NotEqual]), text());
    let pattern = (name(), select(vec![MatchOp::Regex, MatchOp::NotRegex]), regex());
    prop_oneof![plain, pattern].prop_map(|(name, op, value)| Matcher { name, op, value })
}

/// At least one matcher that selects.
fn selector() -> impl Strategy<Value = Vec<Matcher>> {
    vec(matcher(), 0..3).prop_map(|mut matchers| {
        matchers.push(Matcher { name: "app".into(), op: MatchOp::Equal, value: "x".into() });
        matchers
    })
}

fn line_filter() -> impl Strategy<Value = LineFilter> {
    let bytes = vec(proptest::num::u8::ANY, 0..5).prop_map(|bytes| [&bytes[..], b"\xff"].concat());
    let operand = prop_oneof![
        text().prop_map(LineOperand::Text),
        text().prop_map(LineOperand::Ip),
        bytes.prop_map(LineOperand::Bytes),
    ];
    let op = select(vec![
        LineOp::Contains,
        LineOp::NotContains,
        LineOp::Regex,
        LineOp::NotRegex,
        LineOp::Pattern,
        LineOp::NotPattern,
    ]);
    (op, vec(operand, 1..4)).prop_map(|(op, mut operands)| {
        if op.is_negative() {
            operands.truncate(1);
        }
        LineFilter { op, operands }
    })
}

fn compare_op() -> impl Strategy<Value = CompareOp> {
    select(vec![
        CompareOp::Equal,
        CompareOp::NotEqual,
        CompareOp::Greater,
        CompareOp::GreaterEqual,
        CompareOp::Less,
        CompareOp::LessEqual,
    ])
}

fn number() -> impl Strategy<Value = f64> {
    let finite = any::<f64>().prop_filter("a number", |value| value.is_finite() && *value != 0.0);
    prop_oneof![finite, (-1000_i32..1000).prop_map(f64::from)]
}

fn label_filter() -> impl Strategy<Value = LabelFilter> {
    let leaf = prop_oneof![
        matcher().prop_map(LabelFilter::Text),
        (name(), compare_op(), number()).prop_map(|(name, op, value)| LabelFilter::Number {
            name,
            op,
            value
        }),
        (name(), compare_op(), any::<i64>()).prop_map(|(name, op, value)| LabelFilter::Duration {
            name,
            op,
            value
        }),
        (name(), compare_op(), bytes()).prop_map(|(name, op, value)| LabelFilter::Bytes { name, op, value }),
        (name(), any::<bool>(), text()).prop_map(|(name, negated, value)| LabelFilter::Ip {
            name,
            negated,
            value
        }),
    ];
    leaf.prop_recursive(3, 8, 2, |inner| {
        (any::<bool>(), inner.clone(), inner).prop_map(|(and, left, right)| {
            let (left, right) = (Box::new(left), Box::new(right));
            if and { LabelFilter::And(left, right) } else { LabelFilter::Or(left, right) }
        })
    })
}

fn extraction() -> impl Strategy<Value = Extraction> {
    (name(), text()).prop_map(|(label, expression)| Extraction { label, expression })
}

fn label_spec() -> impl Strategy<Value = LabelSpec> {
    prop_oneof![name().prop_map(LabelSpec::Name), matcher().prop_map(LabelSpec::Matcher)]
}

fn label_format() -> impl Strategy<Value = LabelFormat> {
    let source =
        prop_oneof![name().prop_map(LabelFormatSource::Rename), text().prop_map(LabelFormatSource::Template)];
    (name(), source).prop_map(|(target, source)| LabelFormat { target, source })
}

fn stage() -> impl Strategy<Value = Stage> {
    prop_oneof![
        line_filter().prop_map(Stage::LineFilter),
        vec(extraction(), 0..3).prop_map(Stage::Json),
        (any::<bool>(), any::<bool>(), vec(extraction(), 0..3)).prop_map(
            |(strict, keep_empty, extractions)| { Stage::Logfmt { strict, keep_empty, extractions } }
        ),
        Just(Stage::Pattern("<a> \"<_>".into())),
        Just(Stage::Regexp("(?P<a>\\w+)".into())),
        Just(Stage::Unpack),
        Just(Stage::Decolorize),
        label_filter().prop_map(Stage::LabelFilter),
        text().prop_map(Stage::LineFormat),
        vec(label_format(), 1..3).prop_map(Stage::LabelFormat),
        vec(label_spec(), 1..3).prop_map(Stage::Drop),
        vec(label_spec(), 1..3).prop_map(Stage::Keep),
    ]
}

fn log() -> impl Strategy<Value = LogExpr> {
    (selector(), vec(stage(), 0..5)).prop_map(|(selector, mut stages)| {
        stages.dedup_by(|next, before| would_be_matcher(before, next));
        LogExpr { selector, stages }
    })
}

/// `| drop a != "x"` has a matcher in it, not a line filter behind it.
fn would_be_matcher(before: &Stage, next: &Stage) -> bool {
    let ends_in_name = match before {
        Stage::Drop(specs) | Stage::Keep(specs) => matches!(specs.last(), Some(LabelSpec::Name(_))),
        _ => false,
    };
    let op = match next {
        Stage::LineFilter(filter) => Some(filter.op),
        _ => None,
    };
    ends_in_name && matches!(op, Some(LineOp::NotContains | LineOp::NotRegex))
}

/// Without what Loki writes as 1000 of a unit and then reads as 1 of the next.
fn bytes() -> impl Strategy<Value = u64> {
    (0..1_u64 << 50).prop_filter("rounds to no thousand", |bytes| {
        let units = std::iter::successors(Some(*bytes as f64), |units| Some(units / 1000.0));
        units.take(6).all(|units| !(999.45..1000.0).contains(&units))
    })
}

fn unwrap() -> impl Strategy<Value = Unwrap> {
    let conversion =
        select(vec![Conversion::None, Conversion::Duration, Conversion::DurationSeconds, Conversion::Bytes]);
    (name(), conversion, vec(label_filter(), 0..2)).prop_map(|(label, conversion, filters)| Unwrap {
        label,
        conversion,
        filters,
    })
}

fn grouping() -> impl Strategy<Value = Grouping> {
    (any::<bool>(), vec(name(), 0..3)).prop_map(|(without, labels)| Grouping { without, labels })
}

fn range_aggregation() -> impl Strategy<Value = SampleExpr> {
    let window = (1..10_000_000_000_i64, -1_000_000_000..1_000_000_000_i64);
    let parts =
        (select(RangeOp::ALL.to_vec()), log(), unwrap(), any::<bool>(), window, option::of(grouping()));
    (parts, 0.0..1.0_f64).prop_map(|((op, log, unwrap, wants_unwrap, window, grouping), quantile)| {
        let has_unwrap = op.takes_unwrap() && (wants_unwrap || !op.takes_lines());
        let range = LogRange {
            log,
            unwrap: has_unwrap.then_some(unwrap),
            interval: window.0 * MILLISECOND,
            offset: window.1 * MILLISECOND,
        };
        let parameter = (op == RangeOp::QuantileOverTime).then_some(quantile);
        let grouping = grouping.filter(|_| op.takes_grouping());
        SampleExpr::Range(RangeAggregation { op, parameter, range, grouping })
    })
}

fn vector_aggregation(inner: SampleExpr, op: VectorOp, k: u64, grouping: Option<Grouping>) -> SampleExpr {
    let takes_grouping = !matches!(op, VectorOp::Sort | VectorOp::SortDesc | VectorOp::ApproxTopK);
    // `by ()` is no grouping.
    let grouping = grouping.filter(|g| takes_grouping && (g.without || !g.labels.is_empty()));
    let parameter = op.takes_parameter().then_some(k);
    SampleExpr::Vector(VectorAggregation { op, parameter, grouping, inner: Box::new(inner) })
}

fn matching() -> impl Strategy<Value = VectorMatching> {
    let group = (select(vec![Side::Left, Side::Right]), vec(name(), 0..2))
        .prop_map(|(many, include)| Group { many, include });
    (any::<bool>(), vec(name(), 0..3), option::of(group))
        .prop_map(|(on, labels, group)| VectorMatching { on, labels, group })
        .prop_filter("says something", |m| m.on || !m.labels.is_empty() || m.group.is_some())
}

fn binary_op() -> impl Strategy<Value = BinaryOp> {
    select(vec![
        BinaryOp::Add,
        BinaryOp::Sub,
        BinaryOp::Mul,
        BinaryOp::Div,
        BinaryOp::Mod,
        BinaryOp::Pow,
        BinaryOp::Equal,
        BinaryOp::NotEqual,
        BinaryOp::Greater,
        BinaryOp::LessEqual,
        BinaryOp::And,
        BinaryOp::Or,
        BinaryOp::Unless,
    ])
}

/// Two series, or a series and a number where that may be.
fn binary(series: impl Strategy<Value = SampleExpr> + Clone) -> impl Strategy<Value = SampleExpr> {
    let number = option::of((any::<bool>(), number()));
    (binary_op(), any::<bool>(), option::of(matching()), series.clone(), series, number).prop_map(
        |(op, return_bool, matching, mut lhs, mut rhs, number)| {
            if let Some((left, value)) = number.filter(|_| !op.is_set_operation()) {
                *(if left { &mut lhs } else { &mut rhs }) = SampleExpr::Literal(value);
            }
            SampleExpr::Binary(Box::new(Binary { op, return_bool, matching, lhs, rhs }))
        },
    )
}

fn series() -> impl Strategy<Value = SampleExpr> {
    let leaf = prop_oneof![
        4 => range_aggregation(),
        1 => (0.0..1e9_f64).prop_map(SampleExpr::VectorLiteral),
    ];
    leaf.prop_recursive(4, 12, 2, |inner| {
        let vector = (inner.clone(), select(VectorOp::ALL.to_vec()), 1..99_u64, option::of(grouping()))
            .prop_map(|(inner, op, k, grouping)| vector_aggregation(inner, op, k, grouping));
        let selects =
            inner.clone().prop_filter("the first leg of a label_replace has a selector", |sample| {
                !begins_with_a_literal(sample)
            });
        let replace =
            (selects, text(), text(), text(), regex()).prop_map(|(inner, dst, replacement, src, regex)| {
                SampleExpr::LabelReplace(Box::new(LabelReplace { inner, dst, replacement, src, regex }))
            });
        prop_oneof![vector, replace, binary(inner)]
    })
}

fn expr() -> impl Strategy<Value = Expr> {
    prop_oneof![log().prop_map(Expr::Log), series().prop_map(Expr::Sample), number().prop_map(literal)]
}

fn literal(value: f64) -> Expr {
    Expr::Sample(SampleExpr::Literal(value))
}

proptest! {
    #[test]
    fn an_exact_text_parses_to_the_same_query(expr in expr()) {
        let text = to_query(&expr);
        assert_eq!(parse(&text), Ok(expr), "{text}");
    }

    #[test]
    fn canonical_text_and_layout_say_the_same(expr in expr()) {
        let canonical = parse(&expr.to_string()).unwrap();
        let layout = pretty(&expr);
        assert_eq!(parse(&layout).as_ref(), Ok(&canonical), "{layout}");
        assert_eq!(canonical.to_string(), expr.to_string());
    }

    #[test]
    fn layout_is_stable(expr in expr()) {
        let layout = pretty(&expr);
        let again = pretty(&parse(&layout).unwrap());
        assert_eq!(again, layout);
    }
}
