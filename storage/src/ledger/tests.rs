use std::collections::BTreeMap;

use proptest::prelude::*;
use takt_protocol::{
    batch::Place,
    words::{BatchNumber, Offset, OrderSequence, PartitionNumber, Timestamp},
};
use xxhash_rust::xxh3::xxh3_128;

use super::*;

fn place(offset: u64) -> Place {
    Place { partition: PartitionNumber::new(3), offset: Offset::new(offset) }
}

fn first(hash: u128, offset: u64) -> LedgerEntry {
    let known = Known::First { place: place(offset), order_sequence: None };
    LedgerEntry::new(hash, offset, known)
}

#[test]
fn an_entry_keeps_what_it_was_made_of() {
    let at = MaskedPlace {
        partition: PartitionNumber::new(u16::MAX),
        batch_number: BatchNumber::new(u64::MAX),
        index: u16::MAX,
    };
    let order_sequence = Some(OrderSequence::new(9));
    for known in [
        Known::First { place: place(7), order_sequence },
        Known::First { place: place(0), order_sequence: None },
        Known::Revision { place: place(u64::MAX), order_sequence },
        Known::OpenConflict { at },
        Known::Rejected { at },
    ] {
        let entry = LedgerEntry::new(u128::MAX - 5, 77, known);
        assert_eq!((entry.hash(), entry.digest64(), entry.known()), (u128::MAX - 5, 77, known));
        let mut bytes = Vec::new();
        entry.encode(&mut bytes);
        let bytes: [u8; LedgerEntry::LEN] = bytes.try_into().unwrap();
        assert_eq!(LedgerEntry::decode(&bytes), Some(entry));
        for kind in 4..=u8::MAX {
            let mut unknown = bytes;
            unknown[44] = kind;
            assert_eq!(LedgerEntry::decode(&unknown), None);
        }
    }
}

/// What a table may cost beside its keys: a chunk, the shards, and their first few buckets.
const FIXED_BYTES: usize = 80 << 10;

#[test]
fn a_key_costs_at_most_64_bytes() {
    let mut ledger = Ledger::default();
    let mut worst = 0;
    for n in 1..=2_000_000_u64 {
        ledger.insert(first(xxh3_128(&n.to_le_bytes()), n));
        let len = ledger.len();
        if len >= 1_000 && (len.is_multiple_of(997) || len.is_power_of_two()) {
            let bytes = ledger.bytes();
            assert!(bytes <= 64 * len + FIXED_BYTES, "{len} keys take {bytes} bytes");
            worst = worst.max(bytes.saturating_sub(FIXED_BYTES) / len);
        }
    }
    assert!(worst >= 48, "the measure sees the entries");
}

#[test]
fn an_index_with_room_does_not_grow_and_costs_no_more() {
    let keys = 500_000_u64;
    let mut ledger = Ledger::default();
    ledger.reserve(500_000);
    let index_bytes = ledger.bytes();
    for n in 0..keys {
        ledger.insert(first(xxh3_128(&n.to_le_bytes()), n));
    }
    let entries_bytes = 49 * ledger.len();
    assert!(ledger.bytes() <= index_bytes + entries_bytes + FIXED_BYTES, "the index has grown");
    assert!(ledger.bytes() <= 64 * ledger.len() + FIXED_BYTES);
    assert!((0..keys).all(|n| ledger.get(xxh3_128(&n.to_le_bytes())).count() == 1));
}

#[test]
fn entries_come_in_the_order_in_which_they_were_added() {
    let mut heads = Heads::default();
    assert!(heads.is_empty());
    for n in 0..5_000_u64 {
        heads.insert(HeadEntry {
            hash: xxh3_128(&n.to_le_bytes()),
            last: OrderSequence::new(n),
            last_append_time: Timestamp::from_micros(1),
        });
    }
    let all: Vec<u64> = heads.entries().map(|head| head.last.get()).collect();
    assert_eq!(all, (0..5_000).collect::<Vec<_>>());
}

