//! The node that is measured: a process of its own, or one within this process.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant, SystemTime};

use takt_client::{Client, ClientOptions};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::time::timeout;

use super::args::{CommonArgs, NodeArgs, TransportKind};
use super::{BenchError, cpu};
use crate::init::{self, InitNode, InitOptions};
use crate::node::{Node, NodeOptions};

/// The plant whose node is measured.
const PLANT: &str = "bench";
/// Room in the ledger beside the events of the measurement, for those of earlier ones.
const KEYS_MIN: u64 = 10_000_000;
/// How long a node may take to serve, with a data directory that may hold earlier measurements.
const READY: Duration = Duration::from_mins(5);
/// How long it may take to stop cleanly.
const STOP: Duration = Duration::from_secs(30);

/// A node and a client of it that may do what an operator may.
pub(super) struct Target {
    pub client: Client,
    place: Place,
    /// Removed with all that is in it when the measurement is over.
    _temporary: Option<TempDir>,
}

enum Place {
    Here(Box<Node>),
    There(Box<Child>),
}

impl Target {
    /// Starts a node with room for the dedup keys of `records` events.
    pub async fn start(
        args: &CommonArgs,
        records: u64,
        node: NodeArgs,
    ) -> Result<Self, BenchError> {
        let NodeArgs { spares, retention_bytes } = node;
        let keys_max = records.saturating_mul(2).max(KEYS_MIN);
        let dir = args.dir.as_deref();
        let temporary = match dir {
            Some(_) => None,
            None => Some(temporary(None).map_err(BenchError::Directory)?),
        };
        let dir = dir.or(temporary.as_ref().map(TempDir::path)).expect("one of the two").to_owned();
        let (client, place) = match args.transport {
            TransportKind::Embedded => {
                let mut options = NodeOptions::embedded(PLANT, &dir.join("data"))?;
                options.keys_max = usize::try_from(keys_max).unwrap_or(usize::MAX);
                options.spare_files = spares.map_or(options.spare_files, usize::from);
                options.retention_bytes = retention_bytes;
                let files = options.spare_files;
                let node = Node::open(options).await?;
                if spares.is_some() {
                    fill_pool(&node, files).await?;
                }
                (node.client(), Place::Here(Box::new(node)))
            }
            TransportKind::Quic if spares.is_some() => return Err(BenchError::SparesOfAnother),
            TransportKind::Quic => {
                let (child, options) = spawn(dir, keys_max, retention_bytes).await?;
                (Client::connect(options).await?, Place::There(Box::new(child)))
            }
        };
        Ok(Self { client, place, _temporary: temporary })
    }

    /// Processor time so far: of this process, and of the node's where it is another one.
    pub fn cpu(&self) -> Result<(Duration, Option<Duration>), BenchError> {
        let here = cpu::cpu_time(std::process::id()).map_err(BenchError::Cpu)?;
        let there = match &self.place {
            Place::Here(_) => None,
            Place::There(child) => match child.id() {
                Some(pid) => Some(cpu::cpu_time(pid).map_err(BenchError::Cpu)?),
                None => return Err(BenchError::Stop("it ended by itself".to_owned())),
            },
        };
        Ok((here, there))
    }

    /// Ends the node cleanly; one that does not end in time is killed.
    pub async fn stop(self) -> Result<(), BenchError> {
        self.client.close().await;
        match self.place {
            Place::Here(node) => node.close().await.map_err(BenchError::Stop),
            Place::There(child) => stop(*child).await,
        }
    }
}

