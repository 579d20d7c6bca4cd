//! A chunk store behind a network is asked for what lies side by side at once.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use futures_util::stream::BoxStream;
use grapevine_storage::chunk_store::{ChunkStore, StoreOptions};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};

use crate::testbed::{SECOND, Testbed};

const NOW: i64 = 1_700_000_000 * SECOND;
const STREAMS: usize = 40;
const LINES: usize = 2000;

/// A store that counts what it is asked.
#[derive(Debug, Default)]
struct Counting {
    memory: InMemory,
    gets: AtomicUsize,
}

impl fmt::Display for Counting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a store that counts")
    }
}

#[async_trait]
impl ObjectStore for Counting {
    async fn put_opts(&self, location: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        self.memory.put_opts(location, payload, options).await
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.memory.put_multipart_opts(location, options).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.gets.fetch_add(1, Ordering::Relaxed);
        self.memory.get_opts(location, options).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.memory.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.memory.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.memory.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.memory.copy_opts(from, to, options).await
    }
}

/// A node whose only pack, with a chunk of each stream, is in the store and nowhere else.
async fn bed() -> (Testbed, Arc<Counting>) {
    let counting = Arc::new(Counting::default());
    let store = ChunkStore::from_object_store(counting.clone(), StoreOptions::default());
    let bed = Testbed::open_over(tempfile::tempdir().unwrap(), NOW, Vec::new(), Some(store)).await;
    for stream in 0..STREAMS {
        let name = format!("s{stream}");
        let labels = [("app", name.as_str())];
        // Enough text for a filter.
        let line = |n: usize| {
            let text =
                format!("{n} of {stream}: the quick brown fox jumps over the lazy dog {}", n * 7919 % 10_007);
            (&labels[..], NOW - (LINES - n) as i64 * SECOND / 10, text, Vec::new())
        };
        bed.push(&(0..LINES).map(line).collect::<Vec<_>>()).await;
    }
    bed.flush().await;
    (bed, counting)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_lies_side_by_side_in_a_pack_comes_in_few_requests() {
    let (bed, counting) = bed().await;
    let requests = async |query: &str, expected: &str| {
        counting.gets.store(0, Ordering::Relaxed);
        let answer = bed.get("/loki/api/v1/query", &[("query", query)]).await;
        assert_eq!(answer["data"]["result"][0]["value"][1], expected, "{query}: {answer}");
        counting.gets.load(Ordering::Relaxed)
    };
    let all = (STREAMS * LINES).to_string();
    let columns = requests(r#"sum(count_over_time({app=~".+"}[1h]))"#, &all).await;
    assert!((1..=2).contains(&columns), "the columns of all chunks: {columns} requests");
    // Filters, and then the one chunk that may hold it.
    let needle = requests(r#"sum(count_over_time({app=~".+"} |= "1999 of 7: the"[1h]))"#, "1").await;
    assert!((2..=4).contains(&needle), "a needle: {needle} requests");
    let text = requests(r#"sum(count_over_time({app=~".+"} |= "lazy"[1h]))"#, &all).await;
    assert!((1..=STREAMS / 4).contains(&text), "all text: {text} requests");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lines_that_are_not_needed_are_not_fetched() {
    let (bed, counting) = bed().await;
    counting.gets.store(0, Ordering::Relaxed);
    let params = [("query", r#"{app=~"s1.?"}"#), ("limit", "3")];
    let answer = bed.get("/loki/api/v1/query_range", &params).await;
    let count = |stream: &serde_json::Value| stream["values"].as_array().unwrap().len();
    assert_eq!(answer["data"]["result"].as_array().unwrap().iter().map(count).sum::<usize>(), 3);
    // Eleven streams end at the same moment: each must be looked at.
    assert!(counting.gets.load(Ordering::Relaxed) <= 11);
    counting.gets.store(0, Ordering::Relaxed);
    let params = [("query", r#"{app=~".+"} |= "1999 of 7: the""#), ("limit", "3")];
    let answer = bed.get("/loki/api/v1/query_range", &params).await;
    assert_eq!(answer["data"]["result"].as_array().unwrap().iter().map(count).sum::<usize>(), 1);
    let requests = counting.gets.load(Ordering::Relaxed);
    assert!((2..=4).contains(&requests), "filters of all in one, and what they leave: {requests} requests");
}
