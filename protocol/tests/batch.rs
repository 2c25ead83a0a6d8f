//! What is laid out is read back, however it arrives; what was changed on the way is refused.
#![allow(clippy::unwrap_used, reason = "a test")]

mod common;

use bytes::Bytes;
use proptest::prelude::*;
use takt_protocol::batch::{
    Batch, BatchBuilder, BatchError, Compression, Place, StoredBatch, Verdict, VerdictIter,
};
use takt_protocol::chunks::Chunks;
use takt_protocol::event::{Attribute, DedupKeys, Event, FIELD_ATTRIBUTES, Value};
use takt_protocol::hashing::{DigestHasher, route};
use takt_protocol::wire::proto::EventMessage;
use takt_protocol::wire::{BatchReceipt, Frame, FrameDecoder, FrameError, FrameKind, OutFrame};
use takt_protocol::words::{
    Offset, OrderKey, OrderSequence, PartitionChain, PartitionNumber, Sequence, Timestamp,
};

use common::Partition;

fn value() -> impl Strategy<Value = Value> {
    prop_oneof![
        ".{0,40}".prop_map(Value::Text),
        any::<i32>().prop_map(Value::Integer),
        any::<bool>().prop_map(Value::Boolean),
        bytes(0..40).prop_map(Value::Binary),
    ]
}

fn bytes(len: std::ops::Range<usize>) -> impl Strategy<Value = Bytes> {
    prop::collection::vec(any::<u8>(), len).prop_map(Bytes::from)
}

fn dedup() -> impl Strategy<Value = DedupKeys> {
    prop_oneof![
        Just(DedupKeys::SourceAndId),
        bytes(1..60).prop_map(DedupKeys::Key),
        (bytes(1..60), bytes(1..60)).prop_map(|(one, two)| DedupKeys::Two(one, two)),
    ]
}

fn attributes() -> impl Strategy<Value = Vec<Attribute>> {
    let name = prop_oneof![Just("subject".to_owned()), Just("after".to_owned()), "[a-z0-9]{1,12}"];
    prop::collection::btree_map(name, value(), 0..6).prop_map(|map| {
        let own = |name: &String| !FIELD_ATTRIBUTES.contains(&name.as_str());
        let named = map.into_iter().filter(|(name, _)| own(name));
        named.map(|(name, value)| Attribute { name, value }).collect()
    })
}

fn event() -> impl Strategy<Value = Event> {
    let order = prop::option::of("[A-Z0-9é-]{1,20}".prop_map(|key| OrderKey::new(&key).unwrap()));
    let time = prop::option::of(any::<i64>().prop_map(Timestamp::from_micros));
    let head = (".{0,30}", "[a-z/]{1,30}", "[a-z.]{1,30}", time, order);
    (head, dedup(), prop::option::of("[a-z/]{0,20}"), bytes(0..400), attributes()).prop_map(
        |((id, source, kind, time, order_key), dedup, content_type, data, attributes)| Event {
            id,
            source,
            kind,
            time,
            order_key,
            dedup,
            content_type,
            data,
            attributes,
        },
    )
}

fn compression() -> impl Strategy<Value = Compression> {
    prop_oneof![Just(Compression::None), Just(Compression::Lz4), Just(Compression::Zstd)]
}

/// Cuts bytes at random places, as packets do.
fn cut(bytes: &Bytes, cuts: &[prop::sample::Index]) -> Chunks {
    let mut at: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
    at.sort_unstable();
    at.push(bytes.len());
    let mut chunks = Chunks::default();
    let mut from = 0;
    for to in at {
        chunks.push(bytes.slice(from..to));
        from = to;
    }
    chunks
}

fn events_of(batch: &Batch) -> Vec<Event> {
    let payload = batch.raw_payload().unwrap();
    let event = |record: Result<takt_protocol::batch::RecordView<'_>, BatchError>| {
        let record = record.unwrap();
        let data = payload.slice(record.data_at..record.data_at + record.data_len);
        record.to_event(data).unwrap()
    };
    batch.records().unwrap().map(event).collect()
}

