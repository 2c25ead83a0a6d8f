//! The checker checked: a history that holds, and one forgery for each invariant.

use std::collections::BTreeMap;
use std::sync::LazyLock;
use std::time::Instant;

use takt_protocol::words::{BatchNumber, Offset, Timestamp};
use takt_reader::{Record, Verdict};

use super::*;
use crate::sim::history::{Answered, Dropped, Fate, History};
use crate::sim::plan::Plan;

/// A world that has come to rest: its history, and its files.
struct Lived {
    plants: Vec<String>,
    topics: usize,
    horizon_us: i64,
    history: History,
    files: Vec<BTreeMap<String, Vec<u8>>>,
}

static LIVED: LazyLock<Lived> = LazyLock::new(|| {
    // A small world with consumers, repeats, orders, and keys of all kinds.
    let fits = |plan: &Plan| {
        let keyed = plan.two_keys == 300 && plan.many > 0 && plan.repeats > 0 && plan.conflicts > 0;
        plan.consumers > 0 && plan.orders <= 100 && keyed && !plan.forgets()
    };
    let plan = (0..1_000).map(Plan::draw).find(fits).expect("some seed draws such a world");
    let mut world = World::new(plan, Instant::now());
    world.run();
    assert!(world.drained, "{:?}", world.history.violations);
    world.stop_all();
    world.history.close();
    Lived {
        plants: (0..world.plan.plants).map(|n| world.nodes[n].name.to_string()).collect(),
        topics: world.plan.topics,
        horizon_us: world.plan.horizon_us(),
        files: world.nodes.iter().map(|node| node.disk.files()).collect(),
        history: std::mem::take(&mut world.history),
    }
});

