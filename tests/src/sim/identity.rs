//! What tells an event from all others: no dedup key, one, or two. Keys are numbers here; at a node
//! and topic no two kinds of key share a number.

use bytes::Bytes;
use takt_protocol::event::{DedupKeys, Event};
use takt_reader::{DedupKey, Record};

/// The dedup keys of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Identity {
    /// None: a repeat cannot be told from it.
    None,
    /// Source and id.
    Id(u32),
    /// A key that the producer names: one of [`Identity::Two`] alone.
    Named(u32),
    /// A transport's id and a business id. Either repeated is a repeat.
    Two(u32, u32),
}

impl Identity {
    /// What a stored record has; `None` where no event of the world has such keys.
    pub fn of(record: &Record<'_>) -> Option<Self> {
        Some(match record.dedup_keys {
            [None, None] => Self::None,
            [Some(DedupKey::SourceAndId { .. }), None] => Self::Id(record.id.parse().ok()?),
            [Some(DedupKey::Key(one)), None] => Self::Named(number(one)?),
            [Some(DedupKey::Key(one)), Some(DedupKey::Key(two))] => {
                Self::Two(number(one)?, number(two)?)
            }
            [None | Some(_), Some(_)] => return None,
        })
    }

    /// Gives an event these keys. Where the producer names them, the id is a hint for whoever reads
    /// a report and says nothing.
    pub fn dress(self, event: &mut Event) {
        event.id = self.numbers()[0].map(|first| first.to_string()).unwrap_or_default();
        event.dedup = match self {
            Self::None | Self::Id(_) => DedupKeys::SourceAndId,
            Self::Named(one) => DedupKeys::Key(key(one)),
            Self::Two(one, two) => DedupKeys::Two(key(one), key(two)),
        };
    }

    /// Whether a repeat of it can be told.
    pub const fn is_known(self) -> bool {
        !matches!(self, Self::None)
    }

    /// Its keys by number, in their order.
    pub const fn numbers(self) -> [Option<u32>; 2] {
        match self {
            Self::None => [None, None],
            Self::Id(one) | Self::Named(one) => [Some(one), None],
            Self::Two(one, two) => [Some(one), Some(two)],
        }
    }

    /// Whether a key of it is one of the other's.
    pub fn shares(self, other: Self) -> bool {
        let others = other.numbers();
        self.numbers().iter().flatten().any(|number| others.contains(&Some(*number)))
    }
}

fn key(number: u32) -> Bytes {
    Bytes::from(number.to_string())
}

fn number(key: &[u8]) -> Option<u32> {
    std::str::from_utf8(key).ok()?.parse().ok()
}
