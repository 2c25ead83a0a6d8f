//! What a journal file begins with: whose it is, where it starts, and a snapshot of the state there.

use xxhash_rust::xxh3::xxh3_128;

use super::{
    layout::{BLOCK, FORMAT_VERSION, SNAPSHOT_MAX, field, narrow, padded, preamble as at, wide},
    position::{Chain, Identity, Incarnation, JournalId, Position, Salt},
};

/// A preamble's first block, verified. Its existence under a journal name proves that everything
/// below `start` was durable.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Preamble {
    pub(crate) identity: Identity,
    pub(crate) start: Position,
    /// Start and incarnation of the file that ends where this one starts.
    pub(crate) previous: Option<(Position, Incarnation)>,
    pub(crate) chain: Chain,
    /// The file was written full before: behind its last commit lies old content, not zeros.
    pub(crate) recycled: bool,
    /// The file's length in bytes, which a journal file has from its first day on.
    pub(crate) file_len: u64,
    pub(crate) snapshot_len: usize,
    snapshot_hash: [u8; 16],
}

/// What a preamble is made of.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Draft<'a> {
    pub(crate) identity: Identity,
    pub(crate) start: Position,
    pub(crate) previous: Option<(Position, Incarnation)>,
    pub(crate) chain: Chain,
    pub(crate) recycled: bool,
    pub(crate) file_len: u64,
    pub(crate) snapshot: &'a [u8],
}

/// Why a first block is no preamble.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum PreambleError {
    /// It is shorter than a preamble says it must be.
    #[error("the file is too short")]
    Short,
    /// It does not begin as a journal file.
    #[error("it is no journal file")]
    Foreign,
    /// It is of another format version.
    #[error("format version {0} is not known; use the version of takt that wrote it")]
    Version(u16),
    /// Its checksum or a field is wrong.
    #[error("its first block is damaged")]
    Damaged,
    /// The snapshot behind the first block is damaged.
    #[error("its snapshot is damaged")]
    Snapshot,
    /// It is a good file under another file's name.
    #[error("its content is of another file")]
    Misnamed,
}

impl Preamble {
    /// The preamble with its snapshot and padding, ready to be written at offset 0.
    ///
    /// The snapshot must be at most [`SNAPSHOT_MAX`] bytes long.
    pub(crate) fn encode(draft: &Draft<'_>) -> (Self, Vec<u8>) {
        let Draft { identity, start, previous, chain, recycled, file_len, snapshot } = *draft;
        assert!(snapshot.len() <= SNAPSHOT_MAX, "the caller checks the snapshot's length");
        let mut bytes = vec![0; BLOCK + padded(snapshot.len())];
        let (block, rest) = bytes.split_at_mut(BLOCK);
        rest[..snapshot.len()].copy_from_slice(snapshot);
        let snapshot_hash = xxh3_128(rest).to_le_bytes();
        let preamble = Self {
            identity,
            start,
            previous,
            chain,
            recycled,
            file_len,
            snapshot_len: snapshot.len(),
            snapshot_hash,
        };

        let (previous_start, previous_incarnation) =
            previous.map_or((u64::MAX, 0), |(start, number)| (start.get(), number.get()));
        let blocks = super::layout::short(preamble.len() / BLOCK);
        let flags = if recycled { at::FLAG_RECYCLED } else { 0 };
        block[at::MAGIC_AT].copy_from_slice(&at::MAGIC);
        block[at::VERSION].copy_from_slice(&FORMAT_VERSION.to_le_bytes());
        block[at::FLAGS].copy_from_slice(&flags.to_le_bytes());
        block[at::INCARNATION].copy_from_slice(&identity.incarnation.get().to_le_bytes());
        block[at::JOURNAL_ID].copy_from_slice(&identity.id.bytes());
        block[at::SALT].copy_from_slice(&identity.salt.0);
        block[at::START].copy_from_slice(&start.get().to_le_bytes());
        block[at::PREVIOUS_START].copy_from_slice(&previous_start.to_le_bytes());
        block[at::PREVIOUS_INCARNATION].copy_from_slice(&previous_incarnation.to_le_bytes());
        block[at::BLOCKS].copy_from_slice(&blocks.to_le_bytes());
        block[at::SNAPSHOT_LEN].copy_from_slice(&wide(snapshot.len()).to_le_bytes());
        block[at::FILE_LEN].copy_from_slice(&file_len.to_le_bytes());
        block[at::CHAIN].copy_from_slice(&chain.bytes());
        block[at::SNAPSHOT_HASH].copy_from_slice(&snapshot_hash);
        let checksum = xxh3_128(block).to_le_bytes();
        block[at::CHECKSUM].copy_from_slice(&checksum);
        (preamble, bytes)
    }

