//! Makes the seeds of the target `certificate`: always the same ones.

use std::fs;
use std::path::Path;

use rcgen::{
    CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, KeyPair, PKCS_ED25519,
    SanType, SerialNumber, date_time_ymd,
};

const GOOD: &str = "spiffe://takt.local/plant/munich/node/munich-1";
const OTHER: &str = "spiffe://takt.local/plant/munich/node/munich-2";
/// PKCS #8 in front of the 32 bytes of an Ed25519 key (RFC 8410).
const KEY_PREFIX: [u8; 16] = [
    0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20,
];

fn main() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus/certificate");
    fs::create_dir_all(&corpus).expect("a folder can be made");
    for (name, content) in seeds() {
        fs::write(corpus.join(name), content).expect("a seed can be written");
    }
}

fn seeds() -> Vec<(String, Vec<u8>)> {
    let good = certificate(&[uri(GOOD)]);
    let two = certificate(&[uri(GOOD), uri(OTHER)]);
    let at = place(&two, OTHER);
    let mut seeds = vec![
        ("two".to_owned(), two.clone()),
        ("none".to_owned(), certificate(&[])),
        ("host".to_owned(), certificate(&[dns("munich.example")])),
        ("host-and-uri".to_owned(), certificate(&[dns("munich.example"), uri(GOOD)])),
        ("other-domain".to_owned(), certificate(&[uri("spiffe://else.where/operator/eva")])),
        ("not-spiffe".to_owned(), certificate(&[uri("https://takt.local/operator/eva")])),
        ("long".to_owned(), certificate(&[uri(&format!("{GOOD}{}", "x".repeat(1_000)))])),
        ("not-text".to_owned(), changed(&good, place(&good, GOOD) + 40, 0xff)),
        ("second-not-text".to_owned(), changed(&two, at + 40, 0xff)),
        ("second-of-no-kind".to_owned(), changed(&two, at - 2, 0xa9)),
        ("second-too-long".to_owned(), changed(&two, at - 1, 0x7f)),
    ];
    let many: Vec<SanType> = (0..200).map(|i| dns(&format!("line-{i}.munich.example"))).collect();
    seeds.push(("huge".to_owned(), certificate(&[many.as_slice(), &[uri(GOOD)]].concat())));
    for parts in 1..4 {
        seeds.push((format!("cut-{parts}"), good[..good.len() * parts / 4].to_vec()));
    }
    for kind in ["plant/munich/client/mes", "hub/node/hub-1", "hub/client/erp", "operator/eva"] {
        let name = format!("spiffe://takt.local/{kind}");
        seeds.push((kind.replace('/', "-"), certificate(&[uri(&name)])));
    }
    seeds.push(("plant-munich-node-munich-1".to_owned(), good));
    seeds
}

fn uri(text: &str) -> SanType {
    SanType::URI(text.try_into().expect("ASCII"))
}

fn dns(text: &str) -> SanType {
    SanType::DnsName(text.try_into().expect("ASCII"))
}

fn certificate(names: &[SanType]) -> Vec<u8> {
    let key = [&KEY_PREFIX[..], &[7; 32]].concat();
    let key = KeyPair::from_pkcs8_der_and_sign_algo(&key.into(), &PKCS_ED25519).expect("a key");
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, "munich");
    params.serial_number = Some(SerialNumber::from(7));
    params.not_before = date_time_ymd(2020, 1, 1);
    params.not_after = date_time_ymd(4000, 1, 1);
    params.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    params.subject_alt_names = names.to_vec();
    params.self_signed(&key).expect("it can be signed").der().to_vec()
}

/// Where the text of a name begins; before it are its kind and its length.
fn place(der: &[u8], text: &str) -> usize {
    der.windows(text.len()).position(|window| window == text.as_bytes()).expect("its name")
}

fn changed(der: &[u8], at: usize, byte: u8) -> Vec<u8> {
    let mut der = der.to_vec();
    der[at] = byte;
    der
}
