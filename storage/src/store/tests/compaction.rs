//! Compaction: what later events have taken the place of goes, the latest of each order stays, and all
//! numbers, chains and answers go on as before.

use std::collections::{BTreeMap, BTreeSet};

use takt_protocol::batch::StoredBatch;
use takt_protocol::words::{BatchNumber, CursorName, Offset};

use super::mirror::{mirror, open_mirror};
use super::side::retain;
use super::*;
use crate::view::PartitionView;

const ORDERS: u64 = 6;

/// A node whose topic `t` is compacted; events of a few orders, and one without.
struct Compacted {
    world: World,
    next: u64,
    batch_len: u64,
    /// By offset: order and id.
    all: BTreeMap<u64, (Option<String>, String)>,
}

fn id_of(number: u64) -> String {
    format!("e{number}")
}

/// The first is without an order, the second of one that does not go on.
fn order_of(number: u64) -> Option<String> {
    match number {
        1 => None,
        2 => Some("quiet".to_owned()),
        number => Some(format!("order-{}", number % ORDERS)),
    }
}

fn the_event(number: u64) -> Event {
    let data = format!("{number}{}", "d".repeat(700));
    event(&id_of(number), &order_of(number).unwrap_or_default(), &data)
}

impl Compacted {
    fn new(batch_len: u64) -> Self {
        let mut world = World::with(SimDisk::new(), options("plant"), 1);
        world.create("t", TopicSettings { compact: true, ..TopicSettings::default() });
        world.open_producer("p", "t");
        world.store.set_uplink_needs(Some(BTreeMap::new()));
        Self { world, next: 1, batch_len, all: BTreeMap::new() }
    }

    /// Publishes until `files` more journal files are left behind.
    fn fill(&mut self, files: usize) {
        let sealed = |world: &World| world.store.state.control.manifest.files.len();
        let there = sealed(&self.world);
        while sealed(&self.world) < there + files {
            let numbers = self.next..self.next + self.batch_len;
            let events: Vec<_> = numbers.clone().map(the_event).collect();
            let receipt = receipt(self.world.publish(1, self.next, &events));
            assert!(verdicts(&receipt).iter().all(Verdict::is_visible), "{receipt:?}");
            for (offset, number) in (receipt.base_offset.get()..).zip(numbers.clone()) {
                self.all.insert(offset, (order_of(number), id_of(number)));
            }
            self.next = numbers.end;
            self.world.drain();
        }
        self.world.settle();
    }

    fn partition(&self) -> PartitionView {
        self.world.store.view().partitions(&topic("t"))[0].clone()
    }

    fn batches(&self) -> Vec<StoredBatch> {
        let shown = self.partition();
        let view = self.world.store.view();
        view.read_from_batch(shown.slot, shown.start_batch, usize::MAX).unwrap()
    }

    /// What is there is the latest of each order, and what came since what packs know; returns how many
    /// events are gone. A start changes nothing of that.
    fn check(&mut self) -> usize {
        let before = self.check_of(&self.world, &self.batches());
        self.restart();
        let there = self.check_of(&self.world, &self.batches());
        assert_eq!(there, before, "events are there before the start and behind it");
        let view = self.world.store.view();
        let shown = self.partition();
        assert_eq!(view.chain_at(shown.slot, shown.end_batch).unwrap(), Some(shown.chain));
        for offset in self.all.keys().copied().map(Offset::new) {
            let read = view.read(shown.slot, offset, 1).unwrap();
            assert!(read[0].header().base_offset <= offset && offset < read[0].end_offset());
        }
        let report = verify(&(Arc::new(self.world.disk.clone()) as Arc<dyn Disk>));
        assert_eq!(report, Vec::<String>::new());
        self.all.len() - there
    }

