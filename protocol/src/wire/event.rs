//! An event outside of a batch: answers to administrators.

use crate::event::{Attribute, DedupKeys, Event, Value};
use crate::words::{NameError, OrderKey, Timestamp};

use super::proto::event_attribute::Value as WireValue;
use super::proto::{EventAttribute, EventMessage};

/// Why a message is no event.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EventMessageError {
    /// The order key is none.
    #[error(transparent)]
    OrderKey(#[from] NameError),
    /// More than two dedup keys.
    #[error("an event has {count} dedup keys; two are the most")]
    DedupKeys {
        /// How many there are.
        count: usize,
    },
    /// An attribute without a value, or with one of a type that this version does not know.
    #[error("the attribute {name} has no value of a known type")]
    Value {
        /// Its name.
        name: String,
    },
}

impl From<Event> for EventMessage {
    fn from(event: Event) -> Self {
        Self {
            id: event.id,
            source: event.source,
            r#type: event.kind,
            time_us: event.time.map(Timestamp::as_micros),
            order_key: event.order_key.map(|key| key.as_str().to_owned()),
            dedup_keys: match event.dedup {
                DedupKeys::SourceAndId => Vec::new(),
                DedupKeys::Key(one) => vec![one],
                DedupKeys::Two(one, two) => vec![one, two],
            },
            content_type: event.content_type,
            data: event.data,
            attributes: event.attributes.into_iter().map(EventAttribute::from).collect(),
        }
    }
}

impl From<Attribute> for EventAttribute {
    fn from(attribute: Attribute) -> Self {
        let value = match attribute.value {
            Value::Text(text) => WireValue::Text(text),
            Value::Integer(number) => WireValue::Integer(number),
            Value::Boolean(yes) => WireValue::Boolean(yes),
            Value::Binary(bytes) => WireValue::Binary(bytes),
        };
        Self { name: attribute.name, value: Some(value) }
    }
}

impl TryFrom<EventMessage> for Event {
    type Error = EventMessageError;

    fn try_from(message: EventMessage) -> Result<Self, Self::Error> {
        let mut keys = message.dedup_keys.into_iter();
        let dedup = match (keys.next(), keys.next(), keys.len()) {
            (None, _, _) => DedupKeys::SourceAndId,
            (Some(one), None, _) => DedupKeys::Key(one),
            (Some(one), Some(two), 0) => DedupKeys::Two(one, two),
            (Some(_), Some(_), more) => {
                return Err(EventMessageError::DedupKeys { count: more + 2 });
            }
        };
        let attribute = |attribute: EventAttribute| {
            let value = match attribute.value {
                Some(WireValue::Text(text)) => Value::Text(text),
                Some(WireValue::Integer(number)) => Value::Integer(number),
                Some(WireValue::Boolean(yes)) => Value::Boolean(yes),
                Some(WireValue::Binary(bytes)) => Value::Binary(bytes),
                None => return Err(EventMessageError::Value { name: attribute.name }),
            };
            Ok(Attribute { name: attribute.name, value })
        };
        Ok(Self {
            id: message.id,
            source: message.source,
            kind: message.r#type,
            time: message.time_us.map(Timestamp::from_micros),
            order_key: message.order_key.as_deref().map(OrderKey::new).transpose()?,
            dedup,
            content_type: message.content_type,
            data: message.data,
            attributes: message.attributes.into_iter().map(attribute).collect::<Result<_, _>>()?,
        })
    }
}
