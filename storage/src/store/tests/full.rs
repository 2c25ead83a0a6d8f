//! A full disk.

use takt_protocol::words::{CursorName, Offset};

use super::*;
use crate::disk::sim::{Call, Fault};

#[test]
fn a_full_disk_refuses_publishing_serves_cursors_and_recovers() {
    let mut world = World::with_topic("plant");
    world.jobs();
    let used: u64 = Disk::list(&world.disk).unwrap().iter().map(|(_, len)| len).sum();
    world.disk.set_capacity(Some(used + (200 << 10)));
    let data = "d".repeat(3_000);
    let mut first = 1;
    let refusal = loop {
        assert!(first < 1_000, "the disk fills");
        let id = format!("e{first}");
        let answer = world.publish(1, first, &[event(&id, "x", &data)]);
        if !matches!(answer, Answer::Receipt(_)) {
            break refused(answer);
        }
        first += 1;
        world.now += 1_100_000;
        world.jobs();
    };
    assert_eq!((refusal.code, refusal.expected), (ErrorCode::Full, Some(Sequence::new(first))));
    assert!(world.store.view().status().full);
    let slot = world.store.view().partitions(&topic("t"))[0].slot;
    let set = |at: u64| Operation::SetCursor {
        name: CursorName::new("c").unwrap(),
        topic: topic("t"),
        hold: None,
        positions: vec![(slot, Offset::new(at))],
    };
    for at in 0..100 {
        assert_eq!(world.run(set(at % first)), Answer::CursorSet, "cursor {at}");
        world.now += 1_100_000;
        let now = world.now();
        world.store.tick(now);
        world.jobs();
    }
    let known = receipt(world.publish(1, 1, &[event("e1", "x", &data)]));
    assert_eq!(known.first_sequence.get(), 1);

    world.restart();
    world.now += 1_100_000;
    world.jobs();
    assert!(world.store.view().status().full);
    world.disk.set_capacity(None);
    world.now += 1_100_000;
    world.jobs();
    assert!(!world.store.view().status().full);
    receipt(world.publish(1, first, &[event("new", "x", &data)]));
    let batches = world.store.view().read(slot, Offset::new(0), 1 << 24).unwrap();
    assert_eq!(batches.len() as u64, first);
}

/// Publishes until the store has no answer, and returns the first sequence of that batch.
fn publish_until_stuck(world: &mut World) -> u64 {
    let data = "d".repeat(3_000);
    for first in 1..100 {
        let operation =
            world.publication("p", 1, batch(&[event(&first.to_string(), "x", &data)], first));
        let now = world.now();
        let Ok(Staged::Held) = world.store.stage(operation, first, now) else { panic!("{first}") };
        for _ in 0..3 {
            world.now += 1_100_000;
            world.sync().unwrap();
        }
        if world.store.stuck().is_some() {
            return first;
        }
    }
    panic!("the file ends");
}

#[test]
fn where_no_file_can_be_opened_all_is_refused_until_one_can() {
    let mut world = World::with_topic("plant");
    world.jobs();
    // The next file is there, the one behind it is not.
    world.disk.fail_opens(true);
    let first = publish_until_stuck(&mut world);
    assert!(first > 15, "a spare that cannot be made does no harm before it is needed");
    assert!(world.store.view().status().full);
    let batch = batch(&[event("later", "x", "")], first + 1);
    let publication = world.publication("p", 1, batch);
    let (name, hold) = (CursorName::new("c").unwrap(), None);
    let cursor = Operation::SetCursor { name, topic: topic("t"), hold, positions: Vec::new() };
    for operation in [publication, cursor] {
        let now = world.now();
        let Ok(Staged::Answered(_, answer)) = world.store.stage(operation, 7, now) else {
            panic!("it is not answered")
        };
        let refusal = refused(answer);
        assert_eq!(refusal.code, ErrorCode::Full);
        assert!(refusal.detail.contains("too many open files"), "{refusal}");
    }
    world.disk.fail_opens(false);
    world.now += 1_100_000;
    world.jobs();
    assert_eq!(world.store.stuck(), None);
    let answers = world.sync().unwrap();
    let [(ticket, answer)] = <[_; 1]>::try_from(answers).unwrap();
    assert_eq!((ticket, receipt(answer).first_sequence.get()), (first, first));
    receipt(world.publish(1, first + 1, &[event("later", "x", "")]));
}

