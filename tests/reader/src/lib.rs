//! A second reader of a Takt data directory, for checkers: written from `docs/format.md`, it shares
//! no code with the node and imports none of its crates.
//!
//! [`read`] takes the files of a directory by name and gives back all that they hold: partitions
//! with their records, cursors, producers, open conflicts. It believes nothing that it can compute:
//! checksums, chains, digests and dense numbers are computed again, and the snapshot in front of
//! each journal file must be what the entries before it add up to. [`check_runs`] does the same for
//! the other files beside the journal: packs are read with the journal, since they have what was in it.
//!
//! It only reads and decides what a start would keep; what a verdict should have been is not
//! judged. Nothing in the bytes makes it panic, and its memory is bounded by their length, but for
//! a payload while it is decompressed (at most 8 MiB), what [`Unpacked`] holds of compressed packs,
//! and the partitions that an entry makes.

mod batch;
mod commit;
mod compacted;
mod compaction;
mod contents;
mod entry;
mod error;
mod filter;
mod fold;
mod input;
mod journal;
mod manifest;
mod merged;
mod order_rows;
mod orders;
mod origin;
mod pack_file;
mod packed;
mod packs;
mod payload;
mod preamble;
mod receipt;
mod record;
mod run_file;
mod runs;
mod section;
mod sides;
mod snapshot;
mod state;
mod tail;
mod verdict;
mod woven;

use std::collections::BTreeMap;

pub use contents::{
    Batch, Contents, Cursor, DedupKey, Edge, File, LeftOut, MaskedAddress, OpenConflict, Partition,
    PartitionId, Producer, ProducerKey, Record,
};
pub use error::{ReadError, RunsError};
pub use manifest::{Manifest, Run, SealedFile, SideFile, SlotEnd};
pub use pack_file::Unpacked;
pub use packs::PackFile;
pub use runs::RunReport;
pub use verdict::{Place, Verdict};

/// Reads the files of a data directory, given by their names; other names are ignored.
///
/// # Errors
/// [`ReadError`] with the first thing that is damaged, missing or contradicts the rest. What a crash
/// may leave behind the durable end is no error, nor is a pack that is not named. A pack with
/// compressed blocks is one: see [`read_unpacked`].
pub fn read(files: &BTreeMap<String, Vec<u8>>) -> Result<Contents<'_>, ReadError> {
    read_unpacked(files, Unpacked::NONE)
}

/// As [`read`], where packs may be compressed: `unpacked` is [`Unpacked::of`] the same files.
///
/// # Errors
/// As [`read`].
pub fn read_unpacked<'a>(
    files: &'a BTreeMap<String, Vec<u8>>,
    unpacked: &'a Unpacked,
) -> Result<Contents<'a>, ReadError> {
    let journal = journal::Journal::collect(files)?;
    fold::Fold::of(&journal)?.finish(&journal, files, unpacked)
}

/// Checks the runs, merged runs and side files that the manifest of `contents` names, which [`read`]
/// made of the same `files`: that they are there and whole, and say what the journal says where it
/// is kept; and that compaction has left out nothing but what it may. A merged run must hold what the
/// runs in its range hold that are still there, whether the manifest names them or did so before.
///
/// # Errors
/// [`RunsError`] with the first file that is missing or wrong.
pub fn check_runs(
    files: &BTreeMap<String, Vec<u8>>,
    contents: &Contents<'_>,
) -> Result<RunReport, RunsError> {
    runs::check(files, contents)
}

#[cfg(test)]
mod tests;
