//! TLS 1.3 settings for both sides of a connection.
//!
//! A session is never resumed and nothing is sent before the handshake is done: each connection verifies
//! certificates anew, and nothing of a stranger's reaches a parser behind TLS.

use std::sync::Arc;

use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, DistinguishedName, Error, ServerConfig,
    SignatureScheme,
    client::{Resumption, WebPkiServerVerifier, danger::HandshakeSignatureValid, verify_server_name},
    crypto::CryptoProvider,
    pki_types::{CertificateDer, ServerName, UnixTime},
    server::{
        ParsedCertificate, WebPkiClientVerifier,
        danger::{ClientCertVerified, ClientCertVerifier},
    },
    time_provider::TimeProvider,
};

use super::Identity;

/// Versions of the protocol spoken over a connection, newest first: TLS picks the first that both know (ALPN).
const PROTOCOLS: [&[u8]; 1] = [b"grapevine/1"];

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// How this node answers those who connect to it.
pub(crate) fn server_config(
    identity: &Identity,
    time: Arc<dyn TimeProvider>,
) -> Result<Arc<QuicServerConfig>, Error> {
    let roots = WebPkiClientVerifier::builder_with_provider(Arc::clone(&identity.roots), provider());
    let inner = roots.build().map_err(|error| Error::General(error.to_string()))?;
    let verifier = Arc::new(ClusterVerifier { inner, name: identity.name.clone() });
    let mut config = ServerConfig::builder_with_details(provider(), time)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_client_cert_verifier(verifier)
        .with_single_cert(identity.chain.clone(), identity.key.clone_key())?;
    config.alpn_protocols = PROTOCOLS.map(<[u8]>::to_vec).to_vec();
    config.send_tls13_tickets = 0;
    let config = QuicServerConfig::try_from(config).map_err(|error| Error::General(error.to_string()))?;
    Ok(Arc::new(config))
}

/// How this node connects to others.
pub(crate) fn client_config(
    identity: &Identity,
    time: Arc<dyn TimeProvider>,
) -> Result<Arc<QuicClientConfig>, Error> {
    let roots = WebPkiServerVerifier::builder_with_provider(Arc::clone(&identity.roots), provider());
    let verifier = roots.build().map_err(|error| Error::General(error.to_string()))?;
    let mut config = ClientConfig::builder_with_details(provider(), time)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_webpki_verifier(verifier)
        .with_client_auth_cert(identity.chain.clone(), identity.key.clone_key())?;
    config.alpn_protocols = PROTOCOLS.map(<[u8]>::to_vec).to_vec();
    config.resumption = Resumption::disabled();
    let config = QuicClientConfig::try_from(config).map_err(|error| Error::General(error.to_string()))?;
    Ok(Arc::new(config))
}

/// Whether TLS can be set up with this identity, and whether its certificate is made out to its cluster.
pub(super) fn check(identity: &Identity) -> Result<(), Error> {
    #[derive(Debug)]
    struct NoTime;
    impl TimeProvider for NoTime {
        fn current_time(&self) -> Option<UnixTime> {
            None
        }
    }
    let Some(own) = identity.chain.first() else { return Err(Error::NoCertificatesPresented) };
    verify_server_name(&ParsedCertificate::try_from(own)?, &identity.name)?;
    server_config(identity, Arc::new(NoTime))?;
    client_config(identity, Arc::new(NoTime)).map(|_| ())
}

/// Accepts whom the authority vouches for *and* whose certificate is made out to this cluster. TLS checks the name
/// of servers only; without this a client from another cluster of the same PKI would come in.
#[derive(Debug)]
struct ClusterVerifier {
    inner: Arc<dyn ClientCertVerifier>,
    name: ServerName<'static>,
}

impl ClientCertVerifier for ClusterVerifier {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        // Strangers are not told whose certificates would be welcome.
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let verified = self.inner.verify_client_cert(end_entity, intermediates, now)?;
        verify_server_name(&ParsedCertificate::try_from(end_entity)?, &self.name)?;
        Ok(verified)
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        // QUIC has TLS 1.3 only.
        Err(Error::InvalidCertificate(CertificateError::BadSignature))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}
