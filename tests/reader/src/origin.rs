//! The origin's header in front of a batch: what the node says that judged and numbered it.

use xxhash_rust::xxh3::Xxh3;

use crate::{
    input::{Input, Why, ensure, text, wide},
    receipt::RECORDS_MAX,
};

const CHAIN_AT: usize = 40;

/// An origin's header. Compaction leaves it as it was, so it speaks of the batch that was stored.
#[derive(Debug, Clone)]
pub(crate) struct OriginHeader<'a> {
    pub(crate) number: u64,
    pub(crate) base_offset: u64,
    pub(crate) records: u16,
    pub(crate) visible: u16,
    pub(crate) append_time: i64,
    pub(crate) chain: [u8; 16],
    pub(crate) epoch: u64,
    /// The CRC of the client's batch.
    pub(crate) crc: u32,
    /// Length of the client's batch in bytes.
    pub(crate) batch_len: u64,
    pub(crate) producer: &'a str,
    /// One for each record.
    pub(crate) verdicts: &'a [u8],
    /// The whole.
    pub(crate) bytes: &'a [u8],
}

impl<'a> OriginHeader<'a> {
    /// Takes a header.
    pub(crate) fn read(input: &mut Input<'a>) -> Result<Self, Why> {
        let mut whole = *input;
        let before = wide(input.rest().len());
        ensure(input.array()? == [0x7b, 1, 0, 0], "a stored batch's header is none")?;
        let header_len = u64::from(input.u32()?);
        let batch_len = u64::from(input.u32()?);
        let (records, visible) = (input.u16()?, input.u16()?);
        let (number, base_offset) = (input.u64()?, input.u64()?);
        let append_time = input.i64()?;
        let chain = input.array()?;
        let epoch = input.u64()?;
        let crc = input.u32()?;
        ensure(input.u32()? == 0, "a reserved field of a stored batch is used")?;
        let producer_len = input.u8()?;
        let producer = text(input.take(u64::from(producer_len))?)?;
        let fixed = before - wide(input.rest().len());
        let verdicts_len = header_len.checked_sub(fixed);
        let verdicts = input.take(verdicts_len.ok_or(Why("a stored batch's header is short"))?)?;
        let counts = (1..=RECORDS_MAX).contains(&u64::from(records)) && visible <= records;
        ensure(counts && !producer.is_empty(), "a stored batch's header is none")?;
        let behind = base_offset.checked_add(u64::from(visible)).zip(number.checked_add(1));
        ensure(behind.is_some(), "a batch's numbers run out")?;
        let bytes = whole.take(header_len)?;
        Ok(Self {
            number,
            base_offset,
            records,
            visible,
            append_time,
            chain,
            epoch,
            crc,
            batch_len,
            producer,
            verdicts,
            bytes,
        })
    }

    /// Length of the stored batch, before any compaction, in bytes.
    pub(crate) fn stored_len(&self) -> u64 {
        wide(self.bytes.len()) + self.batch_len
    }

    /// Over the previous chain and the header with zeros in place of its own.
    pub(crate) fn chain_after(&self, previous: [u8; 16]) -> [u8; 16] {
        let (front, rest) = self.bytes.split_at_checked(CHAIN_AT).unwrap_or_default();
        let mut hasher = Xxh3::new();
        hasher.update(&previous);
        hasher.update(front);
        hasher.update(&[0; 16]);
        hasher.update(rest.get(16..).unwrap_or_default());
        hasher.digest128().to_le_bytes()
    }
}
