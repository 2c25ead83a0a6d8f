//! What the origin says of a record, and its form in a stored batch's header.

use crate::varint::{self, Cursor, Truncated};
use crate::words::{Offset, OrderSequence, PartitionNumber};

/// Where a visible record stands within its topic at its origin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// The partition.
    pub partition: PartitionNumber,
    /// The offset in it.
    pub offset: Offset,
}

/// What the origin says of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It is an event: it has the next offset of its partition.
    Visible {
        /// Its place within its order key; `None` for a record without one.
        order_sequence: Option<OrderSequence>,
        /// Its order key had been quiet for longer than the horizon and begins again at 1.
        restarted: bool,
    },
    /// Its dedup key is known with the same content.
    Duplicate {
        /// The first.
        of: Place,
        /// The first's place within its order key.
        order_sequence: Option<OrderSequence>,
    },
    /// Its dedup key is known with other content.
    Conflict {
        /// The first.
        with: Place,
        /// Whether this record itself is kept for an operator to decide on. Not where the same
        /// content was a conflict before, and not where the topic refuses conflicts.
        listed: bool,
    },
    /// What it demanded of its order did not hold.
    PreconditionFailed {
        /// Where the order stands.
        at: OrderSequence,
    },
}

const VISIBLE: u8 = 0;
const VISIBLE_ORDERED: u8 = 1;
const VISIBLE_RESTARTED: u8 = 2;
const DUPLICATE: u8 = 3;
const DUPLICATE_ORDERED: u8 = 4;
const CONFLICT_LISTED: u8 = 5;
const CONFLICT_UNLISTED: u8 = 6;
const PRECONDITION_FAILED: u8 = 7;

impl Verdict {
    /// Whether the record has an offset.
    pub fn is_visible(&self) -> bool {
        matches!(self, Self::Visible { .. })
    }

    /// Appends the verdict.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let place = |out: &mut Vec<u8>, place: &Place| {
            varint::put(out, u64::from(place.partition.get()));
            varint::put(out, place.offset.get());
        };
        match self {
            Self::Visible { order_sequence: None, .. } => out.push(VISIBLE),
            Self::Visible { order_sequence: Some(sequence), restarted } => {
                out.push(if *restarted { VISIBLE_RESTARTED } else { VISIBLE_ORDERED });
                varint::put(out, sequence.get());
            }
            Self::Duplicate { of, order_sequence: None } => {
                out.push(DUPLICATE);
                place(out, of);
            }
            Self::Duplicate { of, order_sequence: Some(sequence) } => {
                out.push(DUPLICATE_ORDERED);
                place(out, of);
                varint::put(out, sequence.get());
            }
            Self::Conflict { with, listed } => {
                out.push(if *listed { CONFLICT_LISTED } else { CONFLICT_UNLISTED });
                place(out, with);
            }
            Self::PreconditionFailed { at } => {
                out.push(PRECONDITION_FAILED);
                varint::put(out, at.get());
            }
        }
    }

    /// Reads one verdict.
    ///
    /// # Errors
    /// [`Truncated`] where the bytes end or the code is unknown.
    pub fn decode(cursor: &mut Cursor<'_>) -> Result<Self, Truncated> {
        let place = |cursor: &mut Cursor<'_>| -> Result<Place, Truncated> {
            let partition = u16::try_from(cursor.varint()?).map_err(|_| Truncated)?;
            let offset = Offset::new(cursor.varint()?);
            Ok(Place { partition: PartitionNumber::new(partition), offset })
        };
        let sequence = |cursor: &mut Cursor<'_>| cursor.varint().map(OrderSequence::new);
        let code = cursor.u8()?;
        Ok(match code {
            VISIBLE => Self::Visible { order_sequence: None, restarted: false },
            VISIBLE_ORDERED | VISIBLE_RESTARTED => Self::Visible {
                order_sequence: Some(sequence(cursor)?),
                restarted: code == VISIBLE_RESTARTED,
            },
            DUPLICATE => Self::Duplicate { of: place(cursor)?, order_sequence: None },
            DUPLICATE_ORDERED => {
                let of = place(cursor)?;
                Self::Duplicate { of, order_sequence: Some(sequence(cursor)?) }
            }
            CONFLICT_LISTED | CONFLICT_UNLISTED => {
                Self::Conflict { with: place(cursor)?, listed: code == CONFLICT_LISTED }
            }
            PRECONDITION_FAILED => Self::PreconditionFailed { at: sequence(cursor)? },
            _ => return Err(Truncated),
        })
    }
}

/// The verdicts of a batch, in the order of its records.
#[derive(Debug, Clone)]
pub struct VerdictIter<'a> {
    cursor: Cursor<'a>,
    left: usize,
}

impl<'a> VerdictIter<'a> {
    /// Reads `records` verdicts from `bytes`.
    pub fn new(bytes: &'a [u8], records: usize) -> Self {
        Self { cursor: Cursor::new(bytes), left: records }
    }

    /// What is left behind the verdicts read so far.
    pub fn rest(&self) -> &'a [u8] {
        self.cursor.rest()
    }
}

impl Iterator for VerdictIter<'_> {
    type Item = Result<Verdict, Truncated>;

    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        let verdict = Verdict::decode(&mut self.cursor);
        if verdict.is_err() {
            self.left = 0;
        }
        Some(verdict)
    }
}
