//! Power cuts and failing calls at every step of a scripted run (D1 to D6).

use super::*;
use crate::disk::sim::{Call, Fault};

/// What the run knows when it dies.
#[derive(Default)]
struct History {
    submitted: Vec<Vec<u8>>,
    acknowledged: usize,
}

/// Creates, appends over two rolls, recycles, marks, starts again, goes on.
fn run(disk: &SimDisk, history: &mut History) -> Result<(), Died> {
    let mut journal = create(disk, 1)?;
    for n in 0..14 {
        if n == 10 {
            mark(&mut journal)?;
            drop(journal);
            journal = start(disk, 50)?.journal;
        }
        let bytes = payload(n, 200 + usize::try_from(n % 4).unwrap() * 3300);
        history.submitted.push(bytes.clone());
        append(&mut journal, &bytes)?;
        history.acknowledged += 1;
    }
    mark(&mut journal)
}

/// I1 and I4: what was acknowledged is there, in order, and nothing that was not submitted.
fn check(history: &History, entries: &[(Position, Vec<u8>)], case: &str) {
    assert!(entries.len() >= history.acknowledged, "{case}: an acknowledged entry is lost");
    assert!(entries.len() <= history.submitted.len(), "{case}: more than was submitted");
    for ((_, found), submitted) in entries.iter().zip(&history.submitted) {
        assert!(found == submitted, "{case}: another entry than was submitted");
    }
}

/// Starts on a disk that may hold no journal yet.
fn recover(disk: &SimDisk, history: &History, case: &str) -> Written {
    match start(disk, 77) {
        Ok(started) => {
            check(history, &started.entries, case);
            started.entries
        }
        Err(error) => {
            let none = matches!(error.downcast_ref(), Some(ScanError::NoJournal));
            assert!(none && history.acknowledged == 0, "{case}: {error}");
            create(disk, 78).expect("what a crash left does not stand in the way");
            Vec::new()
        }
    }
}

#[test]
fn a_power_cut_at_every_step_with_any_subset() {
    let whole = SimDisk::new();
    run(&whole, &mut History::default()).unwrap();
    let (mut images, mut lossy) = (0, 0);
    for step in 0..whole.operations() {
        let disk = SimDisk::new();
        disk.cut_power_at(step);
        let mut history = History::default();
        assert!(run(&disk, &mut history).is_err());
        for seed in 0..6 {
            let case = format!("step {step} seed {seed}");
            let mut dice = Dice::new(step * 100 + seed);
            let image = disk.crash_image(&mut |_| match seed {
                0 => false,
                1 => true,
                _ => dice.roll().is_multiple_of(2),
            });
            images += 1;
            let again = image.crash_image(&mut |_| true);
            let entries = recover(&image, &history, &case);
            lossy += u32::from(entries.len() < history.submitted.len());
            assert_eq!(scan(&image).unwrap().1, entries, "{case}: twice is once");
            if seed > 2 {
                continue;
            }
            // A crash at every step of that recovery ends in the same.
            let first = again.operations();
            let taken = image.operations() - first;
            for inner in 0..taken {
                let image = again.crash_image(&mut |_| true);
                image.cut_power_at(first + inner);
                let _ = start(&image, 77).err().map(|_| create(&image, 78).is_ok());
                image.crash(&mut |_| dice.roll().is_multiple_of(2));
                let case = format!("{case} inner {inner}");
                assert_eq!(recover(&image, &history, &case), entries, "{case}");
                images += 1;
            }
        }
    }
    assert!(images > 1000 && lossy > 50, "the test must bite: {images} images, {lossy} lossy");
}

#[test]
fn a_failed_sync_or_write_stops_the_journal_and_loses_nothing() {
    let whole = SimDisk::new();
    run(&whole, &mut History::default()).unwrap();
    let faults = (0..whole.syncs()).map(|n| (n, true));
    for (at, sync) in faults.chain((0..whole.writes()).map(|n| (n, false))) {
        let case = format!("call {at} sync {sync}");
        let disk = SimDisk::new();
        if sync {
            disk.fail_sync_at(at);
        } else {
            disk.fail_write_at(at);
        }
        let mut history = History::default();
        // The copy of a cut tail may fail without harm; nothing else may.
        assert!(run(&disk, &mut history).is_err(), "{case}");
        // The process starts again: the page cache shows what the disk does not have.
        let entries = recover(&disk, &history, &case);
        disk.crash(&mut |_| false);
        assert_eq!(scan(&disk).unwrap().1, entries, "{case}: what was served is on disk");
    }
}

