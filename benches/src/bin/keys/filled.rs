//! A store with many keys in runs, and one with none.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use serde::Serialize;
use takt_benches::{DATA_BYTES, Feed, RECORDS, UnsyncedDisk, feed_with};
use takt_protocol::event::Event;
use takt_storage::disk::{Disk, RealDisk};
use takt_storage::runs::RUNS_AT_REST;
use takt_storage::store::StoreOptions;

/// How often it says how far it has come, in keys.
const SAY_EVERY: u64 = 10_000_000;

/// A store, and how many events were published.
#[derive(Debug)]
pub(super) struct Filled {
    pub feed: Feed,
    /// Events 0 to this one, exclusive; the offset of each is its number.
    pub published: u64,
    /// The most runs that a look-up met so far.
    pub runs_most: usize,
}

/// What the keys in runs take.
#[derive(Debug, Clone, Copy, Serialize)]
pub(super) struct Sizes {
    /// Keys in runs.
    pub keys: u64,
    /// Runs, and so filters, that a look-up meets.
    pub runs: usize,
    /// The most that one met while the keys came.
    pub runs_most: usize,
    /// Filters and fences.
    pub memory_bytes: u64,
    /// The runs' files.
    pub disk_bytes: u64,
}

/// The event with this number: nothing but its dedup key, so that judging is what takes time.
pub(super) fn event(number: u64) -> Event {
    Event {
        id: format!("{number:012}"),
        source: "//bench/1".to_owned(),
        kind: "mfg.operation.confirmed.v1".to_owned(),
        ..Event::default()
    }
}

fn open(dir: &Path) -> Filled {
    let disk = RealDisk::open(dir).expect("a directory");
    let options = StoreOptions { keys_max: usize::MAX, ..Feed::options() };
    let feed = feed_with(Arc::new(UnsyncedDisk(disk)), options);
    Filled { feed, published: 0, runs_most: 0 }
}

/// Publishes until at least `keys` are in runs, and no more runs are to be merged.
///
/// # Errors
/// How many keys are in runs, where that is not done by the time `ends`.
///
/// # Panics
/// If the disk fails.
pub(super) fn fill(dir: &Path, keys: u64, ends: Instant) -> Result<Filled, u64> {
    let mut filled = open(dir);
    loop {
        filled.feed.jobs();
        let in_runs = filled.keys_in_runs();
        let runs = filled.feed.store.key_runs().len();
        filled.runs_most = filled.runs_most.max(runs);
        if in_runs >= keys && runs <= RUNS_AT_REST {
            break;
        }
        if Instant::now() > ends {
            return Err(in_runs);
        }
        filled.publish();
        if filled.published.is_multiple_of(SAY_EVERY) {
            eprintln!("{} events published, {runs} runs", filled.published);
        }
    }
    let known = filled.feed.store.view().status().keys;
    assert_eq!(known as u64, filled.published, "each event taught a key");
    Ok(filled)
}

/// A store without a key, in a journal file of full length as the other one is: the short one that
/// a store begins with is left, full of events that have no key.
///
/// # Panics
/// If the disk fails.
pub(super) fn empty(dir: &Path) -> Filled {
    let mut empty = open(dir);
    let keyless = Event { data: vec![0; DATA_BYTES].into(), id: String::new(), ..event(0) };
    let keyless = vec![keyless; RECORDS];
    while empty.feed.store.view().status().journal_files < 2 {
        empty.feed.jobs();
        let operation = empty.feed.publication_of(&keyless);
        let commit = empty.feed.stage(operation);
        empty.feed.finish(commit);
    }
    empty.feed.jobs();
    assert_eq!(empty.feed.store.view().status().keys, 0, "no event has a key");
    empty
}

impl Filled {
    /// The next events, which have fresh keys.
    pub fn fresh(&mut self) -> Vec<Event> {
        let first = self.published;
        self.published += RECORDS as u64;
        (first..self.published).map(event).collect()
    }

    fn publish(&mut self) {
        let events = self.fresh();
        let operation = self.feed.publication_of(&events);
        let commit = self.feed.stage(operation);
        self.feed.finish(commit);
    }

    pub fn keys_in_runs(&self) -> u64 {
        self.feed.store.key_runs().iter().map(|run| run.info().counts.ledger).sum()
    }

    /// What the runs take, which are in `dir`.
    ///
    /// # Errors
    /// What the file system says.
    pub fn sizes(&self, dir: &Path) -> io::Result<Sizes> {
        let runs = self.feed.store.key_runs();
        let files = RealDisk::open(dir)?.list()?;
        let lengths = runs.iter().map(|run| {
            let name = run.name();
            files.iter().find(|(file, _)| *file == name).map_or(0, |(_, len)| *len)
        });
        Ok(Sizes {
            keys: self.keys_in_runs(),
            runs: runs.len(),
            runs_most: self.runs_most,
            memory_bytes: runs.iter().map(|run| run.bytes() as u64).sum(),
            disk_bytes: lengths.sum(),
        })
    }
}
