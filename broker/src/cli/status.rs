//! `takt status`

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{self, Write};
use std::time::Duration;

use serde::Serialize;
use takt_client::admin::messages;
use takt_client::{Client, Timestamp};

use super::connection::{refused, rfc3339};
use super::outcome::{Failure, Outcome};
use super::output::{Cell, Column, Output, Style, Table, Tone, count, duration, json_line, size};

#[derive(Serialize)]
struct Status<'a> {
    node: &'a str,
    role: &'a str,
    journal_id: String,
    version: &'a str,
    uptime_ms: u64,
    position_start: u64,
    position_durable: u64,
    position_end: u64,
    disk_bytes: u64,
    disk_free_bytes: u64,
    keys: u64,
    keys_max: u64,
    full: bool,
    links: Vec<Link<'a>>,
    counters: &'a BTreeMap<String, u64>,
}

#[derive(Serialize)]
struct Link<'a> {
    peer: &'a str,
    state: &'a str,
    detail: &'a str,
    backlog_records: u64,
    backlog_batches: u64,
    last_ack: Option<String>,
}

impl<'a> Status<'a> {
    fn new(status: &'a messages::Status) -> Self {
        let mut journal_id = String::with_capacity(32);
        for byte in &status.journal_id {
            write!(journal_id, "{byte:02x}").expect("writing into a string does not fail");
        }
        let link = |link: &'a messages::LinkStatus| Link {
            peer: &link.peer,
            state: &link.state,
            detail: &link.detail,
            backlog_records: link.backlog_records,
            backlog_batches: link.backlog_batches,
            last_ack: (link.last_ack_us != 0)
                .then(|| rfc3339(Timestamp::from_micros(link.last_ack_us))),
        };
        Self {
            node: &status.node,
            role: &status.role,
            journal_id,
            version: &status.version,
            uptime_ms: status.uptime_ms,
            position_start: status.position_start,
            position_durable: status.position_durable,
            position_end: status.position_end,
            disk_bytes: status.disk_bytes,
            disk_free_bytes: status.disk_free_bytes,
            keys: status.keys,
            keys_max: status.keys_max,
            full: status.full,
            links: status.links.iter().map(link).collect(),
            counters: &status.counters,
        }
    }

    /// Reads and batches that met damage.
    fn damage_met(&self) -> u64 {
        let count = |name| self.counters.get(name).copied().unwrap_or(0);
        count("damaged_reads") + count("unreadable")
    }

    fn needs_a_look(&self) -> bool {
        self.full || self.damage_met() > 0 || self.links.iter().any(|link| link.state == DIVERGED)
    }

    fn write(&self, out: &mut impl Write, style: Style) -> io::Result<()> {
        let mut table = Table::new([Column::left("NODE"), Column::left("")]);
        let disk = format!("{} used, {} free", size(self.disk_bytes), size(self.disk_free_bytes));
        let keys = format!("{} of {}", count(self.keys), count(self.keys_max));
        let journal = format!("{}..{}", self.position_start, self.position_durable);
        let accepts = if self.full {
            Cell::from("no: the disk is full").tone(Tone::Bad)
        } else {
            Cell::from("yes").tone(Tone::Good)
        };
        table.push(["name".into(), self.node.into()]);
        table.push(["role".into(), self.role.into()]);
        table.push(["version".into(), self.version.into()]);
        table.push(["up for".into(), duration(Duration::from_millis(self.uptime_ms)).into()]);
        table.push(["journal".into(), self.journal_id.as_str().into()]);
        table.push(["durable".into(), journal.into()]);
        table.push(["disk".into(), disk.into()]);
        table.push(["dedup keys".into(), keys.into()]);
        table.push(["accepts events".into(), accepts]);
        if self.damage_met() > 0 {
            let met = format!("met {} times; the log and takt verify say where", self.damage_met());
            table.push(["damage".into(), Cell::from(met).tone(Tone::Bad)]);
        }
        table.write(out, style)?;
        self.write_links(out, style)?;
        writeln!(out)?;
        let mut counters = Table::new([Column::left("SINCE THE START"), Column::right("COUNT")]);
        for (name, number) in self.counters {
            counters.push([name.as_str().into(), count(*number).into()]);
        }
        counters.write(out, style)
    }

    fn write_links(&self, out: &mut impl Write, style: Style) -> io::Result<()> {
        if self.links.is_empty() {
            return Ok(());
        }
        writeln!(out)?;
        let mut links = Table::new([
            Column::left("LINK"),
            Column::left("STATE"),
            Column::right("BACKLOG"),
            Column::left("LAST ACKNOWLEDGED"),
            Column::left("DETAIL"),
        ]);
        for link in &self.links {
            let tone = match link.state {
                "up" => Tone::Good,
                DIVERGED => Tone::Bad,
                _ => Tone::Warn,
            };
            links.push([
                link.peer.into(),
                Cell::from(link.state).tone(tone),
                count(link.backlog_records).into(),
                link.last_ack.clone().unwrap_or_else(|| "never".to_owned()).into(),
                link.detail.into(),
            ]);
        }
        links.write(out, style)
    }
}

const DIVERGED: &str = "diverged";

pub(super) async fn run(client: &Client, output: Output) -> Result<Outcome, Failure> {
    let answer = client.admin().status().await.map_err(refused)?;
    let status = Status::new(&answer);
    let mut out = io::stdout().lock();
    match output {
        Output::Table => status.write(&mut out, Style::stdout())?,
        Output::Json => json_line(&mut out, &status)?,
    }
    Ok(if status.needs_a_look() { Outcome::Look } else { Outcome::Done })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn damage_that_was_met_is_to_be_looked_at() {
        for counter in ["damaged_reads", "unreadable", "duplicates"] {
            let counters = [(counter.to_owned(), 2)].into();
            let answer = messages::Status { counters, ..messages::Status::default() };
            let status = Status::new(&answer);
            let mut shown = Vec::new();
            status.write(&mut shown, Style::PLAIN).unwrap();
            let shown = String::from_utf8(shown).unwrap();
            let is_damage = counter != "duplicates";
            assert_eq!(
                (status.needs_a_look(), shown.contains("met 2 times")),
                (is_damage, is_damage)
            );
        }
    }
}
