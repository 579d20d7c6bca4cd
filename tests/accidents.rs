//! Accidents that befall a whole cluster: all nodes at once, all disks but one, all disks, and the chunk store.

use crate::harness::client::Client;
use crate::harness::files::packs;
use crate::harness::fleet::Fleet;
use crate::harness::load::Load;
use crate::harness::until;

const SOME: u64 = 120;
const STREAMS: usize = 4;

/// Three nodes that hold some lines, packed or not.
fn loaded(fleet: &Fleet, seed: u64) -> (Load, Vec<Client>) {
    let (load, clients) = (Load::new(seed, STREAMS), fleet.clients(1..=3));
    load.during(&clients, || load.go_on(SOME));
    (load, clients)
}

fn kill_all(fleet: &mut Fleet) {
    (1..=3).for_each(|node| fleet.kill(node));
}

fn start_all(fleet: &mut Fleet) {
    (1..=3).for_each(|node| fleet.start_listening(node));
    fleet.agree();
}

#[test]
fn all_nodes_killed_at_once_under_load_lose_nothing() {
    let mut fleet = Fleet::started(3);
    let (load, clients) = (Load::new(61, STREAMS), fleet.clients(1..=3));
    load.during(&clients, || {
        for _ in 0..2 {
            load.go_on(SOME);
            kill_all(&mut fleet);
            start_all(&mut fleet);
        }
        load.go_on(SOME);
    });
    load.check_all(&clients);
}

#[test]
fn one_disk_that_is_left_of_three_is_enough() {
    let mut fleet = Fleet::started(3);
    let (load, clients) = loaded(&fleet, 62);
    fleet.mend();
    kill_all(&mut fleet);
    fleet.empty(1);
    fleet.empty(3);
    fleet.start(2);
    // It has every line, and cannot know that: others may have gone on without it.
    load.during_reads(&clients[1..2], || {
        until("answers of who is alone", || (load.warned() > 3).then_some(()));
    });
    fleet.start(1);
    fleet.start(3);
    fleet.agree();
    load.check_all(&clients);
}

#[test]
fn the_chunk_store_alone_brings_back_all_that_was_flushed() {
    let mut fleet = Fleet::started(3);
    let (load, clients) = loaded(&fleet, 63);
    clients[0].flush();
    kill_all(&mut fleet);
    (1..=3).for_each(|node| fleet.empty(node));
    fleet.found_again();
    load.during_reads(&clients, || start_all(&mut fleet));
    load.check_all(&clients);
}

#[test]
fn a_chunk_store_that_was_emptied_is_reported_and_never_silently_empty() {
    let complaint = "objects are gone from the chunk store";
    let mut fleet = Fleet::new(3).listing(complaint).listing("housekeeping failed").start_all();
    let (load, clients) = loaded(&fleet, 64);
    clients[0].flush();
    // Heads are empty once their owners have heard of the packs; who had not could not say what it misses.
    let held = |client: &Client| {
        client.metric("grapevine_head_open_bytes") + client.metric("grapevine_head_sealed_bytes")
    };
    until("all know the packs", || clients.iter().all(|client| held(client) == 0.0).then_some(()));
    let stored = packs(&fleet.packs());
    assert!(stored.len() > 1, "{stored:?}");
    stored.iter().for_each(|path| std::fs::remove_file(path).unwrap());
    load.during_reads(&clients, || {
        let warned = load.warned();
        until("warnings", || (load.warned() > warned + 6).then_some(()));
    });
    kill_all(&mut fleet);
    start_all(&mut fleet);
    let missing = || clients.iter().all(|client| client.metric("grapevine_chunk_store_missing_packs") > 0.0);
    until("the count of what is missing", || missing().then_some(()));
    load.during_reads(&clients, || {
        let warned = load.warned();
        until("warnings", || (load.warned() > warned + 6).then_some(()));
    });
    kill_all(&mut fleet);
    let said = fleet.fsck(2);
    assert!(said.contains("is in neither the spool nor the chunk store"), "{said}");
}
