//! Who may speak: mutual TLS 1.3 under an authority that is the cluster's own.
//!
//! [`ClusterKey`] is the cluster's one secret. Every node that has it derives the same certificate authority from it
//! and mints itself an Ed25519 certificate at each start ([`Identity::mint`]); no node needs to ask another. A node
//! that joins needs one [`JoinToken`]: the key and somebody's address. A site with its own PKI hands certificates in
//! instead ([`Identity::from_pem`]).
//!
//! Two clusters never mix: their authorities differ, and so do the names their certificates are made out to, which
//! both sides check. So clusters may even share an authority, if each has a name of its own.

mod key;
mod tls;

use std::{sync::Arc, time::Duration};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, PKCS_ED25519, SerialNumber,
};
use rustls::{
    RootCertStore,
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, UnixTime, pem::PemObject},
};

pub use key::{ClusterKey, InvalidToken, JoinToken};
pub(crate) use tls::{client_config, server_config};

use crate::ring::NodeId;

/// How long a minted certificate is valid. Nodes mint a new one at each start, and may do so while running
/// ([`Peers::renew`](crate::endpoint::Peers::renew)); a year leaves room for machines nobody restarts.
pub const VALIDITY: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// 2020-01-01, from when on authorities and minted certificates are valid: long before any node was started, so that
/// peers whose clocks are behind accept it.
const VALID_SINCE: Duration = Duration::from_secs(1_577_836_800);

/// 2120-01-01, when authorities end.
const AUTHORITY_UNTIL: Duration = Duration::from_secs(4_733_510_400);

/// What a node shows of itself and whom it believes.
#[derive(Clone)]
pub struct Identity {
    chain: Vec<CertificateDer<'static>>,
    key: Arc<PrivateKeyDer<'static>>,
    roots: Arc<RootCertStore>,
    /// What certificates of this cluster are made out to.
    name: ServerName<'static>,
    cluster: String,
}

/// Why there is no identity.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// The system gave no entropy.
    #[error("cannot make a key: the system gives no entropy")]
    Entropy,
    /// A certificate could not be made.
    #[error("cannot make a certificate: {0}")]
    Mint(#[from] rcgen::Error),
    /// PEM that holds nothing usable.
    #[error("cannot read {what}: {source}; give PEM as written by `openssl`")]
    Pem {
        /// Which of the inputs.
        what: &'static str,
        /// What the parser says.
        source: rustls::pki_types::pem::Error,
    },
    /// Certificates, key or authority do not fit TLS.
    #[error("cannot use this certificate: {0}")]
    Tls(#[from] rustls::Error),
    /// A cluster's name that cannot stand in a certificate.
    #[error("`{0}` cannot be a cluster's name: use letters, digits and `-`, up to 63 characters")]
    Name(String),
}

impl Identity {
    /// Mints a certificate for `node` under the cluster's authority, valid for [`VALIDITY`] from `now`.
    ///
    /// # Errors
    /// When the system has no entropy for the node's key.
    pub fn mint(key: &ClusterKey, node: &NodeId, now: UnixTime) -> Result<Self, IdentityError> {
        let until = Duration::from_secs(now.as_secs()) + VALIDITY;
        Self::mint_until(key, node, until)
    }

    /// As [`Identity::mint`], valid up to `until`, counted from 1970.
    ///
    /// # Errors
    /// As [`Identity::mint`].
    pub fn mint_until(key: &ClusterKey, node: &NodeId, until: Duration) -> Result<Self, IdentityError> {
        let cluster = key.cluster_name();
        let authority_key = authority_key(key)?;
        let params = authority_params(&cluster)?;
        let authority = params.self_signed(&authority_key)?;
        let issuer = Issuer::from_params(&params, &authority_key);
        let node_key = KeyPair::generate_for(&PKCS_ED25519)?;
        let certificate = node_params(&cluster, node, until)?.signed_by(&node_key, &issuer)?;
        let mut roots = RootCertStore::empty();
        roots.add(authority.der().clone())?;
        let private = PrivatePkcs8KeyDer::from(node_key.serialize_der());
        Ok(Self {
            chain: vec![certificate.der().clone()],
            key: Arc::new(private.into()),
            roots: Arc::new(roots),
            name: server_name(&cluster)?,
            cluster,
        })
    }

    /// Takes certificates from another PKI: the node's chain (its own first), its private key, and the authorities
    /// to believe, all PEM. The node's certificate must be made out to `<cluster>.grapevine.internal`, for both
    /// client and server authentication.
    ///
    /// # Errors
    /// When something cannot be read or does not fit TLS.
    pub fn from_pem(
        chain: &[u8],
        key: &[u8],
        authorities: &[u8],
        cluster: &str,
    ) -> Result<Self, IdentityError> {
        let pem = |what| move |source| IdentityError::Pem { what, source };
        let all = |what, text| -> Result<Vec<CertificateDer<'static>>, IdentityError> {
            CertificateDer::pem_slice_iter(text).collect::<Result<_, _>>().map_err(pem(what))
        };
        let mut roots = RootCertStore::empty();
        for authority in all("the authorities", authorities)? {
            roots.add(authority)?;
        }
        let identity = Self {
            chain: all("the certificate chain", chain)?,
            key: Arc::new(PrivateKeyDer::from_pem_slice(key).map_err(pem("the private key"))?),
            roots: Arc::new(roots),
            name: server_name(cluster)?,
            cluster: cluster.to_owned(),
        };
        tls::check(&identity)?;
        Ok(identity)
    }

    /// The cluster's name: what tells it apart in certificates and in gossip.
    pub fn cluster(&self) -> &str {
        &self.cluster
    }

    /// What certificates of this cluster are made out to.
    pub(crate) fn host_name(&self) -> String {
        self.name.to_str().into_owned()
    }

    /// The node's own certificate, DER.
    pub(crate) fn certificate(&self) -> &[u8] {
        self.chain.first().map_or(&[], |certificate| certificate.as_ref())
    }
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The private key stays out.
        f.debug_struct("Identity").field("cluster", &self.cluster).finish_non_exhaustive()
    }
}

