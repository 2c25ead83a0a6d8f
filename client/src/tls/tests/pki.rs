//! Certificates for tests: an authority, and leaves that differ from a good one in one respect.

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, SanType, date_time_ymd,
};

use crate::tls::{Credentials, TrustDomain};

pub fn domain() -> TrustDomain {
    TrustDomain::default()
}

/// What a leaf carries. [`Leaf::node`] is good in every respect.
pub struct Leaf {
    pub uris: Vec<String>,
    pub dns: Vec<String>,
    pub purposes: Vec<ExtendedKeyUsagePurpose>,
    /// First and last year of its time.
    pub years: (i32, i32),
}

impl Leaf {
    pub fn of(uri: &str) -> Self {
        Self {
            uris: vec![uri.to_owned()],
            dns: Vec::new(),
            purposes: vec![
                ExtendedKeyUsagePurpose::ServerAuth,
                ExtendedKeyUsagePurpose::ClientAuth,
            ],
            years: (2020, 4000),
        }
    }

    pub fn plant(name: &str) -> Self {
        Self::of(&format!("spiffe://takt.local/plant/{name}/node/{name}-1"))
    }

    pub fn hub() -> Self {
        Self::of("spiffe://takt.local/hub/node/hub-1")
    }
}

pub struct Authority {
    pub pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    pub fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Self { pem, issuer: Issuer::new(params, key) }
    }

    /// Certificate and key, as PEM.
    pub fn issue(&self, leaf: &Leaf) -> (String, String) {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, "spiffe://takt.local/operator/cn");
        params.not_before = date_time_ymd(leaf.years.0, 1, 1);
        params.not_after = date_time_ymd(leaf.years.1, 1, 1);
        params.extended_key_usages.clone_from(&leaf.purposes);
        let uris = leaf.uris.iter().map(|uri| SanType::URI(uri.as_str().try_into().unwrap()));
        let dns = leaf.dns.iter().map(|name| SanType::DnsName(name.as_str().try_into().unwrap()));
        params.subject_alt_names = uris.chain(dns).collect();
        let key = KeyPair::generate().unwrap();
        let cert = params.signed_by(&key, &self.issuer).unwrap();
        (cert.pem(), key.serialize_pem())
    }

    /// A leaf of this authority, for one who trusts `trusted`.
    pub fn credentials_trusting(&self, leaf: &Leaf, trusted: &Self) -> Credentials {
        let (cert, key) = self.issue(leaf);
        Credentials::from_pem(trusted.pem.as_bytes(), cert.as_bytes(), key.as_bytes()).unwrap()
    }

    pub fn credentials(&self, leaf: &Leaf) -> Credentials {
        self.credentials_trusting(leaf, self)
    }
}
