//! The files that `takt init` writes: complete, each setting with its default and what it does.

use std::fmt::Write;
use std::net::SocketAddr;

use takt_client::tls::{ServerIs, TrustDomain};
use takt_protocol::words::TopicName;

use crate::config::pack_compression_name;
use crate::config::{
    BACKOFF_MAX, JournalSettings, LedgerSettings, LimitSettings, LogFormat, LogSettings,
    NodeSettings, OnConflict, Role, TopicSettings,
};

/// The configuration of a node. A plant without a hub gets its `[upstream]` as a comment.
pub(super) fn node(node: &NodeSettings, listen: SocketAddr, hub: Option<SocketAddr>) -> String {
    let mut text = head(node, listen);
    if matches!(node.role, Role::Plant { .. }) {
        text += &upstream(hub);
    }
    text + &engine() + &topics(&node.role) + &log()
}

fn head(node: &NodeSettings, listen: SocketAddr) -> String {
    let NodeSettings { name, role, data_dir, trust_domain, open_deadline } = node;
    let data_dir = data_dir.display();
    let (what, role) = match role {
        Role::Hub => ("The hub".to_owned(), "role = \"hub\"".to_owned()),
        Role::Plant { plant } => (
            format!("The node of the plant {plant}"),
            format!("role = \"plant\"\nplant = \"{plant}\""),
        ),
    };
    format!(
        r#"# {what}, made by `takt init`. Every setting is here, with its default.
#
# TAKT_<SECTION>__<KEY> in the environment goes over this file: TAKT_LOG__LEVEL=debug.
# Durations: a whole number and ms, s, m, h or d. Sizes: bytes, or with KiB, MiB, GiB, TiB (or the
# decimal kB, MB, GB, TB). Paths are relative to this file.

[node]
# The names are those in the certificate; they are compared at the start.
name = "{name}"
{role}
# Where the journal and all else is kept. A disk of its own is best.
data_dir = "{data_dir}"
# Certificates of other trust domains are refused, whoever signed them.
trust_domain = "{trust_domain}"
# A start that takes longer than this is reported as stuck. It goes on.
open_deadline = "{open_deadline}"

[listen]
# An IP address of the local zone, and a UDP port.
address = "{listen}"

[security]
ca = "ca.pem"
cert = "cert.pem"
key = "key.pem"

"#
    )
}

fn upstream(hub: Option<SocketAddr>) -> String {
    let (hash, address) = match hub {
        Some(address) => ("", address.to_string()),
        None => ("# ", "hub.example:7410".to_owned()),
    };
    format!(
        r#"# The hub. The plant dials it; nothing dials the plant. Without this section nothing leaves it.
{hash}[upstream]
# Host and port; the host is looked up at each attempt.
{hash}address = "{address}"
# Who must answer there.
{hash}server = "hub"
# Which topics are mirrored: ["*"] for all, also those made later, or names.
{hash}topics = ["*"]
# The longest pause between two attempts.
{hash}backoff_max = "{BACKOFF_MAX}"

"#
    )
}

