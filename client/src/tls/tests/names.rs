use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use super::pki::{Authority, Leaf, domain};
use crate::tls::{NameError, Refusal, identity_of};

const GOOD: &str = "spiffe://takt.local/operator/ada";
/// As long as the good one, so that a patch of its bytes leaves all lengths as they are.
const OTHER: &str = "spiffe://takt.local/operator/eva";

/// A certificate with these URI names, and what a patch makes of it.
fn patched(uris: &[&str], patch: impl Fn(&mut Vec<u8>)) -> Result<String, Refusal> {
    let leaf = Leaf { uris: uris.iter().map(|&uri| uri.to_owned()).collect(), ..Leaf::of(GOOD) };
    let (pem, _) = Authority::new("ours").issue(&leaf);
    let mut der = CertificateDer::from_pem_slice(pem.as_bytes()).unwrap().to_vec();
    patch(&mut der);
    identity_of(&der, &domain()).map(|identity| identity.to_string())
}

/// Where the text begins that follows the tag and the length of a name.
fn place(der: &[u8], text: &str) -> usize {
    der.windows(text.len()).position(|window| window == text.as_bytes()).unwrap()
}

#[test]
fn one_uri_name_is_who_it_is() {
    assert_eq!(patched(&[GOOD], |_| {}).unwrap(), GOOD);
    assert_eq!(patched(&[], |_| {}), Err(Refusal::NoIdentity));
    assert_eq!(patched(&[GOOD, OTHER], |_| {}), Err(Refusal::ManyIdentities));
    assert_eq!(patched(&[GOOD, GOOD], |_| {}), Err(Refusal::ManyIdentities));
}

#[test]
fn a_second_uri_name_counts_also_where_it_is_no_text() {
    let broken = |der: &mut Vec<u8>| {
        let at = place(der, OTHER);
        der[at + OTHER.len() - 1] = 0xff;
    };
    assert_eq!(patched(&[GOOD, OTHER], broken), Err(Refusal::ManyIdentities));
    assert_eq!(patched(&[OTHER, GOOD], broken), Err(Refusal::ManyIdentities));
    let alone = patched(&[OTHER], broken);
    assert!(matches!(alone, Err(Refusal::Name(NameError::BadSegment { .. }))), "{alone:?}");
}

#[test]
fn what_cannot_be_read_behind_a_name_is_not_left_out() {
    // Of no kind that there is; a URI made of parts; longer than what is there.
    for (at, byte) in [(2, 0xa9), (2, 0xa6), (1, 0x7f)] {
        let found = patched(&[GOOD, OTHER], |der| {
            let place = place(der, OTHER);
            der[place - at] = byte;
        });
        assert_eq!(found, Err(Refusal::Chain(webpki::Error::BadDer)), "{byte:x}");
    }
}

#[test]
fn every_prefix_and_every_changed_byte_has_an_answer() {
    let (pem, _) = Authority::new("ours").issue(&Leaf::of(GOOD));
    let der = CertificateDer::from_pem_slice(pem.as_bytes()).unwrap().to_vec();
    for len in 0..der.len() {
        assert!(identity_of(&der[..len], &domain()).is_err(), "the first {len} bytes");
    }
    for at in 0..der.len() {
        for byte in 0..=255 {
            let mut der = der.clone();
            der[at] = byte;
            if let Ok(identity) = identity_of(&der, &domain()) {
                place(&der, &identity.to_string());
            }
        }
    }
}
