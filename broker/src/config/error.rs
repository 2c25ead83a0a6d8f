//! What is wrong with a configuration, and where.

use std::fmt;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// How alike two keys must be for one to be proposed for the other: Jaro-Winkler, 0 to 1.
const ALIKE_MIN: f64 = 0.8;

/// Why a configuration cannot be used. `Display` begins with the place: `plant.toml:12:1: ...`, or
/// with the variable of the environment.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the configuration {}: {source}; make one with `takt init`", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Something in the file is wrong, or missing from it.
    #[error("{}{}: {problem}", path.display(), Position(*line, *column))]
    File {
        /// The file.
        path: PathBuf,
        /// Its line, from 1; 0 if the problem has no line, such as a missing section.
        line: usize,
        /// The column in characters, from 1; 0 as the line.
        column: usize,
        /// What is wrong, and what to write instead.
        problem: String,
    },
    /// A variable of the environment is wrong.
    #[error("environment variable {variable}: {problem}")]
    Environment {
        /// Its name.
        variable: String,
        /// What is wrong, and what to write instead.
        problem: String,
    },
}

struct Position(usize, usize);

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 == 0 { Ok(()) } else { write!(f, ":{}:{}", self.0, self.1) }
    }
}

impl ConfigError {
    /// Something wrong at a place in the file's text.
    pub(super) fn at(path: &Path, text: &str, span: Option<Range<usize>>, problem: String) -> Self {
        let (line, column) = span.map_or((0, 0), |span| position(text, span.start));
        Self::File { path: path.to_owned(), line, column, problem }
    }

    /// An error of the TOML library, in our words.
    pub(super) fn toml(path: &Path, text: &str, error: &toml::de::Error) -> Self {
        let section = error.span().and_then(|span| section_at(text, span.start));
        Self::at(path, text, error.span(), reworded(error.message(), section))
    }
}

/// Line and column of a byte offset, both from 1.
fn position(text: &str, offset: usize) -> (usize, usize) {
    let before = text.get(..offset).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
}

/// The header of the table that a byte offset lies in, with its brackets. A header lies in none.
fn section_at(text: &str, offset: usize) -> Option<&str> {
    let before = text.get(..offset)?;
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    if before[line_start..].trim_start().starts_with('[') {
        return None;
    }
    before.lines().rev().map(str::trim_start).find_map(|line| {
        let end = line.rfind(']')? + 1;
        let name = line[..end].trim_matches(['[', ']']);
        let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
        (line.starts_with('[') && !name.is_empty() && name.chars().all(is_name))
            .then(|| &line[..end])
    })
}

/// Turns `unknown field` into the nearest valid key; other messages stay.
pub(super) fn reworded(message: &str, section: Option<&str>) -> String {
    let Some((unknown, expected)) =
        message.strip_prefix("unknown field `").and_then(|rest| rest.split_once('`'))
    else {
        return message.trim_end().to_owned();
    };
    let valid: Vec<&str> = expected.split('`').skip(1).step_by(2).collect();
    let place = section.map_or(String::new(), |section| format!(" in {section}"));
    let unknown_shown = unknown.escape_debug();
    let hint = nearest(unknown, &valid).map_or_else(
        || format!("valid are {}", valid.join(", ")),
        |near| format!("did you mean \"{near}\"?"),
    );
    format!("unknown key \"{unknown_shown}\"{place}; {hint}")
}

/// The one of `valid` that `text` is most like, if it is like any.
pub(super) fn nearest<'a>(text: &str, valid: &[&'a str]) -> Option<&'a str> {
    let likeness = |candidate: &str| strsim::jaro_winkler(text, candidate);
    valid
        .iter()
        .copied()
        .filter(|candidate| likeness(candidate) >= ALIKE_MIN)
        .max_by(|a, b| likeness(a).total_cmp(&likeness(b)))
}
