//! The writer: what comes out, in which order, and how it ends.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::sync::Mutex;

use takt_protocol::codes::ErrorCode;

use super::*;
use crate::logic::writer::WriterFailure;

#[test]
fn answers_follow_their_sync_and_one_commit_is_out_at_a_time() {
    let mut world = World::new("plant");
    let first = world.submit(create("a"));
    let second = world.submit(create("b"));
    assert_eq!(world.log, [Output::Commit], "nothing is answered before the sync");
    world.sync();
    let synced = [Output::Commit, Output::Answer(first), Output::Durable(1), Output::Commit];
    assert_eq!(world.log, synced, "the next one fills while the first is written");
    world.sync();
    assert_eq!(world.log[4..], [Output::Answer(second), Output::Durable(2)]);
}

#[test]
fn a_commit_is_alone_where_nothing_came_while_the_one_before_was_written() {
    let mut world = World::new("plant");
    world.submit(create("a"));
    assert!(world.alone, "nothing was before it");
    world.submit(create("b"));
    world.sync();
    assert!(world.commit.is_some() && !world.alone, "b came meanwhile");
    world.sync();
    world.submit(create("c"));
    assert!(world.alone, "nothing came while b was written");
    world.settle();
    for n in 0..1_000 {
        world.tickets += 1;
        world.core.submit(create(&format!("t{n}")), world.tickets);
    }
    world.turn();
    assert!(world.commit.is_some());
    assert!(!world.alone, "what it does not hold waits for the next one");
}

#[test]
fn a_failed_sync_refuses_all_that_waits_and_ends_the_writer() {
    let mut world = World::new("plant");
    world.settle();
    let mut waiting = 0;
    while world.core.wants_requests() {
        waiting = world.submit(create(&format!("t{waiting}")));
    }
    world.disk.fail_sync_at(world.disk.syncs());
    world.sync();
    let refused =
        |answer: &Answer| matches!(answer, Answer::Refused(r) if r.code == ErrorCode::Stopping);
    assert_eq!(world.answers.len() as u64, waiting, "what was sealed, staged, and in the backlog");
    assert!(world.answers.iter().all(|(_, answer)| refused(answer)));
    assert!(matches!(world.core.end(), Some(Err(WriterFailure::Commit(_)))));
    world.submit(create("late"));
    assert!(world.answers.last().is_some_and(|(_, answer)| refused(answer)));
    assert!(world.commit.is_none(), "a failed sync is never tried again");
}

#[test]
fn a_stop_does_what_was_submitted_and_leaves_a_mark() {
    let mut world = World::new("plant");
    world.submit(create("a"));
    world.core.stop();
    let late = world.submit(create("b"));
    assert_eq!(world.log, [Output::Commit, Output::Answer(late)]);
    assert!(world.core.end().is_none());
    world.sync();
    assert!(world.commit.is_some() && world.core.end().is_none(), "the mark is due");
    world.sync();
    assert!(matches!(world.core.end(), Some(Ok(()))));
    assert_eq!(world.core.commits(), 2);
    world.core.close();
}

#[test]
fn the_last_commit_gets_its_witness_after_some_quiet() {
    let mut world = World::with_topic("plant");
    assert_eq!(world.core.poll_timeout(world.now), MARK_AFTER);
    world.pass(MARK_AFTER / 2);
    assert!(world.commit.is_none());
    assert_eq!(world.core.poll_timeout(world.now), MARK_AFTER / 2);
    world.pass(MARK_AFTER / 2);
    world.sync();
    world.pass(MARK_AFTER * 10);
    assert!(world.commit.is_none(), "one mark is enough");
}

/// Makes topics until one waits for the next journal file.
fn wait_for_a_file(world: &mut World, pause: Duration) -> u64 {
    for number in 0..1_000 {
        let ticket = world.submit(create(&format!("t{number}")));
        world.settle();
        if world.answers.last().is_none_or(|(answered, _)| *answered != ticket) {
            return ticket;
        }
        world.pass(pause);
        world.settle();
    }
    panic!("the file ends");
}

#[test]
fn a_stop_waits_for_the_file_that_the_last_commit_needs() {
    let mut world = World::new("plant");
    world.settle();
    world.disk.fail_opens(true);
    let waiting = wait_for_a_file(&mut world, Duration::ZERO);
    world.core.stop();
    world.turn();
    assert!(world.core.end().is_none(), "it is not written");
    world.disk.fail_opens(false);
    world.pass(Duration::from_secs(2));
    world.settle();
    assert_eq!(world.answers.last(), Some(&(waiting, Answer::TopicCreated { fresh: true })));
    assert!(matches!(world.core.end(), Some(Ok(()))));
    assert!(!world.core.store().wants_mark());
}

#[test]
fn a_stop_ends_and_says_why_where_no_file_can_be_made() {
    let mut world = World::new("plant");
    world.settle();
    world.disk.fail_opens(true);
    wait_for_a_file(&mut world, Duration::from_secs(2));
    world.core.stop();
    world.pass(Duration::from_secs(2));
    let Some(Err(failure)) = world.core.end() else { panic!("{:?}", world.core.end()) };
    assert!(failure.to_string().contains("too many open files"), "{failure}");
}

/// What is logged meanwhile.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_file_that_cannot_be_made_is_logged_once_with_its_reason() {
    let (mut world, log) = (World::new("plant"), Log::default());
    let writer = log.clone();
    let subscriber =
        tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).finish();
    tracing::subscriber::with_default(subscriber, || {
        world.disk.fail_opens(true);
        for _ in 0..5 {
            world.pass(Duration::from_secs(2));
        }
        world.disk.fail_opens(false);
        world.pass(Duration::from_secs(2));
    });
    let log = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    assert_eq!(log.matches("could not be made").count(), 1, "{log}");
    assert!(log.contains("too many open files") && log.contains("spare journal file"), "{log}");
    assert!(log.contains("the file is made"), "{log}");
}

#[test]
fn a_wall_clock_that_leaps_ahead_does_not_empty_the_node() {
    let mut world = link::plant(150);
    world.core.hold_for_uplink(Some(BTreeMap::new()));
    let start = |world: &mut World| {
        for _ in 0..3 {
            world.pass(Duration::from_secs(2));
            world.settle();
        }
        world.core.view().partitions(&topic("t"))[0].start.get()
    };
    assert_eq!(start(&mut world), 0);
    world.wall += 10 * 365 * i64::try_from(DAY.as_micros()).unwrap();
    assert_eq!(start(&mut world), 0);
    world.pass(DAY + Duration::from_hours(1));
    assert!(start(&mut world) > 0, "that time has passed");
}
