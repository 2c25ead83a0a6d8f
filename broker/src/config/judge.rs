//! The one place where a configuration is judged: `Config` in, [`Settings`] or the first flaw out.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use takt_client::tls::{Identity, ServerIs, TrustDomain};
use takt_protocol::limits::{FRAME_BYTES_MAX, HORIZON_S_MIN, PARTITIONS_MAX};
use takt_protocol::words::TopicName;

use super::error::nearest;
use super::file::{self, Config};
use super::settings::{
    CHECKS_AT_START, JournalSettings, LOG_FORMATS, LOG_LEVELS, LedgerSettings, LimitSettings,
    LogSettings, NodeSettings, ON_CONFLICT, PACK_COMPRESSIONS, Role, SecurityPaths, Settings,
    TopicSettings, UpstreamSettings, UpstreamTopics,
};
use super::units::{Period, Size};

/// How long a start may take by default until it is reported as stuck.
pub(crate) const OPEN_DEADLINE: Period = Period::from_secs(10);
/// The longest pause between two attempts to reach the hub, by default.
pub(crate) const BACKOFF_MAX: Period = Period::from_secs(5);

const JOURNAL_FILE_SIZE_MIN: Size = Size::from_mib(4);
const JOURNAL_FILE_SIZE_MAX: Size = Size::from_mib(16 << 10);
const JOURNAL_BLOCK_BYTES: u64 = 4 << 10;

/// Something wrong with a value that is of the right form.
#[derive(Debug)]
pub(super) struct Flaw {
    pub section: &'static str,
    /// Which `[[topics]]`, from 0.
    pub index: Option<usize>,
    pub key: &'static str,
    pub problem: String,
}

impl Flaw {
    pub(super) fn new(section: &'static str, key: &'static str, problem: String) -> Self {
        Self { section, index: None, key, problem }
    }

    fn missing(section: &'static str, key: &'static str, example: &str) -> Self {
        Self::new(section, key, format!("[{section}] needs {key}, such as {key} = {example}"))
    }
}

/// Judges the whole of a configuration whose relative paths begin in `base`.
pub(super) fn judge(config: Config, base: &Path) -> Result<Settings, Flaw> {
    let node = node(config.node, base)?;
    let upstream = config.upstream.map(|raw| upstream(raw, &node.role)).transpose()?;
    Ok(Settings {
        listen: listen(config.listen)?,
        security: security(config.security, base)?,
        journal: journal(&config.journal)?,
        ledger: ledger(&config.ledger)?,
        limits: limits(&config.limits)?,
        topics: topics(config.topics)?,
        log: log(&config.log)?,
        upstream,
        node,
    })
}

fn node(raw: file::Node, base: &Path) -> Result<NodeSettings, Flaw> {
    let flaw = |key, problem| Flaw::new("node", key, problem);
    let trust_domain = match raw.trust_domain {
        Some(text) => TrustDomain::new(&text).map_err(|e| flaw("trust_domain", e.to_string()))?,
        None => TrustDomain::default(),
    };
    let name = raw.name.ok_or_else(|| Flaw::missing("node", "name", "\"munich-1\""))?;
    Identity::hub_node(&trust_domain, &name).map_err(|error| flaw("name", error.to_string()))?;
    let role = raw.role.ok_or_else(|| Flaw::missing("node", "role", "\"plant\" or \"hub\""))?;
    let role = match (role.as_str(), raw.plant) {
        ("plant", Some(plant)) => {
            Identity::plant_node(&trust_domain, &plant, &name)
                .map_err(|error| flaw("plant", error.to_string()))?;
            Role::Plant { plant }
        }
        ("plant", None) => return Err(Flaw::missing("node", "plant", "\"munich\"")),
        ("hub", None) => Role::Hub,
        ("hub", Some(_)) => {
            let problem = "a hub belongs to no plant; remove plant, or write role = \"plant\"";
            return Err(flaw("plant", problem.to_owned()));
        }
        (other, _) => {
            return Err(flaw("role", unknown("role", other, &["plant", "hub"])));
        }
    };
    Ok(NodeSettings {
        name,
        role,
        data_dir: base.join(raw.data_dir.unwrap_or_else(|| PathBuf::from("data"))),
        trust_domain,
        open_deadline: raw.open_deadline.unwrap_or(OPEN_DEADLINE),
    })
}

fn listen(raw: file::Listen) -> Result<SocketAddr, Flaw> {
    let example = "\"127.0.0.1:7411\"";
    let text = raw.address.ok_or_else(|| Flaw::missing("listen", "address", example))?;
    text.parse().map_err(|_| {
        let text = text.escape_debug();
        let problem = format!("\"{text}\" is not an IP address and a port, such as {example}");
        Flaw::new("listen", "address", problem)
    })
}

