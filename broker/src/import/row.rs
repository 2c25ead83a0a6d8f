//! One row: a whole event, or what is wrong with it.

use bytes::Bytes;
use serde::Serializer;
use takt_protocol::event::{DedupKeys, Event, EventError};
use takt_protocol::hashing::{DigestFields, DigestHasher};
use takt_protocol::limits::{DEDUP_KEY_BYTES_MAX, RECORD_BYTES_MAX};
use takt_protocol::varint;
use takt_protocol::words::{NameError, OrderKey};

use super::mapping::{BoundIdentity, BoundMapping};
use super::times::{AmbiguousTime, TimeError};

/// How much of a value an error shows, in characters.
const SHOWN_CHARS_MAX: usize = 64;
/// What the attributes of a row may need beside its data.
const ATTRIBUTE_ROOM_BYTES: usize = 8 << 10;

/// An event and the row that it comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Imported {
    /// The line of the file that the row begins in, from 1; the header is line 1.
    pub line: u64,
    /// The number of the data row, from 1; rows with errors count.
    pub number: u64,
    /// The event.
    pub event: Event,
    /// A time that is kept but was not clear.
    pub ambiguous_time: Option<AmbiguousTime>,
}

/// A row that is no event.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {what}")]
pub struct RowError {
    /// The line of the file that the row begins in, from 1; the header is line 1.
    pub line: u64,
    /// What is wrong with it.
    pub what: RowProblem,
}

/// What is wrong with a row.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RowProblem {
    /// It has more or fewer fields than the header.
    #[error("{found} fields, the header has {expected}")]
    Fields {
        /// Fields of the row.
        found: usize,
        /// Fields of the header.
        expected: usize,
    },
    /// The file ends within its last field, which goes over more than one line.
    #[error("a quote that is never closed: this row has taken all behind it into one field")]
    Unclosed,
    /// It is not UTF-8.
    #[error("not UTF-8 in the column \"{}\"", shown(.column))]
    Encoding {
        /// The first such column.
        column: String,
    },
    /// Its order key is none.
    #[error("the column \"{}\": {error}", shown(.column))]
    OrderKey {
        /// The column.
        column: String,
        /// Why.
        error: NameError,
    },
    /// It has no identity: nothing could tell a repeat of it.
    #[error("the column \"{}\" is empty, so the row has no identity", shown(.column))]
    NoIdentity {
        /// The column.
        column: String,
    },
    /// The values that are its identity are longer than a dedup key.
    #[error(
        "its dedup columns make a key of {len} bytes, at most {DEDUP_KEY_BYTES_MAX} are allowed"
    )]
    KeyTooLong {
        /// Their length in bytes, with their lengths.
        len: usize,
    },
    /// Its time cannot be read.
    #[error("the column \"{}\": \"{}\" is no time: {error}", shown(.column), shown(.value))]
    Time {
        /// The column.
        column: String,
        /// The value.
        value: String,
        /// Why.
        error: TimeError,
    },
    /// It is larger than a record.
    #[error("{len} bytes as an event, at most {} are allowed", RECORD_BYTES_MAX - ATTRIBUTE_ROOM_BYTES)]
    TooLarge {
        /// Its data as JSON, in bytes.
        len: usize,
    },
    /// It breaks a rule of events.
    #[error(transparent)]
    Event(EventError),
}

fn shown(value: &str) -> String {
    value.chars().take(SHOWN_CHARS_MAX).flat_map(char::escape_debug).collect()
}

impl BoundMapping {
    /// The event of a row.
    ///
    /// `number` is the number of the data row from 1, `fields` the values in the order of the
    /// header.
    ///
    /// # Errors
    /// [`RowProblem`] with the first thing that is wrong.
    pub fn event(
        &self,
        number: u64,
        fields: &[&str],
    ) -> Result<(Event, Option<AmbiguousTime>), RowProblem> {
        if fields.len() != self.columns.len() {
            let (found, expected) = (fields.len(), self.columns.len());
            return Err(RowProblem::Fields { found, expected });
        }
        let column = |column: usize| self.columns[column].clone();
        let order_key = OrderKey::new(fields[self.order_key])
            .map_err(|error| RowProblem::OrderKey { column: column(self.order_key), error })?;
        let (time, ambiguous_time) =
            self.times.read(fields[self.time]).map_err(|error| RowProblem::Time {
                column: column(self.time),
                value: fields[self.time].to_owned(),
                error,
            })?;
        let (id, dedup) = match &self.identity {
            BoundIdentity::RowNumber => (number.to_string(), DedupKeys::SourceAndId),
            BoundIdentity::Id(id) if fields[*id].is_empty() => {
                return Err(RowProblem::NoIdentity { column: column(*id) });
            }
            BoundIdentity::Id(id) => (fields[*id].to_owned(), DedupKeys::SourceAndId),
            BoundIdentity::Key(columns) => {
                let key = canonical_key(columns.iter().map(|column| fields[*column]));
                if key.len() > DEDUP_KEY_BYTES_MAX {
                    return Err(RowProblem::KeyTooLong { len: key.len() });
                }
                (id_of_key(&key), DedupKeys::Key(Bytes::from(key)))
            }
        };
        let data = row_data(self.columns.iter().map(String::as_str).zip(fields.iter().copied()));
        if data.len() > RECORD_BYTES_MAX - ATTRIBUTE_ROOM_BYTES {
            return Err(RowProblem::TooLarge { len: data.len() });
        }
        let event = Event {
            id,
            source: self.source.of(fields).to_owned(),
            kind: self.kind.of(fields).to_owned(),
            time: Some(time),
            order_key: Some(order_key),
            dedup,
            content_type: Some("application/json".to_owned()),
            data: data.into(),
            attributes: Vec::new(),
        };
        event.check().map_err(RowProblem::Event)?;
        Ok((event, ambiguous_time))
    }
}

/// The values, each behind its length as a varint, so that no two lists of values are the same
/// bytes. This is on disk in every dedup key of an import: it never changes.
fn canonical_key<'a>(values: impl Iterator<Item = &'a str>) -> Vec<u8> {
    let mut key = Vec::with_capacity(128);
    for value in values {
        varint::put(&mut key, value.len() as u64);
        key.extend_from_slice(value.as_bytes());
    }
    key
}

/// The id of an event whose key is not its id: the public digest of the key, so that it is the
/// same on every machine.
fn id_of_key(key: &[u8]) -> String {
    let fields = DigestFields { order_key: None, kind: b"", content_type: None, time: None };
    DigestHasher::default().digest(&fields, [key]).to_string()
}

/// A row as a JSON object of texts, in the order of the columns.
pub(crate) fn row_data<'a>(row: impl Iterator<Item = (&'a str, &'a str)>) -> Vec<u8> {
    let mut data = Vec::with_capacity(256);
    serde_json::Serializer::new(&mut data).collect_map(row).expect("texts into memory cannot fail");
    data
}
