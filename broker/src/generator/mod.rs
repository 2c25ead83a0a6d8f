//! A production log that looks like a real one, for demonstrations, tests and benchmarks: the same
//! seed gives the same log on every machine, and no clock is read.
//!
//! Orders go through routings of 3 to 12 operations. At each there may be a setup; then the pieces
//! are reported over one or several shifts by the workers of the shift, with breakdowns, pieces
//! sent to the material review board, and rework between. A few reports come twice, byte for byte,
//! as adapters do it.

mod row;
mod shop;
mod splitmix;

#[cfg(test)]
mod tests;

pub use row::{Row, to_csv};
pub use shop::generate;
pub(crate) use splitmix::SplitMix;
