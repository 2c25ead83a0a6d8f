//! `takt topic`

use std::io::{self, Write};

use clap::{ArgGroup, Args, Subcommand, ValueEnum};
use serde::Serialize;
use takt_client::Client;
use takt_client::admin::messages;
use takt_protocol::limits::HORIZON_S_DEFAULT;

use super::connection::refused;
use super::outcome::{Failure, Outcome};
use super::output::{Column, Output, Style, Table, count, json_line, size};
use crate::config::{Period, Size};

#[derive(Debug, Subcommand)]
pub(super) enum TopicCommand {
    /// Make a topic at the node; needs an operator. One that is there with the same settings is no
    /// error.
    Create(CreateArgs),
    /// Change what the node that made a topic keeps of it; needs an operator. All else is fixed.
    Edit(EditArgs),
    /// List the topics.
    Ls,
    /// Show a topic and its partitions, and what the node's keys take.
    Info {
        /// The topic.
        name: String,
    },
}

#[derive(Debug, Args)]
pub(super) struct CreateArgs {
    /// a-z, 0-9 and, behind the first character, `.`, `_` and `-`.
    name: String,
    /// 1 to 1,024; fixed once made. Order is kept within an order key, so one is enough for most.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=1_024))]
    partitions: u16,
    /// Whether an event that comes twice counts once.
    #[arg(long, value_enum, default_value_t = Switch::On)]
    dedup: Switch,
    /// How long a repeat is told, and an order is known, at least: 1m or more.
    #[arg(long, value_name = "DURATION", default_value_t = Period::from_days(400))]
    horizon: Period,
    /// What happens to a known key with other content.
    #[arg(long, value_enum, default_value_t = OnConflict::Quarantine)]
    on_conflict: OnConflict,
    /// Events may go when they are older, such as 30d; 0 is for as long as the node keeps them. A hub
    /// goes by limits of its own.
    #[arg(long, value_name = "DURATION", default_value_t = Period::from_ms(0))]
    retention_age: Period,
    /// In each partition, events may go that lie behind so much newer, such as 10GiB; 0 is without a
    /// limit.
    #[arg(long, value_name = "SIZE", default_value_t = Size::from_bytes(0))]
    retention_size: Size,
    /// Whether an event may go when a later one of its order key has come: the latest of each stays.
    #[arg(long, value_enum, default_value_t = Switch::Off)]
    compact: Switch,
}

#[derive(Debug, Args)]
#[command(group = ArgGroup::new("change").required(true).multiple(true))]
pub(super) struct EditArgs {
    /// The topic.
    name: String,
    /// Events may go when they are older, such as 30d; 0 is for as long as the node keeps them.
    #[arg(long, value_name = "DURATION", group = "change")]
    retention_age: Option<Period>,
    /// In each partition, events may go that lie behind so much newer, such as 10GiB; 0 is without a
    /// limit.
    #[arg(long, value_name = "SIZE", group = "change")]
    retention_size: Option<Size>,
    /// Whether an event may go when a later one of its order key has come: the latest of each stays.
    #[arg(long, value_enum, group = "change")]
    compact: Option<Switch>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Switch {
    On,
    Off,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum OnConflict {
    /// It is set aside for an operator.
    Quarantine,
    /// The publisher is told, nothing is listed.
    Refuse,
}

impl From<&CreateArgs> for messages::TopicSettings {
    fn from(args: &CreateArgs) -> Self {
        let on_conflict = match args.on_conflict {
            OnConflict::Quarantine => messages::OnConflict::Quarantine,
            OnConflict::Refuse => messages::OnConflict::Refuse,
        };
        Self {
            partitions: u32::from(args.partitions),
            dedup: args.dedup == Switch::On,
            horizon_s: args.horizon.duration().as_secs(),
            on_conflict: on_conflict.into(),
            retention_ms: args.retention_age.ms(),
            retention_bytes: args.retention_size.bytes(),
            compact: args.compact == Switch::On,
            ..Self::default()
        }
    }
}

#[derive(Serialize)]
struct Topic<'a> {
    name: &'a str,
    partitions_per_origin: u32,
    dedup: bool,
    horizon_s: u64,
    on_conflict: &'static str,
    /// 0 is without a limit, as below.
    retention_ms: u64,
    /// Of each partition.
    retention_bytes: u64,
    compact: bool,
    partitions: Vec<Partition<'a>>,
    /// What the node knows of keys; those of all topics share its ledger.
    #[serde(skip_serializing_if = "Option::is_none")]
    ledger: Option<Ledger>,
}

/// What a node knows of keys and orders, and what that takes.
#[derive(Serialize)]
struct Ledger {
    keys: u64,
    keys_max: u64,
    orders: u64,
    runs: u64,
    memory_bytes: u64,
    disk_bytes: u64,
}

impl Ledger {
    fn new(status: &messages::Status) -> Self {
        let counter = |name: &str| status.counters.get(name).copied().unwrap_or_default();
        Self {
            keys: status.keys,
            keys_max: status.keys_max,
            orders: counter("orders"),
            runs: counter("key_runs"),
            memory_bytes: counter("keys_memory_bytes"),
            disk_bytes: counter("keys_disk_bytes"),
        }
    }
}

#[derive(Serialize)]
struct Partition<'a> {
    origin: &'a str,
    number: u32,
    start_offset: u64,
    end_offset: u64,
    batches: u64,
    bytes: u64,
}

