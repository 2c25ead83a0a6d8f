//! What `takt bench` is told.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use takt_client::Compression;

use super::BenchError;
use super::machine::Limits;
use super::plan::{Pace, Plan};
use crate::config::Size;

/// Producers, where nothing else is asked for.
const PRODUCERS: u16 = 4;
/// Calls that each keeps in flight, where nothing else is asked for.
const WINDOW: u16 = 8;

/// How the node is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum TransportKind {
    /// In this process.
    Embedded,
    /// A process of its own, over QUIC on loopback, with certificates on both sides.
    Quic,
}

impl TransportKind {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Embedded => "embedded",
            Self::Quic => "quic",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Switch {
    On,
    Off,
}

/// What events carry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum DataKind {
    /// Bytes that do not compress, --size of them.
    Random,
    /// Reports of a generated production log, as JSON.
    Json,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum CompressionKind {
    None,
    Lz4,
    Zstd,
}

impl DataKind {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Random => "random",
            Self::Json => "json",
        }
    }
}

impl CompressionKind {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Lz4 => "lz4",
            Self::Zstd => "zstd",
        }
    }

    pub const fn of(self) -> Compression {
        match self {
            Self::None => Compression::None,
            Self::Lz4 => Compression::Lz4,
            Self::Zstd => Compression::Zstd,
        }
    }
}

/// What all measurements take: the node, its events, and the form of the answer.
#[derive(Debug, Clone, Args)]
pub(super) struct CommonArgs {
    /// How the node is reached.
    #[arg(long, value_enum, default_value = "quic")]
    pub transport: TransportKind,
    /// Events in all.
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1..))]
    pub records: u64,
    /// Bytes of data per event; id, source, type, time and order key come on top.
    #[arg(long, default_value_t = 256, value_parser = clap::value_parser!(u32).range(..=800_000))]
    pub size: u32,
    /// Events per call, unless there is a rate, and at most per batch.
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u16).range(1..=4_096))]
    pub batch: u16,
    /// Different order keys, over all topics: each is of one.
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u32).range(1..))]
    pub orders: u32,
    /// The seed of data and order keys. Ids are new in every run.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Where the node keeps its data; a temporary directory if none is given.
    #[arg(long)]
    pub dir: Option<PathBuf>,
    /// First measure what the machine can do (as `takt bench machine`), and print it beside.
    #[arg(long)]
    pub limits: bool,
    /// One JSON object instead of a table.
    #[arg(long)]
    pub json: bool,
}

impl CommonArgs {
    /// What the machine can do, where that is asked for.
    pub async fn measure_limits(&self) -> Result<Option<Limits>, BenchError> {
        if !self.limits {
            return Ok(None);
        }
        Limits::measure(self.dir.as_deref()).await.map(Some)
    }
}

/// How the node differs from one that is laid out by default.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct NodeArgs {
    /// Journal files that are ready before the time runs.
    pub spares: Option<u16>,
    /// Beyond so many bytes of journal the oldest files may go; 0 is without a limit.
    pub retention_bytes: u64,
}

#[derive(Debug, Clone, Args)]
pub(super) struct PublishArgs {
    #[command(flatten)]
    pub common: CommonArgs,
    /// Publish for so many seconds, instead of a number of events.
    #[arg(
        long,
        conflicts_with = "records",
        value_parser = clap::value_parser!(u32).range(1..=86_400)
    )]
    pub seconds: Option<u32>,
    /// Publish in an open loop: so many events per second over all producers.
    ///
    /// Events are due at fixed times from a common start, in turns of the producers. Each is sent by
    /// a call of its own when it is due, never earlier, whatever has become of those before it; a
    /// sender that is late sends at once what is due. Times to a receipt count from when an event
    /// was due, so they include how late its sender was: up to 0.2 ms on purpose, where a producer
    /// has more than 5,000 events a second, and what the system takes to wake a thread.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=10_000_000))]
    pub rate: Option<u64>,
    /// Producers, each with a session of its own.
    #[arg(long, default_value_t = PRODUCERS, value_parser = clap::value_parser!(u16).range(1..=256))]
    pub producers: u16,
    /// Calls that each producer keeps in flight; with --rate, room for the events of so many
    /// batches, at the end of which a sender has to wait.
    #[arg(long, default_value_t = WINDOW, value_parser = clap::value_parser!(u16).range(1..=64))]
    pub window: u16,
    /// Whether the topic judges dedup keys.
    #[arg(long, value_enum, default_value = "on")]
    pub dedup: Switch,
    /// Have so many journal files ready before the time runs; embedded only.
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=1_024))]
    pub spares: Option<u16>,
    /// Let the node drop its oldest journal files beyond so much, such as 8GiB: at least one file; 0 is
    /// without a limit.
    #[arg(long, default_value = "0")]
    pub retention_size: Size,
    /// One event in a call, as soon as there is room for it: the client makes the batches.
    #[arg(long, conflicts_with = "rate")]
    pub each: bool,
    /// Topics, shared out among the producers: each call of one goes to the next of its own.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=256))]
    pub topics: u16,
    /// Partitions of each topic.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=1_024))]
    pub partitions: u16,
    /// What events carry.
    #[arg(long, value_enum, default_value = "random")]
    pub data: DataKind,
    /// How producers compress the data of a batch.
    #[arg(long, value_enum, default_value = "none")]
    pub compression: CompressionKind,
}

impl PublishArgs {
    pub fn node(&self) -> NodeArgs {
        NodeArgs { spares: self.spares, retention_bytes: self.retention_size.bytes() }
    }

    pub fn plan(&self) -> Plan<'_> {
        let seconds = self.seconds.map(u64::from);
        let pace = match (self.rate, seconds) {
            (Some(per_s), Some(seconds)) => Pace::Open { records: per_s * seconds, per_s },
            (Some(per_s), None) => Pace::Open { records: self.common.records, per_s },
            (None, Some(seconds)) => Pace::ClosedFor(Duration::from_secs(seconds)),
            (None, None) => Pace::Closed { records: self.common.records },
        };
        Plan {
            pace,
            each: self.each,
            producers: self.producers,
            window: self.window,
            events: &self.common,
            data: self.data,
            compression: self.compression.of(),
        }
    }
}

#[derive(Debug, Clone, Args)]
pub(super) struct ConsumeArgs {
    #[command(flatten)]
    pub common: CommonArgs,
    /// Consumers, each of which reads all events.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=256))]
    pub consumers: u16,
}

impl ConsumeArgs {
    /// How the topic is filled before: as `takt bench publish` would by default.
    pub const fn fill(&self) -> Plan<'_> {
        Plan {
            pace: Pace::Closed { records: self.common.records },
            each: false,
            producers: PRODUCERS,
            window: WINDOW,
            events: &self.common,
            data: DataKind::Random,
            compression: Compression::None,
        }
    }
}
