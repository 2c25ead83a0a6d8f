//! How long the history of an order takes, by where its events lie in a node's journal.
//!
//! A program of its own and no criterion benchmark: one sample needs a directory of many gigabytes,
//! which `takt bench publish --dir` fills, and the page cache emptied before it.
//!
//! The node is opened in this process and asked by its client, page by page. Each order is asked for
//! with nothing of the directory in memory, then once more.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Parser;
use rustix::time::{ClockId, clock_gettime};
use takt_benches::{Spread, cache};
use takt_broker::cli::output::{Cell, Column, Style, Table, count, size};
use takt_broker::config::CheckAtStart;
use takt_broker::node::{Node, NodeOptions};
use takt_client::Client;

/// Measures how long the history of an order takes.
#[derive(Debug, Parser)]
struct Arguments {
    /// The node's data directory. No other process may have it.
    #[arg(long)]
    data: PathBuf,
    /// The node's name.
    #[arg(long, default_value = "bench")]
    node: String,
    /// The topic.
    #[arg(long, default_value = "bench")]
    topic: String,
    /// How often each order is asked for.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..))]
    runs: u16,
    /// The order keys.
    #[arg(required = true)]
    orders: Vec<String>,
}

/// Events that are asked for at a time: as `takt order` does.
const PAGE: u32 = 500;
/// More keys than any directory has that is measured.
const KEYS_MAX: usize = 1_000_000_000;
/// How long what the node does by itself may take after the start.
const QUIET_DEADLINE: Duration = Duration::from_mins(2);

#[tokio::main]
async fn main() -> ExitCode {
    match measure(&Arguments::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

async fn measure(arguments: &Arguments) -> Result<(), Box<dyn std::error::Error>> {
    let Arguments { data, node, topic, runs, orders } = arguments;
    let mut options = NodeOptions::embedded(node, data)?;
    options.check_at_start = CheckAtStart::Tail;
    options.keys_max = KEYS_MAX;
    let node = Node::open(options).await?;
    wait_until_quiet().await;
    let client = node.client();
    let mut table = Table::new([
        Column::left("ORDER"),
        Column::right("EVENTS"),
        Column::right("COLD"),
        Column::right("FETCHED"),
        Column::right("WARM"),
    ]);
    for order in orders {
        let (mut cold, mut warm, mut fetched) = (Vec::new(), Vec::new(), Vec::new());
        let mut events = 0;
        for _ in 0..*runs {
            evict(data)?;
            let fetched_before = cache::fetched_bytes();
            for times in [&mut cold, &mut warm] {
                let started = Instant::now();
                events = history(&client, topic, order).await?;
                times.push(started.elapsed().as_secs_f64() * 1e3);
            }
            fetched.push(cache::fetched_bytes() - fetched_before);
        }
        fetched.sort_unstable();
        let spread =
            |times: Vec<f64>| Cell::from(Spread::of(times).shown(|ms| format!("{ms:.1} ms")));
        let fetched = size(fetched[fetched.len() / 2]).into();
        table.push([
            order.as_str().into(),
            count(events).into(),
            spread(cold),
            fetched,
            spread(warm),
        ]);
    }
    let mut out = io::stdout().lock();
    table.write(&mut out, Style::stdout())?;
    writeln!(out, "load {:.2}", cache::load()?)?;
    node.close().await?;
    Ok(())
}

/// All of an order's events; how many there are.
async fn history(
    client: &Client,
    topic: &str,
    order: &str,
) -> Result<u64, Box<dyn std::error::Error>> {
    let admin = client.admin();
    let (mut behind, mut events) = (None, 0);
    loop {
        let page = admin.order(topic, order, None, behind, PAGE).await?;
        events += page.events.len() as u64;
        behind = page.events.last().map(|event| event.offset);
        if !page.more {
            return Ok(events);
        }
    }
}

/// Runs are merged, and files made ready, behind a start.
async fn wait_until_quiet() {
    let cpu = || Duration::try_from(clock_gettime(ClockId::ProcessCPUTime)).unwrap_or_default();
    let deadline = Instant::now() + QUIET_DEADLINE;
    loop {
        let before = cpu();
        tokio::time::sleep(Duration::from_secs(1)).await;
        if cpu().saturating_sub(before) < Duration::from_millis(20) || Instant::now() > deadline {
            return;
        }
    }
}

fn evict(data: &Path) -> io::Result<()> {
    cache::settle(data)?;
    cache::evict(data)
}
