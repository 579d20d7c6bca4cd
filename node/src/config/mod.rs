//! Configuration: a TOML file, `GRAPEVINE_*` variables, flags; the later beat the earlier.
//!
//! What was written is laid over the defaults as text values, table by table, before any of it is judged: so
//! the three sources cannot differ in what they accept. An unknown key is an error that names the nearest one.
//! The rest of the node receives [`Config`], in which nothing is optional any more.

pub mod cluster;
pub mod http;
pub(crate) mod keys;
pub mod reference;
pub mod server;
mod sources;
pub mod suggest;
pub mod units;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use toml::{Table, Value};

use self::cluster::{Cluster, ClusterWritten};
use self::http::{Http, HttpWritten};
use self::keys::Table as KeyTable;
use self::server::{
    ChunkStore, Disk, DiskWritten, Head, HeadWritten, Housekeeping, HousekeepingWritten, Log, LogWritten, S3,
    S3Written, Server, ServerWritten, Wal, WalWritten,
};
use crate::limits::{Limits, LimitsWritten, TenantLimits};

pub use self::keys::Key;
pub use self::sources::{paths, variable_of};

/// Bytes of a configuration file.
pub const FILE_BYTES_MAX: u64 = 4 << 20;

/// Tenants with limits of their own.
const TENANTS_MAX: usize = 10_000;

/// The configuration that is meant.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Config {
    /// The node itself.
    #[serde(flatten)]
    pub server: Server,
    /// The cluster.
    pub cluster: Cluster,
    /// Who reaches the HTTP API.
    pub http: Http,
    /// Access to S3.
    pub s3: S3,
    /// The write-ahead log.
    pub wal: Wal,
    /// The heads.
    pub head: Head,
    /// The disk.
    pub disk: Disk,
    /// What is done with packs when no one asks.
    pub housekeeping: Housekeeping,
    /// The node's own log.
    pub log: Log,
    /// Limits of every tenant.
    pub limits: Limits,
    /// Tenants with limits of their own.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub tenants: BTreeMap<String, Tenant>,
}

/// What is configured for one tenant.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Tenant {
    /// Its limits, those of everyone where it has none of its own.
    pub limits: Limits,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Written {
    #[serde(flatten)]
    server: ServerWritten,
    cluster: ClusterWritten,
    http: HttpWritten,
    s3: S3Written,
    wal: WalWritten,
    head: HeadWritten,
    disk: DiskWritten,
    housekeeping: HousekeepingWritten,
    log: LogWritten,
    limits: LimitsWritten,
    tenants: BTreeMap<String, TenantWritten>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct TenantWritten {
    limits: LimitsWritten,
}

/// A configuration that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// The file is not TOML, or a value is not of its key's kind.
    #[error("{0}")]
    Syntax(String),
    /// A key that does not exist.
    #[error("unknown key `{key}`{}", hint(.nearest))]
    UnknownKey {
        /// The key with its tables.
        key: String,
        /// The nearest one that exists.
        nearest: Option<String>,
    },
    /// A limit that Loki has and that has no meaning here.
    #[error("`{key}` has no meaning here: {reason}")]
    Elsewhere {
        /// The key with its tables.
        key: String,
        /// Why, and what to do.
        reason: &'static str,
    },
    /// A variable that belongs to no key.
    #[error("unknown variable `{variable}`{}", hint(.nearest))]
    UnknownVariable {
        /// Its name.
        variable: String,
        /// The nearest one that exists.
        nearest: Option<String>,
    },
    /// A value that makes no sense.
    #[error("{0}")]
    Value(String),
}

fn hint(nearest: &Option<String>) -> String {
    nearest.as_ref().map(|name| format!("; did you mean `{name}`?")).unwrap_or_default()
}

/// Every table of keys, in the order of the reference page.
pub fn tables() -> Vec<KeyTable> {
    vec![
        Server::table(),
        Cluster::table(),
        Http::table(),
        S3::table(),
        Wal::table(),
        Head::table(),
        Disk::table(),
        Housekeeping::table(),
        Log::table(),
        Limits::table(),
    ]
}

impl Config {
    /// Puts the configuration together.
    ///
    /// `file` is the text of the TOML file, `variables` the environment (others than `GRAPEVINE_*` are passed
    /// over), `flags` keys with their tables and values, such as `("limits.query_timeout", "5m")`.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn load(
        file: &str,
        variables: impl IntoIterator<Item = (String, String)>,
        flags: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, ConfigError> {
        let table = sources::merged(file, variables, flags)?;
        let written = Value::Table(table)
            .try_into()
            .map_err(|error| ConfigError::Value(error.to_string().trim_end().to_owned()))?;
        Self::meant(written)
    }

