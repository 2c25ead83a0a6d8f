//! One record of the index block.
//!
//! ```text
//! flags          u8: see below
//! source, type   2 x varint: indexes of strings
//! order key      varint: 0 none, else index of an order key + 1
//! content type   varint: 0 none, else index of a string + 1
//! time           signed varint, microseconds from the batch's base   if TIME
//! data length    varint
//! digest         16 bytes
//! id             length, bytes
//! key            length, bytes                                       if KEY
//! second key     length, bytes                                       if SECOND_KEY
//! attributes     length, then each: varint (name << 2 | type),
//!                name 0: length, bytes; value: length, bytes         if ATTRIBUTES
//! ```

use bytes::Bytes;

use crate::event::{Attribute, DedupKeys, Event, EventRef, Value};
use crate::limits::{
    ATTRIBUTE_BYTES_MAX, ATTRIBUTES_MAX, DEDUP_KEY_BYTES_MAX, NAME_BYTES_MAX, RECORD_BYTES_MAX,
};
use crate::varint::{self, Cursor, Truncated};
use crate::words::{Digest, OrderKey, Timestamp};

use super::BatchError;

pub(super) const FLAG_TIME: u8 = 1;
pub(super) const FLAG_KEY: u8 = 2;
pub(super) const FLAG_SECOND_KEY: u8 = 4;
pub(super) const FLAG_ATTRIBUTES: u8 = 8;
const FLAGS_KNOWN: u8 = FLAG_TIME | FLAG_KEY | FLAG_SECOND_KEY | FLAG_ATTRIBUTES;

/// Names with a number of their own. The number is on disk and on the wire: append only.
const KNOWN_NAMES: [&str; 22] = [
    "subject",
    "dataschema",
    "recordedtime",
    "sequence",
    "correlationid",
    "causationid",
    "traceparent",
    "tracestate",
    "dataref",
    "expirytime",
    "severitytext",
    "severitynumber",
    "plant",
    "hscope",
    "opstype",
    "backfill",
    "reversalof",
    "version",
    "groupid",
    "after",
    "plants",
    "verb",
];

const TYPE_TEXT: u64 = 0;
const TYPE_INTEGER: u64 = 1;
const TYPE_BOOLEAN: u64 = 2;
const TYPE_BINARY: u64 = 3;

/// A dedup key as it lies in a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DedupKeyRef<'a> {
    /// Source and id.
    SourceAndId(&'a [u8], &'a [u8]),
    /// A key that the producer named.
    Key(&'a [u8]),
}

/// One record as it lies in a batch; its text is UTF-8.
#[derive(Debug, Clone, Copy)]
pub struct RecordView<'a> {
    pub(super) flags: u8,
    /// The event's id; may be empty.
    pub id: &'a [u8],
    /// The event's source.
    pub source: &'a [u8],
    /// The event's type.
    pub kind: &'a [u8],
    /// The order key.
    pub order_key: Option<&'a [u8]>,
    /// The number of the order key within the batch, for per-batch caches.
    pub order_index: Option<usize>,
    /// The content type of the data.
    pub content_type: Option<&'a [u8]>,
    /// When it occurred.
    pub time: Option<Timestamp>,
    /// The digest as the producer computed it.
    pub digest: Digest,
    /// Where the data begins in the uncompressed payload.
    pub data_at: usize,
    /// Length of the data in bytes.
    pub data_len: usize,
    pub(super) key: &'a [u8],
    pub(super) second_key: &'a [u8],
    pub(super) attributes: &'a [u8],
}

impl<'a> RecordView<'a> {
    /// The keys that tell a repeat: none, one or two.
    pub fn dedup_keys(&self) -> [Option<DedupKeyRef<'a>>; 2] {
        let second =
            (self.flags & FLAG_SECOND_KEY != 0).then_some(DedupKeyRef::Key(self.second_key));
        if self.flags & FLAG_KEY != 0 {
            [Some(DedupKeyRef::Key(self.key)), second]
        } else if self.id.is_empty() {
            [None, second]
        } else {
            [Some(DedupKeyRef::SourceAndId(self.source, self.id)), second]
        }
    }

