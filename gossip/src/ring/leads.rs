//! What the members of one zone hold as the first of their zone clockwise.
//!
//! [`placement`](super::placement) evens this out besides what members hold as any replica. Primaries come out even
//! where there is one zone, and loads stay even when another zone appears and each zone holds everything once, which
//! the tokens of the newcomer could not repair.

use super::{Ring, Weight, Zone, token::fraction};

/// The joiner's zone by itself, with one replica.
pub(super) struct Leads {
    tokens: Vec<u64>,
    owners: Vec<u16>,
    /// By member of the board, in circles; members of other zones hold nothing.
    held: Vec<f64>,
    fair: Vec<f64>,
}

impl Leads {
    /// The last of `members` is the joiner, whose zone this is about.
    pub(super) fn new(ring: &Ring, number: &[u16], members: &[(&Zone, Weight)]) -> Self {
        let zone = members[members.len() - 1].0;
        let mates = members.iter().filter(|(other, _)| *other == zone);
        let weights: f64 = mates.map(|(_, weight)| f64::from(weight.get())).sum();
        let fair = |(other, weight): &(&Zone, Weight)| {
            if *other == zone { f64::from(weight.get()) / weights } else { 0.0 }
        };
        let mut leads = Self {
            tokens: Vec::new(),
            owners: Vec::new(),
            held: vec![0.0; members.len()],
            fair: members.iter().map(fair).collect(),
        };
        for point in ring.points.iter().filter(|point| ring.members[usize::from(point.member)].zone == *zone)
        {
            leads.tokens.push(point.token.0);
            leads.owners.push(number[usize::from(point.member)]);
        }
        for index in 0..leads.tokens.len() {
            leads.held[usize::from(leads.owners[index])] +=
                fraction(leads.tokens[index].wrapping_sub(leads.tokens[leads.before(index)]));
        }
        leads
    }

    fn before(&self, index: usize) -> usize {
        if index == 0 { self.tokens.len() - 1 } else { index - 1 }
    }

    /// Who would lose how much to the joiner by this token.
    fn loss(&self, token: u64) -> Option<(u16, f64)> {
        if self.tokens.is_empty() {
            return None;
        }
        let index = self.tokens.partition_point(|other| *other < token) % self.tokens.len();
        let length = fraction(token.wrapping_sub(self.tokens[self.before(index)]));
        Some((self.owners[index], length))
    }

    pub(super) fn insert(&mut self, token: u64, joiner: u16) {
        match self.loss(token) {
            Some((loser, length)) => {
                self.held[usize::from(loser)] -= length;
                self.held[usize::from(joiner)] += length;
            }
            None => self.held[usize::from(joiner)] = 1.0,
        }
        let index = self.tokens.partition_point(|other| *other < token);
        self.tokens.insert(index, token);
        self.owners.insert(index, joiner);
    }

    pub(super) fn cost(&self, token: u64, joiner: u16, part: f64) -> f64 {
        let Some((loser, length)) = self.loss(token) else { return 0.0 };
        if loser == joiner {
            return 0.0;
        }
        let rise = |member: u16, amount: f64, wanted: f64| {
            let member = usize::from(member);
            let square =
                |held: f64| (held / self.fair[member] - wanted) * (held / self.fair[member] - wanted);
            square(self.held[member] + amount) - square(self.held[member])
        };
        rise(loser, -length, 1.0) + rise(joiner, length, part)
    }
}
