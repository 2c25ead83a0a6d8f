//! Which systems there are, with which settings, and what each promises with them.

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

/// A system with its settings.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, ValueEnum, Serialize, Deserialize,
)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// As `takt init` configures it.
    Takt,
    /// NATS JetStream that syncs each message.
    NatsAlways,
    /// NATS JetStream as it is shipped.
    NatsDefault,
    /// Redis Streams with an append-only file that is synced before each answer.
    RedisAlways,
    /// Redis Streams with an append-only file that is synced once a second.
    RedisEverysec,
    /// Redis Streams as it is shipped: without an append-only file, but with snapshots, the first
    /// of them a minute after the first 10,000 changes.
    RedisDefault,
}

/// What is installed once, whatever its settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum System {
    /// This repository.
    Takt,
    /// NATS with JetStream.
    Nats,
    /// Redis.
    Redis,
}

/// What an acknowledgement says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Promise {
    /// Whether it is on the disk before the acknowledgement, so that a power cut does not take it.
    pub synced: bool,
    /// The same, and when it is on the disk otherwise.
    pub disk: &'static str,
    /// For how long an event that comes again is known as a repeat.
    pub dedup: &'static str,
}

impl Kind {
    /// All of them, in the order of tables.
    pub const ALL: [Self; 6] = [
        Self::Takt,
        Self::NatsAlways,
        Self::NatsDefault,
        Self::RedisAlways,
        Self::RedisEverysec,
        Self::RedisDefault,
    ];

    /// What it is called in tables.
    pub const fn title(self) -> &'static str {
        match self {
            Self::Takt => "Takt",
            Self::NatsAlways => "NATS JetStream, `sync_interval: always`",
            Self::NatsDefault => "NATS JetStream, as shipped",
            Self::RedisAlways => "Redis Streams, `appendfsync always`",
            Self::RedisEverysec => "Redis Streams, `appendfsync everysec`",
            Self::RedisDefault => "Redis Streams, as shipped",
        }
    }

    /// What is to be installed for it.
    pub const fn system(self) -> System {
        match self {
            Self::Takt => System::Takt,
            Self::NatsAlways | Self::NatsDefault => System::Nats,
            Self::RedisAlways | Self::RedisEverysec | Self::RedisDefault => System::Redis,
        }
    }

    /// What an acknowledgement of it says.
    pub const fn promise(self) -> Promise {
        let (synced, disk) = match self {
            Self::Takt | Self::NatsAlways | Self::RedisAlways => (true, "yes"),
            Self::NatsDefault => (false, "no: every 2 min"),
            Self::RedisEverysec => (false, "no: every second"),
            Self::RedisDefault => (false, "no: in memory, with a snapshot after a minute"),
        };
        let dedup = match self.system() {
            System::Takt => "400 days",
            System::Nats => "2 min",
            System::Redis => "not at all",
        };
        Promise { synced, disk, dedup }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_stands_for_something_else() {
        for (index, kind) in Kind::ALL.into_iter().enumerate() {
            assert!(Kind::ALL[index + 1..].iter().all(|other| other.title() != kind.title()));
        }
        let synced: Vec<_> = Kind::ALL.into_iter().filter(|kind| kind.promise().synced).collect();
        assert_eq!(synced, [Kind::Takt, Kind::NatsAlways, Kind::RedisAlways]);
    }
}
