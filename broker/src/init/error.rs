//! Why `takt init` could not make all.

use std::io;
use std::path::PathBuf;

use takt_client::tls::{CredentialsError, NameError, Refusal};

use super::pki::PkiError;
use crate::config::ConfigError;

/// Why not all was made. What was made before stays, and is kept by the next run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InitError {
    /// Neither a hub nor a plant was asked for.
    #[error("nothing to make; give --hub, --plant NAME or both")]
    Nothing,
    /// A plant's name cannot be one.
    #[error("plant name: {0}")]
    Name(#[from] NameError),
    /// A file or directory could not be read or made.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// With which path.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Of a certificate and its key, one is there and one is not.
    #[error(
        "{} is there but {} is not; put it back, or replace both with --force",
        present.display(), missing.display()
    )]
    Incomplete {
        /// The file that is there.
        present: PathBuf,
        /// The one that is not.
        missing: PathBuf,
    },
    /// The authority's certificate is there without its key, so that nothing can be issued.
    #[error(
        "{} is not there; bring the key back to issue more certificates, or begin anew in \
         another directory", path.display()
    )]
    NoAuthorityKey {
        /// Where the key should be.
        path: PathBuf,
    },
    /// A certificate or key could not be made.
    #[error("cannot make a certificate: {0}")]
    Issue(#[from] PkiError),
    /// What was issued is not loadable with the authority's certificate.
    #[error("certificates issued with {} are not usable: {source}", path.display())]
    Unusable {
        /// The authority's key.
        path: PathBuf,
        /// Why not.
        source: CredentialsError,
    },
    /// What was issued does not chain to the authority's certificate, which is from somewhere else
    /// or of another trust domain.
    #[error(
        "certificates issued with {} are refused: {source}; do ca.pem and ca.key belong together, \
         and to this trust domain?", path.display()
    )]
    Refused {
        /// The authority's key.
        path: PathBuf,
        /// Why.
        source: Box<Refusal>,
    },
    /// A configuration that is there, and is needed to know ports or the hub, is wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// There are not enough ports behind the first.
    #[error("no port is left behind {base}; give a lower --port-base")]
    NoPort {
        /// The first port.
        base: u16,
    },
}
