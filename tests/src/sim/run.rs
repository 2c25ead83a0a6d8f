//! One seed: its world, lived through and checked.

use std::time::Instant;

use super::check;
use super::faults::{Branch, Dropping, Fault, Lie, Tally};
use super::plan::{Plan, TIME_MIN};
use super::world::World;

/// Fewer records than this prove nothing.
const RECORDS_MIN: u64 = 5_000;
/// Fewer crashes than this prove nothing.
const CRASHES_MIN: u64 = 3;
/// Fewer faults than this prove nothing.
const FAULTS_MIN: u64 = 20;

/// A sentence that turned out false.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// Which invariant: `I1` to `I10`.
    pub invariant: &'static str,
    /// What was seen.
    pub what: String,
}

/// What a seed came to.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// The seed.
    pub seed: u64,
    /// Equal for equal runs.
    pub trace: u64,
    /// What turned out false.
    pub violations: Vec<Violation>,
    /// Why the run proves nothing; `None` where it counts.
    pub invalid: Option<String>,
    /// Simulated time in microseconds.
    pub time: u64,
    /// Records that were acknowledged and checked.
    pub events: u64,
    /// Faults that fired.
    pub faults: Tally<Fault>,
    /// Ways that starts took.
    pub branches: Tally<Branch>,
    /// What came of disks that had lied.
    pub lies: Tally<Lie>,
    /// Why retention dropped batches.
    pub drops: Tally<Dropping>,
}

/// Lives through a seed and checks how it ends.
pub fn run(seed: u64, verbose: bool) -> Outcome {
    let plan = Plan::draw(seed);
    let mut world = World::new(plan, epoch());
    world.verbose = verbose;
    world.run();
    if world.drained {
        check::api(&mut world);
        world.stop_all();
    }
    if world.history.violations.is_empty() {
        check::raw(&mut world);
    }
    let history = &world.history;
    let violations = history
        .violations
        .iter()
        .map(|(invariant, what)| Violation { invariant, what: what.clone() })
        .collect();
    let crashes = Fault::ALL.iter().filter(|fault| fault.is_crash());
    let crashes: u64 = crashes.map(|fault| world.fired.of(*fault)).sum();
    let too_few = [
        (history.acknowledged * 2 < history.intents.len() as u64, "events were acknowledged"),
        (history.acknowledged < RECORDS_MIN, "records"),
        (crashes < CRASHES_MIN, "crashes"),
        (world.fired.total() < FAULTS_MIN, "faults"),
        (world.now() < TIME_MIN, "minutes"),
    ];
    let invalid = too_few.iter().find(|(few, _)| *few).map(|(_, what)| format!("too few {what}"));
    Outcome {
        seed,
        trace: world.trace(),
        violations,
        invalid,
        time: world.now(),
        events: history.acknowledged,
        faults: world.fired.clone(),
        branches: world.branches.clone(),
        lies: world.lies.clone(),
        drops: world.drops.clone(),
    }
}

/// Where virtual time begins; only differences to it count.
fn epoch() -> Instant {
    Instant::now()
}
