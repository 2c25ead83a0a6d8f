//! Open conflicts outlive their journal file.

use std::collections::BTreeMap;

use takt_protocol::words::{BatchNumber, Offset};

use super::mirror::{mirror, open_mirror};
use super::*;
use crate::journal::Position;
use crate::kept::is_side;
use crate::runs::MaskedAddress;
use crate::view::ReadError;

/// Conflicts by their address, with what was sent.
type Sent = BTreeMap<MaskedAddress, String>;

/// A store that keeps three files at most; nothing waits for an uplink.
pub(super) fn limited() -> World {
    let options = StoreOptions { retention_bytes: 3 * (64 << 10), ..options("plant") };
    let mut world = World::with_topic_and(options);
    world.store.set_uplink_needs(Some(BTreeMap::new()));
    world
}

/// Publishes until `files` more journal files are left behind; each third batch is a conflict with
/// the very first event.
pub(super) fn fill(world: &mut World, next: &mut u64, files: usize) -> Sent {
    let mut sent = Sent::new();
    let there = world.store.journal.files().len();
    while world.store.journal.files().len() < there + files {
        let slot = world.store.view().partitions(&topic("t"));
        let (slot, batch_number) = (slot[0].slot, slot[0].end_batch);
        let (first, data) = (*next, format!("{next}{}", "d".repeat(3_000)));
        let events = match first % 3 {
            0 => vec![event("e1", "x", &data)],
            _ => vec![event(&format!("e{first}"), "x", &data)],
        };
        receipt(world.publish(1, first, &events));
        if first.is_multiple_of(3) {
            sent.insert(MaskedAddress { slot, batch_number, index: 0 }, data);
        }
        *next += 1;
    }
    sent
}

/// Lets retention go as far as it will.
pub(super) fn retain(world: &mut World) {
    for _ in 0..4 {
        let now = world.now();
        world.store.tick(now);
        world.settle();
    }
}

fn content(world: &World, address: MaskedAddress) -> Result<String, ReadError> {
    let found = world.store.view().conflict(address)?;
    assert_eq!(found.row.address, address);
    found.batch.check_content(1).unwrap();
    let payload = found.batch.batch().raw_payload().unwrap();
    let record = found.batch.batch().records().unwrap().nth(address.index.into()).unwrap().unwrap();
    let data = payload.slice(record.data_at..record.data_at + record.data_len);
    Ok(String::from_utf8(data.to_vec()).unwrap())
}

fn check(world: &World, sent: &Sent) {
    let listed = world.store.view().conflicts(None, None, usize::MAX);
    let listed: Vec<_> = listed.iter().map(|conflict| conflict.address).collect();
    assert_eq!(listed, sent.keys().copied().collect::<Vec<_>>());
    for (address, data) in sent {
        assert_eq!(&content(world, *address).unwrap(), data);
    }
}

fn side_names(world: &World) -> Vec<String> {
    let names = Disk::list(&world.disk).unwrap().into_iter().map(|(name, _)| name);
    names.filter(|name| is_side(name)).collect()
}

fn start(world: &World) -> Offset {
    world.store.view().partitions(&topic("t"))[0].start
}

