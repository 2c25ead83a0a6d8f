//! Starting again: the same state, whatever the stop.

use takt_protocol::words::{CursorName, Offset, PartitionChain};

use super::*;
use crate::runs::RunInfo;
use crate::view::ReadError;

/// What was published so far.
#[derive(Default)]
struct Published {
    last: u64,
    visible: u64,
    of_order: u64,
}

impl Published {
    fn batch(&mut self, world: &mut World) {
        let id = format!("e{}", self.of_order);
        let events = [event(&id, "x", &"d".repeat(3_000)), event("", "y", "")];
        receipt(world.publish(1, self.last + 1, &events));
        self.last += 2;
        self.visible += 2;
        self.of_order += 1;
    }

    fn repeat(&mut self, world: &mut World) {
        let events = [event("e1", "x", &"d".repeat(3_000))];
        let known = receipt(world.publish(1, self.last + 1, &events));
        assert!(matches!(verdicts(&known)[0], Verdict::Duplicate { .. }), "keys are known");
        self.last += 1;
    }

    /// Publishes until `files` journal files are left behind.
    fn fill(&mut self, world: &mut World, files: usize) {
        let there = world.store.journal.files().len();
        while world.store.journal.files().len() < there + files {
            self.batch(world);
        }
    }

    /// All of it is there, in order, with its chain.
    fn check(&self, world: &World) {
        let view = world.store.view();
        let partition = view.partitions(&topic("t"))[0].clone();
        assert_eq!(partition.end.get(), self.visible);
        let (mut from, mut chain) = (Offset::new(0), PartitionChain::default());
        while from < partition.end {
            for stored in view.read(partition.slot, from, 20_000).unwrap() {
                assert_eq!(stored.header().base_offset, from);
                stored.check(chain, 1).unwrap();
                chain = stored.header().chain;
                let number = stored.header().batch_number;
                let after = view.chain_at(partition.slot, number.advance(1)).unwrap();
                assert_eq!(after, Some(chain));
                from = stored.end_offset();
            }
        }
        assert_eq!(chain, partition.chain);
        let whole = view.read(partition.slot, Offset::new(0), 1 << 24).unwrap();
        let records = whole.iter().map(|batch| batch.header().records as u64).sum::<u64>();
        assert_eq!(records, self.visible, "in one read each batch comes once too");
        let key = OrderKey::new("x").unwrap();
        let order = view.order(&topic("t"), &key, None, 10_000).unwrap();
        assert_eq!(order.len() as u64, self.of_order);
        // Each batch alone is the same, wherever the records lie.
        for step in [1, 2, 7] {
            let offsets: Vec<_> = (0..self.visible).step_by(step).map(Offset::new).collect();
            let mut asked = offsets.iter();
            for (offset, batch) in view.batches_at(partition.slot, &offsets) {
                assert_eq!(Some(&offset), asked.next());
                let behind = whole.partition_point(|batch| batch.header().base_offset <= offset);
                let batch = batch.unwrap().unwrap();
                assert!(batch.pieces().eq(whole[behind - 1].pieces()));
            }
            assert_eq!(asked.next(), None);
        }
    }
}

fn cursor(world: &mut World, at: u64, hold: bool) {
    let slot = world.store.view().partitions(&topic("t"))[0].slot;
    let answer = world.run(Operation::SetCursor {
        name: CursorName::new("c").unwrap(),
        topic: topic("t"),
        hold: Some(hold),
        positions: vec![(slot, Offset::new(at))],
    });
    assert_eq!(answer, Answer::CursorSet);
}

#[test]
fn a_restart_keeps_everything() {
    let mut world = World::with_topic("plant");
    let mut published = Published::default();
    for round in 0..4 {
        published.fill(&mut world, 2);
        cursor(&mut world, round, false);
        if round % 2 == 0 {
            world.settle();
        }
        world.drain();
        let digest = world.store.state_digest();
        let keys = world.store.view().status().keys;
        world.restart();
        assert!(!world.report.created);
        assert_eq!(world.store.state_digest(), digest);
        let status = world.store.view().status();
        assert_eq!(status.keys, keys);
        assert!(status.runs > 0 && status.keys_memory_bytes > 0 && status.keys_disk_bytes > 0);
        published.check(&world);
        published.repeat(&mut world);
        let cursors = world.store.view().cursors();
        assert_eq!(cursors[0].positions.values().next(), Some(&Offset::new(round)));
    }
}

