//! Those who do not belong: refused, counted, and nothing grows.

use std::{
    io::{self, IoSliceMut},
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use grapevine_gossip::{
    endpoint::{Event, Peers, bind_udp},
    identity::{ClusterKey, Identity, IdentityError},
    limits::HANDSHAKES_MAX,
    rpc::{CallError, NoMethods},
};
use quinn::{
    AsyncUdpSocket, ClientConfig, Endpoint, EndpointConfig, TokioRuntime, UdpPoller,
    crypto::rustls::QuicClientConfig,
    udp::{RecvMeta, Transmit},
};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, PKCS_ED25519};
use rustls::{
    DigitallySignedStruct, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, UnixTime},
};
use tokio::net::UdpSocket;

use crate::{
    methods::{ECHO, Methods},
    node::{NOW, ample, identity, in_time, key, open},
};

/// Still answers its own, and keeps nothing of strangers.
async fn check_unharmed(node: &Peers, address: SocketAddr, identity: &Identity) {
    let (friend, _) = open(identity, NoMethods);
    let answer = friend.call(address, ECHO, Bytes::from_static(b"x"), ample()).await;
    assert_eq!(answer.unwrap(), "x");
    assert_eq!(node.connected(), 1, "only the friend is connected");
    assert_eq!(node.counters().get(Event::Answered), 1);
}

#[tokio::test]
async fn nodes_of_another_cluster_do_not_reach_us() {
    let (node, address) = open(&identity(&key(), "node"), Methods::default());
    let (other, _) = open(&identity(&ClusterKey::from_bytes([2; 32]), "other"), NoMethods);
    let error = other.call(address, ECHO, Bytes::new(), ample()).await.unwrap_err();
    assert!(matches!(error, CallError::Unreachable { .. }), "{error}");
    in_time("counting it", node.counters().reach(Event::HandshakeFailed, 1)).await;
    check_unharmed(&node, address, &identity(&key(), "friend")).await;
}

#[tokio::test]
async fn an_expired_certificate_is_refused_by_either_side() {
    let expired =
        Identity::mint_until(&key(), &"old".parse().unwrap(), NOW - Duration::from_secs(1)).unwrap();
    let (node, address) = open(&identity(&key(), "node"), Methods::default());
    let (old, old_address) = open(&expired, Methods::default());
    assert!(old.call(address, ECHO, Bytes::new(), ample()).await.is_err());
    in_time("counting it", node.counters().reach(Event::HandshakeFailed, 1)).await;
    assert!(node.call(old_address, ECHO, Bytes::new(), ample()).await.is_err());
    assert_eq!(old.counters().get(Event::Answered), 0);
    check_unharmed(&node, address, &identity(&key(), "friend")).await;
}

#[tokio::test]
async fn a_renewed_certificate_is_shown_and_asked_for_from_then_on() {
    let expired =
        Identity::mint_until(&key(), &"old".parse().unwrap(), NOW - Duration::from_secs(1)).unwrap();
    let (node, address) = open(&identity(&key(), "node"), Methods::default());
    let (old, _) = open(&expired, NoMethods);
    old.renew(&identity(&key(), "old")).unwrap();
    assert_eq!(old.call(address, ECHO, Bytes::from_static(b"x"), ample()).await.unwrap(), "x");
    assert_eq!(node.counters().get(Event::HandshakeFailed), 0);
}

/// A site's own authority, and a certificate it made out to `host`, as PEM: authority, chain, key.
fn own_pki(authority: &CertifiedIssuer<'_, KeyPair>, host: &str) -> (String, String, String) {
    let node_key = KeyPair::generate_for(&PKCS_ED25519).unwrap();
    let chain =
        CertificateParams::new(vec![host.to_owned()]).unwrap().signed_by(&node_key, authority).unwrap();
    (authority.pem(), chain.pem(), node_key.serialize_pem())
}

fn authority() -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate_for(&PKCS_ED25519).unwrap()).unwrap()
}

fn own_identity(
    authority: &CertifiedIssuer<'_, KeyPair>,
    host: &str,
    cluster: &str,
) -> Result<Identity, IdentityError> {
    let (roots, chain, key) = own_pki(authority, host);
    Identity::from_pem(chain.as_bytes(), key.as_bytes(), roots.as_bytes(), cluster)
}

#[tokio::test]
async fn clusters_of_one_pki_are_kept_apart_by_name() {
    let authority = authority();
    let east = own_identity(&authority, "east.grapevine.internal", "east").unwrap();
    let (node, address) = open(&east, Methods::default());
    let west = own_identity(&authority, "west.grapevine.internal", "west").unwrap();
    let (other, _) = open(&west, NoMethods);
    assert!(other.call(address, ECHO, Bytes::new(), ample()).await.is_err());
    // One that does not care whom it talks to, but has a certificate of the same authority.
    let (_, chain, key) = own_pki(&authority, "www.site.example");
    intrude(address, Some((&chain, &key)), b"grapevine/1").await;
    in_time("counting both", node.counters().reach(Event::HandshakeFailed, 2)).await;
    check_unharmed(&node, address, &east).await;
}

