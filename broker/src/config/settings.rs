//! The settings of a node, with their defaults.

use std::net::SocketAddr;
use std::path::PathBuf;

use takt_client::tls::{Credentials, CredentialsError, Identity, ServerIs, TrustDomain};
use takt_protocol::words::TopicName;
use takt_storage::kept::PackCompression;

use super::units::{Period, Size};

/// What a node is told, checked and complete. Paths are absolute or relative to the working
/// directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Who the node is.
    pub node: NodeSettings,
    /// Where it listens for clients and, at a hub, for plants.
    pub listen: SocketAddr,
    /// Its certificate, its key and the authority that it trusts.
    pub security: SecurityPaths,
    /// The hub that it mirrors to. Plants only.
    pub upstream: Option<UpstreamSettings>,
    /// The journal.
    pub journal: JournalSettings,
    /// The dedup ledger.
    pub ledger: LedgerSettings,
    /// Bounds on what peers may use.
    pub limits: LimitSettings,
    /// The topics that exist from the first start, in the order of the file.
    pub topics: Vec<TopicSettings>,
    /// What is logged and how.
    pub log: LogSettings,
}

/// `[node]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeSettings {
    /// The node's name, as in its certificate.
    pub name: String,
    /// What the node is.
    pub role: Role,
    /// Where the journal and all else is kept.
    pub data_dir: PathBuf,
    /// The trust domain of all certificates.
    pub trust_domain: TrustDomain,
    /// How long a start may take until it is reported as stuck.
    pub open_deadline: Period,
}

impl NodeSettings {
    /// The identity that the node's certificate must carry.
    pub fn identity(&self) -> Identity {
        match &self.role {
            Role::Plant { plant } => Identity::plant_node(&self.trust_domain, plant, &self.name),
            Role::Hub => Identity::hub_node(&self.trust_domain, &self.name),
        }
        .expect("names were checked when the settings were made")
    }
}

/// What a node is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Role {
    /// The broker of one plant.
    Plant {
        /// The plant, as in the node's certificate.
        plant: String,
    },
    /// The broker that plants mirror to.
    Hub,
}

/// `[security]`: paths of PEM files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecurityPaths {
    /// The authority's certificate.
    pub ca: PathBuf,
    /// The own certificate and its intermediates.
    pub cert: PathBuf,
    /// The private key.
    pub key: PathBuf,
}

impl SecurityPaths {
    /// Loads the three files.
    ///
    /// # Errors
    /// [`CredentialsError`], with the path and what to do.
    pub fn load(&self) -> Result<Credentials, CredentialsError> {
        Credentials::load(&self.ca, &self.cert, &self.key)
    }
}

/// `[upstream]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpstreamSettings {
    /// Host and port; the host is looked up at each attempt.
    pub address: String,
    /// Who must answer there.
    pub server: ServerIs,
    /// What is mirrored.
    pub topics: UpstreamTopics,
    /// The longest pause between two attempts.
    pub backoff_max: Period,
}

/// Which topics go upstream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UpstreamTopics {
    /// `["*"]`: all, also those made later.
    All,
    /// These.
    Named(Vec<TopicName>),
}

/// `[journal]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JournalSettings {
    /// Bytes of one journal file: 4 MiB to 16 GiB, a multiple of 4 KiB.
    pub file_size: Size,
    /// How many files are kept ready to be the next ones: 1 to 1,024.
    pub spare_files: u16,
    /// How long it is quiet until a mark is written.
    pub mark_after: Period,
    /// Beyond so many bytes the oldest files may go; 0 is without a limit.
    pub retention_size: Size,
    /// Files whose events are all older may go; 0 is without a limit.
    pub retention_age: Period,
    /// Files whose events are all older are packed, whether anything in them has expired or not; 0 is
    /// for never.
    pub pack_after: Period,
    /// How packs are written.
    pub pack_compression: PackCompression,
    /// How much is read before the node opens.
    pub check_at_start: CheckAtStart,
}

impl Default for JournalSettings {
    fn default() -> Self {
        Self {
            file_size: Size::from_mib(256),
            spare_files: 2,
            mark_after: Period::from_ms(50),
            retention_size: Size::from_bytes(0),
            retention_age: Period::from_ms(0),
            pack_after: Period::from_ms(0),
            pack_compression: PackCompression::None,
            check_at_start: CheckAtStart::All,
        }
    }
}

/// `[ledger]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LedgerSettings {
    /// The most dedup keys that are kept; at least 1,000.
    pub keys_max: u64,
}

