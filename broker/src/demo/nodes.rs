//! The hub and the plants as processes of their own.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, SystemTime};

use rustix::process::{Pid, Signal, kill_process};
use takt_client::{Client, ClientOptions};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, ChildStdout, Command};
use tokio::time::timeout;

use super::adapter::TOPIC;
use super::error::DemoError;
use super::log::PLANTS;
use super::wan::Wan;
use crate::config::JournalSettings;
use crate::init::{InitNode, InitOptions, run as init};

/// How long a node may take to serve.
const START_LIMIT: Duration = Duration::from_secs(30);
/// How long a node may take to stop.
const STOP_LIMIT: Duration = Duration::from_secs(10);
/// How long a node may take to answer a question.
const ASK_LIMIT: Duration = Duration::from_secs(2);
/// Small files make a quick start.
const FILE_SIZE: &str = "16MiB";
/// Ports that no system gives to sockets without one: a node that was killed finds its own again.
const PORTS: std::ops::Range<u16> = 20_000..32_000;

/// A node and its process, while it has one. Dropping it kills the process.
#[derive(Debug)]
pub struct Node {
    name: &'static str,
    config: PathBuf,
    client: PathBuf,
    operator: PathBuf,
    log: PathBuf,
    /// Where it is to find its hub, whatever its file says.
    upstream: Option<SocketAddr>,
    running: Option<Running>,
}

#[derive(Debug)]
struct Running {
    process: Child,
    operator: Client,
}

impl Node {
    fn new(dir: &Path, name: &'static str, made: &InitNode, upstream: Option<SocketAddr>) -> Self {
        Self {
            name,
            config: made.config.clone(),
            client: made.client.clone(),
            operator: made.operator.clone(),
            log: dir.join(format!("{name}.log")),
            upstream,
            running: None,
        }
    }

    /// The context of a client of it.
    pub fn client(&self) -> &Path {
        &self.client
    }

    /// Starts the process and waits until it serves. Says what it printed of itself.
    pub async fn start(&mut self) -> Result<String, DemoError> {
        let program = std::env::current_exe().map_err(DemoError::io("find this program"))?;
        let open = || File::options().create(true).append(true).open(&self.log);
        let log = open().map_err(DemoError::io(format!("write {}", self.log.display())))?;
        let mut command = Command::new(program);
        command.arg("serve").arg("--config").arg(&self.config);
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("TAKT_") {
                command.env_remove(name);
            }
        }
        if let Some(upstream) = self.upstream {
            command.env("TAKT_UPSTREAM__ADDRESS", upstream.to_string());
        }
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log).kill_on_drop(true);
        let mut process =
            command.spawn().map_err(DemoError::io(format!("start the node {}", self.name)))?;
        let stdout = process.stdout.take().expect("it is piped");
        let ready = timeout(START_LIMIT, ready(stdout)).await;
        let ready = match ready {
            Ok(Some(ready)) => ready,
            Ok(None) => {
                return Err(self.failed(&format!("ends at its start ({})", end(process).await)));
            }
            Err(_) => return Err(self.failed("does not serve within 30 s")),
        };
        let options = ClientOptions::from_file(&self.operator)
            .map_err(|error| self.failed(&format!("has no operator: {error}")))?;
        let operator = Client::lazy(options)
            .map_err(|error| self.failed(&format!("has no operator: {error}")))?;
        self.running = Some(Running { process, operator });
        Ok(ready)
    }

    /// Kills the process, as a power cut would end it, and waits until it is gone.
    pub async fn kill(&mut self) -> Result<(), DemoError> {
        let Some(mut running) = self.running.take() else { return Ok(()) };
        running.process.kill().await.map_err(DemoError::io(format!("kill {}", self.name)))
    }

    /// Stops the process in its own way.
    pub async fn stop(&mut self) -> Result<(), DemoError> {
        let Some(mut running) = self.running.take() else { return Ok(()) };
        let pid =
            running.process.id().and_then(|pid| i32::try_from(pid).ok()).and_then(Pid::from_raw);
        if let Some(pid) = pid {
            kill_process(pid, Signal::TERM)
                .map_err(|error| DemoError::io(format!("stop {}", self.name))(error.into()))?;
        }
        match timeout(STOP_LIMIT, running.process.wait()).await {
            Ok(Ok(status)) if status.success() => Ok(()),
            Ok(Ok(status)) => Err(self.failed(&format!("stops with {status}"))),
            Ok(Err(error)) => Err(DemoError::io(format!("stop {}", self.name))(error)),
            Err(_) => Err(self.failed("does not stop within 10 s")),
        }
    }

    /// A client that may ask everything; `None` while it does not run.
    pub fn operator(&self) -> Option<&Client> {
        self.running.as_ref().map(|running| &running.operator)
    }

    /// How many events it holds of each origin; `None` where it does not answer just now.
    pub async fn ends(&self) -> Option<BTreeMap<String, u64>> {
        let admin = self.operator()?.admin();
        let info = timeout(ASK_LIMIT, admin.topic_info(TOPIC)).await.ok()?;
        let partitions = match info {
            Ok(info) => info.partitions,
            // A hub has the topic once a plant has brought it.
            Err(_) => return None,
        };
        Some(partitions.into_iter().map(|one| (one.origin, one.end_offset)).collect())
    }

    /// Whether its link is up and has nothing left to do.
    pub async fn has_mirrored_all(&self) -> bool {
        let Some(operator) = self.operator() else { return false };
        match timeout(ASK_LIMIT, operator.admin().status()).await {
            Ok(Ok(status)) => status.links.iter().all(|link| link.backlog_records == 0),
            Ok(Err(_)) | Err(_) => false,
        }
    }

    fn failed(&self, why: &str) -> DemoError {
        DemoError::Node { node: self.name, why: why.to_owned(), log: self.log.clone() }
    }
}

