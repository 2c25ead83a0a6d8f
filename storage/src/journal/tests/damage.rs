//! Rot, torn tails and misplaced files (D7, D9 to D11).

use super::*;
use crate::journal::layout::{BLOCK, COMMIT_HEADER};

/// Two files and a clean end; the last commit is a mark.
fn world() -> (SimDisk, Written, Vec<FileInfo>) {
    let disk = SimDisk::new();
    let mut journal = create(&disk, 1).unwrap();
    let mut written = Vec::new();
    for n in 0..8 {
        let bytes = payload(n, 200 + usize::try_from(n % 4).unwrap() * 3000);
        written.push((append(&mut journal, &bytes).unwrap(), bytes));
    }
    mark(&mut journal).unwrap();
    let files = journal.files();
    assert_eq!(files.len(), 2);
    (disk, written, files)
}

fn preamble_len() -> u64 {
    2 * BLOCK as u64
}

fn found(disk: &SimDisk) -> bool {
    let read = scan(disk).is_err();
    let verified = verify(&arc(disk), &BTreeMap::new())
        .map_or(true, |files| files.iter().any(|f| f.damage.is_some()));
    assert!(verified || !read, "verify finds what a start does");
    verified
}

fn replace(disk: &SimDisk, name: &str, bytes: &[u8]) {
    let file = disk.open(name, true).unwrap();
    file.set_len(bytes.len() as u64).unwrap();
    file.write_at(0, bytes).unwrap();
    file.sync_all().unwrap();
}

#[test]
fn a_flipped_bit_below_durable_is_found_and_never_cut() {
    let (disk, _, files) = world();
    let mark = BLOCK as u64;
    for file in &files {
        let durable = if file == &files[1] { file.end.get() - mark } else { file.end.get() };
        let bytes = preamble_len() + durable - file.start.get();
        let (mut rot, mut other) = (0, 0);
        // All bits of what counts most, one of each other byte (all bits: `every_bit_is_checked`).
        for bit in (0..bytes * 8).filter(|bit| bit % (BLOCK as u64 * 8) < 160 * 8 || bit % 9 == 0) {
            disk.flip_bit(&file.name, bit);
            if bit >= preamble_len() * 8 {
                let error = *scan(&disk).err().unwrap().downcast().unwrap();
                let ReplayError::Rot(at) = error else { panic!("bit {bit}: {error}") };
                assert_eq!(at.file, file.name);
                assert!(at.offset <= bit / 8 && at.position < at.durable);
                rot += 1;
            } else {
                other += 1;
            }
            if bit % 63 == 0 || bit < preamble_len() * 8 {
                assert!(found(&disk), "bit {bit}");
            }
            disk.flip_bit(&file.name, bit);
        }
        assert!(rot > 1000 && other > 1000);
    }
    let scan = Scan::open(arc(&disk)).unwrap();
    assert_eq!(scan.synced_upto(), scan.end());
}

#[test]
fn rot_refuses_the_start() {
    let (disk, _, files) = world();
    disk.flip_bit(&files[1].name, (preamble_len() + 500) * 8);
    let scan = Scan::open(arc(&disk)).unwrap();
    let before = disk.list().unwrap();
    let refused = scan.start(b"", &options(), &mut Dice::new(3));
    assert!(matches!(refused, Err(StartError::Rot(_))));
    assert_eq!(disk.list().unwrap(), before);
}

/// The last commit has no witness: without its mark it is tail, torn or whole.
#[test]
fn a_torn_tail_is_cut_and_kept() {
    for damage in 0..(3 * BLOCK / 512) {
        let disk = SimDisk::new();
        let mut journal = create(&disk, 1).unwrap();
        let first = append(&mut journal, &payload(1, 300)).unwrap();
        let at = journal.position();
        append(&mut journal, &payload(2, 9000)).unwrap();
        let name = journal.files()[0].name.clone();
        drop(journal);
        let mut bytes = disk.content(&name).unwrap();
        let offset = usize::try_from(preamble_len() + at.get()).unwrap();
        let sector = &mut bytes[offset + damage * 512..][..512];
        let torn = sector.iter().any(|&byte| byte != 0);
        sector.fill(0);
        replace(&disk, &name, &bytes);
        let started = start(&disk, 2).unwrap();
        if !torn {
            assert!(started.entries.len() == 2 && damage * 512 > 9100, "only padding");
            continue;
        }
        assert_eq!(started.entries, [(first, payload(1, 300))]);
        let cut = started.report.cut.unwrap();
        assert_eq!(cut.position, at);
        let kept = disk.content(&cut.kept_in.unwrap()).unwrap();
        assert_eq!(kept.len() as u64, cut.len_bytes);
        assert_eq!(kept, bytes[offset..][..kept.len()]);
        assert!(bytes[offset + kept.len()..].iter().all(|&byte| byte == 0));
        assert_eq!(scan(&disk).unwrap().1, [(first, payload(1, 300))]);
    }
}

