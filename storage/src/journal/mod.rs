//! The one durable log of a node: commits, one behind the other, in files of fixed length.
//!
//! - A **file** is `journal-<start>-<incarnation>.log`: a preamble with a snapshot of the state at
//!   its start, and commits. It ends for ever where the next one starts.
//! - A **commit** is a header and entries, padded to blocks, written and synced once. It belongs to
//!   the log if journal id, incarnation and position are its own and the checksum, which the
//!   incarnation's secret salt seeds, is right.
//! - Each commit carries **`synced_upto`**, what was durable when it was sealed. Below the highest
//!   one damage is rot, an error; above it is the tail, cut at the first that does not belong.
//!   A **mark** is a commit without entries: the witness of the last acknowledged one.
//! - Every start is a [`Scan`], a [`Scan::replay`] and a [`Scan::start`], which takes a new
//!   incarnation and a fresh file and copies what was not proved durable.
//! - After a failed write or sync nothing is tried again; the journal is poisoned.
//!
//! A file is made ready under another name, synced, renamed, and the directory is synced: a file
//! with a journal's name is always whole, so a preamble that does not verify is damage, never a
//! leftover, and is never deleted.
//!
//! All is synchronous, without threads, clocks and randomness of its own.

mod builder;
mod commit;
mod file;
pub mod layout;
mod names;
mod newest;
mod options;
mod position;
mod preamble;
mod reader;
mod scan;
mod spare;
mod start;
mod verify;
mod walk;
mod writer;

#[cfg(test)]
mod tests;

pub use builder::CommitBuilder;
pub use commit::{CommitRef, Entries, Entry};
pub use file::{CommitError, FileInfo, SealedCommit};
pub use options::{Entropy, JournalOptions};
pub use position::{Chain, Incarnation, JournalId, Position};
pub use preamble::PreambleError;
pub use reader::{Commit, ReadError, Reader};
pub use scan::{CUT_KEPT_MAX, CutTail, ReplayEnd, ReplayError, Rot, Scan, ScanError};
pub use spare::{SLICE_BYTES, SpareFile, SpareMaker, SpareWork};
pub use start::{StartError, StartReport};
pub use verify::{FileDamage, FileReport, verify};
pub use writer::{DropError, Journal, RollError, SealError};
