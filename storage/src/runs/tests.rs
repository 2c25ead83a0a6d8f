use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;
use takt_protocol::{
    batch::Place,
    varint::Cursor,
    words::{BatchNumber, Offset, OrderSequence, PartitionChain, PartitionNumber, Timestamp},
};
use xxhash_rust::xxh3::xxh3_128;

use super::*;
use crate::{
    disk::{Disk, sim::SimDisk},
    journal::{Incarnation, JournalId, Position},
    ledger::{HeadEntry, Known, LedgerEntry},
};

const JOURNAL: JournalId = JournalId::new([7; 16]);

/// A file with `batches` of 0 to 2 visible records over `slots` partitions, and `keys` keys.
fn input(batches: u64, slots: u32, keys: u64) -> RunInput {
    let mut input = RunInput {
        journal: JOURNAL,
        start: Position::new(4_096),
        end: Position::new(1 << 30),
        incarnation: Incarnation::new(5),
        ledger: Vec::new(),
        heads: Vec::new(),
        new_orders: 9,
        extents: Vec::new(),
        chains: BTreeMap::new(),
        orders: Vec::new(),
        conflicts: Vec::new(),
    };
    let mut ends = vec![10; slots as usize];
    for n in 0..batches {
        let slot = u32::try_from(n * n % u64::from(slots)).unwrap();
        let end = &mut ends[slot as usize];
        let visible = n % 3;
        let slot = Slot::new(slot);
        let chain = PartitionChain::from_u128(u128::from(slot.get()) + 1);
        input.chains.entry(slot).or_insert(chain);
        input.extents.push(Extent {
            slot,
            batch_number: BatchNumber::new(n),
            base_offset: Offset::new(*end),
            end_offset: Offset::new(*end + visible),
            append_time: Timestamp::from_micros(i64::try_from(n / 2 * 10).unwrap()),
            position: Position::new(4_096 + 100 * n),
            len_bytes: 90,
        });
        for offset in *end..*end + visible {
            let hash = xxh3_128(&(offset % 5).to_le_bytes());
            input.orders.push(OrderRow { hash, slot, offset: Offset::new(offset) });
        }
        *end += visible;
        if n % 7 == 0 {
            input.conflicts.push(MaskedAddress {
                slot,
                batch_number: BatchNumber::new(n),
                index: 3,
            });
        }
    }
    for n in 0..keys {
        let hash = xxh3_128(&n.to_le_bytes());
        let offset = Offset::new(n);
        let place = Place { partition: PartitionNumber::new(0), offset };
        let known = Known::First { place, order_sequence: Some(OrderSequence::new(n + 1)) };
        input.ledger.push(LedgerEntry::new(hash, n, known));
        input.heads.push(HeadEntry {
            hash,
            last: OrderSequence::new(n + 1),
            last_append_time: Timestamp::from_micros(-1),
        });
    }
    input
}

fn write(input: &RunInput) -> (SimDisk, RunInfo) {
    let disk = SimDisk::new();
    let info = RunWriter::write(&disk, &mut input.clone()).unwrap();
    (disk, info)
}

fn keys_of(disk: &SimDisk, info: &RunInfo) -> Arc<KeyRun> {
    Arc::new(KeyRun::open(disk, JOURNAL, info).unwrap())
}

fn rows<R: Row + crate::ledger::Entry>(mut cursor: keys::KeyCursor<R>) -> Vec<R> {
    std::iter::from_fn(|| cursor.next().unwrap()).collect()
}

fn contents(keys: &KeyRun, hash: u128) -> Vec<LedgerEntry> {
    let mut hits = Vec::new();
    keys.pass(&[hash], &mut hits);
    let mut found = Vec::new();
    for _ in hits {
        keys.contents(hash, |entry| found.push(entry)).unwrap();
    }
    found
}

