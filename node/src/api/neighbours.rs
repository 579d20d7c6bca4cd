//! A kept table of what clients ask amiss: every endpoint that asks, with parameters that are missing, odd, or there
//! twice, and the status and the words of the answer.

use crate::testbed::{SECOND, Testbed};

const NOW: i64 = 1_700_000_000 * SECOND;
const FORM: (&str, &str) = ("Content-Type", "application/x-www-form-urlencoded");

async fn bed() -> Testbed {
    let bed = Testbed::new(NOW, &[("tenancy", "header")]).await;
    let lines = r#"{"streams": [
        {"stream": {"app": "web", "env": "prod"}, "values": [["1699999990000000000", "level=info msg=\"a b\" dur=5ms"]]},
        {"stream": {"app": "api"}, "values": [["1699999991000000000", "{\"level\":\"error\",\"o\":{\"p\":\"q\"}}"]]}
    ]}"#;
    let headers = [("Content-Type", "application/json"), ("X-Scope-OrgID", "t")];
    assert_eq!(bed.call_text("POST", "/loki/api/v1/push", &headers, lines).await.0.as_u16(), 204);
    bed
}

/// Each request is a method and a path with its query, or a form's body behind ` < `.
async fn check(rows: &[(&str, u16, &str)]) {
    let bed = bed().await;
    for (request, status, part) in rows {
        let (request, body) = request.split_once(" < ").unwrap_or((request, ""));
        let (method, path) = request.split_once(' ').unwrap();
        let uri = path.replace(' ', "%20").replace('{', "%7B").replace('}', "%7D").replace('"', "%22");
        let uri = uri.replace('|', "%7C").replace('[', "%5B").replace(']', "%5D");
        let uri = if path.starts_with("/api") { uri } else { format!("/loki/api/v1{uri}") };
        let headers = [FORM, ("X-Scope-OrgID", "t")];
        let (answered, text) = bed.call_text(method, &uri, &headers, body).await;
        assert!(answered.as_u16() == *status && text.contains(part), "{request} < {body}: {answered} {text}");
    }
}

const NOT_A_NUMBER: &str = "strconv.Atoi: parsing \"x\": invalid syntax";
const NOT_A_TIME: &str = "parameter: strconv.ParseInt: parsing \"x\": invalid syntax";
const NO_QUERY: &str = "parse error : syntax error: unexpected $end";
const NO_MATCHER: &str = "parse error : queries require at least one";
const NO_SELECTOR: &str = "only label matchers are supported";
const BACKWARDS: &str = "this data is no longer available, it is past now - max_query_lookback (0s)";
const END_FIRST: &str = "end timestamp must not be before or equal to start time";

