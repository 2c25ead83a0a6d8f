//! Mirrors: byte for byte, in order, from one journal only.

use takt_protocol::batch::StoredBatch;
use takt_protocol::words::{BatchNumber, JournalId, Offset};

use super::*;
use crate::runs::Slot;

pub(super) fn open_mirror(hub: &mut World, journal: JournalId) -> Answer {
    let settings = TopicSettings::default();
    let topics = vec![MirrorTopic { name: topic("t"), settings }];
    let origin = NodeName::new("plant").unwrap();
    hub.run(Operation::OpenMirror { origin, journal, topics })
}

pub(super) fn mirror(
    hub: &mut World,
    slot: Slot,
    journal: JournalId,
    batch: &StoredBatch,
) -> Answer {
    let mut keys = KeyHashes::default();
    hub.store.view().key_hasher().hash_stored(&topic("t"), batch, &mut keys).unwrap();
    batch.check_content(1).unwrap();
    hub.run(Operation::Mirror { slot, journal, batch: batch.clone(), keys })
}

#[test]
fn a_mirror_is_its_origin() {
    let mut plant = World::with_topic("plant");
    receipt(plant.publish(1, 1, &[event("a", "x", "1"), event("a", "x", "2")]));
    receipt(plant.publish(1, 3, &[event("b", "x", "3")]));
    let journal = plant.store.view().journal();
    let from = plant.store.view().partitions(&topic("t"))[0].clone();
    let batches =
        plant.store.view().read_from_batch(from.slot, BatchNumber::new(0), 1 << 20).unwrap();
    assert_eq!(batches.len(), 2);

    let mut hub = World::new("hub");
    hub.create("t", TopicSettings::default());
    let Answer::MirrorOpened(ends) = open_mirror(&mut hub, journal) else { panic!("opened") };
    assert_eq!(ends.len(), 1);
    assert_eq!(ends[0].end, None);
    let slot = ends[0].slot;
    let gap = refused(mirror(&mut hub, slot, journal, &batches[1]));
    assert_eq!(gap.code, ErrorCode::Gap);
    for batch in &batches {
        assert!(matches!(mirror(&mut hub, slot, journal, batch), Answer::Mirrored { .. }));
    }
    // Again is no error, and changes nothing.
    let Answer::Mirrored { end, .. } = mirror(&mut hub, slot, journal, &batches[0]) else {
        panic!("mirrored")
    };
    assert_eq!((end.next_batch, end.chain), (from.end_batch, from.chain));
    hub.restart();
    let here = hub.store.view().partition(slot).unwrap();
    assert_eq!((here.end, here.chain, here.mirror_of), (from.end, from.chain, Some(journal)));
    assert_eq!(hub.store.view().conflicts(Some(&topic("t")), None, 9).len(), 1);
    let order = hub.store.view().order(&topic("t"), &OrderKey::new("x").unwrap(), None, 9).unwrap();
    assert_eq!(order, [(slot, Offset::new(0)), (slot, Offset::new(1))]);
    assert_eq!(hub.store.view().status().keys, 0, "mirrors do not touch the ledger");

    let other = JournalId::new([9; 16]);
    assert_eq!(refused(open_mirror(&mut hub, other)).code, ErrorCode::Diverged);
    assert_eq!(refused(mirror(&mut hub, slot, other, &batches[1])).code, ErrorCode::Diverged);
    // A plant that was set back and went on differently has other chains.
    let mut twin = World::with_topic("plant");
    for (first, id) in [(1, "q"), (2, "r"), (3, "s")] {
        receipt(twin.publish(1, first, &[event(id, "x", id)]));
    }
    let slot_there = twin.store.view().partitions(&topic("t"))[0].slot;
    let third = twin.store.view().read(slot_there, Offset::new(2), 1).unwrap().remove(0);
    assert_eq!(refused(mirror(&mut hub, slot, journal, &third)).code, ErrorCode::Diverged);
}
