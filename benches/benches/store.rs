//! The writer's path: a batch is judged, applied and sealed, and then written and synced.

use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use takt_benches::{Feed, RECORDS, feed};
use takt_storage::disk::RealDisk;

/// Runs `step` for fresh batches and adds up what it says; all else is not measured.
fn each(feed: &mut Feed, iterations: u64, step: impl Fn(&mut Feed) -> Duration) -> Duration {
    (0..iterations)
        .map(|_| {
            let time = step(feed);
            feed.jobs();
            time
        })
        .sum()
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
                let operation = feed.publication();
                let started = Instant::now();
                let commit = feed.stage(operation);
                let time = started.elapsed();
                feed.finish(commit);
                time
            })
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
