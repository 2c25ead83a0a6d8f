//! Runs that are merged, runs that turn out damaged, and heads that are not in memory.

use std::collections::BTreeSet;

use takt_protocol::event::DedupKeys;
use takt_protocol::words::OrderSequence;

use super::*;
use crate::runs::{KeyRun, RunInfo, YOUNG_RUNS_MAX};

/// Publishes keys until a number of journal files are left, and remembers them.
#[derive(Default)]
pub(super) struct Keys {
    pub(super) last: u64,
    pub(super) events: Vec<Event>,
}

impl Keys {
    pub(super) fn fill(&mut self, world: &mut World, files: usize) {
        let until = world.store.journal.position().get() + files as u64 * (60 << 10);
        while world.store.journal.position().get() < until {
            let n = self.events.len();
            let order = format!("order {}", n / 12 % 90);
            let events: Vec<Event> =
                (n..n + 12).map(|n| event(&format!("e{n}"), &order, &"d".repeat(300))).collect();
            let known = receipt(world.publish(1, self.last + 1, &events));
            assert!(verdicts(&known).iter().all(Verdict::is_visible));
            self.last += 12;
            self.events.extend(events);
        }
    }

    /// Each is a repeat, and each with other content a conflict; orders go on where they were.
    pub(super) fn check(&mut self, world: &mut World) {
        for events in self.events.chunks(200) {
            let known = receipt(world.publish(1, self.last + 1, events));
            self.last += events.len() as u64;
            for verdict in verdicts(&known) {
                assert!(matches!(verdict, Verdict::Duplicate { .. }), "{verdict:?}");
            }
        }
        assert_eq!(world.store.view().status().keys, self.events.len());
        let orders: BTreeSet<_> = self.events.iter().map(|event| &event.order_key).collect();
        assert_eq!(world.store.view().status().orders, orders.len());
    }

    /// The next event of each order gets the sequence behind its last.
    fn go_on(&mut self, world: &mut World) {
        for order in 0..90 {
            let key = format!("order {order}");
            let known_as = OrderKey::new(&key).unwrap();
            let of_order = |event: &&Event| event.order_key.as_ref() == Some(&known_as);
            let before = self.events.iter().filter(of_order).count() as u64;
            let next = event(&format!("next {}", self.events.len()), &key, "");
            let known = receipt(world.publish(1, self.last + 1, std::slice::from_ref(&next)));
            self.last += 1;
            self.events.push(next);
            let [Verdict::Visible { order_sequence, .. }] = verdicts(&known)[..] else {
                panic!("it is new")
            };
            assert_eq!(order_sequence.map(OrderSequence::get), Some(before + 1));
        }
    }
}

pub(super) fn merged(world: &World) -> Vec<RunInfo> {
    world.store.state.control.manifest.merged.values().map(|merged| merged.run).collect()
}

pub(super) fn names(world: &World) -> Vec<String> {
    let names = Disk::list(&world.disk).unwrap().into_iter().map(|(name, _)| name);
    names.filter(|name| name.contains(".run")).collect()
}

#[test]
fn a_lookup_meets_few_filters_and_each_key_is_known() {
    for generation_runs in [1, 3, 8, YOUNG_RUNS_MAX] {
        lookups(generation_runs);
    }
}

fn lookups(generation_runs: usize) {
    let options = StoreOptions { generation_runs, keys_max: 100_000, ..options("plant") };
    let mut world = World::with_topic_and(options);
    let mut keys = Keys::default();
    for round in 0..4 {
        keys.fill(&mut world, 9.max(generation_runs + 1));
        let filters = world.store.state.tables.filters();
        // Behind a start each run has its own until they are merged.
        let most = if round == 2 { 5 + generation_runs } else { 6 };
        assert!(filters <= most, "{filters} filters are met in round {round}");
        world.settle();
        let filters = world.store.state.tables.filters();
        assert!(filters <= 5, "{filters} filters are met in round {round}");
        let merged = merged(&world);
        let mut upto = Position::ZERO;
        for run in &merged {
            assert_eq!(run.start, upto, "what is merged has no hole");
            upto = run.end;
        }
        assert!(!merged.is_empty());
        if round % 2 == 1 {
            world.restart();
            assert_eq!(world.report.runs_rebuilt, 0);
        }
        keys.check(&mut world);
        keys.go_on(&mut world);
    }
}

