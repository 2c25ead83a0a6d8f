//! What a node is opened with: by a program that embeds it, or from a configuration file.

use std::path::{Path, PathBuf};
use std::time::Duration;

use takt_client::tls::{Credentials, ServerIs, TrustDomain};
use takt_protocol::words::{NameError, NodeName, TopicName};
use takt_storage::entry::{OnConflict, TopicSettings};
use takt_storage::journal::JournalOptions;
use takt_storage::kept::PackCompression;

use crate::access::Place;
use crate::config::{self, CheckAtStart, Role, Settings, UpstreamTopics};

/// All that a node needs to know.
#[derive(Debug, Clone)]
pub struct NodeOptions {
    /// The origin of the node's own partitions: a plant's name, or the hub's.
    pub name: NodeName,
    /// Where the node stands.
    pub place: Place,
    /// Where its journal is.
    pub data_dir: PathBuf,
    /// How much is read before it opens.
    pub check_at_start: CheckAtStart,
    /// How long to wait for a directory that another process still holds.
    pub open_deadline: Duration,
    /// The journal's files.
    pub journal: JournalOptions,
    /// How long it is quiet until the last commit gets its witness.
    pub mark_after: Duration,
    /// How many files are kept ready for the journal.
    pub spare_files: usize,
    /// Beyond so many bytes of journal the oldest files may go; 0 is without a limit.
    pub retention_bytes: u64,
    /// Files whose events are all older may go; `None` is without a limit.
    pub retention_age: Option<Duration>,
    /// Files whose events are all older are packed; `None` for never.
    pub pack_after: Option<Duration>,
    /// How packs are written.
    pub pack_compression: PackCompression,
    /// The most dedup keys, and the most order keys, that are kept.
    pub keys_max: usize,
    /// Bytes that one session may have sent but not been answered.
    pub session_bytes_max: usize,
    /// The same for all sessions together.
    pub node_bytes_max: usize,
    /// Connections open at the same time.
    pub connections_max: usize,
    /// Topics that are there from the first start.
    pub topics: Vec<(TopicName, TopicSettings)>,
    /// The network; without it the node is reached only in its own process.
    pub network: Option<NetworkOptions>,
}

/// How a node is reached, and whom it reaches.
#[derive(Debug, Clone)]
pub struct NetworkOptions {
    /// Where it listens.
    pub listen: std::net::SocketAddr,
    /// Its certificate, its key and whom it trusts.
    pub credentials: Credentials,
    /// The trust domain of all certificates.
    pub trust_domain: TrustDomain,
    /// The hub. Plants only.
    pub upstream: Option<UpstreamOptions>,
}

/// The hub that a plant mirrors to.
#[derive(Debug, Clone)]
pub struct UpstreamOptions {
    /// Host and port, looked up at each attempt.
    pub address: String,
    /// Who must answer.
    pub server: ServerIs,
    /// What is mirrored; `None` for all, also what is made later.
    pub topics: Option<Vec<TopicName>>,
    /// The longest pause between two attempts.
    pub backoff_max: Duration,
}

impl UpstreamOptions {
    /// Whether a topic is mirrored.
    pub fn mirrors(&self, topic: &TopicName) -> bool {
        self.topics.as_ref().is_none_or(|wanted| wanted.contains(topic))
    }
}

impl NodeOptions {
    /// A plant's node inside another program, without a network, with the defaults of a
    /// configuration file.
    ///
    /// # Errors
    /// [`NameError`] where `plant` is no name.
    pub fn embedded(plant: &str, data_dir: &Path) -> Result<Self, NameError> {
        let journal = config::JournalSettings::default();
        let limits = config::LimitSettings::default();
        let name = NodeName::new(plant)?;
        Ok(Self {
            place: Place::Plant(plant.to_owned()),
            name,
            data_dir: data_dir.to_owned(),
            check_at_start: journal.check_at_start,
            open_deadline: Duration::from_secs(10),
            journal: journal_options(&journal),
            spare_files: journal.spare_files.into(),
            mark_after: journal.mark_after.duration(),
            retention_bytes: journal.retention_size.bytes(),
            retention_age: age(journal.retention_age),
            pack_after: age(journal.pack_after),
            pack_compression: journal.pack_compression,
            keys_max: to_usize(config::LedgerSettings::default().keys_max),
            session_bytes_max: to_usize(limits.session_in_flight.bytes()),
            node_bytes_max: to_usize(limits.node_in_flight.bytes()),
            connections_max: limits.connections_max as usize,
            topics: Vec::new(),
            network: None,
        })
    }