/// Many at a time are found as one by one: what is there, what is not, and what shares a place.
#[test]
fn a_pass_finds_what_a_look_up_finds() {
    let head = |hash, n| HeadEntry {
        hash,
        last: OrderSequence::new(n),
        last_append_time: Timestamp::from_micros(1),
    };
    let mut heads = Heads::default();
    let shared = (0..24).map(hash_of).filter(|hash| hash % 2 == 0);
    let known = (0..5_000_u64).map(|n| xxh3_128(&n.to_le_bytes())).chain(shared);
    for (n, hash) in (1..).zip(known) {
        heads.insert(head(hash, n));
    }
    let asked = (4_900..5_100_u64).rev().map(|n| xxh3_128(&n.to_le_bytes()));
    let asked: Vec<u128> = asked.chain((0..24).map(hash_of)).collect();
    let expected: Vec<Option<HeadEntry>> =
        asked.iter().map(|hash| heads.get(*hash).next().copied()).collect();
    assert!(expected.iter().any(Option::is_some) && expected.iter().any(Option::is_none));
    let mut firsts = Vec::new();
    heads.firsts(&asked, |head| firsts.push(head.copied()));
    assert_eq!(firsts, expected);
    let mut passed = Vec::new();
    heads.pass(&asked, &mut passed);
    let is_known = |index: &u32| expected[*index as usize].is_some();
    assert_eq!(passed, (0..224).filter(is_known).collect::<Vec<_>>());
}

#[derive(Debug, Clone)]
enum Step {
    Insert(u8, u64),
    Upsert(u8, u64),
}

fn step() -> impl Strategy<Value = Step> {
    let key = || (0..24_u8, 0..6_u64);
    prop_oneof![
        key().prop_map(|(key, digest)| Step::Insert(key, digest)),
        key().prop_map(|(key, digest)| Step::Upsert(key, digest)),
    ]
}

/// Keys share shards and places in them, and some differ in the middle bits only.
fn hash_of(key: u8) -> u128 {
    u128::from(key % 2) << 120 | u128::from(key / 2 % 3) << 70 | u128::from(key / 6)
}

proptest! {
    #[test]
    fn the_table_is_a_map_of_lists(steps in prop::collection::vec(step(), 0..400)) {
        let mut table = Ledger::default();
        let mut model: BTreeMap<(u128, u64), Vec<u64>> = BTreeMap::new();
        for (n, step) in (1_u64..).zip(steps) {
            let entry = |key, digest| {
                LedgerEntry::new(hash_of(key), digest, Known::First {
                    place: place(n),
                    order_sequence: None,
                })
            };
            let (key, digest) = match step {
                Step::Insert(key, digest) | Step::Upsert(key, digest) => (key, digest),
            };
            let rows = model.entry((hash_of(key), digest)).or_default();
            let same = |entry: &LedgerEntry| entry.digest64() == digest;
            match step {
                // One entry per content, as the caller keeps it.
                Step::Insert(..) if !rows.is_empty() => {}
                Step::Insert(key, digest) => {
                    table.insert(entry(key, digest));
                    rows.push(n);
                }
                Step::Upsert(key, digest) => {
                    let before = table.len();
                    let number = table.upsert(entry(key, digest), same);
                    prop_assert_eq!(table.len() > before, rows.pop().is_none());
                    prop_assert_eq!(table.entry(number).known(), entry(key, digest).known());
                    rows.push(n);
                }
            }
        }
        prop_assert_eq!(table.len(), model.values().map(Vec::len).sum::<usize>());
        for key in 0..24 {
            let mut found: Vec<(u64, Known)> =
                table.get(hash_of(key)).map(|entry| (entry.digest64(), entry.known())).collect();
            found.sort_by_key(|(digest, _)| *digest);
            let expected: Vec<(u64, Known)> = model
                .range((hash_of(key), 0)..=(hash_of(key), u64::MAX))
                .flat_map(|((_, digest), rows)| rows.iter().map(|n| {
                    (*digest, Known::First { place: place(*n), order_sequence: None })
                }))
                .collect();
            prop_assert_eq!(found, expected);
        }
    }
}
