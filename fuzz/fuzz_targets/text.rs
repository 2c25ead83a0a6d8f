//! Texts that people and other systems write, by the first byte: a configuration, names of
//! certificates, rows of a CSV file, events as JSON. They are refused or mean something.
#![no_main]

use std::path::Path;

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use takt_broker::config::Settings;
use takt_broker::import::production_mapping;
use takt_broker::import::{COLUMNS, DedupColumns, Identity as RowIdentity, Rows};
use takt_client::json;
use takt_client::tls::{Identity, ServerIs, TrustDomain};

fuzz_target!(|data: &[u8]| {
    let [which, data @ ..] = data else { return };
    match which % 6 {
        0 => config(data),
        1 => names(data),
        2 => rows(data, RowIdentity::IdColumn("#".to_owned())),
        3 => rows(data, RowIdentity::DedupColumns(DedupColumns::All)),
        4 => event(&Bytes::copy_from_slice(data)),
        _ => drop(json::decode_batch(&Bytes::copy_from_slice(data))),
    }
});

fn config(data: &[u8]) {
    // The file, and behind a zero what the environment says.
    let mut parts = data.split(|byte| *byte == 0);
    let Ok(text) = std::str::from_utf8(parts.next().unwrap_or_default()) else { return };
    let environment = parts.filter_map(|part| {
        let (name, value) = std::str::from_utf8(part).ok()?.split_once('=')?;
        Some((name.to_owned(), value.to_owned()))
    });
    match Settings::parse(Path::new("/etc/takt/node.toml"), text, environment) {
        // What holds has an identity.
        Ok(settings) => drop(settings.node.identity().to_string()),
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

fn names(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let domain = TrustDomain::default();
    if let Ok(identity) = Identity::parse(text, &domain) {
        assert_eq!(identity.to_string(), text, "one identity, one text");
    }
    let _ = text.parse::<ServerIs>();
    let _ = TrustDomain::new(text);
}

fn rows(data: &[u8], identity: RowIdentity) {
    let mapping = production_mapping("//acme/mes", identity, "Europe/Berlin");
    let header = COLUMNS.join(",");
    let file = [header.as_bytes(), b"\n", data].concat();
    let rows = Rows::new(&file[..], &mapping).expect("the header fits");
    for row in rows.flatten().flatten() {
        row.event.check().expect("what an import makes is an event");
    }
}

fn event(json: &Bytes) {
    let Ok(event) = json::decode(json) else { return };
    event.check().expect("what was read is an event");
    let Ok(text) = json::encode(&event) else { return };
    let again = json::decode(&text.into()).expect("what was written can be read");
    assert_eq!(again, event);
}
