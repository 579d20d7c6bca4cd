//! A ring being added to, with what each member holds kept up to date: the arithmetic under
//! [`placement`](super::placement).
//!
//! A new point changes the replica sets of the ranges just before it. Going backwards from it, the picks of a range
//! follow from the picks of the next one (`picks(j) = pick(owner(j), then picks(j + 1))`), with and without the new
//! point. Where both agree, all earlier ranges agree too. So judging a candidate costs a few array operations
//! instead of walks, also where zones are so unequal that a walk would pass a thousand points.

use super::{
    Draw, Ring, Token, Weight, Zone, fair_shares,
    leads::Leads,
    replicas::{Picking, ReplicaSet, Wish},
    token::fraction,
};

/// Members among which the most loaded are sought.
const HOT_MEMBERS: usize = 16;

/// What shorter ranges are worth against even loads. Without it, members that hold everything anyway (fewer than
/// replicas) leave ranges too long for later joiners to balance with, and single members stand out by 10 %.
const SPREAD: f64 = 1.0;

/// What even leads are worth against even loads.
const LEAD: f64 = 0.5;

pub(super) struct Board {
    /// Sorted tokens and their members. Two arrays, so that searching touches tokens only.
    tokens: Vec<u64>,
    owners: Vec<u16>,
    /// The tokens of each member.
    tokens_of: Vec<Vec<u64>>,
    zone_of: Vec<u16>,
    fair: Vec<f64>,
    held: Vec<f64>,
    /// The joiner's zone by itself, with one replica.
    leads: Leads,
    rf: usize,
    wish: Wish,
    joiner: u16,
}

/// What a candidate would change: a few members and by how much.
#[derive(Default)]
struct Change(Vec<(u16, f64)>);

impl Change {
    fn add(&mut self, member: u16, amount: f64) {
        match self.0.iter_mut().find(|(other, _)| *other == member) {
            Some((_, sum)) => *sum += amount,
            None => self.0.push((member, amount)),
        }
    }

    /// A range of this length passes from the members of one set to those of another.
    fn pass(&mut self, from: &ReplicaSet, to: &ReplicaSet, length: f64) {
        from.as_slice()
            .iter()
            .filter(|member| !to.has(**member))
            .for_each(|member| self.add(*member, -length));
        to.as_slice()
            .iter()
            .filter(|member| !from.has(**member))
            .for_each(|member| self.add(*member, length));
    }
}

impl Board {
    /// The board of a ring and a joiner of this zone and weight, who has no tokens yet. Members of the ring that
    /// own nothing are not on the board; the joiner is its last member.
    pub(super) fn new(ring: &Ring, zone: &Zone, weight: Weight, rf: usize) -> Self {
        let mut number = vec![0; ring.members.len()];
        let mut members: Vec<(&Zone, Weight)> = Vec::with_capacity(ring.members.len() + 1);
        for index in super::owning(&ring.points) {
            let member = &ring.members[usize::from(index)];
            number[usize::from(index)] = members.len() as u16;
            members.push((&member.zone, member.weight));
        }
        let joiner = members.len() as u16;
        members.push((zone, weight));
        let mut board = Self {
            tokens: ring.points.iter().map(|point| point.token.0).collect(),
            owners: ring.points.iter().map(|point| number[usize::from(point.member)]).collect(),
            tokens_of: vec![Vec::new(); members.len()],
            zone_of: zone_numbers(&members),
            fair: fair_shares(&members, rf),
            held: vec![0.0; members.len()],
            leads: Leads::new(ring, &number, &members),
            rf,
            wish: Wish::new(0, 0, 0),
            joiner,
        };
        for (token, owner) in board.tokens.iter().zip(&board.owners) {
            board.tokens_of[usize::from(*owner)].push(*token);
        }
        board.measure();
        board
    }

    /// Gives the joiner a token that is not taken.
    pub(super) fn insert(&mut self, token: Token) {
        self.leads.insert(token.0, self.joiner);
        let index = self.tokens.partition_point(|other| *other < token.0);
        let change = self.change(token.0, index);
        change.0.iter().for_each(|(member, amount)| self.held[usize::from(*member)] += amount);
        self.tokens.insert(index, token.0);
        self.owners.insert(index, self.joiner);
        let first = self.tokens_of[usize::from(self.joiner)].is_empty();
        self.tokens_of[usize::from(self.joiner)].push(token.0);
        // The first token may bring a new zone or one more replica to every range of the ring.
        if first {
            self.measure();
        }
    }

