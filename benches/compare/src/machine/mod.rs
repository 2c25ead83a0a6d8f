//! What the machine itself can do, and how it is loaded: without that a figure says little.

mod about;

use std::io;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tempfile::TempDir;

use crate::contender::{Programs, System};

pub use about::About;

/// `f_type` of a file system in memory, from linux/magic.h.
const TMPFS: i64 = 0x0102_1994;
/// `/proc` counts in ticks of 10 ms on every architecture that Linux runs this program on.
const TICK: Duration = Duration::from_millis(10);

/// Why something about this machine could not be measured.
#[derive(Debug, thiserror::Error)]
pub enum MachineError {
    /// The directory for data cannot be used.
    #[error("cannot use the directory for data: {0}")]
    Directory(io::Error),
    /// It lies in memory.
    #[error("the directory for data is on a tmpfs, where a sync costs nothing: give another --dir")]
    InMemory,
    /// A file of the system could not be read.
    #[error("cannot read {path}: {source}")]
    Proc {
        /// Which one.
        path: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// What the machine can do could not be measured.
    #[error("takt bench machine: {0}")]
    Limits(String),
}

/// What the machine can do, in one round.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Limits {
    /// From 1.
    pub round: u32,
    /// Synced writes, one after the other, over a file that is written already.
    pub synced_writes: Vec<SyncedWrites>,
    /// One stream of one connection on loopback, with Takt's configuration and cipher.
    pub quic_mb_per_s: f64,
    /// The load average over a minute when they were measured.
    pub load_average: f64,
}

/// Writes of one size, each synced before the next.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SyncedWrites {
    /// Of each, in bytes.
    pub bytes: u64,
    /// 10^6 bytes a second.
    pub mb_per_s: f64,
    /// From the write to the end of its sync.
    pub p50_us: u64,
}

/// What `takt bench machine` says.
#[derive(Deserialize)]
struct Measured {
    synced_writes: Vec<MeasuredWrites>,
    quic_bytes_per_s: f64,
}

#[derive(Deserialize)]
struct MeasuredWrites {
    bytes: u64,
    bytes_per_s: f64,
    p50_us: u64,
}

/// Measures the limits on the disk of `dir` and on loopback, with `takt bench machine`: some 5
/// seconds.
///
/// # Errors
/// [`MachineError`].
pub async fn limits(round: u32, programs: &Programs, dir: &Path) -> Result<Limits, MachineError> {
    let load_average = load_average()?;
    let dir = empty_dir(dir)?;
    let takt = programs.of(System::Takt).unwrap_or(Path::new("takt"));
    let mut command = Command::new(takt);
    command.args(["bench", "machine", "--json", "--dir"]).arg(dir.path());
    let output = tokio::task::spawn_blocking(move || command.output())
        .await
        .expect("a command does not panic")
        .map_err(|error| MachineError::Limits(error.to_string()))?;
    if !output.status.success() {
        return Err(MachineError::Limits(String::from_utf8_lossy(&output.stderr).into_owned()));
    }
    let Measured { synced_writes, quic_bytes_per_s } = serde_json::from_slice(&output.stdout)
        .map_err(|error| MachineError::Limits(error.to_string()))?;
    let writes = synced_writes.into_iter().map(|MeasuredWrites { bytes, bytes_per_s, p50_us }| {
        SyncedWrites { bytes, mb_per_s: bytes_per_s / 1e6, p50_us }
    });
    let quic_mb_per_s = quic_bytes_per_s / 1e6;
    Ok(Limits { round, synced_writes: writes.collect(), quic_mb_per_s, load_average })
}

/// An empty directory below `dir`, or below the system's for temporary files. What earlier runs have
/// left to be written is written first, so that it is nobody else's.
///
/// # Errors
/// [`MachineError`], also where it is in memory.
pub fn empty_dir(dir: &Path) -> Result<TempDir, MachineError> {
    let made = tempfile::Builder::new().prefix("takt-compare-").tempdir_in(dir);
    let made = made.map_err(MachineError::Directory)?;
    let opened = std::fs::File::open(made.path()).map_err(MachineError::Directory)?;
    let system = |error: rustix::io::Errno| MachineError::Directory(error.into());
    if rustix::fs::fstatfs(&opened).map_err(system)?.f_type == TMPFS {
        return Err(MachineError::InMemory);
    }
    rustix::fs::syncfs(&opened).map_err(system)?;
    Ok(made)
}

/// The load average over a minute.
///
/// # Errors
/// [`MachineError::Proc`].
pub fn load_average() -> Result<f64, MachineError> {
    let path = "/proc/loadavg";
    let text = read(path)?;
    let first = text.split(' ').next().and_then(|first| first.parse().ok());
    let none = || io::Error::new(io::ErrorKind::InvalidData, "no number");
    first.ok_or_else(|| MachineError::Proc { path, source: none() })
}

/// User and system time of a process so far, its threads included, to 10 ms.
///
/// # Errors
/// Where the process is gone.
pub fn cpu_time(pid: u32) -> io::Result<Duration> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    parse(&stat).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "no process times"))
}

/// A number that tells one run from others.
pub fn random() -> u64 {
    use std::hash::{BuildHasher, RandomState};
    // Its keys are random.
    RandomState::new().hash_one(0)
}

fn read(path: &'static str) -> Result<String, MachineError> {
    std::fs::read_to_string(path).map_err(|source| MachineError::Proc { path, source })
}

/// Fields 14 and 15. The command's name, in brackets before, may hold spaces and brackets.
fn parse(stat: &str) -> Option<Duration> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_ascii_whitespace().skip(11);
    let mut ticks = || fields.next()?.parse::<u32>().ok();
    Some(TICK * ticks()?.checked_add(ticks()?)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_brackets_hides_nothing() {
        let stat = "12 (a) b) S 1 12 12 0 -1 4194560 9 0 0 0 150 50 7 7 20 0 1 0 100 0 0";
        assert_eq!(parse(stat), Some(Duration::from_secs(2)));
        assert_eq!(parse("12 (a"), None);
    }

    #[test]
    fn this_machine_has_a_load() {
        assert!(load_average().unwrap() >= 0.0);
        assert!(cpu_time(std::process::id()).is_ok());
    }

    #[test]
    fn a_directory_in_memory_is_refused() {
        let memory = Path::new("/dev/shm");
        if memory.is_dir() {
            assert!(matches!(empty_dir(memory), Err(MachineError::InMemory)));
        }
        let nowhere = empty_dir(Path::new("/nowhere"));
        assert!(matches!(nowhere, Err(MachineError::Directory(_))));
    }
}
