//! The dedup ledger: a fresh key goes in, a repeated one is found; in memory, and in runs behind
//! their filters.

use std::cell::OnceCell;
use std::sync::Arc;
use std::time::Instant;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use takt_benches::{RECORDS, Runs, Seeded, UnsyncedDisk, key};
use takt_protocol::batch::Place;
use takt_protocol::words::{Offset, OrderSequence, PartitionNumber};
use takt_storage::disk::RealDisk;
use takt_storage::ledger::{Known, Ledger, LedgerEntry};

/// Keys that go in or are looked up at a time.
const KEYS: usize = 10_000;
/// Keys that the ledger holds when it is asked.
const HELD: usize = 1_000_000;
/// Which ledgers in runs are measured, in millions of keys, behind commas: 100 take minutes, and
/// 10 GiB of disk for a while.
const MILLIONS: &str = "TAKT_BENCH_MILLIONS";

fn hash(random: &mut Seeded) -> u128 {
    u128::from(random.next_u64()) << 64 | u128::from(random.next_u64())
}

fn entry(hash: u128, offset: u64) -> LedgerEntry {
    let place = Place { partition: PartitionNumber::new(0), offset: Offset::new(offset) };
    let order_sequence = Some(OrderSequence::new(1));
    LedgerEntry::new(hash, offset, Known::First { place, order_sequence })
}

fn filled(random: &mut Seeded) -> (Ledger, Vec<u128>) {
    let mut ledger = Ledger::default();
    let hashes: Vec<u128> = (0..HELD).map(|_| hash(random)).collect();
    hashes.iter().zip(0..).for_each(|(hash, offset)| {
        ledger.insert(entry(*hash, offset));
    });
    (ledger, hashes)
}

fn ledger(c: &mut Criterion) {
    let mut random = Seeded::new(1);
    let (mut ledger, hashes) = filled(&mut random);
    let mut group = c.benchmark_group("ledger of 1,000,000 keys");
    group.throughput(Throughput::Elements(KEYS as u64));
    let mut at = 0;
    group.bench_function("look up 10,000 that are there", |b| {
        b.iter_batched(
            || {
                // Far apart, so that no cache helps.
                at = (at + KEYS * 7_919) % HELD;
                (0..KEYS).map(|i| hashes[(at + i * 104_729) % HELD]).collect::<Vec<_>>()
            },
            |asked| asked.iter().filter(|hash| ledger.get(**hash).next().is_some()).count(),
            BatchSize::SmallInput,
        );
    });
    let mut others = Seeded::new(2);
    group.bench_function("look up 10,000 that are not there", |b| {
        b.iter_batched(
            || (0..KEYS).map(|_| hash(&mut others)).collect::<Vec<_>>(),
            |asked| asked.iter().filter(|hash| ledger.get(**hash).next().is_none()).count(),
            BatchSize::SmallInput,
        );
    });
    group.bench_function("insert 10,000", |b| {
        b.iter_custom(|iterations| {
            let insert = |_| {
                // It must neither grow without end nor be built anew each time.
                if ledger.len() > 4 * HELD {
                    ledger = filled(&mut Seeded::new(1)).0;
                }
                let fresh: Vec<_> = (0..KEYS).map(|_| hash(&mut random)).collect();
                let started = Instant::now();
                for hash in &fresh {
                    ledger.insert(entry(*hash, 1));
                }
                started.elapsed()
            };
            (0..iterations).map(insert).sum()
        });
    });
    group.finish();
}

/// A batch is asked for at a time, as the sequencer does.
fn in_runs(c: &mut Criterion) {
    let millions = std::env::var(MILLIONS).unwrap_or_else(|_| "1,10".to_owned());
    for millions in millions.split(',') {
        let millions: u64 = millions.trim().parse().expect("millions of keys are a number");
        let keys = millions * 1_000_000;
        let dir = tempfile::tempdir().expect("a temporary directory");
        let made = OnceCell::new();
        let runs = || {
            made.get_or_init(|| {
                let disk = RealDisk::open(dir.path()).expect("a directory");
                Runs::of_ledger(Arc::new(UnsyncedDisk(disk)), keys)
            })
        };
        let (mut random, mut hits) = (Seeded::new(3), Vec::new());
        let mut group = c.benchmark_group(format!("ledger in runs, of {millions} million keys"));
        group.sample_size(20).throughput(Throughput::Elements(RECORDS as u64));
        for (name, first) in [("look up 1,000 fresh keys", keys), ("look up 1,000 repeats", 0)] {
            group.bench_function(name, |b| {
                let runs = runs();
                b.iter_batched(
                    || (0..RECORDS).map(|_| key(first + random.next_u64() % keys)).collect(),
                    |asked: Vec<u128>| runs.known(&asked, &mut hits),
                    BatchSize::SmallInput,
                );
            });
        }
        group.finish();
    }
}

criterion_group!(benches, ledger, in_runs);
criterion_main!(benches);
