//! What becomes of batches.

use takt_protocol::batch::Place;
use takt_protocol::event::DedupKeys;
use takt_protocol::words::{Offset, OrderSequence};

use super::*;
use crate::entry::OnConflict;

fn place(offset: u64) -> Place {
    Place { partition: PartitionNumber::new(0), offset: Offset::new(offset) }
}

fn visible(sequence: u64) -> Verdict {
    Verdict::Visible { order_sequence: Some(OrderSequence::new(sequence)), restarted: false }
}

#[test]
fn events_repeats_and_conflicts_get_their_verdicts() {
    let mut world = World::with_topic("plant");
    let first = receipt(world.publish(
        1,
        1,
        &[
            event("a", "x", "1"),
            event("b", "x", "2"),
            event("a", "x", "1"),
            event("a", "x", "other"),
            event("a", "x", "other"),
            event("c", "y", "3"),
            event("", "", "4"),
        ],
    ));
    let repeat = Verdict::Duplicate { of: place(0), order_sequence: Some(OrderSequence::new(1)) };
    let conflict = |listed| Verdict::Conflict { with: place(0), listed };
    let unordered = Verdict::Visible { order_sequence: None, restarted: false };
    let expected =
        [visible(1), visible(2), repeat, conflict(true), conflict(false), visible(1), unordered];
    assert_eq!(verdicts(&first), expected);
    assert_eq!(first.base_offset, Offset::new(0));

    // Nothing is kept of repeats and known conflicts, but the sequence moves.
    let again = [event("a", "x", "1"), event("a", "x", "other")];
    let second = receipt(world.publish(1, 8, &again));
    assert_eq!(verdicts(&second), [repeat, conflict(false)]);
    let third = receipt(world.publish(1, 10, &[event("d", "x", "5")]));
    assert_eq!(verdicts(&third), [visible(3)]);
    assert_eq!(third.base_offset, Offset::new(4));

    let view = world.store.view();
    let partition = &view.partitions(&topic("t"))[0];
    assert_eq!((partition.end, partition.end_batch.get()), (Offset::new(5), 2));
    let batches = view.read(partition.slot, Offset::new(0), 1 << 20).unwrap();
    assert_eq!(batches.len(), 2);
    let mut chain = takt_protocol::words::PartitionChain::default();
    for batch in &batches {
        batch.check(chain, 1).unwrap();
        chain = batch.header().chain;
    }
    assert_eq!(chain, partition.chain);
    let order = view.order(&topic("t"), &OrderKey::new("x").unwrap(), None, 10).unwrap();
    let offsets: Vec<u64> = order.iter().map(|(_, offset)| offset.get()).collect();
    assert_eq!(offsets, [0, 1, 4]);
    let listed = view.conflicts(None, None, 10);
    assert_eq!(listed.len(), 1);
    assert_eq!((listed[0].address.index, listed[0].with), (3, place(0)));
    assert_eq!(view.conflict(listed[0].address).unwrap().batch.header().records, 7);
    let counters = view.status().counters;
    assert_eq!((counters.records, counters.visible, counters.no_identity), (10, 5, 1));
}

#[test]
fn two_keys_that_name_different_firsts_are_a_conflict() {
    let mut world = World::with_topic("plant");
    let keyed = |keys: DedupKeys, data| Event { dedup: keys, ..event("", "", data) };
    let key = |text: &str| Bytes::copy_from_slice(text.as_bytes());
    let two = |a, b, data| keyed(DedupKeys::Two(key(a), key(b)), data);
    let first = receipt(world.publish(
        1,
        1,
        &[
            two("t1", "b1", "one"),
            two("t2", "b2", "two"),
            // Either key repeated is a repeat, and teaches nothing of the other key.
            two("t3", "b1", "one"),
            two("t1", "b2", "one"),
            keyed(DedupKeys::Key(key("t3")), "three"),
        ],
    ));
    let unordered = Verdict::Visible { order_sequence: None, restarted: false };
    let expected = [
        unordered,
        unordered,
        Verdict::Duplicate { of: place(0), order_sequence: None },
        Verdict::Conflict { with: place(0), listed: true },
        unordered,
    ];
    assert_eq!(verdicts(&first), expected);
}