impl Default for LedgerSettings {
    fn default() -> Self {
        Self { keys_max: 10_000_000 }
    }
}

/// `[limits]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LimitSettings {
    /// Connections open at the same time; at least 1.
    pub connections_max: u32,
    /// Bytes that one session may have received but not acknowledged; at least 1 MiB, one frame.
    pub session_in_flight: Size,
    /// The same for all sessions together; at least that of one session.
    pub node_in_flight: Size,
}

impl Default for LimitSettings {
    fn default() -> Self {
        Self {
            connections_max: 1_000,
            session_in_flight: Size::from_mib(8),
            node_in_flight: Size::from_mib(192),
        }
    }
}

/// One `[[topics]]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicSettings {
    /// The topic.
    pub name: TopicName,
    /// 1 to 1,024, fixed when the topic is made.
    pub partitions: u16,
    /// Whether dedup keys are judged.
    pub dedup: bool,
    /// How long a dedup key counts, at least.
    pub horizon: Period,
    /// What happens to a known key with other content.
    pub on_conflict: OnConflict,
    /// Events may go when they are older; 0: as long as the node keeps them.
    pub retention_age: Period,
    /// In each partition, events may go that lie behind so much newer; 0: without a limit.
    pub retention_size: Size,
    /// Whether an event may go when a later one of its order key has come.
    pub compact: bool,
}

impl TopicSettings {
    /// A topic with the defaults.
    pub fn new(name: TopicName) -> Self {
        Self {
            name,
            partitions: 1,
            dedup: true,
            horizon: Period::from_days(400),
            on_conflict: OnConflict::Quarantine,
            retention_age: Period::from_ms(0),
            retention_size: Size::from_bytes(0),
            compact: false,
        }
    }
}

/// What happens to a known dedup key with other content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnConflict {
    /// It is set aside, listed, and an operator decides.
    Quarantine,
    /// The publisher is told, nothing is listed.
    Refuse,
}

/// `[log]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogSettings {
    /// What is logged.
    pub level: LogLevel,
    /// How a line looks.
    pub format: LogFormat,
}

impl Default for LogSettings {
    fn default() -> Self {
        Self { level: LogLevel::Info, format: LogFormat::Full }
    }
}

/// The least severe events that are logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say all")]
pub enum LogLevel {
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

impl LogLevel {
    /// The name as in the file, which is also a filter directive of `tracing`.
    pub fn as_str(self) -> &'static str {
        LOG_LEVELS.iter().find(|(_, level)| *level == self).map_or("info", |(name, _)| name)
    }
}

/// The name of a compression as in the file.
pub(crate) fn pack_compression_name(compression: PackCompression) -> &'static str {
    let named = PACK_COMPRESSIONS.iter().find(|(_, known)| *known == compression);
    named.map_or("none", |(name, _)| name)
}

/// How much of the journal is read before a node opens. Damage in what is read stops the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CheckAtStart {
    /// The newest snapshot and what was written since: a start takes no time that grows with what is
    /// kept. Damage in older files is met by who reads them.
    Tail,
    /// All files, to their ends: no damage goes unseen, and a start takes time that grows with what is
    /// kept.
    All,
}

impl CheckAtStart {
    /// The name as in the file.
    pub fn as_str(self) -> &'static str {
        CHECKS_AT_START.iter().find(|(_, check)| *check == self).map_or("all", |(name, _)| name)
    }
}

/// How a line of the log looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// One line with all fields and the module.
    Full,
    /// A shorter line.
    Compact,
}

pub(super) const LOG_LEVELS: [(&str, LogLevel); 5] = [
    ("error", LogLevel::Error),
    ("warn", LogLevel::Warn),
    ("info", LogLevel::Info),
    ("debug", LogLevel::Debug),
    ("trace", LogLevel::Trace),
];
pub(super) const PACK_COMPRESSIONS: [(&str, PackCompression); 2] =
    [("none", PackCompression::None), ("zstd", PackCompression::Zstd)];

pub(super) const CHECKS_AT_START: [(&str, CheckAtStart); 2] =
    [("tail", CheckAtStart::Tail), ("all", CheckAtStart::All)];
pub(super) const LOG_FORMATS: [(&str, LogFormat); 2] =
    [("full", LogFormat::Full), ("compact", LogFormat::Compact)];
pub(super) const ON_CONFLICT: [(&str, OnConflict); 2] =
    [("quarantine", OnConflict::Quarantine), ("refuse", OnConflict::Refuse)];
