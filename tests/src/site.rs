//! A hub and its plants, as `takt init` makes them, in a temporary directory.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::SystemTime;

use takt_broker::config::Settings;
use takt_broker::init::{self, InitNode, InitOptions};
use takt_broker::node::NodeOptions;
use takt_client::{Client, ClientOptions};
use tempfile::TempDir;

use crate::process::{Process, binary};
use crate::within;

/// The topic that every plant has from the first start.
pub const TOPIC: &str = "production";
/// The hub's name among the nodes of a site.
pub const HUB: &str = "hub";

/// Ports of a site.
const PORTS: u16 = 16;
/// The first site's; those that the system gives out by itself are above 32,767.
const PORT_FIRST: u16 = 20_000;

/// A directory with certificates and configurations. It is removed when this is dropped.
#[derive(Debug)]
pub struct Site {
    dir: TempDir,
    nodes: BTreeMap<String, Place>,
}

#[derive(Debug)]
struct Place {
    made: InitNode,
    address: SocketAddr,
    /// What goes over the configuration file, as the environment does.
    settings: BTreeMap<String, String>,
}

impl Site {
    /// A hub and plants of these names.
    ///
    /// # Panics
    /// If the directory cannot be made.
    pub fn new(plants: &[&str]) -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let mut options = InitOptions::new(dir.path().to_owned(), SystemTime::now());
        options.hub = true;
        options.plants = plants.iter().map(|plant| (*plant).to_owned()).collect();
        let report = init::run(&options).expect("an empty directory takes a site");
        let names = std::iter::once(HUB).chain({
            let mut plants = plants.to_vec();
            plants.sort_unstable();
            plants
        });
        let ports = ports();
        let hub = address(ports);
        let nodes = names
            .zip(ports..)
            .zip(report.nodes)
            .map(|((name, port), made)| {
                let address = address(port);
                let mut settings = BTreeMap::from([
                    ("TAKT_LISTEN__ADDRESS".to_owned(), address.to_string()),
                    ("TAKT_JOURNAL__FILE_SIZE".to_owned(), "4MiB".to_owned()),
                ]);
                if name != HUB {
                    settings.insert("TAKT_UPSTREAM__ADDRESS".to_owned(), hub.to_string());
                    settings.insert("TAKT_UPSTREAM__BACKOFF_MAX".to_owned(), "200ms".to_owned());
                }
                (name.to_owned(), Place { made, address, settings })
            })
            .collect();
        Self { dir, nodes }
    }

    /// The directory of the site.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Where a node keeps its journal.
    pub fn data_dir(&self, node: &str) -> PathBuf {
        let config = &self.place(node).made.config;
        config.parent().expect("a file is in a directory").join("data")
    }

    /// Where a node listens.
    pub fn address(&self, node: &str) -> SocketAddr {
        self.place(node).address
    }

    /// Sets a setting of a node for its next starts: `set("munich", "journal.file_size", "8MiB")`.
    ///
    /// # Panics
    /// If there is no such node or `key` has no section.
    pub fn set(&mut self, node: &str, key: &str, value: &str) {
        let (section, key) = key.split_once('.').expect("section.key");
        let variable = format!("TAKT_{}__{}", section.to_uppercase(), key.to_uppercase());
        let place = self.nodes.get_mut(node).expect("a node of the site");
        place.settings.insert(variable, value.to_string());
    }

    /// The command that runs a node.
    pub fn command(&self, node: &str) -> Command {
        self.command_in(node, Command::new(binary()))
    }

    /// As [`Site::command`], where a prefix such as `nsenter` comes first.
    pub fn command_in(&self, node: &str, mut command: Command) -> Command {
        let place = self.place(node);
        command.arg("serve").arg("--config").arg(&place.made.config).envs(&place.settings);
        command.env("RUST_BACKTRACE", "1");
        command
    }

    /// A command of an operator at a node: `operate("munich", &["topic", "ls"])`.
    ///
    /// # Panics
    /// If the operator's files cannot be read.
    pub fn operate(&self, node: &str, arguments: &[&str]) -> Command {
        let place = self.place(node);
        let made = std::fs::read_to_string(&place.made.operator).expect("the context is there");
        let (before, rest) = made.split_once("address = \"").expect("a context has an address");
        let (_, after) = rest.split_once('"').expect("it is quoted");
        let context = place.made.operator.with_file_name("operator-here.toml");
        let text = format!("{before}address = \"{}\"{after}", place.address);
        std::fs::write(&context, text).expect("the directory takes a file");
        let mut command = Command::new(binary());
        command.args(arguments).arg("--context").arg(context);
        command
    }

    /// Runs a node and waits until it serves.
    ///
    /// # Panics
    /// If it does not.
    pub async fn start(&self, node: &str) -> Process {
        let mut process = Process::spawn(&mut self.command(node));
        process.ready().await;
        process
    }

    /// The options of a node for this process.
    ///
    /// # Panics
    /// If the configuration does not hold.
    pub fn options(&self, node: &str) -> NodeOptions {
        let Place { made, settings, .. } = self.place(node);
        let text = std::fs::read_to_string(&made.config).expect("the configuration is there");
        let parsed = Settings::parse(&made.config, &text, settings.clone());
        NodeOptions::from_settings(&parsed.expect("it holds")).expect("the certificates are there")
    }

    /// The options of a client of a node.
    ///
    /// # Panics
    /// If its files cannot be read.
    pub fn client_options(&self, node: &str) -> ClientOptions {
        let place = self.place(node);
        let options = ClientOptions::from_file(&place.made.client).expect("the context holds");
        ClientOptions { address: place.address.to_string(), ..options }
    }

    /// A client of a node, connected.
    ///
    /// # Panics
    /// If it does not connect.
    pub async fn client(&self, node: &str) -> Client {
        let connecting = Client::connect(self.client_options(node));
        within("a connection", connecting).await.expect("the node takes a client")
    }

    /// An operator at a node, connected.
    ///
    /// # Panics
    /// If it does not connect.
    pub async fn operator(&self, node: &str) -> Client {
        let place = self.place(node);
        let options = ClientOptions::from_file(&place.made.operator).expect("the context holds");
        let options = ClientOptions { address: place.address.to_string(), ..options };
        let connecting = Client::connect(options);
        within("a connection", connecting).await.expect("the node takes an operator")
    }

    fn place(&self, node: &str) -> &Place {
        self.nodes.get(node).expect("a node of the site")
    }
}

/// Ports that no other site of this process has.
fn ports() -> u16 {
    static SITES: AtomicU16 = AtomicU16::new(0);
    PORT_FIRST + SITES.fetch_add(1, Ordering::Relaxed) * PORTS
}

/// All of 127.0.0.0/8 is this machine: each process takes an address of its own, so that a node
/// that is restarted finds its port free.
fn address(port: u16) -> SocketAddr {
    let [_, high, middle, low] = std::process::id().to_be_bytes();
    SocketAddr::new(IpAddr::V4(Ipv4Addr::new(127, high | 0x80, middle, low)), port)
}