#[test]
fn every_probe_equals_the_scan() {
    let input = input(9_000, 4, 7_000);
    let (disk, info) = write(&input);
    let run = RunReader::open(&disk, JOURNAL, &info).unwrap();
    run.verify().unwrap();
    assert!(info.counts.extents > 3 * 1_365 && info.counts.orders > 3 * 2_340, "many blocks");

    let mut ledger = input.ledger.clone();
    ledger.sort_by_key(LedgerEntry::hash);
    let keys = keys_of(&disk, &info);
    keys.verify().unwrap();
    assert_eq!(rows(keys.entries()), ledger);
    assert!(rows(keys.heads()).is_sorted_by_key(|head| head.hash));
    assert_eq!((rows(keys.heads()).len(), keys.new_orders()), (7_000, 9));
    for (entry, head) in input.ledger.iter().zip(&input.heads) {
        assert_eq!(contents(&keys, entry.hash()), [*entry]);
        assert_eq!(keys.head(head.hash).unwrap(), Some(*head));
    }
    let others: Vec<u128> = (7_000..9_000_u64).map(|n| xxh3_128(&n.to_le_bytes())).collect();
    assert!(others.iter().all(|hash| contents(&keys, *hash).is_empty()));
    assert!(others.iter().all(|hash| keys.head(*hash).unwrap().is_none()));
    let mut conflicts = input.conflicts.clone();
    conflicts.sort();
    assert_eq!(run.conflicts().map(Result::unwrap).collect::<Vec<_>>(), conflicts);

    let extents: Vec<Extent> = run.extents().map(Result::unwrap).collect();
    assert_eq!(extents.len(), 9_000);
    for slot in (0..6).map(Slot::new) {
        let of: Vec<Extent> = extents.iter().filter(|e| e.slot == slot).copied().collect();
        assert_eq!(run.first_extent(slot).unwrap(), of.first().copied());
        assert_eq!(run.last_extent(slot).unwrap(), of.last().copied());
        assert_eq!(
            run.slot(slot).map(|s| s.batches as usize),
            (!of.is_empty()).then_some(of.len())
        );
        for offset in (0..9_010).step_by(13).chain([u64::MAX]).map(Offset::new) {
            let scan = of.iter().rev().find(|e| e.base_offset <= offset);
            assert_eq!(run.extent_at_or_before(slot, offset).unwrap(), scan.copied());
        }
        for batch in (0..9_010).step_by(17).chain([u64::MAX]).map(BatchNumber::new) {
            let scan = of.iter().find(|e| e.batch_number == batch);
            assert_eq!(run.extent_by_batch(slot, batch).unwrap(), scan.copied());
            let scan = of.iter().filter(|e| e.batch_number >= batch).take(40).copied();
            assert_eq!(run.extents_from(slot, batch, 40).unwrap(), scan.collect::<Vec<_>>());
        }
        for time in (-10..45_010).step_by(95).map(Timestamp::from_micros) {
            let scan = of.iter().find(|e| e.append_time >= time);
            assert_eq!(run.extent_by_time(slot, time).unwrap(), scan.copied());
        }
        assert_eq!(run.extents_from(slot, BatchNumber::new(0), usize::MAX).unwrap(), of);
        for key in 0..6_u64 {
            let hash = xxh3_128(&key.to_le_bytes());
            let of = |row: &&OrderRow| row.hash == hash && row.slot == slot;
            for after in [None, Some(0), Some(10), Some(11), Some(2_000), Some(u64::MAX)] {
                let after = after.map(Offset::new);
                for max in [0, 1, 3, usize::MAX] {
                    let scan = input.orders.iter().filter(of).map(|row| row.offset);
                    let scan = scan.filter(|offset| after.is_none_or(|after| after < *offset));
                    let found = run.order(hash, slot, after, max).unwrap();
                    assert_eq!(found, scan.take(max).collect::<Vec<_>>());
                }
            }
        }
    }
}

#[test]
fn an_empty_run_answers_nothing() {
    let (disk, info) = write(&input(0, 1, 0));
    let run = RunReader::open(&disk, JOURNAL, &info).unwrap();
    run.verify().unwrap();
    let slot = Slot::new(0);
    assert_eq!(run.slots().count(), 0);
    let keys = keys_of(&disk, &info);
    keys.verify().unwrap();
    assert!(contents(&keys, 7).is_empty() && keys.head(7).unwrap().is_none());
    assert_eq!(run.last_extent(slot).unwrap(), None);
    assert_eq!(run.extent_by_batch(slot, BatchNumber::new(0)).unwrap(), None);
    assert!(run.order(1, slot, None, 9).unwrap().is_empty());
}