#[test]
fn open_conflicts_outlive_their_file() {
    let mut world = limited();
    let mut next = 1;
    let sent = fill(&mut world, &mut next, 7);
    retain(&mut world);
    let status = world.store.view().status();
    assert!(status.journal_files <= 4 && start(&world) > Offset::new(0));
    assert!(status.conflicts_kept_bytes > 0 && !status.conflicts_kept_full);
    assert_eq!(status.counters.retention_blocked, 0);
    check(&world, &sent);
    let (sides, digest) = (side_names(&world), world.store.state_digest());
    assert!(sides.len() >= 3, "{sides:?}");
    for name in ["conflicts-0000000000000001-00000001.side", "conflicts-x.side.tmp"] {
        Disk::create(&world.disk, name).unwrap();
    }
    world.restart();
    assert_eq!((side_names(&world), world.store.state_digest()), (sides.clone(), digest));
    check(&world, &sent);

    let disk: Arc<dyn Disk> = Arc::new(world.disk.clone());
    let damaged = || {
        let reports = verify_runs(&disk).unwrap();
        let damaged = reports.iter().filter(|report| report.damage.is_some());
        damaged.map(|report| report.info.name()).collect::<Vec<_>>()
    };
    assert_eq!(damaged(), [""; 0]);
    let bits = world.disk.content(&sides[1]).unwrap().len() as u64 * 8;
    for bit in (0..bits).step_by(1_999) {
        world.disk.flip_bit(&sides[1], bit);
        assert_eq!(damaged(), [sides[1].as_str()], "bit {bit}");
        world.disk.flip_bit(&sides[1], bit);
    }
    world.disk.flip_bit(&sides[1], bits - 8);
    let lost = |address: &&MaskedAddress| content(&world, **address).is_err();
    assert_eq!(sent.keys().filter(lost).count(), 1, "what rotted is not served");
    world.restart();
    receipt(world.publish(1, next, &[event("new", "", "")]));
}

#[test]
fn a_file_whose_conflicts_find_no_room_is_not_dropped() {
    let mut world = limited();
    world.store.sides.bytes_max = 2_000;
    let sent = fill(&mut world, &mut 1, 6);
    retain(&mut world);
    let status = world.store.view().status();
    assert_eq!(start(&world), Offset::new(0));
    assert_eq!((status.counters.retention_blocked, status.conflicts_kept_full), (1, true));
    check(&world, &sent);
    world.store.sides.bytes_max = 1 << 20;
    retain(&mut world);
    assert!(start(&world) > Offset::new(0));
    assert!(!world.store.view().status().conflicts_kept_full);
    check(&world, &sent);
}

#[test]
fn a_full_disk_does_not_keep_retention_from_its_copies() {
    let mut world = limited();
    let sent = fill(&mut world, &mut 1, 6);
    let used: u64 = Disk::list(&world.disk).unwrap().iter().map(|(_, len)| len).sum();
    world.disk.set_capacity(Some(used + (64 << 10)));
    world.store.spares.clear();
    world.store.full = true;
    retain(&mut world);
    assert!(start(&world) > Offset::new(0));
    assert!(!world.store.view().status().full, "a dropped file is a spare");
    check(&world, &sent);

    // Not one byte is left: the file stays until there is room.
    let mut world = limited();
    let sent = fill(&mut world, &mut 1, 6);
    world.disk.set_capacity(Some(0));
    retain(&mut world);
    assert_eq!(start(&world), Offset::new(0));
    check(&world, &sent);
    world.disk.set_capacity(None);
    world.now += 1_100_000;
    retain(&mut world);
    assert!(start(&world) > Offset::new(0));
    check(&world, &sent);
}

#[test]
fn mirrored_conflicts_are_kept_too() {
    let mut plant = World::with_topic("plant");
    let sent = fill(&mut plant, &mut 1, 6);
    let journal = plant.store.view().journal();
    let from = plant.store.view().partitions(&topic("t"))[0].slot;
    let batches = plant.store.view().read_from_batch(from, BatchNumber::new(0), 1 << 24).unwrap();
    let options = StoreOptions { retention_bytes: 2 * (64 << 10), ..options("hub") };
    let mut hub = World::with(SimDisk::new(), options, 1);
    hub.store.set_uplink_needs(Some(BTreeMap::new()));
    let Answer::MirrorOpened(ends) = open_mirror(&mut hub, journal) else { panic!("opened") };
    for batch in &batches {
        assert!(matches!(mirror(&mut hub, ends[0].slot, journal, batch), Answer::Mirrored { .. }));
    }
    retain(&mut hub);
    assert!(hub.store.view().all_partitions()[0].start > Offset::new(0));
    check(&hub, &sent);
}