proptest! {
    #[test]
    fn events_are_read_as_they_were_laid_out(
        events in prop::collection::vec(event(), 1..30),
        compression in compression(),
        first in 1u64..u64::MAX / 2,
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
    ) {
        let mut builder = BatchBuilder::new(compression);
        let mut pushed = Vec::new();
        for event in events {
            // Times too far apart for one batch are told as a full batch.
            if builder.push(&event).is_ok() {
                pushed.push(event);
            }
        }
        let bytes = builder.finish(PartitionNumber::new(0), Sequence::new(first)).unwrap();
        prop_assert!(builder.is_empty());
        let mut chunks = cut(&bytes, &cuts);
        let batch = Batch::take(&mut chunks).unwrap();
        prop_assert!(chunks.is_empty());
        batch.check(1).unwrap();
        batch.check_digests(1, &mut DigestHasher::default()).unwrap();
        prop_assert_eq!(batch.header().records, pushed.len());
        prop_assert_eq!(batch.header().first_sequence.get(), first);
        prop_assert_eq!(events_of(&batch), pushed);
        prop_assert_eq!(batch.pieces().flatten().copied().collect::<Vec<u8>>(), bytes.to_vec());
    }

    #[test]
    fn a_record_belongs_to_its_partition(keys in prop::collection::vec("[A-Z]{1,9}", 1..4)) {
        let mut builder = BatchBuilder::default();
        let mut parts = Vec::new();
        for key in &keys {
            let key = OrderKey::new(key).unwrap();
            parts.push(route(Some(&key), 8));
            builder.push(&Event { order_key: Some(key), ..common::event("1") }).unwrap();
        }
        let bytes = builder.finish(parts[0], Sequence::new(1)).unwrap();
        let own = parts.iter().all(|part| *part == parts[0]);
        let checked = common::read(&bytes).check(8);
        prop_assert_eq!(checked, if own { Ok(()) } else { Err(BatchError::Routing) });
    }

    #[test]
    fn a_stored_batch_is_read_as_it_was_written(
        records in 1usize..9,
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
    ) {
        let mut partition = Partition::default();
        partition.store(&common::batch(1, 2));
        let previous = partition.chain;
        let stored = partition.store(&common::batch(3, records));
        let bytes: Bytes = stored.pieces().flatten().copied().collect::<Vec<u8>>().into();
        let read = StoredBatch::take(&mut cut(&bytes, &cuts)).unwrap();
        read.check(previous, 1).unwrap();
        prop_assert_eq!(read.header(), stored.header());
        prop_assert_eq!(read.len(), bytes.len());
        prop_assert!(read.check(PartitionChain::default(), 1).is_err());
    }

    #[test]
    fn verdicts_and_receipts_are_read_as_they_were_written(
        verdicts in prop::collection::vec(verdict(), 1..20),
        first in 1u64..1 << 60,
        base in 0u64..1 << 60,
        time: i64,
    ) {
        let mut bytes = Vec::new();
        for verdict in &verdicts {
            verdict.encode(&mut bytes);
        }
        let mut read = VerdictIter::new(&bytes, verdicts.len());
        prop_assert_eq!(read.by_ref().collect::<Result<Vec<_>, _>>().unwrap(), verdicts.clone());
        prop_assert!(read.rest().is_empty());
        let receipt = BatchReceipt {
            first_sequence: Sequence::new(first),
            records: verdicts.len(),
            partition: PartitionNumber::new(3),
            base_offset: Offset::new(base),
            append_time: Timestamp::from_micros(time),
            verdicts: bytes.into(),
        };
        let mut encoded = Vec::new();
        receipt.encode(&mut encoded);
        for len in 0..encoded.len() {
            let mut prefix = Bytes::copy_from_slice(&encoded[..len]);
            prop_assert!(BatchReceipt::decode(&mut prefix).is_err());
        }
        let mut encoded = Bytes::from(encoded);
        prop_assert_eq!(&BatchReceipt::decode(&mut encoded).unwrap(), &receipt);
        prop_assert!(encoded.is_empty());
        let mut offset = base;
        for (at, (one, verdict)) in receipt.receipts().zip(&verdicts).enumerate() {
            prop_assert_eq!(one.sequence.get(), first + at as u64);
            prop_assert_eq!(&one.verdict, verdict);
            if verdict.is_visible() {
                prop_assert_eq!(one.place.unwrap().offset.get(), offset);
                offset += 1;
            }
        }
    }

    #[test]
    fn an_event_survives_its_message(event in event()) {
        prop_assert_eq!(Event::try_from(EventMessage::from(event.clone())).unwrap(), event);
    }

    #[test]
    fn frames_are_cut_wherever_packets_end(
        bodies in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..2_000), 0..6),
        parts in prop::collection::vec(1usize..900, 1..40),
    ) {
        let mut stream = Vec::new();
        for body in &bodies {
            let frame = OutFrame::new(FrameKind::Publish, &[], [Bytes::from(body.clone())]).unwrap();
            assert_eq!(frame.len(), frame.to_bytes().len());
            stream.extend_from_slice(&frame.to_bytes());
        }
        let mut decoder = FrameDecoder::new();
        let mut found = Vec::new();
        let mut parts = parts.into_iter().cycle();
        let mut rest = Bytes::from(stream);
        while !rest.is_empty() {
            let len = parts.next().unwrap().min(rest.len());
            decoder.push(rest.split_to(len));
            while let Some(Frame { kind, body }) = decoder.next().unwrap() {
                assert_eq!(kind, FrameKind::Publish);
                found.push(body.to_bytes().to_vec());
            }
        }
        prop_assert_eq!(found, bodies);
        prop_assert!(decoder.is_between_frames());
    }
}

