//! Every member knows every rule group.

use anyhow::Result;
use grapevine_gossip::rpc::Method;

use super::Replication;
use super::common::Common;
use crate::cluster::methods::RULES;
use crate::rules::Rules;
use crate::rules::group::Group;
use crate::rules::kept::{Kept, Name, news};

impl Common for Rules {
    type Item = (Name, Kept);

    const METHOD: Method = RULES;
    const WHAT: &'static str = "rule groups";

    fn bytes((name, kept): &(Name, Kept)) -> usize {
        let names = name.tenant.len() + name.namespace.len() + name.group.len();
        100 + names + kept.group.as_ref().map_or(0, Group::bytes)
    }

    fn digest(&self) -> u64 {
        Rules::digest(self)
    }

    fn known(&self) -> Vec<(Name, Kept)> {
        Rules::known(self).iter().map(|(name, kept)| (name.clone(), kept.clone())).collect()
    }

    fn news(&self, theirs: &[(Name, Kept)]) -> Vec<(Name, Kept)> {
        news(&Rules::known(self), &theirs.iter().cloned().collect())
    }

    async fn learn(&self, theirs: Vec<(Name, Kept)>) -> Result<()> {
        Ok(Rules::learn(self, theirs).await?)
    }
}

impl Replication {
    /// Tells all members that live of groups that were written or taken away here.
    pub async fn tell_rules(&self, names: &[Name]) {
        let known = self.parts.rules.known();
        let told = names.iter().filter_map(|name| Some((name.clone(), known.get(name)?.clone())));
        self.tell_all::<Rules>(told.collect()).await;
    }
}
