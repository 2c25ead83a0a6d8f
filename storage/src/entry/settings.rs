//! The settings of a topic, as the journal keeps them.

use takt_protocol::limits::{HORIZON_S_DEFAULT, PARTITIONS_MAX};
use takt_protocol::varint::{self, Cursor, Truncated};

/// What becomes of a record whose dedup key is known with other content. The number is on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnConflict {
    /// It is kept, masked, and listed for an operator.
    #[default]
    Quarantine,
    /// The publisher is told; it is not kept.
    Refuse,
}

/// The settings of a topic. Its retention is applied by its origin alone, to whole journal files that
/// are closed; the origin's own limits may drop what it would keep. A mirror goes by the limits of
/// the node that keeps it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TopicSettings {
    /// Partitions, 1 to [`PARTITIONS_MAX`]; fixed when the topic is made.
    pub partitions: u16,
    /// Whether a dedup key counts once.
    pub dedup: bool,
    /// Whether an event may go when a later one of its order key has come.
    pub compact: bool,
    /// For how long dedup keys and orders are known at least, in seconds; 0 is
    /// [`HORIZON_S_DEFAULT`].
    pub horizon_s: u64,
    /// What becomes of conflicts.
    pub on_conflict: OnConflict,
    /// Events may go when they are older, in milliseconds; 0 is without a limit.
    pub retention_ms: u64,
    /// In each partition, events may go that lie behind so many newer bytes; 0 is without a limit.
    pub retention_bytes: u64,
    /// The priority class on a link.
    pub lane: u8,
}

const DEDUP: u8 = 1;
const COMPACT: u8 = 2;

impl Default for TopicSettings {
    fn default() -> Self {
        Self {
            partitions: 1,
            dedup: true,
            compact: false,
            horizon_s: HORIZON_S_DEFAULT,
            on_conflict: OnConflict::Quarantine,
            retention_ms: 0,
            retention_bytes: 0,
            lane: 0,
        }
    }
}

impl TopicSettings {
    /// Whether every setting is within its bounds.
    pub fn is_valid(&self) -> bool {
        (1..=PARTITIONS_MAX).contains(&self.partitions)
    }

    /// Whether what the topic holds is ever trimmed by its own limits.
    pub(crate) fn has_limit(&self) -> bool {
        self.retention_ms > 0 || self.retention_bytes > 0
    }

    /// The horizon in microseconds.
    pub(crate) fn horizon_us(&self) -> i64 {
        let horizon_s = if self.horizon_s == 0 { HORIZON_S_DEFAULT } else { self.horizon_s };
        i64::try_from(horizon_s).unwrap_or(i64::MAX).saturating_mul(1_000_000)
    }

    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        varint::put(out, u64::from(self.partitions));
        out.push(u8::from(self.dedup) | if self.compact { COMPACT } else { 0 });
        varint::put(out, self.horizon_s);
        out.push(match self.on_conflict {
            OnConflict::Quarantine => 0,
            OnConflict::Refuse => 1,
        });
        varint::put(out, self.retention_ms);
        varint::put(out, self.retention_bytes);
        out.push(self.lane);
    }

    pub(crate) fn decode(cursor: &mut Cursor<'_>) -> Result<Self, Truncated> {
        let partitions = u16::try_from(cursor.varint()?).map_err(|_| Truncated)?;
        let flags = cursor.u8()?;
        if flags & !(DEDUP | COMPACT) != 0 {
            return Err(Truncated);
        }
        let settings = Self {
            partitions,
            dedup: flags & DEDUP != 0,
            compact: flags & COMPACT != 0,
            horizon_s: cursor.varint()?,
            on_conflict: match cursor.u8()? {
                0 => OnConflict::Quarantine,
                1 => OnConflict::Refuse,
                _ => return Err(Truncated),
            },
            retention_ms: cursor.varint()?,
            retention_bytes: cursor.varint()?,
            lane: cursor.u8()?,
        };
        if settings.is_valid() { Ok(settings) } else { Err(Truncated) }
    }
}
