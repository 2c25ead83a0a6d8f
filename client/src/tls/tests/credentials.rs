use std::path::Path;

use super::pki::{Authority, Leaf, domain};
use crate::tls::{Credentials, CredentialsError, PemFile};

#[test]
fn key_and_certificate_must_belong_together() {
    let ca = Authority::new("ca");
    let (cert, _) = ca.issue(&Leaf::plant("munich"));
    let (_, other_key) = ca.issue(&Leaf::plant("munich"));
    let result = Credentials::from_pem(ca.pem.as_bytes(), cert.as_bytes(), other_key.as_bytes());
    assert!(matches!(result, Err(CredentialsError::Mismatch { .. })));
}

#[test]
fn what_is_not_pem_is_refused_with_the_file_that_it_is() {
    let ca = Authority::new("ca");
    let (cert, key) = ca.issue(&Leaf::plant("munich"));
    let (ca, cert, key) = (ca.pem.as_bytes(), cert.as_bytes(), key.as_bytes());
    let cut = &cert[..cert.len() / 2];
    for (ca, cert, key, expected) in [
        (&b""[..], cert, key, PemFile::Ca),
        (key, cert, key, PemFile::Ca),
        (ca, key, key, PemFile::Cert),
        (ca, cut, key, PemFile::Cert),
        (ca, cert, cert, PemFile::Key),
        (ca, cert, b"\xff\xfe\x00", PemFile::Key),
    ] {
        match Credentials::from_pem(ca, cert, key) {
            Err(CredentialsError::Pem { file, .. }) => assert_eq!(file, expected),
            other => panic!("{expected:?}: {other:?}"),
        }
    }
    let broken = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    assert!(matches!(Credentials::from_pem(broken, cert, key), Err(CredentialsError::Ca { .. })));
}

#[test]
fn a_missing_file_is_named_with_what_to_do() {
    let missing = Path::new("/nonexistent/takt/ca.pem");
    let text = Credentials::load(missing, missing, missing).unwrap_err().to_string();
    assert!(text.contains("/nonexistent/takt/ca.pem") && text.contains("takt init"), "{text}");
}

#[test]
fn debug_shows_no_key() {
    let ca = Authority::new("ca");
    let (cert, key) = ca.issue(&Leaf::plant("munich"));
    let made = Credentials::from_pem(ca.pem.as_bytes(), cert.as_bytes(), key.as_bytes()).unwrap();
    let shown = format!("{made:?}");
    assert!(shown.contains("redacted") && shown.len() < 120, "{shown}");
    assert_eq!(made.identity(&domain()).unwrap().plant(), Some("munich"));
}
