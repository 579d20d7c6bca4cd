//! Accidents that befall a whole cluster: all nodes at once, all disks but one, all disks, and the chunk store.

use std::path::PathBuf;

use tempfile::TempDir;

use crate::harness::client::{Client, forward};
use crate::harness::files::packs;
use crate::harness::fleet::Fleet;
use crate::harness::http::Request;
use crate::harness::load::Load;
use crate::harness::until;
use crate::harness::workload::{END, START};

const SOME: u64 = 120;
const STREAMS: usize = 4;

/// Three nodes that hold some lines, packed or not.
fn loaded(fleet: &Fleet, seed: u64) -> (Load, Vec<Client>) {
    let (load, clients) = (Load::new(seed, STREAMS), fleet.clients(1..=3));
    load.during(&clients, || load.go_on(SOME));
    (load, clients)
}

/// Heads are empty once their owners have heard of the packs; who had not could not say what it misses.
fn heads_are_empty(clients: &[Client]) {
    let held = |client: &Client| {
        client.metric("grapevine_head_open_bytes") + client.metric("grapevine_head_sealed_bytes")
    };
    until("all know the packs", || clients.iter().all(|client| held(client) == 0.0).then_some(()));
}

/// Packs all, so that all know what is in which pack.
fn pack_all(clients: &[Client]) {
    clients[0].flush();
    heads_are_empty(clients);
}

/// Gives a worker of each node an order.
fn order(clients: &[Client], worker: &str, order: &str) {
    for client in clients {
        client.send(Request::post(format!("/workers/{worker}/{order}"), "")).unwrap().expect(200);
    }
}

/// The keys of packs in a store.
fn keys(store: &std::path::Path, packs: &[PathBuf]) -> Vec<String> {
    packs.iter().map(|path| path.strip_prefix(store).unwrap().display().to_string()).collect()
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
    heads_are_empty(&clients);
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

#[test]
fn a_chunk_store_that_was_rolled_back_is_reported_pack_by_pack_and_what_is_left_is_answered() {
    let complaint = "are gone from the chunk store";
    let fleet = Fleet::new(4).listing(complaint).listing("is gone from the chunk store");
    let mut fleet = fleet.listing("merge packs of");
    (1..=3).for_each(|node| fleet.start_listening(node));
    fleet.agree();
    // Or packs of before would be gone for another reason.
    order(&fleet.clients(1..=3), "merge", "pause");
    let (load, clients) = loaded(&fleet, 65);
    pack_all(&clients);
    let (store, before) = (fleet.packs(), packs(&fleet.packs()));
    let first = load.so_far();
    load.during(&clients, || load.go_on(SOME));
    pack_all(&clients);
    let second = load.so_far();
    // The store becomes what it was; indexes and marks stay what they are.
    let aside = TempDir::new().unwrap();
    let gone: Vec<PathBuf> = packs(&store).into_iter().filter(|pack| !before.contains(pack)).collect();
    assert!(!before.is_empty() && !gone.is_empty(), "{before:?} {gone:?}");
    for (n, pack) in gone.iter().enumerate() {
        std::fs::rename(pack, aside.path().join(n.to_string())).unwrap();
    }
    kill_all(&mut fleet);
    start_all(&mut fleet);
    order(&clients, "merge", "pause");
    let missing = |client: &Client| client.metric("grapevine_chunk_store_missing_packs");
    until("the count of what is missing", || {
        clients.iter().all(|client| missing(client) > 0.0).then_some(())
    });
    load.during(&clients, || {
        let warned = load.warned();
        load.go_on(SOME);
        until("warnings", || (load.warned() > warned).then_some(()));
    });
    let names = keys(&store, &gone);
    let check_named = |client: &Client| {
        let warnings = client.lines(&forward(r#"{stream=~".+"}"#, START, END)).warnings;
        let is_named = |text: &String| names.iter().any(|key| text.contains(key.as_str()));
        assert!(warnings.iter().any(is_named), "{warnings:?} names none of {names:?}");
    };
    for client in &clients {
        check_named(client);
        // What was packed before and what came afterwards is all there, and is not warned of.
        load.check_part(client, &[0; STREAMS], &first);
        load.check_part(client, &second, &load.so_far());
    }
    // One that comes new does not wait for what is nowhere.
    fleet.start(4);
    fleet.agree();
    check_named(&fleet.client(4));
    fleet.kill(4);
    let said = fleet.fsck(4);
    assert!(said.contains("of which another member told, is nowhere"), "{said}");
    fleet.start(4);
    fleet.agree();
    for (n, pack) in gone.iter().enumerate() {
        std::fs::rename(aside.path().join(n.to_string()), pack).unwrap();
    }
    let clients = fleet.clients(1..=4);
    // Its rounds come every minute.
    order(&clients, "missing", "run");
    assert!(clients.iter().all(|client| missing(client) == 0.0));
    load.check_all(&clients);
}

#[test]
fn packs_that_one_member_has_lost_from_its_own_store_come_back_from_the_others() {
    let fleet = Fleet::new(3).with_stores_of_their_own();
    let fleet = fleet.listing("are gone from the chunk store").listing("is brought back");
    let fleet = fleet.start_all();
    let (load, clients) = loaded(&fleet, 66);
    pack_all(&clients);
    order(&clients, "merge", "pause");
    let own = fleet.own_packs(2);
    until("packs in every store", || {
        (1..=3).all(|node| !packs(&fleet.own_packs(node)).is_empty()).then_some(())
    });
    let lost = packs(&own);
    lost.iter().for_each(|pack| std::fs::remove_file(pack).unwrap());
    order(&clients[1..2], "reconcile", "run");
    until("the packs", || lost.iter().all(|pack| pack.is_file()).then_some(()));
    order(&clients[1..2], "reconcile", "run");
    assert_eq!(clients[1].metric("grapevine_chunk_store_missing_packs"), 0.0);
    load.check_all(&clients);
}
