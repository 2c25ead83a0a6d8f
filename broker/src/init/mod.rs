//! `takt init`: a directory with all that a hub and its plants need to start, certificates included.
//!
//! ```text
//! DIR/ca/ca.pem, ca.key                       the authority; ca.key belongs in a safe place
//! DIR/hub/hub.toml, ca.pem, cert.pem, key.pem
//! DIR/plant-NAME/plant.toml, ca.pem, cert.pem, key.pem
//! .../client.toml, client-cert.pem, client-key.pem        a client of that node
//! .../operator.toml, operator-cert.pem, operator-key.pem  an operator at that node
//! ```
//!
//! It can be run again: what is there is kept, what is missing is made, a new plant is added under
//! the same authority. With `force`, certificates, keys and files of the named nodes are made anew;
//! the authority is never replaced, since every other node would be cut off by that.
//!
//! Files are readable by their owner alone. Each node's directory can be copied to its machine as it
//! is.

mod error;
mod files;
pub mod pki;
mod templates;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use takt_client::tls::{Identity, ServerIs, TrustDomain};

use crate::config::{NodeSettings, OPEN_DEADLINE, Period, Role, Settings};
pub use error::InitError;
use files::Files;
use pki::Authority;

/// The port of the hub by default. Plants get the ones behind it.
pub const PORT_BASE: u16 = 7_410;

/// How long the certificate of a node is valid.
const NODE_VALID: Period = Period::from_days(90);
/// How long those of clients and operators are.
const CLIENT_VALID: Period = Period::from_days(365);

/// What to make.
#[derive(Debug, Clone)]
pub struct InitOptions {
    /// Where. Is made if it is not there.
    pub dir: PathBuf,
    /// Names of plants. Those that are there already are kept.
    pub plants: Vec<String>,
    /// Whether to make a hub.
    pub hub: bool,
    /// Whether to replace what is there of the named nodes, keys included.
    pub force: bool,
    /// The hub's port; plants get the next free ones. At least 1.
    pub port_base: u16,
    /// The trust domain of all certificates.
    pub trust_domain: TrustDomain,
    /// The time from which the certificates are valid.
    pub now: SystemTime,
}

impl InitOptions {
    /// Nothing yet in `dir`, with the default ports and trust domain.
    pub fn new(dir: PathBuf, now: SystemTime) -> Self {
        Self {
            dir,
            plants: Vec::new(),
            hub: false,
            force: false,
            port_base: PORT_BASE,
            trust_domain: TrustDomain::default(),
            now,
        }
    }
}

/// What was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InitReport {
    /// Files that were written, in order.
    pub made: Vec<PathBuf>,
    /// Files that were there and were left alone.
    pub kept: Vec<PathBuf>,
    /// The nodes that were asked for, the hub first.
    pub nodes: Vec<InitNode>,
}

/// One node that can be started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InitNode {
    /// Who it is.
    pub identity: Identity,
    /// Its configuration.
    pub config: PathBuf,
    /// The context for a client of it.
    pub client: PathBuf,
    /// The context for an operator at it.
    pub operator: PathBuf,
    /// Where it listens.
    pub listen: SocketAddr,
    /// Whether it has an upstream. A plant made without a hub has none.
    pub has_upstream: bool,
}

/// Makes what `options` ask for.
///
/// # Errors
/// [`InitError`]. Nothing that was there is lost by one.
pub fn run(options: &InitOptions) -> Result<InitReport, InitError> {
    if !options.hub && options.plants.is_empty() {
        return Err(InitError::Nothing);
    }
    let plants: BTreeSet<&str> = options.plants.iter().map(String::as_str).collect();
    for plant in &plants {
        Identity::plant_node(&options.trust_domain, plant, &format!("{plant}-1"))?;
    }
    let mut run = Run::begin(options)?;
    let mut nodes = Vec::new();
    if options.hub {
        nodes.push(run.node(&Role::Hub)?);
    }
    for plant in plants {
        nodes.push(run.node(&Role::Plant { plant: plant.to_owned() })?);
    }
    let Files { made, kept } = run.files;
    Ok(InitReport { made, kept, nodes })
}

/// What is known while it runs.
struct Run<'a> {
    options: &'a InitOptions,
    authority: Authority,
    files: Files,
    /// Where the nodes in the directory listen, by the path of their configuration.
    listening: BTreeMap<PathBuf, SocketAddr>,
}

impl<'a> Run<'a> {
    fn begin(options: &'a InitOptions) -> Result<Self, InitError> {
        let mut files = Files::default();
        let listening = listening(&options.dir)?;
        let authority = authority(options, &mut files)?;
        Ok(Self { options, authority, files, listening })
    }

