//! Clusters of real processes on networks that break: nodes are killed, paused and cut off under load. What was
//! acknowledged is there afterwards, once and in order; answers meanwhile are complete or say that they are not.

use crate::harness::fleet::Fleet;
use crate::harness::load::Load;
use crate::harness::net::Line;
use crate::harness::until;

/// Lines by which every stream goes on between two events.
const SOME: u64 = 60;
const STREAMS: usize = 4;

/// Waits until a node no longer counts with another.
fn missed(fleet: &Fleet, node: usize, by: usize) {
    until("its absence", || {
        let members = fleet.node(by).get("/ring").expect(200).json()["members"].clone();
        let members = members.as_array().unwrap();
        let name = format!("n{node}");
        members.iter().any(|member| member["name"] == *name && member["live"] == false).then_some(())
    });
}

#[test]
fn acknowledged_lines_survive_the_kill_of_any_node_under_load() {
    let mut fleet = Fleet::started(3);
    let (load, clients) = (Load::new(31, STREAMS), fleet.clients(1..=3));
    load.during(&clients, || {
        for node in 1..=3 {
            load.go_on(SOME);
            fleet.kill(node);
            load.go_on(SOME);
            missed(&fleet, node, node % 3 + 1);
            load.go_on(SOME);
            fleet.start(node);
            fleet.agree();
        }
        load.go_on(SOME);
        load.complete_answers(6);
    });
    load.check_all(&clients);
}

#[test]
fn one_of_three_nodes_goes_on_alone_and_says_what_it_may_lack() {
    let mut fleet = Fleet::started(3);
    let (load, clients) = (Load::new(32, STREAMS), fleet.clients(1..=3));
    load.during(&clients, || {
        load.go_on(SOME);
        fleet.kill(2);
        fleet.kill(3);
        load.go_on(SOME);
        let warned = load.warned();
        until("warnings", || (load.warned() > warned).then_some(()));
        fleet.start(2);
        load.go_on(SOME);
        fleet.start(3);
        fleet.agree();
        load.go_on(SOME);
    });
    load.check_all(&clients);
}

#[test]
fn a_node_that_stands_still_holds_up_nobody_for_long_and_comes_back() {
    let fleet = Fleet::started(3);
    let (load, clients) = (Load::new(33, STREAMS), fleet.clients(1..=3));
    let others = fleet.clients(2..=3);
    load.during(&others, || {
        load.go_on(SOME);
        fleet.node(1).pause();
        load.go_on(SOME);
        missed(&fleet, 1, 2);
        missed(&fleet, 1, 3);
        load.go_on(SOME);
        fleet.node(1).resume();
        fleet.agree();
    });
    load.during(&clients, || load.go_on(SOME));
    load.check_all(&clients);
}

#[test]
fn both_sides_of_a_cut_go_on_and_become_one_when_it_heals() {
    let fleet = Fleet::started(3);
    let (load, clients) = (Load::new(34, STREAMS), fleet.clients(1..=3));
    let (one, two) = (fleet.clients([1]), fleet.clients(2..=3));
    load.during_apart(&[&one, &two], || {
        load.go_on(SOME);
        fleet.net().part(&[1]);
        missed(&fleet, 1, 2);
        missed(&fleet, 2, 1);
        load.go_on(2 * SOME);
        fleet.net().heal();
        fleet.agree();
        load.go_on(SOME);
    });
    load.check_all(&clients);
}

#[test]
fn a_line_cut_in_one_direction_loses_nothing() {
    let fleet = Fleet::started(3);
    let (load, clients) = (Load::new(35, STREAMS), fleet.clients(1..=3));
    load.during(&clients, || {
        load.go_on(SOME);
        // Node 1 is heard by all, and hears nobody.
        fleet.net().spoil(2, 1, Line::Cut);
        fleet.net().spoil(3, 1, Line::Cut);
        missed(&fleet, 2, 1);
        load.go_on(SOME);
        fleet.net().heal();
        fleet.agree();
        load.go_on(SOME);
    });
    load.check_all(&clients);
}

#[test]
fn lines_that_lose_datagrams_unevenly_lose_no_acknowledged_line() {
    let fleet = Fleet::started(3);
    let (load, clients) = (Load::new(36, STREAMS), fleet.clients(1..=3));
    load.during(&clients, || {
        fleet.net().spoil(1, 2, Line::Lossy(30));
        fleet.net().spoil(2, 1, Line::Lossy(5));
        fleet.net().spoil(3, 1, Line::Lossy(20));
        load.go_on(3 * SOME);
        fleet.net().heal();
        fleet.agree();
    });
    load.check_all(&clients);
}

#[test]
fn a_rolling_restart_under_load_loses_nothing() {
    let mut fleet = Fleet::started(3);
    let (load, clients) = (Load::new(37, STREAMS), fleet.clients(1..=3));
    load.during(&clients, || {
        for node in 1..=3 {
            load.go_on(SOME);
            fleet.stop(node);
            fleet.start(node);
            fleet.agree();
        }
        load.go_on(SOME);
    });
    load.check_all(&clients);
}

#[test]
fn five_nodes_lose_nothing_when_two_are_killed_at_once() {
    let mut fleet = Fleet::started(5);
    let (load, clients) = (Load::new(38, 2 * STREAMS), fleet.clients(1..=5));
    load.during(&clients, || {
        load.go_on(SOME);
        fleet.kill(2);
        fleet.kill(4);
        missed(&fleet, 2, 1);
        missed(&fleet, 4, 5);
        load.go_on(SOME);
        fleet.start(4);
        fleet.start(2);
        fleet.agree();
        load.go_on(SOME);
    });
    load.check_all(&clients);
}

#[test]
fn a_kill_loses_nothing_where_packs_are_in_s3() {
    let Some(fleet) = Fleet::new(3).with_s3() else { return };
    let mut fleet = fleet.start_all();
    let (load, clients) = (Load::new(39, STREAMS), fleet.clients(1..=3));
    load.during(&clients, || {
        load.go_on(SOME);
        fleet.client(1).flush();
        fleet.kill(3);
        load.go_on(SOME);
        fleet.start(3);
        fleet.agree();
        load.go_on(SOME);
    });
    fleet.client(2).flush();
    load.check_all(&clients);
}

#[test]
fn a_node_whose_clock_is_an_hour_off_takes_part() {
    let fleet = Fleet::new(3).with(2, |serve| {
        serve
            .variable("LD_PRELOAD", "/usr/$LIB/faketime/libfaketimeMT.so.1")
            .variable("FAKETIME", "+1h")
            .variable("FAKETIME_DONT_FAKE_MONOTONIC", "1")
    });
    let fleet = fleet.start_all();
    let (load, clients) = (Load::new(40, STREAMS), fleet.clients(1..=3));
    load.during(&clients, || {
        load.go_on(SOME);
        load.complete_answers(6);
    });
    load.check_all(&clients);
}