#[test]
fn keys_and_heads_outlive_their_files() {
    let mut world = side::limited();
    let mut keys = Keys::default();
    for _ in 0..3 {
        keys.fill(&mut world, 8);
        side::retain(&mut world);
        keys.go_on(&mut world);
        world.settle();
        world.restart();
        world.store.set_uplink_needs(Some(std::collections::BTreeMap::new()));
        keys.check(&mut world);
        side::retain(&mut world);
        let (files, named) = (world.store.journal.files().len(), names(&world).len());
        assert!(named <= files + 5, "{named} runs are kept for {files} files");
    }
}

#[test]
fn what_a_merge_has_left_is_removed() {
    let mut world = World::with_topic("plant");
    let mut keys = Keys::default();
    keys.fill(&mut world, 7);
    world.settle();
    let before = names(&world);
    for name in
        ["keys-0000000000000000-0000000000001000.run", "run-00000000000f0000-00000009.run.tmp"]
    {
        Disk::create(&world.disk, name).unwrap();
    }
    Disk::sync_dir(&world.disk).unwrap();
    world.restart();
    assert_eq!(names(&world), before);
    keys.check(&mut world);
}

/// Where its journal files are there, the store stops once, and the next start makes it again.
#[test]
fn a_run_that_rots_is_made_again_at_the_next_start() {
    for of_merged in [false, true] {
        let mut world = World::with_topic("plant");
        let mut keys = Keys::default();
        // So many that none is due to be merged soon, which would find the damage first.
        keys.fill(&mut world, 9);
        world.settle();
        let runs = world.store.state.tables.runs();
        let run = runs.iter().find(|run| run.is_merged() == of_merged).unwrap();
        let name = run.name();
        // The first ledger entry.
        world.disk.flip_bit(&name, 8 * 170);
        world.restart();
        assert_eq!(world.report.runs_rebuilt, 0, "a start does not read the keys");

        let answer = keys.events.chunks(200).find_map(|events| {
            let answer = world.publish(1, keys.last + 1, events);
            keys.last += events.len() as u64;
            matches!(answer, Answer::Refused(_)).then_some(answer)
        });
        assert_eq!(refused(answer.unwrap()).code, ErrorCode::Unreadable);
        assert!(world.store.wants_seal());
        assert!(matches!(world.store.seal(), Err(StoreError::Run(_))), "the store stops");
        assert!(!names(&world).contains(&name));
        world.restart();
        assert!(world.report.runs_rebuilt > 0);
        keys.last = world.open_producer("p", "t").last_sequence.get();
        let epoch = 2;
        for events in keys.events.chunks(200) {
            let known = receipt(world.publish(epoch, keys.last + 1, events));
            keys.last += events.len() as u64;
            assert!(verdicts(&known).iter().all(|v| matches!(v, Verdict::Duplicate { .. })));
        }
        world.settle();
        assert_eq!(world.store.unread_merge(), None, "what was merged is merged again");
        world.restart();
        assert_eq!(world.report.runs_rebuilt, 0);
    }
}

/// Where they were dropped, only what needs the damaged block is refused.
#[test]
fn a_run_that_rots_for_good_refuses_what_it_cannot_decide() {
    let mut world = side::limited();
    let mut keys = Keys::default();
    keys.fill(&mut world, 9);
    side::retain(&mut world);
    let run = world.store.state.tables.runs().iter().find(|run| run.is_merged()).unwrap();
    let name = run.name();
    world.disk.flip_bit(&name, 8 * 170);
    world.restart();
    let (mut refused, mut known) = (0, 0);
    for event in &keys.events {
        let answer = world.publish(1, keys.last + 1, std::slice::from_ref(event));
        if let Answer::Refused(refusal) = answer {
            assert_eq!(refusal.code, ErrorCode::Unreadable);
            assert_eq!(refusal.expected.map(Sequence::get), Some(keys.last + 1));
            refused += 1;
        } else {
            assert!(matches!(verdicts(&receipt(answer))[0], Verdict::Duplicate { .. }));
            keys.last += 1;
            known += 1;
        }
    }
    assert!(refused > 0 && refused <= 86 && known > 85, "{refused} refused, {known} known");
    assert!(names(&world).contains(&name), "it still has the other keys");
    let fresh = receipt(world.publish(1, keys.last + 1, &[event("fresh", "order 1", "")]));
    assert!(verdicts(&fresh)[0].is_visible());
}

