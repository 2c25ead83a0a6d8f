//! Why a kept file gives no answer.

use std::io;

/// Why a side file or a pack gives no answer.
#[derive(Debug, thiserror::Error)]
pub enum KeptError {
    /// There is no such file.
    #[error("{name} is missing")]
    Missing {
        /// The file's name.
        name: String,
    },
    /// It is not what the manifest says, or it rotted.
    #[error("{name} is damaged: {what}")]
    Corrupt {
        /// The file's name.
        name: String,
        /// What is wrong with it.
        what: &'static str,
    },
    /// It is of another format version.
    #[error("{name} has format version {version}, which is not known")]
    Version {
        /// The file's name.
        name: String,
        /// The version.
        version: u16,
    },
    /// The disk failed.
    #[error("{name} could not be read")]
    Io {
        /// The file's name.
        name: String,
        /// What the disk said.
        #[source]
        error: io::Error,
    },
}
