use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn::{ConnectionError, VarInt};
use rcgen::ExtendedKeyUsagePurpose;
use rustls::pki_types::UnixTime;
use rustls::sign::SingleCertAndKey;
use rustls::version::TLS13;

use super::pki::{Authority, Leaf, domain};
use crate::tls::credentials::provider;
use crate::tls::trust::{ClientVerifier, ServerVerifier, Trust};
use crate::tls::{
    ALPN, Credentials, Identity, NameError, PeerError, Refusal, Refusals, SERVER_NAME, ServerIs,
    Transport, client_config, client_config_reporting, dialer, listen, listen_again, peer_identity,
    server_config,
};

const LOOPBACK: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
/// All that a refused peer is told.
const GENERIC: &str = "invalid peer certificate: ApplicationVerificationFailure";

type Met = Result<Result<Identity, PeerError>, ConnectionError>;

/// Lets a client dial a server and gives what the server and the client saw at the end.
async fn meet(server: quinn::ServerConfig, client: quinn::ClientConfig) -> (Met, Met) {
    let listening = listen(LOOPBACK, server).unwrap();
    let address = listening.local_addr().unwrap();
    let serving = tokio::spawn(async move {
        let accepted = listening.accept().await.unwrap().await?;
        let peer = peer_identity(&accepted, &domain());
        accepted.closed().await;
        Ok(peer)
    });
    let dialing = dialer(address).unwrap();
    let dialed = match dialing.connect_with(client, address, SERVER_NAME).unwrap().await {
        Err(error) => Err(error),
        Ok(connection) => {
            // The client is done before the server has judged it: wait for a stream's credit to
            // be used, or for the refusal.
            let (mut send, _receive) = connection.open_bi().await.unwrap();
            send.write_all(b"hello").await.ok();
            tokio::select! {
                error = connection.closed() => Err(error),
                () = confirmed(&connection) => {
                    let peer = peer_identity(&connection, &domain());
                    connection.close(VarInt::from_u32(0), b"");
                    Ok(peer)
                }
            }
        }
    };
    dialing.wait_idle().await;
    (serving.await.unwrap(), dialed)
}

/// Waits until the server has said that it accepts the handshake (its first frame of that kind).
async fn confirmed(connection: &quinn::Connection) {
    while connection.stats().frame_rx.handshake_done == 0 {
        tokio::task::yield_now().await;
    }
}

fn told(met: Met) -> String {
    match met {
        Err(ConnectionError::ConnectionClosed(close)) => {
            String::from_utf8_lossy(&close.reason).into_owned()
        }
        other => panic!("expected to be refused by the peer, got {other:?}"),
    }
}

