//! Runs: immutable sorted files of what one journal file holds, written at its roll.
//!
//! A run `run-<start>-<incarnation>.run` goes with the journal file of the same numbers and covers
//! the positions `start..end`. It is made from the file and nothing else, so a damaged one is
//! written anew from it. A run `keys-<start>-<end>.run` was *merged* from others and has their keys
//! only, the first two sections: so that a look-up meets few filters, and dropped files need not
//! keep a run each. Numbers are little-endian.
//!
//! ```text
//! header (168 bytes)                                              offset
//!   magic "TAKTRUN\n"                                             0
//!   format version u16, reserved u16, incarnation u32             8
//!   journal id                                                    16
//!   start, end of the covered positions                           32  2 x u64
//!   rows of the sections, in their order                          48  6 x u64
//!   xxh3-128 of the fences                                        96
//!   order keys whose first event is in the covered positions      112
//!   lengths of the two filters in bytes                           120 2 x u64
//!   xxh3-128 of both filters                                      136
//!   xxh3-128 of the header up to here                             152
//! sections of rows of one width, sorted, without padding
//!   ledger entries     by hash, digest, kind                      48 bytes each
//!   order heads        by hash                                    32
//!   extents            by slot, batch number                      48
//!   orders             by hash, slot, offset                      28
//!   open conflicts     by slot, batch number, index               14
//!   slots              by slot                                    72
//! fences: for each block of each section its first row and the xxh3-64 of the block
//! filters: of the ledger entries' hashes, and of the order heads' (see `filter`)
//! ```
//! A block is as many rows as fit 4 KiB in the first two sections and 64 KiB in the others. Fences
//! and filters stay in memory, so that a look-up of a key reads and verifies one block, and mostly
//! none if the key is not there. The header's checksum is also in the manifest: with it, every byte
//! of the file is accounted for, and a block of another file or place does not pass.
//!
//! Version 1 is still read: its header ends, with its checksum, behind the fences' (128 bytes), its
//! blocks are of 64 KiB, and it has no filters.

mod error;
mod extent;
mod file;
mod filter;
mod header;
mod info;
mod keys;
mod merge;
mod opened;
mod reader;
mod row;
mod table;
mod writer;
mod young;

pub use error::RunError;
pub use extent::{ChainBefore, Extent, MaskedAddress, OrderRow, Placed, Slot, SlotSummary};
pub use info::{RunCounts, RunInfo};
pub use keys::KeyRun;
pub use merge::{MergeError, MergePlan, MergeStep, MergeWork, RUNS_AT_REST, RunSize, due_merge};
pub(crate) use reader::KeptExtents;
pub use reader::RunReader;
pub(crate) use row::Row;
pub use writer::{RunInput, RunWriteError, RunWriter};
pub(crate) use young::{YOUNG_RUNS_MAX, YoungTable};

#[cfg(test)]
mod tests;
