//! What the manifest says of a run.

use takt_protocol::varint::{Cursor, Truncated};

use crate::journal::{Incarnation, Position};

/// Rows of each section of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RunCounts {
    /// Ledger entries.
    pub ledger: u64,
    /// Order heads.
    pub heads: u64,
    /// Extents: stored batches.
    pub extents: u64,
    /// Events of order keys.
    pub orders: u64,
    /// Open conflicts.
    pub conflicts: u64,
    /// Partitions.
    pub slots: u64,
}

impl RunCounts {
    pub(super) const fn array(&self) -> [u64; 6] {
        [self.ledger, self.heads, self.extents, self.orders, self.conflicts, self.slots]
    }

    pub(super) const fn from_array(counts: [u64; 6]) -> Self {
        let [ledger, heads, extents, orders, conflicts, slots] = counts;
        Self { ledger, heads, extents, orders, conflicts, slots }
    }
}

/// A written run as the manifest names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RunInfo {
    /// Where the journal file starts that it was made from, and the positions that it covers.
    pub start: Position,
    /// The exclusive end of the covered positions.
    pub end: Position,
    /// The incarnation of that journal file.
    pub incarnation: Incarnation,
    /// The checksum of the run's header, which covers all of the run.
    pub checksum: u128,
    /// Rows of each section.
    pub counts: RunCounts,
}

impl RunInfo {
    /// Length of the encoded form in bytes.
    pub const LEN: usize = 84;

    /// The name of the file's run.
    pub fn name(&self) -> String {
        format!("run-{:016x}-{:08x}.run", self.start.get(), self.incarnation.get())
    }

    /// The name of a run that was merged from others.
    pub fn merged_name(&self) -> String {
        format!("keys-{:016x}-{:016x}.run", self.start.get(), self.end.get())
    }

    /// Start and end from a merged run's file name; `None` if it is none.
    pub fn parse_merged_name(name: &str) -> Option<(Position, Position)> {
        let (start, end) = name.strip_prefix("keys-")?.strip_suffix(".run")?.split_once('-')?;
        Some((Position::new(hex(start, 16)?), Position::new(hex(end, 16)?)))
    }

    /// Whether all that `other` covers is covered here.
    pub fn covers(&self, other: &Self) -> bool {
        self.start <= other.start && other.end <= self.end
    }

    /// Start and incarnation from a run's file name; `None` if it is none.
    pub fn parse_name(name: &str) -> Option<(Position, Incarnation)> {
        let (start, incarnation) =
            name.strip_prefix("run-")?.strip_suffix(".run")?.split_once('-')?;
        let incarnation = u32::try_from(hex(incarnation, 8)?).ok()?;
        Some((Position::new(hex(start, 16)?), Incarnation::new(incarnation)))
    }

    /// Appends [`RunInfo::LEN`] bytes.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.start.get().to_le_bytes());
        out.extend_from_slice(&self.end.get().to_le_bytes());
        out.extend_from_slice(&self.incarnation.get().to_le_bytes());
        out.extend_from_slice(&self.checksum.to_le_bytes());
        for count in self.counts.array() {
            out.extend_from_slice(&count.to_le_bytes());
        }
    }

    /// Reads what [`RunInfo::encode`] wrote.
    ///
    /// # Errors
    /// [`Truncated`] where the bytes end early or the positions are not in order.
    pub fn decode(cursor: &mut Cursor<'_>) -> Result<Self, Truncated> {
        let start = Position::new(u64::from_le_bytes(cursor.array()?));
        let end = Position::new(u64::from_le_bytes(cursor.array()?));
        let incarnation = Incarnation::new(u32::from_le_bytes(cursor.array()?));
        let checksum = u128::from_le_bytes(cursor.array()?);
        let mut counts = [0; 6];
        for count in &mut counts {
            *count = u64::from_le_bytes(cursor.array()?);
        }
        if start > end || end > Position::MAX {
            return Err(Truncated);
        }
        let counts = RunCounts::from_array(counts);
        Ok(Self { start, end, incarnation, checksum, counts })
    }
}

fn hex(text: &str, digits: usize) -> Option<u64> {
    let plain = |b: u8| matches!(b, b'0'..=b'9' | b'a'..=b'f');
    (text.len() == digits && text.bytes().all(plain)).then(|| u64::from_str_radix(text, 16).ok())?
}
