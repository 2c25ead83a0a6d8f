//! Why a system could not be measured.

use std::io;
use std::time::Duration;

use takt_client::connection::OptionsError;
use takt_client::producer::BuildError;
use takt_client::{AdminError, ConnectError, PublishError, SendError};

use crate::server::ServerError;

/// Why a system could not be measured.
#[derive(Debug, thiserror::Error)]
pub enum ContenderError {
    /// A file of it could not be written.
    #[error("cannot write its configuration: {0}")]
    Config(io::Error),
    /// Its server did not start, or not end.
    #[error(transparent)]
    Server(#[from] ServerError),
    /// Another program answers at the port that its server was to have.
    #[error("another server answers at port {port}")]
    Port {
        /// The port.
        port: u16,
    },
    /// `takt init` failed.
    #[error("takt init: {0}")]
    Init(String),
    /// What `takt init` wrote is not usable.
    #[error(transparent)]
    Options(#[from] OptionsError),
    /// Takt cannot be reached.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// Takt refused a question.
    #[error(transparent)]
    Admin(#[from] AdminError),
    /// A producer of Takt could not be made.
    #[error(transparent)]
    Build(#[from] BuildError),
    /// A producer of Takt ended.
    #[error(transparent)]
    Send(#[from] SendError),
    /// Takt did not acknowledge an event.
    #[error("an event was not acknowledged: {0}")]
    Publish(#[from] PublishError),
    /// A new event was taken for another one.
    #[error("a new event was answered with {0}")]
    NotNew(String),
    /// NATS refused, or cannot be reached.
    #[error("NATS: {0}")]
    Nats(Box<dyn std::error::Error + Send + Sync>),
    /// The installed NATS has no batches.
    #[error("nats-server {version} has no atomic batches; 2.12 has")]
    NoBatches {
        /// Its version.
        version: String,
    },
    /// Redis refused, or cannot be reached.
    #[error("Redis: {0}")]
    Redis(#[from] redis::RedisError),
    /// An event has no acknowledgement for so long.
    #[error("nothing was acknowledged within {0:?}")]
    Stalled(Duration),
}

impl ContenderError {
    /// What the client of NATS says, which has an error type for each call.
    pub fn nats(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Nats(error.into())
    }
}
