//! A journal file's preamble: whose the file is, where it starts, and a snapshot of the state there.

use xxhash_rust::xxh3::xxh3_128;

use crate::input::{Input, Why, ensure, wide};

/// What everything in a journal file is padded to, in bytes.
pub(crate) const BLOCK: usize = 4096;
/// Positions beyond it are in no file.
pub(crate) const POSITION_MAX: u64 = 1 << 62;
const CHECKSUM_AT: usize = 128;
const SNAPSHOT_MAX: u64 = 1 << 30;

/// A verified preamble.
#[derive(Debug, Clone)]
pub(crate) struct Preamble<'a> {
    pub(crate) incarnation: u32,
    pub(crate) journal: [u8; 16],
    pub(crate) salt: [u8; 16],
    pub(crate) start: u64,
    /// Start and incarnation of the file before.
    pub(crate) previous: Option<(u64, u32)>,
    /// Over all commits before the start.
    pub(crate) chain: [u8; 16],
    /// Behind the last commit lies old content, not zeros.
    pub(crate) recycled: bool,
    pub(crate) snapshot: &'a [u8],
    /// The file's offset of the start, in bytes.
    pub(crate) len: usize,
}

impl<'a> Preamble<'a> {
    pub(crate) fn read(file: &'a [u8]) -> Result<Self, Why> {
        let block = file.first_chunk::<BLOCK>().ok_or(Why("the file is too short"))?;
        let mut unsealed = *block;
        let (front, rest) = unsealed.split_at_mut(CHECKSUM_AT);
        let (checksum, _) = rest.split_at_mut(16);
        let sealed_with: [u8; 16] = checksum.try_into().map_err(|_| Why("no checksum"))?;
        ensure(front.starts_with(b"TaktJrnl"), "it is no journal file")?;
        checksum.fill(0);
        let seal = xxh3_128(&unsealed).to_le_bytes();
        ensure(seal == sealed_with, "the checksum of its first block is wrong")?;

        let mut input = Input::new(block.get(8..).unwrap_or_default());
        ensure(input.u16()? == 1, "its format version is not known")?;
        let flags = input.u16()?;
        ensure(flags <= 1, "it has a flag that is not known")?;
        let incarnation = input.u32()?;
        let (journal, salt) = (input.array()?, input.array()?);
        let start = input.u64()?;
        let (previous_start, previous_incarnation) = (input.u64()?, input.u32()?);
        let blocks = input.u32()?;
        let snapshot_len = input.u64()?;
        let (chain, snapshot_hash) = (input.array()?, input.u128()?);
        let file_len = input.u64()?;

        let previous =
            (previous_incarnation != 0).then_some((previous_start, previous_incarnation));
        let in_order = match previous {
            Some((previous, _)) => previous < start,
            None => previous_start == u64::MAX,
        };
        let bounded = start <= POSITION_MAX && start.is_multiple_of(wide(BLOCK));
        ensure(bounded && in_order, "its positions are none")?;
        ensure(snapshot_len <= SNAPSHOT_MAX, "its snapshot is too long")?;
        ensure(wide(file.len()) >= file_len, "the file is shorter than it says")?;
        let padded = snapshot_len.next_multiple_of(wide(BLOCK));
        let whole = Input::new(file.get(BLOCK..).unwrap_or_default()).take(padded)?;
        let len = BLOCK + whole.len();
        ensure(wide(len) == u64::from(blocks) * wide(BLOCK), "its length does not add up")?;
        ensure(xxh3_128(whole) == snapshot_hash, "the checksum of its snapshot is wrong")?;
        let snapshot = Input::new(whole).take(snapshot_len)?;
        let recycled = flags & 1 != 0;
        Ok(Self { incarnation, journal, salt, start, previous, chain, recycled, snapshot, len })
    }
}