/// What is wrong with it, the credentials, and whether a refusal says just that.
type Bad = (&'static str, Credentials, fn(&Refusal) -> bool);

struct World {
    ca: Authority,
    other: Authority,
}

impl World {
    fn new() -> Self {
        Self { ca: Authority::new("ours"), other: Authority::new("theirs") }
    }

    /// Credentials which are refused, with why.
    fn bad(&self, good: &dyn Fn() -> Leaf) -> Vec<Bad> {
        use webpki::Error;

        let change = |change: &dyn Fn(&mut Leaf)| {
            let mut leaf = good();
            change(&mut leaf);
            self.ca.credentials(&leaf)
        };
        let elsewhere = "spiffe://elsewhere/hub/node/hub-1";
        vec![
            ("other authority", self.other.credentials_trusting(&good(), &self.ca), |refusal| {
                matches!(refusal, Refusal::Chain(Error::UnknownIssuer))
            }),
            ("expired", change(&|leaf| leaf.years = (2001, 2002)), |refusal| {
                matches!(refusal, Refusal::Chain(Error::CertExpired { .. }))
            }),
            ("not yet valid", change(&|leaf| leaf.years = (3001, 3002)), |refusal| {
                matches!(refusal, Refusal::Chain(Error::CertNotValidYet { .. }))
            }),
            (
                "for signing code",
                change(&|leaf| leaf.purposes = vec![ExtendedKeyUsagePurpose::CodeSigning]),
                |refusal| matches!(refusal, Refusal::Chain(Error::RequiredEkuNotFoundContext(_))),
            ),
            ("no purpose", change(&|leaf| leaf.purposes.clear()), |refusal| {
                matches!(refusal, Refusal::Chain(Error::RequiredEkuNotFoundContext(_)))
            }),
            ("no name", change(&|leaf| leaf.uris.clear()), |refusal| {
                *refusal == Refusal::NoIdentity
            }),
            (
                "two names",
                change(&|leaf| leaf.uris.push("spiffe://takt.local/operator/eve".to_owned())),
                |refusal| *refusal == Refusal::ManyIdentities,
            ),
            (
                "a host name only",
                change(&|leaf| {
                    leaf.uris.clear();
                    leaf.dns = vec!["takt".to_owned(), "takt.local".to_owned()];
                }),
                |refusal| *refusal == Refusal::NoIdentity,
            ),
            (
                "other trust domain",
                change(&|leaf| leaf.uris = vec![elsewhere.to_owned()]),
                |refusal| matches!(refusal, Refusal::Name(NameError::OtherTrustDomain { .. })),
            ),
        ]
    }
}

fn serve(credentials: &Credentials) -> quinn::ServerConfig {
    server_config(credentials, &domain(), Transport::Link).unwrap()
}

fn dial(credentials: &Credentials, expected: &str) -> quinn::ClientConfig {
    let expected = expected.parse().unwrap();
    client_config(credentials, &domain(), expected, Transport::Link).unwrap()
}

#[tokio::test]
async fn a_good_pair_meets_and_knows_each_other() {
    let world = World::new();
    let hub = world.ca.credentials(&Leaf::hub());
    let munich = world.ca.credentials(&Leaf::plant("munich"));
    let (server, client) = meet(serve(&hub), dial(&munich, "hub")).await;
    assert_eq!(server.unwrap().unwrap(), munich.identity(&domain()).unwrap());
    assert_eq!(client.unwrap().unwrap(), hub.identity(&domain()).unwrap());
    let (server, client) = meet(serve(&munich), dial(&hub, "plant/munich")).await;
    assert_eq!(server.unwrap().unwrap(), hub.identity(&domain()).unwrap());
    assert_eq!(client.unwrap().unwrap(), munich.identity(&domain()).unwrap());
}

#[tokio::test]
async fn bad_servers_are_refused_and_not_told_why() {
    let world = World::new();
    let client = world.ca.credentials(&Leaf::plant("munich"));
    for (name, credentials, is_cause) in world.bad(&Leaf::hub) {
        let refusals = Refusals::default();
        let config = client_config_reporting(
            &client,
            &domain(),
            ServerIs::Hub,
            Transport::Link,
            refusals.clone(),
        );
        let (server, client) = meet(serve(&credentials), config.unwrap()).await;
        assert!(matches!(client, Err(ConnectionError::TransportError(_))), "{name}: {client:?}");
        assert_eq!(told(server), GENERIC, "{name}");
        let refusal = refusals.take().unwrap();
        assert!(is_cause(&refusal), "{name}: {refusal:?}");
    }
}

#[tokio::test]
async fn bad_clients_are_refused_and_not_told_why() {
    let world = World::new();
    let hub = world.ca.credentials(&Leaf::hub());
    for (name, credentials, is_cause) in world.bad(&|| Leaf::plant("munich")) {
        let (server, client) = meet(serve(&hub), dial(&credentials, "hub")).await;
        assert!(matches!(server, Err(ConnectionError::TransportError(_))), "{name}: {server:?}");
        assert_eq!(told(client), GENERIC, "{name}");
        let refusal = credentials.check(&domain(), UnixTime::now()).unwrap_err();
        assert!(is_cause(&refusal), "{name}: {refusal:?}");
    }
}

#[tokio::test]
async fn a_certificate_for_one_side_is_not_good_for_the_other() {
    let world = World::new();
    let only =
        |leaf: Leaf, purpose| world.ca.credentials(&Leaf { purposes: vec![purpose], ..leaf });
    let hub = world.ca.credentials(&Leaf::hub());
    let server_only = only(Leaf::plant("munich"), ExtendedKeyUsagePurpose::ServerAuth);
    let (_, client) = meet(serve(&hub), dial(&server_only, "hub")).await;
    assert_eq!(told(client), GENERIC);
    let client_only = only(Leaf::plant("munich"), ExtendedKeyUsagePurpose::ClientAuth);
    let (server, _) = meet(serve(&client_only), dial(&hub, "plant/munich")).await;
    assert_eq!(told(server), GENERIC);
    assert!(client_only.check(&domain(), UnixTime::now()).is_err(), "a node must be both");
}

#[tokio::test]
async fn another_server_than_the_expected_is_refused() {
    let world = World::new();
    let hub = world.ca.credentials(&Leaf::hub());
    let munich = world.ca.credentials(&Leaf::plant("munich"));
    let client = world.ca.credentials(&Leaf::of("spiffe://takt.local/plant/munich/client/mes"));
    for (server, expected) in [
        (&munich, "plant/lyon"),
        (&munich, "hub"),
        (&hub, "plant/munich"),
        (&client, "plant/munich"),
    ] {
        let refusals = Refusals::default();
        let config = client_config_reporting(
            &client,
            &domain(),
            expected.parse().unwrap(),
            Transport::LocalClient,
            refusals.clone(),
        );
        let (server, _) = meet(serve(server), config.unwrap()).await;
        assert_eq!(told(server), GENERIC, "{expected}");
        assert!(matches!(refusals.take(), Some(Refusal::OtherServer { .. })), "{expected}");
    }
}

/// A dialing side that keeps the rules but for `protocols` and, maybe, its own certificate.
fn odd_client(
    credentials: &Credentials,
    certificate: bool,
    protocols: &[&[u8]],
) -> quinn::ClientConfig {
    let trust = Trust::new(credentials.roots(), domain(), Refusals::default());
    let builder = rustls::ClientConfig::builder_with_provider(Arc::new(provider()))
        .with_protocol_versions(&[&TLS13])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(ServerVerifier {
            trust,
            expected: ServerIs::Hub,
        }));
    let mut tls = if certificate {
        let resolver = SingleCertAndKey::from(credentials.certified());
        builder.with_client_cert_resolver(Arc::new(resolver))
    } else {
        builder.with_no_client_auth()
    };
    tls.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
    quinn::ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls).unwrap()))
}

