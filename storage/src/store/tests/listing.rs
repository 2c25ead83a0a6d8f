//! The index of listings: used after a clean stop, made again after any other, never needed.

use takt_protocol::words::{BatchNumber, Offset};

use super::side::{fill, limited, retain};
use super::*;
use crate::index::ConflictRow;
use crate::runs::{MaskedAddress, Slot};

/// All that the index has a part in.
fn listings(world: &World) -> (Vec<ConflictRow>, Vec<Offset>) {
    let view = world.store.view();
    let slot = view.partitions(&topic("t"))[0].slot;
    let mut paged = Vec::new();
    loop {
        let after = paged.last().map(|row: &ConflictRow| row.address);
        let page = view.conflict_rows(Some(&topic("t")), after, 7).unwrap();
        if page.is_empty() {
            break;
        }
        paged.extend(page);
    }
    assert_eq!(view.conflict_rows(None, None, usize::MAX).unwrap(), paged);
    let times = (1_700_000_000_000_000..1_700_000_001_000_000).step_by(1_777);
    let offset = |time| view.offset_at(slot, Timestamp::from_micros(time)).unwrap();
    (paged, times.map(offset).collect())
}

/// A row that only an index from before can have.
fn relic() -> MaskedAddress {
    MaskedAddress { slot: Slot::new(999), batch_number: BatchNumber::new(1), index: 0 }
}

fn is_from_before(world: &World) -> bool {
    let index = world.store.view().index().expect("it is ready");
    index.conflict(&relic()).unwrap().is_some()
}

fn prepared() -> (World, u64) {
    let mut world = limited();
    let mut next = 1;
    for _ in 0..4 {
        fill(&mut world, &mut next, 2);
        retain(&mut world);
    }
    let start = world.store.journal.files()[0].start;
    assert!(
        start.get() > 3 * world.options.journal.file_bytes * 3 / 4,
        "{start}: three are dropped"
    );
    let index = world.store.view().index().expect("it is ready");
    let row = world.store.view().conflict_rows(None, None, 1).unwrap().remove(0);
    index.list(&[ConflictRow { address: relic(), ..row }]).unwrap();
    (world, next)
}

fn stop_and_start(world: World) -> World {
    let World { disk, options, store, now, .. } = world;
    store.close();
    let mut world = World::with(disk, options, 5);
    world.now = now;
    world
}

#[test]
fn redb_is_never_needed() {
    let (mut world, mut next) = prepared();
    world.drain();
    let (before, digest) = (listings(&world), world.store.state_digest());
    assert!(before.0.len() > 10 && before.1.is_sorted());
    Disk::remove(&world.disk, "index.redb").unwrap();
    world.restart();
    assert_eq!(world.store.state_digest(), digest);
    assert!(world.store.view().index().is_none(), "not on the start's path");
    assert!(listings(&world) == before);
    world.settle();
    let index = world.store.view().index().expect("it is made again");
    assert_eq!(index.conflict_count().unwrap(), before.0.len() as u64);
    assert!(!is_from_before(&world));
    assert!(listings(&world) == before);
    fill(&mut world, &mut next, 1);
    assert!(listings(&world).0.len() > before.0.len());
}

#[test]
fn it_is_used_after_a_clean_stop_only() {
    let (mut world, mut next) = prepared();
    world.settle();
    let before = listings(&world);
    let mut world = stop_and_start(world);
    world.settle();
    assert!(is_from_before(&world));
    assert!(listings(&world) == before);
    // Nothing happened since, but for a start and a stop.
    let mut world = stop_and_start(world);
    world.settle();
    assert!(is_from_before(&world));
    fill(&mut world, &mut next, 2);
    world.store.set_uplink_needs(Some(BTreeMap::new()));
    retain(&mut world);
    let before = listings(&world);
    let mut world = stop_and_start(world);
    world.settle();
    assert!(is_from_before(&world));
    assert!(listings(&world) == before);

    let rotten = world.disk.crash_image(&mut |_| true);
    world.restart();
    world.settle();
    assert!(!is_from_before(&world), "no clean stop, no index");
    assert!(listings(&world) == before);

    let mut world = World::with(rotten, world.options.clone(), 9);
    world.settle();
    let mut world = stop_and_start(world);
    world.disk.flip_bit("index.redb", 50_000);
    world.settle();
    assert!(!is_from_before(&world));
    assert!(listings(&world).0 == before.0);
}

/// Does all jobs, with write `fails_at` of those of the index failing; says whether one failed.
fn work_with_failure(world: &mut World, fails_at: u64) -> bool {
    let (mut written, mut failed) = (0, false);
    for _ in 0..1_000 {
        let now = world.now();
        let Some(job) = world.store.poll_job(now) else {
            if world.store.view().index().is_some() {
                return failed;
            }
            world.now += 60_000_000;
            continue;
        };
        let index = matches!(job.0, super::job::Work::Index(_));
        let before = world.disk.writes();
        if index && written <= fails_at {
            world.disk.fail_write_at(before + fails_at - written);
        }
        let done = job.run();
        written += if index { world.disk.writes() - before } else { 0 };
        failed |= index && done.error().is_some();
        let now = world.now();
        world.store.on_job_done(done, now);
        world.disk.fail_write_at(u64::MAX);
        if let Some(pending) = world.store.seal().unwrap() {
            pending.write_and_sync().unwrap();
            world.store.on_synced(pending);
        }
    }
    panic!("an index is made");
}

#[test]
fn one_that_fails_is_made_again() {
    let (mut world, mut next) = prepared();
    fill(&mut world, &mut next, 3);
    world.drain();
    let before = listings(&world);
    let mut failed = 0;
    for fails_at in 0..10 {
        world.restart();
        failed += u32::from(work_with_failure(&mut world, fails_at));
        assert!(listings(&world) == before);
    }
    assert!(failed > 1, "{failed} failures");
}
