//! Why a measurement failed.

use std::io;
use std::time::Duration;

use takt_client::connection::OptionsError;
use takt_client::producer::BuildError;
use takt_client::{AdminError, ConnectError, ConsumeError, PublishError, SendError};
use takt_protocol::words::NameError;

use super::reading::ReadingError;
use crate::init::InitError;
use crate::node::NodeOpenError;

/// Why a measurement failed.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    /// The arguments ask for too much memory.
    #[error(
        "{producers} producers with {window} calls of --batch x (--size + 512) bytes are {bytes} \
         bytes in flight; at most {max} may be"
    )]
    TooMuchInFlight {
        /// Producers.
        producers: u16,
        /// Calls of each.
        window: u16,
        /// What the arguments come to.
        bytes: u64,
        /// The limit, inclusive.
        max: u64,
    },
    /// Files were to be made ready for a node in another process.
    #[error("--spares is for --transport embedded; [journal] spare_files for a node of its own")]
    SparesOfAnother,
    /// Not all files that were asked for came to be.
    #[error("{ready} of {files} files are ready, and no more come: is there room on the disk?")]
    NoSpares {
        /// How many there are.
        ready: usize,
        /// How many were asked for.
        files: usize,
    },
    /// The directory of the node cannot be used.
    #[error("cannot use the directory of the measurement: {0}")]
    Directory(io::Error),
    /// The directory of the node could not be laid out.
    #[error(transparent)]
    Init(#[from] InitError),
    /// The process of the node could not be started.
    #[error("cannot start the node: {0}")]
    Start(io::Error),
    /// The process of the node ended, or said something else than that it is ready.
    #[error("the node did not become ready; it said {said:?}; see its messages above")]
    NotReady {
        /// Its first line.
        said: String,
    },
    /// The embedded node did not open.
    #[error(transparent)]
    Open(#[from] NodeOpenError),
    /// The node could not be ended cleanly.
    #[error("the node did not stop cleanly: {0}")]
    Stop(String),
    /// The context of a client is not usable.
    #[error(transparent)]
    Options(#[from] OptionsError),
    /// The node cannot be reached.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The node refused a question.
    #[error(transparent)]
    Admin(#[from] AdminError),
    /// A name is none.
    #[error(transparent)]
    Name(#[from] NameError),
    /// A producer cannot be made.
    #[error(transparent)]
    Build(#[from] BuildError),
    /// A producer ended.
    #[error(transparent)]
    Send(#[from] SendError),
    /// An event has no receipt.
    #[error("an event was not acknowledged: {0}")]
    Publish(#[from] PublishError),
    /// A new event was not answered as one.
    #[error("a new event was answered with {0}")]
    Verdict(String),
    /// A task of the measurement ended early.
    #[error("a task of the measurement failed: {0}")]
    Task(String),
    /// The node does not hold what it acknowledged.
    #[error("{acknowledged} events were acknowledged as new, but the topic holds {stored} more")]
    Lost {
        /// Receipts that said appended.
        acknowledged: u64,
        /// What the topic's end offsets have grown by.
        stored: u64,
    },
    /// A consumer cannot be made.
    #[error(transparent)]
    BuildConsumer(#[from] takt_client::consumer::BuildError),
    /// A consumer ended.
    #[error(transparent)]
    Consume(#[from] ConsumeError),
    /// A consumer got something else than was published.
    #[error(transparent)]
    Reading(#[from] ReadingError),
    /// A consumer gets nothing more.
    #[error("{read} of {records} events were delivered, and then nothing within {limit:?}")]
    Stalled {
        /// What it has read.
        read: u64,
        /// What there is to be read.
        records: u64,
        /// How long it has waited for more.
        limit: Duration,
    },
    /// A transfer with nothing behind it failed.
    #[error("a transfer over QUIC: {0}")]
    Quic(Box<dyn std::error::Error + Send + Sync>),
    /// Something about this machine could not be read.
    #[error("cannot read processor times: {0}")]
    Cpu(io::Error),
    /// The result could not be printed.
    #[error("cannot print the result: {0}")]
    Print(io::Error),
}

impl BenchError {
    /// Whether it was asked for in a way that makes no sense.
    pub const fn is_usage(&self) -> bool {
        matches!(self, Self::TooMuchInFlight { .. })
    }
}
