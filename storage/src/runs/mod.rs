//! Runs: immutable sorted files of what one journal file holds, written at its roll.
//!
//! A run `run-<start>-<incarnation>.run` goes with the journal file of the same numbers and covers
//! the positions `start..end`. It is made from the file and nothing else, so a damaged one is
//! written anew from it. Numbers are little-endian.
//!
//! ```text
//! header (128 bytes)                                              offset
//!   magic "TAKTRUN\n"                                             0
//!   format version u16, reserved u16, incarnation u32             8
//!   journal id                                                    16
//!   start, end of the covered positions                           32  2 x u64
//!   rows of the sections, in their order                          48  6 x u64
//!   xxh3-128 of the fences                                        96
//!   xxh3-128 of the header up to here                             112
//! sections of rows of one width, sorted, without padding
//!   ledger entries     by hash, digest                            48 bytes each
//!   order heads        by hash                                    32
//!   extents            by slot, batch number                      48
//!   orders             by hash, slot, offset                      28
//!   open conflicts     by slot, batch number, index               14
//!   slots              by slot                                    72
//! fences: for each block of each section its first row and the xxh3-64 of the block
//! ```
//! A block is as many rows as fit 64 KiB. The fences stay in memory, so that a look-up reads and
//! verifies one block. The header's checksum is also in the manifest: with it, every byte of the
//! file is accounted for, and a block of another file or place does not pass.

mod extent;
mod header;
mod info;
mod reader;
mod row;
mod table;
mod writer;

pub use extent::{Extent, MaskedAddress, OrderRow, Slot, SlotSummary};
pub use info::{RunCounts, RunInfo};
pub use reader::{RunError, RunReader};
pub(crate) use row::Row;
pub use writer::{RunInput, RunWriteError, RunWriter};

#[cfg(test)]
mod tests;
