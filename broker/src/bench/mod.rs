//! `takt bench`: how fast a node is on this machine, measured from outside as a client sees it.
//!
//! `takt bench publish` is a closed loop: each producer keeps a fixed number of calls in flight and
//! makes the next one when a receipt has come. The node is a new process, reached over QUIC on
//! loopback, or a node within this process. Nothing is cut short for it: events have an identity,
//! an order key and data that does not compress, acknowledged is synced, and at the end the topic
//! must hold exactly the events that were acknowledged.

mod cpu;
mod error;
mod events;
mod load;
mod progress;
mod publish;
mod report;
mod target;

#[cfg(test)]
mod tests;

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use crate::cli::output::Output;

pub use error::BenchError;

/// What to measure.
#[derive(Debug, Clone, Args)]
pub struct BenchArgs {
    #[command(subcommand)]
    kind: Kind,
}

#[derive(Debug, Clone, Subcommand)]
enum Kind {
    /// Publish a burst of events in a closed loop and say how fast they were acknowledged.
    Publish(PublishArgs),
}

/// How the node is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum TransportKind {
    /// In this process.
    Embedded,
    /// A process of its own, over QUIC on loopback, with certificates on both sides.
    Quic,
}

impl TransportKind {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Embedded => "embedded",
            Self::Quic => "quic",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Switch {
    On,
    Off,
}

/// The most memory that the arguments may ask for: events in flight, and events made ahead.
const IN_FLIGHT_BYTES_MAX: u64 = 1 << 30;

#[derive(Debug, Clone, Args)]
struct PublishArgs {
    /// How the node is reached.
    #[arg(long, value_enum, default_value = "quic")]
    transport: TransportKind,
    /// Events in all.
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1..))]
    records: u64,
    /// Bytes of data per event; id, source, type, time and order key come on top.
    #[arg(long, default_value_t = 256, value_parser = clap::value_parser!(u32).range(..=800_000))]
    size: u32,
    /// Producers, each with a session of its own.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=256))]
    producers: u16,
    /// Events per call, and at most per batch.
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u16).range(1..=4_096))]
    batch: u16,
    /// Calls that each producer keeps in flight.
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=64))]
    window: u16,
    /// Different order keys.
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u32).range(1..))]
    orders: u32,
    /// Whether the topic judges dedup keys.
    #[arg(long, value_enum, default_value = "on")]
    dedup: Switch,
    /// The seed of data and order keys. Ids are new in every run.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Where the node keeps its data; a temporary directory if none is given.
    #[arg(long)]
    dir: Option<PathBuf>,
    /// One JSON object instead of a table.
    #[arg(long)]
    json: bool,
}

impl PublishArgs {
    /// What the events of one call take up in a producer's window, in bytes, with room to spare.
    const fn call_bytes(&self) -> u64 {
        (self.size as u64 + 512) * self.batch as u64
    }

    fn check(&self) -> Result<(), BenchError> {
        let calls = u64::from(self.window) * u64::from(self.producers);
        let bytes = self.call_bytes().saturating_mul(calls);
        if bytes > IN_FLIGHT_BYTES_MAX {
            return Err(BenchError::TooMuchInFlight { bytes, max: IN_FLIGHT_BYTES_MAX });
        }
        Ok(())
    }
}

/// Measures and prints the result on standard output.
///
/// # Errors
/// [`BenchError`], also where the node did not hold what it had acknowledged.
pub async fn run(args: BenchArgs, output: Output) -> Result<(), BenchError> {
    match args.kind {
        Kind::Publish(mut args) => {
            args.json |= output == Output::Json;
            publish::run(&args).await
        }
    }
}
