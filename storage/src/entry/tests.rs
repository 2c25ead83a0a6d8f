//! The bytes of entries, for ever.

use std::collections::BTreeSet;

use bytes::Bytes;
use takt_protocol::batch::{
    Batch, BatchBuilder, Compression, StoredBatch, StoredHeader, StoredKind,
};
use takt_protocol::chunks::Chunks;
use takt_protocol::event::Event;
use takt_protocol::words::{BatchNumber, PartitionChain, PartitionNumber, Sequence};

use super::*;
use crate::journal::Incarnation;
use crate::runs::{RunCounts, RunInfo};

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"))
}

fn stored() -> StoredBatch {
    let mut builder = BatchBuilder::new(Compression::None);
    let event = Event { source: "s".into(), kind: "k".into(), ..Event::default() };
    builder.push(&event).unwrap();
    let bytes = builder.finish(PartitionNumber::new(0), Sequence::new(1)).unwrap();
    let batch = Batch::take(&mut Chunks::from(bytes)).unwrap();
    let header = StoredHeader {
        kind: StoredKind::Data,
        batch_number: BatchNumber::new(0),
        base_offset: Offset::new(0),
        visible: 1,
        records: 1,
        append_time: Timestamp::from_micros(1),
        producer: ProducerId::from_text("id#p").unwrap(),
        epoch: Epoch::new(1),
        crc: batch.header().crc,
        chain: PartitionChain::default(),
        batch_len: batch.header().len,
    };
    let mut bytes = Vec::new();
    header.encode(PartitionChain::default(), &[0], &mut bytes);
    let mut pieces = Chunks::from(Bytes::from(bytes));
    batch.pieces().for_each(|piece| pieces.push(piece.clone()));
    StoredBatch::take(&mut pieces).unwrap()
}

/// Each field with a value of its own.
fn settings() -> TopicSettings {
    TopicSettings {
        partitions: 2,
        dedup: true,
        compact: false,
        horizon_s: 300,
        on_conflict: OnConflict::Refuse,
        retention_ms: 301,
        retention_bytes: 302,
        lane: 4,
    }
}

fn pack(compacted_upto: Position) -> PackFile {
    PackFile {
        start: Position::new(4096),
        end: Position::new(8192),
        serial: 3,
        blocks: 300,
        len_bytes: 301,
        batch_bytes: 302,
        compacted_upto,
        checksum: 0x0c0d,
    }
}

fn entries() -> Vec<(Entry, &'static str)> {
    let topic = TopicName::new("t").unwrap();
    let producer = ProducerId::from_text("id#p").unwrap();
    let name = CursorName::new("c").unwrap();
    let settings = settings();
    let origin = NodeName::new("plant").unwrap();
    let journal = JournalId::new([5; 16]);
    let receipt = BatchReceipt {
        first_sequence: Sequence::new(7),
        records: 1,
        partition: PartitionNumber::new(0),
        base_offset: Offset::new(300),
        append_time: Timestamp::from_micros(-1),
        verdicts: Bytes::from_static(&[0]),
    };
    let file = SealedFile {
        start: Position::new(4096),
        end: Position::new(8192),
        append_time: Timestamp::from_micros(9),
        slots: vec![SlotEnd {
            slot: Slot::new(3),
            next_offset: Offset::new(5),
            next_batch: BatchNumber::new(6),
            chain: PartitionChain::new([7; 16]),
            appended_bytes: 8,
        }],
        run: None,
    };
    let run = RunInfo {
        start: Position::new(8192),
        end: Position::new(12288),
        incarnation: Incarnation::new(2),
        checksum: 0x0c0d,
        counts: RunCounts { ledger: 3, heads: 4, extents: 5, orders: 6, conflicts: 7, slots: 8 },
    };
    let with_run = SealedFile { run: Some(run), slots: Vec::new(), ..file.clone() };
    let side = SideFile {
        start: Position::new(4096),
        incarnation: Incarnation::new(2),
        batches: 3,
        len_bytes: 513,
        checksum: 0x0b0a,
    };
    vec![
        (Entry::TopicCreated { topic: topic.clone(), settings }, "01740201ac0201ad02ae0204"),
        (
            Entry::MirrorBegun { origin, journal, topic: topic.clone(), settings },
            "05706c616e740505050505050505050505050505050501740201ac0201ad02ae0204",
        ),
        (
            Entry::SequenceAdvanced {
                producer: producer.clone(),
                topic: topic.clone(),
                crc: 0xdead_beef,
                receipt,
            },
            "04696423700174efbeadde070100ac02010100",
        ),
        (
            Entry::ProducerOpened {
                producer: producer.clone(),
                topic: topic.clone(),
                epoch: Epoch::new(200),
                transient: true,
                at: Timestamp::from_micros(64),
            },
            "04696423700174c801018001",
        ),
        (Entry::ProducerDropped { producer, topic: topic.clone() }, "04696423700174"),
        (
            Entry::CursorSet {
                name: name.clone(),
                topic: topic.clone(),
                hold: true,
                positions: vec![(Slot::new(3), Offset::new(129))],
            },
            "016301740101038101",
        ),
        (Entry::CursorRemoved { name }, "0163"),
        (Entry::RunAdded { file }, "802080401201030506070707070707070707070707070707070800"),
        (
            Entry::RunAdded { file: with_run },
            "8020804012000100200000000000000030000000000000020000000d0c0000000000000000000000 \
             00000003000000000000000400000000000000050000000000000006000000000000000700000000 \
             0000000800000000000000",
        ),
        (Entry::FileDropped { start: Position::new(4096) }, "8020"),
        (Entry::ConflictsKept { side }, "8020020381040a0b0000000000000000000000000000"),
        (
            Entry::MirrorStarted {
                slot: Slot::new(3),
                batch: BatchNumber::new(300),
                offset: Offset::new(301),
                chain: PartitionChain::new([7; 16]),
            },
            "03ac02ad0207070707070707070707070707070707",
        ),
        (
            Entry::KeysMerged { run },
            "00200000000000000030000000000000020000000d0c0000000000000000000000000000030000 \
             00000000000400000000000000050000000000000006000000000000000700000000000000080000 \
             0000000000",
        ),
        (Entry::KeysDropped { upto: Position::new(12_288) }, "8060"),
        (
            Entry::SlotsTrimmed {
                start: Position::new(4096),
                slots: vec![Slot::new(3), Slot::new(300)],
            },
            "80200203ac02",
        ),
        (
            Entry::PackAdded { pack: pack(Position::ZERO) },
            "8020804003ac02ad02ae020d0c0000000000000000000000000000",
        ),
        (
            Entry::PackAdded { pack: pack(Position::new(12_288)) },
            "8020804003ac02ad02ae020d0c00000000000000000000000000008060",
        ),
        (Entry::CompactionSet { topic: topic.clone(), compact: true }, "017401"),
        (Entry::RetentionSet { topic, retention_ms: 301, retention_bytes: 302 }, "0174ad02ae02"),
        (Entry::Batch { slot: Slot::new(0x0102), batch: stored() }, "02010000"),
        (Entry::MirrorBatch { slot: Slot::new(0x0304), batch: stored() }, "04030000"),
    ]
}

