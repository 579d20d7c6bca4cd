//! A cluster whose members come, go and are replaced under load, with a reader that checks every answer along the way.

use crate::harness::client::{forward, target};
use crate::harness::cluster::ring;
use crate::harness::fleet::Fleet;
use crate::harness::http::Request;
use crate::harness::load::Load;
use crate::harness::push::{Form, Push};
use crate::harness::until;
use crate::harness::workload::{END, START};

/// Lines by which every stream goes on between two events.
const SOME: u64 = 60;

/// Waits until a node has heard of another.
fn seen(fleet: &Fleet, node: usize, by: usize) {
    let name = format!("n{node}");
    until("a member", || {
        let members = ring(fleet.node(by))["members"].clone();
        members.as_array().unwrap().iter().any(|member| member["name"] == *name).then_some(())
    });
}

#[test]
fn a_cluster_grows_from_one_node_to_five_and_shrinks_to_one_under_load() {
    let mut fleet = Fleet::new(5);
    fleet.start(1);
    let (load, clients) = (Load::new(51, 8), fleet.clients(1..=5));
    // Nodes that are not there yet are asked and pushed to in vain, as by clients that know them already.
    load.during(&clients, || {
        load.go_on(SOME);
        fleet.start(2);
        fleet.start(3);
        fleet.agree();
        load.go_on(SOME);
        load.complete_answers(4);
        fleet.start(4);
        fleet.start(5);
        fleet.agree();
        load.go_on(SOME);
        load.complete_answers(4);
        for node in [5, 4, 3, 2] {
            fleet.ask_to_leave(node);
            fleet.await_leave(node);
            load.go_on(SOME / 2);
        }
    });
    load.check_all(&clients[..1]);
}

#[test]
fn nodes_whose_disks_are_new_take_their_old_places_one_after_the_other() {
    let mut fleet = Fleet::started(3);
    let (load, clients) = (Load::new(52, 4), fleet.clients(1..=3));
    load.during(&clients, || {
        for node in 1..=3 {
            load.go_on(SOME);
            fleet.kill(node);
            fleet.empty(node);
            load.go_on(SOME);
            fleet.start(node);
            fleet.agree();
            // Or the next one may take the last copy with it.
            fleet.mend();
        }
        load.go_on(SOME);
    });
    load.check_all(&clients);
}

#[test]
fn a_node_that_is_lost_for_good_is_replaced_without_a_command() {
    let mut fleet = Fleet::new(4).set("cluster.forget_after", "30s");
    (1..=3).for_each(|node| fleet.start(node));
    fleet.agree();
    let (load, clients) = (Load::new(53, 8), fleet.clients([1, 2, 4]));
    load.during(&clients, || {
        load.go_on(SOME);
        fleet.kill(3);
        fleet.start(4);
        load.go_on(SOME);
        // Nobody else is left in the ring: the lost one was forgotten.
        fleet.agree();
        fleet.mend();
        load.go_on(SOME);
        load.complete_answers(3);
        // What only the lost one and one other held is with others by now.
        fleet.kill(1);
        load.go_on(SOME);
    });
    load.check_all(&clients[1..]);
}

#[test]
fn a_joiner_that_dies_midway_does_no_harm_whether_it_comes_back_or_not() {
    let mut fleet = Fleet::new(5).set("cluster.forget_after", "30s");
    (1..=3).for_each(|node| fleet.start(node));
    fleet.agree();
    let (load, clients) = (Load::new(54, 8), fleet.clients(1..=4));
    load.during(&clients, || {
        load.go_on(SOME);
        fleet.start_listening(4);
        fleet.start_listening(5);
        seen(&fleet, 4, 1);
        seen(&fleet, 5, 2);
        fleet.kill(4);
        fleet.kill(5);
        load.go_on(SOME);
        fleet.start(4);
        load.go_on(SOME);
        // The other was forgotten.
        fleet.agree();
        load.go_on(SOME);
        load.complete_answers(4);
    });
    load.check_all(&clients);
}

#[test]
fn members_that_come_and_go_at_once_lose_nothing() {
    let mut fleet = Fleet::new(5);
    (1..=3).for_each(|node| fleet.start(node));
    fleet.agree();
    let (load, clients) = (Load::new(55, 8), fleet.clients([1, 2, 4, 5]));
    load.during(&clients, || {
        load.go_on(SOME);
        fleet.ask_to_leave(3);
        fleet.start_listening(4);
        fleet.start_listening(5);
        fleet.await_leave(3);
        fleet.agree();
        load.go_on(SOME);
        load.complete_answers(4);
    });
    load.check_all(&clients);
}

#[test]
fn a_member_that_was_forgotten_brings_what_it_alone_had_and_nothing_that_was_deleted() {
    let fleet = Fleet::new(3).set("cluster.forget_after", "30s");
    let mut fleet = fleet.set("limits.delete_request_cancel_period", "0s").start_all();
    let doomed = Push::new([("service_name", "doomed")], vec![(START, "this goes".to_owned())]);
    fleet.client(1).push(Form::Json, &[doomed]);
    fleet.mend();
    let (load, clients) = (Load::new(56, 4), fleet.clients(1..=3));
    let (one, two) = (fleet.clients([3]), fleet.clients(1..=2));
    load.during_apart(&[&one, &two], || {
        load.go_on(SOME);
        fleet.net().part(&[3]);
        load.go_on(SOME);
    });
    fleet.kill(3);
    fleet.net().heal();
    // Nobody else is left: it was forgotten.
    fleet.agree();
    let query = r#"{service_name="doomed"}"#;
    let [start, end] = [START, END].map(|time| (time / 1_000_000_000).to_string());
    let delete = [("query", query), ("start", &start), ("end", &end)];
    let asked = fleet.client(2).send(Request::post(target("/loki/api/v1/delete", &delete), "")).unwrap();
    asked.expect(204);
    fleet.start(3);
    fleet.agree();
    load.during(&clients, || load.go_on(SOME));
    load.check_all(&clients);
    for client in &clients {
        assert_eq!(client.lines(&forward(query, START, END)).len(), 0);
    }
}
