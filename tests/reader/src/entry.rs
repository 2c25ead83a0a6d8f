//! The journal's entries.

use crate::{
    batch::Stored,
    commit::RawEntry,
    contents::Edge,
    input::{Input, Why, ensure},
    manifest::{Run, SealedFile, SideFile},
    packs::PackFile,
    receipt::Receipt,
};

/// One change of the state.
#[derive(Debug)]
pub(crate) enum Entry<'a> {
    Topic { name: &'a str, settings: Settings },
    Mirror { origin: &'a str, journal: [u8; 16], name: &'a str, settings: Settings },
    Batch { slot: u32, own: bool, batch: Stored<'a> },
    Sequence { producer: &'a str, topic: &'a str, receipt: Receipt<'a> },
    Opened { producer: &'a str, topic: &'a str, epoch: u64, transient: bool, at: i64 },
    Dropped { producer: &'a str, topic: &'a str },
    CursorSet { name: &'a str, topic: &'a str, hold: bool, positions: Vec<(u32, u64)> },
    CursorRemoved { name: &'a str },
    RunAdded(SealedFile),
    FileDropped { start: u64 },
    ConflictsKept(SideFile),
    MirrorStarted { slot: u32, start: Edge },
    KeysMerged(Run),
    KeysDropped { upto: u64 },
    SlotsTrimmed { start: u64, slots: Vec<u32> },
    RetentionSet { topic: &'a str, retention_ms: u64, retention_bytes: u64 },
    PackAdded(PackFile),
    CompactionSet { topic: &'a str, compact: bool },
}

/// The settings of a topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Settings {
    pub(crate) partitions: u16,
    pub(crate) dedup: bool,
    pub(crate) compact: bool,
    horizon_s: u64,
    refuse_conflicts: bool,
    pub(crate) retention_ms: u64,
    pub(crate) retention_bytes: u64,
    lane: u8,
}

const DEDUP: u8 = 1;
const COMPACT: u8 = 2;

impl Settings {
    pub(crate) fn read(input: &mut Input<'_>) -> Result<Self, Why> {
        let partitions = input.small()?;
        let flags = input.u8()?;
        ensure(flags & !(DEDUP | COMPACT) == 0, "a topic has a flag that is not known")?;
        let settings = Self {
            partitions,
            dedup: flags & DEDUP != 0,
            compact: flags & COMPACT != 0,
            horizon_s: input.varint()?,
            refuse_conflicts: input.flag()?,
            retention_ms: input.varint()?,
            retention_bytes: input.varint()?,
            lane: input.u8()?,
        };
        ensure((1..=1_024).contains(&settings.partitions), "a topic's partitions are too many")?;
        Ok(settings)
    }

    /// Whether more than the horizon lies between two append times.
    pub(crate) fn is_past_horizon(&self, before: i64, after: i64) -> bool {
        let quiet_us = i128::from(after) - i128::from(before);
        let horizon_s = if self.horizon_s == 0 { 400 * 24 * 3_600 } else { self.horizon_s };
        quiet_us > i128::from(horizon_s) * 1_000_000
    }
}

/// The bytes in front of a stored batch in its entry.
pub(crate) const BATCH_AT: u64 = 4;

const BATCH: u8 = 3;
const MIRROR_BATCH: u8 = 4;
const RUN_ADDED: u8 = 10;

impl<'a> Entry<'a> {
    /// Whether it holds a stored batch.
    pub(crate) fn is_batch(raw: &RawEntry<'_>) -> bool {
        matches!(raw.kind, BATCH | MIRROR_BATCH)
    }

    /// The sealed file that the entry names, if it is of that kind.
    pub(crate) fn sealed_file(raw: &RawEntry<'_>) -> Result<Option<SealedFile>, Why> {
        let named = (raw.kind == RUN_ADDED).then(|| SealedFile::read(&mut Input::new(raw.bytes)));
        named.transpose()
    }

    pub(crate) fn read(raw: &RawEntry<'a>) -> Result<Self, Why> {
        let mut input = Input::new(raw.bytes);
        let entry = match raw.kind {
            1 => Self::Topic { name: input.text()?, settings: Settings::read(&mut input)? },
            2 => Self::Mirror {
                origin: input.text()?,
                journal: input.array()?,
                name: input.text()?,
                settings: Settings::read(&mut input)?,
            },
            BATCH | MIRROR_BATCH => {
                let slot = input.u32()?;
                let batch = Stored::read(input.rest())?;
                let own = raw.kind == BATCH;
                ensure(
                    !own || batch.kept.is_none(),
                    "a batch is compacted that is not a mirror's",
                )?;
                return Ok(Self::Batch { slot, own, batch });
            }
            5 => Self::Sequence {
                producer: input.text()?,
                topic: input.text()?,
                receipt: Receipt::read(&mut input)?,
            },
            6 => Self::Opened {
                producer: input.text()?,
                topic: input.text()?,
                epoch: input.varint()?,
                transient: input.flag()?,
                at: input.signed()?,
            },
            7 => Self::Dropped { producer: input.text()?, topic: input.text()? },
            8 => {
                let (name, topic, hold) = (input.text()?, input.text()?, input.flag()?);
                let mut positions = Vec::new();
                for _ in 0..input.varint()? {
                    positions.push((input.small()?, input.varint()?));
                }
                Self::CursorSet { name, topic, hold, positions }
            }
            9 => Self::CursorRemoved { name: input.text()? },
            RUN_ADDED => Self::RunAdded(SealedFile::read(&mut input)?),
            11 => Self::FileDropped { start: input.varint()? },
            13 => Self::ConflictsKept(SideFile::read(&mut input)?),
            14 => {
                let slot = input.small()?;
                let (batch, offset, chain) = (input.varint()?, input.varint()?, input.array()?);
                Self::MirrorStarted { slot, start: Edge { offset, batch, chain, bytes: 0 } }
            }
            15 => Self::KeysMerged(Run::read_merged(&mut input)?),
            16 => Self::KeysDropped { upto: input.varint()? },
            17 => {
                let start = input.varint()?;
                let mut slots = Vec::new();
                for _ in 0..input.varint()? {
                    slots.push(input.small()?);
                }
                Self::SlotsTrimmed { start, slots }
            }
            18 => Self::RetentionSet {
                topic: input.text()?,
                retention_ms: input.varint()?,
                retention_bytes: input.varint()?,
            },
            19 => Self::PackAdded(PackFile::read(&mut input)?),
            20 => {
                let pack = PackFile::read_compacted(&mut input)?;
                ensure(pack.is_compacted(), "a pack is said to be compacted up to no position")?;
                Self::PackAdded(pack)
            }
            21 => Self::CompactionSet { topic: input.text()?, compact: input.flag()? },
            _ => return Err(Why("its kind is not known")),
        };
        input.end()?;
        Ok(entry)
    }
}