    /// How many events these batches of the partition hold.
    fn check_of(&self, world: &World, batches: &[StoredBatch]) -> usize {
        let mut latest = BTreeMap::new();
        for (offset, (order, _)) in &self.all {
            if let Some(order) = order {
                latest.insert(order.clone(), *offset);
            }
        }
        let mut there = BTreeSet::new();
        let mut chain = takt_protocol::words::PartitionChain::default();
        let mut next = Offset::new(0);
        for (number, batch) in (0..).zip(batches) {
            batch.check(chain, 1).unwrap();
            assert_eq!(batch.header().batch_number, BatchNumber::new(number));
            assert_eq!(batch.header().base_offset, next);
            (chain, next) = (batch.header().chain, batch.end_offset());
            for found in batch.records().unwrap() {
                let found = found.unwrap();
                let Some(offset) = found.offset else { continue };
                let (order, id) = &self.all[&offset.get()];
                assert_eq!(found.record.id, id.as_bytes());
                assert_eq!(found.record.order_key, order.as_ref().map(String::as_bytes));
                let payload = batch.batch().raw_payload().unwrap();
                let data = &payload[found.record.data_at..][..found.record.data_len];
                let number: u64 = id[1..].parse().unwrap();
                assert_eq!(data, &the_event(number).data[..]);
                there.insert(offset.get());
            }
        }
        for offset in latest.values() {
            assert!(there.contains(offset), "the latest at {offset} is gone");
        }
        for (offset, (order, _)) in &self.all {
            assert!(order.is_some() || there.contains(offset), "{offset} has no order");
        }
        let order = OrderKey::new("quiet").unwrap();
        let history = world.store.view().order(&topic("t"), &order, None, 9).unwrap();
        assert_eq!(history.len(), 1);
        there.len()
    }

    fn restart(&mut self) {
        let digest = self.world.store.state_digest();
        self.world.restart();
        assert_eq!(self.world.store.state_digest(), digest);
        self.world.store.set_uplink_needs(Some(BTreeMap::new()));
    }

    fn packs(&self) -> Vec<crate::entry::PackFile> {
        self.world.store.state.control.manifest.packs.values().copied().collect()
    }
}

/// What is damaged.
fn verify(disk: &Arc<dyn Disk>) -> Vec<String> {
    check(disk).unwrap();
    let reports = verify_runs(disk).unwrap();
    reports.into_iter().filter_map(|report| report.damage.map(|error| error.to_string())).collect()
}

#[test]
fn the_latest_of_each_order_stays() {
    for batch_len in [1, 7] {
        let mut node = Compacted::new(batch_len);
        node.fill(3);
        let gone = node.check();
        assert!(gone > node.all.len() / 2, "{gone} of {}", node.all.len());
        assert!(node.packs().iter().all(crate::entry::PackFile::is_compacted));
        // It goes on: what was compacted is so again, and orders know where they stand.
        node.fill(4);
        let more = node.check();
        assert!(more > gone, "{more}");
        assert!(node.packs().iter().any(|pack| pack.serial > 0), "{:?}", node.packs());
        let kept: u64 = node.packs().iter().map(|pack| pack.len_bytes).sum();
        assert!(kept < 64 << 10, "{kept} bytes in {} packs", node.packs().len());
        // A repeat of what is gone is told as before, and an order has its next sequence.
        let again = receipt(node.world.publish(1, node.next, &[the_event(3)]));
        let Verdict::Duplicate { of, .. } = verdicts(&again)[0] else { panic!("{again:?}") };
        assert_eq!(node.all[&of.offset.get()].1, id_of(3));
        let next = event("next", &order_of(3).unwrap(), "1");
        let next = receipt(node.world.publish(1, node.next + 1, &[next]));
        let Verdict::Visible { order_sequence, .. } = verdicts(&next)[0] else {
            panic!("{next:?}")
        };
        let before = node.all.values().filter(|(order, _)| *order == order_of(3)).count() as u64;
        assert_eq!(order_sequence.unwrap().get(), before + 1);
    }
}

#[test]
fn what_somebody_needs_is_not_compacted() {
    let mut node = Compacted::new(5);
    node.world.store.set_uplink_needs(None);
    node.fill(3);
    assert_eq!((node.check(), node.packs()), (0, Vec::new()), "the hub has not said what it has");
    let slot = node.partition().slot;
    let set = Operation::SetCursor {
        name: CursorName::new("c").unwrap(),
        topic: topic("t"),
        hold: Some(true),
        positions: vec![(slot, Offset::new(0))],
    };
    assert!(matches!(node.world.run(set), Answer::CursorSet));
    node.world.store.set_uplink_needs(Some(BTreeMap::new()));
    node.fill(1);
    assert_eq!((node.check(), node.packs()), (0, Vec::new()), "a cursor holds it");
    // What is looked for at a start is.
    node.world.settle();
    let removed = Operation::RemoveCursor { name: CursorName::new("c").unwrap() };
    assert!(matches!(node.world.run(removed), Answer::CursorRemoved));
    // No file is sealed meanwhile: it is looked every few seconds.
    node.world.now += 6_000_000;
    node.world.settle();
    assert!(node.check() > 0);
}

