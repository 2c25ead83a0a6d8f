//! The fold by itself.

use takt_protocol::words::Timestamp;

use super::*;
use crate::entry::Entry;

fn folded() -> State {
    let node = NodeName::new("plant").unwrap();
    let mut state = State::new(node, [9; 16], 10);
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
    "0105706c616e7409090909090909090909090909090909800101017405706c616e740000010180b0bd100000",
    "0000000000000000000000000000000000000000000000000000000000000000000000000000000000010174",
    "0469642370010000000101630174000100000080200100802012000000",
];

#[test]
fn a_snapshot_has_these_bytes_for_ever() {
    let bytes = folded().snapshot();
    let hex = bytes.iter().fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"));
    assert_eq!(hex, GOLDEN.concat());
    let back = State::restore(&bytes, Position::new(4096), 10).unwrap();
    assert_eq!(back.control, folded().control);
    assert_eq!(back.digest(), folded().digest());
}

#[test]
fn a_snapshot_that_is_none_is_refused() {
    let bytes = folded().snapshot();
    for len in 0..bytes.len() {
        assert!(State::restore(&bytes[..len], Position::ZERO, 10).is_err(), "cut at {len}");
    }
    for at in 0..bytes.len() {
        let mut changed = bytes.clone();
        changed[at] ^= 0xff;
        // Whatever it says, it is read or refused.
        let _ = State::restore(&changed, Position::ZERO, 10);
    }
    let newer = State::restore(&[2], Position::ZERO, 10).unwrap_err();
    assert_eq!(newer, SnapshotError::Version(2));
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
