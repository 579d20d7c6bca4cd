//! How evenly a ring of many is laid out, and how much moves as members come and go.

use grapevine_gossip::ring::placement::{Joiner, place_all};
use grapevine_gossip::ring::{Loads, Member, Ring, Weight, diff};

use super::INCARNATIONS;
use crate::random::Random;

/// The product's default replication factor.
const REPLICAS: usize = 3;

/// The load of the heaviest in relation to what is fair, and what moved in relation to the least that had to, while as
/// many members in turn went and came as there are incarnations.
pub(super) fn measure(seed: u64, members: usize) -> (f64, f64) {
    let mut random = Random::of_part(seed, "ring");
    let mut ring = Ring::new([]);
    for _ in 0..members {
        ring = joined(&ring, &mut random);
    }
    let heaviest = Loads::of(&ring, REPLICAS).worst();
    let (mut moved, mut least) = (0.0, 0.0);
    for change in 0..INCARNATIONS {
        let after = if change % 2 == 0 { departed(&ring, &mut random) } else { joined(&ring, &mut random) };
        moved += diff(&ring, &after, REPLICAS).iter().map(gained).sum::<f64>();
        // What the one who came or went holds, of all the replicas there are.
        least += REPLICAS as f64 / ring.members().len().max(after.members().len()) as f64;
        ring = after;
    }
    (heaviest, moved / least)
}

fn gained(part: &grapevine_gossip::ring::Move) -> f64 {
    part.range.fraction() * part.gained().count() as f64
}

fn departed(ring: &Ring, random: &mut Random) -> Ring {
    let gone = random.below(ring.members().len() as u64) as usize;
    let stay = ring.members().iter().enumerate().filter(|(place, _)| *place != gone);
    Ring::new(stay.map(|(_, member)| member.clone()).collect::<Vec<Member>>())
}

fn joined(ring: &Ring, random: &mut Random) -> Ring {
    // Names are random, so that the order of joining is not the order of names.
    let id = format!("node-{:016x}", random.next()).parse().expect("hexadecimal digits make a name");
    let joiner = Joiner { id, zone: Default::default(), weight: Weight::default() };
    let placed = place_all(ring, &[joiner], REPLICAS);
    Ring::new(ring.members().iter().cloned().chain(placed))
}