#[test]
fn garbage_behind_the_end_is_cut() {
    let (disk, written, files) = world();
    let good = disk.content(&files[1].name).unwrap();
    let end = usize::try_from(preamble_len() + files[1].end.since(files[1].start)).unwrap();
    for from in (end..good.len()).step_by(BLOCK) {
        let mut bytes = good.clone();
        let mut dice = Dice::new(from as u64);
        dice.fill(&mut bytes[from..]);
        // A whole commit of the log in a place that is not its own.
        bytes.copy_within(8192..8192 + BLOCK, from);
        let image = disk.crash_image(&mut |_| true);
        replace(&image, &files[1].name, &bytes);
        let started = start(&image, 3).unwrap();
        assert_eq!(started.entries, written);
        let cut = started.report.cut.unwrap();
        assert_eq!(cut.len_bytes, (good.len() - end) as u64);
    }
}

#[test]
fn a_zeroed_or_truncated_file_is_found() {
    let (disk, written, files) = world();
    for file in &files {
        let good = disk.content(&file.name).unwrap();
        let durable = usize::try_from(preamble_len() + file.end.since(file.start)).unwrap();
        for at in (0..good.len()).step_by(BLOCK) {
            let image = disk.crash_image(&mut |_| true);
            replace(&image, &file.name, &good[..at]);
            assert!(found(&image), "{} cut at {at}", file.name);
            assert!(scan(&image).is_err());
            let mut zeroed = good.clone();
            zeroed[at..at + BLOCK].fill(0);
            replace(&image, &file.name, &zeroed);
            let is_last_mark = file == &files[1] && at + BLOCK == durable;
            assert_eq!(found(&image), at < durable && !is_last_mark, "{} {at}", file.name);
            if is_last_mark {
                assert_eq!(start(&image, 3).unwrap().entries, written);
            }
        }
    }
}

#[test]
fn misplaced_and_missing_files_are_found() {
    let (disk, _, files) = world();
    let swapped = disk.crash_image(&mut |_| true);
    let contents: Vec<_> = files.iter().map(|file| disk.content(&file.name).unwrap()).collect();
    replace(&swapped, &files[0].name, &contents[1]);
    replace(&swapped, &files[1].name, &contents[0]);
    assert!(matches!(
        Scan::open(arc(&swapped)),
        Err(ScanError::Preamble { source: PreambleError::Misnamed, .. })
    ));
    assert!(found(&swapped));

    let other = SimDisk::new();
    create(&other, 99).unwrap();
    let name = Scan::open(arc(&other)).unwrap().files()[0].name.clone();
    let mixed = disk.crash_image(&mut |_| true);
    replace(&mixed, &name, &other.content(&name).unwrap());
    assert!(matches!(Scan::open(arc(&mixed)), Err(ScanError::OtherJournal { .. })));

    // Without its first file a journal goes on; without one between it has a hole.
    let mut started = start(&disk, 3).unwrap();
    append(&mut started.journal, &payload(20, 60)).unwrap();
    disk.remove(&files[1].name).unwrap();
    let scan = Scan::open(arc(&disk)).unwrap();
    let hole = scan.replay(Position::ZERO, &mut |_| {}).unwrap_err();
    let ReplayError::Missing { from, to } = hole else { panic!("{hole}") };
    assert_eq!((from, to.get()), (files[1].start, files[1].end.get() - BLOCK as u64));
    let mut count = 0;
    scan.replay(to, &mut |commit| count += commit.entries().count()).unwrap();
    assert_eq!(count, 1);
    disk.remove(&files[0].name).unwrap();
    let scan = Scan::open(arc(&disk)).unwrap();
    assert!(matches!(scan.replay(Position::ZERO, &mut |_| {}), Err(ReplayError::Missing { .. })));
    scan.replay(scan.files()[0].start, &mut |_| {}).unwrap();
}

