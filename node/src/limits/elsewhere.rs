//! Limits that Loki has and this store cannot have, and why: who brings a configuration along is told so by name.

/// Loki's limits without a meaning here, by the reason.
const REASONS: [(&str, &[&str]); 12] = [
    (
        "a query is not split by time or cut into shards that wait for queriers; leave it out",
        &[
            "max_query_parallelism",
            "tsdb_max_query_parallelism",
            "tsdb_max_bytes_per_shard",
            "tsdb_sharding_strategy",
            "tsdb_precompute_chunks",
            "min_sharding_lookback",
            "split_queries_by_interval",
            "split_metadata_queries_by_interval",
            "split_recent_metadata_queries_by_interval",
            "split_instant_metric_queries_by_interval",
            "split_ingester_queries_by_interval",
            "recent_metadata_query_window",
            "max_queriers_per_tenant",
            "max_query_capacity",
        ],
    ),
    (
        "answers are not cached; leave it out",
        &["max_cache_freshness_per_query", "max_metadata_cache_freshness", "max_stats_cache_freshness"],
    ),
    ("the index is local; leave it out", &["query_ready_index_num_days", "index_gateway_shard_size"]),
    (
        "rules are kept and not evaluated; leave it out",
        &[
            "ruler_alertmanager_config",
            "ruler_tenant_shard_size",
            "ruler_remote_write_disabled",
            "ruler_remote_write_config",
            "ruler_remote_evaluation_timeout",
            "ruler_remote_evaluation_max_response_size",
            "ruler_enable_wal_replay",
            "ruler_evaluation_delay_duration",
        ],
    ),
    (
        "a stream is not cut into shards; leave it out",
        &[
            "shard_streams",
            "time_sharding",
            "use_owned_stream_count",
            "ingestion_partitions_tenant_shard_size",
        ],
    ),
    (
        "old and late lines are always taken; leave it out, or see `max_out_of_order_age`",
        &["unordered_writes"],
    ),
    (
        "the index is a cache of what the packs say, and filters are part of each pack; leave it out",
        &[
            "bloom_creation_enabled",
            "bloom_gateway_enable_filtering",
            "bloom_gateway_shard_size",
            "bloom_split_series_keyspace_by",
            "bloom_block_encoding",
            "bloom_max_block_size",
            "bloom_max_bloom_size",
        ],
    ),
    (
        "overrides are `[tenants.<id>.limits]` of this file",
        &["per_tenant_override_config", "per_tenant_override_period"],
    ),
    ("`max_global_streams_per_user` holds streams", &["max_streams_per_user", "max_local_streams_per_user"]),
    (
        "there are no ingestion policies: all of a tenant's streams are held to its limits; leave it out",
        &["policy_stream_mapping", "policy_enforced_labels", "block_ingestion_policy_until"],
    ),
    (
        "patterns and volumes are worked out when they are asked for; leave it out",
        &["metric_aggregation_enabled", "pattern_persistence_enabled"],
    ),
    ("`deletion_mode` says it", &["allow_deletes", "compactor_deletion_enabled"]),
];

/// Why there is no such limit, if Loki has one of this name.
pub fn reason(name: &str) -> Option<&'static str> {
    REASONS.iter().find(|(_, names)| names.contains(&name)).map(|(reason, _)| *reason)
}

#[cfg(test)]
mod tests {
    use super::{REASONS, reason};
    use crate::limits::Limits;

    #[test]
    fn what_is_said_not_to_be_here_is_not() {
        let keys = Limits::table().keys;
        for name in REASONS.iter().flat_map(|(_, names)| *names) {
            assert!(keys.iter().all(|key| key.name != *name), "{name}");
        }
        assert!(reason("split_queries_by_interval").is_some_and(|why| why.contains("not split")));
        assert_eq!(reason("max_query_series"), None);
    }
}
