//! From JSON to events.

use std::borrow::Cow;
use std::fmt;

use bytes::Bytes;
use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;
use takt_protocol::event::{Attribute, DedupKeys, Event, EventError, Value};
use takt_protocol::words::{NameError, OrderKey, Timestamp};

use super::{DEDUP_KEYS, DEDUP_KEYS_BASE64, Form, base64};

/// Why JSON is no event.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// It is no JSON object.
    #[error("no CloudEvent in JSON: {0}")]
    Json(#[from] serde_json::Error),
    /// It is of another version of CloudEvents, or says none.
    #[error("specversion is {found}; give \"specversion\": \"1.0\"")]
    SpecVersion {
        /// What it says, as JSON.
        found: String,
    },
    /// A member stands twice.
    #[error("the member {name} stands twice; keep one")]
    Twice {
        /// Its name.
        name: &'static str,
    },
    /// An attribute of CloudEvents is not text.
    #[error("{name} must be a string; put its value in quotes")]
    NotText {
        /// Its name.
        name: &'static str,
    },
    /// The time is not one.
    #[error("time {found:?} is not an RFC 3339 time with an offset, such as 2026-11-22T06:15:00Z")]
    Time {
        /// What it says.
        found: String,
    },
    /// The order key breaks its rules.
    #[error("partitionkey: {0}")]
    OrderKey(#[source] NameError),
    /// A second dedup key without a first.
    #[error("taktdedupkey2 needs taktdedupkey; give the first key or leave both out")]
    SecondKeyAlone,
    /// Base64 that is not.
    #[error("{name} is not base64 (standard alphabet, padded, no line breaks)")]
    Base64 {
        /// The member.
        name: &'static str,
    },
    /// An extension attribute of a type that CloudEvents does not have.
    #[error(
        "the attribute {name} must be a string, true, false or a whole number of 32 bits; \
         write other numbers as strings and structures into data"
    )]
    AttributeType {
        /// Its name.
        name: String,
    },
    /// Data stands twice.
    #[error("an event has data or data_base64, not both")]
    DataTwice,
    /// Data that is no string where the content type is not JSON.
    #[error(
        "data must be a string where datacontenttype is {content_type:?}; \
         give a string, data_base64, or a JSON content type"
    )]
    DataForm {
        /// The content type.
        content_type: String,
    },
    /// A rule for all events is broken.
    #[error(transparent)]
    Event(#[from] EventError),
}

/// Why an array is no batch of events.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BatchError {
    /// It is no JSON array.
    #[error("no JSON array of CloudEvents: {0}")]
    Json(#[from] serde_json::Error),
    /// One of its elements is no event.
    #[error("event {index} of the array: {source}")]
    Event {
        /// Which one, from 0.
        index: usize,
        /// What is wrong with it.
        source: DecodeError,
    },
}

/// One event. JSON data is a slice of `json`: nothing is copied.
///
/// # Errors
/// [`DecodeError`] with what to do about it. What is returned passes [`Event::check`].
pub fn decode(json: &Bytes) -> Result<Event, DecodeError> {
    let members: Members<'_> = serde_json::from_slice(json)?;
    let mut draft = Draft::default();
    for (name, raw) in members.0 {
        draft.take(&name, raw)?;
    }
    draft.finish(json)
}

/// A JSON array of events.
///
/// # Errors
/// [`BatchError`] with the first element that is no event.
pub fn decode_batch(json: &Bytes) -> Result<Vec<Event>, BatchError> {
    let elements: Vec<&RawValue> = serde_json::from_slice(json)?;
    let event = |(index, element): (usize, &RawValue)| {
        decode(&json.slice_ref(element.get().as_bytes()))
            .map_err(|source| BatchError::Event { index, source })
    };
    elements.into_iter().enumerate().map(event).collect()
}

#[derive(Deserialize)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

/// The members of an object in their order, values unread.
struct Members<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(MembersVisitor)
    }
}

struct MembersVisitor;

impl<'de> Visitor<'de> for MembersVisitor {
    type Value = Members<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object with the attributes of an event")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut members = Vec::with_capacity(12);
        while let Some((Name(name), raw)) = map.next_entry()? {
            members.push((name, raw));
        }
        Ok(Members(members))
    }
}

#[derive(Default)]
struct Draft<'a> {
    specversion: Option<String>,
    id: Option<String>,
    source: Option<String>,
    kind: Option<String>,
    time: Option<String>,
    order_key: Option<String>,
    content_type: Option<String>,
    keys: [Option<Bytes>; 2],
    data: Option<&'a RawValue>,
    data_base64: Option<String>,
    attributes: Vec<Attribute>,
}

