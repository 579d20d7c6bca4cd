//! Expressions: operands and the binary operators between them.

use super::stage::Place;
use super::{ParseError, Parsed, Parser};
use crate::ast::{Binary, BinaryOp, Group, LogExpr, SampleExpr, Side, VectorMatching};
use crate::lex::{Keyword, Kind, Symbol};
use crate::limits::TREE_DEPTH_MAX;
use crate::number::parse_float;

/// A log or a sample expression: which of them an operand must be is known only after it was read.
pub(super) enum Node {
    Log(LogExpr),
    Sample(SampleExpr),
}

/// An expression on its way into a larger one.
pub(super) struct Operand {
    pub node: Node,
    /// The depth of its tree.
    pub depth: usize,
    /// What is wrong with its meaning, outermost first, to be reported once the whole query was read.
    pub fault: Option<ParseError>,
}

impl Operand {
    pub(super) fn leaf(sample: SampleExpr, fault: Option<ParseError>) -> Self {
        Self { node: Node::Sample(sample), depth: 1, fault }
    }

    /// A number, or why its text is none.
    pub(super) fn literal(value: Result<f64, String>) -> Self {
        match value {
            Ok(value) => Self::leaf(SampleExpr::Literal(value), None),
            Err(why) => {
                let why = ParseError::without_position(format!("unable to parse literal as a float: {why}"));
                Self::leaf(SampleExpr::Literal(0.0), Some(why))
            }
        }
    }

    pub(super) fn is_sample(&self) -> bool {
        matches!(self.node, Node::Sample(_))
    }

    fn as_literal(&self) -> Option<f64> {
        match self.node {
            Node::Sample(SampleExpr::Literal(value)) => Some(value),
            _ => None,
        }
    }

    /// The name of the Go type that Loki's error texts give.
    fn type_name(&self) -> &'static str {
        match &self.node {
            Node::Log(log) if log.stages.is_empty() => "*syntax.MatchersExpr",
            Node::Log(_) => "*syntax.PipelineExpr",
            Node::Sample(_) => "syntax.SampleExpr",
        }
    }
}

/// `bool`, `on`, `group_left` and their kin behind a binary operator.
struct Modifier {
    return_bool: bool,
    matching: Option<VectorMatching>,
}

