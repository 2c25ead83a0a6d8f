//! A part of what `takt-tests images`, `scope`, `errors` and `flips` do in full.
#![allow(clippy::unwrap_used, reason = "a test")]

use takt_storage::disk::Disk;
use takt_storage::disk::sim::SimDisk;
use takt_tests::images::choices::Effort;
use takt_tests::images::flips::{Still, Target};
use takt_tests::images::recorded::{Recorded, spread};
use takt_tests::images::recover::Counts;
use takt_tests::images::stopped::Stopped;
use takt_tests::images::tamper::{Directory, Outcome, put};
use takt_tests::images::{errors, scope, transactions};

const EFFORT: Effort = Effort { sampled: 3, torn: 2, blocks: true };

#[test]
fn all_that_a_power_cut_leaves_of_a_run_starts_with_what_was_acknowledged() {
    let mut counts = Counts::default();
    for seed in 0..2 {
        let run = Recorded::new(seed, 50);
        for index in spread(seed, run.moments()).into_iter().step_by(23) {
            let moment = run.cut(index, EFFORT);
            assert_eq!(moment.violation, None);
            counts += moment.counts;
        }
    }
    // Every kind of thing was there.
    let Counts { images, cut, copied, runs, sides, dropped, indexes, lives, listings, .. } = counts;
    assert!(images > 1_000, "{counts:?}");
    assert!(
        [cut, copied, runs, sides, dropped, indexes].iter().all(|count| *count > 20),
        "{counts:?}"
    );
    assert!(lives > 20 && listings > 5 && counts.nested[2] > 50, "{counts:?}");
}

#[test]
fn every_fiftieth_short_sequence_is_cut_in_all_ways() {
    let mut sum = scope::Sum::default();
    // The making of the store and the single steps, then some of the longer ones.
    let numbers = (0..12).chain((12..scope::sequences()).step_by(50));
    numbers.for_each(|number| scope::cut(number, &mut sum));
    assert_eq!(sum.violations, [""; 0]);
    assert!(sum.exhaustive > 200 && sum.counts.images > 2_000, "{sum:?}");
}

#[test]
fn no_failed_call_loses_what_was_acknowledged() {
    let mut sum = errors::Sum::default();
    for case in errors::cases(0, 17) {
        errors::fail(0, case, &mut sum);
    }
    assert_eq!(sum.violations, [""; 0]);
    assert!(sum.stopped > 5 && sum.not_started > 5 && sum.went_on > 20, "{sum:?}");
}

#[test]
fn a_turned_bit_is_reported_and_never_served() {
    for target in [Target::Journal, Target::Run, Target::Pack] {
        let sum = Still::filled(target).turn(0..u64::MAX, 1_201);
        assert_eq!(sum.violations, [""; 0]);
        assert_eq!(sum.turned, sum.detected + sum.free);
        assert!(sum.turned > 250 && sum.refused > 2, "{target:?}: {sum:?}");
        // A batch that is read alone does not need the commit around it.
        assert!(target != Target::Journal || sum.apart > 0, "{sum:?}");
    }
}

#[test]
fn a_damaged_index_changes_no_listing() {
    let stopped = Stopped::new().unwrap();
    for seed in 0..150 {
        stopped.damage(seed).unwrap_or_else(|found| panic!("damage {seed}: {found}"));
    }
}

#[test]
fn redb_keeps_what_it_has_committed() {
    let effort = Effort { sampled: 2, torn: 1, blocks: false };
    let sum = transactions::cut(1, 6, 9, effort).unwrap();
    assert!(sum.images > 100, "{sum:?}");
}

/// Whose change must be reported at a start: all that the journal's history needs.
const JOURNAL: &str = "journal-";

/// What runs have left, where that is several journal files.
fn directories() -> impl Iterator<Item = Directory> {
    (2..40).map(Directory::new).filter(|directory| directory.names(JOURNAL).len() > 2)
}

#[test]
fn a_file_that_is_deleted_is_missed_or_made_again() {
    let directory = directories().next().unwrap();
    let mut refused = 0;
    for name in directory.names("") {
        let outcome = directory.with(&|disk| disk.remove(&name).unwrap()).unwrap();
        let journal = name.starts_with(JOURNAL);
        assert!(!journal || outcome == Outcome::Refused, "{name}: {outcome:?}");
        refused += usize::from(outcome == Outcome::Refused);
    }
    assert!(refused > 1);
}

