//! The simulated world: plants, a hub, adapters and consumers, made of the real protocol, store and
//! node logic over a simulated disk, network and clock, in one thread, from one seed.
//!
//! - A [`Plan`] is what a seed decides; [`World`] is what happens; [`History`] is what was seen of
//!   it from outside the broker.
//! - Faults strike until the plan's time is over. Then none does, and everything that waits must
//!   come to its end.
//! - [`check`] reads the end twice, through the API and from the raw files by a reader that shares
//!   no code with Takt, and holds both against the history: one file for each invariant.
//!
//! Nothing here reads a clock, a socket or a file, or draws a number that the seed does not decide:
//! the same seed gives the same trace.
#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_precision_loss,
    reason = "numbers that a seed draws are small, and what is printed is rounded"
)]
#![expect(
    clippy::struct_excessive_bools,
    reason = "what is wrong with a node or a stream at a time is a set of such flags"
)]

mod adapter;
mod agenda;
pub mod check;
mod consumer;
mod faults;
mod history;
mod identity;
mod kept;
mod maker;
mod net;
mod node;
mod plan;
mod run;
mod world;

pub use faults::{Branch, Dropping, Fault, Lie, Tally};
pub use history::History;
pub use plan::Plan;
pub use run::{Outcome, Violation, run};
pub use world::World;