#[test]
fn a_full_disk_holds_no_file_back_for_merging() {
    let mut world = World::with_topic("plant");
    let mut keys = Keys::default();
    keys.fill(&mut world, 4);
    let used: u64 = Disk::list(&world.disk).unwrap().iter().map(|(_, len)| *len).sum();
    // Room for files and runs, but not for a merge with its margin.
    world.disk.set_capacity(Some(used + 6 * (64 << 10)));
    let until = world.store.journal.position().get() + 2 * (60 << 10);
    while world.store.journal.position().get() < until {
        let n = keys.events.len();
        let next = event(&format!("e{n}"), "order 1", &"d".repeat(3_000));
        let Answer::Receipt(_) = world.publish(1, keys.last + 1, std::slice::from_ref(&next))
        else {
            break;
        };
        keys.last += 1;
        keys.events.push(next);
    }
    world.disk.set_capacity(None);
    world.settle();
    let again = keys.events.clone();
    for event in &again {
        let known = receipt(world.publish(1, keys.last + 1, std::slice::from_ref(event)));
        assert!(matches!(verdicts(&known)[0], Verdict::Duplicate { .. }));
        keys.last += 1;
    }
}

#[test]
fn a_merged_run_says_what_its_runs_said() {
    let mut world = World::with_topic("plant");
    let mut keys = Keys::default();
    keys.fill(&mut world, 9);
    world.settle();
    for info in merged(&world) {
        let run = KeyRun::open_merged(&world.disk, world.store.journal.id(), &info).unwrap();
        Arc::new(run).verify().unwrap();
    }
}

/// An event with these keys and this content.
fn keyed(keys: &[&str], data: &str) -> Event {
    let bytes = |key: &str| Bytes::copy_from_slice(key.as_bytes());
    let dedup = match keys {
        [key] => DedupKeys::Key(bytes(key)),
        [first, second] => DedupKeys::Two(bytes(first), bytes(second)),
        _ => panic!("one key or two"),
    };
    Event { dedup, ..event("", "", data) }
}

/// A conflict has the content that one of its keys had first: neither is forgotten for the other.
#[test]
fn a_conflict_overtakes_no_first_of_its_content() {
    for (one_file, other_first) in
        [(true, "other"), (true, "same"), (false, "other"), (false, "same")]
    {
        let mut world = World::with_topic("plant");
        let mut keys = Keys::default();
        let say = |world: &mut World, keys: &mut Keys, event: Event| {
            keys.last += 1;
            verdicts(&receipt(world.publish(1, keys.last, &[event])))[0]
        };
        assert!(say(&mut world, &mut keys, keyed(&["k1"], other_first)).is_visible());
        assert!(say(&mut world, &mut keys, keyed(&["k2"], "same")).is_visible());
        if !one_file {
            keys.fill(&mut world, 2);
        }
        let listed = say(&mut world, &mut keys, keyed(&["k1", "k2"], "same"));
        assert!(matches!(listed, Verdict::Conflict { listed: true, .. }), "{listed:?}");
        keys.fill(&mut world, 8);
        world.settle();
        world.restart();
        for event in [keyed(&["k1"], other_first), keyed(&["k2"], "same")] {
            let known = say(&mut world, &mut keys, event);
            assert!(matches!(known, Verdict::Duplicate { .. }), "{known:?}");
        }
        let again = say(&mut world, &mut keys, keyed(&["k1", "k2"], "same"));
        assert!(matches!(again, Verdict::Conflict { listed: false, .. }), "{again:?}");
    }
}

