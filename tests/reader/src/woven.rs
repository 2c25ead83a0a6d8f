//! Partitions of which some batches are in packs.

use std::collections::BTreeMap;

use crate::{
    batch::Stored,
    contents::{Batch, Edge, OpenConflict, ProducerKey, Record},
    error::ReadError,
    input::{Why, ensure},
    orders::Orders,
    packed::Packed,
    payload::Digester,
    receipt::Receipt,
    record::{self, OfBatch, Records},
    state::{CONFLICTS_MAX, Slot, State},
    verdict::Verdict,
};

/// The batches of a partition in their order, some of the journal, some of packs.
pub(crate) struct Woven<'a> {
    pub(crate) batches: Vec<Batch<'a>>,
    pub(crate) records: Records<'a>,
}

/// A batch that the journal has, with the records of all that are in it.
#[derive(Clone, Copy)]
struct InJournal<'j, 'a> {
    batch: &'j Batch<'a>,
    records: OfBatch<'j, 'a>,
}

impl<'a> Woven<'a> {
    /// Puts together what the journal and the packs have of a partition, from its start on. Of what both
    /// have, it takes the pack's.
    pub(crate) fn of(
        state: &State<'a>,
        slot: u32,
        journal: (&[Batch<'a>], &Records<'a>),
        packed: &BTreeMap<u64, Packed<'a>>,
        digester: &mut Digester,
    ) -> Result<Self, ReadError> {
        let unknown = || ReadError::Lacks { slot, batch: 0 };
        let known = state.slot(slot).map_err(|_| unknown())?;
        let (start, end) = (known.start.batch, known.end.batch);
        let mut woven = Self { batches: Vec::new(), records: Records::default() };
        let mut line = Line { edge: known.start, append_time: i64::MIN, orders: Orders::default() };
        let mut in_journal = InJournal::all(journal).peekable();
        while in_journal.next_if(|there| there.batch.number < start).is_some() {}
        for number in start..end {
            let there = in_journal.next_if(|there| there.batch.number == number);
            let in_pack = packed.get(&number);
            let lacks = ReadError::Lacks { slot, batch: number };
            let bytes = in_pack.map(|packed| packed.bytes);
            let bytes = bytes.or(there.map(|there| there.batch.bytes)).ok_or(lacks)?;
            let added = Stored::read(bytes).and_then(|stored| {
                let from = woven.records.end();
                woven.add(&stored, known, there, digester)?;
                let records = woven.records.since(from);
                check_conflicts(state, slot, &stored, records.there)?;
                check_receipt(state, known, &stored)?;
                line.add(&stored, known, records, start == 0)
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
                    let position = there.and_then(|there| there.batch.position);
                    let position = position.unwrap_or_default();
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
        known: &Slot<'a>,
        there: Option<InJournal<'_, 'a>>,
        digester: &mut Digester,
    ) -> Result<(), Why> {
        let own = known.topic.mirror_of.is_none();
        let from = self.records.end();
        let same = there.filter(|there| there.batch.bytes == stored.bytes);
        let compacted = own && stored.kept.is_some();
        ensure(
            there.is_none() || same.is_some() || compacted,
            "it is not the one that the journal has",
        )?;
        if let Some(same) = same {
            self.records.there.extend(same.records.there);
            self.records.left_out.extend(same.records.left_out);
        } else {
            let partitions = known.topic.settings.partitions;
            record::read(stored, partitions, digester, &mut self.records)?;
        }
        if let Some(there) = there.filter(|_| same.is_none()) {
            there.check_compacted(stored, self.records.since(from))?;
        }
        let position = there.and_then(|there| there.batch.position);
        self.batches.push(Batch::of(stored, own, position, from.0));
        Ok(())
    }
}

impl<'j, 'a> InJournal<'j, 'a> {
    /// All batches that the journal has of a partition.
    fn all(
        (batches, records): (&'j [Batch<'a>], &'j Records<'a>),
    ) -> impl Iterator<Item = InJournal<'j, 'a>> {
        let mut left_out = &records.left_out[..];
        batches.iter().map(move |batch| {
            let of_batch = left_out.partition_point(|gone| gone.batch <= batch.number);
            let (gone, rest) = left_out.split_at(of_batch);
            left_out = rest;
            let there = records.there.get(batch.first_record..).unwrap_or_default();
            let there = there.get(..batch.kept as usize).unwrap_or_default();
            InJournal { batch, records: OfBatch { there, left_out: gone } }
        })
    }

    /// What a pack has of a batch is what the journal has, without what was left out.
    fn check_compacted(&self, stored: &Stored<'a>, kept: OfBatch<'_, 'a>) -> Result<(), Why> {
        let whole = Stored::read(self.batch.bytes)?;
        let said = |stored: &Stored<'a>| {
            let client = &stored.client;
            (stored.header.bytes, client.partition, client.first_sequence, client.base_time)
        };
        ensure(said(stored) == said(&whole), "it is not of the one that the journal has")?;
        let mut there = self.records.there.iter();
        let same = kept.there.iter().all(|record| {
            let before = there.find(|before| before.index == record.index);
            before.is_some_and(|before| without_place(before) == without_place(record))
        });
        ensure(same, "a record in it is not the one that the journal has")
    }
}

/// A record without what depends on how its batch is compressed; the data's hash stays.
fn without_place<'a>(record: &Record<'a>) -> Record<'a> {
    Record { data: None, ..*record }
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
        known: &Slot<'a>,
        records: OfBatch<'_, 'a>,
        whole: bool,
    ) -> Result<(), Why> {
        let (header, edge) = (&stored.header, self.edge);
        ensure(stored.client.partition == known.id.number, "it is of another partition")?;
        ensure(header.number == edge.batch, "its number does not follow")?;
        ensure(header.base_offset == edge.offset, "its offset does not follow")?;
        ensure(header.chain == header.chain_after(edge.chain), "its chain does not follow")?;
        ensure(header.append_time >= self.append_time, "its append time goes back")?;
        self.append_time = header.append_time;
        self.edge = edge.behind(stored, known.topic.mirror_of.is_none());
        self.orders.follow(records, &known.topic.settings, header.append_time, whole)
    }
}