#[test]
fn a_side_file_is_made_again_while_its_journal_file_is_there() {
    let mut world = limited();
    let sent = fill(&mut world, &mut 1, 5);
    let now = world.now();
    world.store.tick(now);
    // The copies are named; what drops the file is not staged yet.
    let now = world.now();
    let side = loop {
        let job = world.store.poll_job(now).expect("a job");
        let done = job.run();
        let side = matches!(done.0, super::job::Done::Side { .. });
        world.store.on_job_done(done, now);
        if side {
            break side_names(&world).remove(0);
        }
    };
    let pending = world.store.seal().unwrap().unwrap();
    pending.write_and_sync().unwrap();
    world.store.on_synced(pending);
    assert_eq!(world.store.state.control.manifest.sides.len(), 1);
    world.disk.flip_bit(&side, 8 * 60);
    world.restart();
    world.store.set_uplink_needs(Some(BTreeMap::new()));
    check(&world, &sent);
    retain(&mut world);
    assert!(start(&world) > Offset::new(0));
    check(&world, &sent);
}

#[test]
fn a_power_cut_keeps_the_file_or_the_side_file() {
    let prepare = || {
        let mut world = limited();
        let mut next = 1;
        let sent = fill(&mut world, &mut next, 6);
        (world, sent)
    };
    let try_retain = |world: &mut World| {
        for _ in 0..4 {
            let now = world.now();
            world.store.tick(now);
            for _ in 0..4 {
                if world.sync().is_none() {
                    return;
                }
            }
        }
    };
    let total = {
        let (mut world, _) = prepare();
        let begun = world.disk.operations();
        try_retain(&mut world);
        world.disk.operations() - begun
    };
    assert!(total > 30, "{total} operations");
    let (mut kept, mut dropped) = (0, 0);
    for at in 0..total {
        let (mut world, sent) = prepare();
        let mut dice = Dice::new(at);
        world.disk.cut_power_at(world.disk.operations() + at);
        try_retain(&mut world);
        world.disk = world.disk.crash_image(&mut |_| dice.below(2) == 0);
        world.restart();
        check(&world, &sent);
        let named: Vec<_> = world
            .store
            .state
            .control
            .manifest
            .sides
            .values()
            .map(crate::entry::SideFile::name)
            .collect();
        let there = side_names(&world);
        assert!(there.iter().all(|name| named.contains(name)), "strays are deleted: {there:?}");
        let gone = !world.store.journal.files().iter().any(|file| file.start == Position::ZERO);
        dropped += u32::from(gone);
        kept += u32::from(!gone);
        world.store.set_uplink_needs(Some(BTreeMap::new()));
        retain(&mut world);
        check(&world, &sent);
        assert!(start(&world) > Offset::new(0));
    }
    assert!(kept > 5 && dropped > 5, "{kept} cuts before, {dropped} behind");
}

#[test]
fn a_check_reads_side_files() {
    let mut world = limited();
    let sent = fill(&mut world, &mut 1, 5);
    retain(&mut world);
    let disk: Arc<dyn Disk> = Arc::new(world.disk.clone());
    crate::store::check(&disk).unwrap();
    let side = side_names(&world).remove(0);
    let last = world.disk.content(&side).unwrap().iter().rposition(|byte| *byte != 0).unwrap();
    world.disk.flip_bit(&side, 8 * last as u64);
    let Err(CheckError::Damaged { file, .. }) = crate::store::check(&disk) else {
        panic!("it is damaged")
    };
    assert_eq!(file, side);
    // Who reads it meets the damage, and that is counted.
    let contents = sent.keys().map(|address| content(&world, *address));
    let met = contents.filter(|read| matches!(read, Err(ReadError::Corrupt(_)))).count();
    assert!(met > 0);
    assert_eq!(world.store.view().damaged_reads(), met as u64);
}