/// However often a key stands in a batch, and however many contents it has, each of these is read
/// once.
#[test]
fn a_key_that_stands_often_in_a_batch_is_looked_up_once() {
    let mut world = World::with_topic("plant");
    let contents: Vec<Event> = (0..100).map(|n| event("e", "", &n.to_string())).collect();
    receipt(world.publish(1, 1, &contents));
    let mut keys = Keys { last: 100, events: Vec::new() };
    keys.fill(&mut world, 2);
    world.settle();
    let known = receipt(world.publish(1, keys.last + 1, &contents));
    assert!(matches!(verdicts(&known)[0], Verdict::Duplicate { .. }));
    let set_aside = |verdict: &Verdict| matches!(verdict, Verdict::Conflict { listed: false, .. });
    assert!(verdicts(&known)[1..].iter().all(set_aside));
    assert_eq!(world.store.scratch.found(), 100);
}

/// Writes and syncs what is staged; jobs wait.
fn commit(world: &mut World) {
    if let Some(pending) = world.store.seal().unwrap() {
        pending.write_and_sync().unwrap();
        world.store.on_synced(pending);
    }
}

/// Until a damaged run is made again, its journal file is all that has its keys.
#[test]
fn a_file_whose_run_is_made_again_is_not_dropped_before() {
    let mut world = side::limited();
    let mut keys = Keys::default();
    keys.fill(&mut world, 3);
    world.settle();
    let mut runs = world.store.state.control.manifest.files.values().filter_map(|file| file.run);
    let newest = runs.next_back().unwrap();
    world.disk.flip_bit(&newest.name(), 8 * 100);
    world.options.retention_bytes = 64 << 10;
    world.restart();
    assert!(world.report.runs_rebuilt > 0);
    world.store.set_uplink_needs(Some(std::collections::BTreeMap::new()));
    for _ in 0..3 {
        let now = world.now();
        world.store.tick(now);
        commit(&mut world);
    }
    world.restart();
    world.store.set_uplink_needs(Some(std::collections::BTreeMap::new()));
    side::retain(&mut world);
    keys.check(&mut world);
    assert!(world.store.journal.files()[0].start > Position::ZERO, "then it goes");
}

#[test]
fn on_a_full_disk_no_run_waits_for_a_merge() {
    let mut world = World::with_topic("plant");
    let mut keys = Keys::default();
    keys.fill(&mut world, 2);
    world.settle();
    // As if merging had not kept up.
    for _ in 0..5 {
        let run = Arc::clone(&world.store.state.tables.runs()[0]);
        world.store.state.tables.add(run);
    }
    while world.store.files.unwritten.is_empty() {
        let first = keys.last + 1;
        let operation =
            world.publication("p", 1, batch(&[event("", "", &"d".repeat(3_000))], first));
        let now = world.now();
        if world.store.stage(operation, 7, now).is_ok() {
            keys.last = first;
        }
        commit(&mut world);
    }
    assert!(world.store.must_merge_first());
    world.store.full = true;
    world.store.spares.clear();
    assert!(!world.store.must_merge_first());
    let now = world.now();
    let job = world.store.poll_job(now).unwrap();
    assert!(matches!(job, Job(crate::store::job::Work::Run(_))), "{job:?}");
}

/// Runs that share a table are merged as soon as it takes no more.
#[test]
fn young_runs_are_few() {
    let mut world = World::with_topic_and(StoreOptions { generation_runs: 4, ..options("plant") });
    let mut keys = Keys::default();
    for files in 1..=40 {
        keys.fill(&mut world, 1);
        world.settle();
        let tables = &world.store.state.tables;
        let young = tables.runs().iter().filter(|run| !run.is_merged()).count();
        assert!(young <= 4, "{young} runs behind {files} files");
        assert!(tables.filters() <= 4, "{} filters behind {files} files", tables.filters());
        keys.check(&mut world);
    }
}

