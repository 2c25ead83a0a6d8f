//! Why a demonstration cannot go on.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use super::log::LogError;
use crate::init::InitError;

/// Why a demonstration cannot go on. What it found is no error of it.
#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    /// The log cannot be played.
    #[error("{}: {source}", path.display())]
    Log {
        /// The file.
        path: PathBuf,
        /// Why.
        source: LogError,
    },
    /// The directory to keep is in use.
    #[error("{} is not empty; name a directory that is not there yet", path.display())]
    NotEmpty {
        /// The directory.
        path: PathBuf,
    },
    /// No certificates and configurations.
    #[error(transparent)]
    Init(#[from] InitError),
    /// The system refuses something.
    #[error("cannot {what}: {source}")]
    Io {
        /// What was tried.
        what: String,
        /// What the system says.
        source: io::Error,
    },
    /// A process does not do its part.
    #[error("the node {node} {why}; its log is {}", log.display())]
    Node {
        /// The node.
        node: &'static str,
        /// What it does.
        why: String,
        /// Where its log is.
        log: PathBuf,
    },
    /// An adapter cannot go on.
    #[error("the adapter of {plant} cannot go on: {why}")]
    Adapter {
        /// Its plant.
        plant: &'static str,
        /// Why.
        why: String,
    },
    /// Something does not come to pass.
    #[error("after {} s {what}", waited.as_secs())]
    Stuck {
        /// What is still so.
        what: String,
        /// How long was waited.
        waited: Duration,
    },
    /// What the hub holds cannot be read.
    #[error("cannot read the hub: {0}")]
    Read(String),
    /// It was told to stop.
    #[error("interrupted")]
    Interrupted,
}

impl DemoError {
    /// The system refuses `what`.
    pub fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let what = what.into();
        move |source| Self::Io { what, source }
    }
}