/// The start itself fails at every call, twice, with the page cache lying in between.
#[test]
fn a_failed_start_can_be_tried_again_and_loses_nothing() {
    let disk = SimDisk::new();
    let mut journal = create(&disk, 1).unwrap();
    let mut written = Written::new();
    for n in 0..3 {
        let bytes = payload(n, 5000);
        written.push((append(&mut journal, &bytes).unwrap(), bytes));
    }
    drop(journal);
    let fail = |disk: &SimDisk, at: u64, seed: u64| {
        let (syncs, writes) = (disk.syncs(), disk.writes());
        if at.is_multiple_of(2) {
            disk.fail_sync_at(syncs + at / 2);
        } else {
            disk.fail_write_at(writes + at / 2);
        }
        let started = start(disk, seed);
        let fails = started.is_err();
        if let Ok(started) = started {
            assert_eq!(started.entries, written);
        }
        disk.fail_sync_at(u64::MAX);
        disk.fail_write_at(u64::MAX);
        u32::from(fails)
    };
    let mut failed = 0;
    for first in 0..16 {
        for second in 0..16 {
            let disk = disk.crash_image(&mut |_| true);
            failed += fail(&disk, first, 5) + fail(&disk, second, 6);
            let mut started = start(&disk, 7).unwrap();
            assert_eq!(started.entries, written);
            let bytes = payload(9, 100);
            let position = append(&mut started.journal, &bytes).unwrap();
            disk.crash(&mut |_| false);
            let (scan, mut entries) = scan(&disk).unwrap();
            assert_eq!(entries.pop(), Some((position, bytes)));
            assert_eq!(entries, written, "{first} {second}");
            assert!(scan.synced_upto() >= entries.last().unwrap().0);
        }
    }
    assert!(failed > 100, "{failed} starts failed");
}

/// The page cache shows the new name, the disk has the old one: the next start must not take the
/// file for a spare, since what it writes there would come back under the old name.
#[test]
fn a_recycled_file_that_may_have_its_old_name_is_not_written_again() {
    let disk = SimDisk::new();
    let mut journal = create(&disk, 1).unwrap();
    let mut n = 0;
    while journal.files().len() < 3 {
        append(&mut journal, &payload(n, 3000)).unwrap();
        n += 1;
    }
    let oldest = journal.files()[0].clone();
    disk.fail_call_at(Call::SyncDir, disk.calls(Call::SyncDir), Fault::Error);
    journal.drop_file(oldest.start, Some(1)).unwrap_err();
    drop(journal);

    let Started { mut journal, report, .. } = start(&disk, 2).unwrap();
    for spare in report.spares {
        append(&mut journal, &payload(n, 3000)).unwrap();
        journal.roll(spare, &snapshot(journal.position())).unwrap();
    }
    append(&mut journal, &payload(n, 3000)).unwrap();
    let crashed = disk.crash_image(&mut |_| false);
    assert!(crashed.inode(&oldest.name).is_some(), "the old name is back");
    start(&crashed, 3).unwrap();
}

#[test]
fn a_poisoned_journal_takes_nothing() {
    let disk = SimDisk::new();
    let mut journal = create(&disk, 1).unwrap();
    append(&mut journal, &payload(1, 100)).unwrap();
    let durable = journal.durable();
    disk.fail_sync_at(disk.syncs());
    let sealed = journal.mark().unwrap();
    assert!(matches!(sealed.write_and_sync(), Err(CommitError::Sync { .. })));
    let syncs = disk.syncs();
    assert!(matches!(sealed.sync(), Err(CommitError::Poisoned)));
    assert!(matches!(journal.mark(), Err(SealError::Poisoned)));
    let spare = journal.spare_maker().make(options().file_bytes).unwrap();
    assert!(matches!(journal.roll(spare, b""), Err(RollError::Poisoned)));
    assert_eq!(journal.durable(), durable);
    assert_eq!(disk.syncs(), syncs + 2, "only the spare's");
}

#[test]
fn a_full_disk_starts_from_the_reserve_and_says_what_it_needs() {
    let disk = SimDisk::new();
    let mut journal = create(&disk, 1).unwrap();
    let mut written = Vec::new();
    for n in 0..4 {
        let bytes = payload(n, 5000);
        written.push((append(&mut journal, &bytes).unwrap(), bytes));
    }
    assert_eq!(journal.reserve_left(), 2);
    drop(journal);
    let used: u64 = disk.list().unwrap().iter().map(|(_, len)| len).sum();
    disk.set_capacity(Some(used));
    for left in [1, 0] {
        let mut started = start(&disk, 5).unwrap();
        assert!(started.report.used_reserve);
        assert_eq!(started.entries, written);
        assert_eq!(started.journal.reserve_left(), left);
        assert_eq!(started.journal.reserve_missing().len(), 2 - left);
        let bytes = payload(9, 60);
        written.push((append(&mut started.journal, &bytes).unwrap(), bytes));
    }
    let full = start(&disk, 6).err().unwrap();
    let Some(StartError::DiskFull { to_free_bytes }) = full.downcast_ref() else {
        panic!("not full: {full}");
    };
    disk.set_capacity(Some(used + to_free_bytes));
    let mut started = start(&disk, 7).unwrap();
    assert!(!started.report.used_reserve);
    assert_eq!(started.entries, written);

    disk.set_capacity(None);
    for chunk in started.journal.reserve_missing() {
        let maker = started.journal.spare_maker();
        let made = maker.begin_reserve(chunk, options().reserve_chunk_bytes).unwrap();
        started.journal.add_reserve(&made.finish().unwrap());
    }
    assert!(started.journal.take_reserve(2).unwrap().is_none());
    let spare = started.journal.take_reserve(1).unwrap().unwrap();
    append(&mut started.journal, &payload(10, 60)).unwrap();
    started.journal.roll(spare, &snapshot(started.journal.position())).unwrap();
    append(&mut started.journal, &payload(11, 60)).unwrap();
    assert_eq!(start(&disk, 8).unwrap().entries.len(), written.len() + 2);
}