#[test]
fn sequences_are_gapless_and_receipts_are_kept() {
    let mut world = World::with_topic("plant");
    let one = receipt(world.publish(1, 1, &[event("a", "", "1"), event("b", "", "2")]));
    let gap = refused(world.publish(1, 5, &[event("c", "", "3")]));
    assert_eq!((gap.code, gap.expected), (ErrorCode::Gap, Some(Sequence::new(3))));
    let again = receipt(world.publish(1, 1, &[event("a", "", "1"), event("b", "", "2")]));
    assert_eq!(one, again);
    let reused = refused(world.publish(1, 1, &[event("z", "", "1"), event("b", "", "2")]));
    assert_eq!(reused.code, ErrorCode::SequenceReused);

    let opened = world.open_producer("p", "t");
    assert_eq!((opened.epoch.get(), opened.last_sequence.get()), (2, 2));
    assert_eq!(opened.kept.len(), 1);
    assert_eq!(opened.kept[0].receipt, one);
    let fenced = refused(world.publish(1, 3, &[event("c", "", "3")]));
    assert_eq!(fenced.code, ErrorCode::Fenced);
    receipt(world.publish(2, 3, &[event("c", "", "3")]));
}

#[test]
fn sixty_four_receipts_are_kept() {
    let mut world = World::with_topic("plant");
    for i in 1..=66 {
        receipt(world.publish(1, i, &[event(&i.to_string(), "", "")]));
    }
    let old = refused(world.publish(1, 2, &[event("2", "", "")]));
    assert_eq!(old.code, ErrorCode::SequenceReused);
    receipt(world.publish(1, 3, &[event("3", "", "")]));
}

#[test]
fn topics_refuse_conflicts_or_know_no_keys_where_they_say_so() {
    let mut world = World::new("plant");
    let settings = TopicSettings { on_conflict: OnConflict::Refuse, ..TopicSettings::default() };
    world.create("t", settings);
    world.open_producer("p", "t");
    receipt(world.publish(1, 1, &[event("a", "", "1")]));
    let told = receipt(world.publish(1, 2, &[event("a", "", "2")]));
    assert_eq!(verdicts(&told), [Verdict::Conflict { with: place(0), listed: false }]);
    assert_eq!(world.store.view().conflicts(None, None, 10), []);

    let mut world = World::new("plant");
    world.create("t", TopicSettings { dedup: false, ..TopicSettings::default() });
    world.open_producer("p", "t");
    let twice = [event("a", "x", "1"), event("a", "x", "1")];
    let both = receipt(world.publish(1, 1, &twice));
    assert_eq!(verdicts(&both), [visible(1), visible(2)]);
    assert_eq!(world.store.view().status().keys, 0);
}

#[test]
fn a_full_ledger_refuses_fresh_keys_and_answers_known_ones() {
    let disk = SimDisk::new();
    let mut world = World::with(disk, StoreOptions { keys_max: 2, ..options("plant") }, 1);
    world.create("t", TopicSettings::default());
    world.open_producer("p", "t");
    receipt(world.publish(1, 1, &[event("a", "", "1"), event("b", "", "2")]));
    let full = refused(world.publish(1, 3, &[event("a", "", "1"), event("c", "", "3")]));
    assert_eq!((full.code, full.expected), (ErrorCode::LedgerFull, Some(Sequence::new(3))));
    let known = [event("a", "", "1"), event("", "", "keyless")];
    receipt(world.publish(1, 3, &known));
}

