//! A node's or a client's own certificate and key, and the authority that it trusts.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::RootCertStore;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::sign::CertifiedKey;

use super::reset::ResetKey;
use super::trust::{Purpose, Trust};
use super::{Identity, Refusal, Refusals, TrustDomain};

/// The largest PEM file that is read, in bytes (inclusive).
const PEM_FILE_BYTES_MAX: u64 = 1 << 20;

/// Which of the three files an error is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PemFile {
    /// The certificates of the trusted authority.
    Ca,
    /// The own certificate, followed by its intermediates.
    Cert,
    /// The private key of the own certificate.
    Key,
}

impl fmt::Display for PemFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ca => "authority's certificate (ca)",
            Self::Cert => "certificate (cert)",
            Self::Key => "private key (key)",
        })
    }
}

/// Why credentials could not be loaded.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CredentialsError {
    /// A file could not be read.
    #[error(
        "cannot read the {file} from {}: {source}; check that the path is right and that this user \
         may read it, or make the files with `takt init`", path.display()
    )]
    Read {
        /// Which file.
        file: PemFile,
        /// Where it was looked for.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file is larger than 1 MiB.
    #[error("the {file} in {} is over 1 MiB; this is not a PEM file of certificates", path.display())]
    TooLarge {
        /// Which file.
        file: PemFile,
        /// Its path.
        path: PathBuf,
    },
    /// A file holds no PEM section of its kind, or a broken one.
    #[error("the {file} holds no usable PEM section: {detail}")]
    Pem {
        /// Which file.
        file: PemFile,
        /// What is wrong with it.
        detail: String,
    },
    /// A certificate of the authority cannot be used as one.
    #[error("the authority's certificate (ca) cannot be used: {source}")]
    Ca {
        /// What the TLS library said.
        source: rustls::Error,
    },
    /// Certificate and key do not belong together, or the key is of an unknown kind.
    #[error(
        "certificate and private key do not fit: {source}; give both from the same issue, \
         or issue them again"
    )]
    Mismatch {
        /// What the TLS library said.
        source: rustls::Error,
    },
}

/// The own certificate chain with its key, and the trusted authority. Cheap to clone; `Debug` shows
/// no key.
#[derive(Clone)]
pub struct Credentials {
    roots: Arc<RootCertStore>,
    certified: Arc<CertifiedKey>,
    reset: Arc<ResetKey>,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials")
            .field("authorities", &self.roots.len())
            .field("chain_certificates", &self.certified.cert.len())
            .field("key", &"(redacted)")
            .finish_non_exhaustive()
    }
}

impl Credentials {
    /// Loads the three PEM files. A key file that others may read is reported in the log.
    ///
    /// # Errors
    /// [`CredentialsError`], with the path and what to do.
    pub fn load(ca: &Path, cert: &Path, key: &Path) -> Result<Self, CredentialsError> {
        let ca_pem = read(PemFile::Ca, ca)?;
        let cert_pem = read(PemFile::Cert, cert)?;
        let key_pem = read(PemFile::Key, key)?;
        warn_if_open(key);
        Self::from_pem(&ca_pem, &cert_pem, &key_pem)
    }

    /// Makes credentials of PEM text: one or more authorities; the own certificate followed by its
    /// intermediates; one private key (PKCS #8, SEC1 or PKCS #1).
    ///
    /// # Errors
    /// [`CredentialsError`], also if certificate and key do not belong together. Whether the
    /// certificate is valid now is not looked at: a node starts with an expired one, too.
    pub fn from_pem(
        ca_pem: &[u8],
        cert_chain_pem: &[u8],
        key_pem: &[u8],
    ) -> Result<Self, CredentialsError> {
        let mut roots = RootCertStore::empty();
        for root in certificates(PemFile::Ca, ca_pem)? {
            roots.add(root).map_err(|source| CredentialsError::Ca { source })?;
        }
        let chain = certificates(PemFile::Cert, cert_chain_pem)?;
        let key = PrivateKeyDer::from_pem_slice(key_pem).map_err(|error| {
            CredentialsError::Pem { file: PemFile::Key, detail: error.to_string() }
        })?;
        let reset = Arc::new(ResetKey::derive(&key));
        let certified = CertifiedKey::from_der(chain, key, &provider())
            .map_err(|source| CredentialsError::Mismatch { source })?;
        Ok(Self { roots: Arc::new(roots), certified: Arc::new(certified), reset })
    }

    /// Who these credentials speak for. Validity in time and the chain are not looked at.
    ///
    /// # Errors
    /// [`Refusal`] if the certificate carries not exactly one identity of this trust domain.
    pub fn identity(&self, trust_domain: &TrustDomain) -> Result<Identity, Refusal> {
        super::trust::identity_of(self.end_entity(), trust_domain)
    }

    /// Judges the own certificate as a peer with the same authority would: chain, validity at
    /// `now`, purpose and identity. A node must be good as a server and as a client.
    ///
    /// # Errors
    /// [`Refusal`], as the peer's judge would find it.
    pub fn check(&self, trust_domain: &TrustDomain, now: UnixTime) -> Result<Identity, Refusal> {
        let trust = Trust::new(self.roots(), trust_domain.clone(), Refusals::default());
        let intermediates = self.certified.cert.get(1..).unwrap_or_default();
        let identity = trust.judge(self.end_entity(), intermediates, now, Purpose::Client)?;
        if identity.is_node() {
            trust.judge(self.end_entity(), intermediates, now, Purpose::Server)?;
        }
        Ok(identity)
    }

    fn end_entity(&self) -> &CertificateDer<'static> {
        self.certified.cert.first().expect("a certified key was checked to have a certificate")
    }

    pub(super) fn roots(&self) -> Arc<RootCertStore> {
        Arc::clone(&self.roots)
    }

    pub(super) fn reset_key(&self) -> Arc<ResetKey> {
        Arc::clone(&self.reset)
    }

    pub(super) fn certified(&self) -> Arc<CertifiedKey> {
        Arc::clone(&self.certified)
    }
}

/// The cryptography of every configuration here, named once and passed on.
pub(super) fn provider() -> CryptoProvider {
    aws_lc_rs::default_provider()
}

fn read(file: PemFile, path: &Path) -> Result<Vec<u8>, CredentialsError> {
    use std::io::Read;

    let failed = |source| CredentialsError::Read { file, path: path.to_owned(), source };
    let mut bytes = Vec::new();
    let opened = std::fs::File::open(path).map_err(failed)?;
    opened.take(PEM_FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > PEM_FILE_BYTES_MAX {
        return Err(CredentialsError::TooLarge { file, path: path.to_owned() });
    }
    Ok(bytes)
}

fn certificates(
    file: PemFile,
    pem: &[u8],
) -> Result<Vec<CertificateDer<'static>>, CredentialsError> {
    let parsed: Vec<_> = CertificateDer::pem_slice_iter(pem)
        .collect::<Result<_, _>>()
        .map_err(|error| CredentialsError::Pem { file, detail: error.to_string() })?;
    if parsed.is_empty() {
        return Err(CredentialsError::Pem { file, detail: "it has no certificate".to_owned() });
    }
    Ok(parsed)
}

#[cfg(unix)]
fn warn_if_open(key: &Path) {
    use std::os::unix::fs::PermissionsExt;

    let mode = std::fs::metadata(key).map_or(0, |metadata| metadata.permissions().mode());
    if mode & 0o077 != 0 {
        tracing::warn!(path = %key.display(), mode = format_args!("{:o}", mode & 0o777),
            "private key may be read by others; set its mode to 0600");
    }
}

#[cfg(not(unix))]
fn warn_if_open(_key: &Path) {}
