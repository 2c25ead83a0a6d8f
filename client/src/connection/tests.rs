use std::io::Write;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType,
};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::{Client, ClientOptions, ConnectError, OptionsError};
use crate::producer::Receipt;
use crate::testing::{TestNode, event, place};
use crate::tls::{Credentials, ServerIs, Transport, TrustDomain, listen, server_config};
use crate::transport::FrameStream;

struct Authority {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Self { pem, issuer: Issuer::new(params, key) }
    }

    /// Authority, certificate and key, as PEM.
    fn pems(&self, path: &str) -> [String; 3] {
        let mut params = CertificateParams::default();
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let uri = format!("spiffe://takt.local/{path}");
        params.subject_alt_names = vec![SanType::URI(uri.as_str().try_into().unwrap())];
        let key = KeyPair::generate().unwrap();
        let cert = params.signed_by(&key, &self.issuer).unwrap();
        [self.pem.clone(), cert.pem(), key.serialize_pem()]
    }

    fn credentials(&self, path: &str) -> Credentials {
        let [ca, cert, key] = self.pems(path);
        Credentials::from_pem(ca.as_bytes(), cert.as_bytes(), key.as_bytes()).unwrap()
    }
}

/// A node on the loopback, whose connections a test can cut.
struct Listening {
    address: SocketAddr,
    connections: Arc<Mutex<Vec<quinn::Connection>>>,
    accepting: JoinHandle<()>,
}

impl Listening {
    fn start(authority: &Authority, node: &TestNode) -> Self {
        let credentials = authority.credentials("plant/munich/node/munich-1");
        let domain = TrustDomain::default();
        let config = server_config(&credentials, &domain, Transport::LocalClient).unwrap();
        let endpoint = listen(SocketAddr::from(([127, 0, 0, 1], 0)), config).unwrap();
        let address = endpoint.local_addr().unwrap();
        let connections = Arc::new(Mutex::new(Vec::new()));
        let (held, serving) = (Arc::clone(&connections), node.clone());
        let accepting = tokio::spawn(async move {
            let mut streams = tokio::task::JoinSet::new();
            while let Some(incoming) = endpoint.accept().await {
                let Ok(connection) = incoming.await else { continue };
                held.lock().unwrap().push(connection.clone());
                let serving = serving.clone();
                streams.spawn(async move {
                    let mut streams = tokio::task::JoinSet::new();
                    while let Ok(stream) = connection.accept_bi().await {
                        streams.spawn(serving.clone().serve(FrameStream::quic(stream)));
                    }
                });
            }
        });
        Self { address, connections, accepting }
    }

    fn cut(&self) {
        for connection in self.connections.lock().unwrap().drain(..) {
            connection.close(7_u32.into(), b"cut by the test");
        }
    }

    fn options(&self, authority: &Authority, server: ServerIs) -> ClientOptions {
        let credentials = authority.credentials("plant/munich/client/mes");
        ClientOptions::new(self.address.to_string(), server, credentials)
    }
}

fn munich() -> ServerIs {
    ServerIs::Plant("munich".to_owned())
}

#[tokio::test]
async fn sessions_survive_their_connection() {
    let authority = Authority::new();
    let (_, node) = TestNode::start(1);
    let listening = Listening::start(&authority, &node);
    let client = Client::connect(listening.options(&authority, munich())).await.unwrap();
    let producer = client.producer("orders").name("mes").build().unwrap();
    for i in 0..5 {
        let receipt = producer.send(event(&format!("{i}"), "")).await.unwrap().await.unwrap();
        assert_eq!(receipt, Receipt::Appended { place: place(0, i), order_sequence: None });
        listening.cut();
    }
    let mut large = event("large", "");
    large.data = vec![7; 800 << 10].into();
    producer.send(large).await.unwrap().await.unwrap();
    producer.close().await.unwrap();
    client.close().await;
    let closed = client.connector.open_stream().await.unwrap_err();
    assert!(matches!(closed, ConnectError::Closed) && closed.is_final());
    assert_eq!(node.model().stored_ids().len(), 6);
    listening.accepting.abort();
}

