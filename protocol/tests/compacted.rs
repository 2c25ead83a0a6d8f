//! What compaction leaves of a stored batch is read as it was written, and nothing else is.

#![allow(clippy::unwrap_used, reason = "a test")]

mod common;

use bytes::Bytes;
use common::Partition;
use proptest::prelude::*;
use takt_protocol::batch::{
    BatchBuilder, Compression, Place, StoredBatch, StoredError, StoredRecord, Verdict,
};
use takt_protocol::chunks::Chunks;
use takt_protocol::event::{Attribute, DedupKeys, Event, Value};
use takt_protocol::hashing::DigestHasher;
use takt_protocol::words::{
    Offset, OrderKey, OrderSequence, PartitionChain, PartitionNumber, Sequence, Timestamp,
};

/// An event with a bit of everything.
fn event(number: usize, len: usize) -> Event {
    let time = i64::try_from(number).unwrap() - 2;
    Event {
        id: format!("e{number}"),
        source: if number.is_multiple_of(3) { "//other".to_owned() } else { "//s".to_owned() },
        kind: "k".to_owned(),
        time: (!number.is_multiple_of(4)).then(|| Timestamp::from_micros(time)),
        order_key: is_ordered(number)
            .then(|| OrderKey::new(&format!("PO-{}", number % 3)).unwrap()),
        dedup: match number % 3 {
            0 => DedupKeys::SourceAndId,
            1 => DedupKeys::Key(Bytes::from(vec![1, 2, 3])),
            _ => DedupKeys::Two(Bytes::from(vec![4]), Bytes::from(vec![5, 6])),
        },
        content_type: number.is_multiple_of(2).then(|| "text/plain".to_owned()),
        data: Bytes::from(vec![u8::try_from(number % 251).unwrap(); len]),
        attributes: if number.is_multiple_of(7) {
            vec![Attribute { name: "version".to_owned(), value: Value::Integer(7) }]
        } else {
            Vec::new()
        },
    }
}

fn verdict_of(number: usize) -> Verdict {
    if number % 6 == 4 {
        let of = Place { partition: PartitionNumber::new(0), offset: Offset::new(0) };
        return Verdict::Duplicate { of, order_sequence: None };
    }
    let order_sequence = is_ordered(number).then(|| OrderSequence::new(number as u64 + 1));
    Verdict::Visible { order_sequence, restarted: false }
}

fn is_ordered(number: usize) -> bool {
    !number.is_multiple_of(5)
}

fn stored(lens: &[usize], compression: Compression) -> (StoredBatch, Vec<Event>) {
    let mut builder = BatchBuilder::new(compression);
    let events: Vec<Event> = lens.iter().enumerate().map(|(i, len)| event(i, *len)).collect();
    let mut verdicts = Vec::new();
    let mut visible = 0;
    for (number, event) in events.iter().enumerate() {
        builder.push(event).unwrap();
        verdict_of(number).encode(&mut verdicts);
        visible += usize::from(verdict_of(number).is_visible());
    }
    let client = builder.finish(PartitionNumber::new(0), Sequence::new(1)).unwrap();
    let stored = Partition::default().store_with(&client, visible, &verdicts);
    (stored, events)
}

fn bytes_of(batch: &StoredBatch) -> Vec<u8> {
    batch.pieces().flatten().copied().collect()
}

fn take(bytes: &[u8]) -> Result<StoredBatch, StoredError> {
    let mut chunks = Chunks::from(Bytes::copy_from_slice(bytes));
    let batch = StoredBatch::take(&mut chunks)?;
    batch.check(PartitionChain::default(), 1)?;
    if chunks.is_empty() { Ok(batch) } else { Err(StoredError::Mismatch) }
}

fn all(batch: &StoredBatch) -> Vec<StoredRecord<'_>> {
    batch.records().unwrap().map(Result::unwrap).collect()
}

