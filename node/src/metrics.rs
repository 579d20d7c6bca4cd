//! What a node counts about itself, in Prometheus' text format.
//!
//! Where Loki counts the same thing the metric bears Loki's name, so that its dashboards and alerts keep
//! working; what only Grapevine has is named `grapevine_…`.

use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets, linear_buckets};
use prometheus_client::registry::Registry;
use tokio::time::Instant;

use crate::api::ops::LOKI_VERSION;
use crate::config::keys::values;
use crate::config::units::{ByteSize, Period};
use crate::limits::{Limits, TenantLimits};

/// Labels of request metrics.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Request {
    /// The HTTP method.
    pub method: String,
    /// The route's pattern as Loki writes it (`loki_api_v1_push`), not the path: bounded.
    pub route: String,
    /// The answer's status.
    pub status_code: String,
}

/// Labels of what was refused.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Discard {
    /// Why, by Loki's names.
    pub reason: &'static str,
    /// Whose.
    pub tenant: String,
}

/// Labels of what belongs to a tenant.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Tenant {
    /// Whose.
    pub tenant: String,
}

/// Labels of what a background worker does.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct HousekeepingLabel {
    /// The worker's name.
    pub worker: &'static str,
}

/// Labels of lines of the node's own log.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct LevelLabel {
    /// How grave they are.
    pub level: &'static str,
}

/// Labels of a limit.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct LimitLabel {
    /// Its key in `[limits]`.
    pub limit_name: String,
}

/// Labels of a tenant's own limit.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct OwnLimitLabel {
    /// Its key in `[limits]`.
    pub limit_name: String,
    /// Whose.
    pub user: String,
}

/// Labels of a rule group.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct RuleGroupLabel {
    /// Namespace and group.
    pub rule_group: String,
    /// Whose.
    pub user: String,
}

/// Labels of what was built.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct BuildLabel {
    /// The release.
    pub version: &'static str,
    /// The version of Loki whose API this is.
    pub loki: &'static str,
}

/// Labels of the ring that a node sees.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct RingLabel {
    /// Its digest.
    pub hash: String,
}

/// Labels of members.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct MemberLabel {
    /// What they are doing.
    pub state: String,
}

/// Labels of what happens between peers.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct PeerEventLabel {
    /// What happened.
    pub event: &'static str,
}

/// Lets a message through once in a while, so that a flood of one kind does not drown the log.
#[derive(Debug, Default)]
pub struct LogGate {
    last: Mutex<Option<Instant>>,
}

/// How often a gate lets a message through.
const LOG_INTERVAL: Duration = Duration::from_secs(1);

impl LogGate {
    /// Whether to log now.
    pub fn allow(&self) -> bool {
        let now = Instant::now();
        let mut last = self.last.lock().expect("no one panics with the gate locked");
        let allowed = last.is_none_or(|last| now.duration_since(last) >= LOG_INTERVAL);
        if allowed {
            *last = Some(now);
        }
        allowed
    }
}

/// A duration's histogram: 1 ms to 32 s, doubling.
fn seconds() -> Histogram {
    Histogram::new(exponential_buckets(0.001, 2.0, 16))
}