#[tokio::test]
async fn a_client_needs_a_certificate_and_the_protocol() {
    let world = World::new();
    let hub = world.ca.credentials(&Leaf::hub());
    let munich = world.ca.credentials(&Leaf::plant("munich"));
    let (server, _) = meet(serve(&hub), odd_client(&munich, true, &[ALPN])).await;
    assert!(server.is_ok(), "the odd client is odd in nothing else");
    for (certificate, protocols) in
        [(false, &[ALPN][..]), (true, &[]), (true, &[b"h3"]), (true, &[b"takt/2"])]
    {
        let (server, client) = meet(serve(&hub), odd_client(&munich, certificate, protocols)).await;
        assert!(server.is_err() && client.is_err(), "{certificate} {protocols:?}");
    }
}

#[tokio::test]
async fn a_server_needs_the_protocol() {
    let world = World::new();
    let hub = world.ca.credentials(&Leaf::hub());
    let munich = world.ca.credentials(&Leaf::plant("munich"));
    for protocols in [vec![], vec![b"h3".to_vec()]] {
        let trust = Trust::new(hub.roots(), domain(), Refusals::default());
        let mut tls = rustls::ServerConfig::builder_with_provider(Arc::new(provider()))
            .with_protocol_versions(&[&TLS13])
            .unwrap()
            .with_client_cert_verifier(Arc::new(ClientVerifier { trust }))
            .with_cert_resolver(Arc::new(SingleCertAndKey::from(hub.certified())));
        tls.alpn_protocols = protocols;
        let crypto = QuicServerConfig::try_from(tls).unwrap();
        let server = quinn::ServerConfig::with_crypto(Arc::new(crypto));
        let (server, client) = meet(server, dial(&munich, "hub")).await;
        assert!(server.is_err() && client.is_err());
    }
}

#[tokio::test]
async fn nothing_is_resumed_and_only_quic_1_is_spoken() {
    let world = World::new();
    let listening = listen(LOOPBACK, serve(&world.ca.credentials(&Leaf::hub()))).unwrap();
    let address = listening.local_addr().unwrap();
    tokio::spawn(async move {
        while let Some(incoming) = listening.accept().await {
            tokio::spawn(async move { incoming.await.unwrap().closed().await });
        }
    });
    let mut config = dial(&world.ca.credentials(&Leaf::plant("munich")), "hub");
    let dialing = dialer(address).unwrap();
    for _ in 0..2 {
        let connecting = dialing.connect_with(config.clone(), address, SERVER_NAME).unwrap();
        let Err(connecting) = connecting.into_0rtt() else { panic!("0-RTT was offered") };
        let connection = connecting.await.unwrap();
        confirmed(&connection).await;
        assert_eq!(connection.max_datagram_size(), None, "datagrams are off");
        assert_eq!(connection.stats().frame_rx.new_token, 0, "no address tokens");
    }
    config.version(0xff00_001d);
    let refused = dialing.connect_with(config, address, SERVER_NAME);
    assert!(matches!(refused, Err(quinn::ConnectError::UnsupportedVersion)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restarted_node_says_at_once_that_its_connections_are_gone() {
    let world = World::new();
    let hub = world.ca.credentials(&Leaf::hub());
    let (told, address) = std::sync::mpsc::channel();
    let credentials = hub.clone();
    // A process that is killed says nothing, so the tasks end before the handles are dropped.
    let killed = std::thread::spawn(move || {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let handles = runtime.block_on(async {
            let endpoint = listen_again(LOOPBACK, &credentials, serve(&credentials)).unwrap();
            told.send(endpoint.local_addr().unwrap()).unwrap();
            let connection = endpoint.accept().await.unwrap().await.unwrap();
            let stream = connection.accept_bi().await.unwrap();
            (stream, connection, endpoint)
        });
        drop(runtime);
        drop(handles);
    });
    let address = tokio::task::spawn_blocking(move || address.recv().unwrap()).await.unwrap();
    let dialing = dialer(address).unwrap();
    let config = dial(&world.ca.credentials(&Leaf::plant("munich")), "hub");
    let connection = dialing.connect_with(config, address, SERVER_NAME).unwrap().await.unwrap();
    confirmed(&connection).await;
    let (mut send, _receive) = connection.open_bi().await.unwrap();
    send.write_all(b"hello").await.unwrap();
    tokio::task::spawn_blocking(move || killed.join().unwrap()).await.unwrap();
    let _restarted = listen_again(address, &hub, serve(&hub)).unwrap();
    // It fails where a packet sent again has asked before it.
    let _ = send.write_all(b"are you there?").await;
    let closed = tokio::time::timeout(std::time::Duration::from_secs(10), connection.closed());
    assert_eq!(closed.await.unwrap(), ConnectionError::Reset);
}
