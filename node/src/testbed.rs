//! A whole node in a temporary folder, for tests: its API is asked in process, its clock stands still.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use axum::body::Body;
use axum::http::{Request, StatusCode};
use grapevine_storage::chunk_store::ChunkStore;
use grapevine_storage::pack::Level;
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tower::ServiceExt;

use crate::api::server::router;
use crate::config::Config;
use crate::env::{Env, SystemNet, WallClock};
use crate::exec::Exec;
use crate::ingester::seal::with_sealer;
use crate::node::{Node, open_store};

/// One second in ns.
pub(crate) const SECOND: i64 = 1_000_000_000;

/// A clock that moves when it is told to.
#[derive(Debug, Default)]
pub(crate) struct TestClock(AtomicI64);

impl WallClock for TestClock {
    fn now(&self) -> i64 {
        self.0.load(Ordering::SeqCst)
    }
}

/// A node and the folder it lives in.
pub(crate) struct Testbed {
    /// The node.
    pub(crate) node: Arc<Node>,
    clock: Arc<TestClock>,
    loops: JoinHandle<()>,
    flags: Vec<(String, String)>,
    dir: TempDir,
}

/// An entry to push: stream labels, timestamp, line, structured metadata.
pub(crate) type Entry<'a> = (&'a [(&'a str, &'a str)], i64, String, Vec<(String, String)>);

impl Testbed {
    /// A fresh node whose clock shows `now`; `flags` as in `--set`.
    pub(crate) async fn new(now: i64, flags: &[(&str, &str)]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let flags = flags.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        Self::open(dir, now, flags).await
    }

    /// A fresh node in a folder that may hold something already.
    pub(crate) async fn open(dir: TempDir, now: i64, flags: Vec<(String, String)>) -> Self {
        Self::open_over(dir, now, flags, None).await
    }

    /// The same over a chunk store that the test made.
    pub(crate) async fn open_over(
        dir: TempDir,
        now: i64,
        flags: Vec<(String, String)>,
        store: Option<ChunkStore>,
    ) -> Self {
        let file = format!("data_dir = {:?}\n", dir.path().to_str().unwrap());
        let config = Config::load(&file, [], flags.clone()).unwrap();
        let clock = Arc::new(TestClock(AtomicI64::new(now)));
        let env = Env {
            clock: clock.clone(),
            net: Arc::new(SystemNet),
            exec: Exec::threads(),
            data_dir: dir.path().to_owned(),
            seed: 1,
        };
        let store = store.unwrap_or_else(|| open_store(&config, 1, |_| None).unwrap());
        let (node, loops) = Node::open(env, config, store).await.unwrap();
        Testbed { node, clock, loops: tokio::spawn(loops.run()), flags, dir }
    }

    /// Stops the node as a power cut would, and starts it again over the same folder.
    pub(crate) async fn restart(self) -> Self {
        let now = self.clock.now();
        let (dir, flags) = self.stop().await;
        Self::open(dir, now, flags).await
    }

    /// Stops the node as a power cut would; what it leaves behind and what it was told.
    pub(crate) async fn stop(self) -> (TempDir, Vec<(String, String)>) {
        let Testbed { node, loops, flags, dir, .. } = self;
        if let Some(cluster) = &node.cluster {
            cluster.stop().await;
        }
        loops.abort();
        let _ = loops.await;
        drop(node);
        (dir, flags)
    }

    /// Moves the clock.
    pub(crate) fn set_clock(&self, now: i64) {
        self.clock.0.store(now, Ordering::SeqCst);
    }

    /// One request and its answer's status and body.
    pub(crate) async fn call(&self, method: &str, uri: &str, body: Option<Value>) -> (StatusCode, String) {
        self.call_with(method, uri, &[], body).await
    }

