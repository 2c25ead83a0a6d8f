//! Bytes that somebody calls a certificate: whose it is, or why not.
#![no_main]

use libfuzzer_sys::fuzz_target;
use rustls_pki_types::CertificateDer;
use takt_client::tls::{TrustDomain, identity_of};
use webpki::EndEntityCert;

/// The longest that a refusal says: 300 characters of a name, with what they are escaped to.
const SHOWN_BYTES_MAX: usize = 4_000;

fuzz_target!(|data: &[u8]| {
    match identity_of(data, &TrustDomain::default()) {
        // One name, one identity, also as another reads it.
        Ok(identity) => assert_eq!(texts(data), [identity.to_string()]),
        Err(refusal) => {
            let shown = refusal.to_string();
            assert!(!shown.is_empty() && shown.len() < SHOWN_BYTES_MAX, "{}", shown.len());
            assert!(!shown.contains(char::is_control), "{shown:?}");
        }
    }
});

/// The URI names that are text, as `webpki` lists them.
fn texts(data: &[u8]) -> Vec<String> {
    let der = CertificateDer::from(data);
    let certificate = EndEntityCert::try_from(&der).expect("it has an identity");
    certificate.valid_uri_names().map(str::to_owned).collect()
}
