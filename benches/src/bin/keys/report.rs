//! The figures, as a JSON object and as a table.

use std::io::{self, Write};

use serde::Serialize;
use takt_benches::Spread;
use takt_broker::cli::output::{Cell, Column, Style, Table, count, json_line, size};

use super::filled::Sizes;
use super::repeats::{Repeats, Times};
use super::rounds::Round;

/// All that was measured.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Report {
    #[serde(flatten)]
    pub sizes: Sizes,
    /// Until all keys were in runs.
    pub fill_seconds: f64,
    /// Of a million fresh keys, those that pass a filter.
    pub false_per_million: f64,
    pub rounds: Vec<Round>,
    pub repeats: Repeats,
    /// Processes that were running or waiting for the disk, over the minute before the end.
    pub load: f64,
}

/// The report, and what follows from it.
#[derive(Debug, Serialize)]
struct Derived<'a> {
    #[serde(flatten)]
    report: &'a Report,
    memory_per_key_bytes: f64,
    disk_per_key_bytes: f64,
    full_per_second: Spread,
    empty_per_second: Spread,
    ratio: Spread,
    cpu_ratio: Spread,
}

impl Report {
    #[expect(clippy::cast_precision_loss, reason = "shown with a few digits")]
    fn derived(&self) -> Derived<'_> {
        let keys = self.sizes.keys.max(1) as f64;
        Derived {
            report: self,
            memory_per_key_bytes: self.sizes.memory_bytes as f64 / keys,
            disk_per_key_bytes: self.sizes.disk_bytes as f64 / keys,
            full_per_second: Spread::of(self.rounds.iter().map(|round| round.full.per_second)),
            empty_per_second: Spread::of(self.rounds.iter().map(|round| round.empty.per_second)),
            ratio: Spread::of(self.rounds.iter().map(Round::ratio)),
            cpu_ratio: Spread::of(self.rounds.iter().map(Round::cpu_ratio)),
        }
    }

    /// One JSON object.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn json(&self, out: &mut impl Write) -> io::Result<()> {
        json_line(out, &self.derived())
    }

    /// One row for each figure.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn table(&self, out: &mut impl Write) -> io::Result<()> {
        let Sizes { keys, runs, runs_most, memory_bytes, disk_bytes } = self.sizes;
        let derived = self.derived();
        let Repeats { count: repeats, cold, fetched, warm } = self.repeats;
        let millions = |rate: f64| format!("{:.2}", rate / 1e6);
        let ratio = |ratio: f64| format!("{ratio:.3}");
        let times = |times: Times| {
            let Times { p50_us, p99_us, max_us } = times;
            format!("p50 {p50_us:.1} µs, p99 {p99_us:.1} µs, at most {max_us:.1} µs")
        };
        let per_key = |bytes: u64, per_key: f64| format!("{}, {per_key:.2} a key", size(bytes));
        let mut table = Table::new([Column::left("MEASURED"), Column::left("CAME TO")]);
        for (name, value) in [
            ("keys in runs", format!("{} after {:.0} s", count(keys), self.fill_seconds)),
            ("filters that a look-up meets", format!("{runs}; at most {runs_most} before")),
            ("filters and fences in memory", per_key(memory_bytes, derived.memory_per_key_bytes)),
            ("runs on the disk", per_key(disk_bytes, derived.disk_per_key_bytes)),
            ("false positives per million", format!("{:.1}", self.false_per_million)),
            ("fresh keys, millions a second", derived.full_per_second.shown(millions)),
            ("the same with an empty ledger", derived.empty_per_second.shown(millions)),
            ("ratio, by rounds", derived.ratio.shown(ratio)),
            ("ratio, by the processor's time", derived.cpu_ratio.shown(ratio)),
            ("verdict of a repeat, cold", times(cold)),
            ("from the device", format!("{fetched} of {repeats}")),
            ("verdict of a repeat, warm", times(warm)),
            ("load", format!("{:.1}", self.load)),
        ] {
            table.push([Cell::from(name), Cell::from(value)]);
        }
        table.write(out, Style::stdout())
    }
}
