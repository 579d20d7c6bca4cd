//! Opens the data directory of a stopped node, for commands that mend it.

use std::sync::Arc;

use anyhow::Result;
use grapevine_storage::chunk_store::ChunkStore;
use grapevine_storage::index::{Index, IndexOptions};

use super::serve::{ConfigArgs, lock};
use crate::cluster::home;
use crate::deletes::Deletes;
use crate::disk::DiskGate;
use crate::env::Env;
use crate::housekeeping::custody::Everything;
use crate::housekeeping::retention::Retention;
use crate::housekeeping::{Housekeeper, Parts};
use crate::ingester::spool::Spool;
use crate::metrics::Metrics;
use crate::node::open_store;
use crate::workers::Workers;

/// What a stopped node left.
pub(super) struct Stopped {
    pub(super) keeper: Housekeeper,
    pub(super) index: Arc<Index>,
    pub(super) store: ChunkStore,
    pub(super) spool: Spool,
    /// Whether it belongs to a cluster.
    pub(super) is_member: bool,
    /// No node may start meanwhile.
    _lock: std::fs::File,
}

/// Opens index, spool and chunk store, and keeps nodes from starting on them.
///
/// # Errors
/// A node runs on the directory, or something cannot be opened.
pub(super) async fn open(args: &ConfigArgs) -> Result<Stopped> {
    let config = args.load()?;
    crate::tls::install_crypto();
    let dir = config.server.data_dir.clone();
    anyhow::ensure!(
        dir.is_dir(),
        "`{}` is not there; name a node's directory with --data-dir",
        dir.display()
    );
    let _lock = lock(&dir)?;
    let env = Env::system(dir.clone());
    let store = open_store(&config, env.seed, |name| std::env::var(name).ok())?;
    let index = Arc::new(Index::open(&dir.join("index"), IndexOptions::default())?);
    let spool = Spool::open(&dir.join("spool"))?;
    let limits = Arc::new(config.tenant_limits());
    let retention = Arc::new(Retention::new(&limits)?);
    let deletes = Arc::new(Deletes::open(env.clone(), limits, retention.clone(), None).await?);
    let is_member = home::key(&dir)?.is_some();
    let metrics = Metrics::new();
    let parts = Parts {
        custody: Arc::new(Everything),
        env,
        config,
        retention,
        index: index.clone(),
        store: store.clone(),
        spool: spool.clone(),
        disk: Arc::new(DiskGate::default()),
        workers: Workers::new(metrics.clone()),
        metrics,
        deletes,
    };
    Ok(Stopped { keeper: Housekeeper::new(parts), index, store, spool, is_member, _lock })
}
