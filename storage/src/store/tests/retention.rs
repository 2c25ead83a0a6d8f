//! Retention by age: a record is kept for as long as it is young, wherever it was judged.

use std::time::Duration;

use takt_protocol::words::{BatchNumber, Offset};

use super::mirror::{mirror, open_mirror};
use super::side::{fill, retain};
use super::*;

const HOUR_US: i64 = 60 * 60 * 1_000_000;

/// A store that keeps what is younger than a day; nothing waits for an uplink.
fn aged(node: &str) -> World {
    let age = Duration::from_hours(24);
    let options = StoreOptions { retention_age: Some(age), ..options(node) };
    let mut world = World::with(SimDisk::new(), options, 1);
    world.store.set_uplink_needs(Some(BTreeMap::new()));
    world
}

fn own() -> World {
    let mut world = aged("plant");
    world.create("t", TopicSettings::default());
    world.open_producer("p", "t");
    fill(&mut world, &mut 1, 5);
    world
}

/// A hub with a mirror of what a plant has judged just now, and with nothing of its own.
fn mirrored() -> World {
    let plant = own();
    let journal = plant.store.view().journal();
    let from = plant.store.view().partitions(&topic("t"))[0].slot;
    let batches = plant.store.view().read_from_batch(from, BatchNumber::new(0), 1 << 24).unwrap();
    let mut hub = aged("hub");
    hub.now = plant.now;
    let Answer::MirrorOpened(ends) = open_mirror(&mut hub, journal) else { panic!("opened") };
    for batch in &batches {
        assert!(matches!(mirror(&mut hub, ends[0].slot, journal, batch), Answer::Mirrored { .. }));
    }
    hub
}

fn start(world: &mut World) -> Offset {
    retain(world);
    world.store.view().all_partitions()[0].start
}

#[test]
fn records_are_kept_until_they_are_too_old() {
    for mut world in [own(), mirrored()] {
        assert!(world.store.state.control.manifest.files.len() >= 3);
        assert_eq!(start(&mut world), Offset::new(0));
        // What is sealed by a start is no older for that.
        world.restart();
        world.store.set_uplink_needs(Some(BTreeMap::new()));
        let end = world.store.view().all_partitions()[0].end;
        world.now += 23 * HOUR_US;
        assert_eq!(start(&mut world), Offset::new(0));
        let current = world.store.journal.files().last().map(|file| file.start);
        assert_eq!(Some(world.store.state.control.manifest.runs_upto), current, "all is sealed");
        world.now += 2 * HOUR_US;
        assert_eq!(start(&mut world), end);
    }
}

#[test]
fn only_what_goes_upstream_waits_for_the_upstream() {
    for (topics, held) in [(None, true), (Some(["t"]), true), (Some(["u"]), false)] {
        let mut world = own();
        let topics = topics.map(|topics| topics.map(topic).into());
        world.store.set_uplink_topics(topics);
        world.store.set_uplink_needs(None);
        world.now += 25 * HOUR_US;
        assert_eq!(start(&mut world) == Offset::new(0), held);
    }
}

#[test]
fn no_record_is_older_than_is_credible() {
    let mut world = own();
    assert_eq!(world.store.newest_append_time().map(|at| at.as_micros() <= world.now), Some(true));
    world.store.set_age_time_max(Timestamp::from_micros(world.now + 23 * HOUR_US));
    world.now += 10 * 365 * 24 * HOUR_US;
    assert_eq!(start(&mut world), Offset::new(0));
    world.store.set_age_time_max(Timestamp::from_micros(world.now));
    assert!(start(&mut world) > Offset::new(0));
}
