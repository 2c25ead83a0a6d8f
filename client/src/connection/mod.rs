//! The way to a node: a QUIC connection that is dialled again when it is lost, or a pipe.

mod backoff;
mod error;
mod options;
mod quic;
pub(crate) mod session;

#[cfg(test)]
mod tests;

use std::sync::Arc;

pub use backoff::Backoff;
pub use error::ConnectError;
pub use options::{ClientOptions, OptionsError};
pub use quic::QuicConnector;

use crate::admin::Admin;
use crate::consumer::ConsumerBuilder;
use crate::producer::ProducerBuilder;
use crate::tls::{Credentials, TlsError};
use crate::transport::{FrameStream, PipeConnector};

/// The way to a node. Every session opens streams of its own over it.
#[derive(Debug)]
pub enum Connector {
    /// Over the network. Boxed: it is large.
    Quic(Box<QuicConnector>),
    /// To a node within this process.
    Pipe(PipeConnector),
}

impl Connector {
    /// Opens a stream: one attempt, after the wait that earlier ones that failed have brought.
    ///
    /// # Errors
    /// [`ConnectError`].
    pub async fn open_stream(&self) -> Result<FrameStream, ConnectError> {
        match self {
            Self::Quic(quic) => quic.open().await,
            Self::Pipe(pipe) => Ok(pipe.open().await?),
        }
    }
}

/// A client of one node. Cheap to clone; all clones and all their producers and consumers share
/// one connection, and a further one where the node admits no more streams on it: 32 each, up to 512.
/// What is lost is dialled again.
#[derive(Debug, Clone)]
pub struct Client {
    connector: Arc<Connector>,
}

impl Client {
    /// Connects to a node. Fails where the node does not answer now; afterwards, a lost connection
    /// is a matter of the sessions, which go on over the next one.
    ///
    /// # Errors
    /// [`ConnectError`].
    pub async fn connect(options: ClientOptions) -> Result<Self, ConnectError> {
        let quic = QuicConnector::new(options)?;
        quic.connection().await?;
        Ok(Self::with(Connector::Quic(Box::new(quic))))
    }

    /// A client of the node at `options`, which need not be there yet.
    ///
    /// # Errors
    /// [`TlsError`] where the options make no configuration.
    pub fn lazy(options: ClientOptions) -> Result<Self, TlsError> {
        Ok(Self::with(Connector::Quic(Box::new(QuicConnector::new(options)?))))
    }

    /// A client of a node within this process.
    pub fn over(pipe: PipeConnector) -> Self {
        Self::with(Connector::Pipe(pipe))
    }

    fn with(connector: Connector) -> Self {
        Self { connector: Arc::new(connector) }
    }

    /// Prepares a producer for a topic.
    pub fn producer(&self, topic: &str) -> ProducerBuilder {
        ProducerBuilder::new(Arc::clone(&self.connector), topic)
    }

    /// Prepares a consumer of a topic.
    pub fn consumer(&self, topic: &str) -> ConsumerBuilder {
        ConsumerBuilder::new(Arc::clone(&self.connector), topic)
    }

    /// Questions and orders to the node.
    pub fn admin(&self) -> Admin {
        Admin::new(Arc::clone(&self.connector))
    }

    /// Uses other credentials from the next connection on, such as renewed ones. A pipe has none.
    ///
    /// # Errors
    /// [`TlsError`] where they make no configuration; the old ones stay.
    pub fn renew(&self, credentials: &Credentials) -> Result<(), TlsError> {
        match &*self.connector {
            Connector::Quic(quic) => quic.renew(credentials),
            Connector::Pipe(_) => Ok(()),
        }
    }

    /// Ends the connection for good, under all clones and sessions, and waits until what tells the node
    /// is sent. Without it, and where that is lost, the node notices after 30 s at the latest.
    pub async fn close(&self) {
        match &*self.connector {
            Connector::Quic(quic) => quic.close().await,
            Connector::Pipe(_) => {}
        }
    }
}
