//! The bytes of entries, for ever.

use bytes::Bytes;
use takt_protocol::batch::{
    Batch, BatchBuilder, Compression, StoredBatch, StoredHeader, StoredKind,
};
use takt_protocol::chunks::Chunks;
use takt_protocol::event::Event;
use takt_protocol::words::{BatchNumber, PartitionChain, PartitionNumber, Sequence};

use super::*;

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

fn entries() -> Vec<(Entry, &'static str)> {
    let topic = TopicName::new("t").unwrap();
    let producer = ProducerId::from_text("id#p").unwrap();
    let name = CursorName::new("c").unwrap();
    let settings = TopicSettings::default();
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
    let side = SideFile {
        start: Position::new(4096),
        incarnation: crate::journal::Incarnation::new(2),
        batches: 3,
        len_bytes: 513,
        checksum: 0x0b0a,
    };
    vec![
        (Entry::TopicCreated { topic: topic.clone(), settings }, "0174010180b0bd1000000000"),
        (
            Entry::MirrorBegun { origin, journal, topic: topic.clone(), settings },
            "05706c616e74050505050505050505050505050505050174010180b0bd1000000000",
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
                topic,
                hold: true,
                positions: vec![(Slot::new(3), Offset::new(129))],
            },
            "016301740101038101",
        ),
        (Entry::CursorRemoved { name }, "0163"),
        (Entry::RunAdded { file }, "802080401201030506070707070707070707070707070707070800"),
        (Entry::FileDropped { start: Position::new(4096) }, "8020"),
        (Entry::ConflictsKept { side }, "8020020381040a0b0000000000000000000000000000"),
    ]
}

#[test]
fn entries_have_these_bytes_for_ever() {
    for (entry, golden) in entries() {
        let mut bytes = Vec::new();
        entry.encode_head(&mut bytes);
        assert_eq!(hex(&bytes), golden, "{entry:?}");
        let back = Entry::decode(entry.kind(), &Bytes::from(bytes)).unwrap();
        assert_eq!(format!("{back:?}"), format!("{entry:?}"));
    }
    let kinds: Vec<u8> = entries().iter().map(|(entry, _)| entry.kind()).collect();
    assert_eq!(kinds, [1, 2, 5, 6, 7, 8, 9, 10, 11, 13]);
}

#[test]
fn cut_or_lengthened_entries_are_refused() {
    for (entry, _) in entries() {
        let mut bytes = Vec::new();
        entry.encode_head(&mut bytes);
        for len in 0..bytes.len() {
            let cut = Bytes::copy_from_slice(&bytes[..len]);
            assert!(Entry::decode(entry.kind(), &cut).is_err(), "{entry:?} cut at {len}");
        }
        bytes.push(0);
        assert!(Entry::decode(entry.kind(), &Bytes::from(bytes)).is_err());
    }
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
