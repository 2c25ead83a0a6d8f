//! `takt bench`: how fast a node is on this machine, measured from outside as a client sees it.
//!
//! The node is a new process, reached over QUIC on loopback, or a node within this process. Nothing is
//! cut short for it: events have an identity, an order key and data that does not compress, and
//! acknowledged is synced.
//!
//! `takt bench publish` is a closed loop: each producer keeps a fixed number of calls in flight and
//! makes the next one when a receipt has come. That says how much a node takes. With a rate it is an
//! open loop: events are sent when they are due, and the time to a receipt counts from then. That
//! says how long an event takes beside so many others. In both, the topic must hold exactly the
//! events that were acknowledged at the end.
//!
//! `takt bench consume` fills a topic in the same closed loop, and then measures how fast consumers
//! read it from its beginning to its end. Each must get each event once and in order.

mod args;
mod closed_loop;
mod consume;
mod cpu;
mod each_loop;
mod error;
mod events;
mod load;
mod machine;
mod meter;
mod open_loop;
mod plan;
mod progress;
mod publish;
mod reading;
mod report;
mod schedule;
mod supply;
mod tally;
mod target;
mod topic;
mod turns;

#[cfg(test)]
mod tests;

use clap::{Args, Subcommand};

use crate::cli::output::Output;
use args::{ConsumeArgs, PublishArgs};
use machine::MachineArgs;

pub use error::BenchError;
pub use reading::ReadingError;

/// What to measure.
#[derive(Debug, Clone, Args)]
pub struct BenchArgs {
    #[command(subcommand)]
    kind: Kind,
}

#[derive(Debug, Clone, Subcommand)]
enum Kind {
    /// Publish events and say how fast they were acknowledged: as many as the node takes, or at a
    /// rate.
    Publish(PublishArgs),
    /// Say what the machine can do with nothing of this program behind it: synced writes, and QUIC.
    Machine(MachineArgs),
    /// Fill a topic, and then read it from its beginning to its end and say how fast that was.
    ///
    /// Filling it is not measured. What is read was written just before: it comes from the system's
    /// page cache, as far as that has room for it, and not from the disk.
    Consume(ConsumeArgs),
}

/// Measures and prints the result on standard output.
///
/// # Errors
/// [`BenchError`], also where the node did not hold or deliver what it had acknowledged.
pub async fn run(args: BenchArgs, output: Output) -> Result<(), BenchError> {
    match args.kind {
        Kind::Publish(mut args) => {
            args.common.json |= output == Output::Json;
            publish::run(&args).await
        }
        Kind::Machine(mut args) => {
            args.json |= output == Output::Json;
            machine::run(&args).await
        }
        Kind::Consume(mut args) => {
            args.common.json |= output == Output::Json;
            consume::run(&args).await
        }
    }
}
