//! What was read and what it took.

use serde::Serialize;

use super::{Report, broker_cpu, named, seconds, whole};
use crate::bench::machine::Limits;
use crate::cli::output::{count, size};

/// What was read and what it took. The time runs from the first subscription to the last event of
/// the last consumer.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(in crate::bench) struct ConsumeReport {
    pub transport: &'static str,
    /// In the topic; each consumer has read all of them.
    pub records: u64,
    pub data_bytes_per_record: u64,
    pub consumers: u64,
    /// Events per call when they were published, and so at most per batch.
    pub batch: u64,
    pub orders: u64,
    /// Whether what is read lies in memory already.
    pub page_cache: &'static str,
    pub seconds: f64,
    /// Over all consumers.
    pub records_per_s: f64,
    /// Data alone, without attributes, over all consumers.
    pub bytes_per_s: f64,
    /// Of the process that consumes; with an embedded node that is all of it.
    pub client_cpu_s: f64,
    /// Of the node's process, where it is another one.
    pub broker_cpu_s: Option<f64>,
    /// What the machine can do, measured before, where that was asked for.
    pub limits: Option<Limits>,
}

impl Report for ConsumeReport {
    const TITLE: &'static str = "CONSUME";

    fn rows(&self) -> Vec<(String, String)> {
        let rows = vec![
            ("transport", self.transport.to_owned()),
            ("events", format!("{} of {} B", count(self.records), self.data_bytes_per_record)),
            ("consumers", format!("{}, each of all events", count(self.consumers))),
            ("events per batch, max", count(self.batch)),
            ("order keys", count(self.orders)),
            ("page cache", format!("{}: what was written went past it", self.page_cache)),
            ("time", seconds(self.seconds)),
            ("events per second", count(whole(self.records_per_s))),
            ("data per second", size(whole(self.bytes_per_s))),
            ("client CPU", seconds(self.client_cpu_s)),
            ("broker CPU", broker_cpu(self.broker_cpu_s)),
        ];
        named(rows).chain(self.limits.iter().flat_map(Report::rows)).collect()
    }
}
