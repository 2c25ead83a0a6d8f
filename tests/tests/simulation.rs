//! The simulated world with the ordinary tests: the same seed is the same world, some seeds hold,
//! and those that once found something hold for ever. `takt-tests simulate` lives through more.

use takt_tests::sim::{Fault, Outcome, Tally, run};

/// Seeds that have found something once, one on each line, with what it was.
const CORPUS: &str = include_str!("simulation.txt");

fn assert_holds(outcome: &Outcome) {
    let Outcome { seed, violations, invalid, .. } = outcome;
    assert!(
        violations.is_empty() && invalid.is_none(),
        "{violations:#?} {invalid:?}\nreplay: cargo run --release -p takt-tests -- simulate \
         --seeds 1 --from {seed} --verbose"
    );
}

#[test]
fn the_same_seed_is_the_same_world() {
    for seed in 0..3 {
        let (once, again) = (run(seed, false), run(seed, false));
        assert_eq!(once.trace, again.trace, "seed {seed}");
        assert_eq!(once.events, again.events, "seed {seed}");
        assert_eq!(once.faults, again.faults, "seed {seed}");
    }
    assert_ne!(run(0, false).trace, run(1, false).trace);
}

#[test]
fn some_seeds_hold_and_every_fault_fires() {
    let mut fired = Tally::<Fault>::default();
    for seed in 100..120 {
        let outcome = run(seed, false);
        assert_holds(&outcome);
        fired.add(&outcome.faults);
    }
    for fault in Fault::ALL {
        assert!(fired.of(*fault) > 0, "{} never fired", fault.text());
    }
}

#[test]
fn seeds_that_once_found_something_hold() {
    for line in CORPUS.lines().filter(|line| !line.starts_with('#')) {
        let seed = line.split_whitespace().next().expect("a seed");
        assert_holds(&run(seed.parse().expect("a number"), false));
    }
}
