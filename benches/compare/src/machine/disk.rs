//! Synced writes, as a journal makes them: over blocks that were written before, so that a sync has
//! data to write and nothing of the file system's own.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use super::SyncedWrites;
use crate::stats::per;

/// The file's length, in bytes: a multiple of every size.
const FILE_BYTES: u64 = 64 << 20;
/// The sizes, in bytes.
const SIZES: [usize; 3] = [4 << 10, 64 << 10, 256 << 10];
/// Longer ones count as 10 s.
const LATENCY_MAX_US: u64 = 10_000_000;

/// Writes each size for as long as `each` says.
pub fn synced_writes(path: &Path, each: Duration) -> io::Result<Vec<SyncedWrites>> {
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
    let mut times: Histogram<u64> =
        Histogram::new_with_bounds(1, LATENCY_MAX_US, 3).expect("bounds that fit each other");
    let start = Instant::now();
    let mut offset = 0;
    while start.elapsed() < each {
        let begun = Instant::now();
        file.write_all_at(&block, offset)?;
        file.sync_data()?;
        times.saturating_record(u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX));
        offset = (offset + bytes) % FILE_BYTES;
    }
    let mb_per_s = per(times.len() * bytes, start.elapsed().as_secs_f64()) / 1e6;
    Ok(SyncedWrites { bytes, mb_per_s, p50_us: times.value_at_quantile(0.5) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_size_has_its_figures() {
        let dir = tempfile::tempdir().unwrap();
        let all = synced_writes(&dir.path().join("x"), Duration::from_millis(20)).unwrap();
        assert_eq!(all.iter().map(|one| one.bytes).collect::<Vec<_>>(), [4096, 65_536, 262_144]);
        assert!(all.iter().all(|one| one.mb_per_s > 0.0 && one.p50_us > 0));
    }
}