fn verdict() -> impl Strategy<Value = Verdict> {
    let place = (any::<u16>(), any::<u64>()).prop_map(|(partition, offset)| Place {
        partition: PartitionNumber::new(partition),
        offset: Offset::new(offset),
    });
    let sequence = || any::<u64>().prop_map(OrderSequence::new);
    prop_oneof![
        Just(Verdict::Visible { order_sequence: None, restarted: false }),
        (sequence(), any::<bool>()).prop_map(|(sequence, restarted)| Verdict::Visible {
            order_sequence: Some(sequence),
            restarted
        }),
        (place.clone(), prop::option::of(sequence()))
            .prop_map(|(of, order_sequence)| Verdict::Duplicate { of, order_sequence }),
        (place, any::<bool>()).prop_map(|(with, listed)| Verdict::Conflict { with, listed }),
        sequence().prop_map(|at| Verdict::PreconditionFailed { at }),
    ]
}

/// Some batches of every kind of content.
fn samples() -> Vec<Bytes> {
    [Compression::None, Compression::Lz4, Compression::Zstd]
        .into_iter()
        .map(|compression| {
            let mut builder = BatchBuilder::new(compression);
            let attributes = vec![
                Attribute::text("subject", "op-10"),
                Attribute::text("own", "x"),
                Attribute { name: "backfill".into(), value: Value::Boolean(true) },
            ];
            let data = Bytes::from("good: 12, ".repeat(8));
            let one = Event { attributes, data, ..common::event("1") };
            let key = DedupKeys::Two(Bytes::from("a"), Bytes::from("bc"));
            let two = Event { dedup: key, order_key: None, ..common::event("2") };
            builder.push(&one).unwrap();
            builder.push(&two).unwrap();
            builder.finish(PartitionNumber::new(0), Sequence::new(5)).unwrap()
        })
        .collect()
}

fn accepted(bytes: &[u8]) -> bool {
    let mut chunks = Chunks::from(Bytes::copy_from_slice(bytes));
    let Ok(batch) = Batch::take(&mut chunks) else { return false };
    batch.check(1).is_ok() && chunks.is_empty()
}

