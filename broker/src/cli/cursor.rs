//! `takt cursor`

use std::io;

use clap::{Args, Subcommand};
use serde::Serialize;
use takt_client::admin::{Admin, CursorTo, messages};
use takt_client::{Client, Offset, PartitionId, TopicName};

use super::connection::refused;
use super::outcome::{Failure, Outcome};
use super::output::{Column, Output, Style, Table, count, json_line};
use super::start::{From, To, partition};

#[derive(Debug, Subcommand)]
pub(super) enum CursorCommand {
    /// List cursors with what is behind them.
    Ls {
        /// Only those of this topic.
        topic: Option<String>,
    },
    /// Set a cursor, or make it; needs an operator.
    Set(SetArgs),
    /// Remove a cursor; needs an operator.
    Rm {
        /// The cursor.
        name: String,
    },
}

#[derive(Debug, Args)]
pub(super) struct SetArgs {
    /// The cursor.
    name: String,
    /// The topic that it is a position in.
    #[arg(long)]
    topic: String,
    /// earliest, latest, an offset for all partitions, a time such as 2026-11-22T06:15:00Z, or
    /// ORIGIN/PARTITION=OFFSET with commas between.
    #[arg(long, value_name = "POSITION")]
    to: To,
    /// It holds retention back. Without this and --no-hold it stays as it is, and a new one does not.
    #[arg(long, conflicts_with = "no_hold")]
    hold: bool,
    /// It holds retention back no longer.
    #[arg(long)]
    no_hold: bool,
}

#[derive(Serialize)]
struct Cursor<'a> {
    name: &'a str,
    topic: &'a str,
    hold: bool,
    positions: Vec<Position<'a>>,
}

#[derive(Serialize)]
struct Position<'a> {
    origin: &'a str,
    partition: u32,
    offset: u64,
    end_offset: u64,
}

pub(super) async fn run(
    client: &Client,
    command: CursorCommand,
    output: Output,
) -> Result<Outcome, Failure> {
    let admin = client.admin();
    match command {
        CursorCommand::Ls { topic } => {
            list(&admin.cursors(topic.as_deref()).await.map_err(refused)?, output)?;
        }
        CursorCommand::Set(args) => {
            let to = goal(&admin, &args.topic, args.to).await?;
            let hold = (args.hold || args.no_hold).then_some(args.hold);
            let set = admin.set_cursor(&args.topic, &args.name, hold, to);
            list(&[set.await.map_err(refused)?], output)?;
        }
        CursorCommand::Rm { name } => {
            admin.set_cursor("", &name, None, CursorTo::Removed).await.map_err(refused)?;
        }
    }
    Ok(Outcome::Done)
}

async fn goal(admin: &Admin, topic: &str, to: To) -> Result<CursorTo, Failure> {
    let name = TopicName::new(topic).map_err(|error| Failure::usage(error.to_string()))?;
    Ok(match to {
        To::All(From::Earliest | From::Cursor) => CursorTo::Earliest,
        To::All(From::Latest) => CursorTo::Latest,
        To::All(From::Time(time)) => CursorTo::Time(time),
        To::All(From::Offset(offset)) => {
            let info = admin.topic_info(topic).await.map_err(refused)?;
            let ids = info.partitions.iter().filter_map(|p| partition(&name, &p.origin, p.number));
            CursorTo::Offsets(ids.map(|id| (id, offset)).collect())
        }
        To::Each(each) => {
            let each = each.into_iter().map(|(origin, number, offset): (_, _, Offset)| {
                (PartitionId { origin, topic: name.clone(), number }, offset)
            });
            CursorTo::Offsets(each.collect())
        }
    })
}

fn list(cursors: &[messages::CursorInfo], output: Output) -> io::Result<()> {
    let mut out = io::stdout().lock();
    let mut table = Table::new([
        Column::left("CURSOR"),
        Column::left("TOPIC"),
        Column::left("ORIGIN"),
        Column::right("PARTITION"),
        Column::right("OFFSET"),
        Column::right("BEHIND IT"),
        Column::left("HOLDS"),
    ]);
    for cursor in cursors {
        let position =
            |p: &'_ messages::CursorPosition| (p.origin.clone(), p.number, p.offset, p.end_offset);
        if output == Output::Json {
            let positions = cursor.positions.iter().map(|p| Position {
                origin: &p.origin,
                partition: p.number,
                offset: p.offset,
                end_offset: p.end_offset,
            });
            let (name, topic) = (cursor.name.as_str(), cursor.topic.as_str());
            let positions = positions.collect();
            json_line(&mut out, &Cursor { name, topic, hold: cursor.hold, positions })?;
            continue;
        }
        for (origin, number, offset, end) in cursor.positions.iter().map(position) {
            table.push([
                cursor.name.as_str().into(),
                cursor.topic.as_str().into(),
                origin.into(),
                number.to_string().into(),
                offset.to_string().into(),
                count(end.saturating_sub(offset)).into(),
                if cursor.hold { "yes" } else { "no" }.into(),
            ]);
        }
    }
    if output == Output::Table { table.write(&mut out, Style::stdout()) } else { Ok(()) }
}
