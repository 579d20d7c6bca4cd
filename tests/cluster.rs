//! Nodes that find each other, come back as who they were, and refuse strangers.

use serde_json::Value;
use tempfile::TempDir;

use crate::harness::cluster::{Site, agreed, grapevine, printed, ring};
use crate::harness::node::{Node, Serve};
use crate::harness::until;

/// A node's name and its life's number, by itself.
fn life(node: &Node) -> (String, u64) {
    let ring = ring(node);
    let name = ring["node"].as_str().unwrap();
    let member = ring["members"].as_array().unwrap().iter().find(|member| member["name"] == name).unwrap();
    (name.to_owned(), member["incarnation"].as_u64().unwrap())
}

#[test]
fn three_nodes_form_one_ring_and_show_it() {
    let site = Site::new();
    let nodes = site.three();
    let hash = agreed(&nodes);
    for node in &nodes {
        let metrics = node.get("/metrics").expect(200).text();
        assert!(metrics.contains(&format!("grapevine_ring_hash{{hash=\"{hash}\"}} 1")), "{metrics}");
        assert_eq!(node.metric("grapevine_members_live"), 3.0);
        let members = ring(node)["members"].clone();
        let parts = |part: &str| -> f64 {
            members.as_array().unwrap().iter().map(|member| member[part].as_f64().unwrap()).sum()
        };
        assert!((parts("owned") - 3.0).abs() < 1e-6, "each of three keeps everything: {members}");
        assert!((parts("primary") - 1.0).abs() < 1e-6, "everything has one first owner: {members}");
    }
    let shown = grapevine(&["ring", "--addr", &nodes[1].url()]);
    assert_eq!(printed(&shown).matches(" active ").count(), 3);
    let shown: Value =
        serde_json::from_str(&printed(&grapevine(&["ring", "--output=json", "--addr", &nodes[2].url()])))
            .unwrap();
    assert_eq!(shown["ring_hash"], hash.as_str());
}

#[test]
fn a_node_that_restarts_keeps_its_name_and_its_tokens() {
    let site = Site::new();
    let nodes = site.three();
    let hash = agreed(&nodes);
    let [one, two, three] = nodes;
    let (name, first) = life(&three);
    three.kill();
    let live = |node: &Node, expected: bool| {
        let members = ring(node)["members"].clone();
        members
            .as_array()
            .unwrap()
            .iter()
            .any(|member| member["name"] == name.as_str() && member["live"] == expected)
    };
    until("its absence", || live(&one, false).then_some(()));
    assert_eq!(ring(&two)["ring_hash"], hash.as_str(), "who is away for a moment keeps its ranges");
    let three = site.serve(3).start();
    let (again, second) = life(&three);
    assert!(again == name && second == first + 1, "{again} {second}, was {name} {first}");
    assert_eq!(agreed(&[one, two, three]), hash);
}

#[test]
fn nodes_that_all_restart_at_once_find_each_other_without_a_token() {
    let site = Site::new();
    let nodes = site.three();
    let hash = agreed(&nodes);
    nodes.into_iter().for_each(Node::kill);
    let nodes = [3, 2, 1].map(|number| site.serve(number).start_listening());
    assert_eq!(agreed(&nodes), hash);
}

#[test]
fn a_node_alone_has_no_ring_and_no_port_for_peers() {
    let dir = TempDir::new().unwrap();
    let node = Serve::on(dir.path()).start();
    let text = node.get("/ring").expect(404).text();
    assert!(text.contains("stands alone"), "{text}");
    // Other tests' nodes may have theirs.
    let proc = format!("/proc/{}", node.pid());
    let files = std::fs::read_dir(format!("{proc}/fd")).unwrap();
    let own: Vec<_> = files.filter_map(|file| std::fs::read_link(file.unwrap().path()).ok()).collect();
    let is_own = |inode: &str| own.contains(&format!("socket:[{inode}]").into());
    let sockets = std::fs::read_to_string(format!("{proc}/net/udp")).unwrap();
    let open = sockets.lines().skip(1).find(|line| line.split_whitespace().nth(9).is_some_and(is_own));
    assert_eq!(open, None, "it has a port for peers");
    let shown = grapevine(&["ring", "--addr", &node.url()]);
    assert_eq!(shown.status.code(), Some(4), "{}", String::from_utf8_lossy(&shown.stderr));
}

