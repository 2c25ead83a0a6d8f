//! Hashes: CRC of what travels, SipHash of keys under the node's secret.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use takt_benches::{EventSource, RECORDS, batch_of};
use takt_protocol::batch::{BatchBuilder, Compression};
use takt_protocol::words::{Sequence, TopicName};
use takt_storage::keys::{KeyHasher, KeyHashes};

fn hashes(c: &mut Criterion) {
    let mut builder = BatchBuilder::new(Compression::None);
    let bytes = EventSource::default().batch(&mut builder, Sequence::new(1));
    let mut group = c.benchmark_group("CRC-32");
    group.throughput(Throughput::Bytes(bytes.len() as u64));
    group.bench_function("of a batch", |b| b.iter(|| crc32fast::hash(&bytes)));
    group.finish();

    let batch = batch_of(bytes);
    let topic = TopicName::new("bench").expect("a name");
    let hasher = KeyHasher::new([7; 16]);
    let mut keys = KeyHashes::default();
    let mut group = c.benchmark_group("keys of 1,000 events");
    group.throughput(Throughput::Elements(RECORDS as u64));
    group.bench_function("hash", |b| {
        b.iter(|| hasher.hash_batch(&topic, &batch, &mut keys).expect("a good batch"));
    });
    group.finish();
}

criterion_group!(benches, hashes);
criterion_main!(benches);