    /// Verifies a file's first block. The snapshot behind it is verified by
    /// [`Preamble::snapshot`].
    pub(crate) fn decode(block: &[u8; BLOCK]) -> Result<Self, PreambleError> {
        if block[at::MAGIC_AT] != at::MAGIC {
            return Err(PreambleError::Foreign);
        }
        let mut unsealed = *block;
        unsealed[at::CHECKSUM].fill(0);
        let sealed = field(block, at::CHECKSUM) == xxh3_128(&unsealed).to_le_bytes();
        let version = u16::from_le_bytes(field(block, at::VERSION));
        if sealed && version != FORMAT_VERSION {
            return Err(PreambleError::Version(version));
        }
        let start = Position::new(u64::from_le_bytes(field(block, at::START)));
        let snapshot_len = u64::from_le_bytes(field(block, at::SNAPSHOT_LEN));
        let previous_start = Position::new(u64::from_le_bytes(field(block, at::PREVIOUS_START)));
        let previous = match u32::from_le_bytes(field(block, at::PREVIOUS_INCARNATION)) {
            0 => None,
            number => Some((previous_start, Incarnation::new(number))),
        };
        let bounded = start <= Position::MAX
            && start.get().is_multiple_of(wide(BLOCK))
            && previous.is_none_or(|(previous, _)| previous < start)
            && snapshot_len <= wide(SNAPSHOT_MAX);
        if !sealed || !bounded {
            return Err(PreambleError::Damaged);
        }
        let preamble = Self {
            identity: Identity {
                id: JournalId::new(field(block, at::JOURNAL_ID)),
                incarnation: Incarnation::new(u32::from_le_bytes(field(block, at::INCARNATION))),
                salt: Salt(field(block, at::SALT)),
            },
            start,
            previous,
            chain: Chain::new(field(block, at::CHAIN)),
            recycled: u16::from_le_bytes(field(block, at::FLAGS)) & at::FLAG_RECYCLED != 0,
            file_len: u64::from_le_bytes(field(block, at::FILE_LEN)),
            snapshot_len: narrow(snapshot_len),
            snapshot_hash: field(block, at::SNAPSHOT_HASH),
        };
        let blocks = u32::from_le_bytes(field(block, at::BLOCKS)) as usize;
        if blocks * BLOCK == preamble.len() { Ok(preamble) } else { Err(PreambleError::Damaged) }
    }

    /// The whole preamble's length in bytes: the file's offset of `start`.
    pub(crate) const fn len(&self) -> usize {
        BLOCK + padded(self.snapshot_len)
    }

    /// Verifies what lies between the first block and the first commit, and returns the snapshot.
    pub(crate) fn snapshot(&self, mut rest: Vec<u8>) -> Result<Vec<u8>, PreambleError> {
        if rest.len() != self.len() - BLOCK || xxh3_128(&rest).to_le_bytes() != self.snapshot_hash {
            return Err(PreambleError::Snapshot);
        }
        rest.truncate(self.snapshot_len);
        Ok(rest)
    }
}
