//! `client.toml`: whom the command line and other clients talk to, and as whom.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use takt_client::tls::{ServerIs, TrustDomain};

use super::error::ConfigError;
use super::judge::{Flaw, host_and_port};
use super::settings::SecurityPaths;

/// The file that is used if none is named.
pub const CONTEXT_DEFAULT: &str = "client.toml";
/// The variable of the environment that may name it.
pub const CONTEXT_VARIABLE: &str = "TAKT_CONTEXT";

/// Whom a client talks to, and as whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContextSettings {
    /// Host and port; the host is looked up at each attempt.
    pub address: String,
    /// Who must answer there.
    pub server: ServerIs,
    /// The trust domain of all certificates.
    pub trust_domain: TrustDomain,
    /// The client's certificate and key, and the authority that it trusts.
    pub security: SecurityPaths,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Context {
    address: String,
    server: String,
    trust_domain: Option<String>,
    ca: PathBuf,
    cert: PathBuf,
    key: PathBuf,
}

impl ContextSettings {
    /// The file to read: the one named on the command line, else the one that `TAKT_CONTEXT` names,
    /// else `./client.toml`.
    pub fn path(argument: Option<PathBuf>) -> PathBuf {
        let named = || std::env::var_os(CONTEXT_VARIABLE).filter(|name| !name.is_empty());
        argument
            .or_else(|| named().map(PathBuf::from))
            .unwrap_or_else(|| PathBuf::from(CONTEXT_DEFAULT))
    }

    /// Reads a file.
    ///
    /// # Errors
    /// [`ConfigError`]: the first thing that is wrong, with its place.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
        Self::parse(path, &text)
    }

    /// As [`ContextSettings::load`], for the text of the file at `path`.
    ///
    /// # Errors
    /// As [`ContextSettings::load`].
    pub fn parse(path: &Path, text: &str) -> Result<Self, ConfigError> {
        let raw: Context =
            toml::from_str(text).map_err(|error| ConfigError::toml(path, text, &error))?;
        let base = path.parent().unwrap_or_else(|| Path::new(""));
        judge(raw, base).map_err(|flaw| {
            let document = toml::de::DeTable::parse(text).ok();
            let span = document.and_then(|document| {
                document.as_ref().get_key_value(flaw.key).map(|(key, _)| key.span())
            });
            ConfigError::at(path, text, span, flaw.problem)
        })
    }
}

fn judge(raw: Context, base: &Path) -> Result<ContextSettings, Flaw> {
    let flaw = |key, problem| Flaw::new("", key, problem);
    host_and_port(&raw.address).map_err(|problem| flaw("address", problem))?;
    let server = raw
        .server
        .parse()
        .map_err(|e: takt_client::tls::NameError| flaw("server", e.to_string()))?;
    let trust_domain = match raw.trust_domain {
        Some(text) => TrustDomain::new(&text).map_err(|e| flaw("trust_domain", e.to_string()))?,
        None => TrustDomain::default(),
    };
    let security =
        SecurityPaths { ca: base.join(raw.ca), cert: base.join(raw.cert), key: base.join(raw.key) };
    Ok(ContextSettings { address: raw.address, server, trust_domain, security })
}
