//! Why a run gives no answer.

use std::io;

/// Why a run gives no answer. It is made again from its journal file.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// There is no such file.
    #[error("the run {name} is missing")]
    Missing {
        /// The file's name.
        name: String,
    },
    /// It is not what the manifest says, or it rotted.
    #[error("the run {name} is damaged: {what}")]
    Corrupt {
        /// The file's name.
        name: String,
        /// What is wrong with it.
        what: &'static str,
    },
    /// It is of another format version.
    #[error("the run {name} has format version {version}, which is not known")]
    Version {
        /// The file's name.
        name: String,
        /// The version.
        version: u16,
    },
    /// The disk failed.
    #[error("the run {name} could not be read")]
    Io {
        /// The file's name.
        name: String,
        /// What the disk said.
        #[source]
        error: io::Error,
    },
}
