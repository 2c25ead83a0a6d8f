//! What the listings say, and its form in bytes.

use takt_protocol::{
    batch::Place,
    varint::{self, Cursor, Truncated},
    words::{Digest, Offset, PartitionNumber, Timestamp},
};

use crate::runs::{MaskedAddress, Row, SlotSummary};

/// An open conflict with what an operator needs to decide on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConflictRow {
    /// Where the record lies.
    pub address: MaskedAddress,
    /// The first event with its dedup key.
    pub first: Place,
    /// When the record was appended.
    pub append_time: Timestamp,
    /// Who sent it.
    pub producer: String,
    /// The event's source.
    pub source: String,
    /// The event's id; may be empty.
    pub id: String,
    /// The event's type.
    pub kind: String,
    /// The order key, if it has one.
    pub order_key: Option<String>,
    /// The digest of the record's content.
    pub digest: Digest,
}

impl ConflictRow {
    /// All but the address, which is the row's key.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        varint::put(&mut out, u64::from(self.first.partition.get()));
        varint::put(&mut out, self.first.offset.get());
        varint::put_signed(&mut out, self.append_time.as_micros());
        for text in [&self.producer, &self.source, &self.id, &self.kind] {
            varint::put_slice(&mut out, text.as_bytes());
        }
        out.push(u8::from(self.order_key.is_some()));
        if let Some(order_key) = &self.order_key {
            varint::put_slice(&mut out, order_key.as_bytes());
        }
        out.extend_from_slice(self.digest.as_bytes());
        out
    }

    pub(super) fn decode(address: MaskedAddress, bytes: &[u8]) -> Option<Self> {
        let mut cursor = Cursor::new(bytes);
        let row = Self::read(address, &mut cursor).ok()?;
        cursor.is_empty().then_some(row)
    }

    fn read(address: MaskedAddress, cursor: &mut Cursor<'_>) -> Result<Self, Truncated> {
        let text = |cursor: &mut Cursor<'_>| {
            String::from_utf8(cursor.slice()?.to_vec()).map_err(|_| Truncated)
        };
        let partition = u16::try_from(cursor.varint()?).map_err(|_| Truncated)?;
        let offset = Offset::new(cursor.varint()?);
        let append_time = Timestamp::from_micros(cursor.varint_signed()?);
        let (producer, source) = (text(cursor)?, text(cursor)?);
        let (id, kind) = (text(cursor)?, text(cursor)?);
        let order_key = match cursor.u8()? {
            0 => None,
            1 => Some(text(cursor)?),
            _ => return Err(Truncated),
        };
        Ok(Self {
            address,
            first: Place { partition: PartitionNumber::new(partition), offset },
            append_time,
            producer,
            source,
            id,
            kind,
            order_key,
            digest: Digest::new(cursor.array()?),
        })
    }
}

pub(super) fn encode_summary(summary: &SlotSummary) -> Vec<u8> {
    let mut out = Vec::with_capacity(SlotSummary::LEN);
    summary.encode(&mut out);
    out
}

pub(super) fn decode_summary(bytes: &[u8]) -> Option<SlotSummary> {
    let mut cursor = Cursor::new(bytes);
    let summary = SlotSummary::decode(&mut cursor).ok()?;
    cursor.is_empty().then_some(summary)
}
