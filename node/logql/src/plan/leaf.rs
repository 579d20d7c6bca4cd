//! The part of a plan that touches lines: one range aggregation, with all that could be moved into it.

use std::collections::BTreeSet;

use crate::ast::{
    Grouping, LabelFilter, LabelFormat, LabelFormatSource, LineFilter, LogExpr, MatchOp, Matcher,
    RangeAggregation, RangeOp, Stage, Unwrap, VectorAggregation, VectorOp,
};
use crate::labels::ERROR_LABEL;
use crate::level::LEVEL_LABEL;
use crate::pipeline::{Wanted, split_leading};
use crate::range::{Steps, Windows};
use crate::series::SeriesLabels;
use crate::template::Template;

use super::PlanOptions;

/// One range aggregation.
#[derive(Clone, Debug, PartialEq)]
pub struct Leaf {
    /// Which streams.
    pub selector: Vec<Matcher>,
    /// What is done to their lines. Parsers whose labels nothing uses have been left out, as Loki leaves them
    /// out: then a line that does not parse is no error either.
    pub stages: Vec<Stage>,
    /// The label that gives the values, and the filters behind it.
    pub unwrap: Option<Unwrap>,
    /// The function.
    pub op: RangeOp,
    /// The quantile of `quantile_over_time`.
    pub parameter: Option<f64>,
    /// Length of a window in ns.
    pub interval: i64,
    /// How far windows lie in the past, in ns; may be negative.
    pub offset: i64,
    /// Which labels tell series apart, the label unwrapped already left out where it does not.
    pub by: SeriesBy,
    /// The labels the stages must yield besides those they ask for themselves.
    pub wanted: Wanted,
    /// Whether the lines' text matters: not even their length does where this is false.
    pub reads_text: bool,
    /// Where the text matters at most to these line filters, which see it as it is stored: then nothing but
    /// the number of lines that pass them between two window edges counts. None: it matters otherwise.
    pub hit_filters: Option<Vec<LineFilter>>,
    /// Whether lines that failed a stage are counted like any other, since the query asks for `__error__`;
    /// otherwise such a line is reported by
    /// [`add_failure`](crate::range::Accumulator::add_failure).
    pub keeps_errors: bool,
    /// The labels that are looked at at all, by filters or to tell series apart; none means all. Only
    /// meaningful with `hit_filters`: where all are labels of a stream, all its lines are one series, see
    /// [`Self::is_settled_by`].
    pub uses: Option<BTreeSet<String>>,
}

/// Which of a line's labels tell its series apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SeriesBy {
    /// Those listed, and no other.
    Only(BTreeSet<String>),
    /// All but those listed.
    Without(BTreeSet<String>),
}

impl SeriesBy {
    fn of(grouping: &Grouping) -> Self {
        let labels = grouping.labels.iter().cloned().collect();
        if grouping.without { SeriesBy::Without(labels) } else { SeriesBy::Only(labels) }
    }

    /// Whether a label of this name stays.
    pub fn keeps(&self, name: &str) -> bool {
        match self {
            SeriesBy::Only(labels) => labels.contains(name),
            SeriesBy::Without(labels) => !labels.contains(name),
        }
    }

    /// Whether all lines are one series.
    pub fn is_one_series(&self) -> bool {
        matches!(self, SeriesBy::Only(labels) if labels.is_empty())
    }

    fn leave_out(&mut self, name: &str) {
        match self {
            SeriesBy::Only(labels) => {
                labels.remove(name);
            }
            SeriesBy::Without(labels) => {
                labels.insert(name.to_owned());
            }
        }
    }
}

/// Whether the vector aggregation right above a range aggregation can be done at the leaf: the samples of a
/// group then form one series from the start.
pub(super) fn takes_in(range: &RangeAggregation, outer: VectorOp) -> bool {
    use RangeOp::{BytesOverTime, BytesRate, CountOverTime, MaxOverTime, MinOverTime, Rate, SumOverTime};
    range.grouping.is_none()
        && match outer {
            VectorOp::Sum => {
                matches!(range.op, Rate | CountOverTime | BytesRate | BytesOverTime | SumOverTime)
            }
            VectorOp::Min => range.op == MinOverTime,
            VectorOp::Max => range.op == MaxOverTime,
            _ => false,
        }
}