#[test]
fn each_flipped_bit_is_found() {
    let (disk, info) = write(&input(9, 2, 4));
    let name = info.name();
    let bits = disk.content(&name).unwrap().len() as u64 * 8;
    for bit in 0..bits {
        disk.flip_bit(&name, bit);
        let verified = verify(&disk, &info);
        let version = 8 * 8..10 * 8;
        assert!(
            match &verified {
                Err(RunError::Corrupt { .. }) => true,
                Err(RunError::Version { .. }) => version.contains(&bit),
                Ok(()) | Err(RunError::Missing { .. } | RunError::Io { .. }) => false,
            },
            "bit {bit}: {verified:?}"
        );
        disk.flip_bit(&name, bit);
    }
    verify(&disk, &info).unwrap();
}

fn verify(disk: &SimDisk, info: &RunInfo) -> Result<(), RunError> {
    RunReader::open(disk, JOURNAL, info)?.verify()?;
    Arc::new(KeyRun::open(disk, JOURNAL, info)?).verify()
}

#[test]
fn a_block_that_rots_is_not_served() {
    let (disk, info) = write(&input(9_000, 4, 0));
    let run = RunReader::open(&disk, JOURNAL, &info).unwrap();
    disk.flip_bit(&info.name(), (168 + 48 * 2_000) * 8);
    let all: Vec<_> = run.extents().collect();
    assert_eq!(all.iter().filter(|extent| extent.is_err()).count(), 1);
    assert!(all.last().unwrap().is_err(), "a stream ends behind an error");
    assert!(run.first_extent(Slot::new(0)).is_ok(), "other blocks answer");
    assert!(run.verify().is_err());
}

#[test]
fn another_length_or_file_is_refused() {
    let (disk, info) = write(&input(9, 2, 4));
    let name = info.name();
    let bytes = disk.content(&name).unwrap();
    for len in (0..bytes.len() as u64 + 2).filter(|len| *len != bytes.len() as u64) {
        disk.open(&name, true).unwrap().set_len(len).unwrap();
        let opened = RunReader::open(&disk, JOURNAL, &info);
        assert!(matches!(opened, Err(RunError::Corrupt { .. })), "length {len}");
        disk.open(&name, true).unwrap().set_len(0).unwrap();
        disk.open(&name, true).unwrap().write_at(0, &bytes).unwrap();
    }
    let other = RunReader::open(&disk, JournalId::new([8; 16]), &info);
    assert!(matches!(other, Err(RunError::Corrupt { .. })));
    let other = RunInfo { checksum: info.checksum + 1, ..info };
    assert!(matches!(RunReader::open(&disk, JOURNAL, &other), Err(RunError::Corrupt { .. })));
    disk.remove(&name).unwrap();
    assert!(matches!(RunReader::open(&disk, JOURNAL, &info), Err(RunError::Missing { .. })));
}

#[test]
fn a_run_has_its_name_only_when_it_is_durable() {
    let whole = input(40, 2, 10);
    let clean = SimDisk::new();
    let info = RunWriter::write(&clean, &mut whole.clone()).unwrap();
    for cut in 0..clean.operations() {
        let disk = SimDisk::new();
        disk.cut_power_at(cut);
        assert!(RunWriter::write(&disk, &mut whole.clone()).is_err());
        for seed in 0..16_u64 {
            let image =
                disk.crash_image(&mut |n| xxh3_128(format!("{seed} {n}").as_bytes()) & 1 == 0);
            match RunReader::open(&image, JOURNAL, &info) {
                Ok(run) => run.verify().unwrap(),
                Err(RunError::Missing { .. }) => {}
                Err(error) => panic!("cut at {cut}: {error}"),
            }
            assert_eq!(RunWriter::write(&image, &mut whole.clone()).unwrap(), info);
            RunReader::open(&image, JOURNAL, &info).unwrap().verify().unwrap();
        }
    }
}

#[test]
fn a_full_disk_leaves_nothing() {
    let disk = SimDisk::new();
    disk.set_capacity(Some(500));
    let error = RunWriter::write(&disk, &mut input(40, 2, 10)).unwrap_err();
    assert!(crate::disk::is_full(&error.error));
    assert!(disk.list().unwrap().is_empty());
}

