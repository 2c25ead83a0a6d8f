//! The fold by itself.

use takt_protocol::words::Timestamp;

use super::*;
use crate::entry::{Entry, OnConflict};
use crate::entry::{PackFile, SideFile};
use crate::journal::Incarnation;
use crate::runs::RunInfo;

const LIMITS: TableLimits = TableLimits { keys_max: 10, heads_recent: 10 };

fn folded() -> State {
    let node = NodeName::new("plant").unwrap();
    let mut state = State::new(node, [9; 16], LIMITS);
    let topic = TopicName::new("t").unwrap();
    let producer = ProducerId::from_text("id#p").unwrap();
    let entries = [
        Entry::TopicCreated { topic: topic.clone(), settings: TopicSettings::default() },
        Entry::ProducerOpened {
            producer,
            topic: topic.clone(),
            epoch: Epoch::new(1),
            transient: false,
            at: Timestamp::from_micros(64),
        },
        Entry::CursorSet {
            name: CursorName::new("c").unwrap(),
            topic,
            hold: false,
            positions: vec![(Slot::new(0), Offset::new(0))],
        },
        Entry::RunAdded {
            file: SealedFile {
                start: Position::new(0),
                end: Position::new(4096),
                append_time: Timestamp::from_micros(9),
                slots: Vec::new(),
                run: None,
            },
        },
    ];
    for (at, entry) in (0..).zip(&entries) {
        state.apply(Position::new(at), entry, None, &mut Effects::default()).unwrap();
    }
    state
}

const GOLDEN: &[&str] = &[
    "0305706c616e7409090909090909090909090909090909800101017405706c616e740000010180b0bd100000",
    "0000000000000000000000000000000000000000000000000000000000000000000000000000000000010174",
    "04696423700100000001016301740001000000802001008020120000000000",
];

#[test]
fn a_snapshot_has_these_bytes_for_ever() {
    let bytes = folded().snapshot();
    let hex = bytes.iter().fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"));
    assert_eq!(hex, GOLDEN.concat());
    let back = State::restore(&bytes, Position::new(4096), LIMITS).unwrap();
    assert_eq!(back.control, folded().control);
    assert_eq!(back.digest(), folded().digest());
}

/// One of everything that a snapshot can hold, each field with a value of its own.
fn full() -> Control {
    let topic = TopicName::new("t").unwrap();
    let (own, origin) = (NodeName::new("hub").unwrap(), NodeName::new("lyon").unwrap());
    let settings = TopicSettings {
        partitions: 1,
        dedup: true,
        compact: false,
        horizon_s: 300,
        on_conflict: OnConflict::Refuse,
        retention_ms: 301,
        retention_bytes: 302,
        lane: 4,
    };
    let edge = |number: u64| Edge {
        offset: Offset::new(number),
        batch: BatchNumber::new(number + 1),
        chain: PartitionChain::from_u128(u128::from(number) + 2),
        bytes: number + 3,
    };
    let partition = |origin: &NodeName, mirror_of, number| Partition {
        id: PartitionId {
            origin: origin.clone(),
            topic: topic.clone(),
            number: PartitionNumber::new(0),
        },
        settings,
        mirror_of,
        start: edge(number),
        end: edge(number + 10),
        append_time: Timestamp::from_micros(-3),
    };
    let receipt = BatchReceipt {
        first_sequence: Sequence::new(400),
        records: 1,
        partition: PartitionNumber::new(0),
        base_offset: Offset::new(401),
        append_time: Timestamp::from_micros(402),
        verdicts: bytes::Bytes::from_static(&[0]),
    };
    let producer = Producer {
        epoch: Epoch::new(403),
        last: Sequence::new(404),
        transient: true,
        kept: VecDeque::from([Kept { crc: 0x0102_0304, receipt }]),
    };
    let cursor = Cursor {
        topic: topic.clone(),
        hold: true,
        positions: BTreeMap::from([(Slot::new(1), Offset::new(405))]),
    };
    let address =
        MaskedAddress { slot: Slot::new(1), batch_number: BatchNumber::new(406), index: 407 };
    let with = Place { partition: PartitionNumber::new(0), offset: Offset::new(408) };
    let conflict = OpenConflict { with, append_time: Timestamp::from_micros(-4) };
    let start = Position::new(4096);
    let file = SealedFile {
        start,
        end: Position::new(8192),
        append_time: Timestamp::from_micros(-5),
        slots: vec![SlotEnd {
            slot: Slot::new(1),
            next_offset: Offset::new(409),
            next_batch: BatchNumber::new(410),
            chain: PartitionChain::new([7; 16]),
            appended_bytes: 411,
        }],
        run: None,
    };
    let merged = MergedRun {
        run: RunInfo {
            start: Position::new(2048),
            end: start,
            incarnation: Incarnation::new(415),
            checksum: 0x0708,
            counts: crate::runs::RunCounts { ledger: 416, heads: 417, ..Default::default() },
        },
        append_time: Timestamp::from_micros(-7),
    };
    let side = SideFile {
        start,
        incarnation: Incarnation::new(412),
        batches: 413,
        len_bytes: 414,
        checksum: 0x0506,
    };
    let at = |slot| Topic { settings, first_slot: Slot::new(slot) };
    let mirror_of = Some(JournalId::new([8; 16]));
    Control {
        node: own.clone(),
        secret: [9; 16],
        append_time: Timestamp::from_micros(-6),
        topics: BTreeMap::from([
            ((topic.clone(), own.clone()), at(0)),
            ((topic.clone(), origin.clone()), at(1)),
        ]),
        partitions: vec![partition(&own, None, 500), partition(&origin, mirror_of, 600)],
        producers: BTreeMap::from([(
            (topic.clone(), ProducerId::from_text("id#p").unwrap()),
            producer,
        )]),
        cursors: BTreeMap::from([(CursorName::new("c").unwrap(), cursor)]),
        conflicts: BTreeMap::from([(address, conflict)]),
        manifest: Manifest {
            files: BTreeMap::from([(start, file)]),
            merged: BTreeMap::from([(Position::new(2048), merged)]),
            sides: BTreeMap::from([(start, side)]),
            packs: BTreeMap::new(),
            runs_upto: Position::new(12_288),
            keys_from: Position::new(2048),
        },
    }
}

