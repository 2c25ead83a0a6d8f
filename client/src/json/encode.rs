//! From events to JSON.

use serde_json::value::RawValue;
use takt_protocol::event::{DedupKeys, Event, Value};
use takt_protocol::words::Timestamp;

use super::{DEDUP_KEYS, DEDUP_KEYS_BASE64, Form, base64};

/// 0000-01-01T00:00:00Z: RFC 3339 has no earlier year.
const TIME_MICROS_MIN: i64 = -62_167_219_200_000_000;

/// Why an event cannot be written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EncodeError {
    /// RFC 3339 has no such year.
    #[error("the time {micros} microseconds from 1970 is outside the years 0 to 9999 of RFC 3339")]
    Time {
        /// Microseconds since 1970.
        micros: i64,
    },
    /// An attribute has a name that stands for something else in JSON.
    #[error("the attribute {name} has a name that Takt uses in JSON; rename it")]
    Reserved {
        /// Its name.
        name: String,
    },
}

/// One event. JSON data is written as it is, line breaks included: see [`encode_line`].
///
/// # Errors
/// [`EncodeError`].
pub fn encode(event: &Event) -> Result<Vec<u8>, EncodeError> {
    let mut out = Writer(Vec::with_capacity(384 + event.data.len()));
    out.0.push(b'{');
    out.text("specversion", "1.0");
    if !event.id.is_empty() {
        out.text("id", &event.id);
    }
    out.text("source", &event.source);
    out.text("type", &event.kind);
    if let Some(time) = event.time {
        out.text("time", &rfc3339(time)?);
    }
    if let Some(key) = &event.order_key {
        out.text("partitionkey", key.as_str());
    }
    let keys = match &event.dedup {
        DedupKeys::SourceAndId => [None, None],
        DedupKeys::Key(one) => [Some(one), None],
        DedupKeys::Two(one, two) => [Some(one), Some(two)],
    };
    for (i, key) in keys.into_iter().enumerate() {
        match key.map(|key| std::str::from_utf8(key).map_err(|_| key)) {
            Some(Ok(text)) => out.text(DEDUP_KEYS[i], text),
            Some(Err(bytes)) => out.base64(DEDUP_KEYS_BASE64[i], bytes),
            None => {}
        }
    }
    if let Some(content_type) = &event.content_type {
        out.text("datacontenttype", content_type);
    }
    for attribute in &event.attributes {
        let name = attribute.name.as_str();
        if DEDUP_KEYS.contains(&name) || DEDUP_KEYS_BASE64.contains(&name) {
            return Err(EncodeError::Reserved { name: name.to_owned() });
        }
        match &attribute.value {
            Value::Text(text) => out.text(name, text),
            Value::Integer(number) => out.bare(name, number.to_string().as_bytes()),
            Value::Boolean(yes) => out.bare(name, if *yes { b"true" } else { b"false" }),
            Value::Binary(bytes) => out.base64(name, bytes),
        }
    }
    out.data(event);
    out.0.push(b'}');
    Ok(out.0)
}

/// As [`encode`], on one line: line breaks within JSON data become spaces. Its bytes, and so its
/// digest, are then others; [`encode`] keeps them.
///
/// # Errors
/// [`EncodeError`].
pub fn encode_line(event: &Event) -> Result<Vec<u8>, EncodeError> {
    let mut line = encode(event)?;
    // A JSON string holds no bare control character, so these stand between tokens only.
    for byte in &mut line {
        if matches!(byte, b'\n' | b'\r') {
            *byte = b' ';
        }
    }
    Ok(line)
}

fn rfc3339(time: Timestamp) -> Result<String, EncodeError> {
    let micros = time.as_micros();
    match jiff::Timestamp::from_microsecond(micros) {
        Ok(time) if micros >= TIME_MICROS_MIN => Ok(time.to_string()),
        Ok(_) | Err(_) => Err(EncodeError::Time { micros }),
    }
}

struct Writer(Vec<u8>);

impl Writer {
    fn name(&mut self, name: &str) {
        if self.0.len() > 1 {
            self.0.push(b',');
        }
        self.string(name);
        self.0.push(b':');
    }

    fn string(&mut self, text: &str) {
        serde_json::to_writer(&mut self.0, text).expect("text is written to memory");
    }

    fn text(&mut self, name: &str, value: &str) {
        self.name(name);
        self.string(value);
    }

    fn bare(&mut self, name: &str, value: &[u8]) {
        self.name(name);
        self.0.extend_from_slice(value);
    }

    fn base64(&mut self, name: &str, bytes: &[u8]) {
        self.name(name);
        self.0.push(b'"');
        base64::encode(bytes, &mut self.0);
        self.0.push(b'"');
    }

    fn data(&mut self, event: &Event) {
        if event.data.is_empty() {
            return;
        }
        match Form::of(event.content_type.as_deref()) {
            Form::Json if is_one_value(&event.data) => self.bare("data", &event.data),
            Form::Json | Form::Binary => self.base64("data_base64", &event.data),
            Form::Text => match std::str::from_utf8(&event.data) {
                Ok(text) => self.text("data", text),
                Err(_) => self.base64("data_base64", &event.data),
            },
        }
    }
}

/// Whether the bytes are one JSON value with nothing around it, so that a reader gets them back.
fn is_one_value(data: &[u8]) -> bool {
    serde_json::from_slice::<&RawValue>(data).is_ok_and(|raw| raw.get().len() == data.len())
}
