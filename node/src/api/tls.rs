//! HTTPS: a listener that gives out connections whose handshake is done, and a certificate that is read again.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, RwLock};
use std::time::Duration;

use anyhow::Context;
use axum::serve::Listener;
use rustls::ServerConfig;
use rustls::crypto::ring::sign::any_supported_type;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// How long a client may take for its handshake.
const HANDSHAKE_MAX: Duration = Duration::from_secs(10);
/// Handshakes under way; beyond it connections wait in the kernel.
const HANDSHAKES_MAX: usize = 256;
/// How long to wait after the kernel gave no connection, as when there are no file descriptors left.
const PAUSE_AFTER_FAILURE: Duration = Duration::from_secs(1);

/// The node's certificate and key, and the files they come from.
#[derive(Debug)]
pub struct Certificate {
    chain: PathBuf,
    key: PathBuf,
    current: RwLock<Arc<CertifiedKey>>,
}

const POISON: &str = "no one panics with the certificate locked";

impl Certificate {
    /// Reads both files.
    ///
    /// # Errors
    /// They cannot be read, or do not belong together.
    pub fn open(chain: &Path, key: &Path) -> anyhow::Result<Self> {
        let current = RwLock::new(Arc::new(read(chain, key)?));
        Ok(Certificate { chain: chain.to_owned(), key: key.to_owned(), current })
    }

    /// Reads both files again; connections from now on see what they hold.
    ///
    /// # Errors
    /// As [`Self::open`]; then everything stays as it was.
    pub fn reload(&self) -> anyhow::Result<()> {
        let read = read(&self.chain, &self.key)?;
        *self.current.write().expect(POISON) = Arc::new(read);
        Ok(())
    }

    /// Both files.
    pub fn files(&self) -> Vec<PathBuf> {
        vec![self.chain.clone(), self.key.clone()]
    }
}

fn read(chain: &Path, key: &Path) -> anyhow::Result<CertifiedKey> {
    let certificates =
        CertificateDer::pem_file_iter(chain).and_then(|all| all.collect::<Result<Vec<_>, _>>());
    let certificates =
        certificates.with_context(|| format!("read the certificate in `{}`", chain.display()))?;
    anyhow::ensure!(!certificates.is_empty(), "`{}` holds no certificate in PEM form", chain.display());
    let secret = PrivateKeyDer::from_pem_file(key);
    let secret = secret.with_context(|| format!("read the key in `{}`", key.display()))?;
    let secret =
        any_supported_type(&secret).with_context(|| format!("use the key in `{}`", key.display()))?;
    let certified = CertifiedKey::new(certificates, secret);
    certified.keys_match().with_context(|| {
        format!("the key in `{}` is not that of the certificate in `{}`", key.display(), chain.display())
    })?;
    Ok(certified)
}

impl ResolvesServerCert for Certificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.current.read().expect(POISON).clone())
    }
}

/// A connection, and who is at its other end.
type Connection = (TlsStream<TcpStream>, SocketAddr);

/// Gives out connections whose handshake is done. A slow one holds up no other.
pub struct TlsListener {
    tcp: TcpListener,
    acceptor: TlsAcceptor,
    handshakes: JoinSet<Option<Connection>>,
}

impl std::fmt::Debug for TlsListener {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TlsListener").field("tcp", &self.tcp).finish_non_exhaustive()
    }
}

impl TlsListener {
    /// Over a listener. The process has installed its provider of cryptography.
    pub fn new(tcp: TcpListener, certificate: Arc<Certificate>) -> Self {
        let mut config = ServerConfig::builder().with_no_client_auth().with_cert_resolver(certificate);
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        TlsListener { tcp, acceptor: TlsAcceptor::from(Arc::new(config)), handshakes: JoinSet::new() }
    }

    fn begin(&mut self, stream: TcpStream, peer: SocketAddr) {
        let handshake = self.acceptor.accept(stream);
        self.handshakes.spawn(async move {
            match tokio::time::timeout(HANDSHAKE_MAX, handshake).await {
                Ok(Ok(stream)) => Some((stream, peer)),
                // Scanners, and clients that do not trust the certificate: theirs to notice.
                Ok(Err(error)) => {
                    tracing::debug!(%peer, %error, "a TLS handshake failed");
                    None
                }
                Err(_) => None,
            }
        });
    }
}

impl Listener for TlsListener {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> Connection {
        loop {
            tokio::select! {
                accepted = self.tcp.accept(), if self.handshakes.len() < HANDSHAKES_MAX => match accepted {
                    Ok((stream, peer)) => self.begin(stream, peer),
                    Err(error) => {
                        tracing::warn!(%error, "no connection can be accepted; it is tried again");
                        tokio::time::sleep(PAUSE_AFTER_FAILURE).await;
                    }
                },
                Some(done) = self.handshakes.join_next() => if let Ok(Some(connection)) = done {
                    return connection;
                },
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.tcp.local_addr()
    }
}