fn security(raw: file::Security, base: &Path) -> Result<SecurityPaths, Flaw> {
    let path = |path: Option<PathBuf>, key, example| {
        path.map(|path| base.join(path)).ok_or_else(|| Flaw::missing("security", key, example))
    };
    Ok(SecurityPaths {
        ca: path(raw.ca, "ca", "\"ca.pem\"")?,
        cert: path(raw.cert, "cert", "\"cert.pem\"")?,
        key: path(raw.key, "key", "\"key.pem\"")?,
    })
}

fn upstream(raw: file::Upstream, role: &Role) -> Result<UpstreamSettings, Flaw> {
    let flaw = |key, problem| Flaw::new("upstream", key, problem);
    if *role == Role::Hub {
        return Err(flaw("", "a hub has no upstream; remove [upstream]".to_owned()));
    }
    let address =
        raw.address.ok_or_else(|| Flaw::missing("upstream", "address", "\"hub.example:7410\""))?;
    host_and_port(&address).map_err(|problem| flaw("address", problem))?;
    let server = match raw.server {
        Some(text) => text.parse::<ServerIs>().map_err(|e| flaw("server", e.to_string()))?,
        None => ServerIs::Hub,
    };
    if server != ServerIs::Hub {
        return Err(flaw("server", "a plant's upstream is the hub; write \"hub\"".to_owned()));
    }
    let topics = match raw.topics {
        None => UpstreamTopics::All,
        Some(names) if names == ["*"] => UpstreamTopics::All,
        Some(names) => {
            let named: Result<Vec<_>, _> = names.iter().map(|name| TopicName::new(name)).collect();
            let named = named.map_err(|error| {
                flaw("topics", format!("{error}; write topic names, or [\"*\"] alone for all"))
            })?;
            if named.is_empty() {
                let problem = "names no topic; write [\"*\"] for all, or remove [upstream]";
                return Err(flaw("topics", problem.to_owned()));
            }
            UpstreamTopics::Named(named)
        }
    };
    let backoff_max = raw.backoff_max.unwrap_or(BACKOFF_MAX);
    if !(100..=3_600_000).contains(&backoff_max.duration().as_millis()) {
        let problem = format!("{backoff_max} is out of bounds: 100ms to 1h");
        return Err(flaw("backoff_max", problem));
    }
    Ok(UpstreamSettings { address, server, topics, backoff_max })
}

/// Checks the form `host:port`; whether the host exists is asked when it is dialed.
pub(super) fn host_and_port(address: &str) -> Result<(), String> {
    let fits = address.rsplit_once(':').is_some_and(|(host, port)| {
        let bare = !host.contains(':') || (host.starts_with('[') && host.ends_with(']'));
        let plain = host.chars().all(|c| c.is_ascii_graphic());
        !host.is_empty() && bare && plain && port.parse::<u16>().is_ok_and(|port| port > 0)
    });
    if fits {
        return Ok(());
    }
    let address = address.escape_debug();
    Err(format!("\"{address}\" is not a host and a port, such as \"hub.example:7410\""))
}

fn journal(raw: &file::Journal) -> Result<JournalSettings, Flaw> {
    let default = JournalSettings::default();
    let check = raw.check_at_start.as_deref();
    let check = check.map(|text| choice("journal", "check_at_start", text, &CHECKS_AT_START));
    let packs = raw.pack_compression.as_deref();
    let packs = packs.map(|text| choice("journal", "pack_compression", text, &PACK_COMPRESSIONS));
    let journal = JournalSettings {
        file_size: raw.file_size.unwrap_or(default.file_size),
        spare_files: raw.spare_files.unwrap_or(default.spare_files),
        mark_after: raw.mark_after.unwrap_or(default.mark_after),
        retention_size: raw.retention_size.unwrap_or(default.retention_size),
        retention_age: raw.retention_age.unwrap_or(default.retention_age),
        pack_after: raw.pack_after.unwrap_or(default.pack_after),
        pack_compression: packs.transpose()?.unwrap_or(default.pack_compression),
        check_at_start: check.transpose()?.unwrap_or(default.check_at_start),
    };
    let flaw = |key, problem| Err(Flaw::new("journal", key, problem));
    let size = journal.file_size;
    if size < JOURNAL_FILE_SIZE_MIN
        || size > JOURNAL_FILE_SIZE_MAX
        || !size.bytes().is_multiple_of(JOURNAL_BLOCK_BYTES)
    {
        let (min, max) = (JOURNAL_FILE_SIZE_MIN, JOURNAL_FILE_SIZE_MAX);
        let problem = format!("{size} is out of bounds: {min} to {max}, a multiple of 4KiB");
        return flaw("file_size", problem);
    }
    if !(1..=1_024).contains(&journal.spare_files) {
        let problem = format!("{} is out of bounds: 1 to 1024", journal.spare_files);
        return flaw("spare_files", problem);
    }
    if !(1..=60_000).contains(&journal.mark_after.duration().as_millis()) {
        let problem = format!("{} is out of bounds: 1ms to 1m", journal.mark_after);
        return flaw("mark_after", problem);
    }
    if journal.retention_size.bytes() > 0 && journal.retention_size < size {
        let problem = format!(
            "{} is less than one journal file ({size}); write 0 to keep all",
            journal.retention_size
        );
        return flaw("retention_size", problem);
    }
    Ok(journal)
}