const FULL: &[&str] = &[
    "0303687562090909090909090909090909090909090b0201740368756200000101ac0201ad02ae0204017404",
    "6c796f6e0101080808080808080808080808080808080101ac0201ad02ae0204f403f503f601000000000000",
    "0000000000000000f703fe03ff0300020000000000000000000000000000810405d804d9045a020000000000",
    "000000000000000000db04e204e30464020000000000000000000000000000e5040501017404696423709303",
    "9403010104030201900301009103a40601000101630174010101950301019603970300980307806001802080",
    "4009010199039a03070707070707070707070707070707079b03000180209c039d039e030605000000000000",
    "000000000000000001000800000000000000100000000000009f010000080700000000000000000000000000",
    "00a001000000000000a101000000000000000000000000000000000000000000000000000000000000000000",
    "00000000000d8010",
];

#[test]
fn a_full_snapshot_has_these_bytes_for_ever() {
    let bytes = full().encode();
    let hex = bytes.iter().fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"));
    assert_eq!(hex, FULL.concat());
    assert_eq!(Control::decode(&bytes), Ok(full()));

    // Version 2 does not say how old merged runs are: no older than anything. None was forgotten.
    let mut before = full();
    before.manifest.keys_from = Position::ZERO;
    for merged in before.manifest.merged.values_mut() {
        merged.append_time = before.append_time;
    }
    let mut bytes = before.encode();
    assert_eq!((bytes[0], bytes.pop(), bytes.pop()), (3, Some(0), Some(11)));
    bytes[0] = 2;
    assert_eq!(Control::decode(&bytes).as_ref(), Ok(&before));

    // Version 1 had no merged runs.
    before.manifest.merged.clear();
    let mut bytes = before.encode();
    assert_eq!((bytes[0], bytes.pop(), bytes.pop()), (3, Some(0), Some(0)));
    bytes[0] = 1;
    assert_eq!(Control::decode(&bytes), Ok(before));
}

const PACKS: &str = "018020804003a603a703a8030c0b0000000000000000000000000000";

#[test]
fn a_snapshot_with_packs_has_these_bytes_for_ever() {
    let mut with = full();
    let pack = PackFile {
        start: Position::new(4096),
        end: Position::new(8192),
        serial: 3,
        blocks: 422,
        len_bytes: 423,
        batch_bytes: 424,
        compacted_upto: Position::ZERO,
        checksum: 0x0b0c,
    };
    with.manifest.packs.insert(pack.start, pack);
    let bytes = with.encode();
    let hex = bytes.iter().fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"));
    assert_eq!(hex, format!("04{}{PACKS}", &FULL.concat()[2..]));
    assert_eq!(Control::decode(&bytes), Ok(with.clone()));
    // And one that is compacted: each pack says up to where.
    with.manifest.packs.insert(pack.start, PackFile { compacted_upto: Position::new(300), ..pack });
    let bytes = with.encode();
    let hex = bytes.iter().fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"));
    assert_eq!(hex, format!("05{}{PACKS}ac02", &FULL.concat()[2..]));
    assert_eq!(Control::decode(&bytes), Ok(with));
}

#[test]
fn a_snapshot_that_is_none_is_refused() {
    let bytes = folded().snapshot();
    for len in 0..bytes.len() {
        assert!(State::restore(&bytes[..len], Position::ZERO, LIMITS).is_err(), "cut at {len}");
    }
    for at in 0..bytes.len() {
        let mut changed = bytes.clone();
        changed[at] ^= 0xff;
        // Whatever it says, it is read or refused.
        let _ = State::restore(&changed, Position::ZERO, LIMITS);
    }
    let newer = State::restore(&[6], Position::ZERO, LIMITS).unwrap_err();
    assert_eq!(newer, SnapshotError::Version(6));
}

#[test]
fn an_entry_that_does_not_follow_is_refused() {
    let mut state = folded();
    let topic = TopicName::new("t").unwrap();
    let producer = ProducerId::from_text("id#p").unwrap();
    let settings = TopicSettings::default();
    for entry in [
        Entry::TopicCreated { topic: topic.clone(), settings },
        Entry::FileDropped { start: Position::new(4096) },
        Entry::ProducerOpened {
            producer,
            topic,
            epoch: Epoch::new(0),
            transient: false,
            at: Timestamp::default(),
        },
    ] {
        let refused = state.apply(Position::new(9), &entry, None, &mut Effects::default());
        assert!(refused.is_err(), "{entry:?}");
    }
}