/// A kind of entry that is not in here does not compile.
fn kind_of(entry: &Entry) -> u8 {
    match entry {
        Entry::TopicCreated { .. } => 1,
        Entry::MirrorBegun { .. } => 2,
        Entry::Batch { .. } => 3,
        Entry::MirrorBatch { .. } => 4,
        Entry::SequenceAdvanced { .. } => 5,
        Entry::ProducerOpened { .. } => 6,
        Entry::ProducerDropped { .. } => 7,
        Entry::CursorSet { .. } => 8,
        Entry::CursorRemoved { .. } => 9,
        Entry::RunAdded { .. } => 10,
        Entry::FileDropped { .. } => 11,
        Entry::ConflictsKept { .. } => 13,
        Entry::MirrorStarted { .. } => 14,
        Entry::KeysMerged { .. } => 15,
        Entry::KeysDropped { .. } => 16,
        Entry::SlotsTrimmed { .. } => 17,
        Entry::RetentionSet { .. } => 18,
        Entry::PackAdded { pack } if pack.is_compacted() => 20,
        Entry::PackAdded { .. } => 19,
        Entry::CompactionSet { .. } => 21,
    }
}

/// The whole entry, with its batch.
fn bytes_of(entry: &Entry) -> Bytes {
    let mut bytes = Vec::new();
    entry.encode_head(&mut bytes);
    let batch = entry.batch().into_iter().flat_map(StoredBatch::pieces);
    batch.for_each(|piece| bytes.extend_from_slice(piece));
    bytes.into()
}

#[test]
fn entries_have_these_bytes_for_ever() {
    for (entry, golden) in entries() {
        let mut head = Vec::new();
        entry.encode_head(&mut head);
        assert_eq!(hex(&head), golden.replace(' ', ""), "{entry:?}");
        let back = Entry::decode(entry.kind(), &bytes_of(&entry)).unwrap();
        assert_eq!(format!("{back:?}"), format!("{entry:?}"));
        assert_eq!(entry.kind(), kind_of(&entry), "{entry:?}");
    }
    let kinds: BTreeSet<u8> = entries().iter().map(|(entry, _)| entry.kind()).collect();
    let known = (0..=u8::MAX)
        .filter(|kind| !matches!(Entry::decode(*kind, &Bytes::new()), Err(EntryError::Kind(_))));
    assert_eq!(kinds, known.collect(), "every kind that is read has bytes above");
}

#[test]
fn cut_or_lengthened_entries_are_refused() {
    for (entry, _) in entries() {
        let mut bytes = bytes_of(&entry).to_vec();
        for len in 0..bytes.len() {
            let cut = Bytes::copy_from_slice(&bytes[..len]);
            assert!(Entry::decode(entry.kind(), &cut).is_err(), "{entry:?} cut at {len}");
        }
        bytes.push(0);
        assert!(Entry::decode(entry.kind(), &Bytes::from(bytes)).is_err());
    }
    // A pack that is not compacted has a kind of its own.
    let mut bytes = bytes_of(&Entry::PackAdded { pack: pack(Position::ZERO) }).to_vec();
    bytes.push(0);
    let decoded = Entry::decode(20, &Bytes::from(bytes));
    assert!(matches!(decoded, Err(EntryError::Malformed)), "{decoded:?}");
    assert!(matches!(Entry::decode(200, &Bytes::new()), Err(EntryError::Kind(200))));
}

#[test]
fn a_batch_lies_behind_its_slot() {
    let (slot, batch) = (Slot::new(0x0102), stored());
    for entry in [Entry::Batch { slot, batch: batch.clone() }, Entry::MirrorBatch { slot, batch }] {
        let mut bytes = Vec::new();
        entry.encode_head(&mut bytes);
        assert_eq!(bytes, [2, 1, 0, 0]);
        assert_eq!(bytes.len(), BATCH_AT);
        let stored = entry.batch().unwrap();
        stored.pieces().for_each(|piece| bytes.extend_from_slice(piece));
        let back = Entry::decode(entry.kind(), &Bytes::from(bytes)).unwrap();
        back.batch().unwrap().check(PartitionChain::default(), 1).unwrap();
        assert_eq!(back.kind(), entry.kind());
    }
}
