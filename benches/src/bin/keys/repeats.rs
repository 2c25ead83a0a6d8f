//! Old keys that come again: how long the exact verdict takes.

use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use serde::Serialize;
use takt_benches::{Seeded, cache};
use takt_protocol::batch::Verdict;
use takt_storage::store::Answer;

use super::filled::{Filled, event};

/// Times of single verdicts, in microseconds.
#[derive(Debug, Clone, Copy, Serialize)]
#[expect(clippy::struct_field_names, reason = "the unit comes last")]
pub(super) struct Times {
    pub p50_us: f64,
    pub p99_us: f64,
    pub max_us: f64,
}

/// What repeats of old keys came to.
#[derive(Debug, Clone, Copy, Serialize)]
pub(super) struct Repeats {
    pub count: u16,
    /// Nothing of the runs' files was in this machine's page cache, as far as it does as it is told.
    pub cold: Times,
    /// Of the cold ones, those for which something was fetched from the device.
    pub fetched: u16,
    /// The same key once more.
    pub warm: Times,
}

impl Times {
    fn of(mut times: Vec<Duration>) -> Self {
        times.sort_unstable();
        let at = |index: usize| times[index.min(times.len() - 1)].as_secs_f64() * 1e6;
        Self {
            p50_us: at(times.len() / 2),
            p99_us: at(times.len() * 99 / 100),
            max_us: at(times.len() - 1),
        }
    }
}

/// Repeats random keys in runs, each in a batch of its own.
///
/// # Errors
/// What the file system says.
///
/// # Panics
/// If a verdict is not that the event is a duplicate of the right one.
pub(super) fn judge(full: &mut Filled, dir: &Path, count: u16) -> io::Result<Repeats> {
    let (mut cold, mut warm, mut fetched) = (Vec::new(), Vec::new(), 0);
    let mut random = Seeded::new(11);
    let keys = full.keys_in_runs();
    // Where journal files are left meanwhile, the oldest keys are in runs all the same.
    for _ in 0..count {
        let number = random.next_u64() % keys;
        cache::evict(dir)?;
        let before = cache::fetched_bytes();
        cold.push(repeat(full, number));
        fetched += u16::from(cache::fetched_bytes() > before);
        warm.push(repeat(full, number));
    }
    Ok(Repeats { count, cold: Times::of(cold), fetched, warm: Times::of(warm) })
}

fn repeat(full: &mut Filled, number: u64) -> Duration {
    let operation = full.feed.publication_of(&[event(number)]);
    let started = Instant::now();
    full.feed.judge(operation);
    let time = started.elapsed();
    let commit = full.feed.seal();
    let Answer::Receipt(receipt) = full.feed.finish(commit) else { panic!("it gets a receipt") };
    let verdict = receipt.receipts().next().map(|receipt| receipt.verdict);
    let Some(Verdict::Duplicate { of, .. }) = verdict else { panic!("{number}: {verdict:?}") };
    assert_eq!(of.offset.get(), number, "it is a duplicate of the right event");
    full.feed.jobs();
    time
}