    /// The best of `candidates` points if the joiner is to hold `part` of its fair share after it; none only if
    /// chance met nothing but taken points.
    pub(super) fn best_candidate(&self, candidates: usize, part: f64, draw: &mut Draw) -> Option<Token> {
        let hot = self.most_loaded();
        let mut best: Option<(f64, u64)> = None;
        for tried in 0..candidates {
            let token = if tried % 2 == 0 { draw.next() } else { self.near_some_of(&hot, draw) };
            let index = self.tokens.partition_point(|other| *other < token);
            if self.tokens.get(index) == Some(&token) {
                continue;
            }
            let change = self.change(token, index);
            let cost = self.cost(&change, part) + LEAD * self.leads.cost(token, self.joiner, part)
                - SPREAD * self.split_gain(token, index);
            if best.is_none_or(|(least, _)| cost < least) {
                best = Some((cost, token));
            }
        }
        best.map(|(_, token)| Token(token))
    }

    /// Computes from scratch what everybody holds and what a replica set wants.
    fn measure(&mut self) {
        let present: Vec<usize> =
            (0..self.tokens_of.len()).filter(|member| !self.tokens_of[*member].is_empty()).collect();
        let mut zones: Vec<u16> = present.iter().map(|member| self.zone_of[*member]).collect();
        zones.sort_unstable();
        zones.dedup();
        self.wish = Wish::new(self.rf, present.len(), zones.len());
        self.held.fill(0.0);
        if self.tokens.is_empty() {
            return;
        }
        let mut picks = self.picks(0);
        for index in (0..self.tokens.len()).rev() {
            picks = self.pick_before(self.owners[index], &picks);
            let length = self.length(index);
            picks.as_slice().iter().for_each(|member| self.held[usize::from(*member)] += length);
        }
    }

    /// What giving the joiner `token` would change; `index` is where it belongs among the tokens.
    fn change(&self, token: u64, index: usize) -> Change {
        let mut change = Change::default();
        let count = self.tokens.len();
        if count == 0 {
            change.add(self.joiner, 1.0);
            return change;
        }
        let mut at = index % count;
        let mut without = self.picks(at);
        let mut with = self.pick_before(self.joiner, &without);
        let mut length = fraction(token.wrapping_sub(self.tokens[self.before(at)]));
        // At most once around: a lone member of a zone is picked everywhere.
        for _ in 0..count {
            if with == without {
                break;
            }
            change.pass(&without, &with, length);
            at = self.before(at);
            length = self.length(at);
            without = self.pick_before(self.owners[at], &without);
            with = self.pick_before(self.owners[at], &with);
        }
        change
    }

    /// By how much a change raises the sum of squared relative deviations (below 0: lowers it).
    fn cost(&self, change: &Change, part: f64) -> f64 {
        let square = |member: u16, held: f64| {
            let wanted = if member == self.joiner { part } else { 1.0 };
            let deviation = held / self.fair[usize::from(member)] - wanted;
            deviation * deviation
        };
        let rise = |(member, amount): &(u16, f64)| {
            let held = self.held[usize::from(*member)];
            square(*member, held + amount) - square(*member, held)
        };
        change.0.iter().map(rise).sum()
    }

    /// How much splitting a range at `token` lowers the sum of squared range lengths, in shares of the joiner.
    fn split_gain(&self, token: u64, index: usize) -> f64 {
        if self.tokens.is_empty() {
            return 0.0;
        }
        let index = index % self.tokens.len();
        let fair = self.fair[usize::from(self.joiner)];
        let first = fraction(token.wrapping_sub(self.tokens[self.before(index)])) / fair;
        let second = self.length(index) / fair - first;
        2.0 * first * second
    }

    /// The members that hold most in relation to what is fair.
    fn most_loaded(&self) -> Vec<u16> {
        let mut members: Vec<u16> = (0..self.joiner).collect();
        let excess = |member: &u16| self.held[usize::from(*member)] / self.fair[usize::from(*member)];
        let order = |a: &u16, b: &u16| excess(b).total_cmp(&excess(a)).then(a.cmp(b));
        if members.len() > HOT_MEMBERS {
            members.select_nth_unstable_by(HOT_MEMBERS, order);
            members.truncate(HOT_MEMBERS);
        }
        members.sort_unstable();
        members
    }