#[test]
fn every_prefix_and_every_changed_byte_of_a_batch_is_refused() {
    for sample in samples() {
        assert!(accepted(&sample));
        (0..sample.len()).for_each(|len| assert!(!accepted(&sample[..len])));
        let mut bytes = sample.to_vec();
        for at in 0..bytes.len() {
            for change in 1..=255 {
                bytes[at] ^= change;
                assert!(!accepted(&bytes), "byte {at} changed by {change:#x}");
                bytes[at] ^= change;
            }
        }
    }
}

#[test]
fn every_prefix_and_every_changed_byte_of_a_stored_batch_is_refused() {
    let mut partition = Partition::default();
    let stored = partition.store(&samples().remove(0));
    let mut bytes: Vec<u8> = stored.pieces().flatten().copied().collect();
    let accepted = |bytes: &[u8]| {
        let mut chunks = Chunks::from(Bytes::copy_from_slice(bytes));
        let stored = StoredBatch::take(&mut chunks);
        stored.is_ok_and(|stored| stored.check(PartitionChain::default(), 1).is_ok())
            && chunks.is_empty()
    };
    assert!(accepted(&bytes));
    (0..bytes.len()).for_each(|len| assert!(!accepted(&bytes[..len])));
    for at in 0..bytes.len() {
        for change in 1..=255 {
            bytes[at] ^= change;
            assert!(!accepted(&bytes), "byte {at} changed by {change:#x}");
            bytes[at] ^= change;
        }
    }
}

#[test]
fn a_frame_over_its_limit_is_refused_before_it_is_there() {
    let fails = |bytes: &'static [u8]| {
        let mut decoder = FrameDecoder::new();
        decoder.push(Bytes::from_static(bytes));
        let error = decoder.next().unwrap_err();
        decoder.push(Bytes::from_static(&[1, 0, 0, 0, 1]));
        assert_eq!(decoder.next().unwrap_err(), error, "a stream does not recover");
        error
    };
    assert_eq!(fails(&[1, 0, 16, 0]), FrameError::TooLarge { len: (1 << 20) + 1 });
    assert_eq!(fails(&[0, 0, 0, 0]), FrameError::Empty);
    assert_eq!(fails(&[9, 0, 0, 0, 6]), FrameError::Kind { number: 6 });
    let largest = OutFrame::new(FrameKind::Publish, &[], [Bytes::from(vec![0; (1 << 20) - 1])]);
    assert_eq!(largest.unwrap().len(), (1 << 20) + 4);
    let over = OutFrame::new(FrameKind::Publish, &[0], [Bytes::from(vec![0; (1 << 20) - 1])]);
    assert_eq!(over.unwrap_err(), FrameError::TooLarge { len: (1 << 20) + 1 });
}

#[test]
fn a_payload_is_not_copied_on_its_way_in() {
    let mut builder = BatchBuilder::default();
    let data = Bytes::from(vec![7; 10_000]);
    builder.push(&Event { data, ..common::event("1") }).unwrap();
    let bytes = builder.finish(PartitionNumber::new(0), Sequence::new(1)).unwrap();
    let frame = takt_protocol::wire::publish_frame([bytes]).unwrap().to_bytes();
    let mut decoder = FrameDecoder::new();
    (0..frame.len()).step_by(1_000).for_each(|at| {
        decoder.push(frame.slice(at..frame.len().min(at + 1_000)));
    });
    let body = decoder.next().unwrap().unwrap().body;
    let batches = takt_protocol::wire::take_batches(body).unwrap();
    // Ends of packets are small and are gathered; all else stays where it is.
    let large = |piece: &&Bytes| piece.len() >= 256;
    assert!(batches[0].payload().iter().filter(large).count() >= 9);
    for piece in batches[0].payload().iter().filter(large) {
        let within = frame.as_ptr_range();
        assert!(within.contains(&piece.as_ptr()), "a slice of what arrived");
    }
}
