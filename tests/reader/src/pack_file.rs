//! The file of a pack: header, blocks, index.

use std::collections::BTreeMap;

use xxhash_rust::xxh3::xxh3_128;

use crate::{
    batch::Stored,
    input::{Input, Why, ensure, wide},
    packs::PackFile,
};

const HEADER: u64 = 112;
const CHECKSUM_AT: u64 = 96;
const ROW: u64 = 48;
/// What a block has for each batch in front of them, in bytes.
const PLACE: u64 = 12;
/// Longer than this is only a block of a single batch, in bytes.
const BLOCK: u64 = 256 << 10;
/// No stored batch is longer, and so no block by much.
const PLAIN_MAX: u64 = 8 << 20;

/// The batches of a pack by slot and number.
pub(crate) type Batches<'a> = BTreeMap<(u32, u64), &'a [u8]>;

/// The blocks of packs that are compressed, as they were before: what is read of a directory borrows
/// from its files, and from this.
#[derive(Debug, Default)]
pub struct Unpacked {
    /// By the checksum of the block as it lies in the file.
    blocks: BTreeMap<u128, Vec<u8>>,
}

impl Unpacked {
    /// Without any.
    pub const NONE: &'static Self = &Self { blocks: BTreeMap::new() };

    /// All that there are in the packs among these files. What is damaged is left out: it is told
    /// when the directory is read.
    pub fn of(files: &BTreeMap<String, Vec<u8>>) -> Self {
        let mut unpacked = Self::default();
        let packs = files.iter().filter(|(name, _)| name.starts_with("pack-"));
        for (_, bytes) in packs {
            // Up to the first damage.
            let _ = unpacked.add(bytes);
        }
        unpacked
    }

    fn add(&mut self, bytes: &[u8]) -> Result<(), Why> {
        let blocks = Head::read(bytes)?.pack.blocks;
        let (mut data, mut index) = parts(bytes, blocks)?;
        while !index.rest().is_empty() {
            let row = Row::read(&mut index)?;
            let block = row.take(&mut data)?;
            if row.compressed {
                let len = usize::try_from(row.plain_len).unwrap_or(0);
                let plain = zstd::bulk::decompress(block, len).ok();
                let plain = plain.filter(|plain| plain.len() == len);
                self.blocks.extend(plain.map(|plain| (row.hash, plain)));
            }
        }
        Ok(())
    }
}

/// Reads the pack of `journal` that the manifest names, and verifies all of it.
pub(crate) fn read<'a>(
    bytes: &'a [u8],
    journal: &[u8; 16],
    pack: &PackFile,
    unpacked: &'a Unpacked,
) -> Result<Batches<'a>, Why> {
    let head = Head::read(bytes)?;
    ensure(head.pack.checksum == pack.checksum, "it is not the pack that the manifest names")?;
    ensure(head.journal == *journal, "it is of another journal")?;
    ensure(head.pack == *pack, "it is another pack")?;
    ensure(wide(bytes.len()) == pack.len_bytes, "its length is not what the manifest says")?;
    let (mut data, mut index) = parts(bytes, pack.blocks)?;
    ensure(xxh3_128(index.rest()) == head.index_hash, "the checksum of its index is wrong")?;
    let mut batches = Batches::new();
    // The block before, with its length.
    let mut before: Option<(Row, u64)> = None;
    while !index.rest().is_empty() {
        let row = Row::read(&mut index)?;
        let here = wide(bytes.len()) - ROW * pack.blocks - wide(data.rest().len());
        ensure(row.at == here, "its blocks do not lie one behind the other")?;
        let block = row.plain(row.take(&mut data)?, unpacked)?;
        let last = batches.last_key_value().map(|(key, _)| *key);
        let first = row.batches(block, &mut batches)?;
        ensure(last.is_none_or(|last| last < (row.slot, row.first)), "its blocks are not sorted")?;
        let grows = |(before, len): &(Row, u64)| {
            before.slot == row.slot && len.saturating_add(PLACE + first) <= BLOCK
        };
        ensure(!before.as_ref().is_some_and(grows), "a block is closed early")?;
        before = Some((row, wide(block.len())));
    }
    data.end()?;
    let sum: u64 = batches.values().map(|batch| wide(batch.len())).sum();
    ensure(sum == pack.batch_bytes, "its batches are not as long as it says")?;
    Ok(batches)
}

