//! What one tenant may do: Loki's `limits_config` under Loki's names, defaults and error texts.
//!
//! `[limits]` holds for everyone; `[tenants.<id>.limits]` overrides key by key. Where a default differs from
//! Loki's on purpose, the key says so; setting it to Loki's value gives Loki's answers.

pub mod blocked;
pub mod elsewhere;

use std::collections::BTreeMap;
use std::sync::Arc;

use grapevine_logql::level::{LevelSources, USUAL_FIELDS, USUAL_JSON_DEPTH};
use serde::{Deserialize, Serialize};

pub use self::blocked::{BlockedQuery, QueryKind};
use crate::config::keys::table;
use crate::config::server::Tenancy;
use crate::config::units::{ByteSize, Period};
use crate::push::generic_fields::GenericFields;
use crate::push::otlp::attributes::OtlpConfig;
use crate::push::service_name::DEFAULT_SOURCES;

/// Streams with a retention of their own, at most: each is tried on each stream.
const RETENTION_STREAMS_MAX: usize = 256;

table! {
    /// What one tenant may send, ask and keep. `[tenants.<id>.limits]` takes the same keys and overrides them
    /// for one tenant.
    "limits": LimitsWritten => Limits {
        /// Bytes of lines a second that a tenant may push on average, in MB of 2^20 bytes. More is answered
        /// with 429 and stored not at all. Higher lets bursts of many clients through; lower protects others.
        /// 0 is no limit: the default where there is a single tenant, who can crowd out nobody.
        ingestion_rate_mb: f64 = 4.0,
        /// Whose rate that is: `local`, that of each member by itself, or `global`, that of the cluster, of which each
        /// living member has its part. Loki's default is `global`; here most clients push to one member.
        ingestion_rate_strategy: RateStrategy = RateStrategy::Local,
        /// Bytes of lines that may come at once, in MB of 2^20 bytes; also the largest single push. Must not
        /// be below the largest batch that a client sends, or that batch can never pass.
        ingestion_burst_size_mb: f64 = 6.0,
        /// Bytes a second for one stream. A stream above it is refused (429); the others of the push are kept.
        /// 0 is no limit: the default where there is a single tenant.
        per_stream_rate_limit: ByteSize = ByteSize::mib(3),
        /// Bytes that may come at once for one stream.
        per_stream_rate_limit_burst: ByteSize = ByteSize::mib(15),
        /// Streams that may be active at a time in the whole cluster; new ones beyond are refused (429).
        /// 0 is no limit: the default where there is a single tenant. Each active stream costs memory on its
        /// owners.
        max_global_streams_per_user: usize = 5000,
        /// Refuse entries older than `reject_old_samples_max_age`. Loki has this on; here it is off, since
        /// late entries cost nothing: within retention they are always taken.
        reject_old_samples: bool = false,
        /// How old an entry may be if `reject_old_samples` is on.
        reject_old_samples_max_age: Period = Period::days(7),
        /// How far behind a stream's newest entry another may be. 0, the default, is no bound; Loki's fixed
        /// value is `1h`, half of its `max_chunk_age`.
        max_out_of_order_age: Period = Period::ZERO,
        /// How far in the future an entry may be: what to allow for clocks that are fast.
        creation_grace_period: Period = Period::seconds(600),
        /// Bytes of a line. 0 is no limit.
        max_line_size: ByteSize = ByteSize::kib(256),
        /// Cut longer lines off instead of refusing them.
        max_line_size_truncate: bool = false,
        /// Text put at the end of a line that was cut off, within `max_line_size`.
        max_line_size_truncate_identifier: String = String::new(),
        /// Bytes of a label's name.
        max_label_name_length: usize = 1024,
        /// Bytes of a label's value.
        max_label_value_length: usize = 2048,
        /// Labels of a stream, `service_name` not counted.
        max_label_names_per_series: usize = 15,
        /// Labels that each stream must have.
        enforced_labels: Vec<String> = Vec::new(),
        /// Take structured metadata; if off, entries that have some are refused.
        allow_structured_metadata: bool = true,
        /// Bytes of names and values of one entry's structured metadata. 0 is no limit.
        max_structured_metadata_size: ByteSize = ByteSize::kib(64),
        /// Pairs of structured metadata of one entry. 0 is no limit.
        max_structured_metadata_entries_count: usize = 128,
        /// Labels from which `service_name` is derived where a stream has none: the first one present. Empty
        /// turns it off; Grafana's Logs Drilldown needs it.
        discover_service_name: Vec<String> = DEFAULT_SOURCES.map(String::from).to_vec(),
        /// Show a `detected_level` with each entry. It is worked out on read and never stored.
        discover_log_levels: bool = true,
        /// Names of labels, structured metadata and fields of lines that hold the level: the first of the list that is
        /// there decides. In logfmt their case does not matter. Empty means these again.
        log_level_fields: Vec<String> = USUAL_FIELDS.map(String::from).to_vec(),
        /// Objects within objects of a JSON line in which those fields are looked for. 0 is as deep as lines are looked
        /// into at all, 64.
        log_level_from_json_max_depth: usize = USUAL_JSON_DEPTH,
        /// Fields to look for in each entry when it arrives, and to store with it as structured metadata: in the table
        /// `fields`, their names, and for each the names under which it is looked for among labels, in metadata and in
        /// the line (as logfmt, or in JSON as an expression such as `trace.ids[0]`). Each costs a look at each line.
        discover_generic_fields: GenericFields = GenericFields::default(),
        /// Give entries of one push that have the timestamp of the one before a nanosecond more, so that
        /// their order shows even in tools that sort by time.
        increment_duplicate_timestamp: bool = false,
        /// Refuse all pushes of the tenant until then, as RFC 3339. Empty is never.
        block_ingestion_until: String = String::new(),
        /// The status of that refusal. 200 drops silently.
        block_ingestion_status_code: u16 = 260,
        /// How OpenTelemetry attributes become labels or structured metadata.
        otlp_config: OtlpConfig = OtlpConfig::default(),

        /// Entries that one query may return.
        max_entries_limit_per_query: usize = 5000,
        /// Series that one metric query may return.
        max_query_series: usize = 500,
        /// Time that one query may span. 0 is no limit.
        max_query_length: Period = Period::hours(30 * 24 + 1),
        /// How far back queries see. 0 is no limit.
        max_query_lookback: Period = Period::ZERO,
        /// The largest range of a range aggregation such as `[5m]`. 0 is no limit.
        max_query_range: Period = Period::ZERO,
        /// How long a query may run.
        query_timeout: Period = Period::seconds(60),
        /// Matchers that one selector may have. 0 is no limit.
        max_streams_matchers_per_query: usize = 1000,
        /// Answer questions about volume; Grafana's Logs Drilldown needs it.
        volume_enabled: bool = true,
        /// Series in an answer about volume.
        volume_max_series: usize = 1000,
        /// Tails of one tenant at a time.
        max_concurrent_tail_requests: usize = 10,
        /// Bytes of lines that one query may have to look at, as `index/stats` counts them. 0 is no limit.
        max_query_bytes_read: ByteSize = ByteSize(0),
        /// The same for each selector of a query, which is the part that Loki gives to one querier. 0, the default, is
        /// no limit, like Loki's 150GB nearly is: to hold a query to this or one of the next two costs a look at the
        /// index before it.
        max_querier_bytes_read: ByteSize = ByteSize(0),
        /// Chunks that one query may have to look at, as `index/stats` counts them. 0, the default, is no limit;
        /// Loki's is 2000000.
        max_chunks_per_query: usize = 0,
        /// Streams that one selector of a query may choose. 0, the default, is no limit; Loki's is 100000.
        cardinality_limit: usize = 0,
        /// Labels that each selector must name.
        required_labels: Vec<String> = Vec::new(),
        /// Matchers that each selector must have. 0 is no limit.
        minimum_labels_number: usize = 0,
        /// Queries that are refused, until whoever asks them has mended them.
        blocked_queries: Vec<BlockedQuery> = Vec::new(),
        /// Aggregations that Loki refuses unless they are named here; `approx_topk` is the one there is. It is
        /// answered exactly.
        shard_aggregations: Vec<String> = Vec::new(),

        /// How long entries are kept. 0 is for ever, until the disk decides (see `[disk]`).
        retention_period: Period = Period::ZERO,
        /// Streams that are kept longer or shorter than `retention_period`.
        retention_stream: Vec<RetentionStream> = Vec::new(),
        /// What a delete request does: `disabled`, `filter-only` or `filter-and-delete`.
        deletion_mode: DeletionMode = DeletionMode::FilterAndDelete,
        /// How long a delete request can be taken back; after that its lines are removed from disk. Queries hide
        /// them from the start.
        delete_request_cancel_period: Period = Period::hours(24),

        /// Rules that a rule group may have. 0 is no limit.
        ruler_max_rules_per_rule_group: usize = 0,
        /// Rule groups that a tenant may have. 0 is no limit but that of the node for all tenants.
        ruler_max_rule_groups_per_tenant: usize = 0,
    }
}

