//! QUIC connections that are shared by sessions and dialled again when they are lost: one, and further
//! ones where the node admits no more streams on those that are there.

use std::io;
use std::net::SocketAddr;
use std::sync::{Mutex as SyncMutex, PoisonError};
use std::time::Duration;

use quinn::{ClientConfig, Connection, ConnectionError, Endpoint, VarInt};
use takt_protocol::codes::ErrorCode;
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::{Backoff, ClientOptions, ConnectError};
use crate::tls::{
    Credentials, Refusals, SERVER_NAME, ServerIs, TlsError, Transport, TrustDomain,
    client_config_reporting, dialer,
};
use crate::transport::FrameStream;

/// How long a handshake may take.
const DIAL: Duration = Duration::from_secs(10);
/// How long to wait for the peer to admit one more stream.
const OPEN: Duration = Duration::from_secs(10);
/// How long the end of a connection may take to be sent, and how often that is looked at.
const TELL: Duration = Duration::from_millis(100);
const LOOK: Duration = Duration::from_millis(1);
/// How many connections one client may have: 512 streams at a node, which admits 32 on each.
const CONNECTIONS_MAX: usize = 16;

/// Dials a node and opens streams to it.
#[derive(Debug)]
pub struct QuicConnector {
    address: String,
    server: ServerIs,
    trust_domain: TrustDomain,
    transport: Transport,
    refusals: Refusals,
    config: SyncMutex<ClientConfig>,
    line: Mutex<Line>,
}

#[derive(Debug, Default)]
struct Line {
    endpoint: Option<Endpoint>,
    /// Oldest first.
    connections: Vec<Connection>,
    backoff: Backoff,
    not_before: Option<Instant>,
    closed: bool,
}

impl QuicConnector {
    /// Nothing is dialled yet.
    ///
    /// # Errors
    /// [`TlsError`] where the options make no configuration.
    pub fn new(options: ClientOptions) -> Result<Self, TlsError> {
        let ClientOptions { address, server, credentials, trust_domain, transport } = options;
        let refusals = Refusals::default();
        let config = client_config_reporting(
            &credentials,
            &trust_domain,
            server.clone(),
            transport,
            refusals.clone(),
        )?;
        Ok(Self {
            address,
            server,
            trust_domain,
            transport,
            refusals,
            config: SyncMutex::new(config),
            line: Mutex::default(),
        })
    }

    /// Uses other credentials from the next attempt on, such as renewed ones.
    ///
    /// # Errors
    /// [`TlsError`] where they make no configuration; the old ones stay.
    pub fn renew(&self, credentials: &Credentials) -> Result<(), TlsError> {
        let config = client_config_reporting(
            credentials,
            &self.trust_domain,
            self.server.clone(),
            self.transport,
            self.refusals.clone(),
        )?;
        *self.config.lock().unwrap_or_else(PoisonError::into_inner) = config;
        Ok(())
    }

    /// Opens a stream, over a connection that is there or a new one: one attempt, after the wait
    /// that earlier ones that failed have brought.
    ///
    /// # Errors
    /// [`ConnectError`].
    pub async fn open(&self) -> Result<FrameStream, ConnectError> {
        // Whoever else needs a connection waits here for the one that is being dialled.
        let mut line = self.line.lock().await;
        self.tidy(&mut line)?;
        for connection in &line.connections {
            // At once, or not on this one.
            match timeout(Duration::ZERO, connection.open_bi()).await {
                Ok(Ok(stream)) => return Ok(FrameStream::quic(stream)),
                Ok(Err(error)) => return Err(self.failed(&error)),
                Err(_) => {}
            }
        }
        let full = line.connections.last().filter(|_| line.connections.len() >= CONNECTIONS_MAX);
        let connection = match full.cloned() {
            Some(full) => full,
            None => self.one_more(&mut line).await?,
        };
        drop(line);
        match timeout(OPEN, connection.open_bi()).await {
            Ok(Ok(stream)) => Ok(FrameStream::quic(stream)),
            Ok(Err(error)) => Err(self.failed(&error)),
            Err(_) => Err(ConnectError::NoStream { waited: OPEN }),
        }
    }