fn ledger(raw: &file::Ledger) -> Result<LedgerSettings, Flaw> {
    let keys_max = raw.keys_max.unwrap_or(LedgerSettings::default().keys_max);
    if keys_max < 1_000 {
        return Err(Flaw::new("ledger", "keys_max", format!("{keys_max} is less than 1000")));
    }
    Ok(LedgerSettings { keys_max })
}

fn limits(raw: &file::Limits) -> Result<LimitSettings, Flaw> {
    let default = LimitSettings::default();
    let limits = LimitSettings {
        connections_max: raw.connections_max.unwrap_or(default.connections_max),
        session_in_flight: raw.session_in_flight.unwrap_or(default.session_in_flight),
        node_in_flight: raw.node_in_flight.unwrap_or(default.node_in_flight),
    };
    let flaw = |key, problem| Err(Flaw::new("limits", key, problem));
    if limits.connections_max == 0 {
        return flaw("connections_max", "0 would admit nobody".to_owned());
    }
    let frame = Size::from_bytes(FRAME_BYTES_MAX as u64);
    if limits.session_in_flight < frame {
        let problem = format!("{} is less than one frame, {frame}", limits.session_in_flight);
        return flaw("session_in_flight", problem);
    }
    if limits.node_in_flight < limits.session_in_flight {
        let (node, session) = (limits.node_in_flight, limits.session_in_flight);
        return flaw("node_in_flight", format!("{node} is less than session_in_flight, {session}"));
    }
    Ok(limits)
}

fn topics(raw: Vec<file::Topic>) -> Result<Vec<TopicSettings>, Flaw> {
    let mut seen = BTreeSet::new();
    let mut topics = Vec::with_capacity(raw.len());
    for (index, raw) in raw.into_iter().enumerate() {
        let at = |flaw: Flaw| Flaw { index: Some(index), ..flaw };
        let topic = topic(raw).map_err(at)?;
        if !seen.insert(topic.name.clone()) {
            let problem = format!("topic \"{}\" is there twice", topic.name);
            return Err(at(Flaw::new("topics", "name", problem)));
        }
        topics.push(topic);
    }
    Ok(topics)
}

fn topic(raw: file::Topic) -> Result<TopicSettings, Flaw> {
    let flaw = |key, problem| Flaw::new("topics", key, problem);
    let name = raw.name.ok_or_else(|| Flaw::missing("topics", "name", "\"production\""))?;
    let name = TopicName::new(&name).map_err(|error| flaw("name", error.to_string()))?;
    let mut topic = TopicSettings::new(name);
    topic.partitions = raw.partitions.unwrap_or(topic.partitions);
    if !(1..=PARTITIONS_MAX).contains(&topic.partitions) {
        let problem = format!("{} is out of bounds: 1 to {PARTITIONS_MAX}", topic.partitions);
        return Err(flaw("partitions", problem));
    }
    topic.dedup = raw.dedup.unwrap_or(topic.dedup);
    topic.horizon = raw.horizon.unwrap_or(topic.horizon);
    if topic.horizon.duration().as_secs() < HORIZON_S_MIN {
        return Err(flaw("horizon", format!("{} is less than 1m", topic.horizon)));
    }
    if let Some(text) = raw.on_conflict {
        topic.on_conflict = choice("topics", "on_conflict", &text, &ON_CONFLICT)?;
    }
    topic.retention_age = raw.retention_age.unwrap_or(topic.retention_age);
    topic.retention_size = raw.retention_size.unwrap_or(topic.retention_size);
    topic.compact = raw.compact.unwrap_or(topic.compact);
    Ok(topic)
}

fn log(raw: &file::Log) -> Result<LogSettings, Flaw> {
    let mut log = LogSettings::default();
    if let Some(text) = &raw.level {
        log.level = choice("log", "level", text, &LOG_LEVELS)?;
    }
    if let Some(text) = &raw.format {
        log.format = choice("log", "format", text, &LOG_FORMATS)?;
    }
    Ok(log)
}

fn choice<T: Copy>(
    section: &'static str,
    key: &'static str,
    text: &str,
    choices: &[(&'static str, T)],
) -> Result<T, Flaw> {
    choices.iter().find(|(name, _)| *name == text).map(|(_, value)| *value).ok_or_else(|| {
        let names: Vec<&str> = choices.iter().map(|(name, _)| *name).collect();
        Flaw::new(section, key, unknown(key, text, &names))
    })
}

fn unknown(what: &str, text: &str, valid: &[&str]) -> String {
    let shown = text.escape_debug();
    match nearest(text, valid) {
        Some(near) => format!("unknown {what} \"{shown}\"; did you mean \"{near}\"?"),
        None => format!("unknown {what} \"{shown}\"; valid are {}", valid.join(", ")),
    }
}