#[test]
fn answers_wait_for_their_commit_and_readers_too() {
    let mut world = World::with_topic("plant");
    let operation = world.publication("p", 1, batch(&[event("a", "", "1")], 1));
    let now = world.now();
    assert!(matches!(world.store.stage(operation.clone(), 1, now), Ok(Staged::Held)));
    // The repeat of what is not durable waits too.
    assert!(matches!(world.store.stage(operation, 2, now), Ok(Staged::Held)));
    let slot = world.store.view().partitions(&topic("t"))[0].slot;
    let end = |world: &World| world.store.view().end(slot).unwrap().get();
    let pending = world.store.seal().unwrap().unwrap();
    assert_eq!(end(&world), 0);
    pending.write_and_sync().unwrap();
    assert_eq!(end(&world), 0);
    let answers = world.store.on_synced(pending);
    assert_eq!(answers.iter().map(|(ticket, _)| *ticket).collect::<Vec<_>>(), [1, 2]);
    assert_eq!(end(&world), 1);
}

#[test]
fn after_a_failed_sync_nothing_is_acknowledged() {
    let mut world = World::with_topic("plant");
    let operation = world.publication("p", 1, batch(&[event("a", "", "1")], 1));
    let now = world.now();
    assert!(matches!(world.store.stage(operation.clone(), 1, now), Ok(Staged::Held)));
    let pending = world.store.seal().unwrap().unwrap();
    world.disk.fail_sync_at(world.disk.syncs());
    assert!(pending.write_and_sync().is_err());
    let answers = world.store.on_failed(pending);
    assert_eq!(answers.len(), 1);
    assert_eq!(refused(answers[0].1.clone()).code, ErrorCode::Stopping);
    let Ok(Staged::Answered(2, answer)) = world.store.stage(operation, 2, now) else {
        panic!("answered at once")
    };
    assert_eq!(refused(answer).code, ErrorCode::Stopping);
    assert!(world.store.seal().is_err());
    world.disk = world.disk.crash_image(&mut |_| true);
    world.restart();
    let fresh = world.open_producer("p", "t");
    assert_eq!(fresh.last_sequence.get(), 0);
}

/// A producer that nobody has named opens a session, and that ends.
fn a_transient_comes_and_goes(world: &mut World, who: &str, lost: bool) -> (ProducerId, TopicName) {
    let (producer, topic) = (producer(who), topic("t"));
    let (who, name) = (producer.clone(), topic.clone());
    world.run(Operation::OpenProducer { producer: who, topic: name, transient: true });
    let (who, name) = (producer.clone(), topic.clone());
    world.run(Operation::CloseProducer { lost, producer, topic, epoch: Epoch::new(1) });
    (who, name)
}

#[test]
fn transient_producers_are_forgotten_an_hour_after_their_session() {
    let mut world = World::with_topic("plant");
    let (who, name) = a_transient_comes_and_goes(&mut world, "q", false);
    world.now += 59 * 60 * 1_000_000;
    let now = world.now();
    world.store.tick(now);
    world.settle();
    assert!(world.store.state.producer(&name, &who).is_some());
    world.restart();
    world.now += 61 * 60 * 1_000_000;
    let now = world.now();
    world.store.tick(now);
    world.settle();
    assert!(world.store.state.producer(&name, &who).is_none());
    assert!(world.store.state.producer(&name, &super::producer("p")).is_some());
}

#[test]
fn a_transient_producer_whose_connection_is_lost_may_come_back_for_a_week() {
    let mut world = World::with_topic("plant");
    let (who, name) = a_transient_comes_and_goes(&mut world, "q", true);
    for (hours, known) in [(7 * 24 - 1, true), (2, false)] {
        world.now += hours * 60 * 60 * 1_000_000;
        let now = world.now();
        world.store.tick(now);
        world.settle();
        assert_eq!(world.store.state.producer(&name, &who).is_some(), known);
    }
}

/// Each has receipts: they must not fill the snapshots.
#[test]
fn of_very_many_lost_producers_none_is_known_for_longer_than_an_hour() {
    for (lost, known) in [(1_000, true), (1_001, false)] {
        let mut world = World::with_topic("plant");
        for number in 0..lost {
            a_transient_comes_and_goes(&mut world, &format!("q{number}"), true);
        }
        world.now += 61 * 60 * 1_000_000;
        let now = world.now();
        world.store.tick(now);
        world.settle();
        let (first, name) = (producer("q0"), topic("t"));
        assert_eq!(world.store.state.producer(&name, &first).is_some(), known, "of {lost}");
    }
}
