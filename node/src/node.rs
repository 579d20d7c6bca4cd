//! A whole node: everything put together, ready to be served.

use std::sync::Arc;
use std::time::Duration;

use grapevine_storage::chunk_store::{BackoffPolicy, ChunkStore, S3Options, StoreLocation, StoreOptions};
use grapevine_storage::index::{Index, IndexOptions};
use grapevine_storage::pack::Level;

use crate::access::Access;
use crate::cluster::status::StatusHandler;
use crate::cluster::{Cluster, methods};
use crate::config::server::ChunkStore as StoreConfig;
use crate::config::{Config, ConfigError};
use crate::deletes::Deletes;
use crate::disk::DiskGate;
use crate::distributor::Distributor;
use crate::env::Env;
use crate::exec::Lane;
use crate::housekeeping::custody::{Custody, Everything};
use crate::housekeeping::retention::Retention;
use crate::housekeeping::{Housekeeper, Parts, rebuild};
use crate::ingester::duty::{Alone, Duty};
use crate::ingester::policy::FlushLimits;
use crate::ingester::ship::{Places, Shipper};
use crate::ingester::spool::Spool;
use crate::ingester::{Ingester, IngesterOptions, Loops};
use crate::limits::TenantLimits;
use crate::metrics::Metrics;
use crate::querier::Querier;
use crate::querier::packs::Packs;
use crate::querier::serve::Reads;
use crate::replication::custody::OwnersCustody;
use crate::replication::duty::OwnersDuty;
use crate::replication::fresh::Fresh;
use crate::replication::pending::Pending;
use crate::replication::staff::Staff;
use crate::replication::{self, Placements, Replication};
use crate::rules::Rules;
use crate::workers::Workers;

/// A node. Shared by all its requests.
#[derive(Debug)]
pub struct Node {
    /// What it lives in.
    pub env: Env,
    /// What it was told.
    pub config: Config,
    /// The limits of its tenants.
    pub limits: Arc<TenantLimits>,
    /// What it counts.
    pub metrics: Arc<Metrics>,
    /// Its place in a cluster; none for a node that stands alone.
    pub cluster: Option<Arc<Cluster>>,
    /// How it holds what others hold too; none for a node that stands alone.
    pub replication: Option<Arc<Replication>>,
    /// Its index.
    pub index: Arc<Index>,
    /// Where its packs go.
    pub store: ChunkStore,
    /// Takes entries in.
    pub ingester: Arc<Ingester>,
    /// Takes pushes in.
    pub distributor: Arc<Distributor>,
    /// What is to be deleted.
    pub deletes: Arc<Deletes>,
    /// The rule groups that it was given.
    pub rules: Arc<Rules>,
    /// Answers queries.
    pub querier: Arc<Querier>,
    /// Who may ask it over HTTP; everyone if there is none.
    pub access: Option<Arc<Access>>,
    /// How full its disk is.
    pub disk: Arc<DiskGate>,
    /// Keeps house; run it beside the loops.
    pub housekeeper: Arc<Housekeeper>,
    /// Who works in the background.
    pub workers: Arc<Workers>,
}

