//! How commands answer: aligned tables for people, JSON lines for programs.
//!
//! Whatever stands in a table may come from a peer or a file, so control characters are escaped:
//! no name of an order can move the cursor of an operator's terminal.

use std::ffi::OsStr;
use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use serde::Serialize;

#[cfg(test)]
mod tests;

/// The form of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum Output {
    /// A table for people.
    #[default]
    Table,
    /// One JSON value per line.
    Json,
}

/// Whether colours are used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Style {
    colour: bool,
}

impl Style {
    /// No colours.
    pub const PLAIN: Self = Self { colour: false };

    /// Colours on a terminal, unless the variable `NO_COLOR` is set to anything but nothing
    /// (<https://no-color.org>).
    pub fn new(is_terminal: bool, no_color: Option<&OsStr>) -> Self {
        Self { colour: is_terminal && no_color.is_none_or(OsStr::is_empty) }
    }

    /// The style of this process's standard output.
    pub fn stdout() -> Self {
        Self::new(io::stdout().is_terminal(), std::env::var_os("NO_COLOR").as_deref())
    }

    fn paint(self, out: &mut impl Write, code: &str, text: &str) -> io::Result<()> {
        if self.colour && !code.is_empty() {
            write!(out, "\x1b[{code}m{text}\x1b[0m")
        } else {
            out.write_all(text.as_bytes())
        }
    }
}

/// What a cell tells at a glance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Tone {
    /// Nothing.
    #[default]
    Plain,
    /// As it should be.
    Good,
    /// Worth a look.
    Warn,
    /// Wrong.
    Bad,
}

impl Tone {
    fn code(self) -> &'static str {
        match self {
            Self::Plain => "",
            Self::Good => "32",
            Self::Warn => "33",
            Self::Bad => "31",
        }
    }
}

/// One cell of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cell {
    text: String,
    tone: Tone,
}

impl Cell {
    /// The same text in a tone.
    #[must_use]
    pub fn tone(self, tone: Tone) -> Self {
        Self { tone, ..self }
    }
}

impl From<&str> for Cell {
    fn from(text: &str) -> Self {
        Self { text: escaped(text), tone: Tone::Plain }
    }
}

impl From<String> for Cell {
    fn from(text: String) -> Self {
        Self::from(text.as_str())
    }
}

/// Control characters, and those that turn the direction of writing, as Rust would write them.
fn escaped(text: &str) -> String {
    let hides = |c: char| {
        c.is_control()
            || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}')
            || matches!(c, '\u{2028}' | '\u{2029}' | '\u{2066}'..='\u{2069}')
    };
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        if hides(c) { shown.extend(c.escape_default()) } else { shown.push(c) }
    }
    shown
}

/// The head of a column.
#[derive(Debug, Clone, Copy)]
pub struct Column {
    title: &'static str,
    right: bool,
}

impl Column {
    /// A column of texts.
    pub const fn left(title: &'static str) -> Self {
        Self { title, right: false }
    }

    /// A column of numbers.
    pub const fn right(title: &'static str) -> Self {
        Self { title, right: true }
    }
}

/// A table of `N` columns, as wide as its cells, counted in characters.
#[derive(Debug, Clone)]
pub struct Table<const N: usize> {
    columns: [Column; N],
    rows: Vec<[Cell; N]>,
}

impl<const N: usize> Table<N> {
    /// A table without rows.
    pub const fn new(columns: [Column; N]) -> Self {
        Self { columns, rows: Vec::new() }
    }

    /// Adds a row.
    pub fn push(&mut self, row: [Cell; N]) {
        self.rows.push(row);
    }

    /// Prints the heads and the rows, two spaces between columns and none at a line's end.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn write(&self, out: &mut impl Write, style: Style) -> io::Result<()> {
        let mut widths = self.columns.map(|column| width(column.title));
        for row in &self.rows {
            for (widest, cell) in widths.iter_mut().zip(row) {
                *widest = (*widest).max(width(&cell.text));
            }
        }
        self.line(out, style, widths, self.columns.map(|column| ("1", column.title)))?;
        for row in &self.rows {
            let cells = row.each_ref().map(|cell| (cell.tone.code(), cell.text.as_str()));
            self.line(out, style, widths, cells)?;
        }
        Ok(())
    }

    fn line(
        &self,
        out: &mut impl Write,
        style: Style,
        widths: [usize; N],
        cells: [(&str, &str); N],
    ) -> io::Result<()> {
        // Spaces are owed, and paid before the next text only: none is left at a line's end.
        let mut owed = 0;
        for ((column, widest), (code, text)) in self.columns.iter().zip(widths).zip(cells) {
            let pad = widest - width(text);
            let (before, after) = if column.right { (pad, 0) } else { (0, pad) };
            owed += before;
            if !text.is_empty() {
                write!(out, "{:owed$}", "")?;
                style.paint(out, code, text)?;
                owed = 0;
            }
            owed += after + 2;
        }
        writeln!(out)
    }
}

fn width(text: &str) -> usize {
    text.chars().count()
}

/// Prints `value` as one line of JSON.
///
/// # Errors
/// Those of `out`, and those of the value's own `Serialize`.
pub fn json_line(out: &mut impl Write, value: &impl Serialize) -> io::Result<()> {
    serde_json::to_writer(&mut *out, value)?;
    out.write_all(b"\n")
}

/// A number with a comma between thousands: `4,503`.
pub fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut shown = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            shown.push(',');
        }
        shown.push(digit);
    }
    shown
}

/// A size in binary units with one decimal, cut, not rounded: `1.4 MiB`, `512 B`.
pub fn size(bytes: u64) -> String {
    let units = [("TiB", 40), ("GiB", 30), ("MiB", 20), ("KiB", 10)];
    for (unit, shift) in units {
        let whole = bytes >> shift;
        if whole > 0 {
            let tenth = ((bytes & ((1 << shift) - 1)) * 10) >> shift;
            return format!("{}.{tenth} {unit}", count(whole));
        }
    }
    format!("{bytes} B")
}

/// A duration as its two largest units, cut, not rounded: `3 d 4 h`, `2 min 5 s`, `1.2 s`, `35 ms`,
/// `120 us`.
pub fn duration(duration: Duration) -> String {
    let secs = duration.as_secs();
    let (days, hours, minutes) = (secs / 86_400, secs / 3_600, secs / 60);
    match (days, hours, minutes, secs) {
        (1.., ..) => format!("{} d {} h", count(days), hours % 24),
        (0, 1.., ..) => format!("{hours} h {} min", minutes % 60),
        (0, 0, 1.., _) => format!("{minutes} min {} s", secs % 60),
        (0, 0, 0, 1..) => format!("{secs}.{} s", duration.subsec_millis() / 100),
        (0, 0, 0, 0) => match duration.subsec_micros() {
            0 if duration.is_zero() => "0 s".to_owned(),
            us @ 0..1_000 => format!("{us} us"),
            us => format!("{} ms", us / 1_000),
        },
    }
}
