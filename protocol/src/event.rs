//! An event as an application sees it: CloudEvents 1.0 context, data, and the keys that Takt needs.

use bytes::Bytes;

use crate::limits::{
    ATTRIBUTE_BYTES_MAX, ATTRIBUTES_MAX, DEDUP_KEY_BYTES_MAX, NAME_BYTES_MAX, ORDER_KEY_BYTES_MAX,
};
use crate::words::{OrderKey, Timestamp};

/// One event. Attributes that CloudEvents or Takt name, and that have no field here, are in
/// [`Event::attributes`].
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Event {
    /// Unique within the source. Empty where the source has no identity for its events; then no
    /// repeat can be told, and the event counts as `no_identity`.
    pub id: String,
    /// Who produced it, such as `//acme/plant07/mes/opcenter`.
    pub source: String,
    /// What happened, such as `mfg.operation.confirmed.v1`.
    pub kind: String,
    /// When it occurred.
    pub time: Option<Timestamp>,
    /// What it must stay in order with (the attribute `partitionkey`).
    pub order_key: Option<OrderKey>,
    /// The identity of the event where it is not source and id.
    pub dedup: DedupKeys,
    /// The media type of the data (`datacontenttype`).
    pub content_type: Option<String>,
    /// The data, untouched by any node.
    pub data: Bytes,
    /// All other attributes, in the order in which they are to be kept.
    pub attributes: Vec<Attribute>,
}

/// An event whose parts lie elsewhere: a batch is laid out from it without an allocation. Its fields are
/// those of [`Event`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct EventRef<'a> {
    /// See [`Event::id`].
    pub id: &'a str,
    /// See [`Event::source`].
    pub source: &'a str,
    /// See [`Event::kind`].
    pub kind: &'a str,
    /// See [`Event::time`].
    pub time: Option<Timestamp>,
    /// See [`Event::order_key`]: 1 to 255 bytes.
    pub order_key: Option<&'a str>,
    /// See [`Event::dedup`].
    pub dedup: DedupKeys<&'a [u8]>,
    /// See [`Event::content_type`].
    pub content_type: Option<&'a str>,
    /// See [`Event::data`].
    pub data: &'a [u8],
    /// See [`Event::attributes`].
    pub attributes: &'a [Attribute],
}

/// Which keys tell a repeat.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DedupKeys<K = Bytes> {
    /// Source and id; none where the id is empty.
    #[default]
    SourceAndId,
    /// A key that the producer names instead.
    Key(K),
    /// Two keys, such as a transport's id and a business id: either repeated is a repeat.
    Two(K, K),
}

/// An attribute beside those with a field of their own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attribute {
    /// `a-z` and `0-9`, as CloudEvents wants it; at most 255 bytes.
    pub name: String,
    /// Its value.
    pub value: Value,
}

/// The value of an attribute in the types of CloudEvents; those that are text there (URI,
/// timestamp) are text here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// Text, at most 1 KiB.
    Text(String),
    /// A whole number of 32 bits.
    Integer(i32),
    /// Yes or no.
    Boolean(bool),
    /// Bytes, at most 1 KiB.
    Binary(Bytes),
}

/// Why an event cannot be published.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EventError {
    /// CloudEvents requires the attribute.
    #[error("the attribute {attribute} is required")]
    Missing {
        /// Which one.
        attribute: &'static str,
    },
    /// Something is over its limit.
    #[error("{what} has {len} bytes, at most {max} are allowed")]
    TooLong {
        /// What is too long.
        what: &'static str,
        /// Its size in bytes.
        len: usize,
        /// The limit in bytes, inclusive.
        max: usize,
    },
    /// There are more attributes than allowed.
    #[error("{count} attributes; at most 64 are allowed beside those of CloudEvents")]
    TooManyAttributes {
        /// How many there are.
        count: usize,
    },
    /// The name of an attribute is not one of CloudEvents'.
    #[error("{name:?} is no attribute name: 1 to 255 of a-z and 0-9, none of Takt's own fields")]
    AttributeName {
        /// The name.
        name: String,
    },
    /// A name stands twice.
    #[error("the attribute {name} stands twice")]
    AttributeTwice {
        /// The name.
        name: String,
    },
}

