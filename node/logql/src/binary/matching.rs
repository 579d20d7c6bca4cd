//! How the series of two vectors find each other: `on`, `ignoring`, `group_left`, `group_right`.

use crate::ast::{Side, VectorMatching};
use crate::series::SeriesLabels;

/// Which side may have several series for one of the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cardinality {
    OneToOne,
    /// `group_left` or `group_right`: the side with many.
    Many(Side),
}

/// The matching of one operation, with Loki's defaults filled in.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Matching<'a> {
    on: bool,
    labels: &'a [String],
    include: &'a [String],
    pub(crate) cardinality: Cardinality,
}

impl<'a> Matching<'a> {
    /// Without a clause all labels are compared.
    pub(crate) fn new(matching: Option<&'a VectorMatching>) -> Self {
        let Some(matching) = matching else {
            return Matching { on: false, labels: &[], include: &[], cardinality: Cardinality::OneToOne };
        };
        let group = matching.group.as_ref();
        Matching {
            on: matching.on,
            labels: &matching.labels,
            include: group.map_or(&[], |group| &group.include),
            cardinality: group.map_or(Cardinality::OneToOne, |group| Cardinality::Many(group.many)),
        }
    }

    /// The labels that must be alike on both sides.
    pub(crate) fn signature(&self, labels: &SeriesLabels) -> SeriesLabels {
        labels.filtered(|name| self.labels.iter().any(|label| label == name) == self.on)
    }

    /// The labels of the result of a pair: those compared, or with `group_…` those of the many side and the
    /// labels included from the one side; an included label that is missing there is removed.
    pub(crate) fn result(&self, many: &SeriesLabels, one: &SeriesLabels) -> SeriesLabels {
        if self.cardinality == Cardinality::OneToOne {
            return self.signature(many);
        }
        self.include.iter().fold(many.clone(), |labels, name| labels.with(name, one.get(name)))
    }
}
