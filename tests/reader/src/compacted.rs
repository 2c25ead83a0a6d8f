//! What compaction leaves of a stored batch: the origin's header, a bit for each record that says
//! whether it is kept, and the records that are.

use crate::{
    batch::Client,
    input::{Input, Why, ensure, wide},
    origin::OriginHeader,
    verdict::Judged,
};

const MAGIC: [u8; 4] = [0x7b, 1, 1, 0];
/// Length of a commit at most: what was stored was in one.
const STORED_MAX: u64 = 1 << 20;
/// Length of what is kept of a batch where that is nothing.
const EMPTY: u64 = 48;

/// Whether these are the bytes of a compacted batch.
pub(crate) fn is_compacted(bytes: &[u8]) -> bool {
    bytes.starts_with(&MAGIC)
}

/// Which records of a stored batch are kept.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Kept<'a> {
    bits: &'a [u8],
}

impl<'a> Kept<'a> {
    /// Takes all of a compacted batch that is in front of the records.
    pub(crate) fn read(input: &mut Input<'a>) -> Result<(OriginHeader<'a>, Self), Why> {
        ensure(input.array()? == MAGIC, "a compacted batch's header is none")?;
        let (header_len, batch_len) = (u64::from(input.u32()?), u64::from(input.u32()?));
        let crc = input.u32()?;
        let mut covered = *input;
        let mut front = Input::new(input.take(header_len)?);
        let header = OriginHeader::read(&mut front)?;
        let whole = front.rest().is_empty();
        ensure(whole, "a compacted batch's header is longer than the origin's")?;
        let bits = input.take(u64::from(header.records).div_ceil(8))?;
        let covered = covered.take(header_len + wide(bits.len()))?;
        ensure(crc32fast::hash(covered) == crc, "the CRC of a compacted batch is wrong")?;
        ensure(wide(input.rest().len()) == batch_len, "a batch's length is wrong")?;
        let kept = Self { bits };
        kept.check(&header)?;
        Ok((header, kept))
    }

    /// Whether the record at this place in the batch is there.
    pub(crate) fn has(&self, index: u32) -> bool {
        let byte = usize::try_from(index / 8).ok().and_then(|at| self.bits.get(at));
        byte.is_some_and(|byte| byte >> (index % 8) & 1 == 1)
    }

    fn count(&self) -> u32 {
        self.bits.iter().map(|byte| byte.count_ones()).sum()
    }

    /// What may be left out is for the verdicts to say.
    fn check(&self, header: &OriginHeader<'_>) -> Result<(), Why> {
        let records = u32::from(header.records);
        let spare = (records..records.next_multiple_of(8)).any(|index| self.has(index));
        ensure(!spare, "a bit of a compacted batch stands for no record")?;
        ensure(self.count() < records, "a compacted batch has all of its records")?;
        let mut verdicts = Input::new(header.verdicts);
        for index in 0..records {
            let goes = Judged::read(&mut verdicts)?.may_be_left_out();
            ensure(goes || self.has(index), "a record is left out that is always kept")?;
        }
        verdicts.end()
    }

    /// The records that are there are those that the bits say, and take less than all of them did.
    pub(crate) fn check_client(
        &self,
        header: &OriginHeader<'_>,
        client: &Client<'_>,
        len: usize,
    ) -> Result<(), Why> {
        let kept = u32::from(client.records);
        ensure(kept == self.count(), "a compacted batch does not have the records that it says")?;
        let bare = kept > 0 || client.len == EMPTY;
        ensure(bare, "a batch without records is more than its header")?;
        let last = client.first_sequence.checked_add(u64::from(header.records));
        ensure(last.is_some(), "a batch's sequences are none")?;
        let stored_len = header.stored_len();
        ensure(stored_len <= STORED_MAX, "a compacted batch was longer than any is")?;
        ensure(wide(len) < stored_len, "a compacted batch is not shorter than it was")
    }
}
