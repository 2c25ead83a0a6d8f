//! The batches that packs hold, and partitions of which some batches are in packs.

use std::collections::BTreeMap;

use crate::{
    batch::Stored,
    contents::{Batch, Edge, OpenConflict, Record},
    error::ReadError,
    input::{Why, ensure, wide},
    orders::Orders,
    pack_file::{self, Unpacked},
    packs::PackFile,
    payload::Digester,
    record,
    state::{CONFLICTS_MAX, State},
    verdict::Verdict,
};

/// A batch in a pack.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Packed<'a> {
    pack: PackFile,
    bytes: &'a [u8],
}

/// The batches of each slot that the packs are to hold, by number.
pub(crate) type BySlot<'a> = BTreeMap<u32, BTreeMap<u64, Packed<'a>>>;

/// Reads all packs that the manifest names. Each must hold what its files hold, and may hold what these
/// have lost.
pub(crate) fn read<'a>(
    files: &'a BTreeMap<String, Vec<u8>>,
    unpacked: &'a Unpacked,
    journal: &[u8; 16],
    state: &State<'_>,
) -> Result<BySlot<'a>, ReadError> {
    let mut by_slot = BySlot::new();
    for pack in state.manifest.packs.values() {
        let file = pack.name();
        let bytes = files.get(&file).ok_or(ReadError::PackMissing { file: file.clone() })?;
        let found = pack_file::read(bytes, journal, pack, unpacked)
            .and_then(|batches| take(pack, batches, state, &mut by_slot));
        found.map_err(|why| ReadError::Pack { file, why: why.0 })?;
    }
    Ok(by_slot)
}

/// Takes what is kept of a pack's batches.
fn take<'a>(
    pack: &PackFile,
    mut batches: pack_file::Batches<'a>,
    state: &State<'_>,
    by_slot: &mut BySlot<'a>,
) -> Result<(), Why> {
    for (_, file) in state.manifest.files.range(pack.start..pack.end) {
        for end in &file.slots {
            let begins = state.slot(end.slot)?.start.batch;
            let of_slot = by_slot.entry(end.slot).or_default();
            for number in state.manifest.first_in(file, end.slot, begins)..end.edge.batch {
                let bytes = batches.remove(&(end.slot, number));
                let bytes = bytes.ok_or(Why("it lacks a batch of its files"))?;
                of_slot.insert(number, Packed { pack: *pack, bytes });
            }
        }
    }
    for (slot, number) in batches.into_keys() {
        let gone = number < state.slot(slot)?.start.batch;
        ensure(gone, "it holds a batch that its files do not hold")?;
    }
    Ok(())
}

/// The batches of a partition in their order, some of the journal, some of packs.
pub(crate) struct Woven<'a> {
    pub(crate) batches: Vec<Batch<'a>>,
    pub(crate) records: Vec<Record<'a>>,
}

impl<'a> Woven<'a> {
    /// Puts together what the journal and the packs have of a partition, from its start on.
    pub(crate) fn of(
        state: &State<'a>,
        slot: u32,
        journal: (&[Batch<'a>], &[Record<'a>]),
        packed: &BTreeMap<u64, Packed<'a>>,
        digester: &mut Digester,
    ) -> Result<Self, ReadError> {
        let unknown = || ReadError::Lacks { slot, batch: 0 };
        let known = state.slot(slot).map_err(|_| unknown())?;
        let (start, end) = (known.start.batch, known.end.batch);
        let mut woven = Self { batches: Vec::new(), records: Vec::new() };
        let mut line = Line { edge: known.start, append_time: i64::MIN, orders: Orders::default() };
        let mut in_journal = journal.0.iter().skip_while(|batch| batch.number < start).peekable();
        for number in start..end {
            let there = in_journal.next_if(|batch| batch.number == number);
            let in_pack = packed.get(&number);
            let lacks = ReadError::Lacks { slot, batch: number };
            let batch = there.map(|batch| batch.bytes).or(in_pack.map(|packed| packed.bytes));
            let added = Stored::read(batch.ok_or(lacks)?).and_then(|stored| {
                let same = in_pack.is_none_or(|packed| packed.bytes == stored.bytes);
                ensure(same, "it is not the one that the journal has")?;
                woven.add(&stored, state, slot, there.map(|batch| (batch, journal.1)), digester)?;
                line.add(&stored, state, slot, woven.last(), start == 0)
            });
            let at_end = added.and_then(|()| {
                let ended = number + 1 < end
                    || line.edge == known.end && line.append_time == known.append_time;
                ensure(ended, "the partition does not end with it")
            });
            at_end.map_err(|why| match (in_pack, there) {
                (Some(packed), _) => {
                    let file = packed.pack.name();
                    ReadError::Packed { file, slot, batch: number, why: why.0 }
                }
                (None, there) => {
                    let position = there.and_then(|batch| batch.position).unwrap_or_default();
                    ReadError::Batch { position, slot, batch: number, why: why.0 }
                }
            })?;
        }
        Ok(woven)
    }