/// A retention for the streams of a selector; of several that match, the highest priority decides.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct RetentionStream {
    /// Which streams, such as `{app="web"}`.
    pub selector: String,
    /// Which of several rules decides: the one with the highest priority.
    #[serde(default)]
    pub priority: i64,
    /// How long their entries are kept; a day at least.
    pub period: Period,
}

/// Who is held to a tenant's rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum RateStrategy {
    /// Each member for itself.
    Local,
    /// All members together.
    Global,
}

/// What a delete request does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum DeletionMode {
    /// It is refused.
    Disabled,
    /// Queries hide what it names; it stays on disk.
    FilterOnly,
    /// Queries hide it at once and it is removed from disk later.
    FilterAndDelete,
}

/// A limit whose value makes no sense.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{key}` = `{value}` {problem}")]
pub struct LimitError {
    /// The key.
    pub key: &'static str,
    /// Its value.
    pub value: String,
    /// What is wrong with it, and the way out.
    pub problem: String,
}

impl Limits {
    /// Checks what types cannot say.
    ///
    /// # Errors
    /// The first key whose value makes no sense.
    pub fn validate(&self) -> Result<(), LimitError> {
        let error =
            |key, value: String, problem: &str| Err(LimitError { key, value, problem: problem.to_owned() });
        for (key, value) in [
            ("ingestion_rate_mb", self.ingestion_rate_mb),
            ("ingestion_burst_size_mb", self.ingestion_burst_size_mb),
        ] {
            if !(value >= 0.0 && value.is_finite()) {
                return error(key, value.to_string(), "must be a number, 0 at least");
            }
            if value == 0.0 && key == "ingestion_burst_size_mb" {
                return error(
                    key,
                    value.to_string(),
                    "lets no push through; `ingestion_rate_mb = 0` is no limit",
                );
            }
        }
        if !(200..=599).contains(&self.block_ingestion_status_code) {
            let value = self.block_ingestion_status_code.to_string();
            return error(
                "block_ingestion_status_code",
                value,
                "is no status that an answer may have: 200 to 599",
            );
        }
        if !self.block_ingestion_until.is_empty() && self.block_ingestion_until_nanos().is_none() {
            let value = self.block_ingestion_until.clone();
            return error(
                "block_ingestion_until",
                value,
                "is not a time; write it as `2026-12-31T00:00:00Z`",
            );
        }
        if self.max_line_size_truncate_identifier.len() > self.max_line_size.bytes() {
            let value = self.max_line_size_truncate_identifier.clone();
            return error("max_line_size_truncate_identifier", value, "is longer than `max_line_size`");
        }
        if let Some((name, problem)) = self.discover_generic_fields.fault() {
            return error("discover_generic_fields", name, problem);
        }
        blocked::validate(&self.blocked_queries)?;
        self.validate_retention()
    }