#[test]
fn a_cluster_is_made_once_and_its_token_printed_again() {
    let site = Site::new();
    let again = site.command("init", 1);
    let complaint = String::from_utf8_lossy(&again.stderr).into_owned();
    assert_eq!((again.status.code(), again.stdout.len()), (Some(2), 0), "{complaint}");
    assert!(complaint.contains("has a cluster's key already"), "{complaint}");
    assert_eq!(printed(&site.command("token", 1)), site.token());
    assert!(site.token().ends_with(&format!("@{}", site.address(1))), "{}", site.token());
    let none = site.command("token", 2);
    let complaint = String::from_utf8_lossy(&none.stderr).into_owned();
    assert!(none.status.code() == Some(2) && complaint.contains("belongs to no cluster"), "{complaint}");
}

#[test]
fn a_node_of_another_cluster_is_refused_and_told_why() {
    let (site, other) = (Site::new(), Site::new());
    let member = site.serve(1).start();
    // Another cluster's token with this one's address.
    let (key, _) = other.token().split_once('@').unwrap();
    let stranger = site
        .serve(2)
        .variable("GRAPEVINE_CLUSTER_JOIN", &format!("{key}@{}", site.address(1)))
        .listing("no member of the cluster can be reached")
        .start_listening();
    until("the reason", || {
        let answer = stranger.get("/ready").expect(503).text();
        answer.contains("it belongs to another cluster").then_some(())
    });
    assert_eq!(ring(&member)["members"].as_array().unwrap().len(), 1);
    let metrics = member.get("/metrics").expect(200).text();
    let refused = metrics.lines().find(|line| line.contains(r#"event="handshake_failed""#)).unwrap();
    assert!(!refused.ends_with(" 0"), "{refused}");
    // A directory that belongs to one cluster, with a token of another.
    member.kill();
    let refusal = site.serve(1).variable("GRAPEVINE_CLUSTER_JOIN", other.token()).refusal();
    assert_eq!(refusal.status.code(), Some(2), "{}", refusal.log);
    assert!(
        refusal.log.contains("belongs to the cluster") && !refusal.log.contains("gv1-"),
        "{}",
        refusal.log
    );
}

#[test]
fn a_token_in_a_credential_of_systemd_is_all_that_a_node_needs() {
    let site = Site::new();
    let credentials = TempDir::new().unwrap();
    std::fs::write(credentials.path().join("cluster.join"), format!("{}\n", site.token())).unwrap();
    let joining = site.serve(2).variable("CREDENTIALS_DIRECTORY", credentials.path().to_str().unwrap());
    agreed(&[site.serve(1).start(), joining.start_listening()]);
}

#[test]
fn what_a_member_is_may_be_said_in_flags_or_in_the_file() {
    let site = Site::new();
    let file = site.data_dir(9).with_extension("toml");
    let text = format!(
        "[cluster]\njoin = '{}'\nname = 'two'\nzone = 'cellar'\nweight = 50\nreplication_factor = 2\nwrite_acks = 1\n",
        site.token()
    );
    std::fs::write(&file, text).unwrap();
    let flags = ["--name=one", "--zone=attic", "--weight=150", "--replication-factor=2", "--write-acks=1"];
    let one = flags.into_iter().fold(site.serve(1), |serve, flag| serve.with(flag));
    let two = site.serve(2).with(format!("--config={}", file.display()));
    let nodes = [one.start(), two.start_listening()];
    agreed(&nodes);
    for node in &nodes {
        let ring = ring(node);
        let members = ring["members"].as_array().unwrap().iter();
        let told: Vec<(&str, &str, u64)> = members
            .map(|m| {
                (m["name"].as_str().unwrap(), m["zone"].as_str().unwrap(), m["weight"].as_u64().unwrap())
            })
            .collect();
        assert_eq!(told, [("one", "attic", 150), ("two", "cellar", 50)]);
        assert_eq!((&ring["replication_factor"], &ring["write_acks"]), (&2.into(), &1.into()), "{ring}");
    }
}