    /// The event, given its data.
    ///
    /// # Errors
    /// [`BatchError`] where an attribute does not decode.
    pub fn to_event(&self, data: Bytes) -> Result<Event, BatchError> {
        let dedup = match (self.flags & FLAG_KEY != 0, self.flags & FLAG_SECOND_KEY != 0) {
            (false, _) => DedupKeys::SourceAndId,
            (true, false) => DedupKeys::Key(Bytes::copy_from_slice(self.key)),
            (true, true) => DedupKeys::Two(
                Bytes::copy_from_slice(self.key),
                Bytes::copy_from_slice(self.second_key),
            ),
        };
        Ok(Event {
            id: text(self.id)?,
            source: text(self.source)?,
            kind: text(self.kind)?,
            time: self.time,
            order_key: match self.order_key {
                Some(key) => Some(OrderKey::new(&text(key)?).map_err(|_| BatchError::Index)?),
                None => None,
            },
            dedup,
            content_type: self.content_type.map(text).transpose()?,
            data,
            attributes: decode_attributes(self.attributes)?,
        })
    }

    /// The event's other attributes.
    ///
    /// # Errors
    /// [`BatchError`] where one does not decode.
    pub fn attributes(&self) -> Result<Vec<Attribute>, BatchError> {
        decode_attributes(self.attributes)
    }
}

/// The tables that a record's numbers point into.
#[derive(Debug, Default)]
pub(super) struct Tables<'a> {
    pub orders: Vec<&'a [u8]>,
    pub strings: Vec<&'a [u8]>,
}

/// Reads one record; structure only.
pub(super) fn read_record<'a>(
    cursor: &mut Cursor<'a>,
    tables: &Tables<'a>,
    base_time: i64,
    data_at: usize,
) -> Result<RecordView<'a>, BatchError> {
    let start = cursor.rest().len();
    let flags = cursor.u8()?;
    if flags & !FLAGS_KNOWN != 0 || flags & (FLAG_KEY | FLAG_SECOND_KEY) == FLAG_SECOND_KEY {
        return Err(BatchError::Index);
    }
    let source = *tables.strings.get(cursor.varint_usize()?).ok_or(BatchError::Index)?;
    let kind = *tables.strings.get(cursor.varint_usize()?).ok_or(BatchError::Index)?;
    let order_index = cursor.varint_usize()?.checked_sub(1);
    let order_key = match order_index {
        Some(i) => Some(*tables.orders.get(i).ok_or(BatchError::Index)?),
        None => None,
    };
    let content_type = match cursor.varint_usize()?.checked_sub(1) {
        Some(i) => Some(*tables.strings.get(i).ok_or(BatchError::Index)?),
        None => None,
    };
    let time = if flags & FLAG_TIME == 0 {
        None
    } else {
        let micros = base_time.checked_add(cursor.varint_signed()?).ok_or(BatchError::Index)?;
        Some(Timestamp::from_micros(micros))
    };
    let data_len = cursor.varint_usize()?;
    let digest = Digest::new(cursor.array()?);
    let id = cursor.slice()?;
    let mut optional = |flag: u8| if flags & flag == 0 { Ok(&[][..]) } else { cursor.slice() };
    let key = optional(FLAG_KEY)?;
    let second_key = optional(FLAG_SECOND_KEY)?;
    let attributes = optional(FLAG_ATTRIBUTES)?;
    let index_len = start - cursor.rest().len();
    if data_len.saturating_add(index_len) > RECORD_BYTES_MAX {
        return Err(BatchError::RecordTooLarge);
    }
    Ok(RecordView {
        flags,
        id,
        source,
        kind,
        order_key,
        order_index,
        content_type,
        time,
        digest,
        data_at,
        data_len,
        key,
        second_key,
        attributes,
    })
}

