//! What must hold for any ring, checked against a naive oracle that follows the definition word by word.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::{Just, Strategy, prop_assert, prop_assert_eq, proptest};

use super::{
    Draw, Member, NodeId, Ring, Token, TokenRange, Weight, Zone, diff,
    placement::{Joiner, TOKENS_MIN, choose_tokens, place_all},
};

fn member(name: &str, zone: &str, tokens: &[u64]) -> Member {
    Member {
        id: name.parse().unwrap(),
        zone: zone.parse().unwrap(),
        weight: Weight::default(),
        tokens: tokens.iter().copied().map(Token).collect(),
    }
}

/// Up to ten members in up to four zones. Tokens are few and from a small range, so that collisions and neighbours
/// are common; some members have none.
fn members() -> impl Strategy<Value = Vec<Member>> {
    let tokens =
        proptest::collection::vec(proptest::prop_oneof![0_u64..40, Just(u64::MAX), Just(u64::MAX - 1)], 0..5);
    proptest::collection::vec((0_u8..4, tokens), 0..10).prop_map(|drawn| {
        let named = |(index, (zone, tokens)): (usize, (u8, Vec<u64>))| {
            member(&format!("n{index}"), &format!("z{zone}"), &tokens)
        };
        drawn.into_iter().enumerate().map(named).collect()
    })
}

/// The owners by definition: list who is met clockwise, give each zone its first, fill up in order.
fn oracle(members: &[Member], token: u64, rf: usize) -> Vec<NodeId> {
    let mut claims: BTreeMap<u64, &Member> = BTreeMap::new();
    for member in members {
        for token in &member.tokens {
            let claim = claims.entry(token.0).or_insert(member);
            if member.id < claim.id {
                *claim = member;
            }
        }
    }
    let mut met: Vec<&Member> = Vec::new();
    for (_, member) in claims.range(token..).chain(claims.range(..token)) {
        if !met.iter().any(|other| other.id == member.id) {
            met.push(member);
        }
    }
    let mut zones = BTreeSet::new();
    let (first, rest): (Vec<&Member>, Vec<&Member>) =
        met.into_iter().partition(|member| zones.insert(&member.zone));
    first.into_iter().chain(rest).take(rf).map(|member| member.id.clone()).collect()
}

fn names(ring: &Ring, token: Token, rf: usize) -> Vec<NodeId> {
    ring.owners(token, rf).iter().map(|member| member.id.clone()).collect()
}

/// Some tokens worth asking about: each member's, their neighbours, and the ends.
fn probes(members: &[Member]) -> Vec<Token> {
    let around = |token: &Token| [token.previous(), *token, token.next()];
    members.iter().flat_map(|m| &m.tokens).flat_map(around).chain([Token(0), Token(u64::MAX)]).collect()
}

