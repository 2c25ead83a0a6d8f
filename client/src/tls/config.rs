//! Complete QUIC configurations for both sides, and the endpoints to use them with.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;

use quinn::crypto::rustls::{NoInitialCipherSuite, QuicClientConfig, QuicServerConfig};
use quinn::{EndpointConfig, ValidationTokenConfig};
use rustls::client::Resumption;
use rustls::server::NoServerSessionStorage;
use rustls::sign::SingleCertAndKey;
use rustls::version::TLS13;

use super::credentials::provider;
use super::transport::MTU_BYTES_LOOPBACK;
use super::trust::{ClientVerifier, ServerVerifier, Trust};
use super::{Credentials, Refusals, ServerIs, Transport, TrustDomain};

/// The protocol name that both sides must offer. Without it there is no connection.
pub const ALPN: &[u8] = b"takt/1";

/// What to give as the server's name to [`quinn::Endpoint::connect_with`]. It is neither sent nor
/// compared: a server is known by the identity in its certificate.
pub const SERVER_NAME: &str = "takt";

/// QUIC version 1 (RFC 9000); the drafts that quinn also knows are off.
const QUIC_V1: u32 = 1;
/// Connections whose handshake has not been answered yet.
const INCOMING_MAX: usize = 1_024;
/// Bytes buffered for one of them, and for all.
const INCOMING_BYTES_MAX: u64 = 64 << 10;
const INCOMING_BYTES_TOTAL_MAX: u64 = 16 << 20;

/// Why a configuration could not be made. None of this depends on a peer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// The TLS library refused the settings.
    #[error("TLS configuration: {0}")]
    Rustls(#[from] rustls::Error),
    /// The cryptography lacks the cipher that QUIC begins with.
    #[error("TLS configuration: {0}")]
    Cipher(#[from] NoInitialCipherSuite),
}

/// The configuration of a listening node: TLS 1.3 only, every peer with a certificate, no tickets,
/// no 0-RTT, no tokens beyond Retry.
///
/// # Errors
/// [`TlsError`]; not for anything in the credentials.
pub fn server_config(
    credentials: &Credentials,
    trust_domain: &TrustDomain,
    transport: Transport,
) -> Result<quinn::ServerConfig, TlsError> {
    let trust = Trust::new(credentials.roots(), trust_domain.clone(), Refusals::default());
    let mut tls = rustls::ServerConfig::builder_with_provider(Arc::new(provider()))
        .with_protocol_versions(&[&TLS13])?
        .with_client_cert_verifier(Arc::new(ClientVerifier { trust }))
        .with_cert_resolver(Arc::new(SingleCertAndKey::from(credentials.certified())));
    tls.alpn_protocols = vec![ALPN.to_vec()];
    tls.max_early_data_size = 0;
    tls.send_tls13_tickets = 0;
    tls.max_tls13_tickets = 0;
    tls.session_storage = Arc::new(NoServerSessionStorage {});

    let mut tokens = ValidationTokenConfig::default();
    tokens.sent(0);
    let crypto = QuicServerConfig::try_from(tls)?;
    let mut config = quinn::ServerConfig::with_crypto(Arc::new(crypto));
    config
        .transport_config(transport.listening())
        .validation_token_config(tokens)
        .migration(transport.migration())
        .max_incoming(INCOMING_MAX)
        .incoming_buffer_size(INCOMING_BYTES_MAX)
        .incoming_buffer_size_total(INCOMING_BYTES_TOTAL_MAX);
    Ok(config)
}

/// The configuration of a dialing side that accepts only the server `expected`, whose path
/// is not known: see [`Transport::towards`].
///
/// # Errors
/// As [`server_config`].
pub fn client_config(
    credentials: &Credentials,
    trust_domain: &TrustDomain,
    expected: ServerIs,
    transport: Transport,
) -> Result<quinn::ClientConfig, TlsError> {
    client_config_reporting(credentials, trust_domain, expected, transport, Refusals::default())
}

/// As [`client_config`]; why a server's certificate was refused can be asked from `refusals` after
/// a connection has failed. The error of the connection itself only says that it was.
///
/// # Errors
/// As [`server_config`].
pub fn client_config_reporting(
    credentials: &Credentials,
    trust_domain: &TrustDomain,
    expected: ServerIs,
    transport: Transport,
    refusals: Refusals,
) -> Result<quinn::ClientConfig, TlsError> {
    let trust = Trust::new(credentials.roots(), trust_domain.clone(), refusals);
    let mut tls = rustls::ClientConfig::builder_with_provider(Arc::new(provider()))
        .with_protocol_versions(&[&TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(ServerVerifier { trust, expected }))
        .with_client_cert_resolver(Arc::new(SingleCertAndKey::from(credentials.certified())));
    tls.alpn_protocols = vec![ALPN.to_vec()];
    tls.resumption = Resumption::disabled();
    tls.enable_early_data = false;
    tls.enable_sni = false;

    let mut config = quinn::ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls)?));
    config
        .transport_config(transport.dialing())
        .token_store(Arc::new(quinn::NoneTokenStore))
        .version(QUIC_V1);
    Ok(config)
}

/// The configuration of every endpoint: QUIC version 1 and nothing else.
fn endpoint_config() -> EndpointConfig {
    let mut config = EndpointConfig::default();
    config.supported_versions(vec![QUIC_V1]);
    config
}

/// The same for one whose peers may be on the same machine.
fn loopback_config() -> EndpointConfig {
    let mut config = endpoint_config();
    config.max_udp_payload_size(MTU_BYTES_LOOPBACK).expect("more than QUIC's least");
    config
}

/// Opens an endpoint that listens on `address`. Must be called within a tokio runtime.
///
/// # Errors
/// What the system says of the socket.
pub fn listen(address: SocketAddr, config: quinn::ServerConfig) -> io::Result<quinn::Endpoint> {
    let socket = UdpSocket::bind(address)?;
    quinn::Endpoint::new(loopback_config(), Some(config), socket, runtime())
}

/// As [`listen`], for a node that may be restarted: with the same private key as before it
/// recognises the connections of the process before it, and tells their peers at their next packet
/// that they are gone. Without that they would wait for the idle timeout.
///
/// # Errors
/// As [`listen`].
pub fn listen_again(
    address: SocketAddr,
    credentials: &Credentials,
    config: quinn::ServerConfig,
) -> io::Result<quinn::Endpoint> {
    let socket = UdpSocket::bind(address)?;
    let mut endpoint = loopback_config();
    endpoint.cid_generator(|| Box::new(super::reset::RandomIds)).reset_key(credentials.reset_key());
    quinn::Endpoint::new(endpoint, Some(config), socket, runtime())
}

/// Opens an endpoint that only dials, from a free port of the address family of `peer`. Must be
/// called within a tokio runtime.
///
/// # Errors
/// What the system says of the socket.
pub fn dialer(peer: SocketAddr) -> io::Result<quinn::Endpoint> {
    let local: SocketAddr = match peer {
        SocketAddr::V4(_) => ([0, 0, 0, 0], 0).into(),
        SocketAddr::V6(_) => ([0_u16; 8], 0).into(),
    };
    let config = if peer.ip().is_loopback() { loopback_config() } else { endpoint_config() };
    quinn::Endpoint::new(config, None, UdpSocket::bind(local)?, runtime())
}

fn runtime() -> Arc<dyn quinn::Runtime> {
    Arc::new(quinn::TokioRuntime)
}
