//! Tenants and what they must not see of each other, on every endpoint that answers with data.

use tempfile::TempDir;

use crate::harness::client::{Client, forward};
use crate::harness::http::Request;
use crate::harness::node::Serve;
use crate::harness::push::{Form, Push, request};
use crate::harness::workload::{END, START};

const SECRET: &str = "xylophone";

/// Every question that the API answers, about everything.
const QUESTIONS: [(&str, &[(&str, &str)]); 9] = [
    ("/loki/api/v1/query_range", &[("query", r#"{service_name=~".+"}"#)]),
    ("/loki/api/v1/query_range", &[("query", r#"sum by (service_name) (rate({service_name=~".+"}[1m]))"#)]),
    ("/loki/api/v1/query", &[("query", r#"count_over_time({service_name=~".+"}[7h])"#)]),
    ("/loki/api/v1/labels", &[]),
    ("/loki/api/v1/label/service_name/values", &[]),
    ("/loki/api/v1/label/xylophone/values", &[]),
    ("/loki/api/v1/series", &[("match[]", r#"{service_name=~".+"}"#)]),
    ("/loki/api/v1/index/stats", &[("query", r#"{service_name=~".+"}"#)]),
    ("/loki/api/v1/index/volume", &[("query", r#"{service_name=~".+"}"#)]),
];

fn ask(client: &Client, (path, parameters): (&str, &[(&str, &str)])) -> String {
    let (start, end) = (START.to_string(), END.to_string());
    let times: [(&str, &str); 4] = [("start", &start), ("end", &end), ("time", &end), ("step", "60")];
    client.ask(path, &[parameters, &times].concat()).text()
}

#[test]
fn no_endpoint_shows_one_tenant_the_lines_labels_or_counts_of_another() {
    let dir = TempDir::new().unwrap();
    let node = Serve::on(dir.path()).with("--tenancy=header").start();
    let (owner, other) = (node.tenant("owner"), node.tenant("other"));
    let push = Push::new([("service_name", SECRET), (SECRET, "x")], vec![(START + 1, SECRET.to_owned())]);
    owner.push(Form::Json, &[push]);
    let check = |when: &str| {
        for question in QUESTIONS {
            let (path, seen) = (question.0, ask(&other, question));
            // Some answers name the query; none may name what it found.
            assert!(!seen.contains(SECRET), "{when}: {path}: {seen}");
            let counted = seen.contains(r#""1""#) || seen.contains(r#""entries":1"#);
            assert!(!counted, "{when}: {path}: {seen}");
        }
        let shown = QUESTIONS.iter().filter(|question| ask(&owner, **question).contains(SECRET)).count();
        assert!(shown >= 5, "{when}: the owner sees its own: {shown}");
    };
    check("in heads");
    node.flush();
    check("in packs");
}

#[test]
fn several_tenants_named_in_one_query_are_answered_together_and_told_apart() {
    let dir = TempDir::new().unwrap();
    let node = Serve::on(dir.path()).with("--tenancy=header").start();
    for name in ["a", "b"] {
        let push = Push::new([("service_name", "s")], vec![(START + 1, format!("of {name}"))]);
        node.tenant(name).push(Form::Json, &[push]);
    }
    let lines = node.tenant("a|b").lines(&forward(r#"{service_name="s"}"#, START, END));
    let tenants: Vec<&str> = lines.streams.keys().map(|labels| labels["__tenant_id__"].as_str()).collect();
    assert_eq!((tenants, lines.len()), (vec!["a", "b"], 2));
    assert_eq!(node.tenant("a").lines(&forward(r#"{service_name="s"}"#, START, END)).len(), 1);
}

#[test]
fn a_request_without_a_tenant_or_with_a_wrong_one_is_refused() {
    let dir = TempDir::new().unwrap();
    let node = Serve::on(dir.path()).with("--tenancy=header").start();
    for (name, status) in [("", 401), ("..", 400), ("a/b", 400), (&"x".repeat(151), 400)] {
        let client = node.tenant(name);
        assert_eq!(client.ask("/loki/api/v1/labels", &[]).status, status, "labels of `{name}`");
        let push = Push::new([("service_name", "s")], vec![(START, "line".to_owned())]);
        let answer = client.send(request(Form::Json, &[push])).unwrap();
        assert_eq!(answer.status, status, "push of `{name}`: {}", answer.text());
    }
    // A push has one owner.
    let push = request(Form::Json, &[Push::new([("service_name", "s")], vec![(START, "x".to_owned())])]);
    node.tenant("a|b").send(push).unwrap().expect(400);
    assert_eq!(node.send(Request::get("/ready")).unwrap().status, 200, "needs no tenant");
}
