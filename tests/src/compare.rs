//! What the independent reader reads of a directory against what a store shows of it, record by
//! record.

use std::collections::BTreeMap;
use std::fmt::Debug;

use takt_client::{Offset, OrderSequence, Timestamp};
use takt_protocol::batch::{DedupKeyRef, StoredBatch, Verdict};
use takt_reader::{Contents, DedupKey, MaskedAddress, Partition, Place, Record};
use takt_storage::view::{PartitionView, View};

/// How many bytes are read at a time: all.
const ALL: usize = usize::MAX;

/// Checks that all that the view shows is in the contents, and nothing else.
///
/// # Errors
/// The first thing that differs.
pub fn same(contents: &Contents<'_>, view: &View) -> Result<(), String> {
    equal("node", contents.node, view.node().as_str())?;
    equal("journal", contents.journal, *view.journal().as_bytes())?;
    let partitions = view.all_partitions();
    equal("partitions", contents.partitions.len(), partitions.len())?;
    for (found, shown) in contents.partitions.iter().zip(&partitions) {
        partition(found, shown, view).map_err(|what| format!("{}: {what}", found.id))?;
    }
    cursors(contents, view)?;
    conflicts(contents, view)?;
    equal("producers", contents.producers.len(), view.status().producers)
}

#[expect(clippy::needless_pass_by_value, reason = "most are numbers, made for the comparison")]
fn equal<A: PartialEq<B> + Debug, B: Debug>(what: &str, found: A, shown: B) -> Result<(), String> {
    if found == shown {
        Ok(())
    } else {
        Err(format!("{what}: the files have {found:?}, the store shows {shown:?}"))
    }
}

fn partition(found: &Partition<'_>, shown: &PartitionView, view: &View) -> Result<(), String> {
    equal("slot", found.slot, shown.slot.get())?;
    equal("name", found.id.to_string(), shown.id.to_string())?;
    equal("journal", found.mirror_of, shown.mirror_of.map(|journal| *journal.as_bytes()))?;
    let start = (found.start.offset, found.start.batch, found.start.chain);
    let shown_start = (shown.start.get(), shown.start_batch.get(), *shown.start_chain.as_bytes());
    equal("start", start, shown_start)?;
    let end = (found.end.offset, found.end.batch, found.end.chain);
    equal("end", end, (shown.end.get(), shown.end_batch.get(), *shown.chain.as_bytes()))?;
    equal("length", found.end.bytes - found.start.bytes, shown.len_bytes)?;
    batches(found, shown, view)
}

fn batches(found: &Partition<'_>, shown: &PartitionView, view: &View) -> Result<(), String> {
    if shown.start_batch == shown.end_batch {
        return equal("batches", (found.batches.len(), found.records.len()), (0, 0));
    }
    let stored = view.read_from_batch(shown.slot, shown.start_batch, ALL);
    let stored = stored.map_err(|error| format!("the store does not read: {error}"))?;
    equal("batches", found.batches.len(), stored.len())?;
    let mut records = found.records.iter();
    for (found, shown) in found.batches.iter().zip(&stored) {
        let header = shown.header();
        let bytes: Vec<u8> = shown.pieces().flatten().copied().collect();
        equal("batch number", found.number, header.batch_number.get())?;
        equal("bytes of a batch", found.bytes, &bytes[..])?;
        equal("append time", found.append_time, header.append_time.as_micros())?;
        equal("epoch and CRC", (found.epoch, found.crc), (header.epoch.get(), header.crc))?;
        let of_batch: Vec<_> = records.by_ref().take(found.kept as usize).collect();
        records_of(&of_batch, shown)?;
    }
    equal("records left", records.count(), 0)
}

