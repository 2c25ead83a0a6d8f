//! The names of the files in a journal's directory.

use super::position::{Incarnation, Position};

const TEMPORARY: &str = ".tmp";
/// The file that a start writes, before it gets its name.
pub(crate) const STARTING: &str = "journal-starting.tmp";

pub(crate) fn journal(start: Position, incarnation: Incarnation) -> String {
    format!("journal-{:016x}-{:08x}.log", start.get(), incarnation.get())
}

/// Start and incarnation of a journal file's name; `None` if it is none.
pub(crate) fn parse_journal(name: &str) -> Option<(Position, Incarnation)> {
    let (start, incarnation) =
        name.strip_prefix("journal-")?.strip_suffix(".log")?.split_once('-')?;
    let start = Position::new(u64::from_str_radix(start, 16).ok()?);
    let incarnation = Incarnation::new(u32::from_str_radix(incarnation, 16).ok()?);
    (journal(start, incarnation) == name).then_some((start, incarnation))
}

/// An empty file that says which journal file is the newest.
pub(crate) fn newest(start: Position, incarnation: Incarnation) -> String {
    format!("newest-{:016x}-{:08x}", start.get(), incarnation.get())
}

/// Incarnation and start, in the order of the journal's files; `None` if it is none.
pub(crate) fn parse_newest(name: &str) -> Option<(Incarnation, Position)> {
    let (start, incarnation) = name.strip_prefix("newest-")?.split_once('-')?;
    let start = Position::new(u64::from_str_radix(start, 16).ok()?);
    let incarnation = Incarnation::new(u32::from_str_radix(incarnation, 16).ok()?);
    (newest(start, incarnation) == name).then_some((incarnation, start))
}

pub(crate) fn spare(number: u64) -> String {
    format!("spare-{number}")
}

pub(crate) fn parse_spare(name: &str) -> Option<u64> {
    let number = name.strip_prefix("spare-")?.parse().ok()?;
    (spare(number) == name).then_some(number)
}

pub(crate) fn reserve(chunk: usize) -> String {
    format!("reserve-{chunk}")
}

pub(crate) fn parse_reserve(name: &str) -> Option<usize> {
    let chunk = name.strip_prefix("reserve-")?.parse().ok()?;
    (reserve(chunk) == name).then_some(chunk)
}

pub(crate) fn cut(position: Position, incarnation: Incarnation) -> String {
    format!("cut-{:016x}-{:08x}.bin", position.get(), incarnation.get())
}

pub(crate) fn temporary(name: &str) -> String {
    format!("{name}{TEMPORARY}")
}

/// Whether an earlier run did not finish the file: never read, deleted at the next start.
pub(crate) fn is_ours_unfinished(name: &str) -> bool {
    let ours = ["journal-", "spare-", "reserve-", "cut-"];
    name.ends_with(TEMPORARY) && ours.iter().any(|prefix| name.starts_with(prefix))
}