proptest! {
    #[test]
    fn what_is_kept_is_as_it_was(
        lens in prop::collection::vec(0usize..300, 1..40),
        kept: u64,
        again: u64,
        compression in prop::sample::select(
            vec![Compression::None, Compression::Lz4, Compression::Zstd]
        ),
    ) {
        let (before, events) = stored(&lens, compression);
        let builder = &mut BatchBuilder::default();
        let Some(bytes) = before.compact(builder, |found| kept >> found.index & 1 == 1).unwrap()
        else { return Ok(()) };
        prop_assert!(bytes.len() < before.len());
        let mut batch = take(&bytes).unwrap();
        let mut kept = kept;
        if let Some(bytes) = batch.compact(builder, |found| again >> found.index & 1 == 1).unwrap() {
            kept &= again;
            batch = take(&bytes).unwrap();
            prop_assert_eq!(batch.len(), bytes.len());
            prop_assert_eq!(bytes_of(&batch), bytes.to_vec());
        }
        prop_assert_eq!(batch.header(), before.header());
        prop_assert_eq!(batch.end_offset(), before.end_offset());
        prop_assert_eq!(batch.verdict_bytes(), before.verdict_bytes());
        batch.batch().check_digests(1, &mut DigestHasher::default()).unwrap();
        let payload = batch.batch().raw_payload().unwrap();
        let left: Vec<_> = all(&before).into_iter().filter(|f| kept >> f.index & 1 == 1).collect();
        let there = all(&batch);
        prop_assert_eq!(left.len(), there.len());
        prop_assert_eq!(batch.kept().unwrap().records(), there.len());
        for (old, new) in left.into_iter().zip(there) {
            prop_assert!(batch.kept().unwrap().has(new.index));
            prop_assert_eq!((old.index, old.verdict, old.offset), (new.index, new.verdict, new.offset));
            prop_assert_eq!(old.record.digest, new.record.digest);
            let data = payload.slice(new.record.data_at..new.record.data_at + new.record.data_len);
            prop_assert_eq!(&new.record.to_event(data).unwrap(), &events[new.index]);
        }
    }
}

#[test]
fn nothing_is_left_of_what_nobody_keeps() {
    let (before, _) = stored(&[300; 9], Compression::None);
    let builder = &mut BatchBuilder::default();
    assert_eq!(before.compact(builder, |_| true).unwrap(), None);
    let bytes = before.compact(builder, |_| false).unwrap().unwrap();
    let batch = take(&bytes).unwrap();
    assert_eq!((all(&batch).len(), batch.batch().header().records), (0, 0));
    assert_eq!(batch.end_offset(), before.end_offset());
    assert_eq!(batch.compact(builder, |_| false).unwrap(), None);
    // A client's batch is never empty.
    let empty: Vec<u8> = batch.batch().pieces().flatten().copied().collect();
    assert!(takt_protocol::batch::Batch::take(&mut Chunks::from(Bytes::from(empty))).is_err());
}

#[test]
fn a_batch_that_would_not_get_shorter_stays() {
    let (before, _) = stored(&[0; 200], Compression::None);
    let compacted = before.compact(&mut BatchBuilder::default(), |found| found.index != 9);
    assert_eq!(compacted.unwrap(), None);
}

#[test]
fn every_prefix_and_every_changed_byte_is_refused() {
    let (before, _) = stored(&[90, 80, 70, 60, 50], Compression::None);
    let compacted = before.compact(&mut BatchBuilder::default(), |found| found.index % 2 == 0);
    let mut bytes = compacted.unwrap().unwrap().to_vec();
    assert!(take(&bytes).is_ok());
    (0..bytes.len()).for_each(|len| assert!(take(&bytes[..len]).is_err()));
    for at in 0..bytes.len() {
        for change in 1..=255 {
            bytes[at] ^= change;
            assert!(take(&bytes).is_err(), "byte {at} changed by {change:#x}");
            bytes[at] ^= change;
        }
    }
}

#[test]
fn a_bit_for_no_record_is_refused() {
    let (before, _) = stored(&[90, 80, 70], Compression::None);
    let compacted = before.compact(&mut BatchBuilder::default(), |found| found.index == 0);
    let mut bytes = compacted.unwrap().unwrap().to_vec();
    let batch = take(&bytes).unwrap();
    let bits_at = bytes.len() - batch.batch().header().len - 1;
    assert_eq!(bytes[bits_at], 1);
    for bits in [0b1000_0001_u8, 0b0000_1001, 0b11, 0] {
        bytes[bits_at] = bits;
        let crc = crc32fast::hash(&bytes[16..=bits_at]).to_le_bytes();
        bytes[12..16].copy_from_slice(&crc);
        assert!(take(&bytes).is_err(), "{bits:b}");
    }
}
