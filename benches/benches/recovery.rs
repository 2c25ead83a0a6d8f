//! A start after a crash: 100,000 events in a journal that was not ended, on a disk in memory.

use std::sync::Arc;
use std::time::Duration;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use takt_benches::{Feed, RECORDS, Seeded, feed};
use takt_protocol::words::Timestamp;
use takt_storage::disk::sim::SimDisk;
use takt_storage::store::Store;

const BATCHES: usize = 100;
const NOW: Timestamp = Timestamp::from_micros(1_760_000_001_000_000);

fn crashed() -> SimDisk {
    let disk = SimDisk::new();
    let mut feed = feed(Arc::new(disk.clone()));
    for _ in 0..BATCHES {
        feed.jobs();
        let operation = feed.publication();
        let commit = feed.stage(operation);
        feed.finish(commit);
    }
    disk
}

fn recovery(c: &mut Criterion) {
    let disk = crashed();
    let mut group = c.benchmark_group("recovery");
    group.sample_size(10).measurement_time(Duration::from_secs(5));
    group.throughput(Throughput::Elements((BATCHES * RECORDS) as u64));
    group.bench_function("100,000 events of 256 B", |b| {
        b.iter_batched(
            || disk.crash_image(&mut |_| true),
            |image| {
                let options = Feed::options();
                Store::<()>::open(Arc::new(image), options, &mut Seeded::new(9), NOW)
                    .expect("a sound journal")
            },
            BatchSize::PerIteration,
        );
    });
    group.finish();
}

criterion_group!(benches, recovery);
criterion_main!(benches);