    /// The connection that is there or a new one.
    ///
    /// # Errors
    /// As [`QuicConnector::open`].
    pub async fn connection(&self) -> Result<Connection, ConnectError> {
        let mut line = self.line.lock().await;
        self.tidy(&mut line)?;
        match line.connections.first() {
            Some(live) => Ok(live.clone()),
            None => self.one_more(&mut line).await,
        }
    }

    /// Forgets connections that are lost.
    fn tidy(&self, line: &mut Line) -> Result<(), ConnectError> {
        if line.closed {
            return Err(ConnectError::Closed);
        }
        let mut forbidden = false;
        line.connections.retain(|connection| {
            let lost = connection.close_reason();
            if let Some(ConnectionError::ApplicationClosed(close)) = &lost {
                forbidden |= close.error_code == VarInt::from_u32(ErrorCode::Forbidden.number());
            }
            lost.is_none()
        });
        if forbidden {
            return Err(ConnectError::Forbidden { address: self.address.clone() });
        }
        Ok(())
    }

    async fn one_more(&self, line: &mut Line) -> Result<Connection, ConnectError> {
        let further = !line.connections.is_empty();
        if let Some(not_before) = line.not_before {
            sleep_until(not_before).await;
        }
        // Set before the attempt: it may be dropped half-way.
        line.not_before = Some(Instant::now() + line.backoff.wait());
        let connection = self.dial(line).await?;
        line.backoff.reset();
        if further {
            // None was lost: the next one needs no pause.
            line.not_before = None;
        }
        line.connections.push(connection.clone());
        Ok(connection)
    }

    /// Ends the connections for good, and waits until the datagrams that tell the peer are sent. It does
    /// not wait for as long as QUIC would repeat them: a peer that misses them finds out when it hears
    /// nothing more.
    pub async fn close(&self) {
        let mut line = self.line.lock().await;
        line.closed = true;
        let sent = |connection: &Connection| connection.stats().udp_tx.datagrams;
        let mut closing = Vec::new();
        for connection in line.connections.drain(..) {
            if connection.close_reason().is_none() {
                connection.close(VarInt::from_u32(0), b"done");
                // From now on it sends nothing but that. Where it has done so already, TELL passes in vain.
                let before = sent(&connection);
                closing.push((connection, before));
            }
        }
        let told = async {
            for (connection, before) in closing {
                while sent(&connection) == before {
                    sleep(LOOK).await;
                }
            }
        };
        let _ = timeout(TELL, told).await;
        line.endpoint = None;
    }

    async fn dial(&self, line: &mut Line) -> Result<Connection, ConnectError> {
        let address = self.look_up().await?;
        let fits = |endpoint: &Endpoint| {
            endpoint.local_addr().is_ok_and(|local| local.is_ipv4() == address.is_ipv4())
        };
        let endpoint = match line.endpoint.take().filter(fits) {
            Some(endpoint) => endpoint,
            None => dialer(address).map_err(ConnectError::Socket)?,
        };
        let endpoint = line.endpoint.insert(endpoint);
        let mut config = self.config.lock().unwrap_or_else(PoisonError::into_inner).clone();
        config.transport_config(self.transport.towards(address));
        let connecting = endpoint
            .connect_with(config, address, SERVER_NAME)
            .map_err(|error| self.failed(&error))?;
        match timeout(DIAL, connecting).await {
            Ok(Ok(connection)) => Ok(connection),
            Ok(Err(error)) => Err(self.failed(&error)),
            Err(_) => Err(self.failed(&"no answer within 10 s")),
        }
    }

    async fn look_up(&self) -> Result<SocketAddr, ConnectError> {
        let failed = |source| ConnectError::Lookup { address: self.address.clone(), source };
        let mut found = tokio::net::lookup_host(&self.address).await.map_err(failed)?;
        found.next().ok_or_else(|| failed(io::Error::other("the name has no address")))
    }

    fn failed(&self, cause: &dyn ToString) -> ConnectError {
        let address = self.address.clone();
        match self.refusals.take() {
            Some(refusal) => ConnectError::Server { address, refusal: Box::new(refusal) },
            None => ConnectError::Dial { address, detail: cause.to_string() },
        }
    }
}
