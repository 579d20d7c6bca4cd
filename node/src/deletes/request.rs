//! A request, what became of it where, and how what two members know of requests becomes one.
//!
//! What is known only grows: a request that was made stays made, one that was taken back stays so, and who has carried it
//! out has. So members may tell each other in any order, and as often as they like.

use std::collections::{BTreeMap, BTreeSet};

use bincode::{Decode, Encode};
use serde::{Deserialize, Serialize};

/// A tenant, and an id among its requests.
pub type Name = (String, String);
/// Requests by name.
pub type Requests = BTreeMap<Name, DeleteRequest>;

/// A request.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, Encode, Decode)]
#[serde(deny_unknown_fields)]
pub struct DeleteRequest {
    /// Names it, among those of its tenant.
    pub id: String,
    /// Whose lines.
    pub tenant: String,
    /// Which lines, in LogQL.
    pub query: String,
    /// The first timestamp, ns.
    pub start: i64,
    /// The last timestamp, ns.
    pub end: i64,
    /// When it was made, ns.
    pub created_at: i64,
    /// When it was taken back, ns.
    pub cancelled_at: Option<i64>,
    /// The members that have carried it out, and when, ns.
    pub processed: BTreeMap<String, i64>,
}

impl DeleteRequest {
    /// Its name among those of all tenants.
    pub fn name(&self) -> Name {
        (self.tenant.clone(), self.id.clone())
    }

    /// Whether it is taken back: too late where a member has carried it out.
    pub fn is_cancelled(&self) -> bool {
        self.cancelled_at.is_some() && self.processed.is_empty()
    }

    /// When the last of these members had carried it out; none while one has not.
    pub fn done_at(&self, members: &BTreeSet<String>) -> Option<i64> {
        let times: Option<Vec<i64>> =
            members.iter().map(|member| self.processed.get(member).copied()).collect();
        times?.into_iter().max()
    }

    /// Whether the same lines are asked for, by whoever and whenever.
    pub fn is_same(&self, other: &DeleteRequest) -> bool {
        (&self.query, self.start, self.end) == (&other.query, other.start, other.end)
    }

    /// Adds what another member knows. Of two requests under one name the one that was made first counts.
    fn merge(&mut self, other: DeleteRequest) {
        let mut processed = std::mem::take(&mut self.processed);
        for (member, at) in &other.processed {
            processed.entry(member.clone()).and_modify(|known| *known = *at.min(known)).or_insert(*at);
        }
        let cancelled_at = self.cancelled_at.into_iter().chain(other.cancelled_at).min();
        if other.asked() < self.asked() {
            *self = other;
        }
        (self.cancelled_at, self.processed) = (cancelled_at, processed);
    }

    /// What was asked for, and when.
    fn asked(&self) -> (i64, &str, i64, i64) {
        (self.created_at, &self.query, self.start, self.end)
    }
}

/// What two members know together.
pub fn merge(mut ours: Requests, theirs: Requests) -> Requests {
    for (name, request) in theirs {
        match ours.get_mut(&name) {
            Some(known) => known.merge(request),
            None => drop(ours.insert(name, request)),
        }
    }
    ours
}

/// What of `ours` would be news to who knows `theirs`.
pub fn news(ours: &Requests, theirs: &Requests) -> Vec<DeleteRequest> {
    let is_news = |request: &&DeleteRequest| {
        theirs.get(&request.name()).is_none_or(|known| {
            let mut merged = known.clone();
            merged.merge((*request).clone());
            merged != *known
        })
    };
    ours.values().filter(is_news).cloned().collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::collection::{btree_map, vec};
    use proptest::option;
    use proptest::prelude::{Strategy, prop_assert, prop_assert_eq, proptest};

    use super::{DeleteRequest, Requests, merge, news};

    fn request() -> impl Strategy<Value = DeleteRequest> {
        let asked = (0..3_i64, "[ab]", 0..3_i64, 0..2_i64);
        (("[st]", "[12]"), asked, option::of(0..3_i64), btree_map("[mno]", 0..3_i64, 0..3)).prop_map(
            |((tenant, id), (start, query, end, created_at), cancelled_at, processed)| DeleteRequest {
                id,
                tenant,
                query,
                start,
                end,
                created_at,
                cancelled_at,
                processed,
            },
        )
    }

    fn requests() -> impl Strategy<Value = Requests> {
        let by_name = |all: Vec<DeleteRequest>| all.into_iter().map(|request| (request.name(), request));
        vec(request(), 0..5).prop_map(move |all| by_name(all).collect())
    }

    proptest! {
        #[test]
        fn what_members_know_together_depends_on_no_order(a in requests(), b in requests(), c in requests()) {
            let both = merge(a.clone(), b.clone());
            prop_assert_eq!(&both, &merge(b.clone(), a.clone()));
            prop_assert_eq!(merge(both.clone(), c.clone()), merge(a.clone(), merge(b.clone(), c)));
            prop_assert_eq!(&merge(both.clone(), a), &both, "hearing it again changes nothing");
            prop_assert_eq!(&merge(both.clone(), both.clone()), &both);
        }

        #[test]
        fn the_news_are_enough(a in requests(), b in requests()) {
            let told: Requests = news(&a, &b).into_iter().map(|request| (request.name(), request)).collect();
            prop_assert_eq!(merge(b.clone(), told), merge(a.clone(), b.clone()));
            prop_assert!(news(&b, &merge(a, b.clone())).is_empty());
        }

        #[test]
        fn a_cancellation_wins_unless_a_member_has_carried_the_request_out(a in request(), b in request()) {
            let mut both = a.clone();
            both.merge(b.clone());
            let is_asked = a.cancelled_at.is_some() || b.cancelled_at.is_some();
            let is_done = !a.processed.is_empty() || !b.processed.is_empty();
            prop_assert_eq!(both.is_cancelled(), is_asked && !is_done);
        }
    }

    #[test]
    fn a_request_is_done_when_the_last_member_is() {
        let members = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<_>>();
        let request = DeleteRequest {
            id: "1".into(),
            tenant: "t".into(),
            query: "{}".into(),
            start: 0,
            end: 0,
            created_at: 0,
            cancelled_at: None,
            processed: [("a".to_owned(), 5), ("b".to_owned(), 3)].into(),
        };
        assert_eq!(request.done_at(&members(&["a", "b"])), Some(5));
        assert_eq!(request.done_at(&members(&["b"])), Some(3));
        assert_eq!(request.done_at(&members(&["a", "c"])), None);
    }
}
