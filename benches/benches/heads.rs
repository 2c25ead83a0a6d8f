//! Order heads: those that moved on lately are in memory, the others in runs.

use std::cell::OnceCell;
use std::sync::Arc;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use takt_benches::{Runs, Seeded, UnsyncedDisk, key};
use takt_protocol::words::{OrderSequence, Timestamp};
use takt_storage::disk::RealDisk;
use takt_storage::ledger::{HeadEntry, Heads};

/// Orders that are looked up at a time.
const ASKED: usize = 1_000;
/// Orders in memory: a generation of them.
const IN_MEMORY: u64 = 1 << 20;
/// Orders in runs: as many runs as a look-up mostly meets.
const IN_RUNS: u64 = 5 << 20;

/// Heads of orders with numbers below `orders`, or of others.
fn asked(random: &mut Seeded, orders: u64, known: bool) -> Vec<u128> {
    let first = if known { 0 } else { orders };
    (0..ASKED).map(|_| key(first + random.next_u64() % orders)).collect()
}

fn in_memory() -> Heads {
    let mut heads = Heads::default();
    for number in 0..IN_MEMORY {
        let last_append_time = Timestamp::from_micros(0);
        heads.insert(HeadEntry {
            hash: key(number),
            last: OrderSequence::new(1),
            last_append_time,
        });
    }
    heads
}

fn heads(c: &mut Criterion) {
    let mut random = Seeded::new(1);
    let names =
        [("look up 1,000 that are there", true), ("look up 1,000 that are not there", false)];

    let made = OnceCell::new();
    let mut group = c.benchmark_group("order heads in memory, of 1,048,576");
    group.throughput(Throughput::Elements(ASKED as u64));
    for (name, known) in names {
        group.bench_function(name, |b| {
            let heads = made.get_or_init(in_memory);
            b.iter_batched(
                || asked(&mut random, IN_MEMORY, known),
                |hashes| hashes.iter().filter(|hash| heads.get(**hash).next().is_some()).count(),
                BatchSize::SmallInput,
            );
        });
    }
    group.finish();

    let dir = tempfile::tempdir().expect("a temporary directory");
    let made = OnceCell::new();
    let mut group = c.benchmark_group("order heads in runs, of 5,242,880");
    group.sample_size(20).throughput(Throughput::Elements(ASKED as u64));
    for (name, known) in names {
        group.bench_function(name, |b| {
            let heads = made.get_or_init(|| {
                let disk = RealDisk::open(dir.path()).expect("a directory");
                Runs::of_heads(Arc::new(UnsyncedDisk(disk)), IN_RUNS)
            });
            b.iter_batched(
                || asked(&mut random, IN_RUNS, known),
                |hashes| hashes.iter().filter(|hash| heads.head(**hash).is_some()).count(),
                BatchSize::SmallInput,
            );
        });
    }
    group.finish();
}

criterion_group!(benches, heads);
criterion_main!(benches);