impl Leaf {
    /// `outer` is the vector aggregation above, if it [can be taken in](takes_in).
    pub(super) fn new(
        range: &RangeAggregation,
        outer: Option<&VectorAggregation>,
        options: PlanOptions,
    ) -> Self {
        let LogExpr { selector, stages } = range.range.log.clone();
        let unwrap = range.range.unwrap.clone();
        let by = series_by(range, outer);
        let mut leaf = Leaf {
            selector,
            stages,
            unwrap,
            op: range.op,
            parameter: range.parameter,
            interval: range.range.interval,
            offset: range.range.offset,
            by,
            wanted: Wanted::All,
            reads_text: true,
            hit_filters: None,
            keeps_errors: false,
            uses: None,
        };
        leaf.derive(outer, options);
        leaf
    }

    /// Fills in what follows from the rest.
    fn derive(&mut self, outer: Option<&VectorAggregation>, options: PlanOptions) {
        let asked = self.labels_asked_for();
        if let SeriesBy::Only(labels) = &self.by {
            self.wanted = Wanted::Only(labels.union(&self.labels_unwrapped()).cloned().collect());
            self.uses = Some(labels.union(&asked).cloned().collect());
            // Loki knows of the grouping above only when it is a sum.
            let known = outer.is_none_or(|outer| outer.op == VectorOp::Sum);
            self.keeps_errors = known && (labels.contains(ERROR_LABEL) || asked.contains(ERROR_LABEL));
            if labels.is_empty() && asked.is_empty() {
                self.stages.retain(|stage| !is_parser(stage));
            }
        }
        self.hit_filters = self.find_hit_filters(options);
        self.reads_text = self.hit_filters.as_ref().is_none_or(|filters| !filters.is_empty());
    }

    fn find_hit_filters(&self, options: PlanOptions) -> Option<Vec<LineFilter>> {
        let (filters, rest) = split_leading(&self.stages);
        let reads = self.needs_value()
            || rest.iter().any(stage_reads_text)
            || (options.discover_levels && self.may_use(LEVEL_LABEL));
        (!reads).then_some(filters)
    }

    fn may_use(&self, name: &str) -> bool {
        match &self.uses {
            Some(uses) => uses.contains(name),
            None => self.by.keeps(name) || self.labels_asked_for().contains(name),
        }
    }

    /// Whether the labels of a stream alone, without metadata, say which series its lines belong to and
    /// which stages but [`hit_filters`](Self::hit_filters) they pass.
    pub fn is_settled_by(&self, stream: &[(&str, &str)]) -> bool {
        let known = |name: &String| stream.iter().any(|(label, _)| label == name);
        self.hit_filters.is_some() && self.uses.as_ref().is_some_and(|uses| uses.iter().all(known))
    }

    /// Whether more than a line's being there counts.
    fn needs_value(&self) -> bool {
        self.unwrap.is_some()
            || !matches!(self.op, RangeOp::Rate | RangeOp::CountOverTime | RangeOp::AbsentOverTime)
    }

    /// The labels that stages, `unwrap` and the filters behind it look at.
    fn labels_asked_for(&self) -> BTreeSet<String> {
        let mut asked = self.labels_unwrapped();
        self.stages.iter().for_each(|stage| ask_stage(stage, &mut asked));
        asked
    }

    /// The labels that `unwrap` and the filters behind it look at.
    fn labels_unwrapped(&self) -> BTreeSet<String> {
        let mut asked = BTreeSet::new();
        if let Some(unwrap) = &self.unwrap {
            asked.insert(unwrap.label.clone());
            unwrap.filters.iter().for_each(|filter| ask_filter(filter, &mut asked));
        }
        asked
    }

    /// The windows of this leaf for a query's evaluation times.
    pub fn windows(&self, steps: &Steps) -> Windows {
        Windows::new(steps, self.interval, self.offset)
    }

