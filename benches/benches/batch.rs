//! Batches: what a client does to lay one out, and a session to check it.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use takt_benches::{EventSource, RECORDS, batch_of};
use takt_protocol::batch::{BatchBuilder, Compression};
use takt_protocol::hashing::DigestHasher;
use takt_protocol::words::{PartitionNumber, Sequence};

fn batches(c: &mut Criterion) {
    let mut group = c.benchmark_group("batch of 1,000 events of 256 B");
    group.throughput(Throughput::Elements(RECORDS as u64));
    let events = EventSource::default().events();
    for (name, compression) in [
        ("build", Compression::None),
        ("build, lz4", Compression::Lz4),
        ("build, zstd", Compression::Zstd),
    ] {
        let mut builder = BatchBuilder::new(compression);
        group.bench_function(name, |b| {
            b.iter(|| {
                for event in &events {
                    builder.push(event).expect("a batch takes as many");
                }
                builder.finish(PartitionNumber::new(0), Sequence::new(1))
            });
        });
    }
    let mut builder = BatchBuilder::new(Compression::None);
    let bytes = EventSource::default().batch(&mut builder, Sequence::new(1));
    group.bench_function("take and check", |b| {
        b.iter(|| batch_of(bytes.clone()).check(1).expect("a good batch"));
    });
    let batch = batch_of(bytes);
    group
        .bench_function("check CRC alone", |b| b.iter(|| batch.check_crc().expect("a good batch")));
    let mut hasher = DigestHasher::default();
    group.bench_function("check and digests", |b| {
        b.iter(|| batch.check_digests(1, &mut hasher).expect("good digests"));
    });
    group.finish();
}

criterion_group!(benches, batches);
criterion_main!(benches);