fn on_conflict(settings: &messages::TopicSettings) -> &'static str {
    match settings.on_conflict() {
        messages::OnConflict::Refuse => "refuse",
        messages::OnConflict::Revise => "revise",
        messages::OnConflict::Quarantine | messages::OnConflict::Unspecified => "quarantine",
    }
}

impl<'a> Topic<'a> {
    fn new(info: &'a messages::TopicInfo) -> Self {
        let settings = info.settings.unwrap_or_default();
        let partition = |partition: &'a messages::PartitionInfo| Partition {
            origin: &partition.origin,
            number: partition.number,
            start_offset: partition.start_offset,
            end_offset: partition.end_offset,
            batches: partition.batches,
            bytes: partition.bytes,
        };
        Self {
            name: &info.name,
            partitions_per_origin: settings.partitions,
            dedup: settings.dedup,
            horizon_s: settings.horizon_s,
            on_conflict: on_conflict(&settings),
            retention_ms: settings.retention_ms,
            retention_bytes: settings.retention_bytes,
            compact: settings.compact,
            partitions: info.partitions.iter().map(partition).collect(),
            ledger: None,
        }
    }

    fn events(&self) -> u64 {
        self.partitions.iter().map(|p| p.end_offset.saturating_sub(p.start_offset)).sum()
    }
}

pub(super) async fn run(
    client: &Client,
    command: TopicCommand,
    output: Output,
) -> Result<Outcome, Failure> {
    let admin = client.admin();
    match command {
        TopicCommand::Create(args) => {
            let info = admin.create_topic(&args.name, (&args).into()).await.map_err(refused)?;
            show(&info, None, output)?;
        }
        TopicCommand::Edit(EditArgs { name, retention_age, retention_size, compact }) => {
            let change = messages::SetRetention {
                name,
                retention_ms: retention_age.map(Period::ms),
                retention_bytes: retention_size.map(Size::bytes),
                compact: compact.map(|compact| compact == Switch::On),
            };
            let info = admin.set_retention(change).await.map_err(refused)?;
            show(&info, None, output)?;
        }
        TopicCommand::Ls => list(&admin.topics().await.map_err(refused)?, output)?,
        TopicCommand::Info { name } => {
            let info = admin.topic_info(&name).await.map_err(refused)?;
            let status = admin.status().await.map_err(refused)?;
            show(&info, Some(Ledger::new(&status)), output)?;
        }
    }
    Ok(Outcome::Done)
}

