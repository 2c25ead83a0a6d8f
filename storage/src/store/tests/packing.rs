//! Packs: what is kept is found as before, and the space of what is not is given back.

use std::time::Duration;

use takt_protocol::words::{BatchNumber, Offset};

use super::side::retain;
use super::topics::Two;
use super::*;
use crate::kept::{PackCompression, parse_pack};

/// Two topics that share files, most of which are of the one that has limits.
fn filled() -> Two {
    let mut two = Two::by_size();
    two.fill(&["t", "u", "u", "u"], 6, false);
    two
}

/// As [`filled`], trimmed and packed.
fn packed() -> Two {
    let mut two = filled();
    assert!(two.retained("u") > Offset::new(0));
    two.world.settle();
    assert!(!packs(&two).is_empty());
    two
}

fn packs(two: &Two) -> Vec<crate::entry::PackFile> {
    two.world.store.state.control.manifest.packs.values().copied().collect()
}

fn pack_names(two: &Two) -> Vec<String> {
    let names = two.world.disk.list().unwrap().into_iter().map(|(name, _)| name);
    names.filter(|name| parse_pack(name).is_some()).collect()
}

fn check_all(two: &Two) {
    two.check();
    check_disk(two);
}

fn check_disk(two: &Two) {
    let disk: Arc<dyn Disk> = Arc::new(two.world.disk.clone());
    check(&disk).unwrap();
    assert!(verify_runs(&disk).unwrap().iter().all(|report| report.damage.is_none()));
    let named: Vec<_> = packs(two).iter().map(crate::entry::PackFile::name).collect();
    assert_eq!(pack_names(two), named);
}

#[test]
fn what_topics_have_lost_is_given_back() {
    let mut two = filled();
    let before = two.world.store.journal.files().len();
    assert!(two.retained("u") > Offset::new(0));
    two.world.settle();
    let pack = packs(&two)[0];
    assert!(two.world.store.journal.files().len() < before);
    let held = |file: &crate::journal::FileInfo| pack.covers(file.start);
    assert!(!two.world.store.journal.files().iter().any(held));
    assert_eq!(two.start("t"), Offset::new(0));
    check_all(&two);
    two.restart();
    check_all(&two);
    // It goes on, and a pack that has lost much is packed again.
    let limit = |retention_bytes| Operation::SetRetention {
        name: topic("t"),
        retention_ms: None,
        retention_bytes: Some(retention_bytes),
        compact: None,
    };
    assert_eq!(two.world.run(limit(24 << 10)), Answer::RetentionSet);
    two.fill(&["t", "u", "u", "u"], 2, false);
    two.retained("u");
    two.world.settle();
    check_all(&two);
    two.restart();
    check_all(&two);
    assert_eq!(two.world.run(limit(0)), Answer::RetentionSet);
    assert!(packs(&two).iter().any(|pack| pack.serial > 0), "{:?}", packs(&two));
    // A repeat of what is only in a pack is told as before.
    let again = batch(&[event("e1", "x", &format!("1{}", "d".repeat(3_000)))], two.next["t"]);
    let operation = two.world.publication_to("t", "p", 1, again);
    let told = verdicts(&receipt(two.world.run(operation)));
    assert!(matches!(told[0], Verdict::Duplicate { .. }), "{told:?}");
}

#[test]
fn a_pack_goes_with_the_last_that_it_holds() {
    let mut two = packed();
    let limit = Operation::SetRetention {
        name: topic("t"),
        retention_ms: None,
        retention_bytes: Some(1),
        compact: None,
    };
    assert_eq!(two.world.run(limit), Answer::RetentionSet);
    two.fill(&["t", "u"], 2, false);
    two.retained("t");
    two.world.settle();
    two.retained("u");
    two.world.settle();
    check_all(&two);
    let first = two.world.store.state.control.manifest.files.values().find(|f| !f.slots.is_empty());
    let first = first.unwrap().start;
    assert!(packs(&two).iter().all(|pack| first < pack.end), "{:?}", packs(&two));
    two.restart();
    check_all(&two);
}

#[test]
fn the_limits_of_the_node_count_packs() {
    let mut two = packed();
    let pack = packs(&two)[0];
    two.world.options.retention_bytes = 100 << 10;
    two.world.restart();
    two.world.store.set_uplink_needs(Some(BTreeMap::new()));
    retain(&mut two.world);
    assert!(two.start("t") > Offset::new(0));
    assert!(!packs(&two).contains(&pack));
    two.world.settle();
    check_disk(&two);
    let kept: u64 = two.world.disk.list().unwrap().into_iter().map(|(_, len)| len).sum();
    assert!(kept < 900 << 10, "{kept} bytes");
}

