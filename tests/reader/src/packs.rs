//! Packs as the manifest names them: what takes the place of journal files.

use crate::{
    input::{Input, Why, ensure},
    manifest::{Manifest, SealedFile},
    preamble::POSITION_MAX,
};

/// A pack as the manifest names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PackFile {
    /// The first position that it stands for.
    pub start: u64,
    /// Exclusive.
    pub end: u64,
    /// Higher than those of the packs whose place it took.
    pub serial: u32,
    /// How many blocks it has.
    pub blocks: u64,
    /// Its length in bytes.
    pub len_bytes: u64,
    /// The length of all batches in it, in bytes.
    pub batch_bytes: u64,
    /// Records may be left out of its batches of which later ones below this position have taken the
    /// place; 0 where none are.
    pub compacted_upto: u64,
    /// Of its header, which covers all of it.
    pub checksum: u128,
}

impl PackFile {
    /// The file's name.
    pub fn name(&self) -> String {
        format!("pack-{:016x}-{:016x}-{:08x}.pack", self.start, self.end, self.serial)
    }

    pub(crate) fn read(input: &mut Input<'_>) -> Result<Self, Why> {
        let pack = Self {
            start: input.varint()?,
            end: input.varint()?,
            serial: input.small()?,
            blocks: input.varint()?,
            len_bytes: input.varint()?,
            batch_bytes: input.varint()?,
            compacted_upto: 0,
            checksum: input.u128()?,
        };
        let positions = pack.start < pack.end && pack.end <= POSITION_MAX;
        ensure(positions, "a pack's positions are none")?;
        Ok(pack)
    }

    /// Reads the words of a pack with the position up to which it is compacted, which may be 0.
    pub(crate) fn read_compacted(input: &mut Input<'_>) -> Result<Self, Why> {
        let pack = Self::read(input)?;
        Ok(Self { compacted_upto: input.varint()?, ..pack })
    }

    /// Whether batches may lack records.
    pub fn is_compacted(&self) -> bool {
        self.compacted_upto > 0
    }

    /// Whether these positions are within.
    fn covers(&self, start: u64, end: u64) -> bool {
        self.start <= start && end <= self.end
    }

    /// Whether these positions are in part within.
    fn cuts(&self, start: u64, end: u64) -> bool {
        start < self.end && self.start < end && !self.covers(start, end)
    }
}

impl Manifest {
    /// Names a pack; those within it leave.
    pub(crate) fn pack(&mut self, pack: PackFile) -> Result<(), Why> {
        let within = self.packs.range(pack.start..pack.end);
        let older = within.clone().all(|(_, old)| old.serial < pack.serial);
        ensure(older, "a pack's serial number is not higher than theirs whose place it takes")?;
        let goes_on = within.clone().all(|(_, old)| old.compacted_upto <= pack.compacted_upto);
        ensure(goes_on, "a pack is compacted up to less than those whose place it takes")?;
        self.packs.retain(|_, old| !pack.covers(old.start, old.end));
        let known = self.packs.insert(pack.start, pack);
        ensure(known.is_none(), "packs overlap")?;
        self.check_places()?;
        let is_empty = |file: &SealedFile| file.slots.is_empty() && file.run.is_none();
        self.files.retain(|_, file| !pack.covers(file.start, file.end) || !is_empty(file));
        self.release_packs();
        Ok(())
    }

    /// Packs leave of whose files none has anything left.
    pub(crate) fn release_packs(&mut self) {
        let files = &self.files;
        self.packs.retain(|_, pack| is_needed(pack, files.range(pack.start..pack.end)));
    }

    /// What is to be said of the packs in a snapshot.
    pub(crate) fn check_packs(&self) -> Result<(), Why> {
        self.check_places()?;
        let mut packs = self.packs.values();
        let needed = packs.all(|pack| is_needed(pack, self.files.range(pack.start..pack.end)));
        ensure(needed, "a pack is kept that no file needs")
    }

    /// No pack overlaps another, or a part of a file, or what is not sealed.
    fn check_places(&self) -> Result<(), Why> {
        let mut upto = 0;
        for pack in self.packs.values() {
            ensure(upto <= pack.start, "packs overlap")?;
            upto = pack.end;
            let cut = self.files.values().any(|file| pack.cuts(file.start, file.end));
            ensure(!cut, "a pack holds a part of a file")?;
            let known = pack.compacted_upto <= self.runs_upto;
            ensure(known, "a pack is compacted for what is not sealed")?;
        }
        ensure(upto <= self.runs_upto, "a pack holds what is not sealed")
    }

    /// The pack that has what this file held.
    pub(crate) fn pack_of(&self, file: &SealedFile) -> Option<&PackFile> {
        let (_, pack) = self.packs.range(..=file.start).next_back()?;
        Some(pack).filter(|pack| pack.covers(file.start, file.end))
    }

    /// The number of the first batch of a partition in a file that holds some of it: behind what
    /// the files before it hold, or, if none does, where the partition begins.
    pub(crate) fn first_in(&self, file: &SealedFile, slot: u32, begins: u64) -> u64 {
        let older = self.files.range(..file.start).rev().flat_map(|(_, file)| &file.slots);
        let before = older.into_iter().find(|end| end.slot == slot);
        before.map_or(begins, |end| end.edge.batch)
    }
}

fn is_needed<'m>(
    pack: &PackFile,
    mut files: impl Iterator<Item = (&'m u64, &'m SealedFile)>,
) -> bool {
    files.any(|(_, file)| pack.covers(file.start, file.end) && !file.slots.is_empty())
}
