//! What a listening endpoint needs to say, after a restart, that its old connections are gone.
//!
//! RFC 9000, 10.3: a stateless reset carries a token that only the endpoint can make of
//! a connection's id. Derived from the node's private key, the tokens are the same after a restart.

use std::time::Duration;

use quinn::crypto::{CryptoError, HmacKey};
use quinn::{ConnectionId, ConnectionIdGenerator};
use rustls::crypto::aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256;
use rustls::crypto::tls13::{Hkdf, OkmBlock};
use rustls::pki_types::PrivateKeyDer;

const SALT: &[u8] = b"takt/1 stateless reset";
/// Length of HMAC-SHA-256 in bytes.
const TAG_BYTES: usize = 32;
/// Length of a connection id in bytes.
const ID_BYTES: usize = 8;

/// Makes the tokens. Has no `Debug` on purpose.
pub(super) struct ResetKey(OkmBlock);

impl ResetKey {
    pub(super) fn derive(private_key: &PrivateKeyDer<'_>) -> Self {
        let secret = hkdf().extract_from_secret(Some(SALT), private_key.secret_der());
        Self(secret.expand_block(&[b"tokens"]))
    }
}

impl HmacKey for ResetKey {
    fn sign(&self, data: &[u8], signature_out: &mut [u8]) {
        signature_out.copy_from_slice(hkdf().hmac_sign(&self.0, data).as_ref());
    }

    fn signature_len(&self) -> usize {
        TAG_BYTES
    }

    fn verify(&self, data: &[u8], signature: &[u8]) -> Result<(), CryptoError> {
        // Nobody asks: a peer compares the token with the one that it was told.
        if hkdf().hmac_sign(&self.0, data).as_ref() == signature {
            Ok(())
        } else {
            Err(CryptoError)
        }
    }
}

/// Connection ids without a mark of the process that made them: quinn's own drop packets for ids of
/// an earlier process without an answer.
pub(super) struct RandomIds;

impl ConnectionIdGenerator for RandomIds {
    fn generate_cid(&mut self) -> ConnectionId {
        let mut id = [0; ID_BYTES];
        getrandom::fill(&mut id).expect("the system has randomness");
        ConnectionId::new(&id)
    }

    fn cid_len(&self) -> usize {
        ID_BYTES
    }

    fn cid_lifetime(&self) -> Option<Duration> {
        None
    }
}

fn hkdf() -> &'static dyn Hkdf {
    let suite = TLS13_AES_128_GCM_SHA256.tls13().expect("the suite is one of TLS 1.3");
    suite.hkdf_provider
}
