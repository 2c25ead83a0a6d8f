use proptest::prelude::*;
use takt_protocol::{
    batch::Place,
    words::{Digest, Offset, PartitionChain, PartitionNumber},
};

use super::*;
use crate::{disk::sim::SimDisk, journal::JournalId};

const STAMP: Stamp = Stamp { journal: JournalId::new([3; 16]), end: Position::new(40_960) };

fn address(slot: u32, batch: u64, index: u16) -> MaskedAddress {
    let batch_number = BatchNumber::new(batch);
    MaskedAddress { slot: Slot::new(slot), batch_number, index }
}

fn row(address: MaskedAddress) -> ConflictRow {
    let batch = address.batch_number.get();
    ConflictRow {
        address,
        first: Place { partition: PartitionNumber::new(2), offset: Offset::new(batch + 5) },
        append_time: Timestamp::from_micros(-5),
        producer: "spiffe://takt/mes#7".to_owned(),
        source: "//mes/7".to_owned(),
        id: batch.to_string(),
        kind: String::new(),
        order_key: batch.is_multiple_of(2).then(|| "order 12".to_owned()),
        digest: Digest::from_u128(u128::from(batch) << 90),
    }
}

fn listing(file: u64) -> SealedFileListing {
    let summary = |slot: u32| SlotSummary {
        slot: Slot::new(slot),
        batches: 10,
        first_batch: BatchNumber::new(file * 10),
        end_batch: BatchNumber::new(file * 10 + 10),
        first_offset: Offset::new(file * 100),
        end_offset: Offset::new(file * 100 + 100),
        first_time: Timestamp::from_micros(i64::try_from(file * 1_000).unwrap()),
        last_time: Timestamp::from_micros(i64::try_from(file * 1_000 + 900).unwrap()),
        chain_before: PartitionChain::from_u128(1),
    };
    SealedFileListing {
        start: Position::new(file << 20),
        slots: (0..4).map(summary).collect(),
        conflicts: (0..6).map(|n| row(address(n % 2, file * 10 + u64::from(n), 9))).collect(),
    }
}

fn filled(disk: &SimDisk) -> Index {
    let index = Index::create(Arc::new(disk.clone())).unwrap();
    for file in 0..5 {
        index.ingest(&listing(file)).unwrap();
    }
    index
}

fn open(disk: &SimDisk) -> Option<Index> {
    Index::open_if_stamped(Arc::new(disk.clone()), &STAMP).unwrap()
}

fn check(index: &Index) {
    assert_eq!(index.conflict_count().unwrap(), 30);
    let all = index.conflicts(Slot::new(1), None, 100).unwrap();
    assert_eq!(all.len(), 15);
    assert!(all.iter().all(|found| *found == row(found.address)));
    assert!(all.is_sorted_by_key(|found| found.address));
    let page = index.conflicts(Slot::new(1), Some(&all[3].address), 2).unwrap();
    assert_eq!(page, all[4..6]);
    assert_eq!(index.conflict(&all[2].address).unwrap().as_ref(), Some(&all[2]));
    assert_eq!(index.conflict(&address(1, 1, 1)).unwrap(), None);
    let at = |time| {
        let found = index.file_at(Slot::new(3), Timestamp::from_micros(time)).unwrap();
        found.map(|(start, summary)| (start.get() >> 20, summary.first_batch.get()))
    };
    assert_eq!(
        [at(-1), at(0), at(2_500), at(9_999)],
        [None, Some((0, 0)), Some((2, 20)), Some((4, 40))]
    );
}

#[test]
fn a_listing_comes_back_and_goes_when_it_is_decided() {
    let index = filled(&SimDisk::new());
    check(&index);
    index.ingest(&listing(3)).unwrap();
    check(&index);
    let starts = |files: std::ops::Range<u64>| files.map(|n| Position::new(n << 20)).collect();
    assert_eq!(index.files().unwrap(), starts(0..5));
    index.resolve(&[address(1, 31, 9), address(1, 31, 8)]).unwrap();
    assert_eq!(index.conflict(&address(1, 31, 9)).unwrap(), None);
    assert_eq!(index.conflict_count().unwrap(), 29);
    index.drop_file(Position::ZERO).unwrap();
    assert_eq!(index.files().unwrap(), starts(1..5));
    let found = index.details(&[address(1, 33, 9), address(7, 7, 7)]).unwrap();
    assert_eq!(found, [Some(row(address(1, 33, 9))), None]);
    assert_eq!(index.file_at(Slot::new(3), Timestamp::from_micros(5)).unwrap(), None);
    assert_eq!(index.conflict_count().unwrap(), 29, "open conflicts outlive their file");
}

#[test]
fn it_is_used_only_from_a_clean_stop_to_the_next_start() {
    let disk = SimDisk::new();
    assert!(open(&disk).is_none());
    filled(&disk).close(&STAMP).unwrap();
    let other = Stamp { end: Position::new(8_192), ..STAMP };
    assert!(Index::open_if_stamped(Arc::new(disk.clone()), &other).unwrap().is_none());
    let other = Stamp { journal: JournalId::new([4; 16]), ..STAMP };
    assert!(Index::open_if_stamped(Arc::new(disk.clone()), &other).unwrap().is_none());

    let index = open(&disk).unwrap();
    check(&index);
    let crashed = disk.crash_image(&mut |_| false);
    assert!(open(&crashed).is_none(), "the stamp is gone before the first change");
    index.close(&STAMP).unwrap();
    let crashed = disk.crash_image(&mut |_| false);
    check(&open(&crashed).unwrap());
    drop(filled(&disk));
    assert!(open(&disk).is_none(), "no stamp without a clean stop");
}

