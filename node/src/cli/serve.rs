//! `grapevine serve`: runs a node until it is told to stop.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Args;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::cluster::MemberArgs;
use super::departure::{self, Ending};
use super::exit::{Exit, ExitError};
use super::notify;
use crate::access::watch::on_change;
use crate::api::starting::Door;
use crate::api::tls::{Certificate, TlsListener};
use crate::api::{listen, server};
use crate::config::{Config, FILE_BYTES_MAX, variable_of};
use crate::env::Env;
use crate::logging;
use crate::node::{Node, open_store};

/// How long heads may take to be packed when the node stops; what is not is in the log.
const FLUSH_ON_STOP: Duration = Duration::from_secs(60);

/// Arguments of `grapevine serve`. Each key of the configuration can also be given with --set.
#[derive(Debug, Args)]
pub struct ServeArgs {
    #[command(flatten)]
    pub config: ConfigArgs,
    #[command(flatten)]
    pub member: MemberArgs,
}

/// Where the configuration comes from.
#[derive(Clone, Debug, Default, Args)]
pub struct ConfigArgs {
    /// The configuration file (TOML).
    #[arg(long, env = "GRAPEVINE_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Where the node keeps its log, its index, its spool and, unless told otherwise, its packs.
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// Address and port of the HTTP API [default: 127.0.0.1:3100].
    #[arg(long, value_name = "ADDR:PORT")]
    pub http_listen: Option<String>,
    /// Where packs go: file:///DIR or s3://BUCKET/PREFIX [default: a directory in --data-dir].
    #[arg(long, value_name = "URL")]
    pub chunk_store: Option<String>,
    /// `single`: one tenant; `header`: the tenant is in X-Scope-OrgID [default: single].
    #[arg(long, value_name = "single|header")]
    pub tenancy: Option<String>,
    /// Any other key of the configuration, as in --set limits.retention_period=30d.
    #[arg(long, value_name = "KEY=VALUE", value_parser = pair)]
    pub set: Vec<(String, String)>,
}

fn pair(text: &str) -> std::result::Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("write it as key=value")?;
    Ok((key.trim().to_owned(), value.trim().to_owned()))
}

impl ConfigArgs {
    /// Reads the file, the environment and the flags.
    ///
    /// # Errors
    /// What cannot be used, by name.
    pub fn load(&self) -> Result<Config> {
        self.load_with(Vec::new())
    }

    /// The same with more flags: keys and their values, where one is given.
    ///
    /// # Errors
    /// As [`ConfigArgs::load`].
    pub fn load_with(&self, more: Vec<(&'static str, Option<String>)>) -> Result<Config> {
        let file = match &self.config {
            Some(path) => read(path)?,
            None => String::new(),
        };
        let flags = [
            ("data_dir", self.data_dir.as_ref().map(|dir| dir.display().to_string())),
            ("http_listen", self.http_listen.clone()),
            ("chunk_store", self.chunk_store.clone()),
            ("tenancy", self.tenancy.clone()),
        ];
        let flags = flags.into_iter().chain(more);
        let flags = flags.filter_map(|(key, value)| Some((key.to_owned(), value?)));
        let variables = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
        let variables = credentials()?.into_iter().chain(variables);
        Config::load(&file, variables, flags.chain(self.set.iter().cloned())).map_err(|error| {
            ExitError { exit: Exit::Usage, message: format!("the configuration cannot be used: {error}") }
                .into()
        })
    }
}

/// Keys that may come as systemd credentials, each a file of that name: `LoadCredential=s3.secret_access_key:…`.
const CREDENTIALS: [&str; 4] =
    ["cluster.join", "s3.access_key_id", "s3.secret_access_key", "s3.session_token"];

/// Credentials, as the variables that mean the same; real variables beat them.
fn credentials() -> Result<Vec<(String, String)>> {
    let Some(folder) = std::env::var_os("CREDENTIALS_DIRECTORY") else { return Ok(Vec::new()) };
    let paths = CREDENTIALS.map(|key| (key, std::path::Path::new(&folder).join(key)));
    let given = paths.into_iter().filter(|(_, path)| path.exists());
    given.map(|(key, path)| Ok((variable_of(key), read(&path)?.trim_end().to_owned()))).collect()
}

fn read(path: &std::path::Path) -> Result<String> {
    let usage = |message: String| ExitError { exit: Exit::Usage, message };
    let bytes = std::fs::metadata(path).map(|meta| meta.len());
    if let Ok(bytes) = bytes
        && bytes > FILE_BYTES_MAX
    {
        let text = format!("`{}` has {bytes} bytes, of {FILE_BYTES_MAX} at most", path.display());
        return Err(usage(text).into());
    }
    std::fs::read_to_string(path)
        .map_err(|error| usage(format!("cannot read `{}`: {error}", path.display())).into())
}

/// Runs a node until SIGINT or SIGTERM.
pub async fn run(args: ServeArgs) -> Result<Exit> {
    let config = args.config.load_with(args.member.flags())?;
    logging::start(&config.log)?;
    let (ready, _) = oneshot::channel();
    serve(config, wait_for_stop(), ready).await?;
    Ok(Exit::Done)
}

/// Runs a node until `stop` completes; `ready` learns where it listens once it answers.
///
/// # Errors
/// What keeps a node from starting, with the way out.
pub async fn serve(
    config: Config,
    stop: impl Future<Output = ()> + Send + 'static,
    ready: oneshot::Sender<SocketAddr>,
) -> Result<()> {
    crate::tls::install_crypto();
    let address: SocketAddr = config.server.http_listen.parse().context("read http_listen")?;
    let usage = |message| ExitError { exit: Exit::Usage, message };
    config.http.check_exposure(address).map_err(usage)?;
    let certificate = certificate(&config)?;
    std::fs::create_dir_all(&config.server.data_dir)
        .with_context(|| format!("make the data directory `{}`", config.server.data_dir.display()))?;
    let _lock = lock(&config.server.data_dir)?;
    let env = Env::system(config.server.data_dir.clone());
    let store = open_store(&config, env.seed, |name| std::env::var(name).ok())?;
    let listener = env.net.http(address).await.with_context(|| format!("listen on `{address}`"))?;
    let address = listener.local_addr()?;
    notify::tell(notify::REPLAYING);
    let (opened, node) = oneshot::channel::<Arc<Node>>();
    let (ending, ends) = oneshot::channel();
    let stopped = async {
        let how = departure::wait(stop, node).await;
        notify::tell(notify::STOPPING);
        let _ = ending.send(how); // Who waits for it does so until the end.
        if how == Ending::InOrder {
            tracing::info!("stopping: requests under way are finished, then heads are packed");
        }
    };
    let door = Door::default();
    // Before the log is replayed: who asks meanwhile is told so.
    let routes = door.clone().routes();
    let serving = match certificate.clone() {
        None => tokio::spawn(listen::serve(routes, listener, stopped)),
        Some(certificate) => {
            tokio::spawn(listen::serve(routes, TlsListener::new(listener, certificate), stopped))
        }
    };
    let (node, loops) = Node::open(env, config, store).await?;
    let _ = opened.send(node.clone()); // Nobody waits for it once the node was told to stop.
    let watching = watch(&node, certificate);
    let working = tokio::spawn(loops.run());
    node.housekeeper.prepare().await;
    let keeping = tokio::spawn({
        let node = node.clone();
        async move { Box::pin(node.housekeeper.run(&node.ingester)).await }
    });
    door.open(server::router(node.clone()));
    tracing::info!(%address, version = env!("CARGO_PKG_VERSION"), "grapevine listens");
    notify::tell(notify::READY);
    // Nobody has to wait for it.
    let _ = ready.send(address);
    tokio::select! {
        closed = close(serving, &node) => closed?,
        () = hurried(ends) => {}
    }
    working.abort();
    keeping.abort();
    watching.into_iter().for_each(|task| task.abort());
    Ok(())
}

/// Finishes requests, packs heads and takes leave of the others.
async fn close(serving: JoinHandle<()>, node: &Node) -> Result<()> {
    serving.await.context("serve HTTP")?;
    match tokio::time::timeout(FLUSH_ON_STOP, node.ingester.flush_all()).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => {
            tracing::warn!(error = format!("{error:#}"), "not everything was packed; the log keeps it")
        }
        Err(_) => tracing::warn!("packing took too long and was left; the log keeps everything"),
    }
    if let Some(cluster) = &node.cluster {
        cluster.stop().await;
    }
    Ok(())
}

