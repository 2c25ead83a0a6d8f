//! What was published and what it took.

use serde::Serialize;

use super::{Latencies, Report, broker_cpu, ms, named, seconds, whole};
use crate::bench::machine::Limits;
use crate::cli::output::{count, size};
use crate::config::JournalSettings;

/// What was published and what it took. The time runs from the first call, or from the start of the
/// schedule, to the last receipt.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(in crate::bench) struct PublishReport {
    pub transport: &'static str,
    pub records: u64,
    pub data_bytes_per_record: u64,
    pub producers: u64,
    pub batch: u64,
    pub window: u64,
    /// Journal files that were ready before.
    pub spares: Option<u16>,
    /// One event in a call.
    pub each: bool,
    pub topics: u64,
    pub partitions: u64,
    pub data: &'static str,
    pub compression: &'static str,
    pub orders: u64,
    pub dedup: bool,
    /// What was asked for in an open loop.
    pub rate_per_s: Option<u64>,
    pub seconds: f64,
    pub records_per_s: f64,
    /// Data alone, without attributes.
    pub bytes_per_s: f64,
    /// From a call, or in an open loop from when it was due, to the receipts for all of its events.
    pub receipts: Latencies,
    /// How far behind its schedule a sender was at most when it had handed an event over.
    pub late_max_us: Option<u64>,
    /// At the disk seam of the node, files and directory.
    pub syncs: u64,
    pub records_per_sync: f64,
    pub disk_bytes_written: u64,
    /// Of the process that publishes; with an embedded node that is all of it.
    pub client_cpu_s: f64,
    /// Of the node's process, where it is another one.
    pub broker_cpu_s: Option<f64>,
    /// What the machine can do, measured before, where that was asked for.
    pub limits: Option<Limits>,
}

impl Report for PublishReport {
    const TITLE: &'static str = "PUBLISH";

    fn rows(&self) -> Vec<(String, String)> {
        let dedup = if self.dedup { "with dedup" } else { "without dedup" };
        let (producers, window) = (self.producers, self.window);
        let (load, per_call, due) = match self.rate_per_s {
            None if self.each => (format!("{producers}, as much as there is room for"), 1, None),
            None => (format!("{producers}, {window} calls in flight each"), self.batch, None),
            Some(rate) => (format!("{producers} in turns"), 1, Some(count(rate))),
        };
        let syncs = count(self.syncs);
        let per_sync = count(whole(self.records_per_sync));
        let mut rows = vec![
            ("transport", self.transport.to_owned()),
            (
                "events",
                format!(
                    "{} of {} B ({}, compression {}), {dedup}",
                    count(self.records),
                    self.data_bytes_per_record,
                    self.data,
                    self.compression
                ),
            ),
            ("producers", load),
            ("events per call", count(per_call)),
            ("order keys", count(self.orders)),
            ("topics, partitions of each", format!("{}, {}", self.topics, self.partitions)),
            ("time", seconds(self.seconds)),
        ];
        let pool = self
            .spares
            .map(|files| format!("{files} files of {}", JournalSettings::default().file_size));
        rows.extend(pool.map(|pool| ("ready before the start", pool)));
        rows.extend(due.map(|due| ("events due per second", due)));
        rows.extend([
            ("events per second", count(whole(self.records_per_s))),
            ("data per second", size(whole(self.bytes_per_s))),
            ("receipts p50", ms(self.receipts.p50_us)),
            ("receipts p99", ms(self.receipts.p99_us)),
            ("receipts p99.9", ms(self.receipts.p999_us)),
            ("receipts max", ms(self.receipts.max_us)),
        ]);
        rows.extend(self.late_max_us.map(|late| ("sender late, max", ms(late))));
        rows.extend([
            ("syncs", format!("{syncs}, {per_sync} events each")),
            ("written to disk", size(self.disk_bytes_written)),
            ("client CPU", seconds(self.client_cpu_s)),
            ("broker CPU", broker_cpu(self.broker_cpu_s)),
        ]);
        let limits = self.limits.iter().flat_map(Report::rows);
        named(rows).chain(limits).collect()
    }
}