    fn node(&mut self, role: &Role) -> Result<InitNode, InitError> {
        let options = self.options;
        let domain = &options.trust_domain;
        let (dir, config, name, server) = match role {
            Role::Hub => (options.dir.join("hub"), "hub.toml", "hub-1".to_owned(), ServerIs::Hub),
            Role::Plant { plant } => (
                options.dir.join(format!("plant-{plant}")),
                "plant.toml",
                format!("{plant}-1"),
                ServerIs::Plant(plant.clone()),
            ),
        };
        let client = match role {
            Role::Hub => Identity::hub_client(domain, "client"),
            Role::Plant { plant } => Identity::plant_client(domain, plant, "client"),
        }?;
        let node = NodeSettings {
            name,
            role: role.clone(),
            data_dir: PathBuf::from("data"),
            trust_domain: domain.clone(),
            open_deadline: OPEN_DEADLINE,
        };
        files::make_dir(&dir)?;
        self.files.write_once(&dir.join("ca.pem"), self.authority.pem(), options.force)?;
        self.pair(&dir, "", &node.identity(), NODE_VALID)?;
        self.pair(&dir, "client-", &client, CLIENT_VALID)?;
        self.pair(&dir, "operator-", &Identity::operator(domain, "admin")?, CLIENT_VALID)?;

        let config = dir.join(config);
        let listen = self.address(&config, *role == Role::Hub)?;
        let hub = self.listening.get(&hub_config(&options.dir)).copied();
        let text = templates::node(&node, listen, hub);
        self.files.write_once(&config, &text, options.force)?;
        for name in ["client", "operator"] {
            let text = templates::context(name, listen, &server, domain);
            self.files.write_once(&dir.join(format!("{name}.toml")), &text, options.force)?;
        }
        files::sync_dir(&dir)?;
        let has_upstream = settings(&config)?.is_some_and(|settings| settings.upstream.is_some());
        Ok(InitNode {
            identity: node.identity(),
            client: dir.join("client.toml"),
            operator: dir.join("operator.toml"),
            config,
            listen,
            has_upstream,
        })
    }

    /// A certificate and its key, unless both are there.
    fn pair(
        &mut self,
        dir: &Path,
        prefix: &str,
        identity: &Identity,
        valid: Period,
    ) -> Result<(), InitError> {
        let cert = dir.join(format!("{prefix}cert.pem"));
        let key = dir.join(format!("{prefix}key.pem"));
        if !self.options.force {
            match (cert.exists(), key.exists()) {
                (true, true) => {
                    self.files.kept.extend([cert, key]);
                    return Ok(());
                }
                (true, false) => return Err(InitError::Incomplete { present: cert, missing: key }),
                (false, true) => return Err(InitError::Incomplete { present: key, missing: cert }),
                (false, false) => {}
            }
        }
        let issued = self.authority.issue(identity, self.options.now, valid)?;
        self.check(&issued)?;
        self.files.write(&cert, &issued.cert_pem)?;
        self.files.write(&key, &issued.key_pem)
    }

    /// Judges what was issued as a peer will, before it is given to anybody.
    fn check(&self, issued: &pki::Issued) -> Result<(), InitError> {
        let path = || authority_path(&self.options.dir, "ca.key");
        let now = pki::unix_time(self.options.now);
        let ca = self.authority.pem().as_bytes();
        issued
            .credentials(ca)
            .map_err(|source| InitError::Unusable { path: path(), source })?
            .check(&self.options.trust_domain, now)
            .map_err(|source| InitError::Refused { path: path(), source: Box::new(source) })?;
        Ok(())
    }

    /// Where the node of this configuration listens: where it already does, or on a free port.
    fn address(&mut self, config: &Path, hub: bool) -> Result<SocketAddr, InitError> {
        if let Some(address) = self.listening.get(config) {
            return Ok(*address);
        }
        let base = self.options.port_base;
        let used: BTreeSet<u16> = self.listening.values().map(SocketAddr::port).collect();
        let first = if hub { base } else { base.saturating_add(1) };
        let port = (first..=u16::MAX)
            .find(|port| *port > 0 && !used.contains(port) && (hub || *port != base))
            .ok_or(InitError::NoPort { base })?;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        self.listening.insert(config.to_owned(), address);
        Ok(address)
    }
}

fn hub_config(dir: &Path) -> PathBuf {
    dir.join("hub").join("hub.toml")
}

fn authority_path(dir: &Path, name: &str) -> PathBuf {
    dir.join("ca").join(name)
}

/// The authority of the directory: the one that is there, or a new one.
fn authority(options: &InitOptions, files: &mut Files) -> Result<Authority, InitError> {
    let cert = authority_path(&options.dir, "ca.pem");
    let key = authority_path(&options.dir, "ca.key");
    if key.exists() {
        let key_pem = files::read(&key)?;
        files.kept.push(key);
        if cert.exists() {
            let cert_pem = files::read(&cert)?;
            files.kept.push(cert);
            return Ok(Authority::load(&options.trust_domain, cert_pem, &key_pem)?);
        }
        // An earlier run ended between the two; the key was written first.
        let authority = Authority::from_key(&options.trust_domain, options.now, &key_pem)?;
        files.write(&cert, authority.pem())?;
        return Ok(authority);
    }
    if cert.exists() {
        return Err(InitError::NoAuthorityKey { path: key });
    }
    let dir = options.dir.join("ca");
    files::make_dir(&dir)?;
    let (authority, key_pem) = Authority::make(&options.trust_domain, options.now)?;
    files.write(&key, &key_pem)?;
    files.write(&cert, authority.pem())?;
    files::sync_dir(&dir)?;
    Ok(authority)
}

/// Where the nodes that are in the directory listen.
fn listening(dir: &Path) -> Result<BTreeMap<PathBuf, SocketAddr>, InitError> {
    let failed = |source| InitError::Io { action: "list", path: dir.to_owned(), source };
    let mut listening = BTreeMap::new();
    let entries = match std::fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(listening),
        Err(error) => return Err(failed(error)),
    };
    for entry in entries {
        let entry = entry.map_err(failed)?;
        let config = match entry.file_name().to_str() {
            Some("hub") => hub_config(dir),
            Some(name) if name.starts_with("plant-") => entry.path().join("plant.toml"),
            _ => continue,
        };
        if let Some(settings) = settings(&config)? {
            listening.insert(config, settings.listen);
        }
    }
    Ok(listening)
}

/// The settings in a file, if it is there. The environment is that of a node, not of this command.
fn settings(config: &Path) -> Result<Option<Settings>, InitError> {
    if !config.exists() {
        return Ok(None);
    }
    Ok(Some(Settings::parse(config, &files::read(config)?, [])?))
}