#[test]
fn a_certificate_made_out_to_others_is_noticed_at_the_start() {
    let authority = authority();
    assert!(own_identity(&authority, "west.grapevine.internal", "east").is_err());
    assert!(own_identity(&authority, "a.grapevine.internal", "a b").is_err());
    assert!(Identity::from_pem(b"", b"", b"", "east").is_err());
}

#[tokio::test]
async fn nobody_gets_in_without_a_certificate_or_with_another_protocol() {
    let (node, address) = open(&identity(&key(), "node"), Methods::default());
    intrude(address, None, b"grapevine/1").await;
    intrude(address, None, b"h3").await;
    in_time("counting both", node.counters().reach(Event::HandshakeFailed, 2)).await;
    check_unharmed(&node, address, &identity(&key(), "friend")).await;
}

/// Connects without checking the server, and waits until it is thrown out.
async fn intrude(address: SocketAddr, certificate: Option<(&str, &str)>, protocol: &[u8]) {
    let endpoint = Endpoint::client(([127, 0, 0, 1], 0).into()).unwrap();
    let connecting = endpoint.connect_with(careless(certificate, protocol), address, "anything").unwrap();
    if let Ok(connection) = connecting.await {
        in_time("being thrown out", connection.closed()).await;
    }
}

fn careless(certificate: Option<(&str, &str)>, protocol: &[u8]) -> ClientConfig {
    use rustls::pki_types::pem::PemObject;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Careless));
    let mut config = match certificate {
        Some((chain, key)) => {
            let chain = vec![CertificateDer::from_pem_slice(chain.as_bytes()).unwrap()];
            let key = PrivatePkcs8KeyDer::from_pem_slice(key.as_bytes()).unwrap();
            builder.with_client_auth_cert(chain, PrivateKeyDer::from(key)).unwrap()
        }
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![protocol.to_vec()];
    ClientConfig::new(Arc::new(QuicClientConfig::try_from(config).unwrap()))
}

#[derive(Debug)]
struct Careless;

impl ServerCertVerifier for Careless {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }
}

#[tokio::test]
async fn garbage_datagrams_are_counted_and_leave_nothing_behind() {
    let (node, address) = open(&identity(&key(), "node"), Methods::default());
    let noise = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let mut draw = grapevine_gossip::ring::Draw::new(1);
    let mut seen = 0;
    for round in 1..=20_u64 {
        for _ in 0..50 {
            let length = 1 + draw.below(1400) as usize;
            let mut datagram: Vec<u8> = (0..length).map(|_| draw.next() as u8).collect();
            noise.send_to(&datagram, address).await.unwrap();
            // One that is certainly foreign, to know when the node has come this far.
            datagram[0] &= 0x3f;
            noise.send_to(&datagram, address).await.unwrap();
        }
        // Half a round suffices: the kernel may drop what comes too fast.
        seen += 25;
        in_time("counting garbage", node.counters().reach(Event::ForeignDatagram, seen)).await;
        assert_eq!(node.held_by_quic(), 0, "after round {round}");
    }
    check_unharmed(&node, address, &identity(&key(), "friend")).await;
}

/// A socket that sends and hears nothing: whoever uses it leaves handshakes half open.
#[derive(Debug)]
struct Deaf(Arc<dyn AsyncUdpSocket>);

impl AsyncUdpSocket for Deaf {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Arc::clone(&self.0).create_io_poller()
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        self.0.try_send(transmit)
    }

    fn poll_recv(
        &self,
        _: &mut Context<'_>,
        _: &mut [IoSliceMut<'_>],
        _: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        Poll::Pending
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }
}

#[tokio::test]
async fn half_open_handshakes_have_few_places_and_little_time() {
    let (node, address) = open(&identity(&key(), "node"), Methods::default());
    let socket = Arc::new(Deaf(bind_udp(([127, 0, 0, 1], 0).into()).unwrap()));
    let config = EndpointConfig::default();
    let scanner = Endpoint::new_with_abstract_socket(config, None, socket, Arc::new(TokioRuntime)).unwrap();
    let mut halves = Vec::new();
    for _ in 0..4 * HANDSHAKES_MAX {
        halves.push(scanner.connect_with(careless(None, b"grapevine/1"), address, "anything").unwrap());
    }
    in_time("asking for a proof of address", node.counters().reach(Event::HandshakeRetried, 1)).await;
    assert!(node.held_by_quic() <= HANDSHAKES_MAX, "{} handshakes are held", node.held_by_quic());
    check_unharmed(&node, address, &identity(&key(), "friend")).await;
    in_time("giving up on them", node.counters().reach(Event::HandshakeTimedOut, 1)).await;
    drop(halves);
    in_time("closing", node.close()).await;
    assert_eq!(node.held_by_quic(), 0);
}