impl Node {
    /// Opens what a node needs and replays its log. Run the [`Loops`] beside it.
    ///
    /// # Errors
    /// Directories that cannot be used. Damage is not an error.
    pub async fn open(env: Env, config: Config, store: ChunkStore) -> anyhow::Result<(Arc<Self>, Loops)> {
        let metrics = Metrics::new();
        let (workers, disk) = (Workers::new(metrics.clone()), Arc::new(DiskGate::default()));
        let limits = Arc::new(config.tenant_limits());
        metrics.show_limits(&limits);
        // First, for what is wrong with it is better told before a long log is replayed than after.
        let cluster = Cluster::open(&env, &config).await?;
        let (index, spool) = open_index_and_spool(&env).await?;
        let announcing = Arc::new(Pending::default());
        let placements = cluster.clone().map(|cluster| Arc::new(Placements::new(cluster)));
        let duty = duty(placements.as_ref(), &announcing);
        let shipper = Shipper::new(
            env.exec.clone(),
            Places { index: index.clone(), spool: spool.clone(), store: store.clone() },
            disk.clone(),
            workers.add("ship", "carries packs from the spool to the chunk store"),
            metrics.clone(),
            duty.clone(),
        );
        let (ingester, loops) = Ingester::open(
            env.clone(),
            ingester_options(&config, cluster.as_deref()),
            index.clone(),
            spool.clone(),
            shipper,
            metrics.clone(),
            duty,
        )
        .await?;
        let me = cluster.as_ref().map(|cluster| cluster.me().as_str());
        let retention = Arc::new(Retention::new(&limits)?);
        let deletes = Deletes::open(env.clone(), limits.clone(), retention.clone(), me).await?;
        let deletes = Arc::new(deletes);
        // Of a node that stands alone nobody has done with anything before.
        if cluster.is_some() && is_empty(&env, &config, &index, &ingester, &store).await? {
            deletes.begin_empty();
        }
        let rules = Arc::new(Rules::open(env.clone(), limits.clone()).await?);
        let replication = cluster.clone().zip(placements.clone()).map(|(cluster, placements)| {
            let parts = replication::Parts {
                env: env.clone(),
                cluster,
                ingester: ingester.clone(),
                index: index.clone(),
                spool: spool.clone(),
                store: store.clone(),
                disk: disk.clone(),
                deletes: deletes.clone(),
                rules: rules.clone(),
                metrics: metrics.clone(),
                staff: Staff::among(&workers, config.cluster.transfer_rate_max.0),
            };
            Replication::open(parts, placements, announcing.clone())
        });
        let distributor = Arc::new(Distributor::new(
            env.clone(),
            limits.clone(),
            ingester.clone(),
            replication.clone(),
            metrics.clone(),
            retention.clone(),
            disk.clone(),
            config.head.inflight_size_max.0,
        ));
        let packs = Arc::new(Packs::new(store.clone(), spool.clone()));
        let querier = Arc::new(Querier::new(
            env.clone(),
            ingester.clone(),
            index.clone(),
            packs,
            deletes.clone(),
            metrics.clone(),
        ));
        let parts = Parts {
            env: env.clone(),
            config: config.clone(),
            retention,
            index: index.clone(),
            store: store.clone(),
            spool,
            metrics: metrics.clone(),
            disk: disk.clone(),
            workers: workers.clone(),
            deletes: deletes.clone(),
            custody: custody(placements.as_ref(), &announcing, &config),
        };
        let housekeeper = Arc::new(Housekeeper::new(parts));
        let node = Arc::new(Node {
            access: open_access(&env, &config).await?,
            housekeeper,
            env,
            config,
            limits,
            metrics,
            cluster,
            replication,
            index,
            store,
            ingester,
            distributor,
            deletes,
            rules,
            querier,
            disk,
            workers,
        });
        node.take_part();
        Ok((node, loops))
    }

    /// From now on it answers the other members of its cluster, and asks them.
    fn take_part(self: &Arc<Self>) {
        let Some(cluster) = &self.cluster else { return };
        cluster.methods().register(&[methods::STATUS], Arc::new(StatusHandler(Arc::downgrade(self))));
        cluster.methods().register(&Reads::METHODS, Arc::new(Reads::new(&self.querier)));
        if let Some(replication) = &self.replication {
            self.querier.join(cluster.clone(), Arc::new(Fresh(replication.clone())));
            cluster.start();
            cluster.run_beside(replication.clone().run());
        }
    }
}

/// The index, and the spool, of which the index knows all.
async fn open_index_and_spool(env: &Env) -> anyhow::Result<(Arc<Index>, Spool)> {
    let [index_dir, spool_dir] = ["index", "spool"].map(|name| env.data_dir.join(name));
    let open = move || {
        let index = Arc::new(Index::open(&index_dir, IndexOptions::default())?);
        let spool = Spool::open(&spool_dir)?;
        rebuild::settle_spool(&index, &spool)?;
        Ok((index, spool))
    };
    env.exec.run(Lane::Disk, open).await
}

/// Who may come in over HTTP; none where anyone may.
async fn open_access(env: &Env, config: &Config) -> anyhow::Result<Option<Arc<Access>>> {
    let users = config.http.users.clone();
    if users.as_os_str().is_empty() {
        return Ok(None);
    }
    Ok(Some(Arc::new(env.exec.run(Lane::Disk, move || Access::open(&users)).await?)))
}

