//! `takt conflict`

use std::fmt;
use std::io::{self, Write};
use std::str::FromStr;

use clap::Subcommand;
use serde::Serialize;
use serde_json::value::RawValue;
use takt_client::admin::messages::{self, ConflictSummary, EventMessage};
use takt_client::{Client, Event, NodeName, Timestamp, TopicName, json};

use super::connection::{refused, rfc3339};
use super::outcome::{Failure, Outcome};
use super::output::{Column, Output, Style, Table, json_line};

/// Conflicts that are asked for at a time.
const PAGE: u32 = 500;

#[derive(Debug, Subcommand)]
pub(super) enum ConflictCommand {
    /// List what was set aside and not decided on.
    Ls {
        /// Only of this topic.
        topic: Option<String>,
    },
    /// Show what was set aside beside the first event with its key.
    Show {
        /// As `takt conflict ls` prints it: TOPIC/ORIGIN/PARTITION/BATCH/INDEX.
        address: Address,
    },
}

/// Where a masked record lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Address(messages::ConflictAddress);

/// A text is no address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("give TOPIC/ORIGIN/PARTITION/BATCH/INDEX, as `takt conflict ls` prints it")]
pub(super) struct AddressError;

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let [topic, origin, partition, batch, index] =
            text.split('/').collect::<Vec<_>>().try_into().map_err(|_| AddressError)?;
        let topic = TopicName::new(topic).map_err(|_| AddressError)?;
        let origin = NodeName::new(origin).map_err(|_| AddressError)?;
        Ok(Self(messages::ConflictAddress {
            topic: topic.to_string(),
            origin: origin.to_string(),
            partition: partition.parse().map_err(|_| AddressError)?,
            batch_number: batch.parse().map_err(|_| AddressError)?,
            index: index.parse().map_err(|_| AddressError)?,
        }))
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let messages::ConflictAddress { topic, origin, partition, batch_number, index } = &self.0;
        write!(f, "{topic}/{origin}/{partition}/{batch_number}/{index}")
    }
}

#[derive(Serialize)]
struct Summary<'a> {
    address: String,
    first_partition: u32,
    first_offset: u64,
    appendtime: String,
    producer: &'a str,
    source: &'a str,
    id: &'a str,
    r#type: &'a str,
    partitionkey: &'a str,
}

impl<'a> Summary<'a> {
    fn new(conflict: &'a ConflictSummary) -> Self {
        Self {
            address: address(conflict).to_string(),
            first_partition: conflict.first_partition,
            first_offset: conflict.first_offset,
            appendtime: rfc3339(Timestamp::from_micros(conflict.append_time_us)),
            producer: &conflict.producer_id,
            source: &conflict.source,
            id: &conflict.id,
            r#type: &conflict.r#type,
            partitionkey: &conflict.order_key,
        }
    }
}

#[derive(Serialize)]
struct Detail<'a> {
    #[serde(flatten)]
    summary: Summary<'a>,
    event: Option<Box<RawValue>>,
    /// Null where retention has dropped it.
    first: Option<Box<RawValue>>,
}

fn address(conflict: &ConflictSummary) -> Address {
    Address(conflict.address.clone().unwrap_or_default())
}

pub(super) async fn run(
    client: &Client,
    command: ConflictCommand,
    output: Output,
) -> Result<Outcome, Failure> {
    match command {
        ConflictCommand::Ls { topic } => list(client, &topic.unwrap_or_default(), output).await?,
        ConflictCommand::Show { address } => show(client, address, output).await?,
    }
    Ok(Outcome::Done)
}

async fn list(client: &Client, topic: &str, output: Output) -> Result<(), Failure> {
    let admin = client.admin();
    let mut out = io::stdout().lock();
    let mut table = Table::new([
        Column::left("ADDRESS"),
        Column::left("CONFLICTS WITH"),
        Column::left("ORDER"),
        Column::left("APPENDED"),
        Column::left("PRODUCER"),
    ]);
    let mut after = None;
    loop {
        let page = admin.conflicts(topic, after.take(), PAGE).await.map_err(refused)?;
        for conflict in &page.conflicts {
            let summary = Summary::new(conflict);
            if output == Output::Json {
                json_line(&mut out, &summary)?;
                continue;
            }
            let first =
                format!("partition {}, offset {}", summary.first_partition, summary.first_offset);
            table.push([
                summary.address.into(),
                first.into(),
                summary.partitionkey.into(),
                summary.appendtime.into(),
                summary.producer.into(),
            ]);
        }
        after = page.conflicts.last().and_then(|last| last.address.clone());
        if !page.more || after.is_none() {
            break;
        }
    }
    if output == Output::Table {
        table.write(&mut out, Style::stdout())?;
    }
    Ok(())
}

async fn show(client: &Client, address: Address, output: Output) -> Result<(), Failure> {
    let detail = client.admin().conflict(address.0).await.map_err(refused)?;
    let conflict = detail.summary.unwrap_or_default();
    let summary = Summary::new(&conflict);
    let (event, first) = (raw(detail.event)?, raw(detail.first)?);
    let mut out = io::stdout().lock();
    if output == Output::Json {
        return Ok(json_line(&mut out, &Detail { summary, event, first })?);
    }
    let first_at =
        format!("partition {}, offset {}", summary.first_partition, summary.first_offset);
    let mut table = Table::new([Column::left("CONFLICT"), Column::left("")]);
    table.push(["address".into(), summary.address.into()]);
    table.push(["conflicts with".into(), first_at.into()]);
    table.push(["appended".into(), summary.appendtime.into()]);
    table.push(["producer".into(), summary.producer.into()]);
    let text = |event: Option<Box<RawValue>>| {
        event.map_or("not kept any more".to_owned(), |event| event.get().to_owned())
    };
    table.push(["set aside".into(), text(event).into()]);
    table.push(["first".into(), text(first).into()]);
    table.write(&mut out, Style::stdout())?;
    out.flush()?;
    Ok(())
}

/// The event as a CloudEvent.
fn raw(event: Option<EventMessage>) -> Result<Option<Box<RawValue>>, Failure> {
    let Some(message) = event else { return Ok(None) };
    let line = json::encode_line(&Event::try_from(message)?)?;
    Ok(Some(serde_json::from_slice(&line)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_read_as_it_is_printed() {
        let text = "production/munich/0/17/3";
        assert_eq!(text.parse::<Address>().unwrap().to_string(), text);
        for wrong in ["", "production/munich/0/17", "p/m/0/1/2/3", "p/m/x/1/2", "p/M/0/1/2"] {
            assert_eq!(wrong.parse::<Address>(), Err(AddressError), "{wrong}");
        }
    }
}
