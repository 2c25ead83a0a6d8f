//! A full disk.

use takt_protocol::words::{CursorName, Offset};

use super::*;

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
        hold: false,
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
