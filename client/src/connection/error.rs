//! Why there is no connection.

use std::io;
use std::time::Duration;

use crate::tls::{Refusal, TlsError};
use crate::transport::PipeClosed;

/// Why there is no connection, or no stream over it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// The options make no configuration.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The host's name has no address.
    #[error("cannot find {address}: {source}; give host:port")]
    Lookup {
        /// What was looked up.
        address: String,
        /// What the system said.
        source: io::Error,
    },
    /// No socket to dial from.
    #[error("cannot open a UDP socket: {0}")]
    Socket(#[source] io::Error),
    /// The node did not answer, or refused.
    #[error("cannot connect to {address}: {detail}")]
    Dial {
        /// Host and port.
        address: String,
        /// What is known of the cause.
        detail: String,
    },
    /// Who answered is not who was expected.
    #[error("{address} is not trusted: {refusal}")]
    Server {
        /// Host and port.
        address: String,
        /// What is wrong with its certificate.
        refusal: Box<Refusal>,
    },
    /// The node admits no further stream now.
    #[error(
        "no stream was free for {} s; use fewer producers and consumers per client",
        waited.as_secs()
    )]
    NoStream {
        /// How long one was waited for.
        waited: Duration,
    },
    /// The node lets this identity in, but not to anything. This does not change.
    #[error(
        "{address} refuses this certificate: its identity has no business at this node; use a \
         context made for it"
    )]
    Forbidden {
        /// Host and port.
        address: String,
    },
    /// The embedded node has stopped. This does not change.
    #[error(transparent)]
    Stopped(#[from] PipeClosed),
    /// The client was closed. This does not change.
    #[error("the client was closed")]
    Closed,
}

impl ConnectError {
    /// Whether another attempt makes no sense.
    pub fn is_final(&self) -> bool {
        matches!(self, Self::Forbidden { .. } | Self::Stopped(_) | Self::Closed)
    }
}