    fn validate_retention(&self) -> Result<(), LimitError> {
        let error =
            |key, value: String, problem: &str| Err(LimitError { key, value, problem: problem.to_owned() });
        if self.retention_stream.len() > RETENTION_STREAMS_MAX {
            let value = self.retention_stream.len().to_string();
            return error(
                "retention_stream",
                value,
                &format!("rules are too many: at most {RETENTION_STREAMS_MAX}"),
            );
        }
        let periods = self.retention_stream.iter().map(|rule| ("retention_stream.period", rule.period));
        for (key, period) in periods.chain([("retention_period", self.retention_period)]) {
            let forever = key == "retention_period" && period.is_zero();
            if period < Period::days(1) && !forever {
                return error(
                    key,
                    period.to_string(),
                    "is too short: entries are kept by the day, `1d` at least",
                );
            }
        }
        Ok(())
    }

    /// Until when pushes are refused, in nanoseconds since 1970.
    pub fn block_ingestion_until_nanos(&self) -> Option<i64> {
        let time: jiff::Timestamp = self.block_ingestion_until.parse().ok()?;
        i64::try_from(time.as_nanosecond()).ok()
    }
}

impl Limits {
    /// Where the level of lines is looked for.
    pub fn levels(&self) -> Arc<LevelSources> {
        Arc::new(LevelSources::new(self.log_level_fields.clone(), self.log_level_from_json_max_depth))
    }

    /// The same, if entries show a `detected_level`.
    pub fn level_sources(&self) -> Option<Arc<LevelSources>> {
        (self.discover_log_levels && self.allow_structured_metadata).then(|| self.levels())
    }

