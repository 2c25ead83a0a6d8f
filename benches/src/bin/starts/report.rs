//! The figures, as JSON lines and as a table.

use std::io::{self, Write};

use serde::Serialize;
use takt_benches::Spread;
use takt_broker::cli::output::{Cell, Column, Style, Table, count, json_line, size};

use super::history::{Left, Tail};
use super::opening::{Opening, What};

/// Openings of one kind of one journal.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Series {
    pub tail: Tail,
    pub left: Left,
    pub what: What,
    /// Nothing of the journal was in memory.
    pub cold: bool,
    /// Processes that were running or waiting for the disk, over the minute before the end.
    pub load: f64,
    pub openings: Vec<Opening>,
}

impl Series {
    fn spread(&self, value: impl Fn(&Opening) -> Option<f64>) -> String {
        let values: Vec<f64> = self.openings.iter().filter_map(value).collect();
        if values.is_empty() {
            return String::new();
        }
        Spread::of(values).shown(|seconds| format!("{seconds:.2} s"))
    }

    fn most(&self, value: impl Fn(&Opening) -> u64) -> String {
        self.openings.iter().map(value).max().map_or(String::new(), size)
    }
}

/// One JSON object per series.
///
/// # Errors
/// Those of `out`.
pub(super) fn json(out: &mut impl Write, series: &[Series]) -> io::Result<()> {
    series.iter().try_for_each(|series| json_line(out, series))
}

/// One row per series: median (lowest to highest).
///
/// # Errors
/// Those of `out`.
pub(super) fn table(out: &mut impl Write, series: &[Series]) -> io::Result<()> {
    let mut table = Table::new([
        Column::right("JOURNAL"),
        Column::right("TAIL"),
        Column::right("KEYS"),
        Column::left("OPENED"),
        Column::left("CACHE"),
        Column::right("OPEN AFTER"),
        Column::right("CPU"),
        Column::right("FIRST RECEIPT AFTER"),
        Column::right("FETCHED"),
        Column::right("MEMORY"),
        Column::right("LOAD"),
    ]);
    for series in series {
        let what = match series.what {
            What::Store => "store",
            What::Node => "node",
            What::Whole => "whole",
        };
        table.push([
            Cell::from(size(series.left.journal_bytes)),
            Cell::from(size(series.left.tail_bytes)),
            Cell::from(count(series.left.events as u64)),
            Cell::from(what),
            Cell::from(if series.cold { "cold" } else { "warm" }),
            Cell::from(series.spread(|opening| Some(opening.seconds))),
            Cell::from(series.spread(|opening| Some(opening.cpu_seconds))),
            Cell::from(series.spread(|opening| opening.receipt_seconds)),
            Cell::from(series.most(|opening| opening.fetched_bytes)),
            Cell::from(series.most(|opening| opening.memory_peak_bytes)),
            Cell::from(format!("{:.1}", series.load)),
        ]);
    }
    table.write(out, Style::stdout())
}
