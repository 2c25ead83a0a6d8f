//! Packs: batches of two partitions, written and synced on a real disk, and read again.

use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use takt_benches::{DATA_BYTES, RECORDS, reports_of};
use takt_protocol::words::BatchNumber;
use takt_storage::disk::RealDisk;
use takt_storage::entry::PackFile;
use takt_storage::journal::{JournalId, Position};
use takt_storage::kept::{PackBlocks, PackCompression, PackReader, PackWriter};
use takt_storage::runs::Slot;

/// Batches in a pack.
const BATCHES: u64 = 64;
const JOURNAL: JournalId = JournalId::new([7; 16]);

fn write(disk: &RealDisk, batches: &[Vec<u8>], compression: PackCompression) -> PackFile {
    let range = (Position::ZERO, Position::new(4096));
    let mut writer =
        PackWriter::begin(disk, range, 0, Position::ZERO, compression).expect("a file");
    for slot in [0, 1] {
        for (number, bytes) in
            (0..).zip(batches).filter(|(number, _)| number % 2 == u64::from(slot))
        {
            writer.push(Slot::new(slot), BatchNumber::new(number), bytes).expect("room");
        }
        writer.sync().expect("the disk goes on");
    }
    writer.finish(disk, JOURNAL).expect("the disk goes on")
}

fn read(disk: &RealDisk, pack: &PackFile) -> usize {
    let reader = PackReader::open(disk, JOURNAL, pack).expect("a pack");
    let blocks = PackBlocks::default();
    let read = |number| {
        let slot = Slot::new(u32::from(number % 2 == 1));
        let found = reader.batch(&blocks, slot, BatchNumber::new(number));
        found.expect("a block").expect("a batch")
    };
    (0..BATCHES).step_by(2).chain((1..BATCHES).step_by(2)).map(|number| read(number).len()).sum()
}

fn pack(c: &mut Criterion) {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let disk = RealDisk::open(dir.path()).expect("a directory");
    let batches: Vec<Vec<u8>> = (0..BATCHES).map(|first| reports_of(first, RECORDS)).collect();
    let len: usize = batches.iter().map(Vec::len).sum();
    let mut group = c.benchmark_group(format!("pack of JSON events of about {DATA_BYTES} bytes"));
    group.sample_size(20).measurement_time(Duration::from_secs(4));
    group.throughput(Throughput::Bytes(len as u64));
    for (name, compression) in [("none", PackCompression::None), ("zstd", PackCompression::Zstd)] {
        group.bench_function(BenchmarkId::new("write and sync", name), |b| {
            b.iter_custom(|n| {
                let one = |_| {
                    let started = Instant::now();
                    write(&disk, &batches, compression);
                    started.elapsed()
                };
                (0..n).map(one).sum()
            });
        });
        let pack = write(&disk, &batches, compression);
        println!("{name}: {} of {} bytes", pack.len_bytes, pack.batch_bytes);
        group.bench_function(BenchmarkId::new("read", name), |b| b.iter(|| read(&disk, &pack)));
    }
    group.finish();
}

criterion_group!(benches, pack);
criterion_main!(benches);