/// The next file would be the witness of what was acknowledged last, and it may never come.
#[test]
fn damage_of_what_was_acknowledged_last_is_missed_by_no_start_while_a_file_is_waited_for() {
    let mut world = World::with_topic("plant");
    world.jobs();
    world.disk.fail_opens(true);
    publish_until_stuck(&mut world);
    world.disk.fail_opens(false);
    let file = &world.store.journal.current;
    let (name, behind) = (file.name(), file.offset(world.store.data_end));
    let image = world.disk.clone();
    image.flip_bit(&name, (behind - 2_048) * 8);
    let Err(error) = open(&image, &world.options, 9, world.now) else { panic!("it is missed") };
    assert!(error.to_string().contains("damaged"), "{error}");
}

#[test]
fn a_disk_that_makes_no_file_has_its_reserve() {
    // With one spare the next is the first file that is made.
    let options = StoreOptions { spare_files: 1, ..options("plant") };
    let mut world = World::with_topic_and(options);
    world.jobs();
    let data = "d".repeat(3_000);
    let mut first = 1;
    let refusal = loop {
        world.disk.fail_call_at(Call::Create, world.disk.calls(Call::Create), Fault::Error);
        let answer = world.publish(1, first, &[event(&first.to_string(), "x", &data)]);
        if !matches!(answer, Answer::Receipt(_)) {
            break refused(answer);
        }
        first += 1;
        world.now += 1_100_000;
    };
    assert!(first > 15, "{first}");
    assert_eq!((refusal.code, refusal.expected), (ErrorCode::Full, Some(Sequence::new(first))));
    assert!(refusal.detail.contains("the call failed"), "{refusal}");
}

/// The reserve is no help then, and what is staged is neither lost nor the end of the node.
#[test]
fn a_snapshot_too_long_for_the_reserve_waits_for_room() {
    let mut world = World::with_topic("plant");
    let chunk = world.options.journal.reserve_chunk_bytes;
    for n in 0..400 {
        let name = CursorName::new(&format!("{n:060}")).unwrap();
        let set =
            Operation::SetCursor { name, topic: topic("t"), hold: None, positions: Vec::new() };
        assert_eq!(world.run(set), Answer::CursorSet);
    }
    assert!(world.store.journal.spare_bytes_min(world.store.state.snapshot().len()) > chunk);
    world.settle();
    // No job is done meanwhile: what is staged waits for the file behind the next one.
    let data = "d".repeat(3_000);
    let mut first = 0;
    loop {
        first += 1;
        let batch = batch(&[event(&first.to_string(), "x", &data)], first);
        let (operation, now) = (world.publication("p", 1, batch), world.now());
        let Ok(Staged::Held) = world.store.stage(operation, first, now) else { panic!("{first}") };
        let Some(pending) = world.store.seal().unwrap() else { break };
        pending.write_and_sync().unwrap();
        world.store.on_synced(pending);
    }
    assert!(first > 1, "what is staged follows what is durable");
    let used: u64 = Disk::list(&world.disk).unwrap().iter().map(|(_, len)| len).sum();
    world.disk.set_capacity(Some(used));
    world.jobs();
    assert!(world.store.seal().unwrap().is_none());
    let why = world.store.stuck().expect("it says so");
    assert!(why.contains("no journal file can be made"), "{why}");
    let now = world.now();
    let later = world.publication("p", 1, batch(&[event("later", "x", "")], first + 1));
    let Ok(Staged::Answered(_, answer)) = world.store.stage(later, 7, now) else { panic!() };
    assert_eq!(refused(answer).code, ErrorCode::Full);

    world.disk.set_capacity(None);
    world.now += 1_100_000;
    world.jobs();
    assert_eq!(world.store.stuck(), None);
    let answers = world.sync().unwrap();
    assert!(answers.into_iter().any(|(ticket, answer)| {
        ticket == first && receipt(answer).first_sequence.get() == first
    }));
    receipt(world.publish(1, first + 1, &[event("later", "x", "")]));
}
