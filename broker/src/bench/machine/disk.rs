//! Synced writes, as a journal makes them: over blocks that were written before, so that a sync has
//! data to write and nothing of the file system's own.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, Instant};

use super::SyncedWrites;
use crate::bench::report::per;
use crate::bench::tally::{latencies, micros};

/// The file's length, in bytes: a multiple of every size.
const FILE_BYTES: u64 = 64 << 20;
/// The sizes, in bytes.
const SIZES: [usize; 3] = [4 << 10, 64 << 10, 256 << 10];

/// Writes each size for as long as `each` says.
pub(super) fn synced_writes(path: &Path, each: Duration) -> io::Result<Vec<SyncedWrites>> {
    let file = OpenOptions::new().write(true).create_new(true).open(path)?;
    let zeros = vec![0; 1 << 20];
    for offset in (0..FILE_BYTES).step_by(zeros.len()) {
        file.write_all_at(&zeros, offset)?;
    }
    file.sync_all()?;
    SIZES.into_iter().map(|bytes| writes(&file, bytes, each)).collect()
}

fn writes(file: &File, bytes: usize, each: Duration) -> io::Result<SyncedWrites> {
    let block = vec![0x5a; bytes];
    let bytes = bytes as u64;
    let mut times = latencies();
    let start = Instant::now();
    let mut offset = 0;
    while start.elapsed() < each {
        let begun = Instant::now();
        file.write_all_at(&block, offset)?;
        file.sync_data()?;
        times.saturating_record(micros(begun.elapsed()));
        offset = (offset + bytes) % FILE_BYTES;
    }
    let bytes_per_s = per(times.len() * bytes, start.elapsed().as_secs_f64());
    Ok(SyncedWrites { bytes, bytes_per_s, p50_us: times.value_at_quantile(0.5) })
}
