//! The judge of certificates, the same for both directions.
//!
//! `rustls` brings one verifier for servers and one for clients; both accept a certificate without
//! a stated purpose, and neither knows our names. Both also send their finding to the peer as text
//! (quinn puts the error into its close frame). So both directions go through [`Trust::judge`]: the
//! chain with `webpki` (the library beneath both), the purpose as *required*, and exactly one URI
//! name. The peer gets one answer for all causes.

use std::sync::{Arc, Mutex, PoisonError};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, RootCertStore};
use rustls::{Error, PeerIncompatible, SignatureScheme};
use webpki::{EndEntityCert, KeyUsage};

use super::credentials::provider;
use super::names::uri_names;
use super::{Identity, NameError, ServerIs, TrustDomain};

/// id-kp-serverAuth, 1.3.6.1.5.5.7.3.1, as the value of a DER object identifier (RFC 5280).
const SERVER_AUTH: &[u8] = &[0x2b, 6, 1, 5, 5, 7, 3, 1];
/// id-kp-clientAuth, 1.3.6.1.5.5.7.3.2.
const CLIENT_AUTH: &[u8] = &[0x2b, 6, 1, 5, 5, 7, 3, 2];

/// Why a peer's certificate was refused. It is for this side only; the peer is not told.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// The certificate does not chain to a trusted authority, is outside its time, or is not for
    /// this purpose.
    #[error("the certificate is not acceptable: {0}")]
    Chain(webpki::Error),
    /// It has no URI name. Host names, addresses and common names do not count.
    #[error("the certificate names no identity (it has no URI name)")]
    NoIdentity,
    /// It has more than one URI name.
    #[error("the certificate has more than one URI name")]
    ManyIdentities,
    /// Its URI name is not one of ours.
    #[error("the certificate's name is not acceptable: {0}")]
    Name(NameError),
    /// It is a good certificate of somebody else than the expected server.
    #[error("expected {expected}, but the certificate is that of {found}")]
    OtherServer {
        /// Whom the dialing side wanted.
        expected: ServerIs,
        /// Who answered.
        found: Identity,
    },
}

/// The last refusal of the connections that share it, for the message of whoever dialed.
#[derive(Debug, Clone, Default)]
pub struct Refusals(Arc<Mutex<Option<Refusal>>>);

impl Refusals {
    /// Takes the last refusal, if there was one since the last call.
    pub fn take(&self) -> Option<Refusal> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn put(&self, refusal: Refusal) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(refusal);
    }
}

/// What a certificate is judged for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    Server,
    Client,
}

/// The trusted authorities, the names that count, and where refusals are noted.
#[derive(Debug)]
pub(super) struct Trust {
    roots: Arc<RootCertStore>,
    domain: TrustDomain,
    algorithms: WebPkiSupportedAlgorithms,
    refusals: Refusals,
}

impl Trust {
    pub(super) fn new(roots: Arc<RootCertStore>, domain: TrustDomain, refusals: Refusals) -> Self {
        let algorithms = provider().signature_verification_algorithms;
        Self { roots, domain, algorithms, refusals }
    }

    /// Judges a certificate at `now`. Revocation lists are not looked at, nor is the time of a
    /// trusted authority itself: who trusts it does so until it is taken out of the file.
    pub(super) fn judge(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
        purpose: Purpose,
    ) -> Result<Identity, Refusal> {
        let usage = KeyUsage::required(match purpose {
            Purpose::Server => SERVER_AUTH,
            Purpose::Client => CLIENT_AUTH,
        });
        EndEntityCert::try_from(end_entity)
            .map_err(Refusal::Chain)?
            .verify_for_usage(
                self.algorithms.all,
                &self.roots.roots,
                intermediates,
                now,
                usage,
                None,
                None,
            )
            .map_err(Refusal::Chain)?;
        identity_of(end_entity, &self.domain)
    }

    /// Notes why a certificate was refused and gives what the peer may see of it.
    fn refuse(&self, refusal: Refusal) -> Error {
        tracing::warn!(error = %refusal, "refused a peer's certificate");
        self.refusals.put(refusal);
        CertificateError::ApplicationVerificationFailure.into()
    }

    fn verify_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, signed, &self.algorithms)
    }
}

/// The identity in a certificate, as DER: its one URI name. Nothing else of it is judged.
///
/// # Errors
/// [`Refusal`] if it is no certificate, or has not exactly one URI name, or one that is not ours.
pub fn identity_of(certificate: &[u8], trust_domain: &TrustDomain) -> Result<Identity, Refusal> {
    let der = CertificateDer::from(certificate);
    EndEntityCert::try_from(&der).map_err(Refusal::Chain)?;
    let names = uri_names(certificate).ok_or(Refusal::Chain(webpki::Error::BadDer))?;
    match names.as_slice() {
        [] => Err(Refusal::NoIdentity),
        // What is no text is no name of ours: where it is broken it has a sign that none has.
        [name] => {
            Identity::parse(&String::from_utf8_lossy(name), trust_domain).map_err(Refusal::Name)
        }
        _ => Err(Refusal::ManyIdentities),
    }
}

fn no_tls12() -> Error {
    Error::PeerIncompatible(PeerIncompatible::Tls13RequiredForQuic)
}

/// The dialing side's verifier.
#[derive(Debug)]
pub(super) struct ServerVerifier {
    pub(super) trust: Trust,
    pub(super) expected: ServerIs,
}

impl ServerCertVerifier for ServerVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let judged = self.trust.judge(end_entity, intermediates, now, Purpose::Server);
        let found = judged.map_err(|refusal| self.trust.refuse(refusal))?;
        if !self.expected.admits(&found) {
            let expected = self.expected.clone();
            return Err(self.trust.refuse(Refusal::OtherServer { expected, found }));
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(no_tls12())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.trust.verify_signature(message, cert, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.trust.algorithms.supported_schemes()
    }
}

/// The listening side's verifier. A client without a certificate is refused.
#[derive(Debug)]
pub(super) struct ClientVerifier {
    pub(super) trust: Trust,
}

impl ClientCertVerifier for ClientVerifier {
    /// None: whom this side trusts is not told to strangers.
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.trust
            .judge(end_entity, intermediates, now, Purpose::Client)
            .map(|_| ClientCertVerified::assertion())
            .map_err(|refusal| self.trust.refuse(refusal))
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(no_tls12())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.trust.verify_signature(message, cert, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.trust.algorithms.supported_schemes()
    }
}