impl<'a> Draft<'a> {
    fn take(&mut self, name: &str, raw: &'a RawValue) -> Result<(), DecodeError> {
        match name {
            "specversion" => text("specversion", raw, &mut self.specversion),
            "id" => text("id", raw, &mut self.id),
            "source" => text("source", raw, &mut self.source),
            "type" => text("type", raw, &mut self.kind),
            "time" => text("time", raw, &mut self.time),
            "partitionkey" => text("partitionkey", raw, &mut self.order_key),
            "datacontenttype" => text("datacontenttype", raw, &mut self.content_type),
            "data_base64" => text("data_base64", raw, &mut self.data_base64),
            "data" if self.data.is_some() => Err(DecodeError::Twice { name: "data" }),
            "data" => {
                self.data = Some(raw);
                Ok(())
            }
            other => self.extension(other, raw),
        }
    }

    fn extension(&mut self, name: &str, raw: &RawValue) -> Result<(), DecodeError> {
        for (i, slot) in self.keys.iter_mut().enumerate() {
            if name == DEDUP_KEYS[i] || name == DEDUP_KEYS_BASE64[i] {
                let mut key = None;
                text(DEDUP_KEYS[i], raw, &mut key)?;
                let Some(key) = key else { return Ok(()) };
                if slot.is_some() {
                    return Err(DecodeError::Twice { name: DEDUP_KEYS[i] });
                }
                *slot = Some(if name == DEDUP_KEYS[i] {
                    key.into()
                } else {
                    let name = DEDUP_KEYS_BASE64[i];
                    base64::decode(&key).ok_or(DecodeError::Base64 { name })?.into()
                });
                return Ok(());
            }
        }
        let refused = |_| DecodeError::AttributeType { name: name.chars().take(64).collect() };
        let value = match raw.get().as_bytes().first() {
            Some(b'n') => return Ok(()),
            Some(b'"') => Value::Text(serde_json::from_str(raw.get()).map_err(refused)?),
            Some(b't' | b'f') => Value::Boolean(serde_json::from_str(raw.get()).map_err(refused)?),
            _ => Value::Integer(serde_json::from_str(raw.get()).map_err(refused)?),
        };
        self.attributes.push(Attribute { name: name.to_owned(), value });
        Ok(())
    }

    fn finish(self, json: &Bytes) -> Result<Event, DecodeError> {
        if self.specversion.as_deref() != Some("1.0") {
            let found = self.specversion.map_or("missing".to_owned(), |text| {
                format!("{:?}", text.chars().take(64).collect::<String>())
            });
            return Err(DecodeError::SpecVersion { found });
        }
        let data = match (self.data, self.data_base64) {
            (Some(_), Some(_)) => return Err(DecodeError::DataTwice),
            (None, None) => Bytes::new(),
            (Some(raw), None) => data(raw, self.content_type.as_deref(), json)?,
            (None, Some(text)) => {
                base64::decode(&text).ok_or(DecodeError::Base64 { name: "data_base64" })?.into()
            }
        };
        let event = Event {
            id: self.id.unwrap_or_default(),
            source: self.source.unwrap_or_default(),
            kind: self.kind.unwrap_or_default(),
            time: self.time.map(time).transpose()?,
            order_key: match self.order_key {
                Some(key) => Some(OrderKey::new(&key).map_err(DecodeError::OrderKey)?),
                None => None,
            },
            dedup: match self.keys {
                [None, None] => DedupKeys::SourceAndId,
                [Some(one), None] => DedupKeys::Key(one),
                [Some(one), Some(two)] => DedupKeys::Two(one, two),
                [None, Some(_)] => return Err(DecodeError::SecondKeyAlone),
            },
            content_type: self.content_type,
            data,
            attributes: self.attributes,
        };
        event.check()?;
        Ok(event)
    }
}

/// Reads an attribute that must be text into `slot`; `null` is an absent one.
fn text(name: &'static str, raw: &RawValue, slot: &mut Option<String>) -> Result<(), DecodeError> {
    let value: Option<String> =
        serde_json::from_str(raw.get()).map_err(|_| DecodeError::NotText { name })?;
    if value.is_some() && slot.is_some() {
        return Err(DecodeError::Twice { name });
    }
    *slot = value.or(slot.take());
    Ok(())
}

fn time(text: String) -> Result<Timestamp, DecodeError> {
    let time: jiff::Timestamp =
        text.parse().map_err(|_| DecodeError::Time { found: text.chars().take(64).collect() })?;
    // Downwards also before 1970, so that times keep their order.
    let micros = time.as_nanosecond().div_euclid(1_000);
    let micros = i64::try_from(micros).map_err(|_| DecodeError::Time { found: text })?;
    Ok(Timestamp::from_micros(micros))
}

fn data(raw: &RawValue, content_type: Option<&str>, json: &Bytes) -> Result<Bytes, DecodeError> {
    match (Form::of(content_type), content_type) {
        (Form::Json, _) | (_, None) => Ok(json.slice_ref(raw.get().as_bytes())),
        (Form::Text | Form::Binary, Some(content_type)) => {
            let text: Option<String> = serde_json::from_str(raw.get()).map_err(|_| {
                let content_type = content_type.chars().take(64).collect();
                DecodeError::DataForm { content_type }
            })?;
            Ok(text.unwrap_or_default().into())
        }
    }
}
