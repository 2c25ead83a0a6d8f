//! A producer's kept receipts: what is answered when a batch is sent again.

use crate::{
    batch::Stored,
    input::{Input, Why, ensure},
    verdict::Judged,
};

/// Records of a batch at most.
pub(crate) const RECORDS_MAX: u64 = 4_096;

/// What was answered to a batch, with the CRC that tells it from another under its sequence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Receipt<'a> {
    pub(crate) crc: u32,
    pub(crate) first_sequence: u64,
    pub(crate) records: u64,
    pub(crate) partition: u16,
    pub(crate) base_offset: u64,
    pub(crate) append_time: i64,
    pub(crate) verdicts: &'a [u8],
}

impl<'a> Receipt<'a> {
    pub(crate) fn read(input: &mut Input<'a>) -> Result<Self, Why> {
        let receipt = Self {
            crc: input.u32()?,
            first_sequence: input.varint()?,
            records: input.varint()?,
            partition: input.small()?,
            base_offset: input.varint()?,
            append_time: input.signed()?,
            verdicts: input.slice()?,
        };
        let sound = (1..=RECORDS_MAX).contains(&receipt.records) && receipt.first_sequence > 0;
        let bounded = receipt.first_sequence.checked_add(receipt.records).is_some();
        ensure(sound && bounded, "a receipt's numbers do not add up")?;
        let mut verdicts = Input::new(receipt.verdicts);
        for _ in 0..receipt.records {
            Judged::read(&mut verdicts)?;
        }
        verdicts.end()?;
        Ok(receipt)
    }

    /// What was answered to a stored batch.
    pub(crate) fn of(batch: &Stored<'a>) -> Self {
        let header = &batch.header;
        Self {
            crc: header.crc,
            first_sequence: batch.client.first_sequence,
            records: u64::from(header.records),
            partition: batch.client.partition,
            base_offset: header.base_offset,
            append_time: header.append_time,
            verdicts: header.verdicts,
        }
    }

    /// The sequence of the batch's last record.
    pub(crate) const fn last_sequence(&self) -> u64 {
        self.first_sequence + (self.records - 1)
    }
}
