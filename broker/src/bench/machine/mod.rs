//! `takt bench machine`: what the machine itself can do. Without that a figure says little.

mod disk;
mod quic;

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use serde::Serialize;

use super::BenchError;
use super::report::{Report, ms, whole};
use super::target::temporary;
use crate::cli::output::size;

/// How long each limit is measured.
const EACH: Duration = Duration::from_secs(1);

#[derive(Debug, Clone, Args)]
pub(super) struct MachineArgs {
    /// The directory whose disk is measured; that for temporary files if none is given.
    #[arg(long)]
    pub dir: Option<PathBuf>,
    /// One JSON object instead of a table.
    #[arg(long)]
    pub json: bool,
}

/// What the machine can do.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Limits {
    /// One after the other, over blocks that were written before.
    pub synced_writes: Vec<SyncedWrites>,
    /// One stream of one connection on loopback, configured as a client's and its node's, with
    /// nothing behind it. Both ends in this process.
    pub quic_bytes_per_s: f64,
    /// From 300 bytes sent on such a stream until they are back.
    pub quic_echo_p50_us: u64,
    /// Over a minute, when it was measured; `null` where the system does not say.
    pub load_average: Option<f64>,
}

/// Writes of one size, each synced before the next.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct SyncedWrites {
    /// Of each, in bytes.
    pub bytes: u64,
    pub bytes_per_s: f64,
    /// From the write to the end of its sync.
    pub p50_us: u64,
}

pub(super) async fn run(args: &MachineArgs) -> Result<(), BenchError> {
    Limits::measure(args.dir.as_deref()).await?.print(args.json)
}

fn load_average() -> Option<f64> {
    std::fs::read_to_string("/proc/loadavg").ok()?.split(' ').next()?.parse().ok()
}

impl Limits {
    /// Measures on the disk of `dir`, or of the directory for temporary files, and on loopback: some
    /// 5 seconds.
    pub async fn measure(dir: Option<&Path>) -> Result<Self, BenchError> {
        let load_average = load_average();
        let empty = temporary(dir).map_err(BenchError::Directory)?;
        let path = empty.path().join("written");
        let synced_writes = tokio::task::spawn_blocking(move || disk::synced_writes(&path, EACH))
            .await
            .map_err(|error| BenchError::Task(error.to_string()))?
            .map_err(BenchError::Directory)?;
        let (quic_echo_p50_us, quic_bytes_per_s) =
            quic::measure(&empty.path().join("site"), EACH).await?;
        Ok(Self { synced_writes, quic_bytes_per_s, quic_echo_p50_us, load_average })
    }
}

impl Report for Limits {
    const TITLE: &'static str = "MACHINE";

    fn rows(&self) -> Vec<(String, String)> {
        let mut rows: Vec<_> = self
            .synced_writes
            .iter()
            .map(|writes| {
                let rate = size(whole(writes.bytes_per_s));
                let p50 = ms(writes.p50_us);
                (
                    format!("writes of {}, synced", size(writes.bytes)),
                    format!("{rate}/s, {p50} each"),
                )
            })
            .collect();
        let bulk = size(whole(self.quic_bytes_per_s));
        rows.push(("QUIC, one stream".to_owned(), format!("{bulk}/s")));
        rows.push(("QUIC, there and back".to_owned(), ms(self.quic_echo_p50_us)));
        rows.extend(
            self.load_average.map(|load| ("load average".to_owned(), format!("{load:.2}"))),
        );
        rows
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn every_limit_has_its_figure() {
        let dir = tempfile::tempdir().unwrap();
        let each = Duration::from_millis(20);
        let all = disk::synced_writes(&dir.path().join("x"), each).unwrap();
        assert_eq!(all.iter().map(|one| one.bytes).collect::<Vec<_>>(), [4_096, 65_536, 262_144]);
        assert!(all.iter().all(|one| one.bytes_per_s > 0.0 && one.p50_us > 0));
        let (echo_us, bytes_per_s) = quic::measure(&dir.path().join("site"), each).await.unwrap();
        assert!(echo_us > 0 && bytes_per_s > 0.0);
        let limits = Limits {
            synced_writes: all,
            quic_bytes_per_s: bytes_per_s,
            quic_echo_p50_us: echo_us,
            load_average: None,
        };
        assert_eq!(limits.rows().len(), 5);
    }
}