#[tokio::test]
async fn instant_queries_are_asked_amiss() {
    check(&[
        ("GET /query", 400, NO_QUERY),
        ("GET /query?query=", 400, NO_QUERY),
        (r#"GET /query?query={app="web"}"#, 400, "log queries are not supported as an instant query type"),
        ("GET /query?query=1%2B1&time=5", 200, r#""result":[5000,"2"]"#),
        ("GET /query?query=1&time=1.5", 200, r#""result":[1500,"1"]"#),
        ("GET /query?query=1&time=", 200, r#""result":[1700000000000,"1"]"#),
        ("GET /query?query=1&time=x", 400, NOT_A_TIME),
        ("GET /query?query=1&time=2023-11-14%2022:13:20Z", 400, "invalid syntax"),
        ("GET /query?query=vector(1)&limit=0", 400, "limit must be a positive value"),
        ("GET /query?query=vector(1)&limit=x", 400, NOT_A_NUMBER),
        // More than a log query may have, but it is none.
        ("GET /query?query=vector(1)&limit=5001", 200, "vector"),
        ("GET /query?query=vector(1)&direction=up", 400, "invalid direction 'up'"),
        ("GET /query?query=1&query=2", 200, r#","1"]"#),
        ("POST /query?query=1 < query=2", 200, r#","2"]"#),
        ("POST /query?query=1", 200, r#","1"]"#),
        // Bytes that are no text: a query that is, of which a part is not.
        ("GET /query?query=%FF", 400, "invalid UTF-8 encoding"),
        ("GET /query?query=vector(1)%20%23%C3", 400, "invalid UTF-8 encoding"),
        ("GET /query?query=vector(1)%20%23%C3%A9%EF%BF%BD", 200, "vector"),
        ("POST /query < query=%E9", 400, "invalid UTF-8 encoding"),
        ("GET /series?match%5B%5D=%FF", 400, "invalid UTF-8 encoding"),
        ("GET /query?query=1&other=%FF", 200, r#","1"]"#),
        ("PUT /query?query=1", 405, ""),
        ("HEAD /query?query=1", 405, ""),
        ("DELETE /query?query=1", 405, ""),
    ])
    .await;
}

#[tokio::test]
async fn range_queries_are_asked_amiss() {
    check(&[
        ("GET /query_range", 400, NO_QUERY),
        ("GET /query_range?query=1&start=x", 400, NOT_A_TIME),
        ("GET /query_range?query=1&end=x", 400, NOT_A_TIME),
        ("GET /query_range?query=1&since=x", 400, "could not parse 'since' parameter: not a valid duration"),
        ("GET /query_range?query=1&start=9&end=3", 400, END_FIRST),
        ("GET /query_range?query=1&start=3&end=3", 200, "matrix"),
        ("GET /query_range?query=1&step=0", 400, "zero or negative query resolution step widths"),
        ("GET /query_range?query=1&step=-1", 400, "zero or negative query resolution step widths"),
        ("GET /query_range?query=1&step=x", 400, r#"cannot parse "x" to a valid duration"#),
        ("GET /query_range?query=1&start=0&end=11001&step=1", 400, "exceeded maximum resolution of 11,000"),
        (r#"GET /query_range?query={app="web"}&interval=-1"#, 400, "interval must be >= 0"),
        (r#"GET /query_range?query={app="web"}&interval=x"#, 400, r#"cannot parse "x" to a valid duration"#),
        (r#"GET /query_range?query={app="web"}&limit=5001"#, 400, "max entries limit per query exceeded"),
        (r#"GET /query_range?query={app="web"}&limit=1&limit=0"#, 200, "level=info"),
        (r#"GET /query_range?query={app="web"}&direction=fOrWaRd"#, 200, "level=info"),
        (
            r#"GET /query_range?query={app="web"}&start=0&end=9999999"#,
            400,
            "the query time range exceeds the limit",
        ),
        (r#"POST /query_range < query={app="web"}&limit=1"#, 200, "level=info"),
        ("PUT /query_range", 405, ""),
    ])
    .await;
}

#[tokio::test]
async fn labels_and_series_are_asked_amiss() {
    check(&[
        ("GET /labels", 200, r#"["app","env","service_name"]"#),
        ("GET /label?start=x", 400, NOT_A_TIME),
        ("GET /labels?start=9&end=3", 400, BACKWARDS),
        (r#"GET /labels?query={app="web"} |= "x""#, 400, NO_SELECTOR),
        (r#"GET /labels?query={app=~".*"}"#, 400, NO_MATCHER),
        ("GET /label/nope/values", 200, r#"{"status":"success"}"#),
        (r#"GET /label/app/values?query=rate({app="web"}[1m])"#, 400, NO_SELECTOR),
        ("POST /labels < start=0&end=1", 200, r#"{"status":"success"}"#),
        ("GET /series", 200, r#"{"app":"api","service_name":"api"},{"app":"web""#),
        ("GET /series?match[]={}", 200, r#""app":"api""#),
        ("GET /series?match={ }&match[]={ }", 200, r#""app":"api""#),
        (r#"GET /series?match[]={}&match[]={app="web"}"#, 400, NO_MATCHER),
        (r#"GET /series?match[]={app="none"}&match={app="none"}"#, 200, r#""data":[]"#),
        (r#"GET /series?match[]={app="web"}&match={app="api"}"#, 200, r#""app":"api""#),
        (r#"GET /series?match[]={app!="x"}"#, 400, NO_MATCHER),
        (r#"GET /series?match[]={app="x"} |= "y""#, 400, NO_SELECTOR),
        ("GET /series?match[]=", 400, NO_QUERY),
        ("GET /series?match[]={", 400, "parse error at line 1, col 2"),
        (r#"GET /series?match[]={app="none"}"#, 200, r#""data":[]"#),
        ("GET /series?start=9&end=3", 400, BACKWARDS),
        (r#"POST /series < match[]={app="web"}"#, 200, r#""env":"prod""#),
    ])
    .await;
}

#[tokio::test]
async fn volumes_and_stats_are_asked_amiss() {
    check(&[
        ("GET /index/stats", 400, NO_QUERY),
        ("GET /index/stats?query={}", 400, NO_MATCHER),
        (r#"GET /index/stats?query={app="web"} |= "x""#, 400, NO_SELECTOR),
        (r#"GET /index/stats?query={app="none"}"#, 200, r#"{"bytes":0,"chunks":0,"entries":0,"streams":0}"#),
        ("GET /index/volume", 400, NO_QUERY),
        ("GET /index/volume?query={}", 200, r#""service_name":"web""#),
        (r#"GET /index/volume?query={app="web"}&limit=0"#, 200, r#"{"app":"web"}"#),
        (r#"GET /index/volume?query={app="web"}&limit=-1"#, 400, "limit must be a positive value"),
        (r#"GET /index/volume?query={app="web"}&aggregateBy=x"#, 400, "invalid aggregation option"),
        (r#"GET /index/volume?query={app="web"}&aggregateBy=labels"#, 200, r#"{"app":""}"#),
        (r#"GET /index/volume?query={app=~".%2B"}&targetLabels=env"#, 200, r#"{"env":"prod"}"#),
        (r#"GET /index/volume?query={app=~".%2B"}&targetLabels=none"#, 200, r#""result":[]"#),
        (r#"GET /index/volume?query={app="web"}&start=9&end=3"#, 400, END_FIRST),
        (r#"GET /index/volume?query={app="web"}&step=0"#, 200, "vector"),
        (r#"GET /index/volume?query={app="web"}&time=x"#, 400, NOT_A_TIME),
        (r#"GET /index/volume?query={app="web"}&direction=up"#, 400, "invalid direction 'up'"),
        (r#"GET /index/stats?query={app="web"}&step=0"#, 400, "zero or negative query resolution"),
        (r#"GET /index/stats?query={app="web"}&limit=0"#, 400, "limit must be a positive value"),
        (r#"GET /index/volume_range?query={app="web"}&step=0"#, 400, "zero or negative query resolution"),
        (r#"GET /index/volume_range?query={app="web"}&step=60"#, 200, "matrix"),
        (r#"GET /index/shards?query={app="web"}"#, 400, "targetBytesPerShard must be a positive value"),
    ])
    .await;
}

#[tokio::test]
async fn what_drilldown_asks_is_asked_amiss() {
    check(&[
        ("GET /patterns", 400, NO_QUERY),
        (r#"GET /patterns?query=rate({app="web"}[1m])"#, 400, "patterns are found in lines"),
        (r#"GET /patterns?query={app="none"}"#, 200, r#""data":[]"#),
        ("GET /detected_fields", 400, NO_QUERY),
        (r#"GET /detected_fields?query={app="none"}"#, 200, "{}"),
        (r#"GET /detected_fields?query={app="web"}&line_limit=x"#, 400, NOT_A_NUMBER),
        (r#"GET /detected_fields?query={app="web"}&limit=0"#, 400, "limit must be a positive value"),
        (
            r#"GET /detected_fields?query={app="web"}&line_limit=5001"#,
            400,
            "max entries limit per query exceeded, limit > max_entries_limit_per_query (5001 > 5000)",
        ),
        (r#"GET /detected_fields?query={app="web"}&field_limit=0"#, 400, "limit must be a positive value"),
        (r#"GET /detected_fields?query={app="web"}&field_limit=2"#, 200, r#""limit":2"#),
        (
            r#"GET /detected_fields?query={app="web"}&line_limit=0"#,
            400,
            "line_limit must be a positive value",
        ),
        (r#"GET /detected_fields?query={app="web"}&start=9&end=3"#, 400, END_FIRST),
        (r#"GET /detected_fields?query={app="web"}&step=0"#, 400, "zero or negative query resolution"),
        (r#"GET /detected_fields?query={app="web"}&step=x"#, 400, r#"cannot parse "x" to a valid duration"#),
        (
            r#"GET /detected_fields?query={app="web"}&start=0&end=11001&step=1"#,
            400,
            "exceeded maximum resolution",
        ),
        (r#"GET /detected_labels?query={app="none"}"#, 200, "{}"),
        (r#"GET /detected_field/o_p/values?query={app="api"}"#, 200, r#"{"limit":1000,"values":["q"]}"#),
        (r#"GET /detected_field/none/values?query={app="api"}"#, 200, "{}"),
        ("GET /detected_field/o_p/values", 400, NO_QUERY),
        ("GET /detected_labels", 200, r#"{"cardinality":2,"label":"app"}"#),
        (r#"GET /detected_labels?query={app="web"} |= "x""#, 400, NO_SELECTOR),
        ("GET /format_query", 400, r#""status":"invalid-query""#),
        (r#"POST /format_query < query={app="x"}%7C="a""#, 200, r#"{app=\"x\"} |= \"a\""#),
        ("GET /tail", 400, NO_QUERY),
        (r#"GET /tail?query={app="web"}&delay_for=6"#, 400, "delay_for can't be greater than 5"),
        (r#"GET /tail?query={app="web"}&delay_for=x"#, 400, NOT_A_NUMBER),
        (r#"GET /tail?query={app="web"}"#, 400, "Bad Request\n"),
        ("GET /api/prom/query?query=1", 400, "legacy endpoints only support streams result type"),
        (r#"GET /api/prom/query?query={app="web"}&regexp=msg"#, 200, r#""labels":"{app=\"web\""#),
        ("GET /api/prom/label", 200, r#"{"values":["app","env","service_name"]}"#),
    ])
    .await;
}

#[tokio::test]
async fn head_is_answered_where_loki_answers_it_alone() {
    check(&[
        ("HEAD /labels", 405, ""),
        ("HEAD /push", 405, ""),
        (r#"HEAD /tail?query={app="web"}"#, 405, ""),
        ("HEAD /rules/ns", 405, ""),
        ("HEAD /api/prom/label", 405, ""),
        ("HEAD /nowhere", 404, ""),
    ])
    .await;
    let bed = bed().await;
    for (path, status) in [("/ready", 405), ("/config", 405), ("/metrics", 200)] {
        assert_eq!(bed.call_text("HEAD", path, &[], "").await.0.as_u16(), status, "{path}");
    }
}

#[tokio::test]
async fn tails_and_deletes_are_for_one_tenant_and_no_query_ignores_a_label_policy() {
    let bed = bed().await;
    let tail = "/loki/api/v1/tail?query=%7Bapp%3D%22web%22%7D";
    let (status, text) = bed.call_text("GET", tail, &[("X-Scope-OrgID", "a|b")], "").await;
    assert_eq!((status.as_u16(), text.as_str()), (400, "multiple org IDs present"));
    let delete = "/loki/api/v1/delete";
    for method in ["GET", "POST", "DELETE"] {
        let (status, text) = bed.call_text(method, delete, &[("X-Scope-OrgID", "a|b")], "").await;
        assert_eq!((status.as_u16(), text.as_str()), (400, "multiple org IDs present\n"), "{method}");
    }
    let policy = [("X-Scope-OrgID", "t"), ("X-Prom-Label-Policy", "t:%7Bapp%3D%22web%22%7D")];
    for path in ["/loki/api/v1/labels", "/loki/api/v1/query?query=1", "/loki/api/v1/series", tail] {
        let (status, text) = bed.call_text("GET", path, &policy, "").await;
        assert!(status.as_u16() == 400 && text.contains("label policies"), "{path}: {status} {text}");
    }
}

#[tokio::test]
async fn deletes_are_asked_amiss() {
    let not_a_start = "invalid start time: require unix seconds or RFC3339 format\n";
    check(&[
        ("POST /delete", 400, "query not set\n"),
        (r#"POST /delete?query={app="web"}"#, 400, "start time not set\n"),
        (r#"POST /delete?query={app="web"}&start=x"#, 400, not_a_start),
        (r#"POST /delete?query={app="web"}&start=1.5"#, 400, not_a_start),
        (r#"POST /delete?query={app="web"}&start=1"#, 400, not_a_start),
        (
            r#"POST /delete?query={app="web"}&start=1600000009&end=1600000003"#,
            400,
            "start time can't be greater than or equal to end time\n",
        ),
        (
            r#"POST /delete?query={app="web"}&start=0000000001&end=1800000000"#,
            400,
            "deletes in the future are not allowed\n",
        ),
        ("POST /delete?query={&start=x", 400, "invalid query expression\n"),
        (r#"POST /delete?query=rate({app="web"}[1m])"#, 400, "invalid query expression\n"),
        (
            r#"POST /delete?query={app="web"} |= "x"&start=0000000001&max_interval=x"#,
            400,
            "invalid max_interval",
        ),
        (r#"POST /delete?query={app="web"}&start=0000000001&max_interval=x"#, 204, ""),
        (r#"POST /delete?query={app="web"} |= "x"&start=0000000001"#, 204, ""),
        (r#"PUT /delete?query={app="web"}&start=2023-11-14T00:00:00Z"#, 204, ""),
        ("DELETE /delete?request_id=none", 404, "could not find delete request with given id\n"),
        ("PATCH /delete", 405, ""),
    ])
    .await;
}

#[tokio::test]
async fn otlp_says_in_its_own_shape_what_is_wrong_with_a_tenants_name() {
    let bed = bed().await;
    let push = async |path: &str, tenant: &str| {
        let headers = [("Content-Type", "application/json"), ("X-Scope-OrgID", tenant)];
        let (status, text) = bed.call_text("POST", path, &headers, "{}").await;
        (status.as_u16(), text)
    };
    let status = |text: &str| format!("\u{12}{}{text}", char::from(text.len() as u8));
    let several = "multiple org IDs present";
    let odd = "tenant ID 'a b' contains unsupported character ' '";
    assert_eq!(push("/otlp/v1/logs", "a|b").await, (400, status(several)));
    assert_eq!(push("/otlp/v1/logs", "a b").await, (400, status(odd)));
    assert_eq!(push("/otlp/v1/logs", "").await, (401, "no org id\n".to_owned()));
    assert_eq!(push("/loki/api/v1/push", "a|b").await, (400, format!("{several}\n")));
}
