//! A journal without faults: rolling, recycling, reading, starting again.

use super::*;
use crate::disk::{CountedDisk, RealDisk};

#[test]
fn everything_is_found_again_over_rolls_and_starts() {
    let disk = SimDisk::new();
    let mut journal = create(&disk, 1).unwrap();
    let id = journal.id();
    let mut written = Vec::new();
    for round in 0..4 {
        for n in 0..12 {
            let bytes = payload(round * 100 + n, 3000 + 700 * usize::try_from(n % 4).unwrap());
            written.push((append(&mut journal, &bytes).unwrap(), bytes));
        }
        let clean = round % 2 == 0;
        if clean {
            assert!(journal.needs_mark());
            mark(&mut journal).unwrap();
            assert!(!journal.needs_mark());
        }
        let (end, chain) = (journal.position(), journal.chain());
        drop(journal);
        let started = start(&disk, round + 2).unwrap();
        assert_eq!(started.entries, written);
        assert_eq!(started.report.copied_commits, u64::from(!clean), "round {round}");
        assert_eq!(started.report.cut, None);
        journal = started.journal;
        assert_eq!(journal.id(), id);
        assert_eq!(u64::from(journal.incarnation().get()), round + 2);
        // The mark behind copies stands where a mark of the run before would.
        let expected = if clean { end.get() - 4096 } else { end.get() + 4096 };
        assert_eq!(journal.position().get(), expected);
        assert!(clean || journal.chain() != chain);
    }
    assert!(
        verify(&arc(&disk), &BTreeMap::new()).unwrap().iter().all(|file| file.damage.is_none())
    );
    assert_eq!(scan(&disk).unwrap().1, written);
}

#[test]
fn an_unused_start_leaves_nothing() {
    let disk = SimDisk::new();
    drop(create(&disk, 1).unwrap());
    for seed in 2..6 {
        let started = start(&disk, seed).unwrap();
        assert_eq!(started.report.deleted.len(), 1);
        assert_eq!(started.journal.files().len(), 1);
    }
    assert!(matches!(create(&disk, 9), Err(StartError::Exists(_))));
    let journals = disk.list().unwrap().iter().filter(|(n, _)| n.starts_with("journal-")).count();
    assert_eq!(journals, 1);
}

#[test]
fn readers_see_durable_and_verified_bytes_only() {
    let disk = SimDisk::new();
    let mut journal = create(&disk, 1).unwrap();
    let reader = journal.reader();
    let at = journal.position();
    assert!(matches!(reader.read(at, 1), Err(ReadError::NotDurable { .. })));
    let mut commit = journal.begin();
    let entries: Vec<_> = (0..5).map(|n| payload(n, 2000)).collect();
    let offsets: Vec<_> = entries.iter().map(|bytes| commit.push(1, &[bytes])).collect();
    sync(&mut journal, commit).unwrap();
    for (bytes, offset) in entries.iter().zip(offsets).rev() {
        let position = at.plus(u64::from(offset));
        assert_eq!(&reader.clone().read(position, bytes.len()).unwrap(), bytes);
        assert_eq!(&reader.read(position.plus(5), 9).unwrap(), &bytes[5..14]);
    }
    let commit = reader.commit_at(at).unwrap();
    assert_eq!(commit.view().entries().count(), 5);
    assert_eq!((commit.view().position(), commit.view().end()), (at, journal.position()));
    assert!(matches!(reader.read(at, 1 << 20), Err(ReadError::OutOfCommit { .. })));

    let second = append(&mut journal, &payload(6, 100)).unwrap();
    let name = journal.files()[0].name.clone();
    disk.flip_bit(&name, (8192 + second.get() + 50) * 8);
    assert!(matches!(reader.read(second, 100), Err(ReadError::Corrupt { .. })));
    disk.flip_bit(&name, (8192 + second.get() + 50) * 8);
    assert_eq!(&reader.read(second, 100).unwrap(), &payload(6, 100));

    while journal.files().len() < 3 {
        append(&mut journal, &payload(7, 9000)).unwrap();
    }
    let start = journal.files()[2].start;
    assert!(matches!(journal.drop_file(start, Some(1)), Err(DropError::Current(_))));
    let dropped = journal.files()[0].start;
    assert!(journal.drop_file(dropped, None).unwrap().is_none());
    assert!(matches!(reader.read(second, 100), Err(ReadError::Gone { .. })));
    assert!(matches!(journal.drop_file(dropped, None), Err(DropError::NoFile(_))));
    assert_eq!(reader.oldest(), journal.files()[0].start);
}

#[test]
fn a_recycled_file_never_shows_its_old_content() {
    let disk = SimDisk::new();
    let mut journal = create(&disk, 1).unwrap();
    let mut written = Vec::new();
    let mut spare = None;
    for n in 0..60 {
        let bytes = payload(n, 1000 + usize::try_from(n % 7).unwrap() * 1500);
        let mut commit = journal.begin();
        let offset = commit.push(1, &[&bytes]);
        if journal.needs_roll(commit.padded_len()) {
            let next = spare.take();
            let next =
                next.unwrap_or_else(|| journal.spare_maker().make(options().file_bytes).unwrap());
            journal.roll(next, &snapshot(journal.position())).unwrap();
            let oldest = journal.files()[0].clone();
            written.retain(|&(position, _)| position >= oldest.end);
            spare = journal.drop_file(oldest.start, Some(1)).unwrap();
            assert!(spare.is_some());
        }
        written.push((journal.position().plus(u64::from(offset)), bytes));
        sync(&mut journal, commit).unwrap();
        for keep in [true, false] {
            let started = start(&disk.crash_image(&mut |_| keep), n).unwrap();
            assert_eq!(started.entries, written);
            assert_eq!(started.report.cut, None, "old content is not a tail");
        }
    }
    let made = journal.spare_maker().make(options().file_bytes).unwrap();
    let started = start(&disk, 99).unwrap().report;
    let adopted: Vec<&String> = started.spares.iter().map(|spare| &spare.name).collect();
    assert_eq!(adopted, [&made.name], "what another process recycled is not trusted");
    assert!(disk.inode(&spare.unwrap().name).is_none());
}

#[test]
fn a_real_directory() {
    let home = tempfile::tempdir().unwrap();
    let counted = CountedDisk::new(Arc::new(RealDisk::open(home.path()).unwrap()));
    let counters = counted.counters();
    let disk: Arc<dyn Disk> = Arc::new(counted);
    let mut dice = Dice::new(1);
    let sizes = JournalOptions { file_bytes: 4 << 20, ..JournalOptions::default() };
    let mut journal = Journal::create(Arc::clone(&disk), &sizes, &mut dice, b"zero").unwrap();
    let mut commit = journal.begin();
    commit.push(1, &[&vec![7; 900 << 10]]);
    let before = counters.syncs();
    sync(&mut journal, commit).unwrap();
    assert_eq!(counters.syncs() - before, 1, "one commit is one sync");
    let scan = Scan::open(Arc::clone(&disk)).unwrap();
    let mut lens = Vec::new();
    scan.replay(Position::ZERO, &mut |c| lens.extend(c.entries().map(|e| e.bytes.len()))).unwrap();
    assert_eq!(lens, [900 << 10]);
    let (journal, report) = scan.start(b"state", &sizes, &mut dice).unwrap();
    assert_eq!(report.copied_commits, 1);
    assert_eq!(journal.reader().read(Position::new(117), 900 << 10).unwrap().len(), 900 << 10);
    assert!(verify(&disk, &BTreeMap::new()).unwrap().iter().all(|file| file.damage.is_none()));
}