    fn meant(written: Written) -> Result<Self, ConfigError> {
        let server = written.server.over(&Server::default());
        let limits = written.limits.over(&Limits::default_for(server.tenancy));
        if written.tenants.len() > TENANTS_MAX {
            let text = format!(
                "`{}` tenants have limits of their own: at most {TENANTS_MAX}",
                written.tenants.len()
            );
            return Err(ConfigError::Value(text));
        }
        let tenants = written.tenants.into_iter();
        let config = Config {
            server,
            cluster: written.cluster.over(&Cluster::default()),
            http: written.http.over(&Http::default()),
            s3: written.s3.over(&S3::default()),
            wal: written.wal.over(&Wal::default()),
            head: written.head.over(&Head::default()),
            disk: written.disk.over(&Disk::default()),
            housekeeping: written.housekeeping.over(&Housekeeping::default()),
            log: written.log.over(&Log::default()),
            tenants: tenants
                .map(|(name, tenant)| (name, Tenant { limits: tenant.limits.over(&limits) }))
                .collect(),
            limits,
        };
        config.validate()?;
        Ok(config)
    }

    /// Checks what types cannot say.
    fn validate(&self) -> Result<(), ConfigError> {
        let value = |text: String| Err(ConfigError::Value(text));
        self.chunk_store()?;
        self.cluster.meant()?;
        let listen = &self.server.http_listen;
        if listen.parse::<std::net::SocketAddr>().is_err() {
            return value(format!(
                "`http_listen` = `{listen}` is not an address and port such as `127.0.0.1:3100`"
            ));
        }
        self.http.validate().map_err(ConfigError::Value)?;
        let disk = &self.disk;
        let ladder = [disk.retention_percent, disk.refuse_percent, disk.read_only_percent, 100];
        if !ladder.is_sorted() {
            return value(format!(
                "`disk` percentages `{}`, `{}`, `{}` must ascend to 100 at most: retention, refuse, read_only",
                ladder[0], ladder[1], ladder[2]
            ));
        }
        for (key, size) in [
            ("wal.segment_size", self.wal.segment_size),
            ("wal.size_max", self.wal.size_max),
            ("head.open_size_max", self.head.open_size_max),
            ("head.sealed_size_max", self.head.sealed_size_max),
            ("head.inflight_size_max", self.head.inflight_size_max),
        ] {
            if size < units::ByteSize::mib(1) {
                return value(format!("`{key}` = `{size}` is too small: `1MB` at least"));
            }
        }
        self.limits.validate().map_err(|error| ConfigError::Value(format!("limits: {error}")))?;
        self.tenants.iter().try_for_each(|(name, tenant)| {
            let error = tenant.limits.validate();
            error.map_err(|error| ConfigError::Value(format!("tenants.{name}.limits: {error}")))
        })
    }

    /// Where packs go.
    ///
    /// # Errors
    /// None, once the configuration has been loaded.
    pub fn chunk_store(&self) -> Result<ChunkStore, ConfigError> {
        self.server.chunk_store().map_err(|error| ConfigError::Value(error.to_string()))
    }

    /// Everyone's limits.
    pub fn tenant_limits(&self) -> TenantLimits {
        let own = self.tenants.iter().map(|(name, tenant)| (name.clone(), tenant.limits.clone()));
        TenantLimits::new(self.limits.clone(), own)
    }

    /// What holds where nothing is said.
    pub fn unsaid() -> Self {
        Self::load("", [], []).expect("nothing is wrong with saying nothing")
    }

    /// The configuration in effect as a TOML file, secrets hidden.
    pub fn to_toml(&self) -> String {
        toml::to_string(self).expect("every key is a TOML value")
    }

    /// The same, of the keys alone that differ from what they are where nothing is said.
    pub fn differences_to_toml(&self) -> String {
        let table = |config: &Config| Table::try_from(config).expect("every key is a TOML value");
        let mut own = table(self);
        leave_out(&mut own, &table(&Config::unsaid()));
        toml::to_string(&own).expect("it was a table")
    }
}

/// Leaves out of a table what another has as well.
fn leave_out(table: &mut Table, other: &Table) {
    table.retain(|key, value| match (value, other.get(key)) {
        (Value::Table(inner), Some(Value::Table(other))) => {
            leave_out(inner, other);
            !inner.is_empty()
        }
        (value, other) => other != Some(value),
    });
}

#[cfg(test)]
mod tests {
    use super::server::{LogFormat, Tenancy};
    use super::units::{ByteSize, Period};
    use super::{Config, ConfigError, paths, variable_of};
    use crate::limits::Limits;

    fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect()
    }

    fn load(file: &str, variables: &[(&str, &str)], flags: &[(&str, &str)]) -> Result<Config, ConfigError> {
        Config::load(file, pairs(variables), pairs(flags))
    }

    #[test]
    fn nothing_written_means_the_defaults() {
        let config = load("", &[("HOME", "/root"), ("GRAPEVINE_CONFIG", "x")], &[]).unwrap();
        let limits = Limits::default_for(Tenancy::Single);
        assert_eq!(config, Config { limits, ..Config::default() });
        let shared = load("tenancy = 'header'", &[], &[]).unwrap();
        assert_eq!(shared.limits, Limits::default());
        assert_eq!(config.server.http_listen, "127.0.0.1:3100");
    }

    #[test]
    fn a_secret_of_digits_is_a_text() {
        let config = load("", &[("GRAPEVINE_S3_SECRET_ACCESS_KEY", "12345678")], &[]).unwrap();
        assert_eq!(config.s3.secret_access_key.reveal(), "12345678");
    }

    #[test]
    fn flags_beat_variables_and_those_the_file() {
        let file = "tenancy = 'header'\nhttp_listen = '[::1]:1'\n[limits]\nmax_line_size = '1KB'\n[tenants.a.limits]\nquery_timeout = '1s'";
        let variables = [
            ("GRAPEVINE_LIMITS_MAX_LINE_SIZE", "2KB"),
            ("GRAPEVINE_LOG_FORMAT", "json"),
            ("GRAPEVINE_DATA_DIR", "/a"),
        ];
        let flags =
            [("data_dir", "/b"), ("limits.discover_service_name", "[]"), ("limits.max_query_series", "7")];
        let config = load(file, &variables, &flags).unwrap();
        assert_eq!((config.server.tenancy, config.server.http_listen.as_str()), (Tenancy::Header, "[::1]:1"));
        assert_eq!((config.limits.max_line_size, config.log.format), (ByteSize::kib(2), LogFormat::Json));
        assert_eq!(config.server.data_dir, std::path::Path::new("/b"));
        let own = config.tenant_limits().of("a").clone();
        assert_eq!((own.query_timeout, own.max_line_size), (Period::seconds(1), ByteSize::kib(2)));
        assert!(own.discover_service_name.is_empty() && own.max_query_series == 7);
    }

    fn check_error(file: &str, variables: &[(&str, &str)], flags: &[(&str, &str)], part: &str) {
        let error = load(file, variables, flags).unwrap_err().to_string();
        assert!(error.contains(part), "{file}: {error}");
    }

    #[test]
    fn what_is_wrong_is_named_with_a_way_out() {
        check_error("datadir = 'x'", &[], &[], "unknown key `datadir`; did you mean `data_dir`?");
        check_error("[wall]", &[], &[], "unknown key `wall`; did you mean `wal`?");
        check_error(
            "[limits]\nmax_lines_size = 1",
            &[],
            &[],
            "unknown key `limits.max_lines_size`; did you mean `max_line_size`?",
        );
        check_error("[tenants.a.limits]\nx = 1", &[], &[], "unknown key `tenants.a.limits.x`");
        let elsewhere = "limits.split_queries_by_interval` has no meaning here: a query is not split by time";
        check_error("[limits]\nsplit_queries_by_interval = '1h'", &[], &[], elsewhere);
        check_error("[tenants.a.limits]\nsplit_queries_by_interval = '1h'", &[], &[], elsewhere);
        check_error("", &[], &[("limits.split_queries_by_interval", "1h")], elsewhere);
        check_error("[tenants.a]\nlimit = {}", &[], &[], "did you mean `limits`?");
        check_error("wal = 5", &[], &[], "write `[wal]`");
        check_error("[tenants]\na = 5", &[], &[], "`tenants.a` is a table");
        check_error("data_dir = ", &[], &[], "line 1, column");
        check_error("[wal]\nsegment_size = 'big'", &[], &[], "`big` is not a size");
        check_error("[wal]\nsegment_size = '1KB'", &[], &[], "`wal.segment_size` = `1KB` is too small");
        check_error("chunk_store = 'ftp://x'", &[], &[], "write `file:///DIR` or `s3://BUCKET/PREFIX`");
        check_error("http_listen = 'localhost'", &[], &[], "is not an address and port");
        check_error("[disk]\nrefuse_percent = 98", &[], &[], "must ascend");
        check_error("[disk]\nread_only_percent = 101", &[], &[], "must ascend");
        check_error(
            "[tenants.a.limits]\nretention_period = '1s'",
            &[],
            &[],
            "tenants.a.limits: `retention_period`",
        );
        check_error("tenancy = 'many'", &[], &[], "unknown variant `many`");
        check_error("", &[("GRAPEVINE_DATADIR", "x")], &[], "did you mean `GRAPEVINE_DATA_DIR`?");
        check_error("", &[], &[("datadir", "x")], "did you mean `data_dir`?");
    }

    #[test]
    fn the_configuration_in_effect_can_be_loaded_again_and_hides_secrets() {
        let file = "[s3]\nsecret_access_key = 'hush'\n[tenants.a.limits]\nretention_stream = [{selector = '{a=\"b\"}', period = '2d'}]";
        let config = load(file, &[], &[]).unwrap();
        let text = config.to_toml();
        assert!(text.contains("<secret>") && !text.contains("hush"), "{text}");
        let mut again = load(&text, &[], &[]).unwrap();
        again.s3.secret_access_key = config.s3.secret_access_key.clone();
        assert_eq!(again, config);
    }

    #[test]
    fn no_two_keys_share_a_variable() {
        let names: std::collections::BTreeSet<_> = paths().iter().map(|path| variable_of(path)).collect();
        assert_eq!(names.len(), paths().len());
    }
}