/// The blocks, and the index behind them.
fn parts(bytes: &[u8], blocks: u64) -> Result<(Input<'_>, Input<'_>), Why> {
    let short = Why("it is too short");
    let index_len = blocks.checked_mul(ROW).ok_or(short)?;
    let data_len = wide(bytes.len()).checked_sub(HEADER).and_then(|len| len.checked_sub(index_len));
    let mut input = Input::new(bytes);
    input.take(HEADER)?;
    let data = input.take(data_len.ok_or(short)?)?;
    Ok((Input::new(data), input))
}

/// A header with a good checksum.
struct Head {
    journal: [u8; 16],
    index_hash: u128,
    /// What it says of the pack.
    pack: PackFile,
}

impl Head {
    fn read(bytes: &[u8]) -> Result<Self, Why> {
        let mut input = Input::new(bytes);
        let seal = xxh3_128(Input::new(bytes).take(CHECKSUM_AT)?);
        ensure(input.array()? == *b"TAKTPAK\n", "it is no pack")?;
        ensure(input.u16()? == 1, "its format version is not known")?;
        ensure(input.u16()? == 0, "a reserved field is used")?;
        let (serial, journal) = (input.u32()?, input.array()?);
        let (start, end) = (input.u64()?, input.u64()?);
        let (blocks, len_bytes, batch_bytes) = (input.u64()?, input.u64()?, input.u64()?);
        let compacted_upto = input.u64()?;
        let (index_hash, checksum) = (input.u128()?, input.u128()?);
        ensure(checksum == seal, "the checksum of its header is wrong")?;
        let pack = PackFile {
            start,
            end,
            serial,
            blocks,
            len_bytes,
            batch_bytes,
            compacted_upto,
            checksum,
        };
        Ok(Self { journal, index_hash, pack })
    }
}

/// What the index says of a block.
struct Row {
    slot: u32,
    compressed: bool,
    first: u64,
    at: u64,
    len: u64,
    plain_len: u64,
    hash: u128,
}

impl Row {
    fn read(input: &mut Input<'_>) -> Result<Self, Why> {
        let slot = input.u32()?;
        let compressed = match input.u32()? {
            0 => false,
            1 => true,
            _ => return Err(Why("a block's compression is not known")),
        };
        let (first, at) = (input.u64()?, input.u64()?);
        let (len, plain_len) = (u64::from(input.u32()?), u64::from(input.u32()?));
        ensure(plain_len <= PLAIN_MAX, "a block is too long")?;
        Ok(Self { slot, compressed, first, at, len, plain_len, hash: input.u128()? })
    }

    /// Takes the block, as it lies there.
    fn take<'a>(&self, data: &mut Input<'a>) -> Result<&'a [u8], Why> {
        let block = data.take(self.len)?;
        ensure(xxh3_128(block) == self.hash, "the checksum of a block is wrong")?;
        Ok(block)
    }

    /// The block as it was before it was compressed.
    fn plain<'a>(&self, block: &'a [u8], unpacked: &'a Unpacked) -> Result<&'a [u8], Why> {
        if !self.compressed {
            ensure(self.len == self.plain_len, "a block's length is wrong")?;
            return Ok(block);
        }
        ensure(self.len < self.plain_len, "a block is compressed that does not get shorter")?;
        let plain = unpacked
            .blocks
            .get(&self.hash)
            .ok_or(Why("a block does not decompress, or was not unpacked"))?;
        ensure(wide(plain.len()) == self.plain_len, "a block's length is wrong")?;
        Ok(plain)
    }

    /// Adds the batches of the block; returns the length of the first.
    fn batches<'a>(&self, block: &'a [u8], batches: &mut Batches<'a>) -> Result<u64, Why> {
        let mut data = Input::new(block);
        let count = u64::from(data.u32()?);
        let mut places = Input::new(data.take(count.saturating_mul(PLACE))?);
        ensure(count == 1 || wide(block.len()) <= BLOCK, "a block of several batches is too long")?;
        let mut first_len = None;
        let mut before = None;
        for _ in 0..count {
            let (number, len) = (places.u64()?, u64::from(places.u32()?));
            let sorted = before.map_or(number == self.first, |before| before < number);
            ensure(sorted, "the batches of a block are not in their order")?;
            before = Some(number);
            let batch = data.take(len)?;
            ensure(Stored::read(batch)?.header.number == number, "a batch is another one")?;
            batches.insert((self.slot, number), batch);
            first_len.get_or_insert(len);
        }
        data.end()?;
        first_len.ok_or(Why("a block has no batch"))
    }
}
