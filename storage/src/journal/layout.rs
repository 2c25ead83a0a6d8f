//! Sizes and field offsets of what is on disk. All numbers are little endian.
//!
//! A file is a preamble and commits behind it; both are whole blocks. Position `p` of the journal
//! lies at the file's offset `preamble_len + (p - start)`.

use std::ops::Range;

/// What preambles and commits are padded to, in bytes: no durable block is ever written again.
pub const BLOCK: usize = 4096;
/// The format version in preambles and commits.
pub const FORMAT_VERSION: u16 = 1;
/// The longest commit with header and padding, in bytes.
pub const COMMIT_MAX: usize = 1 << 20;
/// A commit's header, in bytes.
pub const COMMIT_HEADER: usize = 112;
/// What stands before each entry's bytes: kind (1 byte) and length (4 bytes).
pub const ENTRY_HEADER: usize = 5;
/// The longest entry, in bytes, without its header.
pub const ENTRY_MAX: usize = COMMIT_MAX - COMMIT_HEADER - ENTRY_HEADER;
/// The longest snapshot in a preamble, in bytes.
pub const SNAPSHOT_MAX: usize = 1 << 30;
/// The largest stored batch that a commit must take, in bytes, with what is put beside it.
const STORED_BATCH_MAX: usize = 960 << 10;

const _: () = {
    assert!(COMMIT_MAX.is_multiple_of(BLOCK));
    assert!(COMMIT_HEADER <= 512, "a header is torn only as a whole");
    assert!(ENTRY_MAX >= STORED_BATCH_MAX + BLOCK);
    assert!(commit::CHECKSUM.end == COMMIT_HEADER);
    assert!(preamble::CHECKSUM.end <= 512);
};

/// Field offsets of a commit's header.
pub(crate) mod commit {
    use super::Range;

    pub(crate) const MAGIC: [u8; 4] = *b"TkC\x01";
    pub(crate) const FLAG_MARK: u16 = 1;

    pub(crate) const MAGIC_AT: Range<usize> = 0..4;
    pub(crate) const VERSION: Range<usize> = 4..6;
    pub(crate) const FLAGS: Range<usize> = 6..8;
    /// Entries with their headers, without padding.
    pub(crate) const BODY_LEN: Range<usize> = 8..12;
    /// Header, entries and padding.
    pub(crate) const TOTAL_LEN: Range<usize> = 12..16;
    pub(crate) const ENTRY_COUNT: Range<usize> = 16..20;
    pub(crate) const INCARNATION: Range<usize> = 20..24;
    pub(crate) const JOURNAL_ID: Range<usize> = 24..40;
    pub(crate) const POSITION: Range<usize> = 40..48;
    pub(crate) const SYNCED_UPTO: Range<usize> = 48..56;
    pub(crate) const RESERVED: Range<usize> = 56..64;
    /// Over the commits before this one.
    pub(crate) const CHAIN: Range<usize> = 64..80;
    /// xxh3-128 of all behind the header, with the padding.
    pub(crate) const BODY_HASH: Range<usize> = 80..96;
    /// xxh3-128 of the salt and of the header up to here.
    pub(crate) const CHECKSUM: Range<usize> = 96..112;
}

/// Field offsets of a preamble's first block.
pub(crate) mod preamble {
    use super::Range;

    pub(crate) const MAGIC: [u8; 8] = *b"TaktJrnl";
    pub(crate) const FLAG_RECYCLED: u16 = 1;

    pub(crate) const MAGIC_AT: Range<usize> = 0..8;
    pub(crate) const VERSION: Range<usize> = 8..10;
    pub(crate) const FLAGS: Range<usize> = 10..12;
    pub(crate) const INCARNATION: Range<usize> = 12..16;
    pub(crate) const JOURNAL_ID: Range<usize> = 16..32;
    pub(crate) const SALT: Range<usize> = 32..48;
    pub(crate) const START: Range<usize> = 48..56;
    /// Where the file before this one starts; all ones if there is none.
    pub(crate) const PREVIOUS_START: Range<usize> = 56..64;
    /// 0 if there is none.
    pub(crate) const PREVIOUS_INCARNATION: Range<usize> = 64..68;
    /// The preamble in blocks, this one included.
    pub(crate) const BLOCKS: Range<usize> = 68..72;
    pub(crate) const SNAPSHOT_LEN: Range<usize> = 72..80;
    /// Over all commits before the start.
    pub(crate) const CHAIN: Range<usize> = 80..96;
    /// xxh3-128 of the snapshot with its padding.
    pub(crate) const SNAPSHOT_HASH: Range<usize> = 96..112;
    /// The whole file in bytes: it is full length before it gets its name.
    pub(crate) const FILE_LEN: Range<usize> = 112..120;
    /// xxh3-128 of the whole block with zeros here.
    pub(crate) const CHECKSUM: Range<usize> = 128..144;
}

/// `len` rounded up to whole blocks.
pub const fn padded(len: usize) -> usize {
    len.next_multiple_of(BLOCK)
}

/// Copies out a field; the range must be `N` long and within `bytes`.
pub(crate) fn field<const N: usize>(bytes: &[u8], at: Range<usize>) -> [u8; N] {
    bytes[at].try_into().expect("a field has its length")
}

/// A length as a file offset.
pub(crate) const fn wide(len: usize) -> u64 {
    len as u64
}

/// A length that is known to be that of a commit or a block.
pub(crate) fn narrow(len: u64) -> usize {
    usize::try_from(len).expect("bounded by what fits into memory")
}

/// A length that is known to be bounded by [`COMMIT_MAX`] or [`SNAPSHOT_MAX`].
pub(crate) fn short(len: usize) -> u32 {
    u32::try_from(len).expect("bounded by a constant below 4 GiB")
}