#[test]
fn old_files_are_archived() {
    for pack_compression in [PackCompression::None, PackCompression::Zstd] {
        let mut two = Two::new(TopicSettings::default());
        two.world.options.pack_after = Some(Duration::from_hours(1));
        two.world.options.pack_compression = pack_compression;
        two.world.restart();
        two.world.store.set_uplink_needs(Some(BTreeMap::new()));
        two.fill(&["t", "u"], 5, true);
        assert!(packs(&two).is_empty(), "all is young");
        two.world.now += 2 * 60 * 60 * 1_000_000;
        two.fill(&["t", "u"], 1, false);
        two.world.settle();
        assert!(!packs(&two).is_empty());
        let (len, held) = packs(&two)
            .iter()
            .fold((0, 0), |(len, held), pack| (len + pack.len_bytes, held + pack.batch_bytes));
        assert_eq!(len < held / 4, pack_compression == PackCompression::Zstd, "{len} of {held}");
        check_all(&two);
        two.restart();
        check_all(&two);
        let open: Vec<_> = two.world.store.view().conflicts(None, None, usize::MAX);
        assert!(!open.is_empty());
        for conflict in open {
            two.world.store.view().conflict(conflict.address).unwrap();
        }
    }
}

#[test]
fn a_pack_whose_entry_is_not_durable_is_none() {
    let mut two = filled();
    let now = two.world.now();
    two.world.store.tick(now);
    let trims = two.world.store.seal().unwrap().expect("the trims");
    trims.write_and_sync().unwrap();
    two.world.store.on_synced(trims);
    let files = two.world.store.journal.files();
    let has_a_name = |name: &String| name.strip_suffix(".tmp").is_none();
    while !pack_names(&two).iter().any(has_a_name) {
        let job = two.world.store.poll_job(now).expect("a pack is under way");
        two.world.store.on_job_done(job.run(), now);
    }
    assert_eq!(two.world.store.journal.files(), files, "nothing is given back yet");
    two.check();
    two.world.restart();
    two.world.store.set_uplink_needs(Some(BTreeMap::new()));
    assert_eq!(packs(&two), []);
    check_all(&two);
    two.world.settle();
    check_all(&two);
    assert_ne!(packs(&two), []);
}

#[test]
fn a_damaged_pack_is_told() {
    let two = packed();
    let pack = packs(&two)[0];
    let flip = |at: u64| {
        let file = two.world.disk.open(&pack.name(), true).unwrap();
        let mut byte = [0];
        file.read_at(at, &mut byte).unwrap();
        file.write_at(at, &[byte[0] ^ 4]).unwrap();
        file.sync_all().unwrap();
    };
    let disk: Arc<dyn Disk> = Arc::new(two.world.disk.clone());
    let is_found = || {
        let reports = verify_runs(&disk).unwrap();
        let damaged = reports.iter().filter(|report| report.damage.is_some());
        damaged.map(|report| report.info.name()).collect::<Vec<_>>() == [pack.name()]
    };
    // In a block: all else is served.
    flip(pack.len_bytes / 2);
    assert!(is_found());
    assert!(matches!(check(&disk), Err(CheckError::Damaged { file, .. }) if file == pack.name()));
    let (store, _) = open(&two.world.disk, &two.world.options, 77, two.world.now).unwrap();
    let slot = two.partition("t").slot;
    let end = two.partition("t").end_batch;
    let last = BatchNumber::new(end.get() - 1);
    assert_eq!(store.view().read_from_batch(slot, last, 1).unwrap().len(), 1);
    let all = store.view().read_from_batch(slot, BatchNumber::new(0), usize::MAX);
    assert!(matches!(all, Err(crate::view::ReadError::Corrupt(_))), "{all:?}");
    drop(store);
    flip(pack.len_bytes / 2);
    // In the index: no start goes on without it.
    flip(pack.len_bytes - 5);
    assert!(is_found());
    let refused = open(&two.world.disk, &two.world.options, 78, two.world.now);
    assert!(matches!(refused, Err(OpenError::Pack(_))), "{refused:?}");
    flip(pack.len_bytes - 5);
    two.world.disk.remove(&pack.name()).unwrap();
    let refused = open(&two.world.disk, &two.world.options, 79, two.world.now);
    assert!(matches!(refused, Err(OpenError::Pack(_))), "{refused:?}");
}