/// Waits until so many journal files are ready.
async fn fill_pool(node: &Node, files: usize) -> Result<(), BenchError> {
    let mut last = (0, Instant::now());
    loop {
        let ready = node.view().status().spare_files;
        if ready >= files {
            return Ok(());
        }
        if ready > last.0 {
            last = (ready, Instant::now());
        } else if last.1.elapsed() > READY {
            return Err(BenchError::NoSpares { ready, files });
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Ends the node, whatever came of the measurement. That a measurement failed is said rather than that
/// its node did not stop.
pub(super) async fn finish<T>(
    target: Target,
    measured: Result<T, BenchError>,
) -> Result<T, BenchError> {
    let stopped = target.stop().await;
    let measured = measured?;
    stopped.map(|()| measured)
}

/// A directory below `dir`, or below the system's for temporary files.
pub(super) fn temporary(dir: Option<&Path>) -> std::io::Result<TempDir> {
    let mut builder = tempfile::Builder::new();
    builder.prefix("takt-bench-");
    match dir {
        Some(dir) => {
            std::fs::create_dir_all(dir)?;
            builder.tempdir_in(dir)
        }
        None => builder.tempdir(),
    }
}

/// Lays out a plant below `dir`, certificates and all.
pub(super) async fn lay_out(dir: PathBuf) -> Result<InitNode, BenchError> {
    let laid_out = tokio::task::spawn_blocking(move || {
        let plants = vec![PLANT.to_owned()];
        init::run(&InitOptions { plants, ..InitOptions::new(dir, SystemTime::now()) })
    });
    let mut nodes = laid_out.await.map_err(|error| BenchError::Task(error.to_string()))??.nodes;
    Ok(nodes.pop().expect("the plant that was asked for"))
}

/// Lays out a plant below `dir`, starts its node on a port that the system chooses, and waits until
/// it serves.
async fn spawn(
    dir: PathBuf,
    keys_max: u64,
    retention_bytes: u64,
) -> Result<(Child, ClientOptions), BenchError> {
    let node = lay_out(dir).await?;
    let program = std::env::current_exe().map_err(BenchError::Start)?;
    let mut child = Command::new(program)
        .args([OsStr::new("serve"), OsStr::new("--config"), node.config.as_os_str()])
        .env("TAKT_LISTEN__ADDRESS", "127.0.0.1:0")
        .env("TAKT_LEDGER__KEYS_MAX", keys_max.to_string())
        .env("TAKT_JOURNAL__RETENTION_SIZE", retention_bytes.to_string())
        .env("TAKT_LOG__LEVEL", "warn")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(BenchError::Start)?;
    let address = ready(&mut child).await?;
    let mut options = ClientOptions::from_file(&node.operator)?;
    options.address = address;
    Ok((child, options))
}

/// The address from the node's line `ready <name> <address>`.
async fn ready(child: &mut Child) -> Result<String, BenchError> {
    let stdout = child.stdout.take().expect("it is piped");
    let mut lines = BufReader::new(stdout).lines();
    let said = match timeout(READY, lines.next_line()).await {
        Ok(line) => line.map_err(BenchError::Start)?.unwrap_or_default(),
        Err(_) => format!("nothing within {READY:?}"),
    };
    // What it says later is of no interest, but the pipe must not fill up or break.
    tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
    let mut words = said.split_ascii_whitespace();
    match (words.next(), words.next(), words.next()) {
        (Some("ready"), Some(_), Some(address)) => Ok(address.to_owned()),
        _ => Err(BenchError::NotReady { said }),
    }
}

async fn stop(mut child: Child) -> Result<(), BenchError> {
    let pid = child.id().and_then(|pid| rustix::process::Pid::from_raw(i32::try_from(pid).ok()?));
    if let Some(pid) = pid {
        rustix::process::kill_process(pid, rustix::process::Signal::TERM)
            .map_err(|error| BenchError::Stop(error.to_string()))?;
    }
    match timeout(STOP, child.wait()).await {
        Ok(Ok(status)) if status.success() => Ok(()),
        Ok(Ok(status)) => Err(BenchError::Stop(status.to_string())),
        Ok(Err(error)) => Err(BenchError::Stop(error.to_string())),
        Err(_) => {
            child.kill().await.map_err(|error| BenchError::Stop(error.to_string()))?;
            Err(BenchError::Stop(format!("not within {STOP:?}; it was killed")))
        }
    }
}
