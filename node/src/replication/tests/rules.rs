//! Rule groups are the same on all members, and none that was away brings one back.

use super::Trio;

const ROOT: &str = "/loki/api/v1/rules";

impl Trio {
    async fn write(&self, n: usize, namespace: &str, group: &str) {
        let path = format!("{ROOT}/{namespace}");
        let (status, text) = self.bed(n).call_text("POST", &path, &[], &format!("name: {group}")).await;
        assert_eq!(status.as_u16(), 202, "{text}");
    }
}

fn names(trio: &Trio, n: usize) -> Vec<String> {
    trio.bed(n).node.rules.list("fake", None).into_iter().map(|listed| listed.group.name).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_written_or_taken_away_on_one_node_is_so_on_all() {
    let mut trio = Trio::new(true).await;
    trio.write(0, "n", "a").await;
    trio.write(1, "n", "b").await;
    for n in 0..3 {
        assert_eq!(names(&trio, n), ["a", "b"], "as soon as the request is answered");
    }
    let left = trio.stop(2).await;
    let gone = trio.bed(1).call("DELETE", &format!("{ROOT}/n/a"), None).await;
    assert_eq!(gone.0.as_u16(), 202, "{}", gone.1);
    trio.write(1, "n", "c").await;
    trio.start(2, left).await;
    trio.until("who was away hears of both", |node| {
        let groups = node.rules.list("fake", Some("n"));
        groups.iter().map(|listed| listed.group.name.as_str()).eq(["b", "c"])
    })
    .await;
}