/// Checks a record that [`read_record`] has read: limits and text.
pub(super) fn check_record(record: &RecordView<'_>) -> Result<(), BatchError> {
    let key_missing = |flag: u8, key: &[u8]| record.flags & flag != 0 && key.is_empty();
    let too_long = record.id.len() > ATTRIBUTE_BYTES_MAX
        || record.source.len() + record.id.len() > DEDUP_KEY_BYTES_MAX
        || record.key.len() > DEDUP_KEY_BYTES_MAX
        || record.second_key.len() > DEDUP_KEY_BYTES_MAX;
    if too_long || record.source.is_empty() || record.kind.is_empty() {
        return Err(BatchError::Index);
    }
    if key_missing(FLAG_KEY, record.key) || key_missing(FLAG_SECOND_KEY, record.second_key) {
        return Err(BatchError::Index);
    }
    std::str::from_utf8(record.id).map_err(|_| BatchError::Text)?;
    if record.attributes.is_empty() { Ok(()) } else { check_attributes(record.attributes) }
}

/// What a record's texts are called by in its batch.
pub(super) struct Numbers {
    pub source: usize,
    pub kind: usize,
    pub order: Option<usize>,
    pub content_type: Option<usize>,
    pub base_time: i64,
}

/// Appends an event as a record; its attributes are laid out in `attributes` first.
pub(super) fn put_event(
    out: &mut Vec<u8>,
    event: &EventRef<'_>,
    digest: Digest,
    numbers: &Numbers,
    attributes: &mut Vec<u8>,
) {
    let [key, second_key] = event.dedup.named();
    attributes.clear();
    event.attributes.iter().for_each(|a| put_attribute(attributes, a));
    let mut flags = 0;
    let mut set = |on: bool, flag: u8| flags |= if on { flag } else { 0 };
    set(event.time.is_some(), FLAG_TIME);
    set(key.is_some(), FLAG_KEY);
    set(second_key.is_some(), FLAG_SECOND_KEY);
    set(!event.attributes.is_empty(), FLAG_ATTRIBUTES);
    let record = RecordView {
        flags,
        id: event.id.as_bytes(),
        source: event.source.as_bytes(),
        kind: event.kind.as_bytes(),
        order_key: event.order_key.map(str::as_bytes),
        order_index: numbers.order,
        content_type: event.content_type.map(str::as_bytes),
        time: event.time,
        digest,
        data_at: 0,
        data_len: event.data.len(),
        key: key.unwrap_or_default(),
        second_key: second_key.unwrap_or_default(),
        attributes,
    };
    put_record(out, &record, numbers);
}

/// Appends a record, under the numbers of the batch that it goes into.
pub(super) fn put_record(out: &mut Vec<u8>, record: &RecordView<'_>, numbers: &Numbers) {
    out.push(record.flags);
    varint::put(out, numbers.source as u64);
    varint::put(out, numbers.kind as u64);
    varint::put(out, numbers.order.map_or(0, |i| i as u64 + 1));
    varint::put(out, numbers.content_type.map_or(0, |i| i as u64 + 1));
    if let Some(time) = record.time {
        varint::put_signed(out, time.as_micros().wrapping_sub(numbers.base_time));
    }
    varint::put(out, record.data_len as u64);
    out.extend_from_slice(record.digest.as_bytes());
    varint::put_slice(out, record.id);
    let optional = [
        (FLAG_KEY, record.key),
        (FLAG_SECOND_KEY, record.second_key),
        (FLAG_ATTRIBUTES, record.attributes),
    ];
    for (flag, bytes) in optional {
        if record.flags & flag != 0 {
            varint::put_slice(out, bytes);
        }
    }
}