async fn end(mut process: Child) -> String {
    match timeout(STOP_LIMIT, process.wait()).await {
        Ok(Ok(status)) => status.to_string(),
        Ok(Err(error)) => error.to_string(),
        Err(_) => "and still runs".to_owned(),
    }
}

/// Waits for the line that says that a node serves.
async fn ready(stdout: ChildStdout) -> Option<String> {
    let mut lines = BufReader::new(stdout).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        if let Some(ready) = line.strip_prefix("ready ") {
            let ready = ready.to_owned();
            // It may say more; a pipe that nobody empties would stop it.
            tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
            return Some(ready);
        }
    }
    None
}

/// All nodes and the lines between them.
#[derive(Debug)]
pub struct Nodes {
    /// The hub.
    pub hub: Node,
    /// The plants, in the order of [`PLANTS`].
    pub plants: Vec<Node>,
    /// The line of each plant to the hub.
    pub lines: Vec<Wan>,
}

impl Nodes {
    /// Makes certificates and configurations in `dir`, and the lines. Nothing runs yet.
    pub async fn make(dir: &Path) -> Result<Self, DemoError> {
        let made = init(&InitOptions {
            plants: PLANTS.map(str::to_owned).to_vec(),
            hub: true,
            port_base: free_ports()?,
            ..InitOptions::new(dir.to_owned(), SystemTime::now())
        })?;
        let mut nodes = made.nodes.iter();
        let hub_made = nodes.next().expect("the hub was asked for");
        for node in &made.nodes {
            make_quick(&node.config)?;
        }
        let hub = Node::new(dir, "hub", hub_made, None);
        let (mut plants, mut lines) = (Vec::new(), Vec::new());
        for name in PLANTS {
            let what = "open a socket for a line";
            let line = Wan::start(hub_made.listen).await.map_err(DemoError::io(what))?;
            let made = made.nodes.iter().find(|node| names(&node.config, name));
            let made = made.expect("the plant was asked for");
            plants.push(Node::new(dir, name, made, Some(line.address())));
            lines.push(line);
        }
        Ok(Self { hub, plants, lines })
    }
}

/// Whether a configuration is that of the plant `name`.
fn names(config: &Path, name: &str) -> bool {
    config.parent().is_some_and(|dir| dir.ends_with(format!("plant-{name}")))
}

/// Small journal files.
fn make_quick(config: &Path) -> Result<(), DemoError> {
    let failed = || DemoError::io(format!("write {}", config.display()));
    let text = fs::read_to_string(config).map_err(failed())?;
    let size = JournalSettings::default().file_size;
    let old = format!("file_size = \"{size}\"");
    assert!(text.contains(&old), "the configuration is complete");
    fs::write(config, text.replace(&old, &format!("file_size = \"{FILE_SIZE}\""))).map_err(failed())
}

/// The first of as many free ports in a row as there are nodes.
fn free_ports() -> Result<u16, DemoError> {
    let count = 1 + u16::try_from(PLANTS.len()).expect("few plants");
    let first = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let span = u32::from(PORTS.end - PORTS.start - count);
    let mut at = first.subsec_micros();
    for _ in 0..1_000 {
        let base = PORTS.start + u16::try_from(at % span).expect("a span of ports");
        let free = |port| UdpSocket::bind((Ipv4Addr::LOCALHOST, port)).is_ok();
        if (base..base + count).all(free) {
            return Ok(base);
        }
        at = at.wrapping_add(7_919);
    }
    let source = std::io::Error::from(std::io::ErrorKind::AddrInUse);
    Err(DemoError::Io { what: "find free ports".to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_directory_holds_what_the_processes_need() {
        let dir = tempfile::tempdir().unwrap();
        let nodes = Nodes::make(dir.path()).await.unwrap();
        for node in nodes.plants.iter().chain([&nodes.hub]) {
            let settings = crate::config::Settings::load(&node.config).unwrap();
            assert_eq!(settings.journal.file_size.to_string(), FILE_SIZE);
            assert!(PORTS.contains(&settings.listen.port()));
            assert!(node.client.exists() && node.operator.exists());
            assert_eq!(node.ends().await, None);
        }
        let upstreams: Vec<_> = nodes.plants.iter().map(|plant| plant.upstream.unwrap()).collect();
        assert_ne!(upstreams[0], upstreams[1]);
    }
}