/// Attributes that are fields of [`Event`] and may not stand in [`Event::attributes`].
pub const FIELD_ATTRIBUTES: [&str; 9] = [
    "specversion",
    "id",
    "source",
    "type",
    "time",
    "partitionkey",
    "datacontenttype",
    "data",
    "data_base64",
];

impl Event {
    /// The attribute `name` of [`Event::attributes`].
    pub fn attribute(&self, name: &str) -> Option<&Value> {
        self.attributes.iter().find(|a| a.name == name).map(|a| &a.value)
    }

    /// Checks what can be checked without a batch around it.
    ///
    /// # Errors
    /// [`EventError`] with the first rule that is broken.
    pub fn check(&self) -> Result<(), EventError> {
        EventRef::from(self).check()
    }
}

impl<'a> From<&'a Event> for EventRef<'a> {
    fn from(event: &'a Event) -> Self {
        Self {
            id: &event.id,
            source: &event.source,
            kind: &event.kind,
            time: event.time,
            order_key: event.order_key.as_ref().map(OrderKey::as_str),
            dedup: match &event.dedup {
                DedupKeys::SourceAndId => DedupKeys::SourceAndId,
                DedupKeys::Key(one) => DedupKeys::Key(one),
                DedupKeys::Two(one, two) => DedupKeys::Two(one, two),
            },
            content_type: event.content_type.as_deref(),
            data: &event.data,
            attributes: &event.attributes,
        }
    }
}

impl<'a> DedupKeys<&'a [u8]> {
    /// The keys that are named, first and second.
    pub fn named(self) -> [Option<&'a [u8]>; 2] {
        match self {
            Self::SourceAndId => [None, None],
            Self::Key(one) => [Some(one), None],
            Self::Two(one, two) => [Some(one), Some(two)],
        }
    }
}

impl EventRef<'_> {
    /// Checks what can be checked without a batch around it.
    ///
    /// # Errors
    /// [`EventError`] with the first rule that is broken.
    pub fn check(&self) -> Result<(), EventError> {
        for (attribute, text) in [("source", self.source), ("type", self.kind)] {
            if text.is_empty() {
                return Err(EventError::Missing { attribute });
            }
        }
        within("the attribute source", self.source.len(), ATTRIBUTE_BYTES_MAX)?;
        within("the attribute type", self.kind.len(), ATTRIBUTE_BYTES_MAX)?;
        within("the attribute id", self.id.len(), ATTRIBUTE_BYTES_MAX)?;
        within("source and id together", self.source.len() + self.id.len(), DEDUP_KEY_BYTES_MAX)?;
        if let Some(content_type) = self.content_type {
            within("the attribute datacontenttype", content_type.len(), ATTRIBUTE_BYTES_MAX)?;
        }
        if let Some(order_key) = self.order_key {
            within("the attribute partitionkey", order_key.len(), ORDER_KEY_BYTES_MAX)?;
            if order_key.is_empty() {
                return Err(EventError::Missing { attribute: "partitionkey" });
            }
        }
        for key in self.dedup.named().into_iter().flatten() {
            within("a dedup key", key.len(), DEDUP_KEY_BYTES_MAX)?;
            if key.is_empty() {
                return Err(EventError::Missing { attribute: "dedup key" });
            }
        }
        if self.attributes.len() > ATTRIBUTES_MAX {
            return Err(EventError::TooManyAttributes { count: self.attributes.len() });
        }
        for (i, attribute) in self.attributes.iter().enumerate() {
            attribute.check()?;
            if self.attributes[..i].iter().any(|other| other.name == attribute.name) {
                return Err(EventError::AttributeTwice { name: attribute.name.clone() });
            }
        }
        Ok(())
    }
}

