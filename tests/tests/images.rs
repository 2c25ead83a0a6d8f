//! A part of what `takt-tests images`, `scope`, `errors` and `flips` do in full.
#![allow(clippy::unwrap_used, reason = "a test")]

use takt_tests::images::choices::Effort;
use takt_tests::images::flips::{Still, Stopped, Target};
use takt_tests::images::recorded::{Recorded, spread};
use takt_tests::images::recover::Counts;
use takt_tests::images::{errors, scope, transactions};

const EFFORT: Effort = Effort { sampled: 3, torn: 2, blocks: true };

#[test]
fn all_that_a_power_cut_leaves_of_a_run_starts_with_what_was_acknowledged() {
    let mut counts = Counts::default();
    for seed in 0..2 {
        let run = Recorded::new(seed, 50);
        for index in spread(seed, run.moments()).into_iter().step_by(13) {
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
    let still = Still::new();
    for target in [Target::Journal, Target::Run] {
        let sum = still.turn(target, 0..u64::MAX, 1_201);
        assert_eq!(sum.violations, [""; 0]);
        assert_eq!(sum.turned, sum.detected + sum.free);
        assert!(sum.turned > 250 && sum.refused > 2, "{target:?}: {sum:?}");
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
