//! Keys and heads that the horizon has passed.

use takt_protocol::words::OrderSequence;

use super::merging::{Keys, merged, names};
use super::*;

/// A node whose topic has this horizon, in seconds.
fn with_horizon(horizon_s: u64) -> World {
    let mut world = World::new("plant");
    world.create("t", TopicSettings { horizon_s, ..TopicSettings::default() });
    world.open_producer("p", "t");
    world
}

impl World {
    fn pass_seconds(&mut self, seconds: i64) {
        self.now += seconds * 1_000_000;
        // The time of the newest append counts.
        self.open_producer("clock", "t");
        for _ in 0..3 {
            let now = self.now();
            self.store.tick(now);
            self.settle();
        }
    }
}

#[test]
fn keys_are_forgotten_once_the_horizon_has_passed_and_not_before() {
    for merges in [false, true] {
        let mut world = with_horizon(3_000);
        let mut keys = Keys::default();
        keys.fill(&mut world, if merges { 8 } else { 3 });
        world.settle();
        assert_eq!(!merged(&world).is_empty(), merges);
        world.pass_seconds(2_990);
        keys.check(&mut world);
        let starts = |world: &World| -> Vec<Position> {
            world.store.journal.files().iter().map(|file| file.start).collect()
        };
        let (known, files) = (world.store.view().status().keys, starts(&world));
        world.pass_seconds(20);
        let left = world.store.view().status().keys;
        assert!(left < known / 2, "{left} of {known} keys are known");
        assert!(merged(&world).is_empty(), "no merged run is left");
        // Retention is another matter: all events are there, with their runs.
        assert!(starts(&world).starts_with(&files), "no file is dropped");
        assert!(names(&world).iter().all(|name| name.starts_with("run-")));
        world.restart();
        assert_eq!(world.report.runs_rebuilt, 0);
        assert_eq!(world.store.view().status().keys, left);

        // The first of all is new again; and is known from then on, also behind a merge.
        let first = keys.events[0].clone();
        let known = receipt(world.publish(1, keys.last + 1, std::slice::from_ref(&first)));
        assert!(matches!(verdicts(&known)[..], [Verdict::Visible { .. }]));
        keys.last += 1;
        keys.events = vec![first];
        keys.fill(&mut world, 8);
        world.settle();
        let upto = world.store.state.control.manifest.keys_from;
        assert!(upto > Position::ZERO);
        assert_eq!(merged(&world)[0].start, upto, "what is merged begins where keys are known");
        let known = receipt(world.publish(1, keys.last + 1, &keys.events[..1]));
        assert!(matches!(verdicts(&known)[..], [Verdict::Duplicate { .. }]));
        world.restart();
        assert_eq!(world.report.runs_rebuilt, 0);
    }
}

#[test]
fn what_is_merged_is_forgotten_a_window_at_a_time() {
    let mut world = with_horizon(3_000);
    let mut keys = Keys::default();
    for _ in 0..8 {
        keys.fill(&mut world, 3);
        world.settle();
        world.pass_seconds(500);
        assert!(world.store.state.tables.runs().len() <= 6);
    }
    let per_round = keys.events.len() / 8;
    // What is older than four thirds of the horizon is gone, and a file's run with it.
    let known = world.store.view().status().keys;
    assert!((6 * per_round..=8 * per_round).contains(&known), "{known} of 8 times {per_round}");
    world.pass_seconds(4_000);
    assert!(world.store.view().status().keys < per_round);
}

/// By the rule and not by chance: however many heads are still in memory.
#[test]
fn an_order_that_was_quiet_for_longer_than_the_horizon_begins_again() {
    let mut world = with_horizon(3_000);
    let say = |world: &mut World, sequence: u64, id: &str| {
        let known = receipt(world.publish(1, sequence, &[event(id, "order", "")]));
        verdicts(&known)[0]
    };
    let is = |sequence, restarted| Verdict::Visible {
        order_sequence: Some(OrderSequence::new(sequence)),
        restarted,
    };
    assert_eq!(say(&mut world, 1, "a"), is(1, false));
    world.pass_seconds(2_900);
    assert_eq!(say(&mut world, 2, "b"), is(2, false));
    world.pass_seconds(3_100);
    world.restart();
    assert_eq!(say(&mut world, 3, "c"), is(1, true));
    assert_eq!(say(&mut world, 4, "d"), is(2, false));
    // A clock that leaps ahead ends no order: nobody believes it.
    world.store.set_age_time_max(Timestamp::from_micros(world.now));
    world.now += 10_000_000_000_000;
    assert_eq!(say(&mut world, 5, "e"), is(3, false));
}

/// What was dropped before a damaged run, and is forgotten, is not needed to make it again.
#[test]
fn a_run_is_made_again_behind_what_was_forgotten_and_dropped() {
    let mut world = side::limited();
    world.create("u", TopicSettings { horizon_s: 9_000_000, ..TopicSettings::default() });
    let mut keys = Keys::default();
    keys.fill(&mut world, 8);
    world.settle();
    side::retain(&mut world);
    world.pass_seconds(400 * 24 * 3_600 + 60);
    assert!(merged(&world).is_empty());
    keys.fill(&mut world, 2);
    world.settle();
    let newest = world.store.state.tables.runs().last().unwrap().name();
    Disk::remove(&world.disk, &newest).unwrap();
    Disk::sync_dir(&world.disk).unwrap();
    world.restart();
    assert!(world.report.runs_rebuilt > 0);
}
