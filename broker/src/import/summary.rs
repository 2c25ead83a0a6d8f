//! What became of a file.

use std::io::{self, Write};

use serde::Serialize;
use takt_protocol::batch::{Place, Verdict};

use super::row::RowError;
use super::times::AmbiguousTime;
use crate::cli::output::{Cell, Column, Output, Style, Table, Tone, count, json_line};

/// How many lines of each list are kept, 24 bytes each or a sentence; the counts go on.
pub const LIST_MAX: usize = 100_000;

/// What became of a file's rows: `rows` is the sum of `stored`, `duplicates`, `conflicts`,
/// `preconditions_failed` and `errors`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// Data rows of the file.
    pub rows: u64,
    /// Rows that are events now.
    pub stored: u64,
    /// Rows that repeat an event with the same content.
    pub duplicates: LineList<LineAt>,
    /// Rows that repeat an event's key with other content; they are set aside.
    pub conflicts: LineList<LineAt>,
    /// Rows whose precondition did not hold.
    pub preconditions_failed: u64,
    /// Rows that are no events.
    pub errors: LineList<LineText>,
    /// Stored rows whose time a change of the clocks made unclear; they count above too.
    pub ambiguous_times: LineList<LineText>,
}

/// A count, and the first [`LIST_MAX`] of what was counted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LineList<T> {
    /// How many there are.
    pub count: u64,
    /// The first of them.
    pub lines: Vec<T>,
}

/// A line of the file and the event that it repeats.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LineAt {
    /// The line, from 1.
    pub line: u64,
    /// The partition of the first.
    pub first_partition: u16,
    /// The offset of the first.
    pub first_offset: u64,
}

/// A line of the file and what is to be said of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LineText {
    /// The line, from 1.
    pub line: u64,
    /// What is to be said.
    pub what: String,
}

impl<T> Default for LineList<T> {
    fn default() -> Self {
        Self { count: 0, lines: Vec::new() }
    }
}

impl<T> LineList<T> {
    fn push(&mut self, line: T) {
        self.count += 1;
        if self.lines.len() < LIST_MAX {
            self.lines.push(line);
        }
    }
}

impl LineAt {
    fn new(line: u64, first: Place) -> Self {
        let (first_partition, first_offset) = (first.partition.get(), first.offset.get());
        Self { line, first_partition, first_offset }
    }
}

impl Summary {
    /// Counts the verdict on the row that begins in `line`.
    pub fn add(&mut self, line: u64, verdict: &Verdict) {
        self.rows += 1;
        match verdict {
            Verdict::Visible { .. } => self.stored += 1,
            Verdict::Duplicate { of, .. } => self.duplicates.push(LineAt::new(line, *of)),
            Verdict::Conflict { with, .. } => self.conflicts.push(LineAt::new(line, *with)),
            Verdict::PreconditionFailed { .. } => self.preconditions_failed += 1,
        }
    }

    /// Counts a row that is no event.
    pub fn add_error(&mut self, error: &RowError) {
        self.rows += 1;
        self.errors.push(LineText { line: error.line, what: error.what.to_string() });
    }

    /// Notes an unclear time; the row itself is counted by its verdict.
    pub fn add_ambiguous_time(&mut self, line: u64, time: &AmbiguousTime) {
        self.ambiguous_times.push(LineText { line, what: time.to_string() });
    }

    /// Prints the summary: a table and the lines that are kept, or one line of JSON.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn write(&self, out: &mut impl Write, output: Output, style: Style) -> io::Result<()> {
        match output {
            Output::Table => self.write_table(out, style),
            Output::Json => json_line(out, self),
        }
    }

    fn write_table(&self, out: &mut impl Write, style: Style) -> io::Result<()> {
        let bad = |count: u64| if count > 0 { Tone::Bad } else { Tone::Plain };
        let warn = |count: u64| if count > 0 { Tone::Warn } else { Tone::Plain };
        let mut table = Table::new([Column::left("ROWS"), Column::right("COUNT")]);
        let (conflicts, unclear) = (self.conflicts.count, self.ambiguous_times.count);
        for (what, number, tone) in [
            ("read", self.rows, Tone::Plain),
            ("stored", self.stored, Tone::Good),
            ("duplicates", self.duplicates.count, Tone::Plain),
            ("conflicts", conflicts, warn(conflicts)),
            ("preconditions failed", self.preconditions_failed, warn(self.preconditions_failed)),
            ("errors", self.errors.count, bad(self.errors.count)),
            ("unclear times", unclear, warn(unclear)),
        ] {
            table.push([what.into(), Cell::from(count(number)).tone(tone)]);
        }
        table.write(out, style)?;
        repeats(out, style, "DUPLICATE OF", &self.duplicates)?;
        repeats(out, style, "CONFLICT WITH", &self.conflicts)?;
        remarks(out, style, "ERROR", &self.errors)?;
        remarks(out, style, "UNCLEAR TIME", &self.ambiguous_times)
    }
}

fn repeats(
    out: &mut impl Write,
    style: Style,
    title: &'static str,
    list: &LineList<LineAt>,
) -> io::Result<()> {
    let mut table = Table::new([Column::right("LINE"), Column::left(title)]);
    for at in &list.lines {
        let first = format!("partition {}, offset {}", at.first_partition, at.first_offset);
        table.push([at.line.to_string().into(), first.into()]);
    }
    listed(out, style, &table, list)
}

fn remarks(
    out: &mut impl Write,
    style: Style,
    title: &'static str,
    list: &LineList<LineText>,
) -> io::Result<()> {
    let mut table = Table::new([Column::right("LINE"), Column::left(title)]);
    for line in &list.lines {
        table.push([line.line.to_string().into(), line.what.as_str().into()]);
    }
    listed(out, style, &table, list)
}

fn listed<T>(
    out: &mut impl Write,
    style: Style,
    table: &Table<2>,
    list: &LineList<T>,
) -> io::Result<()> {
    if list.lines.is_empty() {
        return Ok(());
    }
    writeln!(out)?;
    table.write(out, style)?;
    match list.count - list.lines.len() as u64 {
        0 => Ok(()),
        more => writeln!(out, "... and {} more", count(more)),
    }
}
