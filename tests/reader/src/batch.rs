//! A stored batch: the origin's header, and behind it the batch as the client laid it out.

use xxhash_rust::xxh3::Xxh3;

use crate::{
    input::{Input, Why, ensure, text, wide},
    receipt::RECORDS_MAX,
};

const CHAIN_AT: usize = 40;
const CLIENT_HEADER: u64 = 48;
const RAW_MAX: u64 = 8 << 20;
const RATIO_MAX: u64 = 100;

/// A stored batch with consistent headers and a good CRC.
#[derive(Debug, Clone)]
pub(crate) struct Stored<'a> {
    pub(crate) number: u64,
    pub(crate) base_offset: u64,
    pub(crate) visible: u16,
    pub(crate) append_time: i64,
    pub(crate) chain: [u8; 16],
    pub(crate) epoch: u64,
    pub(crate) producer: &'a str,
    pub(crate) verdicts: &'a [u8],
    /// The whole.
    pub(crate) bytes: &'a [u8],
    pub(crate) client: Client<'a>,
    header: &'a [u8],
}

/// The client's part.
#[derive(Debug, Clone)]
pub(crate) struct Client<'a> {
    pub(crate) compression: Compression,
    pub(crate) crc: u32,
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
        ensure(input.array()? == [0x7b, 1, 0, 0], "a stored batch's header is none")?;
        let header_len = input.u32()?;
        let batch_len = input.u32()?;
        let (records, visible) = (input.u16()?, input.u16()?);
        let (number, base_offset) = (input.u64()?, input.u64()?);
        let append_time = input.i64()?;
        let chain = input.array()?;
        let epoch = input.u64()?;
        let crc = input.u32()?;
        ensure(input.u32()? == 0, "a reserved field of a stored batch is used")?;
        let producer_len = input.u8()?;
        let producer = text(input.take(u64::from(producer_len))?)?;
        let fixed = wide(bytes.len() - input.rest().len());
        let verdicts_len = u64::from(header_len).checked_sub(fixed);
        let verdicts = input.take(verdicts_len.ok_or(Why("a stored batch's header is short"))?)?;
        let header = Input::new(bytes).take(u64::from(header_len))?;
        ensure(wide(input.rest().len()) == u64::from(batch_len), "a batch's length is wrong")?;
        let client = Client::read(input.rest())?;
        let same = client.records == records && client.crc == crc;
        ensure(same, "a stored batch's header is of another batch")?;
        ensure(visible <= records && !producer.is_empty(), "a stored batch's header is none")?;
        let behind = base_offset.checked_add(u64::from(visible)).zip(number.checked_add(1));
        ensure(behind.is_some(), "a batch's numbers run out")?;
        Ok(Self {
            number,
            base_offset,
            visible,
            append_time,
            chain,
            epoch,
            producer,
            verdicts,
            bytes,
            client,
            header,
        })
    }

    /// Over the previous chain and the header with zeros in place of its own.
    pub(crate) fn chain_after(&self, previous: [u8; 16]) -> [u8; 16] {
        let (front, rest) = self.header.split_at(CHAIN_AT);
        let mut hasher = Xxh3::new();
        hasher.update(&previous);
        hasher.update(front);
        hasher.update(&[0; 16]);
        hasher.update(rest.get(16..).unwrap_or_default());
        hasher.digest128().to_le_bytes()
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
        ensure((1..=RECORDS_MAX).contains(&u64::from(records)), "a batch's records are none")?;
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
