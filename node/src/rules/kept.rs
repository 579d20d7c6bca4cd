//! What a member knows of rule groups, and how what two members know becomes one: of one name the latest counts.
//!
//! A group that was taken away is remembered as such, so that no member brings it up again.

use std::collections::BTreeMap;

use bincode::{Decode, Encode};
use serde::{Deserialize, Serialize};

use super::group::Group;

/// A tenant, a namespace of its, and a group in that.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Encode, Decode)]
#[serde(deny_unknown_fields)]
pub struct Name {
    /// Whose.
    pub tenant: String,
    /// In which of its namespaces.
    pub namespace: String,
    /// The group.
    pub group: String,
}

/// What is known under a name. Of two the greater counts: the later, and of two at once the one with more in it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Encode, Decode)]
#[serde(deny_unknown_fields)]
pub struct Kept {
    /// When it was written or taken away, ns.
    pub at: i64,
    /// The group; none once it was taken away.
    pub group: Option<Group>,
}

/// All that is known.
pub type Groups = BTreeMap<Name, Kept>;

/// What two members know together.
pub fn merge(mut ours: Groups, theirs: impl IntoIterator<Item = (Name, Kept)>) -> Groups {
    for (name, kept) in theirs {
        match ours.get_mut(&name) {
            Some(known) if *known >= kept => {}
            _ => drop(ours.insert(name, kept)),
        }
    }
    ours
}

/// What of `ours` would be news to who knows `theirs`.
pub fn news(ours: &Groups, theirs: &Groups) -> Vec<(Name, Kept)> {
    let is_news = |(name, kept): &(&Name, &Kept)| theirs.get(name).is_none_or(|known| known < kept);
    ours.iter().filter(is_news).map(|(name, kept)| (name.clone(), kept.clone())).collect()
}

#[cfg(test)]
mod tests {
    use proptest::collection::btree_map;
    use proptest::option;
    use proptest::prelude::{Strategy, prop_assert, prop_assert_eq, proptest};

    use super::{Group, Groups, Kept, Name, merge, news};

    fn groups() -> impl Strategy<Value = Groups> {
        let name =
            ("[st]", "[ab]", "[12]").prop_map(|(tenant, namespace, group)| Name { tenant, namespace, group });
        let group = (0..3_i64).prop_map(|limit| Group { limit, ..Group::default() });
        let kept = (0..3_i64, option::of(group)).prop_map(|(at, group)| Kept { at, group });
        btree_map(name, kept, 0..6)
    }

    proptest! {
        #[test]
        fn what_members_know_together_depends_on_no_order(a in groups(), b in groups(), c in groups()) {
            let both = merge(a.clone(), b.clone());
            prop_assert_eq!(&both, &merge(b.clone(), a.clone()));
            prop_assert_eq!(merge(both.clone(), c.clone()), merge(a.clone(), merge(b, c)));
            prop_assert_eq!(merge(both.clone(), a), both, "hearing it again changes nothing");
        }

        #[test]
        fn the_news_are_enough(a in groups(), b in groups()) {
            let told = news(&a, &b);
            prop_assert_eq!(merge(b.clone(), told), merge(a.clone(), b.clone()));
            prop_assert!(news(&b, &merge(a, b.clone())).is_empty());
        }
    }
}
