//! What a measurement found, as a table or as JSON.

use std::io::{self, Write};

use hdrhistogram::Histogram;
use serde::Serialize;

use crate::cli::output::{Cell, Column, Style, Table, count, json_line, size};

/// What was published and what it took. The time runs from the first call to the last receipt.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Report {
    pub transport: &'static str,
    pub records: u64,
    pub data_bytes_per_record: u64,
    pub producers: u64,
    pub batch: u64,
    pub window: u64,
    pub orders: u64,
    pub dedup: bool,
    pub seconds: f64,
    pub records_per_s: f64,
    /// Data alone, without attributes.
    pub bytes_per_s: f64,
    /// From a call to the receipts for all of its events.
    pub receipts: Latencies,
    /// At the disk seam of the node, files and directory.
    pub syncs: u64,
    pub records_per_sync: f64,
    pub disk_bytes_written: u64,
    /// Of the process that publishes; with an embedded node that is all of it.
    pub client_cpu_s: f64,
    /// Of the node's process, where it is another one.
    pub broker_cpu_s: Option<f64>,
}

/// In microseconds, per call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Latencies {
    pub calls: u64,
    pub p50_us: u64,
    pub p99_us: u64,
    pub p999_us: u64,
    pub max_us: u64,
}

impl Latencies {
    pub fn new(histogram: &Histogram<u64>) -> Self {
        Self {
            calls: histogram.len(),
            p50_us: histogram.value_at_quantile(0.5),
            p99_us: histogram.value_at_quantile(0.99),
            p999_us: histogram.value_at_quantile(0.999),
            max_us: histogram.max(),
        }
    }
}

impl Report {
    pub fn write(&self, out: &mut impl Write, json: bool, style: Style) -> io::Result<()> {
        if json { json_line(out, self) } else { self.table().write(out, style) }
    }

    fn table(&self) -> Table<2> {
        let ms = |us: u64| format!("{}.{:03} ms", us / 1_000, us % 1_000);
        let dedup = if self.dedup { "with dedup" } else { "without dedup" };
        let broker = self.broker_cpu_s.map_or("in the client's".to_owned(), seconds);
        let mut table = Table::new([Column::left("PUBLISH"), Column::right("VALUE")]);
        let rows: [(&str, String); 16] = [
            ("transport", self.transport.to_owned()),
            (
                "events",
                format!("{} of {} B, {dedup}", count(self.records), self.data_bytes_per_record),
            ),
            ("producers", format!("{}, {} calls in flight each", self.producers, self.window)),
            ("events per call", count(self.batch)),
            ("order keys", count(self.orders)),
            ("time", seconds(self.seconds)),
            ("events per second", count(whole(self.records_per_s))),
            ("data per second", size(whole(self.bytes_per_s))),
            ("receipts p50", ms(self.receipts.p50_us)),
            ("receipts p99", ms(self.receipts.p99_us)),
            ("receipts p99.9", ms(self.receipts.p999_us)),
            ("receipts max", ms(self.receipts.max_us)),
            (
                "syncs",
                format!(
                    "{}, {} events each",
                    count(self.syncs),
                    count(whole(self.records_per_sync))
                ),
            ),
            ("written to disk", size(self.disk_bytes_written)),
            ("client CPU", seconds(self.client_cpu_s)),
            ("broker CPU", broker),
        ];
        for (name, value) in rows {
            table.push([Cell::from(name), Cell::from(value)]);
        }
        table
    }
}

fn seconds(value: f64) -> String {
    format!("{value:.2} s")
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a rate is not negative"
)]
fn whole(rate: f64) -> u64 {
    rate.round() as u64
}

/// `amount` per `unit`; 0 where there is no unit.
pub(super) fn per(amount: u64, unit: f64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "figures of a measurement are far below 2^52")]
    let amount = amount as f64;
    if unit > 0.0 { amount / unit } else { 0.0 }
}