    /// Adds a batch with its records; the journal's were read before.
    fn add(
        &mut self,
        stored: &Stored<'a>,
        state: &State<'a>,
        slot: u32,
        there: Option<(&Batch<'a>, &[Record<'a>])>,
        digester: &mut Digester,
    ) -> Result<(), Why> {
        let known = state.slot(slot)?;
        let first_record = self.records.len();
        if let Some((batch, records)) = there {
            let records = records.get(batch.first_record..).unwrap_or_default();
            self.records.extend(records.iter().take(batch.records as usize));
        } else {
            let partitions = known.topic.settings.partitions;
            record::read(stored, partitions, digester, &mut self.records)?;
        }
        let position = there.and_then(|(batch, _)| batch.position);
        self.batches.push(Batch::of(stored, position, first_record));
        let records = self.records.get(first_record..).unwrap_or_default();
        check_conflicts(state, slot, stored, records)
    }

    /// The records of the last batch.
    fn last(&self) -> &[Record<'a>] {
        let first = self.batches.last().map_or(0, |batch| batch.first_record);
        self.records.get(first..).unwrap_or_default()
    }
}

/// How far a partition was followed.
struct Line<'a> {
    edge: Edge,
    append_time: i64,
    orders: Orders<'a>,
}

impl<'a> Line<'a> {
    /// The next batch continues those before it.
    fn add(
        &mut self,
        stored: &Stored<'a>,
        state: &State<'a>,
        slot: u32,
        records: &[Record<'a>],
        whole: bool,
    ) -> Result<(), Why> {
        let known = state.slot(slot)?;
        let edge = self.edge;
        ensure(stored.client.partition == known.id.number, "it is of another partition")?;
        ensure(stored.number == edge.batch, "its number does not follow")?;
        ensure(stored.base_offset == edge.offset, "its offset does not follow")?;
        ensure(stored.chain == stored.chain_after(edge.chain), "its chain does not follow")?;
        ensure(stored.append_time >= self.append_time, "its append time goes back")?;
        self.append_time = stored.append_time;
        self.edge = edge.behind(stored);
        self.orders.follow(records, &known.topic.settings, stored.append_time, whole)
    }
}

/// The conflicts that a batch lists are open, and no others of it are.
fn check_conflicts(
    state: &State<'_>,
    slot: u32,
    stored: &Stored<'_>,
    records: &[Record<'_>],
) -> Result<(), Why> {
    let listed = records.iter().filter_map(|record| match record.verdict {
        Verdict::Conflict { with, listed: true } => {
            Some((record.index, OpenConflict { with, append_time: stored.append_time }))
        }
        Verdict::Conflict { listed: false, .. }
        | Verdict::Visible
        | Verdict::Duplicate { .. }
        | Verdict::PreconditionFailed { .. } => None,
    });
    let listed: BTreeMap<u32, OpenConflict> = listed.collect();
    let range = (slot, stored.number, 0)..=(slot, stored.number, u32::MAX);
    let open = state.conflicts.range(range).map(|((_, _, index), conflict)| (*index, *conflict));
    let open: BTreeMap<u32, OpenConflict> = open.collect();
    let all = state.conflicts.len() < CONFLICTS_MAX;
    let same = if all {
        open == listed
    } else {
        open.iter().all(|(index, conflict)| listed.get(index) == Some(conflict))
    };
    ensure(same, "its open conflicts are not those that it lists")
}

impl Edge {
    /// Behind a batch that begins here.
    pub(crate) fn behind(self, batch: &Stored<'_>) -> Self {
        Self {
            offset: batch.base_offset + u64::from(batch.visible),
            batch: batch.number + 1,
            chain: batch.chain,
            bytes: self.bytes.saturating_add(wide(batch.bytes.len())),
        }
    }
}

impl<'a> Batch<'a> {
    pub(crate) fn of(batch: &Stored<'a>, position: Option<u64>, first_record: usize) -> Self {
        Self {
            number: batch.number,
            base_offset: batch.base_offset,
            visible: u32::from(batch.visible),
            records: u32::from(batch.client.records),
            append_time: batch.append_time,
            producer: batch.producer,
            epoch: batch.epoch,
            first_sequence: batch.client.first_sequence,
            crc: batch.client.crc,
            chain: batch.chain,
            position,
            bytes: batch.bytes,
            first_record,
        }
    }
}
