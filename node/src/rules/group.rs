//! A rule group, as it is kept and as members tell each other of it.

use std::collections::BTreeMap;

use bincode::{Decode, Encode};
use serde::{Deserialize, Serialize};

/// Rules that belong together.
#[derive(
    Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Encode, Decode,
)]
#[serde(deny_unknown_fields)]
pub struct Group {
    /// Its name, among those of its namespace.
    pub name: String,
    /// How often its rules are meant to be looked at, ns; 0 for the ruler's own rhythm.
    pub interval: i64,
    /// How far back they are meant to look, ns.
    pub query_offset: Option<i64>,
    /// The most alerts or series of one rule; 0 is no limit.
    pub limit: i64,
    /// The rules, in order.
    pub rules: Vec<Rule>,
    /// Labels of all of them.
    pub labels: BTreeMap<String, String>,
}

/// An alert or a series to be recorded.
#[derive(
    Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Encode, Decode,
)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// The series that is recorded; empty for an alert.
    pub record: String,
    /// The alert's name; empty for a series.
    pub alert: String,
    /// What is asked, in LogQL.
    pub expr: String,
    /// How long it must hold before the alert fires, ns.
    pub hold: i64,
    /// How long the alert fires on after that, ns.
    pub keep_firing: i64,
    /// Labels that are added.
    pub labels: BTreeMap<String, String>,
    /// What people are told.
    pub annotations: BTreeMap<String, String>,
}

impl Group {
    /// About how many bytes it takes.
    pub fn bytes(&self) -> usize {
        let pairs = |pairs: &BTreeMap<String, String>| {
            pairs.iter().map(|(name, value)| name.len() + value.len() + 16).sum::<usize>()
        };
        let rule = |rule: &Rule| {
            let names = rule.record.len() + rule.alert.len() + rule.expr.len();
            64 + names + pairs(&rule.labels) + pairs(&rule.annotations)
        };
        64 + self.name.len() + pairs(&self.labels) + self.rules.iter().map(rule).sum::<usize>()
    }
}