fn list(topics: &[messages::TopicInfo], output: Output) -> io::Result<()> {
    let mut out = io::stdout().lock();
    let mut table = Table::new([
        Column::left("TOPIC"),
        Column::right("ORIGINS"),
        Column::right("PARTITIONS"),
        Column::right("EVENTS"),
        Column::right("SIZE"),
    ]);
    for topic in topics.iter().map(Topic::new) {
        if output == Output::Json {
            json_line(&mut out, &topic)?;
            continue;
        }
        let mut origins: Vec<&str> = topic.partitions.iter().map(|p| p.origin).collect();
        origins.sort_unstable();
        origins.dedup();
        table.push([
            topic.name.into(),
            origins.len().to_string().into(),
            topic.partitions.len().to_string().into(),
            count(topic.events()).into(),
            size(topic.partitions.iter().map(|p| p.bytes).sum()).into(),
        ]);
    }
    if output == Output::Table { table.write(&mut out, Style::stdout()) } else { Ok(()) }
}

/// What either limit has passed goes.
fn kept(topic: &Topic<'_>) -> String {
    let age =
        (topic.retention_ms > 0).then(|| format!("for {}", Period::from_ms(topic.retention_ms)));
    let size = (topic.retention_bytes > 0)
        .then(|| format!("{} of each partition", size(topic.retention_bytes)));
    match (age, size) {
        (Some(age), Some(size)) => format!("{age}, or until {size} are newer"),
        (Some(limit), None) | (None, Some(limit)) => limit,
        (None, None) => "as long as the node keeps it".to_owned(),
    }
}

fn show(info: &messages::TopicInfo, ledger: Option<Ledger>, output: Output) -> io::Result<()> {
    let mut out = io::stdout().lock();
    let topic = Topic { ledger, ..Topic::new(info) };
    if output == Output::Json {
        return json_line(&mut out, &topic);
    }
    let dedup = if topic.dedup {
        let horizon_s = if topic.horizon_s == 0 { HORIZON_S_DEFAULT } else { topic.horizon_s };
        format!("for {}", Period::from_ms(horizon_s.saturating_mul(1_000)))
    } else {
        "off".to_owned()
    };
    let mut settings = Table::new([Column::left("TOPIC"), Column::left("")]);
    settings.push(["name".into(), topic.name.into()]);
    settings.push(["partitions per origin".into(), topic.partitions_per_origin.to_string().into()]);
    settings.push(["dedup".into(), dedup.into()]);
    settings.push(["on conflict".into(), topic.on_conflict.into()]);
    settings.push(["kept at its origin".into(), kept(&topic).into()]);
    let compact = if topic.compact { "to the latest event of each order key" } else { "off" };
    settings.push(["compacted at its origin".into(), compact.into()]);
    if let Some(Ledger { keys, keys_max, orders, runs, memory_bytes, disk_bytes }) = &topic.ledger {
        let keys = format!("{} of {}, of all topics", count(*keys), count(*keys_max));
        settings.push(["keys that the node knows".into(), keys.into()]);
        settings.push(["orders that it knows".into(), count(*orders).into()]);
        let kept = format!("{}, {} on disk in {runs} runs", size(*memory_bytes), size(*disk_bytes));
        settings.push(["memory for them".into(), kept.into()]);
    }
    settings.write(&mut out, Style::stdout())?;
    writeln!(out)?;
    let mut table = Table::new([
        Column::left("ORIGIN"),
        Column::right("PARTITION"),
        Column::right("START"),
        Column::right("END"),
        Column::right("BATCHES"),
        Column::right("SIZE"),
    ]);
    for partition in &topic.partitions {
        table.push([
            partition.origin.into(),
            partition.number.to_string().into(),
            partition.start_offset.to_string().into(),
            partition.end_offset.to_string().into(),
            count(partition.batches).into(),
            size(partition.bytes).into(),
        ]);
    }
    table.write(&mut out, Style::stdout())
}
