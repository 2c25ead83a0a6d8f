//! Tests of the journal on a simulated disk, and a world for them.

mod crash;
mod damage;
mod golden;
mod running;

use std::collections::BTreeMap;
use std::sync::Arc;

use super::*;
use crate::disk::{Disk, sim::SimDisk};

/// A seeded generator (xorshift64*), for entropy and for what a crash keeps.
pub(super) struct Dice(u64);

impl Dice {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub(super) fn roll(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16
    }
}

impl Entropy for Dice {
    fn fill(&mut self, bytes: &mut [u8]) {
        bytes.fill_with(|| self.roll().to_le_bytes()[0]);
    }
}

pub(super) fn options() -> JournalOptions {
    JournalOptions {
        file_bytes: 48 << 10,
        commit_bytes_max: 12 << 10,
        reserve_chunks: 2,
        reserve_chunk_bytes: 40 << 10,
    }
}

pub(super) fn arc(disk: &SimDisk) -> Arc<dyn Disk> {
    Arc::new(disk.clone())
}

pub(super) fn create(disk: &SimDisk, seed: u64) -> Result<Journal, StartError> {
    Journal::create(arc(disk), &options(), &mut Dice::new(seed), &snapshot(Position::ZERO))
}

/// The state of the test is its position, told over and over to fill more than a block.
pub(super) fn snapshot(position: Position) -> Vec<u8> {
    (!position.get()).to_le_bytes().repeat(20)
}

/// Entry bytes that tell their number.
pub(super) fn payload(number: u64, len: usize) -> Vec<u8> {
    let mut bytes = number.to_le_bytes().to_vec();
    bytes.resize(len.max(8), number.to_le_bytes()[0] ^ 0x5a);
    bytes
}

/// Any failure of a node that is about to stop.
pub(super) type Died = Box<dyn std::error::Error>;

/// One commit with one entry, durable when it returns; rolls where needed.
pub(super) fn append(journal: &mut Journal, bytes: &[u8]) -> Result<Position, Died> {
    let mut commit = journal.begin();
    let offset = commit.push(7, &[&bytes[..3], &bytes[3..]]);
    if journal.needs_roll(commit.padded_len()) {
        let spare = journal.spare_maker().make(options().file_bytes)?;
        journal.roll(spare, &snapshot(journal.position()))?;
    }
    let position = journal.position().plus(u64::from(offset));
    sync(journal, commit)?;
    Ok(position)
}

pub(super) fn sync(journal: &mut Journal, commit: CommitBuilder) -> Result<(), Died> {
    let sealed = journal.seal(commit)?;
    sealed.write_and_sync()?;
    journal.on_synced(sealed.end());
    Ok(())
}

pub(super) fn mark(journal: &mut Journal) -> Result<(), Died> {
    let sealed = journal.mark()?;
    sealed.write_and_sync()?;
    journal.on_synced(sealed.end());
    Ok(())
}

/// Entries with their positions.
pub(super) type Written = Vec<(Position, Vec<u8>)>;

/// All entries from the oldest file on, and the scan.
pub(super) fn scan(disk: &SimDisk) -> Result<(Scan, Written), Died> {
    let scan = Scan::open(arc(disk))?;
    let (snapshot_bytes, at) = scan.newest_snapshot();
    assert_eq!(snapshot_bytes, snapshot(at), "a snapshot is of its position");
    let mut entries = Vec::new();
    let end = scan.replay(scan.files()[0].start, &mut |commit| {
        entries.extend(commit.entries().map(|e| (e.position, e.bytes.to_vec())));
    })?;
    assert_eq!(end.end, scan.end());
    Ok((scan, entries))
}

pub(super) struct Started {
    pub(super) journal: Journal,
    pub(super) report: StartReport,
    pub(super) entries: Written,
}

pub(super) fn start(disk: &SimDisk, seed: u64) -> Result<Started, Died> {
    let (scan, entries) = scan(disk)?;
    let at = scan.synced_upto();
    let (journal, report) = scan.start(&snapshot(at), &options(), &mut Dice::new(seed))?;
    Ok(Started { journal, report, entries })
}
