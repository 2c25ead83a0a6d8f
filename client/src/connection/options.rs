//! Whom to talk to, and as whom.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::tls::{Credentials, CredentialsError, NameError, ServerIs, Transport, TrustDomain};

/// Whom a client talks to, and as whom.
#[derive(Debug, Clone)]
pub struct ClientOptions {
    /// Host and port; the host is looked up at each attempt.
    pub address: String,
    /// Who must answer there.
    pub server: ServerIs,
    /// The own certificate and key, and the authority that is trusted.
    pub credentials: Credentials,
    /// The trust domain of all certificates.
    pub trust_domain: TrustDomain,
    /// What the connection is for.
    pub transport: Transport,
}

/// Why options could not be read from a file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OptionsError {
    /// The file could not be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// Its path.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file is not TOML, or has a key too many or too few.
    #[error("{}: {source}", path.display())]
    Toml {
        /// Its path.
        path: PathBuf,
        /// What is wrong, with its place.
        source: Box<toml::de::Error>,
    },
    /// A name in it is none.
    #[error("{}: {source}", path.display())]
    Name {
        /// Its path.
        path: PathBuf,
        /// What is wrong with the name.
        source: NameError,
    },
    /// The certificates that it names cannot be used.
    #[error(transparent)]
    Credentials(#[from] CredentialsError),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    address: String,
    server: String,
    trust_domain: Option<String>,
    ca: PathBuf,
    cert: PathBuf,
    key: PathBuf,
}

impl ClientOptions {
    /// A client of the node `server` at `address` (host and port), in the default trust domain.
    pub fn new(address: impl Into<String>, server: ServerIs, credentials: Credentials) -> Self {
        Self {
            address: address.into(),
            server,
            credentials,
            trust_domain: TrustDomain::default(),
            transport: Transport::LocalClient,
        }
    }

    /// Reads a `client.toml` as `takt init` writes it, and the certificates that it names; their
    /// paths are relative to the file's folder.
    ///
    /// # Errors
    /// [`OptionsError`] with the place.
    pub fn from_file(path: impl AsRef<Path>) -> Result<Self, OptionsError> {
        let path = path.as_ref();
        let named = || path.to_owned();
        let text = std::fs::read_to_string(path)
            .map_err(|source| OptionsError::Read { path: named(), source })?;
        let file: File = toml::from_str(&text)
            .map_err(|source| OptionsError::Toml { path: named(), source: Box::new(source) })?;
        let name = |source| OptionsError::Name { path: named(), source };
        let server = file.server.parse().map_err(name)?;
        let trust_domain = match &file.trust_domain {
            Some(text) => TrustDomain::new(text).map_err(name)?,
            None => TrustDomain::default(),
        };
        let base = path.parent().unwrap_or_else(|| Path::new(""));
        let credentials =
            Credentials::load(&base.join(file.ca), &base.join(file.cert), &base.join(file.key))?;
        Ok(Self { trust_domain, ..Self::new(file.address, server, credentials) })
    }
}