    /// A point in one of the ranges that some member of `hot` owns, as first, second … replica by chance.
    fn near_some_of(&self, hot: &[u16], draw: &mut Draw) -> u64 {
        if hot.is_empty() {
            return draw.next();
        }
        let member = hot[draw.below(hot.len() as u64) as usize];
        let tokens = &self.tokens_of[usize::from(member)];
        let token = tokens[draw.below(tokens.len() as u64) as usize];
        let mut index = self.tokens.partition_point(|other| *other < token);
        for _ in 0..draw.below(self.rf.max(1) as u64) {
            index = self.before(index);
        }
        let start = self.tokens[self.before(index)];
        let length = self.tokens[index].wrapping_sub(start);
        if length == 0 { draw.next() } else { start.wrapping_add(1 + draw.below(length)) }
    }

    /// The picks at a point, by walking.
    fn picks(&self, index: usize) -> ReplicaSet {
        let mut picking = Picking::new(self.wish);
        for member in self.owners[index..].iter().chain(&self.owners[..index]) {
            if picking.meet(*member, &self.zone_of) {
                break;
            }
        }
        picking.as_met()
    }

    /// The picks of a walk that meets `first` and then goes on where `then` was picked. Whoever was not picked there
    /// is not picked here either: one more in front only ever pushes others out.
    fn pick_before(&self, first: u16, then: &ReplicaSet) -> ReplicaSet {
        let mut picking = Picking::new(self.wish);
        picking.meet(first, &self.zone_of);
        then.as_slice().iter().for_each(|member| _ = picking.meet(*member, &self.zone_of));
        picking.as_met()
    }

    fn before(&self, index: usize) -> usize {
        if index == 0 { self.tokens.len() - 1 } else { index - 1 }
    }

    /// The part of the circle that the range ending at this point makes.
    fn length(&self, index: usize) -> f64 {
        fraction(self.tokens[index].wrapping_sub(self.tokens[self.before(index)]))
    }
}

fn zone_numbers(members: &[(&Zone, Weight)]) -> Vec<u16> {
    let mut zones: Vec<&Zone> = members.iter().map(|(zone, _)| *zone).collect();
    zones.sort_unstable();
    zones.dedup();
    members.iter().map(|(zone, _)| zones.binary_search(zone).unwrap_or(0) as u16).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{Strategy, prop_assert, proptest};

    use super::Board;
    use crate::ring::{Draw, Loads, Member, Ring, Token, Weight, Zone};

    fn member(index: usize, zone: u8, tokens: Vec<u64>) -> Member {
        Member {
            id: format!("n{index:03}").parse().unwrap(),
            zone: format!("z{zone}").parse().unwrap(),
            weight: Weight::default(),
            tokens: tokens.into_iter().map(Token).collect(),
        }
    }

    fn members() -> impl Strategy<Value = Vec<(u8, Vec<u64>)>> {
        proptest::collection::vec((0_u8..4, proptest::collection::vec(0_u64..1 << 63, 1..5)), 0..12)
    }

    proptest! {
        #[test]
        fn what_the_board_keeps_is_what_walking_the_ring_measures(
            present in members(), zone in 0_u8..5, rf in 1_usize..5, seed: u64
        ) {
            let members: Vec<Member> =
                present.into_iter().enumerate().map(|(index, (zone, tokens))| member(index, zone, tokens)).collect();
            let zone: Zone = format!("z{zone}").parse().unwrap();
            let mut board = Board::new(&Ring::new(members.clone()), &zone, Weight::default(), rf);
            let mut draw = Draw::new(seed);
            let mut tokens = Vec::new();
            for _ in 0..6 {
                let token = board.best_candidate(8, 1.0, &mut draw).unwrap();
                board.insert(token);
                tokens.push(token);
                let joiner = Member { tokens: tokens.clone(), zone: zone.clone(), ..member(999, 0, vec![]) };
                let loads = Loads::of(&Ring::new(members.iter().cloned().chain([joiner])), rf);
                for (kept, measured) in board.held.iter().zip(&loads.held) {
                    prop_assert!((kept - measured).abs() < 1e-9, "{:?} {:?}", board.held, loads.held);
                }
            }
        }
    }
}
