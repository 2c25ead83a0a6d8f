//! A stored batch: the origin's header, and behind it the batch as the client laid it out, or what
//! compaction has left of that.

use crate::{
    compacted::{Kept, is_compacted},
    input::{Input, Why, ensure, wide},
    origin::OriginHeader,
    receipt::RECORDS_MAX,
};

const CLIENT_HEADER: u64 = 48;
const RAW_MAX: u64 = 8 << 20;
const RATIO_MAX: u64 = 100;

/// A stored batch with consistent headers and good CRCs.
#[derive(Debug, Clone)]
pub(crate) struct Stored<'a> {
    pub(crate) header: OriginHeader<'a>,
    /// The client's batch; of a compacted one the records that are kept.
    pub(crate) client: Client<'a>,
    /// Which those are; `None` where all are there.
    pub(crate) kept: Option<Kept<'a>>,
    /// The whole, as it lies there.
    pub(crate) bytes: &'a [u8],
}

/// The client's part.
#[derive(Debug, Clone)]
pub(crate) struct Client<'a> {
    pub(crate) compression: Compression,
    pub(crate) crc: u32,
    /// Of the whole, in bytes.
    pub(crate) len: u64,
    pub(crate) records: u16,
    pub(crate) orders: u16,
    pub(crate) strings: u16,
    pub(crate) partition: u16,
    pub(crate) first_sequence: u64,
    pub(crate) base_time: i64,
    pub(crate) index: &'a [u8],
    pub(crate) payload: &'a [u8],
    /// Length of the payload before compression.
    pub(crate) raw_len: u64,
}

/// How a payload is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Compression {
    None,
    Lz4,
    Zstd,
}

impl<'a> Stored<'a> {
    /// Reads a stored batch that takes all of `bytes`.
    pub(crate) fn read(bytes: &'a [u8]) -> Result<Self, Why> {
        let mut input = Input::new(bytes);
        if is_compacted(bytes) {
            let (header, kept) = Kept::read(&mut input)?;
            let client = Client::read(input.rest())?;
            kept.check_client(&header, &client, bytes.len())?;
            return Ok(Self { header, client, kept: Some(kept), bytes });
        }
        let header = OriginHeader::read(&mut input)?;
        ensure(wide(input.rest().len()) == header.batch_len, "a batch's length is wrong")?;
        let client = Client::read(input.rest())?;
        let same = client.records == header.records && client.crc == header.crc;
        ensure(same, "a stored batch's header is of another batch")?;
        Ok(Self { header, client, kept: None, bytes })
    }

    /// Whether the record at this place in the batch is there.
    pub(crate) fn has(&self, index: u32) -> bool {
        self.kept.is_none_or(|kept| kept.has(index))
    }

    /// The length that it has in this node's journal, in bytes: of what it has compacted itself, that
    /// is the length before, of a mirror's batch what came.
    pub(crate) fn journal_len(&self, own: bool) -> u64 {
        if own { self.header.stored_len() } else { wide(self.bytes.len()) }
    }
}

impl<'a> Client<'a> {
    fn read(bytes: &'a [u8]) -> Result<Self, Why> {
        let mut input = Input::new(bytes);
        ensure(input.array()? == [0xb7, 1], "a batch's header is none")?;
        let compression = match input.u16()? {
            0 => Compression::None,
            1 => Compression::Lz4,
            2 => Compression::Zstd,
            _ => return Err(Why("a batch has a flag that is not known")),
        };
        let crc = input.u32()?;
        let mut hasher = crc32fast::Hasher::new();
        hasher.update(bytes.get(..4).unwrap_or_default());
        hasher.update(bytes.get(8..).unwrap_or_default());
        ensure(hasher.finalize() == crc, "a batch's CRC is wrong")?;

        let len = u64::from(input.u32()?);
        let (index_len, raw_len) = (u64::from(input.u32()?), u64::from(input.u32()?));
        let (records, orders, strings) = (input.u16()?, input.u16()?, input.u16()?);
        let partition = input.u16()?;
        ensure(input.u32()? == 0, "a reserved field of a batch is used")?;
        let first_sequence = input.u64()?;
        let base_time = input.i64()?;
        ensure(len == wide(bytes.len()), "a batch's length is wrong")?;
        ensure(u64::from(records) <= RECORDS_MAX, "a batch's records are none")?;
        let last = first_sequence.checked_add(u64::from(records));
        ensure(first_sequence > 0 && last.is_some(), "a batch's sequences are none")?;
        let mut rest = Input::new(bytes);
        rest.take(CLIENT_HEADER)?;
        let index = rest.take(index_len)?;
        let payload = rest.rest();
        let payload_len = wide(payload.len());
        let fits = match compression {
            Compression::None => raw_len == payload_len,
            Compression::Lz4 | Compression::Zstd => {
                raw_len <= RAW_MAX && raw_len / RATIO_MAX <= payload_len
            }
        };
        ensure(fits, "a payload's length is wrong")?;
        Ok(Self {
            compression,
            crc,
            len,
            records,
            orders,
            strings,
            partition,
            first_sequence,
            base_time,
            index,
            payload,
            raw_len,
        })
    }
}
