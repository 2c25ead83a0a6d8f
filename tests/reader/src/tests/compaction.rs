//! Packs with compacted batches, in directories that are built by hand: what compaction may leave out,
//! and what is to be there all the same.

use super::{
    Files,
    batches::{BatchDraft, compacted, event, record},
    build::commit,
    world::{BatchOf, FILE, SEALED, World, check, hash, text},
};
use crate::{Batch, Partition, ReadError, Verdict, check_runs, read};

type Change = fn(&mut World);

const BATCH: u8 = 3;
const MIRRORED: u8 = 4;
const COMPACTION_SET: u8 = 21;

/// Checks that the directory is refused for this.
pub(super) fn refused(change: impl FnOnce(&mut World), expected: &str) {
    let mut world = World::new();
    change(&mut world);
    let found = world.check();
    assert!(found.as_ref().is_err_and(|why| why.ends_with(expected)), "{found:?}, not {expected}");
}

pub(super) const OVERTAKEN: &str = "a record is left out of which no later one takes the place";
const STEPS: &str = "an event does not follow those of its order that are gone";

#[test]
fn what_is_left_of_compacted_batches_is_read() {
    let world = World::new();
    let files = world.lay_out();
    let contents = read(&files).unwrap();
    let report = check_runs(&files, &contents).unwrap();
    assert_eq!((report.runs, contents.conflicts.len()), (2, 1));
    assert_eq!(contents.manifest.packs[&0].compacted_upto, SEALED);
    let partition = &contents.partitions[0];
    assert!(partition.compact && partition.dedup);
    let count = |of: fn(&Batch<'_>) -> u32| partition.batches.iter().map(of).collect::<Vec<_>>();
    assert_eq!(count(|batch| batch.records), [3, 6, 1, 3, 1]);
    assert_eq!(count(|batch| batch.visible), [3, 1, 1, 3, 1]);
    assert_eq!(count(|batch| batch.kept), [1, 1, 0, 2, 1]);
    for batch in &partition.batches {
        let compacted = batch.kept < batch.records;
        assert_eq!((batch.bytes.len() as u64) < batch.journal_bytes, compacted);
    }
    let there = partition.records.iter();
    let there: Vec<_> = there.map(|r| (r.batch, r.index, r.offset, r.sequence)).collect();
    assert_eq!(
        there,
        [
            (0, 2, Some(2), 3),
            (1, 3, None, 7),
            (3, 1, Some(6), 12),
            (3, 2, Some(7), 13),
            (4, 0, Some(8), 14),
        ]
    );
    assert!(matches!(partition.records[1].verdict, Verdict::Conflict { listed: true, .. }));
    assert_eq!((partition.records[2].order_key, partition.records[2].order_sequence), {
        (Some(&b"b"[..]), Some(2))
    });
    let gone = partition.left_out.iter();
    let gone: Vec<_> = gone.map(|g| (g.batch, g.index, g.offset, g.sequence)).collect();
    assert_eq!(
        gone,
        [
            (0, 0, Some(0), 1),
            (0, 1, Some(1), 2),
            (1, 0, Some(3), 4),
            (1, 1, None, 5),
            (1, 2, None, 6),
            (1, 4, None, 8),
            (1, 5, None, 9),
            (2, 0, Some(4), 10),
            (3, 0, Some(5), 11),
        ]
    );
    let of = |batch: usize| {
        let batch = &partition.batches[batch];
        let (there, gone) = (partition.records_of(batch), partition.left_out_of(batch));
        (there.len(), gone.iter().map(|gone| gone.order_sequence).collect::<Vec<_>>())
    };
    assert_eq!(of(2), (0, vec![Some(3)]));
    assert_eq!(of(3), (2, vec![Some(4)]));
    assert_eq!(of(4), (1, vec![]));
}

#[test]
fn less_may_be_left_out() {
    let changes: [Change; 5] = [
        |world| world.batches[0].kept = None,
        |world| world.batches[3].kept = None,
        // It was switched off again.
        |world| world.flags = 1,
        |world| world.batches.iter_mut().for_each(|batch| batch.kept = None),
        // Less is known to have taken the place.
        |world| {
            world.compacted_upto = FILE;
            world.batches[0].kept = Some(vec![1, 2]);
            world.batches[2].kept = None;
            world.batches[3].kept = None;
        },
    ];
    for change in changes {
        let mut world = World::new();
        change(&mut world);
        assert_eq!(world.check(), Ok(()));
    }
}

#[test]
fn an_order_may_begin_again_where_that_is_gone() {
    let mut world = World::new();
    world.horizon_s = 1;
    world.append_times = |number| if number < 3 { 100 } else { 2_000_000 };
    world.batches[3].records[0] = record(Some("a"), &[2, 1]);
    world.batches[4].records[0] = event("a", 2);
    assert_eq!(world.check(), Ok(()));
    world.batches[3].kept = None;
    assert_eq!(world.check(), Ok(()));
    // It is not said, since it was forgotten; or it was not quiet for so long.
    world.batches[3].kept = Some(vec![1, 2]);
    world.batches[3].records[0] = event("a", 1);
    assert_eq!(world.check(), Ok(()));
    world.horizon_s = 2;
    let found = world.check().unwrap_err();
    assert!(found.ends_with(STEPS), "{found}");
}

#[test]
fn what_is_always_kept_is_missed() {
    let always = "a record is left out that is always kept";
    // A visible record without an order key; a listed conflict.
    refused(|world| world.batches[0].kept = Some(vec![]), always);
    refused(|world| world.batches[0].kept = Some(vec![0, 1]), always);
    refused(|world| world.batches[1].kept = Some(vec![0, 1, 2, 4, 5]), always);
    // The last of an order, known to be so or not.
    refused(|world| world.batches[4].kept = Some(vec![]), OVERTAKEN);
    refused(|world| world.batches[3].kept = Some(vec![0, 1]), OVERTAKEN);
    refused(|world| world.batches[3].kept = Some(vec![]), OVERTAKEN);
    // The later one is not below the position.
    refused(|world| world.compacted_upto = FILE, OVERTAKEN);
    refused(|world| world.compacted_upto = SEALED - 1, OVERTAKEN);
}

#[test]
fn a_pack_says_up_to_where_it_is_compacted() {
    let says = "it says that it is not compacted, and has a compacted batch";
    refused(|world| world.compacted_upto = 0, says);
    let known = "a pack is compacted for what is not sealed";
    refused(|world| world.compacted_upto = SEALED + 1, known);
    refused(|world| world.compacted_upto = u64::MAX, known);
    refused(|world| world.flags = 4, "a topic has a flag that is not known");
    refused(|world| world.flags = 7, "a topic has a flag that is not known");
}

#[test]
fn runs_say_of_which_orders_the_records_were_that_are_gone() {
    // The third event of one order is said to be of another: both have a hole, one has it twice.
    refused(|world| world.hash = |offset, key| hash(0, if offset == 4 { "b" } else { key }), STEPS);
    // None but itself is of its order.
    refused(|world| world.hash = |offset, key| hash(0, if offset == 4 { "x" } else { key }), {
        OVERTAKEN
    });
    // Two keys with one hash, one key with two.
    let keys = "its orders are not those of the events that are there";
    let with_two = |world: &mut World| {
        let records = vec![event("d", 1), event("e", 1), event("d", 2)];
        world.batches.push(BatchOf { file: 1, records, kept: None });
    };
    let mut world = World::new();
    with_two(&mut world);
    assert_eq!(world.check(), Ok(()));
    let hashes: [fn(u64, &str) -> u128; 2] = [
        |offset, key| hash(0, if offset == 11 { "e" } else { key }),
        |offset, key| hash(0, if offset == 11 { "x" } else { key }),
    ];
    for hash_of in hashes {
        let mut world = World::new();
        with_two(&mut world);
        world.hash = hash_of;
        assert!(world.check().is_err_and(|why| why.ends_with(keys)));
    }
    // A row too few, and one too many: of a record that is gone and was masked.
    let differ = "its orders are not the journal's";
    refused(|world| world.change_run = |file, rows| drop(rows[3].drain(..28 * (1 - file))), differ);
    refused(
        |world| {
            world.change_run = |file, rows| {
                let more = [&[0xff; 16][..], &[0; 4], &(9_u64 << file).to_le_bytes()].concat();
                rows[3].extend(more);
            };
        },
        differ,
    );
}

#[test]
fn runs_count_the_orders_that_began_with_what_is_gone() {
    refused(|world| world.fewer_new_orders = 1, "its new orders are not the journal's");
}

#[test]
fn runs_say_how_long_the_records_were_that_are_gone() {
    let differ = "its extents are not the journal's";
    refused(|world| world.change_run = |_, rows| rows[2][4] -= 1, differ);
    refused(|world| world.change_run = |_, rows| rows[4].clear(), {
        "its conflicts are not the journal's"
    });
    refused(|world| world.change_run = |_, rows| rows[5][4] -= 1, {
        "its partitions are not the journal's"
    });
}

#[test]
fn batches_of_mirrors_are_compacted_as_they_came() {
    for (flags, compacted_upto) in [(3, 0), (1, 0), (3, SEALED)] {
        let mut world = World::new();
        (world.mirror, world.flags, world.compacted_upto) = (true, flags, compacted_upto);
        assert_eq!(world.check(), Ok(()));
        // The pack has left out more.
        world.change = |number, bytes| {
            if number == 4 {
                *bytes = compacted(bytes, &[]);
            }
        };
        let found = world.check().unwrap_err();
        assert!(found.ends_with("the partition does not end with it"), "{found}");
    }
    // No run lists what was gone before, and the last of an order may be: the later one is to come.
    let mut world = World::new();
    world.mirror = true;
    world.batches[4].kept = Some(vec![]);
    assert_eq!(world.check(), Ok(()));
    world.batches[1].kept = Some(vec![]);
    let found = world.check().unwrap_err();
    assert!(found.ends_with("a record is left out that is always kept"), "{found}");
}

/// The partition's next batch, with an event.
fn next_batch(files: &Files, key: &'static str, sequence: u64) -> Vec<u8> {
    let contents = read(files).unwrap();
    let draft = BatchDraft {
        number: 5,
        base_offset: 9,
        append_time: 200,
        first_sequence: 15,
        previous: contents.partitions[0].end.chain,
        records: vec![event(key, sequence)],
    };
    draft.lay_out().0
}

/// The entry of a batch of the first partition.
fn entry_of(stored: &[u8]) -> Vec<u8> {
    [&[0; 4], stored].concat()
}

#[test]
fn orders_go_on_behind_what_is_gone() {
    let next = |key, sequence| {
        let mut files = World::new().lay_out();
        let stored = next_batch(&files, key, sequence);
        commit(&mut files, &[(BATCH, entry_of(&stored))]);
        check(&files)
    };
    assert_eq!(next("a", 6), Ok(()));
    assert_eq!(next("b", 3), Ok(()));
    assert_eq!(next("d", 1), Ok(()));
    for (key, sequence) in [("a", 7), ("b", 4), ("b", 2), ("c", 4), ("d", 6)] {
        let found = next(key, sequence).unwrap_err();
        assert!(found.ends_with("an order sequence does not follow"), "{key} {sequence}: {found}");
    }
    // What is gone explains it as far as can be told without the runs.
    let found = next("d", 5).unwrap_err();
    assert!(found.ends_with(STEPS), "{found}");
}

#[test]
fn the_journal_of_its_own_is_not_compacted() {
    let refused = |kind| {
        let mut files = World::new().lay_out();
        let stored = compacted(&next_batch(&files, "a", 6), &[]);
        commit(&mut files, &[(kind, entry_of(&stored))]);
        let Err(ReadError::Batch { batch, why, .. }) = read(&files) else { panic!() };
        assert_eq!(batch, 5);
        why
    };
    assert_eq!(refused(BATCH), "a batch is compacted that is not a mirror's");
    assert_eq!(refused(MIRRORED), "a mirror's batch is not marked so");
}

#[test]
fn compaction_is_set_for_topics_of_its_own() {
    let set = |mirror, topic: &str, on: u8| {
        let mut world = World::new();
        world.mirror = mirror;
        let mut files = world.lay_out();
        let mut entry = Vec::new();
        text(&mut entry, topic);
        entry.push(on);
        commit(&mut files, &[(COMPACTION_SET, entry)]);
        let compact = |partitions: &[Partition<'_>]| partitions[0].compact;
        read(&files).map(|c| compact(&c.partitions)).map_err(|error| error.to_string())
    };
    assert_eq!(set(false, "t", 0), Ok(false));
    assert_eq!(set(false, "t", 1), Ok(true));
    let none = "a topic has other settings that is not there";
    assert!(set(false, "u", 1).is_err_and(|why| why.ends_with(none)));
    assert!(set(true, "t", 1).is_err_and(|why| why.ends_with(none)));
    assert!(set(false, "t", 2).is_err_and(|why| why.ends_with("a yes or no is neither")));
}
