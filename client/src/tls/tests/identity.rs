use super::pki::domain;
use crate::tls::{Identity, IdentityKind, NameError, ServerIs, TrustDomain};

fn parse(uri: &str) -> Result<Identity, NameError> {
    Identity::parse(uri, &domain())
}

#[test]
fn every_kind_is_read_and_written() {
    let made = [
        Identity::plant_node(&domain(), "munich", "munich-1"),
        Identity::plant_client(&domain(), "munich", "mes.line_2"),
        Identity::hub_node(&domain(), "hub-1"),
        Identity::hub_client(&domain(), "erp"),
        Identity::operator(&domain(), "ada"),
    ];
    let uris = [
        "spiffe://takt.local/plant/munich/node/munich-1",
        "spiffe://takt.local/plant/munich/client/mes.line_2",
        "spiffe://takt.local/hub/node/hub-1",
        "spiffe://takt.local/hub/client/erp",
        "spiffe://takt.local/operator/ada",
    ];
    for (made, uri) in made.into_iter().zip(uris) {
        let made = made.unwrap();
        assert_eq!(made.to_string(), uri);
        assert_eq!(parse(uri).unwrap(), made);
    }
    let node = parse(uris[0]).unwrap();
    let expected = IdentityKind::PlantNode { plant: "munich".into(), node: "munich-1".into() };
    assert_eq!((node.kind(), node.plant(), node.is_node()), (&expected, Some("munich"), true));
}

#[test]
fn what_is_not_exactly_a_name_is_refused() {
    for path in [
        "",
        "/",
        "/operator",
        "/operator/",
        "/operator/ada/",
        "/operator/ada/more",
        "/operator//ada",
        "//operator/ada",
        "/Operator/ada",
        "/operator/Ada",
        "/operator/%61da",
        "/operator/a..b",
        "/operator/..",
        "/operator/-ada",
        "/operator/ada?x",
        "/operator/ada#x",
        "/operator/ad\u{e4}",
        "/operator/a\nb",
        "/plant/munich",
        "/plant/munich/node",
        "/plant/munich/node/a/b",
        "/plant/munich/client/a/node/b",
        "/plant//node/a",
        "/hub/munich/node/a",
        "/hub/operator/a",
    ] {
        assert!(parse(&format!("spiffe://takt.local{path}")).is_err(), "{path:?}");
    }
    for uri in ["", "https://takt.local/operator/ada", "SPIFFE://takt.local/operator/ada"] {
        assert!(matches!(parse(uri), Err(NameError::NotSpiffe { .. })), "{uri:?}");
    }
    for host in ["", "takt", "takt.local.", "TAKT.local", "x@takt.local", "takt.local:1"] {
        let parsed = parse(&format!("spiffe://{host}/operator/ada"));
        assert!(matches!(parsed, Err(NameError::OtherTrustDomain { .. })), "{host:?}");
    }
}

#[test]
fn a_name_has_63_bytes_at_most() {
    assert!(Identity::operator(&domain(), &"a".repeat(63)).is_ok());
    assert!(Identity::operator(&domain(), &"a".repeat(64)).is_err());
    let long = "a".repeat(63);
    let longest = Identity::plant_client(&TrustDomain::new(&long).unwrap(), &long, &long).unwrap();
    assert!(longest.to_string().len() <= 215, "leaves room for '#' and a name in a producer's id");
}

#[test]
fn an_error_shows_no_control_characters_and_ends() {
    let error = parse(&format!("spiffe://takt.local/operator/\u{1b}[2J{}", "x".repeat(10_000)));
    let text = error.unwrap_err().to_string();
    assert!(text.len() < 1_000 && !text.contains('\u{1b}'), "{text}");
}

#[test]
fn a_server_is_of_the_hub_or_of_one_plant() {
    let munich = Identity::plant_node(&domain(), "munich", "n").unwrap();
    let client = Identity::plant_client(&domain(), "munich", "n").unwrap();
    let hub = Identity::hub_node(&domain(), "munich").unwrap();
    let plant: ServerIs = "plant/munich".parse().unwrap();
    assert!(plant.admits(&munich) && !plant.admits(&hub) && !plant.admits(&client));
    assert!(ServerIs::Hub.admits(&hub) && !ServerIs::Hub.admits(&munich));
    assert!(!ServerIs::Plant("mun".into()).admits(&munich));
    for text in ["hub", "plant/munich"] {
        assert_eq!(text.parse::<ServerIs>().unwrap().to_string(), text);
    }
    for text in ["", "Hub", "plant/", "plant", "plant/a/b", "munich"] {
        assert!(text.parse::<ServerIs>().is_err(), "{text:?}");
    }
}