fn engine() -> String {
    let JournalSettings {
        file_size,
        spare_files,
        mark_after,
        retention_size,
        retention_age,
        pack_after,
        pack_compression,
        check_at_start,
    } = JournalSettings::default();
    let pack_compression = pack_compression_name(pack_compression);
    let check_at_start = check_at_start.as_str();
    let LedgerSettings { keys_max } = LedgerSettings::default();
    let LimitSettings { connections_max, session_in_flight, node_in_flight } =
        LimitSettings::default();
    format!(
        r#"[journal]
# One file of the journal: 4MiB to 16GiB, a multiple of 4KiB.
file_size = "{file_size}"
# So many more are kept ready, 1 to 1024, and 64MiB for a full disk. A pool of many takes a burst
# without files being made meanwhile.
spare_files = {spare_files}
# How long it is quiet until a mark is written behind the last commit.
mark_after = "{mark_after}"
# The oldest files may go beyond this much, or when all their events are older than this; 0 is
# without a limit. Nothing goes that the hub, or a cursor with a hold, still needs.
retention_size = "{retention_size}"
retention_age = "{retention_age}"
# Files of which retention by topic has taken half are packed: what is left is put together, and
# the rest given back. Older files than this are packed in any case, as for "zstd"; 0 is for never.
pack_after = "{pack_after}"
# "none" or "zstd".
pack_compression = "{pack_compression}"
# How much is read before the node opens; damage in it stops the start. "all": the whole journal,
# which takes about as long as the disk takes to read it. "tail": the first block of each file, and
# what was written since the newest snapshot, which takes less than a second; other damage in older
# files is never served, but only who reads them meets it. "takt verify" reads all of them while the
# node is stopped.
check_at_start = "{check_at_start}"

[ledger]
# The most dedup keys that are kept, over all topics, and as many order keys: some 4 bytes of memory
# each, and 50 on disk. A full ledger answers new keys with an error, until the horizon has passed
# old ones, or this is raised and the node started again; "takt status" shows how full it is.
keys_max = {keys_max}

[limits]
# Connections open at the same time.
connections_max = {connections_max}
# Bytes received and not yet acknowledged, of one session and of all together.
session_in_flight = "{session_in_flight}"
node_in_flight = "{node_in_flight}"

"#
    )
}

fn topics(role: &Role) -> String {
    let hash = match role {
        Role::Plant { .. } => "",
        Role::Hub => "# ",
    };
    let name = TopicName::new("production").expect("a constant that is a name");
    let TopicSettings {
        name,
        partitions,
        dedup,
        horizon,
        on_conflict,
        retention_age,
        retention_size,
        compact,
    } = TopicSettings::new(name);
    let on_conflict = match on_conflict {
        OnConflict::Quarantine => "quarantine",
        OnConflict::Refuse => "refuse",
    };
    let mut text = String::new();
    if *role == Role::Hub {
        text +=
            "# Topics of plants come with their events. One that is made here is the hub's own.\n";
    }
    write!(
        text,
        r#"{hash}[[topics]]
{hash}name = "{name}"
# Order is kept within an order key, so one partition is enough for most. Fixed once made.
{hash}partitions = {partitions}
# Whether an event that comes twice counts once, and for how long at least.
{hash}dedup = {dedup}
{hash}horizon = "{horizon}"
# What happens to a known key with other content: "quarantine" sets it aside for an operator,
# "refuse" tells the publisher and lists nothing.
{hash}on_conflict = "{on_conflict}"
# Events may go when they are older, and, in each partition, when they lie behind so much newer, a
# whole file at a time. 0 is without a limit. The hub goes by limits of its own.
{hash}retention_age = "{retention_age}"
{hash}retention_size = "{retention_size}"
# Whether an event may go when a later one of its order key has come: the latest of each stays.
{hash}compact = {compact}

"#
    )
    .expect("writing into a string does not fail");
    text
}

fn log() -> String {
    let LogSettings { level, format } = LogSettings::default();
    let level = level.as_str();
    let format = match format {
        LogFormat::Full => "full",
        LogFormat::Compact => "compact",
    };
    format!(
        r#"[log]
# error, warn, info, debug or trace.
level = "{level}"
# full or compact.
format = "{format}"
"#
    )
}

/// The context of a client or an operator.
pub(super) fn context(
    name: &str,
    address: SocketAddr,
    server: &ServerIs,
    domain: &TrustDomain,
) -> String {
    format!(
        r#"# Whom `takt --context <this file>` talks to, and as whom. Made by `takt init`.
# Paths are relative to this file.

# Host and port; the host is looked up at each attempt.
address = "{address}"
# Who must answer there: "hub" or "plant/<name>".
server = "{server}"
trust_domain = "{domain}"
ca = "ca.pem"
cert = "{name}-cert.pem"
key = "{name}-key.pem"
"#
    )
}