#[test]
fn damaged_runs_are_made_again() {
    for damaged in 0..4 {
        let mut world = World::with_topic("plant");
        let mut published = Published::default();
        published.fill(&mut world, 4);
        world.settle();
        let runs: Vec<String> = Disk::list(&world.disk)
            .unwrap()
            .into_iter()
            .map(|(name, _)| name)
            .filter(|name| RunInfo::parse_name(name).is_some())
            .collect();
        assert_eq!(runs.len(), 4);
        are_made_again(&mut world, &mut published, &runs[damaged..]);
    }
}

/// The first of these runs is damaged; it and those behind it are made again, once.
fn are_made_again(world: &mut World, published: &mut Published, runs: &[String]) {
    let digest = world.store.state_digest();
    world.disk.flip_bit(&runs[0], 8 * 100);
    world.restart();
    assert_eq!(world.report.runs_rebuilt, runs.len());
    published.check(world);
    assert_eq!(world.store.state_digest(), digest);
    world.settle();
    published.check(world);
    world.restart();
    assert_eq!(world.report.runs_rebuilt, 0);
    published.check(world);
    published.repeat(world);
}

/// A file of cursors alone goes before older ones, and leaves a hole in the journal that is no loss.
#[test]
fn damaged_runs_are_made_again_before_a_dropped_file_of_cursors() {
    for damaged in 0..3 {
        let mut world = World::with_topic("plant");
        let mut published = Published::default();
        published.fill(&mut world, 2);
        let tick = |world: &mut World| {
            let now = world.now();
            world.store.tick(now);
            world.drain();
        };
        // Each commit takes a block, so three files begin of which the middle one has only these.
        let begun = world.store.journal.files().last().unwrap().start;
        let mut at = 0;
        while !world.store.journal.files().iter().rev().skip(2).any(|file| file.start > begun) {
            at += 1;
            cursor(&mut world, at % published.visible, false);
            assert!(at < 200, "files fill up");
        }
        published.batch(&mut world);
        published.fill(&mut world, 1);
        world.settle();
        tick(&mut world);
        world.settle();
        let files = world.store.journal.files();
        let holes = files.windows(2).filter(|pair| pair[0].end != pair[1].start).count();
        assert!(holes > 0, "{files:?}");

        let files = &world.store.state.control.manifest.files;
        let runs: Vec<_> = files.values().filter_map(|file| Some(file.run?.name())).collect();
        are_made_again(&mut world, &mut published, &runs[damaged..]);
    }
}

#[test]
fn retention_drops_the_oldest_files_that_nobody_needs() {
    let disk = SimDisk::new();
    let limited = StoreOptions { retention_bytes: 3 * (64 << 10), ..options("plant") };
    let mut world = World::with(disk, limited, 1);
    world.create("t", TopicSettings::default());
    world.open_producer("p", "t");
    let mut published = Published::default();
    published.fill(&mut world, 6);
    let tick = |world: &mut World| {
        let now = world.now();
        world.store.tick(now);
        world.settle();
        world.store.view().partitions(&topic("t"))[0].clone()
    };
    // Nothing is known of the uplink: all is held.
    assert_eq!(tick(&mut world).start, Offset::new(0));
    world.store.set_uplink_needs(Some(BTreeMap::new()));
    cursor(&mut world, 0, true);
    assert_eq!(tick(&mut world).start, Offset::new(0));
    cursor(&mut world, 30, true);
    let held = tick(&mut world);
    assert!(held.start > Offset::new(0) && held.start <= Offset::new(30), "{held:?}");
    cursor(&mut world, 30, false);
    let trimmed = tick(&mut world);
    assert!(trimmed.start > held.start);
    assert!(world.store.view().status().journal_files <= 4);

    for _ in 0..2 {
        let view = world.store.view();
        let error = view.read(trimmed.slot, Offset::new(0), 1).unwrap_err();
        assert!(matches!(error, ReadError::Trimmed { start } if start == trimmed.start));
        let kept = view.read(trimmed.slot, trimmed.start, 1).unwrap();
        assert_eq!(kept[0].header().base_offset, trimmed.start);
        kept[0].check(trimmed.start_chain, 1).unwrap();
        published.repeat(&mut world);
        world.restart();
        let after = world.store.view().partitions(&topic("t"))[0].clone();
        assert_eq!((after.start, after.start_chain), (trimmed.start, trimmed.start_chain));
    }
}

