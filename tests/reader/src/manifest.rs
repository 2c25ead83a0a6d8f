//! What the manifest says of sealed journal files, their runs, and side files.

use std::collections::BTreeMap;

use crate::{
    contents::Edge,
    input::{Input, Why, ensure},
    journal::name_of,
    preamble::POSITION_MAX,
};

/// The sealed files, and what outlives them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Manifest {
    /// By start. A dropped file stays for its run, without slots.
    pub files: BTreeMap<u64, SealedFile>,
    /// By the start of the journal file whose open conflicts they hold.
    pub sides: BTreeMap<u64, SideFile>,
    /// The runs stand up to this position of the journal (exclusive).
    pub runs_upto: u64,
}

/// A journal file that is written to no more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealedFile {
    /// Its first position.
    pub start: u64,
    /// Exclusive.
    pub end: u64,
    /// The newest append time of its batches, in microseconds since 1970.
    pub append_time: i64,
    /// Where the partitions stood at its end that it holds batches of; empty once it is dropped.
    pub slots: Vec<SlotEnd>,
    /// Its run, if it has one.
    pub run: Option<Run>,
}

/// Where a partition stood at the end of a sealed file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SlotEnd {
    /// The partition's number on this node.
    pub slot: u32,
    /// Behind its last batch.
    pub edge: Edge,
}

/// A run as the manifest names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Run {
    /// The first position that it covers; where its journal file starts.
    pub start: u64,
    /// Exclusive.
    pub end: u64,
    /// Of its journal file.
    pub incarnation: u32,
    /// Of its header, which covers all of it.
    pub checksum: u128,
    /// Rows of its six sections: ledger, heads, extents, orders, conflicts, slots.
    pub rows: [u64; 6],
}

/// A side file as the manifest names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SideFile {
    /// Where its journal file starts.
    pub start: u64,
    /// Of its journal file.
    pub incarnation: u32,
    /// How many batches it holds.
    pub batches: u64,
    /// Its length in bytes.
    pub len_bytes: u64,
    /// Of its header, which covers all of it.
    pub checksum: u128,
}

impl SealedFile {
    /// Whether retention has dropped it; its run is kept for the dedup keys.
    pub fn is_dropped(&self) -> bool {
        self.slots.is_empty() && self.run.is_some()
    }

    pub(crate) fn read(input: &mut Input<'_>) -> Result<Self, Why> {
        let (start, end) = (input.varint()?, input.varint()?);
        let append_time = input.signed()?;
        let mut slots = Vec::new();
        for _ in 0..input.varint()? {
            let slot = input.small()?;
            let (offset, batch, chain) = (input.varint()?, input.varint()?, input.array()?);
            let edge = Edge { offset, batch, chain, bytes: input.varint()? };
            slots.push(SlotEnd { slot, edge });
        }
        let run = if input.flag()? { Some(Run::read(input)?) } else { None };
        ensure(start < end && end <= POSITION_MAX, "a sealed file's positions are none")?;
        let covers = run.is_none_or(|run| (run.start, run.end) == (start, end));
        ensure(covers, "a run does not cover its file")?;
        Ok(Self { start, end, append_time, slots, run })
    }
}

impl Run {
    /// The file's name.
    pub fn name(&self) -> String {
        name_of("run", self.start, self.incarnation, "run")
    }

    fn read(input: &mut Input<'_>) -> Result<Self, Why> {
        let (start, end) = (input.u64()?, input.u64()?);
        let (incarnation, checksum) = (input.u32()?, input.u128()?);
        let mut rows = [0; 6];
        for count in &mut rows {
            *count = input.u64()?;
        }
        Ok(Self { start, end, incarnation, checksum, rows })
    }
}

impl SideFile {
    /// The file's name.
    pub fn name(&self) -> String {
        name_of("conflicts", self.start, self.incarnation, "side")
    }

    pub(crate) fn read(input: &mut Input<'_>) -> Result<Self, Why> {
        let side = Self {
            start: input.varint()?,
            incarnation: input.small()?,
            batches: input.varint()?,
            len_bytes: input.varint()?,
            checksum: input.u128()?,
        };
        ensure(side.batches > 0, "a side file holds nothing")?;
        Ok(side)
    }
}