#[test]
fn journal_files_that_change_places_are_refused() {
    let mut directories = directories();
    let (directory, other) = (directories.next().unwrap(), directories.next().unwrap());
    let (names, foreign) = (directory.names(JOURNAL), other.names(JOURNAL));
    for (index, name) in names.iter().enumerate() {
        for with in &names[..index] {
            let swap = |disk: &SimDisk| {
                put(disk, name, &directory.content(with));
                put(disk, with, &directory.content(name));
            };
            assert_eq!(directory.with(&swap).unwrap(), Outcome::Refused, "{name} and {with}");
        }
        for with in &foreign {
            let content = other.content(with);
            let outcome = directory.with(&|disk| put(disk, name, &content)).unwrap();
            assert_eq!(outcome, Outcome::Refused, "{with} of another journal as {name}");
            let outcome = directory.with(&|disk| put(disk, with, &content)).unwrap();
            assert_eq!(outcome, Outcome::Refused, "{with} of another journal");
        }
    }
}

#[test]
fn what_is_cut_zeroed_or_appended_is_reported_or_changes_nothing() {
    let directory = directories().next().unwrap();
    let mut outcomes = Vec::new();
    for name in directory.names("") {
        let content = directory.content(&name);
        for len in (0..content.len()).step_by(1_531) {
            let outcome = directory.with(&|disk| put(disk, &name, &content[..len])).unwrap();
            assert!(
                !name.starts_with(JOURNAL) || outcome == Outcome::Refused,
                "{name} cut at {len}: {outcome:?}"
            );
            outcomes.push(outcome);
        }
        for sector in (0..content.len() / 512).step_by(3) {
            let mut zeroed = content.clone();
            zeroed[sector * 512..][..512].fill(0);
            let outcome = directory.with(&|disk| put(disk, &name, &zeroed)).unwrap();
            let same = zeroed == content;
            assert!(!same || outcome == Outcome::Harmless, "{name}, sector {sector}: {outcome:?}");
            outcomes.push(outcome);
        }
        let mut longer = content.clone();
        longer.extend_from_slice(&content[..content.len().min(5_000)]);
        outcomes.push(directory.with(&|disk| put(disk, &name, &longer)).unwrap());
    }
    for outcome in [Outcome::Refused, Outcome::Reported, Outcome::Harmless] {
        assert!(outcomes.iter().filter(|found| **found == outcome).count() > 10, "{outcome:?}");
    }
}

#[test]
fn every_byte_at_which_the_newest_file_is_cut_is_refused() {
    let directory = directories().next().unwrap();
    let newest = directory.names(JOURNAL).pop().unwrap();
    let content = directory.content(&newest);
    for len in (0..content.len()).step_by(7) {
        let outcome = directory.with(&|disk| put(disk, &newest, &content[..len])).unwrap();
        assert_eq!(outcome, Outcome::Refused, "cut at {len}");
    }
}

#[test]
fn what_steps_have_left_behind_is_ignored() {
    let directory = directories().next().unwrap();
    let (journal, run) = (directory.names(JOURNAL), directory.names("run-"));
    let mut strays = vec![
        "journal-starting.tmp".to_owned(),
        "spare-7".to_owned(),
        "spare-7.tmp".to_owned(),
        "reserve-0.tmp".to_owned(),
        "index.stamp.tmp".to_owned(),
        "conflicts-0000000000000000-00000009.side".to_owned(),
        "conflicts-0000000000000000-00000009.side.tmp".to_owned(),
        "cut-0000000000001000-00000001.bin.tmp".to_owned(),
        "notes.txt".to_owned(),
    ];
    strays.extend(run.iter().map(|name| format!("{name}.tmp")));
    for content in [directory.content(&journal[0]), Vec::new(), vec![0xff; 5_000]] {
        for stray in &strays {
            let outcome = directory.with(&|disk| put(disk, stray, &content)).unwrap();
            assert_eq!(outcome, Outcome::Harmless, "{stray} of {} bytes", content.len());
        }
    }
}
