//! What a measurement found, as a table or as JSON.

mod consume;
mod publish;

use std::io::{self, Write};

use hdrhistogram::Histogram;
use serde::Serialize;

use super::BenchError;
use crate::cli::output::{Cell, Column, Style, Table, json_line};

pub(super) use consume::ConsumeReport;
pub(super) use publish::PublishReport;

/// What a measurement found. As JSON it is its fields.
pub(super) trait Report: Serialize + Sized {
    /// The head of the table.
    const TITLE: &'static str;

    /// The rows of the table.
    fn rows(&self) -> Vec<(String, String)>;

    fn write(&self, out: &mut impl Write, json: bool, style: Style) -> io::Result<()> {
        if json {
            return json_line(out, self);
        }
        let mut table = Table::new([Column::left(Self::TITLE), Column::right("VALUE")]);
        for (name, value) in self.rows() {
            table.push([Cell::from(name), Cell::from(value)]);
        }
        table.write(out, style)
    }

    fn print(&self, json: bool) -> Result<(), BenchError> {
        let mut out = io::stdout().lock();
        self.write(&mut out, json, Style::stdout()).map_err(BenchError::Print)
    }
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

/// `amount` per `unit`; 0 where there is no unit.
pub(super) fn per(amount: u64, unit: f64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "figures of a measurement are far below 2^52")]
    let amount = amount as f64;
    if unit > 0.0 { amount / unit } else { 0.0 }
}

pub(super) fn ms(us: u64) -> String {
    format!("{}.{:03} ms", us / 1_000, us % 1_000)
}

fn seconds(value: f64) -> String {
    format!("{value:.2} s")
}

/// Rows whose names are known.
fn named(rows: Vec<(&'static str, String)>) -> impl Iterator<Item = (String, String)> {
    rows.into_iter().map(|(name, value)| (name.to_owned(), value))
}

/// The node's processor time, where it has a process of its own.
fn broker_cpu(value: Option<f64>) -> String {
    value.map_or("in the client's".to_owned(), seconds)
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a rate is not negative"
)]
pub(super) fn whole(rate: f64) -> u64 {
    rate.round() as u64
}