/// Who packs what: a node that stands alone everything, a member what it is the primary of.
fn duty(placements: Option<&Arc<Placements>>, announcing: &Arc<Pending>) -> Arc<dyn Duty> {
    match placements.cloned() {
        None => Arc::new(Alone),
        Some(placement) => Arc::new(OwnersDuty { placement, announcing: announcing.clone() }),
    }
}

/// Whether nothing was here before this start, neither in heads nor in packs. Of a store that all share others take care.
async fn is_empty(
    env: &Env,
    config: &Config,
    index: &Arc<Index>,
    ingester: &Ingester,
    store: &ChunkStore,
) -> anyhow::Result<bool> {
    let index = index.clone();
    let days = env.exec.run(Lane::Disk, move || index.days()).await?;
    if !ingester.heads().is_empty() || !days.is_empty() {
        return Ok(false);
    }
    Ok(!config.server.chunk_store.is_empty() || store.folders("").await?.is_empty())
}

/// Who merges, rewrites and deletes packs. A store that the operator names is taken to be everybody's.
fn custody(
    placements: Option<&Arc<Placements>>,
    announcing: &Arc<Pending>,
    config: &Config,
) -> Arc<dyn Custody> {
    let (announcing, shared_store) = (announcing.clone(), !config.server.chunk_store.is_empty());
    match placements.cloned() {
        None => Arc::new(Everything),
        Some(placement) => Arc::new(OwnersCustody { placement, announcing, shared_store }),
    }
}

/// In a cluster packs are written sooner: until then the other owners keep the pushes as they came, and of as many
/// members' streams as there are replicas.
fn ingester_options(config: &Config, cluster: Option<&Cluster>) -> IngesterOptions {
    let share = cluster.map_or(1, |cluster| cluster.replication_factor() as u64);
    let flush = FlushLimits {
        sealed_bytes_max: config.head.sealed_size_max.0 / share,
        open_bytes_max: config.head.open_size_max.0,
        wal_bytes_max: config.wal.size_max.0,
        age_max: config.head.age_max.0,
        kept_bytes_max: config.head.open_size_max.0 * 2,
    };
    IngesterOptions { flush, segment_bytes: config.wal.segment_size.0, level: Level::default() }
}

/// How long one attempt at the chunk store may take.
const STORE_ATTEMPT: Duration = Duration::from_secs(30);
/// How long an attempt that failed is followed by others: well below `query_timeout`, so that a query answers
/// what it can and says what is missing. Who ships packs comes back by itself.
const STORE_GIVE_UP_AFTER: Duration = Duration::from_secs(5);

/// Opens the chunk store that a configuration names; `variable` reads the environment.
///
/// # Errors
/// An address that cannot be used, or a directory that cannot be made.
pub fn open_store(
    config: &Config,
    seed: u64,
    variable: impl Fn(&str) -> Option<String>,
) -> anyhow::Result<ChunkStore> {
    let location = location(config, variable)?;
    let backoff = BackoffPolicy { give_up_after: STORE_GIVE_UP_AFTER, ..BackoffPolicy::default() };
    let options = StoreOptions { attempt_timeout: STORE_ATTEMPT, backoff, seed };
    Ok(ChunkStore::open(&location, options)?)
}

fn location(
    config: &Config,
    variable: impl Fn(&str) -> Option<String>,
) -> Result<StoreLocation, ConfigError> {
    let s3 = &config.s3;
    let given = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    Ok(match config.chunk_store()? {
        StoreConfig::Directory(path) => StoreLocation::Directory(path),
        StoreConfig::S3 { bucket, prefix } => StoreLocation::S3(
            S3Options {
                bucket,
                prefix,
                endpoint: given(&s3.endpoint),
                region: given(&s3.region),
                access_key_id: given(&s3.access_key_id),
                secret_access_key: given(s3.secret_access_key.reveal()),
                session_token: given(s3.session_token.reveal()),
                path_style: !s3.virtual_hosted_style,
                allow_http: s3.allow_http,
            }
            .or_from_env(variable),
        ),
    })
}