    /// The node of a configuration file; its certificate is read and must be the node's own.
    ///
    /// # Errors
    /// [`OptionsError`] where a certificate cannot be used or a name is none.
    pub fn from_settings(settings: &Settings) -> Result<Self, OptionsError> {
        let node = &settings.node;
        let (name, place) = match &node.role {
            Role::Plant { plant } => (plant, Place::Plant(plant.clone())),
            Role::Hub => (&node.name, Place::Hub),
        };
        let paths = &settings.security;
        let credentials = Credentials::load(&paths.ca, &paths.cert, &paths.key)?;
        let identity = credentials.identity(&node.trust_domain).map_err(|e| {
            OptionsError::Identity { path: paths.cert.clone(), what: e.to_string() }
        })?;
        if identity != node.identity() {
            let what = format!("it is for {identity}, this node is {}", node.identity());
            return Err(OptionsError::Identity { path: paths.cert.clone(), what });
        }
        let upstream = settings.upstream.as_ref().map(|upstream| UpstreamOptions {
            address: upstream.address.clone(),
            server: upstream.server.clone(),
            topics: match &upstream.topics {
                UpstreamTopics::All => None,
                UpstreamTopics::Named(names) => Some(names.clone()),
            },
            backoff_max: upstream.backoff_max.duration(),
        });
        Ok(Self {
            name: NodeName::new(name)?,
            place,
            data_dir: node.data_dir.clone(),
            check_at_start: settings.journal.check_at_start,
            open_deadline: node.open_deadline.duration(),
            journal: journal_options(&settings.journal),
            spare_files: settings.journal.spare_files.into(),
            mark_after: settings.journal.mark_after.duration(),
            retention_bytes: settings.journal.retention_size.bytes(),
            retention_age: age(settings.journal.retention_age),
            pack_after: age(settings.journal.pack_after),
            pack_compression: settings.journal.pack_compression,
            keys_max: to_usize(settings.ledger.keys_max),
            session_bytes_max: to_usize(settings.limits.session_in_flight.bytes()),
            node_bytes_max: to_usize(settings.limits.node_in_flight.bytes()),
            connections_max: settings.limits.connections_max as usize,
            topics: settings.topics.iter().map(topic).collect(),
            network: Some(NetworkOptions {
                listen: settings.listen,
                credentials,
                trust_domain: node.trust_domain.clone(),
                upstream,
            }),
        })
    }
}

/// Why a configuration makes no node.
#[derive(Debug, thiserror::Error)]
pub enum OptionsError {
    /// A certificate or key cannot be used.
    #[error(transparent)]
    Credentials(#[from] takt_client::tls::CredentialsError),
    /// The certificate is not this node's.
    #[error("the certificate {} does not fit [node]: {what}", path.display())]
    Identity {
        /// The certificate.
        path: PathBuf,
        /// What does not fit.
        what: String,
    },
    /// A name is no name.
    #[error(transparent)]
    Name(#[from] NameError),
}

fn journal_options(journal: &config::JournalSettings) -> JournalOptions {
    JournalOptions { file_bytes: journal.file_size.bytes(), ..JournalOptions::default() }
}

fn age(period: config::Period) -> Option<Duration> {
    let age = period.duration();
    (!age.is_zero()).then_some(age)
}

fn topic(topic: &config::TopicSettings) -> (TopicName, TopicSettings) {
    let settings = TopicSettings {
        partitions: topic.partitions,
        dedup: topic.dedup,
        horizon_s: topic.horizon.duration().as_secs(),
        on_conflict: match topic.on_conflict {
            config::OnConflict::Quarantine => OnConflict::Quarantine,
            config::OnConflict::Refuse => OnConflict::Refuse,
        },
        retention_ms: topic.retention_age.ms(),
        retention_bytes: topic.retention_size.bytes(),
        compact: topic.compact,
        ..TopicSettings::default()
    };
    (topic.name.clone(), settings)
}

fn to_usize(value: u64) -> usize {
    usize::try_from(value).unwrap_or(usize::MAX)
}
