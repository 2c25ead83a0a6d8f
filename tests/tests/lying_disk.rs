//! A disk that answers syncs and keeps nothing. No node can survive that alone; what was lost comes
//! out where anything that remembers is left: in the journal's own files, or at the hub.
#![allow(clippy::unwrap_used, reason = "a test")]

use std::sync::Arc;
use std::time::Instant;

use takt_broker::access::Place;
use takt_broker::logic::uplink::{End, UplinkSession};
use takt_broker::logic::{Context, MirrorSession, Session, SessionEvent};
use takt_client::tls::{Identity, TrustDomain};
use takt_protocol::codes::ErrorCode;
use takt_protocol::wire::{Frame, FrameDecoder, OutFrame};
use takt_protocol::words::BatchNumber;
use takt_storage::disk::sim::{SECTOR_BYTES, SimDisk};
use takt_storage::entry::TopicSettings;
use takt_storage::store::{Answer, OpenError};
use takt_tests::driver::{self, Driver};
use takt_tests::events::events;

fn open(disk: &SimDisk, node: &str, seed: u64) -> Result<Driver, OpenError> {
    let disk = Arc::new(disk.clone());
    Driver::open(disk, driver::options(node), seed, "t").map(|(driver, _)| driver)
}

/// Publishes batches `from..to`, one commit each.
fn publish(plant: &mut Driver, from: u64, to: u64) {
    for batch in from..to {
        let answer = plant.publish(&events(batch * 10..batch * 10 + 10, 3, 0));
        assert!(matches!(answer, Answer::Receipt(_)), "{answer:?}");
    }
}

fn end(node: &Driver) -> BatchNumber {
    node.store.view().all_partitions()[0].end_batch
}

fn arrived(frame: &OutFrame) -> Frame {
    let mut decoder = FrameDecoder::new();
    decoder.push(frame.to_bytes());
    decoder.next().unwrap().expect("a whole frame")
}

/// Links the plant to its hub until nothing moves any more: how the link ended, if it did, and
/// what the hub says of it.
fn link(plant: &Driver, hub: &mut Driver) -> (Option<End>, Vec<SessionEvent>) {
    let now = Instant::now();
    let domain = TrustDomain::new("takt.local").unwrap();
    let mut down = MirrorSession::new(Context {
        place: Place::Hub,
        peer: Identity::plant_node(&domain, "munich", "node").unwrap(),
        view: hub.store.view().clone(),
        session_bytes_max: 1 << 20,
    });
    let mut up = UplinkSession::new(plant.store.view().clone(), None);
    up.on_connected(now);
    let _hello = up.poll_transmit().unwrap();
    let mut moved = true;
    while moved {
        moved = false;
        while let Some(frame) = up.poll_transmit() {
            down.handle_frame(now, arrived(&frame)).unwrap();
            moved = true;
        }
        while let Some(request) = down.poll_request() {
            let answer = hub.ask(request.operation);
            if let Some(number) = request.number {
                down.on_answer(number, Ok(answer));
            }
            moved = true;
        }
        while let Some(frame) = down.poll_transmit() {
            up.handle_frame(now, arrived(&frame));
            moved = true;
        }
        if let Some(read) = up.poll_read() {
            up.on_read(read.run(plant.store.view()));
            moved = true;
        }
    }
    let said = std::iter::from_fn(|| down.poll_event()).collect();
    (up.ended().cloned(), said)
}

/// A plant with ten batches, after which its disk begins to lie.
fn plant_with_a_liar() -> (SimDisk, Driver) {
    let disk = SimDisk::new();
    let mut plant = open(&disk, "munich", 1).unwrap();
    plant.begin(TopicSettings::default());
    publish(&mut plant, 0, 10);
    disk.lie();
    (disk, plant)
}

#[test]
fn what_the_hub_holds_and_a_lying_disk_lost_is_a_divergence() {
    let (disk, mut plant) = plant_with_a_liar();
    let mut hub = open(&SimDisk::new(), "hub", 2).unwrap();
    publish(&mut plant, 10, 20);
    assert_eq!(link(&plant, &mut hub).0, None);
    assert_eq!((end(&plant).get(), end(&hub).get()), (20, 20));
    disk.crash(&mut |_| false);

    // What is left is sound in itself, so the plant starts, and lacks what it has acknowledged.
    let mut plant = open(&disk, "munich", 3).unwrap();
    assert_eq!(end(&plant).get(), 10);
    for round in 0..3 {
        let (ended, said) = link(&plant, &mut hub);
        assert!(matches!(ended, Some(End::Diverged(_))), "{ended:?}");
        let refused = |event: &SessionEvent| matches!(event, SessionEvent::LinkRefused(why) if why.code == ErrorCode::Diverged);
        assert!(said.iter().any(refused), "{said:?}");
        assert_eq!(end(&hub).get(), 20, "the hub keeps what it had");
        // Nor is it hidden by what the plant stores from then on, be it as much or more.
        plant.begin(TopicSettings::default());
        publish(&mut plant, 100 + round * 10, 110 + round * 10);
    }
    assert!(end(&plant) > end(&hub));
}

/// All batches that the node serves, one behind the other; `None` where a read fails.
fn served(node: &Driver) -> Option<Vec<u8>> {
    let view = node.store.view();
    let partition = view.all_partitions().into_iter().next()?;
    let (mut bytes, mut next) = (Vec::new(), partition.start_batch);
    while next < partition.end_batch {
        for batch in view.read_from_batch(partition.slot, next, 1 << 20).ok()? {
            batch.pieces().for_each(|piece| bytes.extend_from_slice(piece));
            next = batch.header().batch_number.advance(1);
        }
    }
    Some(bytes)
}

#[test]
fn a_hole_in_what_was_proved_durable_is_never_served() {
    let (disk, mut plant) = plant_with_a_liar();
    publish(&mut plant, 10, 40);
    let whole = served(&plant).unwrap();
    // With a mark, so that the last batch has its witness too.
    plant.close();
    let pending = disk.pending(SECTOR_BYTES);
    let (mut refused, mut failed, mut shorter) = (0, 0, 0);
    for lost in 0..pending {
        let image = disk.crash_image(&mut |n| n != lost);
        match open(&image, "munich", 4).map(|plant| served(&plant)) {
            Err(_) => refused += 1,
            Ok(None) => failed += 1,
            // The hub holds more: as above.
            Ok(Some(left)) if left.len() < whole.len() => {
                assert!(whole.starts_with(&left), "{lost} of {pending}");
                shorter += 1;
            }
            Ok(Some(left)) => assert!(left == whole, "{lost} of {pending}"),
        }
    }
    println!(
        "of {pending} changes, {refused} refuse the start, {failed} a read, {shorter} shorten"
    );
    assert!(refused > 0 && failed > 0, "holes in the newest file, and in those before it");
    assert!(shorter <= 1, "a hole is no end, but for the name of the newest file");
}

/// What never left the plant, and whose producers are gone, nobody can miss.
#[test]
fn a_suffix_that_nobody_else_has_is_lost_untold() {
    let (disk, mut plant) = plant_with_a_liar();
    let mut hub = open(&SimDisk::new(), "hub", 2).unwrap();
    assert_eq!(link(&plant, &mut hub).0, None);
    publish(&mut plant, 10, 20);
    disk.crash(&mut |_| false);
    let plant = open(&disk, "munich", 3).unwrap();
    assert_eq!(end(&plant).get(), 10);
    assert_eq!(link(&plant, &mut hub).0, None);
}