    /// The labels of `absent_over_time`'s series: those an equality matcher of the selector, and no other
    /// matcher, fixes.
    pub fn absent_labels(&self) -> Option<SeriesLabels> {
        if self.op != RangeOp::AbsentOverTime {
            return None;
        }
        let alone = |name: &str| self.selector.iter().filter(|other| other.name == name).count() == 1;
        let fixed = self.selector.iter().filter(|m| m.op == MatchOp::Equal && !m.value.is_empty());
        let labels = fixed.filter(|m| alone(&m.name)).map(|m| (m.name.as_str(), m.value.as_str()));
        Some(labels.collect())
    }
}

fn series_by(range: &RangeAggregation, outer: Option<&VectorAggregation>) -> SeriesBy {
    if range.op == RangeOp::AbsentOverTime {
        return SeriesBy::Only(BTreeSet::new());
    }
    let grouping = match (outer, &range.grouping) {
        // A vector aggregation without grouping makes one series of all.
        (Some(outer), _) => {
            Some(outer.grouping.as_ref().map_or(SeriesBy::Only(BTreeSet::new()), SeriesBy::of))
        }
        (None, grouping) => grouping.as_ref().map(SeriesBy::of),
    };
    let mut by = grouping.unwrap_or(SeriesBy::Without(BTreeSet::new()));
    let Some(unwrap) = &range.range.unwrap else { return by };
    // The unwrapped label is the value, not part of the series' name, unless the grouping that Loki applies
    // to the lines themselves names it: its own, or that of a sum above.
    let named = matches!(by, SeriesBy::Only(_)) && outer.is_none_or(|outer| outer.op == VectorOp::Sum);
    if !named {
        by.leave_out(&unwrap.label);
    }
    by
}

/// Whether a stage only adds labels (`unpack` may change the line too; Loki leaves it out all the same).
fn is_parser(stage: &Stage) -> bool {
    matches!(
        stage,
        Stage::Json(_) | Stage::Logfmt { .. } | Stage::Pattern(_) | Stage::Regexp(_) | Stage::Unpack
    )
}

fn stage_reads_text(stage: &Stage) -> bool {
    match stage {
        Stage::LabelFilter(_) | Stage::Drop(_) | Stage::Keep(_) => false,
        Stage::LabelFormat(formats) => {
            formats.iter().any(|format| matches!(format.source, LabelFormatSource::Template(_)))
        }
        _ => true,
    }
}

fn ask_stage(stage: &Stage, asked: &mut BTreeSet<String>) {
    match stage {
        Stage::LabelFilter(filter) => ask_filter(filter, asked),
        Stage::LineFormat(template) => ask_template(template, asked),
        Stage::LabelFormat(formats) => formats.iter().for_each(|format| ask_format(format, asked)),
        // What drop and keep look at decides only about that label.
        _ => {}
    }
}

fn ask_filter(filter: &LabelFilter, asked: &mut BTreeSet<String>) {
    let name = match filter {
        LabelFilter::Text(matcher) => &matcher.name,
        LabelFilter::Number { name, .. }
        | LabelFilter::Duration { name, .. }
        | LabelFilter::Bytes { name, .. }
        | LabelFilter::Ip { name, .. } => name,
        LabelFilter::And(lhs, rhs) | LabelFilter::Or(lhs, rhs) => {
            ask_filter(lhs, asked);
            return ask_filter(rhs, asked);
        }
    };
    asked.insert(name.clone());
}

fn ask_format(format: &LabelFormat, asked: &mut BTreeSet<String>) {
    match &format.source {
        LabelFormatSource::Rename(source) => {
            asked.insert(source.clone());
        }
        LabelFormatSource::Template(template) => ask_template(template, asked),
    }
}

/// A template that may read any label is noted under its own text, which is no label's name: something is
/// asked for, and no stream can have it.
fn ask_template(source: &str, asked: &mut BTreeSet<String>) {
    let names = Template::parse(source).ok().and_then(|template| template.label_names());
    asked.extend(names.unwrap_or_else(|| BTreeSet::from([source.to_owned()])));
}