impl Attribute {
    /// A text attribute.
    pub fn text(name: impl Into<String>, value: impl Into<String>) -> Self {
        Self { name: name.into(), value: Value::Text(value.into()) }
    }

    fn check(&self) -> Result<(), EventError> {
        let charset = self.name.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9'));
        let own = FIELD_ATTRIBUTES.contains(&self.name.as_str());
        if !charset || own || self.name.is_empty() || self.name.len() > NAME_BYTES_MAX {
            let name = self.name.chars().take(64).collect();
            return Err(EventError::AttributeName { name });
        }
        let len = match &self.value {
            Value::Text(text) => text.len(),
            Value::Binary(bytes) => bytes.len(),
            Value::Integer(_) | Value::Boolean(_) => 0,
        };
        within("the value of an attribute", len, ATTRIBUTE_BYTES_MAX)
    }
}

fn within(what: &'static str, len: usize, max: usize) -> Result<(), EventError> {
    if len > max { Err(EventError::TooLong { what, len, max }) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_checked_field_by_field() {
        let long = "x".repeat(ATTRIBUTE_BYTES_MAX + 1);
        let order_key = "x".repeat(ORDER_KEY_BYTES_MAX + 1);
        let dedup_key = vec![0; DEDUP_KEY_BYTES_MAX + 1];
        let attributes = [Attribute::text("plant", "munich"), Attribute::text("plant", "lyon")];
        let own = [Attribute::text("partitionkey", "PO-1")];
        let many: Vec<Attribute> =
            (0..=ATTRIBUTES_MAX).map(|n| Attribute::text(format!("a{n}"), "")).collect();
        let whole = EventRef { id: "1", source: "//acme/mes", kind: "x", ..EventRef::default() };
        whole.check().unwrap();
        EventRef { order_key: Some(&order_key[1..]), ..whole }.check().unwrap();

        let too_long = |what, len, max| EventError::TooLong { what, len, max };
        let attribute = |what| too_long(what, ATTRIBUTE_BYTES_MAX + 1, ATTRIBUTE_BYTES_MAX);
        let missing = |attribute| EventError::Missing { attribute };
        let cases = [
            (EventRef { source: "", ..whole }, missing("source")),
            (EventRef { kind: "", ..whole }, missing("type")),
            (EventRef { source: &long, ..whole }, attribute("the attribute source")),
            (EventRef { kind: &long, ..whole }, attribute("the attribute type")),
            (EventRef { id: &long, ..whole }, attribute("the attribute id")),
            (
                EventRef { content_type: Some(&long), ..whole },
                attribute("the attribute datacontenttype"),
            ),
            (EventRef { order_key: Some(""), ..whole }, missing("partitionkey")),
            (
                EventRef { order_key: Some(&order_key), ..whole },
                too_long(
                    "the attribute partitionkey",
                    ORDER_KEY_BYTES_MAX + 1,
                    ORDER_KEY_BYTES_MAX,
                ),
            ),
            (EventRef { dedup: DedupKeys::Key(&[]), ..whole }, missing("dedup key")),
            (
                EventRef { dedup: DedupKeys::Two(b"k", &dedup_key), ..whole },
                too_long("a dedup key", DEDUP_KEY_BYTES_MAX + 1, DEDUP_KEY_BYTES_MAX),
            ),
            (
                EventRef { attributes: &many, ..whole },
                EventError::TooManyAttributes { count: ATTRIBUTES_MAX + 1 },
            ),
            (
                EventRef { attributes: &attributes, ..whole },
                EventError::AttributeTwice { name: "plant".to_owned() },
            ),
            (
                EventRef { attributes: &own, ..whole },
                EventError::AttributeName { name: "partitionkey".to_owned() },
            ),
        ];
        for (event, error) in cases {
            assert_eq!(event.check(), Err(error), "{event:?}");
        }
    }
}
