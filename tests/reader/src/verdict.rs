//! What an origin says of a record.

use crate::input::{Input, Why};

/// Where a visible record stands within its topic at its origin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The partition's number.
    pub partition: u16,
    /// The offset in it.
    pub offset: u64,
}

/// What the origin says of a record; a visible one's offset and order sequence are the record's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It is an event.
    Visible,
    /// Its dedup key is known with the same content.
    Duplicate {
        /// The first.
        of: Place,
        /// The first's place within its order key.
        order_sequence: Option<u64>,
    },
    /// Its dedup key is known with other content.
    Conflict {
        /// The first.
        with: Place,
        /// Whether it waits for an operator.
        listed: bool,
    },
    /// What it demanded of its order did not hold.
    PreconditionFailed {
        /// Where the order stood.
        at: u64,
    },
}

/// A verdict as it is stored: with what a visible record gets from it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Judged {
    pub(crate) verdict: Verdict,
    /// Of a visible record with an order key.
    pub(crate) order_sequence: Option<u64>,
    /// Its order key began again at 1.
    pub(crate) restarted: bool,
}

impl Judged {
    pub(crate) fn read(input: &mut Input<'_>) -> Result<Self, Why> {
        let code = input.u8()?;
        let (mut order_sequence, mut restarted) = (None, false);
        let verdict = match code {
            0 => Verdict::Visible,
            1 | 2 => {
                order_sequence = Some(input.varint()?);
                restarted = code == 2;
                Verdict::Visible
            }
            3 => Verdict::Duplicate { of: place(input)?, order_sequence: None },
            4 => {
                let of = place(input)?;
                Verdict::Duplicate { of, order_sequence: Some(input.varint()?) }
            }
            5 | 6 => Verdict::Conflict { with: place(input)?, listed: code == 5 },
            7 => Verdict::PreconditionFailed { at: input.varint()? },
            _ => return Err(Why("a verdict is not known")),
        };
        Ok(Self { verdict, order_sequence, restarted })
    }

    /// Whether compaction may leave out the record, other records not looked at: a visible one stays
    /// without an order key, a conflict while an operator may have to look at it.
    pub(crate) const fn may_be_left_out(&self) -> bool {
        match self.verdict {
            Verdict::Visible => self.order_sequence.is_some(),
            Verdict::Conflict { listed, .. } => !listed,
            Verdict::Duplicate { .. } | Verdict::PreconditionFailed { .. } => true,
        }
    }
}

fn place(input: &mut Input<'_>) -> Result<Place, Why> {
    Ok(Place { partition: input.small()?, offset: input.varint()? })
}