    /// One request with headers, and its answer's status and body.
    pub(crate) async fn call_with(
        &self,
        method: &str,
        uri: &str,
        headers: &[(&str, &str)],
        body: Option<Value>,
    ) -> (StatusCode, String) {
        let body = body.map_or_else(String::new, |body| body.to_string());
        let json = [("Content-Type", "application/json")];
        self.call_text(method, uri, &[&json, headers].concat(), &body).await
    }

    /// One request with a text, and its answer's status and body.
    pub(crate) async fn call_text(
        &self,
        method: &str,
        uri: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> (StatusCode, String) {
        let request = Request::builder().method(method).uri(uri);
        let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        let body = Body::from(body.to_owned());
        let response = router(self.node.clone()).oneshot(request.body(body).unwrap()).await.unwrap();
        let status = response.status();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, String::from_utf8_lossy(&body).into_owned())
    }

    /// One header of the answer to a `GET`.
    pub(crate) async fn header(&self, uri: &str, name: &str) -> Option<String> {
        let request = Request::builder().uri(uri).body(Body::empty()).unwrap();
        let response = router(self.node.clone()).oneshot(request).await.unwrap();
        response.headers().get(name).map(|value| value.to_str().unwrap().to_owned())
    }

    /// Deletes every shipped pack behind the node's back.
    pub(crate) fn lose_packs(&self) {
        std::fs::remove_dir_all(self.dir.path().join("packs")).unwrap();
    }

    /// A `GET` with parameters, which must succeed with JSON.
    pub(crate) async fn get(&self, path: &str, params: &[(&str, &str)]) -> Value {
        let (status, body) = self.call("GET", &with_params(path, params), None).await;
        assert!(status.is_success(), "{path} {params:?}: {status} {body}");
        serde_json::from_str(&body).unwrap()
    }

    /// Pushes entries; all of them must be taken.
    pub(crate) async fn push(&self, entries: &[Entry<'_>]) {
        let streams: Vec<Value> = entries
            .iter()
            .map(|(labels, timestamp, line, metadata)| {
                let map = |pairs: &[(&str, &str)]| -> Value {
                    pairs
                        .iter()
                        .map(|(n, v)| ((*n).to_owned(), json!(v)))
                        .collect::<serde_json::Map<_, _>>()
                        .into()
                };
                let metadata: Vec<(&str, &str)> =
                    metadata.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
                json!({"stream": map(labels), "values": [[timestamp.to_string(), line, map(&metadata)]]})
            })
            .collect();
        let (status, body) = self.call("POST", "/loki/api/v1/push", Some(json!({"streams": streams}))).await;
        assert_eq!(status, StatusCode::NO_CONTENT, "{body}");
    }

    /// Seals every open block where it is.
    pub(crate) fn seal(&self) {
        for (_, head) in self.node.ingester.heads().all() {
            head.close_open();
            with_sealer(Level::default(), |sealer| head.seal_waiting(sealer));
        }
    }

    /// Packs and ships everything.
    pub(crate) async fn flush(&self) {
        self.node.ingester.flush_all().await.unwrap();
    }

    /// The texts of the lines of a `query_range` answer, in the order of time.
    pub(crate) async fn lines(&self, query: &str, start: i64, end: i64) -> Vec<String> {
        let (start, end) = (start.to_string(), end.to_string());
        let params =
            [("query", query), ("start", &start), ("end", &end), ("limit", "5000"), ("direction", "forward")];
        let answer = self.get("/loki/api/v1/query_range", &params).await;
        let mut lines: Vec<(i64, String)> = Vec::new();
        for stream in answer["data"]["result"].as_array().unwrap() {
            for value in stream["values"].as_array().unwrap() {
                let text = |n: usize| value[n].as_str().unwrap().to_owned();
                lines.push((text(0).parse().unwrap(), text(1)));
            }
        }
        lines.sort();
        lines.into_iter().map(|(_, line)| line).collect()
    }
}

/// A path and its parameters.
pub(crate) fn with_params(path: &str, params: &[(&str, &str)]) -> String {
    let query: String = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(params).finish();
    format!("{path}?{query}")
}
