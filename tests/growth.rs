//! A cluster that grows under load, with a reader that checks every answer along the way.

use crate::harness::fleet::Fleet;
use crate::harness::load::Load;

/// Lines by which every stream goes on between two events.
const SOME: u64 = 60;

#[test]
fn a_cluster_grows_from_one_node_to_five_under_load() {
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
    });
    load.check_all(&clients);
}
