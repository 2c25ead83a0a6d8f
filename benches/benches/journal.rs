//! The journal alone: one commit, written and synced on a real disk.

use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use takt_benches::Seeded;
use takt_storage::disk::{Disk, RealDisk};
use takt_storage::journal::{Journal, JournalOptions};

const KIND: u8 = 1;

/// Goes on in a file that was written full of zeros before, and drops the oldest of three.
fn roll(journal: &mut Journal, options: &JournalOptions) {
    let spare = journal.spare_maker().make(options.file_bytes).expect("a spare file");
    journal.roll(spare, &[]).expect("the next file");
    let files = journal.files();
    if let [oldest, _, _, ..] = files.as_slice() {
        journal.drop_file(oldest.start, None).expect("a file that nobody reads");
    }
}

fn append(journal: &mut Journal, options: &JournalOptions, entry: &[u8]) -> Duration {
    let mut commit = journal.begin();
    commit.push(KIND, &[entry]);
    if journal.needs_roll(commit.padded_len()) {
        roll(journal, options);
    }
    let started = Instant::now();
    let sealed = journal.seal(commit).expect("room in the file");
    sealed.write_and_sync().expect("the disk goes on");
    journal.on_synced(sealed.end());
    started.elapsed()
}

fn journal(c: &mut Criterion) {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let disk: Arc<dyn Disk> = Arc::new(RealDisk::open(dir.path()).expect("a directory"));
    let options = JournalOptions::default();
    let mut journal =
        Journal::create(disk, &options, &mut Seeded::new(1), &[]).expect("an empty directory");
    let mut group = c.benchmark_group("journal, seal, write and sync");
    group.sample_size(20).measurement_time(Duration::from_secs(3));
    for kib in [4_usize, 64, 512, 1_000] {
        let entry = vec![0x5a; kib << 10];
        group.throughput(Throughput::Bytes(entry.len() as u64));
        group.bench_with_input(
            BenchmarkId::from_parameter(format!("{kib} KiB")),
            &entry,
            |b, e| {
                b.iter_custom(|n| (0..n).map(|_| append(&mut journal, &options, e)).sum());
            },
        );
    }
    group.finish();
}

criterion_group!(benches, journal);
criterion_main!(benches);