#[test]
fn it_does_not_grow_with_the_files_that_came_and_went() {
    let disk = SimDisk::new();
    let index = Index::create(Arc::new(disk.clone())).unwrap();
    let len_after = |files: std::ops::Range<u64>| {
        for file in files {
            index.ingest(&SealedFileListing { conflicts: Vec::new(), ..listing(file) }).unwrap();
            index.drop_file(Position::new(file << 20)).unwrap();
        }
        disk.content(NAME).unwrap().len()
    };
    let first = len_after(0..200);
    assert_eq!(len_after(200..1_000), first);
}

#[test]
fn no_flipped_bit_of_a_stopped_index_passes() {
    let disk = SimDisk::new();
    filled(&disk).close(&STAMP).unwrap();
    for name in [NAME, "index.stamp"] {
        let bits = disk.content(name).unwrap().len() as u64 * 8;
        let step = (bits / 400).max(1) | 1;
        for bit in (0..bits).step_by(usize::try_from(step).unwrap()) {
            disk.flip_bit(name, bit);
            assert!(open(&disk).is_none(), "bit {bit} of {name}");
            disk.flip_bit(name, bit);
        }
    }
    disk.open(NAME, true).unwrap().set_len(100).unwrap();
    assert!(open(&disk).is_none());
    disk.remove(NAME).unwrap();
    assert!(open(&disk).is_none());
}

#[test]
fn rot_under_a_running_index_is_an_error() {
    let disk = SimDisk::new();
    let index = filled(&disk);
    // More than the cache holds, so that the listing has to read.
    let long = |n| ConflictRow { id: "k".repeat(1_000), ..row(address(1, n, 0)) };
    let conflicts = (100..8_100).map(long).collect();
    index.ingest(&SealedFileListing { conflicts, ..listing(9) }).unwrap();
    assert_eq!(index.conflicts(Slot::new(1), None, usize::MAX).unwrap().len(), 8_015);
    for page in 0..disk.content(NAME).unwrap().len() as u64 / 4_096 {
        disk.flip_bit(NAME, (page * 4_096 + 700) * 8);
    }
    let listed = index.conflicts(Slot::new(1), None, usize::MAX);
    assert!(matches!(listed, Err(IndexError::Redb(_))), "{} rows", listed.unwrap().len());
}

#[test]
fn each_failed_sync_or_write_is_an_error_or_nothing() {
    let counted = SimDisk::new();
    filled(&counted).close(&STAMP).unwrap();
    let run = |disk: &SimDisk| -> Result<(), IndexError> {
        let index = Index::create(Arc::new(disk.clone()))?;
        (0..5).try_for_each(|file| index.ingest(&listing(file)))?;
        index.close(&STAMP)
    };
    let check_after = |disk: &SimDisk| {
        let crashed = disk.crash_image(&mut |_| false);
        if let Some(index) = open(&crashed) {
            check(&index);
        }
    };
    for at in 0..counted.syncs() {
        let disk = SimDisk::new();
        disk.fail_sync_at(at);
        assert!(run(&disk).is_err(), "sync {at}");
        check_after(&disk);
    }
    for at in 0..counted.writes() {
        let disk = SimDisk::new();
        disk.fail_write_at(at);
        assert!(run(&disk).is_err(), "write {at}");
        check_after(&disk);
    }
}

#[derive(Debug, Clone)]
enum Step {
    Write(u64, usize, u8),
    Read(u64, usize),
    SetLen(u64),
}

proptest! {
    #[test]
    fn pages_are_a_file(steps in prop::collection::vec(prop_oneof![
        3 => (0..20_000_u64, 0..9_000_usize, any::<u8>()).prop_map(|(at, len, fill)| Step::Write(at, len, fill)),
        3 => (0..20_000_u64, 0..9_000_usize).prop_map(|(at, len)| Step::Read(at, len)),
        2 => (0..24_000_u64).prop_map(Step::SetLen),
    ], 0..40)) {
        let disk = SimDisk::new();
        let backend = Backend::new(Arc::new(Pages::open(disk.create("f").unwrap()).unwrap()));
        let backend: &dyn redb::StorageBackend = &backend;
        let mut model: Vec<u8> = Vec::new();
        for step in steps {
            match step {
                Step::Write(at, len, fill) => {
                    let range = usize::try_from(at).unwrap()..usize::try_from(at).unwrap() + len;
                    let written = backend.write(at, &vec![fill; len]);
                    prop_assert_eq!(written.is_ok(), range.end <= model.len());
                    if written.is_ok() {
                        model[range].fill(fill);
                    }
                }
                Step::Read(at, len) => {
                    let range = usize::try_from(at).unwrap()..usize::try_from(at).unwrap() + len;
                    let mut out = vec![0; len];
                    let read = backend.read(at, &mut out);
                    prop_assert_eq!(read.is_ok(), range.end <= model.len());
                    if read.is_ok() {
                        prop_assert_eq!(&out[..], &model[range]);
                    }
                }
                Step::SetLen(len) => {
                    backend.set_len(len).unwrap();
                    model.resize(usize::try_from(len).unwrap(), 0);
                }
            }
            prop_assert_eq!(backend.len().unwrap(), model.len() as u64);
        }
        let again = Pages::open(disk.open("f", false).unwrap()).unwrap();
        let pages = Pages::open(disk.open("f", false).unwrap()).unwrap();
        prop_assert_eq!(again.checksum(), pages.checksum());
    }
}