/// Waits until a node that ends is told to stop once more.
async fn hurried(ends: oneshot::Receiver<Ending>) {
    match ends.await {
        Ok(Ending::AtOnce) => {}
        Ok(Ending::InOrder) => {
            wait_for_stop().await;
            tracing::warn!(
                "told to stop once more: requests and heads are left as they are, the log keeps everything"
            );
        }
        Err(_) => std::future::pending().await,
    }
}

/// What the API shows of itself over TLS, if it is to speak that.
fn certificate(config: &Config) -> Result<Option<Arc<Certificate>>> {
    let http = &config.http;
    let open = || Certificate::open(&http.tls_cert, &http.tls_key).map(Arc::new);
    http.has_tls().then(open).transpose()
}

/// Reads the files of who may come in again when they change.
fn watch(node: &Arc<Node>, certificate: Option<Arc<Certificate>>) -> Vec<JoinHandle<()>> {
    let exec = &node.env.exec;
    let mut tasks = Vec::new();
    if let Some(certificate) = certificate {
        let files = certificate.files();
        tasks.push(tokio::spawn(on_change(exec.clone(), files, "certificate", move || certificate.reload())));
    }
    if let Some(access) = node.access.clone() {
        let files = vec![access.path().to_owned()];
        tasks.push(tokio::spawn(on_change(exec.clone(), files, "users", move || access.reload())));
    }
    tasks
}

/// One process a data directory: the lock goes with the process, however it ends.
pub(super) fn lock(dir: &std::path::Path) -> Result<std::fs::File> {
    let path = dir.join("lock");
    let file = std::fs::File::create(&path).with_context(|| format!("open `{}`", path.display()))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(std::fs::TryLockError::WouldBlock) => {
            let message = format!(
                "`{}` is in use by a node or a command that mends it; stop it, or choose another --data-dir",
                dir.display()
            );
            Err(ExitError { exit: Exit::Usage, message }.into())
        }
        Err(std::fs::TryLockError::Error(error)) => {
            Err(error).with_context(|| format!("lock `{}`", path.display()))
        }
    }
}

/// Waits for SIGINT or SIGTERM.
pub async fn wait_for_stop() {
    use tokio::signal::unix::{SignalKind, signal};
    let mut signals = [SignalKind::interrupt(), SignalKind::terminate()]
        .map(|kind| signal(kind).expect("these signals can be caught"));
    let [interrupt, terminate] = &mut signals;
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
}