#[test]
fn a_run_of_a_packed_file_is_not_made_again() {
    let two = packed();
    let pack = packs(&two)[0];
    let files = two.world.store.state.control.manifest.files.clone();
    let packed = files.values().find(|file| pack.covers(file.start)).unwrap();
    let name = packed.run.unwrap().name();
    // A start that reads all finds it damaged, wherever that is.
    let disk: Arc<dyn Disk> = Arc::new(two.world.disk.clone());
    check(&disk).unwrap();
    let bits = 8 * two.world.disk.content(&name).unwrap().len();
    for bit in (0..bits).step_by(bits / 9) {
        two.world.disk.flip_bit(&name, bit as u64);
        assert!(check(&disk).is_err(), "bit {bit}");
        two.world.disk.flip_bit(&name, bit as u64);
    }
    two.world.disk.remove(&name).unwrap();
    let refused = open(&two.world.disk, &two.world.options, 77, two.world.now);
    assert!(matches!(refused, Err(OpenError::Run(_))), "{refused:?}");
}

#[test]
fn what_does_not_fit_the_manifest_is_refused() {
    let two = packed();
    let store = &two.world.store;
    let (snapshot, at) = (store.state.snapshot(), store.journal.position());
    let manifest = store.state.control.manifest.clone();
    let pack = *manifest.packs.values().next().unwrap();
    let apply = |pack: crate::entry::PackFile| {
        let limits = two.world.options.table_limits();
        let mut state = State::restore(&snapshot, at, limits).unwrap();
        let entry = Entry::PackAdded { pack };
        state.apply(at, &entry, None, &mut Effects::default())
    };
    let of = |start, end, serial| crate::entry::PackFile { start, end, serial, ..pack };
    let (start, end, serial) = (pack.start, pack.end, pack.serial + 1);
    let next = manifest.files.range(end..).next().unwrap().1;
    assert_eq!(apply(of(start, end, serial)), Ok(()));
    assert_eq!(apply(of(start, next.end, serial)), Ok(()));
    assert_eq!(apply(of(next.start, next.end, 0)), Ok(()));
    let within = manifest.files.range(start..end).next().unwrap().1.end;
    for pack in [
        of(start, end, pack.serial),
        of(start, within, serial),
        of(start, Position::new(end.get() + 4096), serial),
        of(Position::new(start.get() + 4096), next.end, serial),
        of(next.start, manifest.runs_upto.plus(4096), 0),
    ] {
        assert!(apply(pack).is_err(), "{pack:?}");
    }
}

#[test]
fn files_of_cursors_alone_leave_with_a_pack_around_them() {
    let mut two = Two::new(TopicSettings::default());
    two.world.options.pack_after = Some(Duration::ZERO);
    let in_files = |two: &Two| two.world.store.state.control.manifest.files.len();
    two.fill(&["t"], 1, false);
    // Without batches, and none looks whether they may go.
    let there = in_files(&two);
    while in_files(&two) < there + 2 {
        two.hold("t", Offset::new(0));
        two.world.settle();
    }
    two.fill(&["t"], 2, false);
    two.world.settle();
    let empty = |file: &&crate::entry::SealedFile| file.slots.is_empty();
    let empties = |two: &Two| {
        let manifest = &two.world.store.state.control.manifest;
        let files = manifest.files.values().filter(empty).map(|file| file.start);
        files.collect::<Vec<_>>()
    };
    assert!(!empties(&two).is_empty());
    two.world.restart();
    two.world.store.set_uplink_needs(Some(BTreeMap::new()));
    two.world.settle();
    let packs = packs(&two);
    assert!(!packs.is_empty());
    assert!(empties(&two).iter().all(|start| !packs.iter().any(|pack| pack.covers(*start))));
    let kept = two.world.store.journal.files();
    assert!(!kept.iter().any(|file| packs.iter().any(|pack| pack.covers(file.start))));
    check_disk(&two);
    two.world.restart();
    check_disk(&two);
}

#[test]
fn damage_holds_back_what_it_is_in_and_nothing_else() {
    let mut two = filled();
    let files = two.world.store.journal.files();
    // In the middle of the oldest file, which lies in no memory after a start.
    two.world.disk.flip_bit(&files[0].name, 8 * (24 << 10));
    two.world.restart();
    two.world.store.set_uplink_needs(Some(BTreeMap::new()));
    two.retained("u");
    for _ in 0..10 {
        two.world.now += 60_000_000;
        two.world.settle();
    }
    let packs = packs(&two);
    assert!(!packs.is_empty());
    assert!(packs.iter().all(|pack| !pack.covers(files[0].start)), "{packs:?}");
    assert!(two.world.store.view().damaged_reads() > 0);
}