proptest! {
    #[test]
    fn owners_are_those_of_the_definition(members in members(), rf in 0_usize..6) {
        let ring = Ring::new(members.clone());
        for token in probes(&members) {
            let owners = names(&ring, token, rf);
            prop_assert_eq!(&owners, &oracle(&members, token.0, rf));
            let distinct: BTreeSet<_> = owners.iter().collect();
            prop_assert_eq!(distinct.len(), owners.len());
        }
    }

    #[test]
    fn every_token_has_as_many_owners_as_there_can_be_in_as_many_zones(members in members(), rf in 0_usize..6) {
        let ring = Ring::new(members.clone());
        let owning: BTreeSet<u16> = ring.points.iter().map(|point| point.member).collect();
        let zones: BTreeSet<&Zone> = owning.iter().map(|index| &ring.members[usize::from(*index)].zone).collect();
        for token in probes(&members) {
            let owners = ring.owners(token, rf);
            prop_assert_eq!(owners.len(), rf.min(owning.len()));
            let met: BTreeSet<&Zone> = owners.iter().map(|member| &member.zone).collect();
            prop_assert_eq!(met.len(), rf.min(zones.len()));
        }
    }

    #[test]
    fn the_order_of_members_and_tokens_does_not_matter(members in members(), seed: u64) {
        let mut shuffled = members.clone();
        let mut draw = Draw::new(seed);
        shuffled.iter_mut().for_each(|member| member.tokens.reverse());
        for index in (1..shuffled.len()).rev() {
            shuffled.swap(index, draw.below(index as u64 + 1) as usize);
        }
        let (a, b) = (Ring::new(members), Ring::new(shuffled));
        prop_assert_eq!(&a, &b);
        prop_assert_eq!(a.hash(), b.hash());
    }

    #[test]
    fn ranges_cover_the_circle_once(members in members()) {
        let ring = Ring::new(members);
        let ranges: Vec<TokenRange> = ring.ranges().collect();
        let sum: u128 = ranges.iter().map(TokenRange::size).sum();
        prop_assert_eq!(sum, if ranges.is_empty() { 0 } else { 1 << 64 });
        for pair in ranges.windows(2) {
            prop_assert_eq!(pair[0].last.next(), pair[1].first);
        }
        for range in &ranges {
            prop_assert_eq!(names(&ring, range.first, 3), names(&ring, range.last, 3));
        }
    }

    #[test]
    fn ranges_of_a_member_are_where_it_owns(members in members(), rf in 1_usize..4) {
        let ring = Ring::new(members.clone());
        for id in members.iter().map(|member| &member.id) {
            let ranges = ring.ranges_of(id, rf);
            for token in probes(&members) {
                let inside = ranges.iter().any(|range| range.contains(token));
                prop_assert_eq!(inside, ring.owners(token, rf).contains(id));
            }
        }
    }

    #[test]
    fn everybody_stands_in_exactly_once_and_owners_come_first(members in members(), rf in 0_usize..4) {
        let ring = Ring::new(members.clone());
        for token in probes(&members) {
            let order: Vec<NodeId> = ring.preference(token, rf).map(|member| member.id.clone()).collect();
            let owners = names(&ring, token, rf);
            prop_assert_eq!(&order[..owners.len()], &owners[..]);
            let distinct: BTreeSet<&NodeId> = order.iter().collect();
            let owning: BTreeSet<&NodeId> = ring.points.iter().map(|p| &ring.members[usize::from(p.member)].id).collect();
            prop_assert_eq!(distinct.len(), order.len());
            prop_assert_eq!(distinct, owning);
        }
    }

    #[test]
    fn the_difference_is_exact(before in members(), after in members(), rf in 1_usize..4) {
        let (old, new) = (Ring::new(before.clone()), Ring::new(after.clone()));
        let moves = diff(&old, &new, rf);
        for pair in moves.windows(2) {
            prop_assert!(pair[0].range.last < pair[1].range.first, "{moves:?} overlap");
        }
        for token in probes(&before).into_iter().chain(probes(&after)) {
            let (was, is) = (names(&old, token, rf), names(&new, token, rf));
            let same = was.iter().collect::<BTreeSet<_>>() == is.iter().collect::<BTreeSet<_>>();
            let found: Vec<_> = moves.iter().filter(|m| m.range.contains(token)).collect();
            prop_assert_eq!(found.len(), usize::from(!same));
            if let [only] = found[..] {
                prop_assert_eq!((&only.from, &only.to), (&was, &is));
                prop_assert!(only.gained().all(|id| is.contains(id) && !was.contains(id)));
                prop_assert!(only.lost().all(|id| was.contains(id) && !is.contains(id)));
            }
        }
    }

    #[test]
    fn removing_a_member_moves_only_its_ranges(members in members(), rf in 1_usize..4, which: proptest::sample::Index) {
        proptest::prop_assume!(!members.is_empty());
        // Without collisions: a member that gets a contested token back is another change.
        let mut members = members;
        for (index, member) in members.iter_mut().enumerate() {
            member.tokens.iter_mut().for_each(|token| token.0 = (token.0 << 4) + index as u64);
        }
        let gone = members[which.index(members.len())].id.clone();
        let old = Ring::new(members.clone());
        let new = Ring::new(members.into_iter().filter(|member| member.id != gone));
        for moved in diff(&old, &new, rf) {
            prop_assert!(moved.from.contains(&gone));
            prop_assert_eq!(moved.lost().collect::<Vec<_>>(), [&gone]);
        }
    }
}