#[test]
fn the_last_of_two_for_one_key_counts() {
    let mut twice = input(0, 1, 3);
    let (entry, head) = (twice.ledger[1], twice.heads[1]);
    let known = Known::Revision {
        place: Place { partition: PartitionNumber::new(0), offset: Offset::new(9) },
        order_sequence: None,
    };
    let later = Known::Revision {
        place: Place { partition: PartitionNumber::new(0), offset: Offset::new(10) },
        order_sequence: None,
    };
    twice.ledger.push(LedgerEntry::new(entry.hash(), entry.digest64(), known));
    twice.ledger.push(LedgerEntry::new(entry.hash(), entry.digest64(), later));
    twice.ledger.push(LedgerEntry::new(entry.hash(), entry.digest64() + 1, known));
    twice.heads.push(HeadEntry { last: OrderSequence::new(99), ..head });
    let (disk, info) = write(&twice);
    assert_eq!((info.counts.ledger, info.counts.heads), (5, 3));
    let run = keys_of(&disk, &info);
    let found = contents(&run, entry.hash());
    // Of another kind, the first stays.
    assert_eq!(
        found.iter().map(LedgerEntry::known).collect::<Vec<_>>(),
        [entry.known(), later, known]
    );
    let found = run.head(head.hash).unwrap();
    assert_eq!(found.unwrap().last, OrderSequence::new(99));
}

#[test]
fn golden_bytes() {
    let (disk, info) = write(&input(3, 2, 1));
    let bytes = disk.content(&info.name()).unwrap();
    assert_eq!(info.name(), "run-0000000000001000-00000005.run");
    assert_eq!(RunInfo::parse_name(&info.name()), Some((info.start, info.incarnation)));
    assert_eq!(RunInfo::parse_name("run-+000000000001000-00000005.run"), None);
    let lens = 168 + (48 + 32 + 3 * 48 + 3 * 28 + 14 + 2 * 72) + (56 + 40 + 56 + 36 + 22 + 80);
    let filters = 2 * (8 + 16 + 2 * 12);
    assert_eq!(bytes.len(), lens + filters);
    assert_eq!(&bytes[..8], b"TAKTRUN\n");
    assert_eq!(bytes[8..16], [2, 0, 0, 0, 5, 0, 0, 0]);
    assert_eq!(bytes[16..32], JOURNAL.bytes());
    assert_eq!(bytes[32..40], 4_096_u64.to_le_bytes());
    assert_eq!(bytes[152..168], info.checksum.to_le_bytes());
    let words: Vec<u64> = bytes[168 + 48 + 32..][..48]
        .chunks_exact(8)
        .map(|word| u64::from_le_bytes(word.try_into().unwrap()))
        .collect();
    assert_eq!(words, [90 << 32, 0, 10, 10, 0, 4_096], "the first extent");
    assert_eq!(xxh3_128(&bytes), GOLDEN, "the format changed: raise its version");

    let mut encoded = Vec::new();
    info.encode(&mut encoded);
    assert_eq!(encoded.len(), RunInfo::LEN);
    assert_eq!(xxh3_128(&encoded), GOLDEN_INFO, "the format changed: raise its version");
    let mut cursor = Cursor::new(&encoded);
    assert_eq!(RunInfo::decode(&mut cursor).unwrap(), info);
    assert!(RunInfo::decode(&mut Cursor::new(&encoded[..RunInfo::LEN - 1])).is_err());
}

const GOLDEN: u128 = 332_910_061_426_427_432_014_299_063_582_057_197_025;
const GOLDEN_INFO: u128 = 193_844_381_522_792_630_922_001_099_144_658_522_748;

proptest! {
    #[test]
    fn the_same_input_in_any_order_gives_the_same_bytes(
        batches in 0..60_u64,
        slots in 1..5_u32,
        keys in 0..50_u64,
        turn in 0..100_usize,
    ) {
        let mut turned = input(batches, slots, keys);
        let (disk, info) = write(&turned);
        let rotate = |len: usize| if len == 0 { 0 } else { turn % len };
        let at = rotate(turned.ledger.len());
        turned.ledger.rotate_left(at);
        turned.heads.reverse();
        turned.orders.reverse();
        let at = rotate(turned.extents.len());
        turned.extents.rotate_left(at);
        let (again, same) = write(&turned);
        prop_assert_eq!(info, same);
        prop_assert_eq!(disk.content(&info.name()), again.content(&info.name()));
        let run = RunReader::open(&disk, JOURNAL, &info);
        prop_assert!(run.and_then(|run| run.verify()).is_ok());
    }
}