/// A node admits 32 streams on a connection: the next one goes over another, and both are dialled
/// again.
#[tokio::test]
async fn more_sessions_than_a_connection_admits_take_another() {
    let authority = Authority::new();
    let (_, node) = TestNode::start(1);
    let listening = Listening::start(&authority, &node);
    let client = Client::connect(listening.options(&authority, munich())).await.unwrap();
    let open = |i: u32| client.producer("orders").name(&format!("mes-{i}")).build().unwrap();
    let producers: Vec<_> = (0..40).map(open).collect();
    for round in 0..2 {
        for (i, producer) in producers.iter().enumerate() {
            let sent = producer.send(event(&format!("{round}/{i}"), ""));
            let receipt = timeout(Duration::from_secs(20), async { sent.await.unwrap().await });
            receipt.await.expect("it gets a stream").unwrap();
        }
        assert_eq!(listening.connections.lock().unwrap().len(), 2);
        listening.cut();
    }
    assert_eq!(node.model().stored_ids().len(), 80);
    drop(producers);
    client.close().await;
    listening.accepting.abort();
}

/// Also where the process ends right behind it, with all that could still send.
#[tokio::test]
async fn the_node_is_told_that_a_client_closes() {
    let authority = Authority::new();
    let (_, node) = TestNode::start(1);
    let listening = Listening::start(&authority, &node);
    let options = listening.options(&authority, munich());
    let process = std::thread::spawn(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let client = Client::connect(options).await.unwrap();
            let producer = client.producer("orders").name("mes").build().unwrap();
            producer.send(event("1", "")).await.unwrap().await.unwrap();
            client.close().await;
        });
        runtime.shutdown_background();
    });
    tokio::task::spawn_blocking(|| process.join().unwrap()).await.unwrap();
    let connection = listening.connections.lock().unwrap().pop().unwrap();
    let closed = timeout(Duration::from_secs(20), connection.closed()).await.unwrap();
    let quinn::ConnectionError::ApplicationClosed(closed) = closed else { panic!("{closed}") };
    assert_eq!(closed.error_code, 0_u32.into());
    listening.accepting.abort();
}

#[tokio::test]
async fn who_is_not_expected_is_not_talked_to() {
    let authority = Authority::new();
    let (_, node) = TestNode::start(1);
    let listening = Listening::start(&authority, &node);
    let options = listening.options(&authority, ServerIs::Hub);
    let refused = Client::connect(options).await.unwrap_err();
    assert!(matches!(refused, ConnectError::Server { .. }), "{refused}");
    let mut nowhere = listening.options(&authority, munich());
    nowhere.address = "no port".to_owned();
    let lookup = Client::connect(nowhere).await.unwrap_err();
    assert!(matches!(lookup, ConnectError::Lookup { .. }), "{lookup}");
}

#[tokio::test]
async fn renewed_credentials_count_from_the_next_connection() {
    let authority = Authority::new();
    let (_, node) = TestNode::start(1);
    let listening = Listening::start(&authority, &node);
    let mut options = listening.options(&authority, munich());
    options.credentials = Authority::new().credentials("plant/munich/client/mes");
    let client = Client::lazy(options).unwrap();
    let refused = client.admin().status().await.unwrap_err();
    assert!(refused.to_string().contains("is not trusted"), "{refused}");
    client.renew(&authority.credentials("plant/munich/client/mes")).unwrap();
    let producer = client.producer("orders").build().unwrap();
    timeout(Duration::from_secs(20), producer.ready()).await.unwrap().unwrap();
}

#[test]
fn options_are_read_from_a_file() {
    let folder = std::env::temp_dir().join(format!("takt-client-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let write = |name: &str, text: &str| {
        let path = folder.join(name);
        std::fs::File::create(&path).unwrap().write_all(text.as_bytes()).unwrap();
        path
    };
    let [ca, cert, key] = Authority::new().pems("plant/munich/client/mes");
    write("ca.pem", &ca);
    write("cert.pem", &cert);
    write("key.pem", &key);
    let good = "address = \"127.0.0.1:7070\"\nserver = \"plant/munich\"\n\
        ca = \"ca.pem\"\ncert = \"cert.pem\"\nkey = \"key.pem\"\n";
    let options = ClientOptions::from_file(write("client.toml", good)).unwrap();
    assert_eq!((options.address.as_str(), options.server), ("127.0.0.1:7070", munich()));
    let path = write("server.toml", &good.replace("plant/munich", "munich"));
    assert!(matches!(ClientOptions::from_file(path), Err(OptionsError::Name { .. })));
    let path = write("key.toml", &format!("{good}colour = 1\n"));
    assert!(matches!(ClientOptions::from_file(path), Err(OptionsError::Toml { .. })));
    let path = write("cert.toml", &good.replace("key.pem", "none.pem"));
    assert!(matches!(ClientOptions::from_file(path), Err(OptionsError::Credentials(_))));
    let missing = ClientOptions::from_file(folder.join("none.toml"));
    assert!(matches!(missing, Err(OptionsError::Read { .. })));
    std::fs::remove_dir_all(&folder).unwrap();
}