proptest! {
    // Placement is heavy arithmetic without optimisation.
    #![proptest_config(proptest::test_runner::Config::with_cases(16))]

    #[test]
    fn joiners_seen_by_all_are_placed_alike_and_take_no_taken_token(members in members(), count in 1_usize..4) {
        let ring = Ring::new(members.clone());
        let mut joiners: Vec<Joiner> = (0..count)
            .map(|index| Joiner {
                id: format!("j{index}").parse().unwrap(),
                zone: format!("z{index}").parse().unwrap(),
                weight: Weight::default(),
            })
            .collect();
        let placed = place_all(&ring, &joiners, 3);
        joiners.reverse();
        prop_assert_eq!(&placed, &place_all(&ring, &joiners, 3));
        let tokens: Vec<Token> = placed.iter().chain(ring.members()).flat_map(|m| m.tokens.clone()).collect();
        let taken: BTreeSet<Token> = ring.points.iter().map(|point| point.token).collect();
        let distinct: BTreeSet<Token> = placed.iter().flat_map(|m| m.tokens.clone()).collect();
        prop_assert!(distinct.is_disjoint(&taken));
        prop_assert_eq!(distinct.len(), placed.iter().map(|m| m.tokens.len()).sum::<usize>());
        prop_assert!(tokens.len() >= count * TOKENS_MIN);
    }
}

#[test]
fn of_two_who_claim_a_token_the_first_name_keeps_it() {
    let ring = Ring::new([member("b", "", &[10, 20]), member("a", "", &[20])]);
    assert_eq!(names(&ring, Token(15), 1), ["a".parse().unwrap()]);
    assert_eq!(names(&ring, Token(5), 1), ["b".parse().unwrap()]);
    assert_eq!(ring.ranges().len(), 2);
}

#[test]
fn the_hash_tells_apart_whatever_the_ring_depends_on() {
    let rings = [
        vec![],
        vec![member("a", "z", &[1])],
        vec![member("az", "", &[1])],
        vec![member("a", "z", &[2])],
        vec![member("a", "z", &[1, 2])],
        vec![member("a", "z", &[])],
        vec![Member { weight: Weight::new(101).unwrap(), ..member("a", "z", &[1]) }],
        vec![member("a", "z", &[1]), member("b", "z", &[])],
    ];
    let hashes: BTreeSet<_> = rings.iter().map(|members| Ring::new(members.clone()).hash()).collect();
    assert_eq!(hashes.len(), rings.len());
}

#[test]
fn the_hash_never_changes_between_versions() {
    // Nodes of different versions compare their rings by it.
    assert_eq!(Ring::new([member("a", "rack", &[7, 1 << 63])]).hash().to_string(), "6dee52f4e348e925");
}

#[test]
fn a_peer_that_claims_too_many_tokens_keeps_the_smallest() {
    let tokens: Vec<u64> = (0..10_000).collect();
    let ring = Ring::new([member("a", "", &tokens)]);
    assert_eq!(ring.ranges().len(), crate::limits::TOKENS_PER_MEMBER_MAX);
}

/// Grows a ring one by one; the worst of max ÷ fair and of what a join moved ÷ its fair part, beyond three members.
fn grow(count: usize, zones: usize, seed: u64) -> (f64, f64) {
    let mut ring = Ring::new([]);
    let (mut worst, mut moved) = (0.0_f64, 0.0_f64);
    for index in 0..count {
        let id: NodeId = format!("n{:016x}", Draw::new(seed ^ index as u64).next()).parse().unwrap();
        let zone: Zone = format!("z{}", index % zones).parse().unwrap();
        let mut draw = Draw::named(ring.hash().0, id.as_str());
        let tokens = choose_tokens(&ring, Weight::default(), &zone, 3, &mut draw);
        let joined = Member { id, zone, weight: Weight::default(), tokens };
        let before = ring.clone();
        ring = Ring::new(before.members().iter().cloned().chain([joined]));
        worst = worst.max(super::Loads::of(&ring, 3).worst());
        if index >= 3 {
            let gained = |m: &super::Move| m.range.fraction() * m.gained().count() as f64;
            let gained: f64 = diff(&before, &ring, 3).iter().map(gained).sum();
            moved = moved.max(gained / 3.0 * (index + 1) as f64);
        }
    }
    (worst, moved)
}

#[test]
fn members_joining_one_by_one_stay_within_two_percent_and_move_little() {
    for (zones, seed) in [(1, 1), (3, 2)] {
        let (worst, moved) = grow(16, zones, seed);
        assert!(worst <= 1.02, "{zones} zones: the most loaded member holds {worst} of what is fair");
        assert!(moved <= 1.1, "{zones} zones: a join moved {moved} of its part");
    }
}
