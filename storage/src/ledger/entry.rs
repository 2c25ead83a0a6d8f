//! What the ledger knows of one content of a dedup key, and where one order key stands.

use takt_protocol::batch::Place;
use takt_protocol::words::{
    BatchNumber, Digest, Offset, OrderSequence, PartitionNumber, Timestamp,
};

use super::Entry;

/// The address of a record that has no offset, within its topic at its origin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MaskedPlace {
    /// The partition.
    pub partition: PartitionNumber,
    /// The batch that holds the record.
    pub batch_number: BatchNumber,
    /// The record's place in the batch, from 0.
    pub index: u16,
}

/// What was decided of a content when it was first seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Known {
    /// The key's first content: an event.
    First {
        /// Where it is.
        place: Place,
        /// Its place within its order key; `None` without one.
        order_sequence: Option<OrderSequence>,
    },
    /// A later content that became an event linked to the first.
    Revision {
        /// Where it is.
        place: Place,
        /// Its place within its order key; `None` without one.
        order_sequence: Option<OrderSequence>,
    },
    /// A later content that waits for an operator.
    OpenConflict {
        /// Where the record lies.
        at: MaskedPlace,
    },
    /// A later content that is no event and never will be.
    Rejected {
        /// Where the record lies; not where it was refused and is not kept.
        at: MaskedPlace,
    },
}

/// The part of a digest that the ledger keeps.
pub fn digest64(digest: Digest) -> u64 {
    let mut low = [0; 8];
    low.copy_from_slice(&digest.as_bytes()[..8]);
    u64::from_le_bytes(low)
}

/// One content of one dedup key, in 48 bytes. A conflict's first is the [`Known::First`] under the
/// same hash.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct LedgerEntry {
    hash: u128,
    digest64: u64,
    /// 0 stands for none: sequences begin at 1.
    order_sequence: u64,
    /// An offset or a batch number, as the kind says.
    at: u64,
    partition: u16,
    index: u16,
    kind: Kind,
}

const _: () = assert!(size_of::<LedgerEntry>() <= 48, "a key costs 64 bytes with its index");

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    First,
    Revision,
    OpenConflict,
    Rejected,
}

impl LedgerEntry {
    /// Length of the encoded form in bytes.
    pub(crate) const LEN: usize = 48;

    /// An entry for the content with `digest64` of the key with `hash`.
    pub fn new(hash: u128, digest64: u64, known: Known) -> Self {
        let (kind, place, order_sequence) = match known {
            Known::First { place, order_sequence } => (Kind::First, Ok(place), order_sequence),
            Known::Revision { place, order_sequence } => {
                (Kind::Revision, Ok(place), order_sequence)
            }
            Known::OpenConflict { at } => (Kind::OpenConflict, Err(at), None),
            Known::Rejected { at } => (Kind::Rejected, Err(at), None),
        };
        let (at, partition, index) = match place {
            Ok(place) => (place.offset.get(), place.partition.get(), 0),
            Err(masked) => (masked.batch_number.get(), masked.partition.get(), masked.index),
        };
        let order_sequence = order_sequence.map_or(0, OrderSequence::get);
        Self { hash, digest64, order_sequence, at, partition, index, kind }
    }

    /// The node's hash of topic and key.
    pub fn hash(&self) -> u128 {
        self.hash
    }

    /// Eight bytes of the content's digest, see [`digest64`].
    pub fn digest64(&self) -> u64 {
        self.digest64
    }

    /// What was decided.
    pub fn known(&self) -> Known {
        let partition = PartitionNumber::new(self.partition);
        let place = Place { partition, offset: Offset::new(self.at) };
        let batch_number = BatchNumber::new(self.at);
        let at = MaskedPlace { partition, batch_number, index: self.index };
        let order_sequence =
            (self.order_sequence > 0).then(|| OrderSequence::new(self.order_sequence));
        match self.kind {
            Kind::First => Known::First { place, order_sequence },
            Kind::Revision => Known::Revision { place, order_sequence },
            Kind::OpenConflict => Known::OpenConflict { at },
            Kind::Rejected => Known::Rejected { at },
        }
    }

    /// Whether it is the key's first content.
    pub fn is_first(&self) -> bool {
        self.kind == Kind::First
    }

    /// What stands for its kind in the encoded form.
    pub(crate) fn kind_number(&self) -> u8 {
        match self.kind {
            Kind::First => 0,
            Kind::Revision => 1,
            Kind::OpenConflict => 2,
            Kind::Rejected => 3,
        }
    }

    /// Appends [`LedgerEntry::LEN`] bytes: hash, digest, order sequence, offset or batch number,
    /// partition, index, kind, 3 zeros.
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.hash.to_le_bytes());
        out.extend_from_slice(&self.digest64.to_le_bytes());
        out.extend_from_slice(&self.order_sequence.to_le_bytes());
        out.extend_from_slice(&self.at.to_le_bytes());
        out.extend_from_slice(&self.partition.to_le_bytes());
        out.extend_from_slice(&self.index.to_le_bytes());
        out.extend_from_slice(&[self.kind_number(), 0, 0, 0]);
    }

    /// Reads what [`LedgerEntry::encode`] wrote; `None` for an unknown kind.
    pub(crate) fn decode(bytes: &[u8; Self::LEN]) -> Option<Self> {
        let word = |at: usize| {
            let mut word = [0; 8];
            word.copy_from_slice(&bytes[at..at + 8]);
            u64::from_le_bytes(word)
        };
        let kind = match bytes[44..] {
            [0, 0, 0, 0] => Kind::First,
            [1, 0, 0, 0] => Kind::Revision,
            [2, 0, 0, 0] => Kind::OpenConflict,
            [3, 0, 0, 0] => Kind::Rejected,
            _ => return None,
        };
        Some(Self {
            hash: u128::from(word(0)) | u128::from(word(8)) << 64,
            digest64: word(16),
            order_sequence: word(24),
            at: word(32),
            partition: u16::from_le_bytes([bytes[40], bytes[41]]),
            index: u16::from_le_bytes([bytes[42], bytes[43]]),
            kind,
        })
    }
}

impl std::fmt::Debug for LedgerEntry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LedgerEntry")
            .field("hash", &format_args!("{:032x}", self.hash))
            .field("digest64", &format_args!("{:016x}", self.digest64))
            .field("known", &self.known())
            .finish_non_exhaustive()
    }
}

impl Entry for LedgerEntry {
    fn hash(&self) -> u128 {
        self.hash
    }
}

/// Where one order key stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeadEntry {
    /// The node's hash of topic and order key.
    pub hash: u128,
    /// The sequence of its last event.
    pub last: OrderSequence,
    /// When its last event was appended.
    pub last_append_time: Timestamp,
}

impl HeadEntry {
    /// Length of the encoded form in bytes.
    pub(crate) const LEN: usize = 32;
}

impl Entry for HeadEntry {
    fn hash(&self) -> u128 {
        self.hash
    }
}
