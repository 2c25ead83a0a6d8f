//! The writer's path: a batch is judged, applied and sealed, and then written and synced. Fresh
//! keys, and repeats of what the live file and what a run holds.

use std::cell::OnceCell;
use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use takt_benches::{Feed, RECORDS, feed};
use takt_protocol::event::Event;
use takt_storage::disk::RealDisk;

/// Batches whose keys are in a run when they are repeated.
const OLD_BATCHES: usize = 20;

/// Runs `step` for each iteration and adds up what it says; all else is not measured.
fn each(feed: &mut Feed, iterations: u64, mut step: impl FnMut(&mut Feed) -> Duration) -> Duration {
    (0..iterations)
        .map(|_| {
            let time = step(feed);
            feed.jobs();
            time
        })
        .sum()
}

/// Publishes these events, and says how long judging and sealing took.
fn publish(feed: &mut Feed, events: &[Event]) -> Duration {
    let operation = feed.publication_of(events);
    let started = Instant::now();
    let commit = feed.stage(operation);
    let time = started.elapsed();
    feed.finish(commit);
    time
}

/// Publishes until the file with the first batches is left, and gives those back.
fn old_batches(feed: &mut Feed) -> Vec<Vec<Event>> {
    let mut old = Vec::new();
    let runs = feed.store.view().status().runs;
    while old.len() < OLD_BATCHES || feed.store.view().status().runs <= runs {
        let events = feed.events();
        publish(feed, &events);
        feed.jobs();
        if old.len() < OLD_BATCHES {
            old.push(events);
        }
    }
    old
}

fn store(c: &mut Criterion) {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let disk = RealDisk::open(dir.path()).expect("a directory");
    let mut feed = feed(Arc::new(disk));
    let mut group = c.benchmark_group("store, batch of 1,000 events of 256 B");
    // Each step leaves 350 kB on the disk and 1,000 keys in memory.
    group.sample_size(20).measurement_time(Duration::from_secs(3));
    group.throughput(Throughput::Elements(RECORDS as u64));
    group.bench_function("judge and seal", |b| {
        b.iter_custom(|iterations| {
            each(&mut feed, iterations, |feed| {
                let events = feed.events();
                publish(feed, &events)
            })
        });
    });
    group.bench_function("judge and seal, repeats of the live file", |b| {
        b.iter_custom(|iterations| {
            each(&mut feed, iterations, |feed| {
                let events = feed.events();
                publish(feed, &events);
                publish(feed, &events)
            })
        });
    });
    let old = OnceCell::new();
    group.bench_function("judge and seal, repeats of a run", |b| {
        let mut old = old.get_or_init(|| old_batches(&mut feed)).iter().cycle();
        b.iter_custom(|iterations| {
            each(&mut feed, iterations, |feed| publish(feed, old.next().expect("it goes round")))
        });
    });
    group.bench_function("judge, seal, write and sync", |b| {
        b.iter_custom(|iterations| {
            each(&mut feed, iterations, |feed| {
                let operation = feed.publication();
                let started = Instant::now();
                let commit = feed.stage(operation);
                feed.finish(commit);
                started.elapsed()
            })
        });
    });
    group.finish();
}

criterion_group!(benches, store);
criterion_main!(benches);
