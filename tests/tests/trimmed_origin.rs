//! An origin that has dropped its oldest files before it ever had a hub: its mirror begins where it
//! does, says so, and is the same from there on, also after a power cut.

use std::sync::Arc;

use takt_client::TopicName;
use takt_protocol::words::BatchNumber;
use takt_storage::disk::sim::SimDisk;
use takt_storage::entry::TopicSettings;
use takt_storage::store::{Answer, MirrorTopic, Operation, StoreOptions};
use takt_tests::driver::{Driver, options};
use takt_tests::events::events;

#[test]
fn an_empty_mirror_begins_where_its_origin_does() {
    let small = StoreOptions { retention_bytes: 256 << 10, ..options("munich") };
    let (mut origin, _) = Driver::open(Arc::new(SimDisk::new()), small, 1, "t").unwrap();
    origin.begin(TopicSettings::default());
    for round in 0..60 {
        let answer = origin.publish(&events(round * 20..round * 20 + 20, 7, 0));
        assert!(matches!(answer, Answer::Receipt(_)), "{answer:?}");
        origin.settle();
    }
    let own = origin.store.view().all_partitions()[0].clone();
    assert!(own.start_batch > BatchNumber::new(0), "files were dropped");

    let disk = SimDisk::new();
    let (mut hub, _) = Driver::open(Arc::new(disk.clone()), options("hub"), 2, "t").unwrap();
    let (name, journal) = (TopicName::new("t").unwrap(), origin.store.view().journal());
    let topics = vec![MirrorTopic { name, settings: TopicSettings::default() }];
    let open = Operation::OpenMirror { origin: own.id.origin.clone(), journal, topics };
    let Answer::MirrorOpened(ends) = hub.ask(open.clone()) else { panic!("no mirror") };
    assert_eq!(ends[0].end, None);
    let slot = ends[0].slot;
    let batches =
        origin.store.view().read_from_batch(own.slot, own.start_batch, usize::MAX).unwrap();

    // Without having been told, a later first batch is a gap.
    let answer = hub.mirror(slot, journal, batches[0].clone());
    assert!(matches!(answer, Answer::Refused(_)), "{answer:?}");
    let start = Operation::StartMirror {
        slot,
        journal,
        batch: own.start_batch,
        offset: own.start,
        chain: own.start_chain,
    };
    assert_eq!(hub.ask(start.clone()), Answer::MirrorStarted);
    assert!(matches!(hub.ask(start), Answer::Refused(_)), "a mirror begins once");
    for batch in &batches {
        let answer = hub.mirror(slot, journal, batch.clone());
        assert!(matches!(answer, Answer::Mirrored { .. }), "{answer:?}");
    }

    let digest = hub.store.state_digest();
    drop(hub);
    disk.crash(&mut |_| false);
    let (mut hub, _) = Driver::open(Arc::new(disk), options("hub"), 3, "t").unwrap();
    assert_eq!(hub.store.state_digest(), digest);
    let mirror = hub.store.view().partition(slot).unwrap();
    assert_eq!((mirror.start, mirror.start_batch), (own.start, own.start_batch));
    assert_eq!((mirror.end, mirror.chain), (own.end, own.chain));
    let mirrored = hub.store.view().read_from_batch(slot, own.start_batch, usize::MAX).unwrap();
    let bytes = |batches: &[takt_protocol::batch::StoredBatch]| {
        batches.iter().flat_map(|batch| batch.pieces().flatten().copied()).collect::<Vec<u8>>()
    };
    assert_eq!(bytes(&mirrored), bytes(&batches));
    let Answer::MirrorOpened(ends) = hub.ask(open) else { panic!("no mirror") };
    assert_eq!(ends[0].end.map(|end| end.next_batch), Some(own.end_batch));
}