    /// The defaults under a tenancy. Limits that protect tenants from each other are off where there is one.
    pub fn default_for(tenancy: Tenancy) -> Self {
        match tenancy {
            Tenancy::Header => Limits::default(),
            Tenancy::Single => Limits {
                ingestion_rate_mb: 0.0,
                per_stream_rate_limit: ByteSize(0),
                max_global_streams_per_user: 0,
                ..Limits::default()
            },
        }
    }
}

/// The limits of every tenant: those of `[limits]`, and those of tenants with limits of their own.
#[derive(Clone, Debug, Default)]
pub struct TenantLimits {
    everyone: Arc<Limits>,
    own: BTreeMap<String, Arc<Limits>>,
}

impl TenantLimits {
    /// Puts defaults and overrides together.
    pub fn new(everyone: Limits, own: impl IntoIterator<Item = (String, Limits)>) -> Self {
        let own = own.into_iter().map(|(tenant, limits)| (tenant, Arc::new(limits))).collect();
        TenantLimits { everyone: Arc::new(everyone), own }
    }

    /// The limits of a tenant.
    pub fn of(&self, tenant: &str) -> &Arc<Limits> {
        self.own.get(tenant).unwrap_or(&self.everyone)
    }

    /// The limits of tenants without any of their own.
    pub fn everyone(&self) -> &Limits {
        &self.everyone
    }

    /// Tenants with limits of their own, in order.
    pub fn overridden(&self) -> impl Iterator<Item = (&str, &Limits)> {
        self.own.iter().map(|(tenant, limits)| (tenant.as_str(), &**limits))
    }
}

#[cfg(test)]
mod tests {
    use super::{Limits, LimitsWritten, TenantLimits};
    use crate::config::units::{ByteSize, Period};

    fn written(text: &str) -> LimitsWritten {
        toml::from_str(text).unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    #[test]
    fn overrides_go_key_by_key() {
        let everyone = written("max_line_size = '1MB'\nquery_timeout = '5m'").over(&Limits::default());
        let own = written("query_timeout = '10s'").over(&everyone);
        assert_eq!((own.max_line_size, own.query_timeout), (ByteSize::mib(1), Period::seconds(10)));
        let limits = TenantLimits::new(everyone.clone(), [("a".to_owned(), own.clone())]);
        assert_eq!((&**limits.of("a"), &**limits.of("b")), (&own, &everyone));
    }

    #[test]
    fn defaults_are_lokis_but_for_old_samples() {
        let limits = Limits::default();
        assert!(!limits.reject_old_samples);
        assert_eq!(limits.max_line_size.bytes(), 262_144);
        assert_eq!(limits.max_query_length.to_string(), "30d1h");
        assert_eq!(limits.discover_service_name[0], "service");
        limits.validate().unwrap();
    }

    #[test]
    fn senseless_values_are_refused() {
        for (text, key) in [
            ("ingestion_rate_mb = -1.0", "ingestion_rate_mb"),
            ("ingestion_burst_size_mb = 0.0", "ingestion_burst_size_mb"),
            ("ingestion_burst_size_mb = nan", "ingestion_burst_size_mb"),
            ("block_ingestion_status_code = 99", "block_ingestion_status_code"),
            ("block_ingestion_until = 'soon'", "block_ingestion_until"),
            ("discover_generic_fields.fields = {'a.b' = ['c']}", "discover_generic_fields"),
            ("blocked_queries = [{}]", "blocked_queries"),
            ("blocked_queries = [{pattern = '(', regex = true}]", "blocked_queries"),
            ("retention_period = '1h'", "retention_period"),
            ("retention_stream = [{selector = '{}', period = '0'}]", "retention_stream.period"),
            (
                "max_line_size = 2\nmax_line_size_truncate_identifier = '...'",
                "max_line_size_truncate_identifier",
            ),
        ] {
            let error = written(text).over(&Limits::default()).validate().unwrap_err();
            assert_eq!(error.key, key, "{text}");
        }
    }

    #[test]
    fn every_key_is_documented_with_its_default() {
        let table = Limits::table();
        assert!(!table.keys.is_empty());
        for key in &table.keys {
            assert!(key.doc.len() > 15 && !key.default.is_empty(), "{}", key.name);
        }
        let size = table.keys.iter().find(|key| key.name == "max_line_size").unwrap();
        assert_eq!((size.default.as_str(), size.kind), ("\"256KB\"", "ByteSize"));
    }
}