/// A payload that holds a whole commit, at a block's beginning, is a payload.
#[test]
fn a_payload_cannot_imitate_a_commit() {
    let disk = SimDisk::new();
    let mut journal = create(&disk, 1).unwrap();
    let mut commit = journal.begin();
    // What a reader of an earlier run may have seen, with positions that fit.
    let mut forged = payload(1, 9000);
    let next = journal.position().plus(4096);
    let position = next.get().to_le_bytes();
    let at = 4096 - commit.padded_len().min(117);
    let header = &mut forged[at..at + COMMIT_HEADER];
    header.fill(0);
    header[..4].copy_from_slice(b"TkC\x01");
    header[4..6].copy_from_slice(&1_u16.to_le_bytes());
    header[6..8].copy_from_slice(&1_u16.to_le_bytes());
    header[12..16].copy_from_slice(&4096_u32.to_le_bytes());
    header[20..24].copy_from_slice(&1_u32.to_le_bytes());
    header[24..40].copy_from_slice(&journal.id().bytes());
    header[40..48].copy_from_slice(&position);
    header[48..56].copy_from_slice(&position);
    // All of it holds but for the salt, which nobody else knows.
    let unsalted = [&[0; 16], &header[..96]].concat();
    header[96..].copy_from_slice(&xxhash_rust::xxh3::xxh3_128(&unsalted).to_le_bytes());
    commit.push(1, &[&forged]);
    sync(&mut journal, commit).unwrap();
    let name = journal.files()[0].name.clone();
    let content = disk.content(&name).unwrap();
    assert_eq!(&content[8192 + 4096..][..4], b"TkC\x01", "it lies where a commit would");
    // The outer one is damaged: the inner one proves nothing.
    disk.flip_bit(&name, (8192 + 200) * 8);
    let started = start(&disk, 2).unwrap();
    assert!(started.entries.is_empty());
}

#[test]
fn beside_a_damaged_first_block_the_other_files_are_read() {
    let (disk, _, files) = world();
    let reports = || verify(&arc(&disk), &BTreeMap::new()).unwrap();
    let whole = reports();
    assert!(whole.iter().all(|report| report.damage.is_none() && report.commits > 0));
    disk.flip_bit(&files[0].name, 800);
    let found = reports();
    assert_eq!((found[0].commits, found[0].damage.is_some()), (0, true));
    // Marks at the end count here: nothing says that they are behind it.
    assert!(found[1].commits >= whole[1].commits && found[1].bytes >= whole[1].bytes);
    assert!(found[1].damage.is_none());
}

/// Nothing in the journal names its newest file, and a run is made only later.
#[test]
fn the_newest_file_is_missed_from_its_first_commit_on() {
    let disk = SimDisk::new();
    let mut journal = create(&disk, 1).unwrap();
    for n in 0..12 {
        append(&mut journal, &payload(n, 6000)).unwrap();
        let files = journal.files();
        let image = disk.crash_image(&mut |_| false);
        Disk::remove(&image, &files.last().unwrap().name).unwrap();
        let refused = Scan::open(arc(&image));
        let is_missed = |error: &ScanError| matches!(error, ScanError::NewestMissing { file } if *file == files.last().unwrap().name);
        assert!(refused.as_ref().is_err_and(is_missed), "{} files: {refused:?}", files.len());
    }
    assert!(journal.files().len() > 2);
    drop(journal);
    // The same of what a start makes, also where it puts nothing new behind the old.
    for seed in 2..4 {
        let journal = start(&disk, seed).unwrap().journal;
        let image = disk.crash_image(&mut |_| false);
        Disk::remove(&image, &journal.files().last().unwrap().name).unwrap();
        assert!(matches!(Scan::open(arc(&image)), Err(ScanError::NewestMissing { .. })));
    }
    let names = disk.list().unwrap();
    assert_eq!(names.iter().filter(|(name, _)| name.starts_with("newest-")).count(), 1);
}

/// A node that did not name its newest file yet left the directory.
#[test]
fn a_directory_without_the_name_gets_one() {
    let disk = SimDisk::new();
    drop(create(&disk, 1).unwrap());
    let name = |disk: &SimDisk| disk.names().into_iter().find(|name| name.starts_with("newest-"));
    Disk::remove(&disk, &name(&disk).unwrap()).unwrap();
    let journal = start(&disk, 2).unwrap().journal;
    let (newest, named) = (journal.files().remove(0), name(&disk).unwrap());
    assert_eq!(
        newest.name.strip_prefix("journal-"),
        named.strip_prefix("newest-").map(|n| n.to_owned() + ".log").as_deref()
    );
}
