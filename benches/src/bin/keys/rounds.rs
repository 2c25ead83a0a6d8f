//! Fresh keys: how fast they are judged beside many known ones and beside none, and how many of
//! them pass a filter all the same.

use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};
use serde::Serialize;
use takt_benches::RECORDS;

use super::filled::Filled;

/// Batches of a round. All rounds together teach fewer keys than end a journal file.
const BATCHES: u32 = 80;
/// Keys that filters are asked for: with five filters some 760 pass.
const ASKED_MILLIONS: u32 = 10;

/// How fast fresh keys were judged.
#[derive(Debug, Clone, Copy, Serialize)]
pub(super) struct Rate {
    pub per_second: f64,
    /// By the processor's time of the thread: what else the machine does counts less.
    pub per_cpu_second: f64,
}

/// Both stores, one after the other.
#[derive(Debug, Clone, Copy, Serialize)]
pub(super) struct Round {
    /// Beside all keys.
    pub full: Rate,
    /// By a store that has none in runs.
    pub empty: Rate,
}

impl Round {
    /// What is left of the rate beside all keys.
    pub fn ratio(&self) -> f64 {
        self.full.per_second / self.empty.per_second
    }

    /// As [`Round::ratio`], by the processor's time.
    pub fn cpu_ratio(&self) -> f64 {
        self.full.per_cpu_second / self.empty.per_cpu_second
    }
}

/// Has both stores judge batches of fresh keys, in turns; another one begins each round.
///
/// Both learn the same number of keys, so that their tables in memory are of one size and the runs
/// are what differs.
pub(super) fn judge(full: &mut Filled, empty: &mut Filled, rounds: u16) -> Vec<Round> {
    // What is touched for the first time does not count.
    rate(full, 1);
    rate(empty, 1);
    let round = |number: u16| {
        if number.is_multiple_of(2) {
            Round { full: rate(full, BATCHES), empty: rate(empty, BATCHES) }
        } else {
            Round { empty: rate(empty, BATCHES), full: rate(full, BATCHES) }
        }
    };
    (0..rounds).map(round).collect()
}

fn rate(store: &mut Filled, batches: u32) -> Rate {
    let (mut time, mut cpu) = (Duration::ZERO, Duration::ZERO);
    for _ in 0..batches {
        let events = store.fresh();
        let operation = store.feed.publication_of(&events);
        let (started, cpu_started) = (Instant::now(), cpu_time());
        store.feed.judge(operation);
        cpu += cpu_time().saturating_sub(cpu_started);
        time += started.elapsed();
        let commit = store.feed.seal();
        store.feed.finish(commit);
        store.feed.jobs();
    }
    let keys = f64::from(batches * u32::try_from(RECORDS).expect("a batch is small"));
    Rate { per_second: keys / time.as_secs_f64(), per_cpu_second: keys / cpu.as_secs_f64() }
}

/// Of this thread.
fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::try_from(time).expect("a thread's time is positive")
}

/// How many of a million keys that are not there pass a filter, all filters together: for each a
/// block is read in vain.
pub(super) fn false_per_million(full: &Filled) -> f64 {
    let mut hits = Vec::new();
    // Hashes are uniform: any others than those of the keys will do.
    for batch in 0..u64::from(ASKED_MILLIONS) * 1_000 {
        let hashes: Vec<u128> =
            (batch * 1_000..(batch + 1) * 1_000).map(takt_benches::key).collect();
        for run in full.feed.store.key_runs() {
            run.pass(&hashes, &mut hits);
        }
    }
    let passed = u32::try_from(hits.len()).expect("few pass");
    f64::from(passed) / f64::from(ASKED_MILLIONS)
}
