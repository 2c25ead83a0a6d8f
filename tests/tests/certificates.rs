//! Who has no right to be here is refused: the reason is in the node's log, none goes to the peer.

use std::time::{Duration, SystemTime};

use takt_broker::config::Period;
use takt_broker::init::pki::Authority;
use takt_client::ClientOptions;
use takt_client::tls::{Credentials, Identity, TrustDomain};
use takt_tests::raw::RawConnection;
use takt_tests::site::Site;

const DAY: Duration = Duration::from_hours(24);

/// How the connection ended for the peer, as it sees it.
async fn refused(options: ClientOptions) -> String {
    let connection = match RawConnection::dial(options).await {
        // The handshake ends at the client before the node has judged its certificate.
        Ok(connection) => connection,
        Err(error) => return error.to_string(),
    };
    connection.closed().await.to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn refused_certificates_get_no_reason_and_the_log_has_it() {
    let site = Site::new(&["munich"]);
    let mut node = site.start("munich").await;
    let domain = TrustDomain::default();
    let now = SystemTime::now();
    let ca = site.dir().join("ca");
    let ca_pem = std::fs::read_to_string(ca.join("ca.pem")).unwrap();
    let ca_key = std::fs::read_to_string(ca.join("ca.key")).unwrap();
    let ours = Authority::load(&domain, ca_pem.clone(), &ca_key).unwrap();
    let (theirs, _) = Authority::make(&domain, now).unwrap();
    let munich = Identity::plant_client(&domain, "munich", "mes").unwrap();
    let lyon = Identity::plant_client(&domain, "lyon", "mes").unwrap();
    let year = Period::from_days(365);
    let issued = |authority: &Authority, identity: &Identity, at| -> Credentials {
        authority.issue(identity, at, year).unwrap().credentials(ca_pem.as_bytes()).unwrap()
    };
    let cases = [
        ("another plant's", issued(&ours, &lyon, now), "lyon"),
        ("expired", issued(&ours, &munich, now - 500 * DAY), "CertExpired"),
        ("not valid yet", issued(&ours, &munich, now + 2 * DAY), "CertNotValidYet"),
        ("another authority's", issued(&theirs, &munich, now), "InvalidSignature"),
    ];
    let mut told = Vec::new();
    for (what, credentials, reason) in cases {
        let options = ClientOptions { credentials, ..site.client_options("munich") };
        told.push(refused(options).await);
        println!("{what}: the peer was told {:?}", told.last());
        node.said(reason).await;
    }
    println!("{}", node.log());
    for told in &told {
        for reason in ["lyon", "expired", "notvalidyet", "signature", "munich"] {
            assert!(!told.to_lowercase().contains(reason), "the peer was told {told:?}");
        }
    }
    // Of the three that the handshake refuses, none can be told from another.
    assert!(told[1..].iter().all(|other| *other == told[1]), "{told:?}");
    // One who may come in does.
    let credentials = issued(&ours, &munich, now);
    let options = ClientOptions { credentials, ..site.client_options("munich") };
    let client = takt_client::Client::connect(options).await.unwrap();
    assert_eq!(client.admin().topics().await.unwrap().len(), 1);
    assert!(node.stop().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_with_the_certificate_of_another_does_not_start() {
    let site = Site::new(&["lyon", "munich"]);
    let place = |plant: &str, file: &str| site.dir().join(format!("plant-{plant}")).join(file);
    for file in ["cert.pem", "key.pem"] {
        std::fs::copy(place("lyon", file), place("munich", file)).unwrap();
    }
    let mut node = takt_tests::process::Process::spawn(&mut site.command("munich"));
    assert_eq!(node.ended().await.code(), Some(1));
    let said = node.said("does not fit").await;
    assert!(said.contains("lyon-1") && said.contains("cert.pem"), "{said}");
}