fn records_of(found: &[&Record<'_>], batch: &StoredBatch) -> Result<(), String> {
    let broken = |what: &dyn Debug| format!("a batch of the store does not hold: {what:?}");
    let header = batch.header();
    let raw = batch.batch().raw_payload().map_err(|error| broken(&error))?;
    let records = batch.records().map_err(|error| broken(&error))?;
    equal("records", found.len(), batch.batch().header().records)?;
    let first = batch.batch().header().first_sequence.get();
    for (found, shown) in found.iter().zip(records) {
        let shown = shown.map_err(|error| broken(&error))?;
        let (record, sequence) = (shown.record, first + shown.index as u64);
        equal("producer", found.producer, header.producer.as_str())?;
        equal("batch", found.batch, header.batch_number.get())?;
        equal("sequence", found.sequence, sequence)?;
        equal("id", found.id.as_bytes(), record.id)?;
        equal("source", found.source.as_bytes(), record.source)?;
        equal("type", found.kind.as_bytes(), record.kind)?;
        equal("order key", found.order_key, record.order_key)?;
        equal("content type", found.content_type.map(str::as_bytes), record.content_type)?;
        equal("time", found.time, record.time.map(Timestamp::as_micros))?;
        equal("digest", found.digest, record.digest.as_u128())?;
        equal("computed digest", found.digest_computed, Some(found.digest))?;
        let data = &raw[record.data_at..record.data_at + record.data_len];
        equal("data", found.data.unwrap_or(data), data)?;
        equal("length of the data", found.data_len, record.data_len as u64)?;
        let keys = record.dedup_keys().map(|key| {
            key.map(|key| match key {
                DedupKeyRef::SourceAndId(source, id) => DedupKey::SourceAndId { source, id },
                DedupKeyRef::Key(key) => DedupKey::Key(key),
            })
        });
        equal("dedup keys", found.dedup_keys, keys)?;
        judged(found, shown.verdict, shown.offset)?;
    }
    Ok(())
}

fn judged(found: &Record<'_>, verdict: Verdict, offset: Option<Offset>) -> Result<(), String> {
    let place = |place: takt_protocol::batch::Place| Place {
        partition: place.partition.get(),
        offset: place.offset.get(),
    };
    match verdict {
        Verdict::Visible { order_sequence, restarted } => {
            equal("offset", found.offset, offset.map(Offset::get))?;
            equal("restarted", found.restarted, restarted)?;
            equal("order sequence", found.order_sequence, order_sequence.map(OrderSequence::get))?;
            equal("verdict", found.verdict, takt_reader::Verdict::Visible)
        }
        Verdict::Duplicate { of, .. } => {
            let takt_reader::Verdict::Duplicate { of: first, .. } = found.verdict else {
                return Err(format!("{:?} is no duplicate", found.verdict));
            };
            equal("the first", first, place(of))
        }
        Verdict::Conflict { with, listed } => {
            let shown = takt_reader::Verdict::Conflict { with: place(with), listed };
            equal("verdict", found.verdict, shown)
        }
        Verdict::PreconditionFailed { at } => {
            let shown = takt_reader::Verdict::PreconditionFailed { at: at.get() };
            equal("verdict", found.verdict, shown)
        }
    }
}

fn cursors(contents: &Contents<'_>, view: &View) -> Result<(), String> {
    let found = contents.cursors.iter().map(|(name, cursor)| {
        let positions = cursor.positions.iter().map(|(id, next)| (id.to_string(), *next));
        let positions: BTreeMap<_, _> = positions.collect();
        ((*name).to_owned(), cursor.topic.to_owned(), cursor.hold, positions)
    });
    let shown = view.cursors().into_iter().map(|cursor| {
        let name = |slot| view.partition(slot).map_or_else(String::new, |p| p.id.to_string());
        let positions = cursor.positions.iter().map(|(slot, next)| (name(*slot), next.get()));
        let positions: BTreeMap<_, _> = positions.collect();
        (cursor.name.to_string(), cursor.topic.to_string(), cursor.hold, positions)
    });
    equal("cursors", found.collect::<Vec<_>>(), shown.collect::<Vec<_>>())
}

fn conflicts(contents: &Contents<'_>, view: &View) -> Result<(), String> {
    let shown = view.conflicts(None, None, usize::MAX);
    equal("open conflicts", contents.conflicts.len(), shown.len())?;
    for conflict in shown {
        let slot = conflict.address.slot.get() as usize;
        let address = contents.partitions.get(slot).map(|partition| MaskedAddress {
            partition: partition.id,
            batch: conflict.address.batch_number.get(),
            index: u32::from(conflict.address.index),
        });
        let found = address.and_then(|address| contents.conflicts.get(&address));
        let found = found.map(|found| (found.with.offset, found.append_time));
        let shown = (conflict.with.offset.get(), conflict.append_time.as_micros());
        equal("open conflict", found, Some(shown))?;
    }
    Ok(())
}
