//! A small certificate authority: enough to begin with, and for tests. A company that has its own
//! issues certificates with the same names instead.

use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, SanType, date_time_ymd,
};
use rustls::pki_types::UnixTime;
use takt_client::tls::{Credentials, CredentialsError, Identity, TrustDomain};

use crate::config::Period;

/// How long an authority is valid: ten years.
const AUTHORITY_VALID: Period = Period::from_days(3_650);
/// Certificates begin this much before they are made, for peers whose clock is behind.
const CLOCK_SKEW: Duration = Duration::from_hours(1);

/// A key or a certificate could not be made or read.
#[derive(Debug, thiserror::Error)]
#[error("{source}")]
pub struct PkiError {
    #[from]
    source: rcgen::Error,
}

/// An authority with its key. `Debug` is left out on purpose.
pub struct Authority {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate with its key, as PEM. `Debug` is left out on purpose.
pub struct Issued {
    /// The certificate.
    pub cert_pem: String,
    /// Its private key, PKCS #8.
    pub key_pem: String,
}

impl Issued {
    /// As credentials of one who trusts the authority `ca_pem`.
    ///
    /// # Errors
    /// [`CredentialsError`] if the authority's certificate is none.
    pub fn credentials(&self, ca_pem: &[u8]) -> Result<Credentials, CredentialsError> {
        Credentials::from_pem(ca_pem, self.cert_pem.as_bytes(), self.key_pem.as_bytes())
    }
}

impl Authority {
    /// Makes a new one (ECDSA P-256), and gives its private key as PEM beside it.
    ///
    /// # Errors
    /// [`PkiError`] if the cryptography fails.
    pub fn make(domain: &TrustDomain, now: SystemTime) -> Result<(Self, String), PkiError> {
        let key_pem = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?.serialize_pem();
        Ok((Self::from_key(domain, now, &key_pem)?, key_pem))
    }

    /// Makes one of a key that is there.
    ///
    /// # Errors
    /// [`PkiError`] if the key cannot be read.
    pub fn from_key(
        domain: &TrustDomain,
        now: SystemTime,
        key_pem: &str,
    ) -> Result<Self, PkiError> {
        let key = KeyPair::from_pem(key_pem)?;
        let mut params = authority_params(domain);
        set_time(&mut params, now, AUTHORITY_VALID);
        let pem = params.self_signed(&key)?.pem();
        Ok(Self { pem, issuer: Issuer::new(params, key) })
    }

    /// Takes one that [`Authority::make`] has made. That certificate and key belong together, and to
    /// this trust domain, shows when something issued is judged: [`Credentials::check`].
    ///
    /// # Errors
    /// [`PkiError`] if the key cannot be read.
    pub fn load(domain: &TrustDomain, cert_pem: String, key_pem: &str) -> Result<Self, PkiError> {
        let key = KeyPair::from_pem(key_pem)?;
        Ok(Self { pem: cert_pem, issuer: Issuer::new(authority_params(domain), key) })
    }

    /// The authority's certificate.
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// Issues a certificate with a new key (ECDSA P-256): for a node as a server and as a client,
    /// for all others as a client.
    ///
    /// # Errors
    /// [`PkiError`] if the cryptography fails.
    pub fn issue(
        &self,
        identity: &Identity,
        now: SystemTime,
        valid: Period,
    ) -> Result<Issued, PkiError> {
        let uri = identity.to_string();
        let mut params = CertificateParams::default();
        set_time(&mut params, now, valid);
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::OrganizationName, "Takt");
        params.subject_alt_names = vec![SanType::URI(uri.as_str().try_into()?)];
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        if identity.is_node() {
            params.extended_key_usages.push(ExtendedKeyUsagePurpose::ServerAuth);
        }
        params.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let cert = params.signed_by(&key, &self.issuer)?;
        Ok(Issued { cert_pem: cert.pem(), key_pem: key.serialize_pem() })
    }
}

/// The same for each run, since an authority is known by its name.
fn authority_params(domain: &TrustDomain) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::OrganizationName, "Takt");
    params.distinguished_name.push(DnType::CommonName, format!("Takt authority {domain}"));
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

/// Since 1970; a time before that counts as 1970.
fn since_epoch(time: SystemTime) -> Duration {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Duration::from_secs(since.as_secs())
}

/// The form of a time that certificates are judged at.
pub fn unix_time(time: SystemTime) -> UnixTime {
    UnixTime::since_unix_epoch(since_epoch(time))
}

/// Sets the time of a certificate: from a little before `now`.
fn set_time(params: &mut CertificateParams, now: SystemTime, valid: Period) {
    let epoch = date_time_ymd(1970, 1, 1);
    params.not_before = epoch + since_epoch(now).saturating_sub(CLOCK_SKEW);
    params.not_after = epoch + since_epoch(now) + valid.duration();
}