#[test]
fn dropped_files_take_no_open_files_after_a_start() {
    let mut world = side::limited();
    let mut published = Published::default();
    let mut open_files = |world: &mut World| {
        published.fill(world, 6);
        side::retain(world);
        world.restart();
        world.store.set_uplink_needs(Some(BTreeMap::new()));
        let files = world.store.state.control.manifest.files.values();
        let dropped = files.filter(|file| file.is_dropped()).count();
        let start = world.store.journal.files()[0].start.get();
        (world.disk.open_files(), dropped, start, Disk::list(&world.disk).unwrap().len())
    };
    open_files(&mut world);
    let (before, _, start_before, names_before) = open_files(&mut world);
    let (after, dropped, start, names) = open_files(&mut world);
    assert!(start > start_before + 4 * (48 << 10), "{start_before}, {start}: four are dropped");
    assert!(dropped <= 6, "{dropped} dropped files keep a run");
    assert!(after <= before + 2, "{before}, {after} files are open");
    assert!(names <= names_before + 2, "{names_before}, {names} names are there");
}

/// Without the newest files the journal does not know that anything is missing; their runs do.
#[test]
fn missing_newest_files_are_refused() {
    let mut world = World::with_topic("plant");
    Published::default().fill(&mut world, 3);
    world.settle();
    let names: Vec<String> =
        world.store.journal.files().iter().map(|file| file.name.clone()).collect();
    assert!(names.len() >= 4);
    // As a node left it that did not name its newest file yet.
    let named = Disk::list(&world.disk).unwrap().into_iter().map(|(name, _)| name);
    for name in named.filter(|name| name.starts_with("newest-")) {
        Disk::remove(&world.disk, &name).unwrap();
    }
    for name in names.iter().rev() {
        Disk::remove(&world.disk, name).unwrap();
        let before = Disk::list(&world.disk).unwrap();
        let error = open(&world.disk, &world.options, 9, world.now).unwrap_err();
        assert!(matches!(error, OpenError::NewestMissing { .. }), "without {name}: {error}");
        assert_eq!(Disk::list(&world.disk).unwrap(), before, "nothing is made or deleted");
    }
}

#[test]
fn a_cursor_that_moves_goes_on_holding() {
    let mut world = World::with_topic("plant");
    Published::default().fill(&mut world, 1);
    let slot = world.store.view().partitions(&topic("t"))[0].slot;
    let mut moved = |hold| {
        let (name, topic) = (CursorName::new("c").unwrap(), topic("t"));
        let positions = vec![(slot, Offset::new(1))];
        let set = Operation::SetCursor { name, topic, hold, positions };
        assert_eq!(world.run(set), Answer::CursorSet);
        world.store.view().cursors()[0].hold
    };
    let wanted = [None, Some(true), None, Some(false), None];
    assert_eq!(wanted.map(&mut moved), [false, true, true, false, false]);
}

#[test]
fn a_missing_file_and_another_node_are_refused() {
    let mut world = World::with_topic("plant");
    Published::default().fill(&mut world, 3);
    world.settle();
    let other = open(&world.disk, &options("other"), 9, world.now);
    assert!(matches!(other, Err(OpenError::OtherNode { .. })));
    let oldest = world.store.journal.files()[0].name.clone();
    Disk::remove(&world.disk, &oldest).unwrap();
    let error = open(&world.disk, &world.options, 9, world.now).unwrap_err();
    assert!(matches!(error, OpenError::FileMissing { .. }), "{error}");
}