#[test]
fn a_topic_is_compacted_as_long_as_it_asks_for_it() {
    let mut node = Compacted::new(5);
    let set = |compact| Operation::SetRetention {
        name: topic("t"),
        retention_ms: None,
        retention_bytes: None,
        compact: Some(compact),
    };
    assert_eq!(node.world.run(set(false)), Answer::RetentionSet);
    node.fill(2);
    assert_eq!(node.check(), 0);
    assert_eq!(node.world.run(set(true)), Answer::RetentionSet);
    node.fill(1);
    let gone = node.check();
    assert!(gone > 0);
    let packs = node.packs();
    assert_eq!(node.world.run(set(false)), Answer::RetentionSet);
    node.fill(3);
    assert_eq!(node.packs(), packs);
    assert_eq!(node.check(), gone);
}

#[test]
fn a_conflict_is_kept_for_who_decides_on_it() {
    let mut node = Compacted::new(1);
    node.fill(1);
    let first = node.next;
    let changed = event(&id_of(5), "other", "changed");
    let repeated = the_event(6);
    let told = receipt(node.world.publish(1, first, &[changed, repeated]));
    assert!(matches!(verdicts(&told)[0], Verdict::Conflict { listed: true, .. }), "{told:?}");
    assert!(matches!(verdicts(&told)[1], Verdict::Duplicate { .. }), "{told:?}");
    node.next = first + 2;
    node.fill(3);
    let gone = node.check();
    assert!(gone > 0);
    let holding = |batches: Vec<StoredBatch>| {
        let of = |batch: &StoredBatch| batch.header().records == 2;
        batches.into_iter().find(of).unwrap()
    };
    let kept = holding(node.batches());
    assert_eq!(kept.kept().map(|kept| (kept.has(0), kept.has(1))), Some((true, false)));
    let shown = node.world.store.view().conflicts(None, None, 9);
    let content = node.world.store.view().conflict(shown[0].address).unwrap();
    assert_eq!((content.row.id.as_str(), content.row.order_key.as_deref()), ("e5", Some("other")));
    // Its file goes, and it is copied as it is.
    node.world.options.retention_bytes = 1;
    node.restart();
    node.fill(4);
    retain(&mut node.world);
    assert!(node.partition().start_batch > kept.header().batch_number);
    let content = node.world.store.view().conflict(shown[0].address).unwrap();
    assert_eq!(content.row.id, "e5");
    assert!(content.batch.kept().is_some());
    node.restart();
    assert_eq!(node.world.store.view().conflict(shown[0].address).unwrap().row.id, "e5");
}

#[test]
fn a_mirror_that_begins_later_gets_what_is_there() {
    let mut node = Compacted::new(3);
    node.fill(3);
    let gone = node.check();
    assert!(gone > 0);
    let (from, journal) = (node.partition(), node.world.store.view().journal());
    let mut hub = World::new("hub");
    hub.create("t", TopicSettings::default());
    let Answer::MirrorOpened(ends) = open_mirror(&mut hub, journal) else { panic!("opened") };
    let slot = ends[0].slot;
    for batch in node.batches() {
        let answer = mirror(&mut hub, slot, journal, &batch);
        assert!(matches!(answer, Answer::Mirrored { .. }), "{answer:?}");
    }
    hub.restart();
    let here = hub.store.view().partition(slot).unwrap();
    assert_eq!((here.end, here.chain, here.mirror_of), (from.end, from.chain, Some(journal)));
    let there = hub.store.view().read_from_batch(slot, BatchNumber::new(0), usize::MAX).unwrap();
    assert_eq!(node.check_of(&hub, &there), node.all.len() - gone);
    // What is not there no order names.
    let order = OrderKey::new("order-3").unwrap();
    let history = hub.store.view().order(&topic("t"), &order, None, usize::MAX).unwrap();
    let kept = there.iter().flat_map(|batch| batch.records().unwrap().map(Result::unwrap));
    let kept = kept.filter(|found| found.record.order_key == Some(b"order-3"));
    assert_eq!(history.len(), kept.count());
}