impl Parser<'_> {
    pub(super) fn expression(&mut self) -> Parsed<Operand> {
        self.expression_above(0)
    }

    /// An expression of operators that bind at least as tightly as `floor`.
    fn expression_above(&mut self, floor: u8) -> Parsed<Operand> {
        self.nested(|parser| {
            let first = parser.operand()?;
            parser.expression_from(first, floor)
        })
    }

    /// The rest of an expression behind its first operand.
    pub(super) fn expression_from(&mut self, first: Operand, floor: u8) -> Parsed<Operand> {
        let mut left = first;
        while let Kind::Binary(op) = self.kind() {
            if op.precedence() < floor {
                break;
            }
            self.bump()?;
            let modifier = self.modifier()?;
            let floor = if op == BinaryOp::Pow { op.precedence() } else { op.precedence() + 1 };
            let right = self.expression_above(floor)?;
            left = self.binary(op, modifier, left, right)?;
        }
        Ok(left)
    }

    fn operand(&mut self) -> Parsed<Operand> {
        match self.kind() {
            Kind::Symbol(Symbol::OpenParen) => {
                self.bump()?;
                let inner = self.expression()?;
                self.expect_one_of(Symbol::CloseParen, &[])?;
                Ok(inner)
            }
            Kind::Symbol(Symbol::OpenBrace) => {
                let selector = self.selector()?;
                let (stages, _) = self.pipeline(Place::Log)?;
                Ok(Operand { node: Node::Log(LogExpr { selector, stages }), depth: 1, fault: None })
            }
            Kind::RangeFunction(op) => self.range_aggregation(op),
            Kind::VectorFunction(op) => self.vector_aggregation(op),
            Kind::Keyword(Keyword::LabelReplace) => self.label_replace(),
            Kind::Vector => self.vector_literal(),
            _ => Ok(Operand::literal(self.literal(&[])?)),
        }
    }

    /// A number with or without a sign; the inner error is `ParseFloat`'s.
    pub(super) fn literal(&mut self, expected: &[&str]) -> Parsed<Result<f64, String>> {
        let sign = match self.kind() {
            Kind::Number => {
                let text = self.bump()?.text;
                return Ok(parse_float(&text));
            }
            Kind::Binary(BinaryOp::Add) => 1.0,
            Kind::Binary(BinaryOp::Sub) => -1.0,
            _ => return Err(self.unexpected(expected)),
        };
        self.bump()?;
        let text = self.expect_text(Kind::Number, &["NUMBER"])?;
        Ok(parse_float(&text).map(|value| sign * value))
    }

    fn modifier(&mut self) -> Parsed<Modifier> {
        let return_bool = self.is_keyword(Keyword::Bool);
        if return_bool {
            self.bump()?;
        }
        let on = match self.kind() {
            Kind::Keyword(Keyword::On) => true,
            Kind::Keyword(Keyword::Ignoring) => false,
            _ => return Ok(Modifier { return_bool, matching: None }),
        };
        self.bump()?;
        let labels = self.label_names()?;
        let group = self.group()?;
        // `ignoring ()` is what no modifier at all means.
        let says_something = on || !labels.is_empty() || group.is_some();
        let matching = says_something.then_some(VectorMatching { on, labels, group });
        Ok(Modifier { return_bool, matching })
    }

    fn group(&mut self) -> Parsed<Option<Group>> {
        let many = match self.kind() {
            Kind::Keyword(Keyword::GroupLeft) => Side::Left,
            Kind::Keyword(Keyword::GroupRight) => Side::Right,
            _ => return Ok(None),
        };
        self.bump()?;
        let include = if self.is_symbol(Symbol::OpenParen) { self.label_names()? } else { Vec::new() };
        Ok(Some(Group { many, include }))
    }

    /// One level more, if the tree may have it.
    pub(super) fn deeper(&self, depth: usize) -> Parsed<usize> {
        if depth < TREE_DEPTH_MAX {
            return Ok(depth + 1);
        }
        let message = format!("expression has more than {TREE_DEPTH_MAX} steps; take the query apart");
        Err(ParseError::at(message, self.token.line, self.token.column))
    }

    fn binary(&self, op: BinaryOp, modifier: Modifier, left: Operand, right: Operand) -> Parsed<Operand> {
        let own_fault = binary_fault(op, &left, &right);
        let literals = left.as_literal().zip(right.as_literal());
        let depth = match literals {
            Some(_) => 1,
            None => self.deeper(left.depth.max(right.depth))?,
        };
        let fault = own_fault.or(left.fault).or(right.fault);
        let sample = match (left.node, right.node, literals) {
            (_, _, Some((left, right))) => SampleExpr::Literal(fold(op, left, right)),
            (Node::Sample(lhs), Node::Sample(rhs), None) => {
                let Modifier { return_bool, matching } = modifier;
                SampleExpr::Binary(Box::new(Binary { op, return_bool, matching, lhs, rhs }))
            }
            // The fault says so; what stands here is never looked at.
            _ => SampleExpr::Literal(0.0),
        };
        Ok(Operand { node: Node::Sample(sample), depth, fault })
    }
}

fn binary_fault(op: BinaryOp, left: &Operand, right: &Operand) -> Option<ParseError> {
    let sides = [("left", left), ("right", right)];
    let wrong_type = sides.iter().find(|(_, side)| !side.is_sample()).map(|(leg, side)| {
        format!("unexpected type for {leg} leg of binary operation ({}): {}", op.as_str(), side.type_name())
    });
    let literal = || {
        let (leg, value) = sides.iter().filter(|_| op.is_set_operation()).find_map(|(leg, side)| {
            side.as_literal().filter(|_| side.fault.is_none()).map(|value| (leg, value))
        })?;
        let op = op.as_str();
        Some(format!("unexpected literal for {leg} leg of logical/set binary operation ({op}): {value:.6}"))
    };
    wrong_type.or_else(literal).map(ParseError::without_position)
}

/// Two numbers become one. A comparison gives 0 or 1, and there is no dividing by zero.
fn fold(op: BinaryOp, left: f64, right: f64) -> f64 {
    let truth = |holds: bool| f64::from(u8::from(holds));
    match op {
        BinaryOp::Add => left + right,
        BinaryOp::Sub => left - right,
        BinaryOp::Mul => left * right,
        BinaryOp::Div | BinaryOp::Mod if right == 0.0 => f64::NAN,
        BinaryOp::Div => left / right,
        BinaryOp::Mod => left % right,
        BinaryOp::Pow => left.powf(right),
        BinaryOp::Equal => truth(left == right),
        BinaryOp::NotEqual => truth(left != right),
        BinaryOp::Greater => truth(left > right),
        BinaryOp::GreaterEqual => truth(left >= right),
        BinaryOp::Less => truth(left < right),
        BinaryOp::LessEqual => truth(left <= right),
        // A fault, found before.
        BinaryOp::And | BinaryOp::Or | BinaryOp::Unless => f64::NAN,
    }
}
