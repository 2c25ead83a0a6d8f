//! The form of a configuration file. Everything is optional here: what must be given may come from
//! the environment, and what is missing after that is judged in [`super::settings`].

use std::path::PathBuf;

use serde::Deserialize;

use super::units::{Period, Size};

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Config {
    pub node: Node,
    pub listen: Listen,
    pub security: Security,
    pub upstream: Option<Upstream>,
    pub journal: Journal,
    pub ledger: Ledger,
    pub limits: Limits,
    pub topics: Vec<Topic>,
    pub log: Log,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Node {
    pub name: Option<String>,
    pub role: Option<String>,
    pub plant: Option<String>,
    pub data_dir: Option<PathBuf>,
    pub trust_domain: Option<String>,
    pub open_deadline: Option<Period>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Listen {
    pub address: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Security {
    pub ca: Option<PathBuf>,
    pub cert: Option<PathBuf>,
    pub key: Option<PathBuf>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Upstream {
    pub address: Option<String>,
    pub server: Option<String>,
    pub topics: Option<Vec<String>>,
    pub backoff_max: Option<Period>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Journal {
    pub file_size: Option<Size>,
    pub spare_files: Option<u16>,
    pub mark_after: Option<Period>,
    pub retention_size: Option<Size>,
    pub retention_age: Option<Period>,
    pub pack_after: Option<Period>,
    pub pack_compression: Option<String>,
    pub check_at_start: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Ledger {
    pub keys_max: Option<u64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Limits {
    pub connections_max: Option<u32>,
    pub session_in_flight: Option<Size>,
    pub node_in_flight: Option<Size>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Topic {
    pub name: Option<String>,
    pub partitions: Option<u16>,
    pub dedup: Option<bool>,
    pub horizon: Option<Period>,
    pub on_conflict: Option<String>,
    pub retention_age: Option<Period>,
    pub retention_size: Option<Size>,
    pub compact: Option<bool>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Log {
    pub level: Option<String>,
    pub format: Option<String>,
}