macro_rules! metrics {
    ($($(#[doc = $doc:literal])+ $field:ident: $kind:ty = $make:expr, $name:literal;)+) => {
        /// Every metric of a node. Cheap to share; each is counted without a lock.
        #[derive(Debug)]
        pub struct Metrics {
            registry: Registry,
            /// Lets one line about refusals into the log a second.
            pub discard_log: LogGate,
            $($(#[doc = $doc])+ pub $field: $kind,)+
        }

        impl Metrics {
            /// All at zero.
            pub fn new() -> Arc<Self> {
                let mut registry = Registry::default();
                $(
                    let $field: $kind = $make;
                    registry.register($name, concat!($($doc),+).trim().trim_end_matches('.'), $field.clone());
                )+
                let metrics = Metrics { registry, discard_log: LogGate::default(), $($field,)+ };
                let build = BuildLabel { version: env!("CARGO_PKG_VERSION"), loki: LOKI_VERSION };
                metrics.build_info.get_or_create(&build).set(1);
                Arc::new(metrics)
            }
        }
    };
}

metrics! {
    /// What was built: always 1.
    build_info: Family<BuildLabel, Gauge> = Family::default(), "loki_build_info";
    /// Time taken by HTTP requests.
    request_seconds: Family<Request, Histogram> = Family::new_with_constructor(seconds), "loki_request_duration_seconds";
    /// Bytes of lines received, structured metadata not counted.
    received_bytes: Family<Tenant, Counter> = Family::default(), "loki_distributor_bytes_received";
    /// Bytes of structured metadata received.
    received_metadata_bytes: Family<Tenant, Counter> = Family::default(), "loki_distributor_structured_metadata_bytes_received";
    /// Lines received.
    received_lines: Family<Tenant, Counter> = Family::default(), "loki_distributor_lines_received";
    /// Lines refused.
    discarded_lines: Family<Discard, Counter> = Family::default(), "loki_discarded_samples";
    /// Bytes of lines refused.
    discarded_bytes: Family<Discard, Counter> = Family::default(), "loki_discarded_bytes";
    /// Streams that have something in memory.
    memory_streams: Gauge = Gauge::default(), "loki_ingester_memory_streams";
    /// Chunks in memory, those that are not full yet among them.
    memory_chunks: Gauge = Gauge::default(), "loki_ingester_memory_chunks";
    /// Streams that came to be in memory, each day counted apart.
    streams_created: Counter = Counter::default(), "loki_ingester_streams_created";
    /// Bytes in open blocks, not compressed yet.
    head_open_bytes: Gauge = Gauge::default(), "grapevine_head_open_bytes";
    /// Bytes in compressed blocks that are in no pack yet.
    head_sealed_bytes: Gauge = Gauge::default(), "grapevine_head_sealed_bytes";
    /// Bytes of text compressed into blocks. In a cluster one owner compresses for all.
    compressed_bytes: Counter = Counter::default(), "grapevine_compressed_text_bytes";
    /// Bytes of the write-ahead log on disk.
    wal_bytes: Gauge = Gauge::default(), "grapevine_wal_bytes";
    /// Syncs of the write-ahead log.
    wal_syncs: Counter = Counter::default(), "grapevine_wal_syncs";
    /// Exact duplicates dropped on arrival.
    duplicates: Counter = Counter::default(), "grapevine_duplicate_lines";
    /// Packs written.
    packs_written: Counter = Counter::default(), "grapevine_packs_written";
    /// Chunks written.
    chunks_flushed: Counter = Counter::default(), "loki_ingester_chunks_flushed";
    /// Lines of the chunks written.
    chunk_entries: Histogram = Histogram::new(exponential_buckets(1.0, 4.0, 10)), "loki_ingester_chunk_entries";
    /// Compressed bytes of the chunks written.
    chunk_bytes: Histogram = Histogram::new(exponential_buckets(1024.0, 2.0, 12)), "loki_ingester_chunk_size_bytes";
    /// How full the chunks written are, by the blocks that one may have.
    chunk_utilization: Histogram = Histogram::new(linear_buckets(0.25, 0.25, 4)), "loki_ingester_chunk_utilization";
    /// Seconds since the first line of the chunks written.
    chunk_age: Histogram = Histogram::new(exponential_buckets(60.0, 2.0, 10)), "loki_ingester_chunk_age_seconds";
    /// Packs that wait in the spool for the chunk store.
    spool_packs: Gauge = Gauge::default(), "grapevine_spool_packs";
    /// The same as `grapevine_spool_packs`.
    flush_queue: Gauge = spool_packs.clone(), "loki_ingester_flush_queue_length";
    /// Bytes that wait in the spool for the chunk store.
    spool_bytes: Gauge = Gauge::default(), "grapevine_spool_bytes";
    /// Attempts at the chunk store that failed.
    store_errors: Counter = Counter::default(), "grapevine_chunk_store_errors";
    /// Answers that lacked something and said so.
    incomplete_answers: Counter = Counter::default(), "grapevine_incomplete_answers";
    /// Pieces of queries that went to another owner since their reader failed.
    pieces_retried: Counter = Counter::default(), "grapevine_query_pieces_retried";
    /// How full the data disk is, from 0 to 1.
    disk_used: Gauge<f64, AtomicU64> = Gauge::default(), "grapevine_disk_used_ratio";
    /// How far up the ladder of a full disk the node is: 0 free, 1 old days go, 2 pushes are refused, 3 read-only.
    disk_rung: Gauge = Gauge::default(), "grapevine_disk_rung";
    /// Rounds of background workers.
    housekeeping_rounds: Family<HousekeepingLabel, Counter> = Family::default(), "grapevine_housekeeping_rounds";
    /// Rounds of background workers that failed.
    housekeeping_errors: Family<HousekeepingLabel, Counter> = Family::default(), "grapevine_housekeeping_errors";
    /// Steps of the present round of background workers that are left, as far as they are known.
    worker_steps_left: Family<HousekeepingLabel, Gauge> = Family::default(), "grapevine_worker_steps_left";
    /// Bytes moved by background workers that can be held to a rate.
    worker_bytes: Family<HousekeepingLabel, Counter> = Family::default(), "grapevine_worker_bytes";
    /// Days given up because they were past retention or the disk was full.
    days_dropped: Counter = Counter::default(), "grapevine_days_dropped";
    /// Packs that took part in a merge or a rewrite.
    packs_merged: Counter = Counter::default(), "grapevine_packs_merged";
    /// Packs written anew without lines that were to be deleted.
    packs_erased: Counter = Counter::default(), "grapevine_packs_erased";
    /// Delete requests carried out.
    deletes_processed: Counter = Counter::default(), "loki_compactor_delete_requests_processed";
    /// Objects in the chunk store that no index knows and that cannot be read as packs.
    orphans: Gauge = Gauge::default(), "grapevine_chunk_store_orphans";
    /// Packs that this node knows of and that are gone from the chunk store, as of the last time it was looked through.
    missing_packs: Gauge = Gauge::default(), "grapevine_chunk_store_missing_packs";
    /// The ring that the node sees: always 1, under the ring's digest, which is equal on nodes that agree.
    ring: Family<RingLabel, Gauge> = Family::default(), "grapevine_ring_hash";
    /// Members of the cluster.
    members: Family<MemberLabel, Gauge> = Family::default(), "grapevine_members";
    /// Members that the node hears of, itself included.
    members_live: Gauge = Gauge::default(), "grapevine_members_live";
    /// Peers that there is a connection to.
    peers_connected: Gauge = Gauge::default(), "grapevine_peers_connected";
    /// What happened at the port for peers; strangers leave no other trace.
    peer_events: Family<PeerEventLabel, Counter> = Family::default(), "grapevine_peer_events";
    /// Parts of pushes that a member holding them lacked at the last comparison, as far as this node knows.
    replica_deficit: Gauge = Gauge::default(), "grapevine_replica_deficit";
    /// Times a member did not take a part of a push.
    replica_failures: Counter = Counter::default(), "grapevine_replica_failures";
    /// Times a member was passed over because too much was on its way to it.
    replica_lags: Counter = Counter::default(), "grapevine_replica_lags";
    /// Parts of pushes sent to owners that turned out to lack them.
    repaired_pushes: Counter = Counter::default(), "grapevine_repaired_pushes";
    /// Bytes sent to owners that turned out to lack them.
    repaired_bytes: Counter = Counter::default(), "grapevine_repaired_bytes";
    /// Times a member did not take note of a pack; it is told again.
    announce_failures: Counter = Counter::default(), "grapevine_announce_failures";
    /// Bytes of packs fetched from other nodes.
    fetched_bytes: Counter = Counter::default(), "grapevine_fetched_pack_bytes";
    /// Lines of the node's own log.
    log_messages: Family<LevelLabel, Counter> = Family::default(), "loki_internal_log_messages";
    /// Limits that hold for every tenant that has none of its own, as far as they are numbers.
    limits: Family<LimitLabel, Gauge<f64, AtomicU64>> = Family::default(), "loki_overrides_defaults";
    /// Limits of tenants that have their own, as far as they are numbers.
    own_limits: Family<OwnLimitLabel, Gauge<f64, AtomicU64>> = Family::default(), "loki_overrides";
    /// Rules that are kept, by namespace and group.
    rules: Family<RuleGroupLabel, Gauge> = Family::default(), "loki_prometheus_rule_group_rules";
    /// Tasks and work that panicked.
    panics: Counter = Counter::default(), "loki_panic";
}

impl Metrics {
    /// Shows what limits there are.
    pub fn show_limits(&self, limits: &TenantLimits) {
        for (limit_name, value) in numbers(limits.everyone()) {
            self.limits.get_or_create(&LimitLabel { limit_name }).set(value);
        }
        for (user, own) in limits.overridden() {
            for (limit_name, value) in numbers(own) {
                let label = OwnLimitLabel { limit_name, user: user.to_owned() };
                self.own_limits.get_or_create(&label).set(value);
            }
        }
    }

    /// Everything, as `/metrics` shows it.
    pub fn text(&self) -> String {
        let mut text = String::new();
        encode(&mut text, &self.registry).expect("a String takes whatever is written to it");
        text
    }
}

/// Limits that are numbers: sizes in bytes, periods in seconds, switches as 0 or 1.
fn numbers(limits: &Limits) -> Vec<(String, f64)> {
    let number = |value: &toml::Value| match value {
        toml::Value::Integer(number) => Some(*number as f64),
        toml::Value::Float(number) => Some(*number),
        toml::Value::Boolean(is_on) => Some(f64::from(u8::from(*is_on))),
        toml::Value::String(text) => {
            let period = text.parse::<Period>().ok().map(|period| period.0.as_secs_f64());
            period.or_else(|| text.parse::<ByteSize>().ok().map(|size| size.0 as f64))
        }
        _ => None,
    };
    let all = values(limits).into_iter();
    all.filter_map(|(name, value)| Some((name, number(&value)?))).collect()
}

#[cfg(test)]
mod tests {
    use super::{Discard, Metrics};
    use crate::config::units::ByteSize;
    use crate::limits::{Limits, TenantLimits};

    #[test]
    fn limits_are_shown_as_numbers() {
        let own = Limits { max_line_size: ByteSize(7), volume_enabled: false, ..Limits::default() };
        let metrics = Metrics::new();
        metrics.show_limits(&TenantLimits::new(Limits::default(), [("a".to_owned(), own)]));
        let text = metrics.text();
        for line in [
            "loki_overrides_defaults{limit_name=\"max_line_size\"} 262144.0\n",
            "loki_overrides_defaults{limit_name=\"query_timeout\"} 60.0\n",
            "loki_overrides_defaults{limit_name=\"max_query_series\"} 500.0\n",
            "loki_overrides_defaults{limit_name=\"ingestion_rate_mb\"} 4.0\n",
            "loki_overrides{limit_name=\"max_line_size\",user=\"a\"} 7.0\n",
            "loki_overrides{limit_name=\"volume_enabled\",user=\"a\"} 0.0\n",
        ] {
            assert!(text.contains(line), "{line} is not in {text}");
        }
    }

    #[test]
    fn counters_appear_under_lokis_names() {
        let metrics = Metrics::new();
        let discard = Discard { reason: "line_too_long", tenant: "fake".into() };
        metrics.discarded_lines.get_or_create(&discard).inc_by(3);
        let text = metrics.text();
        let line = r#"loki_discarded_samples_total{reason="line_too_long",tenant="fake"} 3"#;
        assert!(text.contains(line), "{text}");
    }
}
