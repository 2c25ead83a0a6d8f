//! Who is at the other end of an open connection.

use quinn::crypto::rustls::HandshakeData;
use rustls::pki_types::CertificateDer;

use super::trust::identity_of;
use super::{ALPN, Identity, Refusal, TrustDomain};

/// Why an open connection has no usable peer. With the configurations of this module it does not
/// happen; with another one it does.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PeerError {
    /// The peer gave no certificate.
    #[error("the peer gave no certificate")]
    NoCertificate,
    /// The connection does not speak our protocol.
    #[error("the connection was not opened for takt/1")]
    OtherProtocol,
    /// The certificate carries no identity of ours.
    #[error(transparent)]
    Refused(#[from] Refusal),
}

/// The identity of the peer, from the certificate that the handshake has verified.
///
/// # Errors
/// [`PeerError`]; the connection is to be closed then.
pub fn peer_identity(
    connection: &quinn::Connection,
    trust_domain: &TrustDomain,
) -> Result<Identity, PeerError> {
    let speaks = connection
        .handshake_data()
        .and_then(|data| data.downcast::<HandshakeData>().ok())
        .is_some_and(|data| data.protocol.as_deref() == Some(ALPN));
    if !speaks {
        return Err(PeerError::OtherProtocol);
    }
    let chain = connection
        .peer_identity()
        .and_then(|identity| identity.downcast::<Vec<CertificateDer<'static>>>().ok())
        .ok_or(PeerError::NoCertificate)?;
    let end_entity = chain.first().ok_or(PeerError::NoCertificate)?;
    Ok(identity_of(end_entity, trust_domain)?)
}