/// In a burst generations wait to be merged, but for so many that look-ups would meet too many tables; and
/// once it is over they are.
#[test]
fn a_burst_is_not_merged_before_it_must_be() {
    let merge_pause = std::time::Duration::from_secs(4);
    let options = StoreOptions { generation_runs: 2, merge_pause, ..options("plant") };
    let mut world = World::with_topic_and(options);
    let mut keys = Keys::default();
    let mut most = 0;
    while merged(&world).is_empty() {
        most = most.max(world.store.state.tables.units().len());
        keys.fill(&mut world, 1);
        world.settle();
    }
    assert_eq!(most, 3, "three generations wait, and the fourth makes a merge due");
    keys.check(&mut world);
    // The next one that is whole waits again, until no file was left for a while.
    let is_whole = |world: &World| {
        let units = world.store.state.tables.units();
        units.last().is_some_and(|unit| unit.len() == 2)
    };
    while !is_whole(&world) {
        keys.fill(&mut world, 1);
        world.settle();
    }
    let upto = merged(&world).last().unwrap().end;
    world.settle();
    assert_eq!(merged(&world).last().unwrap().end, upto, "the burst is not over");
    world.now += 4_000_000;
    world.settle();
    assert!(merged(&world).last().unwrap().end > upto);
    assert!(!is_whole(&world));
    keys.check(&mut world);
}

/// Keys of closed files wait in memory for their runs; so many that memory stays bounded, and no more.
#[test]
fn the_writer_waits_for_runs_that_lag() {
    let mut world = World::with_topic("plant");
    let mut last = 0;
    let mut waits = false;
    for _ in 0..2_000 {
        let operation =
            world.publication("p", 1, batch(&[event("", "", &"d".repeat(3_000))], last + 1));
        let now = world.now();
        let staged = world.store.stage(operation, 7, now).is_ok();
        last += u64::from(staged);
        commit(&mut world);
        // Spares come first of all jobs; nothing else is done.
        if world.store.spares.is_empty() {
            let job = world.store.poll_job(now).unwrap();
            assert!(matches!(job, Job(crate::store::job::Work::Spare(_))), "{job:?}");
            world.store.on_job_done(job.run(), now);
        } else if !staged && world.store.wants_seal() {
            waits = true;
            break;
        }
    }
    assert!(waits, "{} files wait", world.store.files.unwritten.len());
    assert_eq!(world.store.files.unwritten.len(), 2);
    let before = world.store.journal.position();
    world.jobs();
    commit(&mut world);
    assert!(world.store.journal.position() > before, "it goes on when they have come");
    assert!(world.store.files.unwritten.len() < 4);
    world.settle();
    world.restart();
    assert_eq!(world.open_producer("p", "t").last_sequence.get(), last);
}

#[test]
fn what_frees_a_full_disk_waits_for_no_space() {
    let mut world = World::with_topic("plant");
    let mut keys = Keys::default();
    keys.fill(&mut world, 7);
    world.settle();
    let run = world.store.state.tables.runs().iter().find(|run| run.is_merged()).unwrap();
    world.disk.flip_bit(&run.name(), 8 * 100);
    world.restart();
    assert!(world.store.unread_merge().is_some(), "retention waits for it");
    world.store.full = true;
    world.store.spares.clear();
    // As much as the merged run takes, and nothing for a file beside it.
    let used: u64 = Disk::list(&world.disk).unwrap().iter().map(|(_, len)| *len).sum();
    world.disk.set_capacity(Some(used + (48 << 10)));
    for _ in 0..6 {
        world.jobs();
        commit(&mut world);
    }
    assert_eq!(world.store.unread_merge(), None);
}

#[test]
fn a_merge_that_fails_is_tried_at_growing_pauses() {
    let mut world = World::with_topic("plant");
    let mut pauses = Vec::new();
    for _ in 0..8 {
        let now = world.now();
        let name = "keys".to_owned();
        let error = crate::runs::RunError::Io { name, error: std::io::ErrorKind::Other.into() };
        world.store.on_merge_step(Err(crate::runs::MergeError::Read(error)), now);
        let at = world.store.files.retry_merge_at.unwrap();
        pauses.push((at.as_micros() - now.as_micros()) / 1_000_000);
    }
    assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 60, 60]);
}