/// An upper bound of what [`put_record`] and the tables take for an event, data not counted.
pub(super) fn record_bytes_max(event: &EventRef<'_>) -> usize {
    let keys: usize = event.dedup.named().into_iter().flatten().map(|key| key.len() + 10).sum();
    let attributes: usize = event
        .attributes
        .iter()
        .map(|a| {
            let value = match &a.value {
                Value::Text(text) => text.len(),
                Value::Binary(bytes) => bytes.len(),
                Value::Integer(_) | Value::Boolean(_) => 5,
            };
            a.name.len() + value + 24
        })
        .sum();
    let order = event.order_key.map_or(0, |key| key.len() + 3);
    let shared = event.source.len() + event.kind.len();
    let content_type = event.content_type.map_or(0, str::len);
    96 + event.id.len() + keys + attributes + order + shared + content_type
}

fn put_attribute(out: &mut Vec<u8>, attribute: &Attribute) {
    let known = KNOWN_NAMES.iter().position(|name| *name == attribute.name);
    let name = known.map_or(0, |i| i as u64 + 1);
    let (kind, value): (u64, &[u8]) = match &attribute.value {
        Value::Text(text) => (TYPE_TEXT, text.as_bytes()),
        Value::Integer(number) => (TYPE_INTEGER, &number.to_le_bytes()),
        Value::Boolean(yes) => (TYPE_BOOLEAN, &[u8::from(*yes)]),
        Value::Binary(bytes) => (TYPE_BINARY, bytes),
    };
    varint::put(out, name << 2 | kind);
    if name == 0 {
        varint::put_slice(out, attribute.name.as_bytes());
    }
    varint::put_slice(out, value);
}

fn read_attribute<'a>(cursor: &mut Cursor<'a>) -> Result<(&'a str, u64, &'a [u8]), BatchError> {
    let tag = cursor.varint()?;
    let name = match usize::try_from(tag >> 2).map_err(|_| Truncated)? {
        0 => std::str::from_utf8(cursor.slice()?).map_err(|_| BatchError::Text)?,
        i => KNOWN_NAMES.get(i - 1).copied().ok_or(BatchError::Index)?,
    };
    let value = cursor.slice()?;
    if name.is_empty() || name.len() > NAME_BYTES_MAX || value.len() > ATTRIBUTE_BYTES_MAX {
        return Err(BatchError::Index);
    }
    Ok((name, tag & 3, value))
}

fn read_value(kind: u64, value: &[u8]) -> Result<Value, BatchError> {
    match kind {
        TYPE_TEXT => Ok(Value::Text(text(value)?)),
        TYPE_INTEGER => {
            let bytes = value.try_into().map_err(|_| BatchError::Index)?;
            Ok(Value::Integer(i32::from_le_bytes(bytes)))
        }
        TYPE_BOOLEAN => match value {
            [0] => Ok(Value::Boolean(false)),
            [1] => Ok(Value::Boolean(true)),
            _ => Err(BatchError::Index),
        },
        _ => Ok(Value::Binary(Bytes::copy_from_slice(value))),
    }
}

fn check_attributes(bytes: &[u8]) -> Result<(), BatchError> {
    let mut cursor = Cursor::new(bytes);
    let mut count = 0;
    while !cursor.is_empty() {
        let (_, kind, value) = read_attribute(&mut cursor)?;
        count += 1;
        let valid = match kind {
            TYPE_TEXT => std::str::from_utf8(value).is_ok(),
            TYPE_INTEGER => value.len() == 4,
            TYPE_BOOLEAN => matches!(value, [0 | 1]),
            _ => true,
        };
        if !valid || count > ATTRIBUTES_MAX {
            return Err(BatchError::Index);
        }
    }
    Ok(())
}

fn decode_attributes(bytes: &[u8]) -> Result<Vec<Attribute>, BatchError> {
    let mut cursor = Cursor::new(bytes);
    let mut attributes = Vec::new();
    while !cursor.is_empty() {
        let (name, kind, value) = read_attribute(&mut cursor)?;
        attributes.push(Attribute { name: name.to_owned(), value: read_value(kind, value)? });
    }
    Ok(attributes)
}

fn text(bytes: &[u8]) -> Result<String, BatchError> {
    std::str::from_utf8(bytes).map(str::to_owned).map_err(|_| BatchError::Text)
}
