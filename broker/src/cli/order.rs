//! `takt order`

use std::io::{self, Write};

use clap::Args;
use takt_client::{Client, Delivered, OrderSequence};

use super::connection::{refused, rfc3339};
use super::event_line::event_line;
use super::outcome::{Failure, Outcome};
use super::output::{Column, Output, Style, Table};

/// Events that are asked for at a time.
const PAGE: u32 = 500;

#[derive(Debug, Args)]
pub(super) struct OrderArgs {
    /// The topic.
    topic: String,
    /// The order key, such as a production order.
    key: String,
    /// Only what this node judged; else one origin after the other.
    #[arg(long, value_name = "NODE")]
    origin: Option<String>,
}

pub(super) async fn run(
    client: &Client,
    args: OrderArgs,
    output: Output,
) -> Result<Outcome, Failure> {
    let OrderArgs { topic, key, origin } = args;
    let admin = client.admin();
    let origins = if let Some(origin) = origin {
        vec![origin]
    } else {
        let info = admin.topic_info(&topic).await.map_err(refused)?;
        let mut origins: Vec<_> = info.partitions.into_iter().map(|p| p.origin).collect();
        origins.sort_unstable();
        origins.dedup();
        origins
    };
    let mut out = io::stdout().lock();
    let mut table = Table::new([
        Column::right("SEQUENCE"),
        Column::left("ORIGIN"),
        Column::right("PARTITION"),
        Column::right("OFFSET"),
        Column::left("OCCURRED"),
        Column::left("APPENDED"),
        Column::left("TYPE"),
        Column::left("ID"),
    ]);
    let mut found = false;
    for origin in origins {
        let mut behind = None;
        loop {
            let page = admin.order(&topic, &key, Some(&origin), behind, PAGE);
            let page = page.await.map_err(refused)?;
            let sequence = |event: &Delivered| event.order_sequence.map_or(0, OrderSequence::get);
            let last = page.events.last().map(|event| event.offset);
            found |= last.is_some();
            for event in page.events {
                if output == Output::Json {
                    out.write_all(&event_line(event)?)?;
                } else {
                    table.push([
                        sequence(&event).to_string().into(),
                        event.partition.origin.as_str().into(),
                        event.partition.number.to_string().into(),
                        event.offset.to_string().into(),
                        event.event.time.map_or(String::new(), rfc3339).into(),
                        rfc3339(event.append_time).into(),
                        event.event.kind.as_str().into(),
                        event.event.id.as_str().into(),
                    ]);
                }
            }
            if !page.more || last <= behind {
                break;
            }
            behind = last;
        }
    }
    if !found {
        return Err(Failure::new(format!("the topic {topic} has no order {key:?}")));
    }
    if output == Output::Table {
        table.write(&mut out, Style::stdout())?;
    }
    Ok(Outcome::Done)
}
