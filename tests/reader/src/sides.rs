//! Side files: the batches with open conflicts of journal files that retention has dropped.

use xxhash_rust::xxh3::xxh3_128;

use crate::{
    batch::Stored,
    contents::Contents,
    input::{Input, Why, ensure, wide},
    manifest::SideFile,
};

const HEADER: u64 = 96;
const CHECKSUM_AT: u64 = 80;
const ROW: u64 = 40;

pub(crate) fn check(bytes: &[u8], contents: &Contents<'_>, side: &SideFile) -> Result<(), Why> {
    ensure(wide(bytes.len()) == side.len_bytes, "its length is not what the manifest says")?;
    let mut file = Input::new(bytes);
    let mut head = Input::new(file.take(HEADER)?);
    let seal = xxh3_128(Input::new(bytes).take(CHECKSUM_AT)?);
    ensure(head.array()? == *b"TAKTSID\n", "it is no side file")?;
    ensure(head.u16()? == 1 && head.u16()? == 0, "its format version is not known")?;
    let incarnation = head.u32()?;
    ensure(head.array()? == contents.journal, "it is of another journal")?;
    let numbers = (head.u64()?, head.u64()?, head.u64()?, head.u64()?);
    let index_hash = head.u128()?;
    ensure(head.u128()? == seal && seal == side.checksum, "its header is not the named one")?;
    let named = (side.start, side.batches, side.len_bytes, 0);
    ensure(numbers == named && incarnation == side.incarnation, "it is another side file")?;

    let index_len = side.batches.checked_mul(ROW).ok_or(Why("it is too short"))?;
    let index = file.take(index_len)?;
    ensure(xxh3_128(index) == index_hash, "the checksum of its index is wrong")?;
    let mut rows = Input::new(index);
    let mut before = None;
    while !rows.rest().is_empty() {
        let (slot, len) = (rows.u32()?, rows.u32()?);
        let (number, at, hash) = (rows.u64()?, rows.u64()?, rows.u128()?);
        ensure(before.is_none_or(|before| before < (slot, number)), "its index is not sorted")?;
        before = Some((slot, number));
        let here = wide(bytes.len() - file.rest().len());
        ensure(at == here, "its batches do not lie one behind the other")?;
        let batch = file.take(u64::from(len))?;
        ensure(xxh3_128(batch) == hash, "the checksum of a batch is wrong")?;
        ensure(Stored::read(batch)?.header.number == number, "a batch is another one")?;
    }
    file.end()
}