/// The invariants that are violated once the end and the history are forged.
fn found(forge: impl FnOnce(&mut End<'_>, &mut History)) -> Vec<&'static str> {
    let lived = &*LIVED;
    let read = |files| takt_reader::read(files).expect("the files read");
    let nodes = lived.files.iter().map(read).collect();
    let mut end = End {
        plants: lived.plants.clone(),
        topics: lived.topics,
        horizon_us: lived.horizon_us,
        nodes,
    };
    let mut history = lived.history.clone();
    forge(&mut end, &mut history);
    let mut found: Vec<_> = all(&end, &history).into_iter().map(|(name, _)| name).collect();
    found.dedup();
    found
}

/// The hub's partition with the most records.
fn largest<'e, 'a>(end: &'e mut End<'a>) -> &'e mut takt_reader::Partition<'a> {
    let hub = &mut end.nodes.last_mut().expect("the hub").partitions;
    hub.iter_mut().max_by_key(|partition| partition.records.len()).expect("a partition")
}

#[test]
fn a_history_that_holds_is_accepted() {
    assert_eq!(found(|_, _| {}), [""; 0]);
}

#[test]
fn i1_an_acknowledged_event_that_is_not_where_it_was_promised() {
    let found = found(|_, history| {
        let promised = history.intents.iter_mut().find_map(|intent| match &mut intent.fate {
            Fate::Acknowledged { place, .. } => Some(place),
            Fate::Unknown | Fate::Refused => None,
        });
        let place = promised.expect("something was acknowledged");
        place.offset = place.offset.advance(1);
    });
    assert!(found.contains(&"I1"), "{found:?}");
}

#[test]
fn i1_a_repeat_that_was_called_a_conflict() {
    let found = found(|_, history| {
        let answers = history
            .intents
            .iter_mut()
            .filter(|intent| matches!(intent.identity, crate::sim::identity::Identity::Id(_)));
        let mut answers = answers.filter_map(|intent| match &mut intent.fate {
            Fate::Acknowledged { answer, .. } => Some(answer),
            Fate::Unknown | Fate::Refused => None,
        });
        let answer = answers.find(|answer| **answer == Answered::Duplicate).expect("a repeat");
        *answer = Answered::Conflict;
    });
    assert_eq!(found, ["I1"]);
}

#[test]
fn i2_an_event_that_stands_twice() {
    let found = found(|end, _| {
        let partition = largest(end);
        let twice = partition.records.iter().find(|record| record.is_visible()).copied();
        partition.records.extend(twice);
    });
    assert!(found.contains(&"I2"), "{found:?}");
}

/// A record of the hub that is so.
fn some<'e, 'a>(end: &'e mut End<'a>, is: impl Fn(&Record<'a>) -> bool) -> &'e mut Record<'a> {
    let hub = &mut end.nodes.last_mut().expect("the hub").partitions;
    let mut records = hub.iter_mut().flat_map(|partition| &mut partition.records);
    records.find(|record| is(record)).expect("a record of this kind")
}

#[test]
fn i2_an_event_with_the_second_key_of_another() {
    let found = found(|end, _| {
        let has_two = |record: &Record<'_>| record.is_visible() && record.dedup_keys[1].is_some();
        let key = some(end, has_two).dedup_keys[1];
        some(end, |record| has_two(record) && record.dedup_keys[1] != key).dedup_keys[1] = key;
    });
    assert!(found.contains(&"I2"), "{found:?}");
}

#[test]
fn i2_a_repeat_and_a_conflict_that_are_taken_for_each_other() {
    let is_repeat = |record: &Record<'_>| matches!(record.verdict, Verdict::Duplicate { .. });
    let is_listed =
        |record: &Record<'_>| matches!(record.verdict, Verdict::Conflict { listed: true, .. });
    let conflict = found(|end, _| {
        let record = some(end, is_repeat);
        if let Verdict::Duplicate { of: with, .. } = record.verdict {
            record.verdict = Verdict::Conflict { with, listed: true };
        }
    });
    assert_eq!(conflict, ["I2"]);
    let repeat = found(|end, _| {
        let record = some(end, is_listed);
        if let Verdict::Conflict { with: of, .. } = record.verdict {
            record.verdict = Verdict::Duplicate { of, order_sequence: None };
        }
    });
    assert_eq!(repeat, ["I2"]);
    let unlisted = found(|end, _| {
        let record = some(end, is_listed);
        if let Verdict::Conflict { with, .. } = record.verdict {
            record.verdict = Verdict::Conflict { with, listed: false };
        }
    });
    assert_eq!(unlisted, ["I2"]);
    let order = found(|end, _| {
        let record = some(end, is_repeat);
        if let Verdict::Duplicate { order_sequence, .. } = &mut record.verdict {
            *order_sequence = Some(1_000_000);
        }
    });
    assert_eq!(order, ["I2"]);
}

/// An event whose two keys name two firsts is a conflict, though it has the content of one of them.
#[test]
fn i2_a_record_between_two_firsts() {
    let found = found(|end, _| {
        let is_of_two = |record: &Record<'_>| {
            matches!(record.verdict, Verdict::Duplicate { .. }) && record.dedup_keys[1].is_some()
        };
        let of = some(end, is_of_two).dedup_keys;
        let is_other = |record: &Record<'_>| {
            record.is_visible() && !record.dedup_keys.iter().any(|key| of.contains(key))
        };
        let other = some(end, is_other);
        let (key, digest) = (other.dedup_keys[0], other.digest);
        let record = some(end, |record| is_of_two(record) && record.dedup_keys == of);
        assert_ne!(record.digest, digest);
        record.dedup_keys[1] = key;
    });
    assert!(found.contains(&"I2"), "{found:?}");
}

/// Where two events of one order and one adapter stand, with none of that order between them.
fn two_of_an_order(records: &[takt_reader::Record<'_>]) -> (usize, usize) {
    let mut last = BTreeMap::new();
    let mut pairs = records.iter().enumerate().filter_map(|(at, record)| {
        let key = record.order_key.filter(|_| record.is_visible())?;
        let before = last.insert(key, at)?;
        (records[before].producer == record.producer).then_some((before, at))
    });
    pairs.next().expect("an order with two events of one adapter")
}

#[test]
fn i3_two_events_of_an_order_that_changed_places() {
    let found = found(|end, _| {
        let records = &mut largest(end).records;
        let (a, b) = two_of_an_order(records);
        records.swap(a, b);
    });
    assert!(found.contains(&"I3"), "{found:?}");
}

/// What is found if the second of two events of an order stands before the first and was made
/// beside the outbox: submitted with the first, or so much later.
fn found_beside(later: u64) -> Vec<&'static str> {
    found(|end, history| {
        let records = &mut largest(end).records;
        let (a, b) = two_of_an_order(records);
        let [first, second] =
            [a, b].map(|at| history.intent_of(&records[at]).expect("sent") as usize);
        records.swap(a, b);
        let sent = history.intents[first].sent_last.map(|at| at + later);
        let second = &mut history.intents[second];
        (second.beside, second.sent, second.sent_last) = (true, sent, sent);
    })
}

#[test]
fn i3_what_a_paused_life_makes_stands_where_it_was_submitted() {
    let found = found_beside(0);
    assert!(!found.contains(&"I3"), "{found:?}");
    let found = found_beside(1);
    assert!(found.contains(&"I3"), "{found:?}");
}

#[test]
fn i4_an_event_that_was_refused_and_one_that_nobody_sent() {
    let refused = found(|end, history| {
        let record = largest(end).records.iter().find(|record| record.is_visible()).copied();
        let record = record.expect("an event");
        let id = history.intent_of(&record).expect("it was sent");
        history.intents[id as usize].fate = Fate::Refused;
    });
    assert!(refused.contains(&"I4"), "{refused:?}");
    let unsent = found(|end, _| largest(end).records[0].sequence += 1_000_000);
    assert!(unsent.contains(&"I4"), "{unsent:?}");
}

#[test]
fn i5_an_offset_that_meant_something_else_when_it_was_read() {
    let found = found(|_, history| {
        let mut seen = history.seen.values_mut().filter_map(BTreeMap::first_entry);
        seen.next().expect("something was read").get_mut().digest ^= 1;
    });
    assert!(found.contains(&"I5"), "{found:?}");
}

#[test]
fn i6_a_cursor_that_went_back() {
    let found = found(|_, history| {
        let mut all = history.committed.values_mut().flat_map(|c| c.acknowledged.values_mut());
        let at = all.next().expect("something was committed");
        *at = Offset::new(at.get() + 1_000_000);
    });
    assert!(found.contains(&"I6"), "{found:?}");
}

#[test]
fn i6_what_was_dropped_too_young() {
    let drop_at = |age_us: i64| {
        found(|_, history| {
            let partition = history.at_hub.keys().next().expect("something is there").clone();
            let begin = 1_767_225_600_000_000 + age_us;
            let older_than = Some(Timestamp::from_micros(begin));
            history.drops.push(Dropped { partition, upto: BatchNumber::new(1), older_than });
        })
    };
    assert_eq!(drop_at(0), ["I6"]);
    let hour_us = 3_600_000_000;
    assert_eq!(drop_at(100 * 365 * 24 * hour_us), [""; 0]);
}

#[test]
fn i7_an_offset_that_was_read_and_is_not_there() {
    let found = found(|_, history| {
        let seen = history.seen.values_mut().next().expect("something was read");
        let last = *seen.values().next().expect("an offset");
        seen.insert(10_000_000, last);
    });
    assert!(found.contains(&"I7"), "{found:?}");
}

#[test]
fn i8_a_batch_of_another_plant() {
    let found = found(|end, _| largest(end).batches[0].producer = "spiffe://takt.local/plant/x/y");
    assert!(found.contains(&"I8"), "{found:?}");
}
