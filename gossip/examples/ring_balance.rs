//! Prints how evenly rings are laid out: `cargo run --release -p grapevine-gossip --example ring_balance`.
//!
//! For each size, what the most loaded member holds in relation to what is fair (max ÷ fair over all members, as any
//! replica, three replicas), with tokens by placement and with plain random tokens, and how much the last join
//! moved in relation to the joiner's fair part (1 is the least possible; the goal is at most 1.1).

use std::collections::BTreeMap;

use grapevine_gossip::ring::{
    Draw, Loads, Member, NodeId, Ring, Token, Weight, Zone, diff,
    placement::{Joiner, TOKENS, choose_tokens, place_all},
};

/// The product's default replication factor.
const RF: usize = 3;

/// How members come.
#[derive(Clone, Copy)]
struct Scenario {
    name: &'static str,
    zones: u64,
    weights: &'static [u16],
    /// Zones take turns; else each member's is drawn.
    in_turn: bool,
    /// Up to this many members join at once, knowing of each other or not.
    at_once: u64,
    aware: bool,
    largest: usize,
}

const SCENARIOS: [Scenario; 8] = [
    Scenario {
        name: "one by one",
        zones: 1,
        weights: &[100],
        at_once: 1,
        in_turn: true,
        aware: true,
        largest: 1000,
    },
    Scenario {
        name: "3 zones",
        zones: 3,
        weights: &[100],
        at_once: 1,
        in_turn: true,
        aware: true,
        largest: 1000,
    },
    Scenario {
        name: "5 zones",
        zones: 5,
        weights: &[100],
        at_once: 1,
        in_turn: true,
        aware: true,
        largest: 1000,
    },
    Scenario {
        name: "3 zones, drawn",
        zones: 3,
        weights: &[100],
        at_once: 1,
        in_turn: false,
        aware: true,
        largest: 300,
    },
    Scenario {
        name: "2 zones",
        zones: 2,
        weights: &[100],
        at_once: 1,
        in_turn: true,
        aware: true,
        largest: 300,
    },
    Scenario {
        name: "weights 50/100/200",
        zones: 1,
        weights: &[50, 100, 200],
        at_once: 1,
        in_turn: true,
        aware: true,
        largest: 1000,
    },
    Scenario {
        name: "up to 8 at once, aware",
        zones: 1,
        weights: &[100],
        at_once: 8,
        in_turn: true,
        aware: true,
        largest: 300,
    },
    Scenario {
        name: "up to 3 at once, blind",
        zones: 1,
        weights: &[100],
        at_once: 3,
        in_turn: true,
        aware: false,
        largest: 300,
    },
];

const SIZES: [usize; 14] = [3, 4, 5, 6, 8, 10, 16, 20, 30, 50, 100, 300, 600, 1000];

/// What a scenario showed at one size, over all seeds.
#[derive(Default)]
struct Seen {
    worst: f64,
    worst_random: f64,
    moved: f64,
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let seeds: u64 = arguments.next().and_then(|text| text.parse().ok()).unwrap_or(3);
    let largest: usize = arguments.next().and_then(|text| text.parse().ok()).unwrap_or(1000);
    println!("seeds {seeds}; worst of all seeds and all sizes since the row above");
    for scenario in SCENARIOS {
        println!("\n{}", scenario.name);
        println!("{:>8} {:>10} {:>10} {:>10}", "members", "placed", "random", "moved");
        let mut rows: BTreeMap<usize, Seen> = BTreeMap::new();
        (0..seeds).for_each(|seed| grow(scenario, seed, scenario.largest.min(largest), &mut rows));
        for (size, seen) in rows {
            println!("{size:>8} {:>10.4} {:>10.4} {:>10.4}", seen.worst, seen.worst_random, seen.moved);
        }
    }
}

fn grow(scenario: Scenario, seed: u64, largest: usize, rows: &mut BTreeMap<usize, Seen>) {
    let mut draw = Draw::new(seed);
    let mut ring = Ring::new([]);
    let mut random = Vec::new();
    while ring.members().len() < largest {
        let count = (1 + draw.below(scenario.at_once)).min((largest - ring.members().len()) as u64);
        let joiners: Vec<Joiner> =
            (0..count).map(|i| joiner(scenario, random.len() as u64 + i, &mut draw)).collect();
        random.extend(joiners.iter().map(|joiner| member(joiner, random_tokens(joiner.weight, &mut draw))));
        let placed =
            if scenario.aware { place_all(&ring, &joiners, RF) } else { place_blind(&ring, &joiners) };
        let before = std::mem::replace(&mut ring, Ring::new([]));
        ring = Ring::new(before.members().iter().cloned().chain(placed));
        let members = ring.members().len();
        let Some(row) = SIZES.into_iter().find(|size| *size >= members) else { continue };
        let seen = rows.entry(row).or_default();
        let loads = Loads::of(&ring, RF);
        seen.worst = seen.worst.max(loads.worst());
        if members == row {
            seen.worst_random = seen.worst_random.max(Loads::of(&Ring::new(random.clone()), RF).worst());
        }
        if before.members().len() >= RF {
            seen.moved = seen.moved.max(moved(&before, &ring, &joiners, &loads));
        }
    }
}

/// Names are random, so that the order of joining is not the order of names.
fn joiner(scenario: Scenario, nth: u64, draw: &mut Draw) -> Joiner {
    let id = format!("node-{:016x}", draw.next()).parse().expect("hexadecimal digits make a name");
    let zone = if scenario.in_turn { nth % scenario.zones } else { draw.below(scenario.zones) };
    let zone = format!("zone-{zone}").parse().expect("digits make a zone");
    let weight = scenario.weights[draw.below(scenario.weights.len() as u64) as usize];
    Joiner { id, zone, weight: Weight::new(weight).expect("the scenarios keep to the bounds") }
}

fn member(joiner: &Joiner, tokens: Vec<Token>) -> Member {
    Member { id: joiner.id.clone(), zone: joiner.zone.clone(), weight: joiner.weight, tokens }
}

fn random_tokens(weight: Weight, draw: &mut Draw) -> Vec<Token> {
    (0..TOKENS * usize::from(weight.get()) / 100).map(|_| Token(draw.next())).collect()
}

/// Each chooses as if it were alone.
fn place_blind(ring: &Ring, joiners: &[Joiner]) -> Vec<Member> {
    let choose = |id: &NodeId, weight: Weight, zone: &Zone| {
        choose_tokens(ring, weight, zone, RF, &mut Draw::named(ring.hash().0, id.as_str()))
    };
    joiners.iter().map(|joiner| member(joiner, choose(&joiner.id, joiner.weight, &joiner.zone))).collect()
}

/// What moved, in relation to what the joiners ought to hold together.
fn moved(before: &Ring, after: &Ring, joiners: &[Joiner], loads: &Loads) -> f64 {
    let moved: f64 =
        diff(before, after, RF).iter().map(|m| m.range.fraction() * m.gained().count() as f64).sum();
    let fair = after.members().iter().zip(&loads.fair);
    let fair: f64 =
        fair.filter(|(member, _)| joiners.iter().any(|j| j.id == member.id)).map(|(_, fair)| fair).sum();
    moved / fair
}
