//! A delivered event as one line of JSON: a CloudEvent with where it stands.
//!
//! `origin`, `partition`, `offset`, `ordersequence` and `appendtime` stand beside the event's own
//! attributes, and in place of attributes of the same names: those say where it stood elsewhere.

use serde::Serialize;
use takt_client::json::{EncodeError, encode_line};
use takt_client::{Delivered, OrderSequence};

use super::connection::rfc3339;

/// The names that say where an event stands.
pub(super) const PLACE_ATTRIBUTES: [&str; 5] =
    ["origin", "partition", "offset", "ordersequence", "appendtime"];

#[derive(Serialize)]
struct Place<'a> {
    origin: &'a str,
    partition: u16,
    offset: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    ordersequence: Option<u64>,
    appendtime: String,
}

/// The line, with its line break.
pub(super) fn event_line(mut delivered: Delivered) -> Result<Vec<u8>, EncodeError> {
    let event = &mut delivered.event;
    event.attributes.retain(|attribute| !PLACE_ATTRIBUTES.contains(&attribute.name.as_str()));
    let mut line = encode_line(event)?;
    let place = Place {
        origin: delivered.partition.origin.as_str(),
        partition: delivered.partition.number.get(),
        offset: delivered.offset.get(),
        ordersequence: delivered.order_sequence.map(OrderSequence::get),
        appendtime: rfc3339(delivered.append_time),
    };
    let place = serde_json::to_vec(&place).expect("numbers and texts are JSON");
    let end = line.pop();
    assert!(end == Some(b'}') && line.len() > 1, "an event is an object with members");
    line.push(b',');
    line.extend_from_slice(&place[1..]);
    line.push(b'\n');
    Ok(line)
}