/// The conflicts that a batch lists are open, and no others of it are.
fn check_conflicts(
    state: &State<'_>,
    slot: u32,
    stored: &Stored<'_>,
    records: &[Record<'_>],
) -> Result<(), Why> {
    let (number, append_time) = (stored.header.number, stored.header.append_time);
    let listed = records.iter().filter_map(|record| match record.verdict {
        Verdict::Conflict { with, listed: true } => {
            Some((record.index, OpenConflict { with, append_time }))
        }
        Verdict::Conflict { listed: false, .. }
        | Verdict::Visible
        | Verdict::Duplicate { .. }
        | Verdict::PreconditionFailed { .. } => None,
    });
    let listed: BTreeMap<u32, OpenConflict> = listed.collect();
    let range = (slot, number, 0)..=(slot, number, u32::MAX);
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

/// No CRC of its origin covers a compacted batch: its sequences are those of the answer to the producer
/// where that is still kept.
fn check_receipt(state: &State<'_>, known: &Slot<'_>, stored: &Stored<'_>) -> Result<(), Why> {
    if stored.kept.is_none() || known.topic.mirror_of.is_some() {
        return Ok(());
    }
    let key = ProducerKey { producer: stored.header.producer, topic: known.id.topic };
    let kept = state.producers.get(&key).into_iter().flat_map(|producer| &producer.kept);
    let found = Receipt::of(stored);
    let mut of_it = kept.filter(|kept| {
        let first_sequence = kept.first_sequence;
        **kept == Receipt { first_sequence, ..found }
    });
    let same = of_it.all(|kept| kept.first_sequence == found.first_sequence);
    ensure(same, "its first sequence is not the one that was answered")
}

impl Edge {
    /// Behind a batch that begins here, of a partition of this node or a mirror.
    pub(crate) fn behind(self, batch: &Stored<'_>, own: bool) -> Self {
        let header = &batch.header;
        Self {
            offset: header.base_offset + u64::from(header.visible),
            batch: header.number + 1,
            chain: header.chain,
            bytes: self.bytes.saturating_add(batch.journal_len(own)),
        }
    }
}

impl<'a> Batch<'a> {
    /// Of a partition of this node, or a mirror.
    pub(crate) fn of(
        batch: &Stored<'a>,
        own: bool,
        position: Option<u64>,
        first_record: usize,
    ) -> Self {
        let header = &batch.header;
        Self {
            number: header.number,
            base_offset: header.base_offset,
            visible: u32::from(header.visible),
            records: u32::from(header.records),
            kept: u32::from(batch.client.records),
            append_time: header.append_time,
            producer: header.producer,
            epoch: header.epoch,
            first_sequence: batch.client.first_sequence,
            crc: header.crc,
            chain: header.chain,
            position,
            bytes: batch.bytes,
            journal_bytes: batch.journal_len(own),
            first_record,
        }
    }
}