fn server_name(cluster: &str) -> Result<ServerName<'static>, IdentityError> {
    let label = |b: u8| b.is_ascii_alphanumeric() || b == b'-';
    let invalid = || IdentityError::Name(cluster.chars().take(80).collect());
    if cluster.is_empty() || cluster.len() > 63 || !cluster.bytes().all(label) {
        return Err(invalid());
    }
    ServerName::try_from(host_name(cluster)).map_err(|_| invalid())
}

fn host_name(cluster: &str) -> String {
    // `.internal` is reserved for private use (ICANN, 2024) and can belong to nobody else.
    format!("{cluster}.grapevine.internal")
}

/// The authority's key pair, the same on every node.
fn authority_key(key: &ClusterKey) -> Result<KeyPair, IdentityError> {
    // PKCS #8 version 1 of an Ed25519 key (RFC 8410, section 7): a fixed frame and the 32-byte seed.
    let mut der = vec![0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20];
    der.extend_from_slice(&key.authority_seed());
    Ok(KeyPair::from_pkcs8_der_and_sign_algo(&PrivatePkcs8KeyDer::from(der), &PKCS_ED25519)?)
}

/// The authority's certificate; Ed25519 signatures are deterministic, so that it too is the same on every node.
fn authority_params(cluster: &str) -> Result<CertificateParams, IdentityError> {
    let mut params = CertificateParams::new(Vec::new())?;
    params.distinguished_name = common_name(&format!("grapevine cluster {cluster}"));
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    params.serial_number = Some(SerialNumber::from(1_u64));
    params.not_before = rcgen::date_time_ymd(1970, 1, 1) + VALID_SINCE;
    params.not_after = rcgen::date_time_ymd(1970, 1, 1) + AUTHORITY_UNTIL;
    Ok(params)
}

fn node_params(cluster: &str, node: &NodeId, until: Duration) -> Result<CertificateParams, IdentityError> {
    let mut params = CertificateParams::new(vec![host_name(cluster)])?;
    params.distinguished_name = common_name(node.as_str());
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    params.not_before = rcgen::date_time_ymd(1970, 1, 1) + VALID_SINCE;
    params.not_after = rcgen::date_time_ymd(1970, 1, 1) + until.min(AUTHORITY_UNTIL);
    Ok(params)
}

fn common_name(name: &str) -> DistinguishedName {
    let mut distinguished = DistinguishedName::new();
    distinguished.push(DnType::CommonName, name);
    distinguished
}
