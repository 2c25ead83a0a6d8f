//! The log that is played: its events, the plant of each, and when each is due.

use std::io::Read;
use std::time::Duration;

use takt_protocol::event::{DedupKeys, Event};
use takt_protocol::hashing::route;
use takt_protocol::words::Timestamp;

use super::compare::Fact;
use crate::import::{DedupColumns, Identity, ReadError, RowError, Rows, production_mapping};

/// The plants, in the order of their numbers.
pub const PLANTS: [&str; 2] = ["munich", "lyon"];
/// Of each plant at least; a shorter log is over before anything can happen to it.
const LINES_MIN: usize = 500;

/// Why a log cannot be played.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// It cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// A row is no event.
    #[error(transparent)]
    Row(#[from] RowError),
    /// It is too short.
    #[error(
        "the log has {lines} reports for the plant {plant}; with less than {LINES_MIN} it is over \
         before anything can happen"
    )]
    TooShort {
        /// The plant.
        plant: &'static str,
        /// Its reports.
        lines: usize,
    },
}

/// A report of one plant.
#[derive(Debug, Clone)]
pub struct Line {
    /// Its number in the file, from 0.
    pub number: usize,
    /// What it says.
    pub event: Event,
    /// When it is sent, from the begin of the play.
    pub due: Duration,
}

/// A production log, split over the plants.
#[derive(Debug, Clone)]
pub struct Log {
    /// The reports of each plant, in the order of the file.
    pub plants: [Vec<Line>; PLANTS.len()],
}

impl Log {
    /// Reads a production log. Its time is compressed so that its last report is due at `length`.
    ///
    /// The identity of a report is the whole of its columns. An order belongs to one plant, which a
    /// hash of its name says.
    ///
    /// # Errors
    /// [`LogError`].
    pub fn read(file: impl Read, length: Duration) -> Result<Self, LogError> {
        let identity = Identity::DedupColumns(DedupColumns::All);
        let mapping = production_mapping("//demo/mes", identity, "UTC");
        let mut events = Vec::new();
        for row in Rows::new(file, &mapping)? {
            events.push(row??.event);
        }
        let dues = dues(&events, length);
        let mut plants = PLANTS.map(|_| Vec::new());
        for (number, (mut event, due)) in events.into_iter().zip(dues).enumerate() {
            let count = u16::try_from(PLANTS.len()).expect("few plants");
            let plant = usize::from(route(event.order_key.as_ref(), count).get());
            event.source = format!("//demo/{}/mes", PLANTS[plant]);
            plants[plant].push(Line { number, event, due });
        }
        for (plant, lines) in PLANTS.into_iter().zip(&plants) {
            if lines.len() < LINES_MIN {
                return Err(LogError::TooShort { plant, lines: lines.len() });
            }
        }
        Ok(Self { plants })
    }

    /// The reports of all plants.
    pub fn len(&self) -> usize {
        self.plants.iter().map(Vec::len).sum()
    }

    /// All reports as facts, in the order of the file.
    pub fn facts(&self) -> Vec<Fact> {
        let mut lines: Vec<&Line> = self.plants.iter().flatten().collect();
        lines.sort_unstable_by_key(|line| line.number);
        lines.into_iter().map(|line| fact(&line.event)).collect()
    }
}

/// What the hub must hold of an event.
pub fn fact(event: &Event) -> Fact {
    let key = match &event.dedup {
        DedupKeys::Key(key) | DedupKeys::Two(key, _) => key.clone(),
        DedupKeys::SourceAndId => format!("{}\0{}", event.source, event.id).into(),
    };
    let order = event.order_key.as_ref().map_or_else(String::new, ToString::to_string);
    Fact { order, key, data: event.data.clone() }
}

/// When each event is due. Time never runs backwards, whatever the file says.
fn dues(events: &[Event], length: Duration) -> Vec<Duration> {
    let times = events.iter().map(|event| event.time.map_or(0, Timestamp::as_micros));
    let mut latest = i64::MIN;
    let times: Vec<i64> = times
        .map(|time| {
            latest = latest.max(time);
            latest
        })
        .collect();
    let (Some(first), Some(last)) = (times.first(), times.last()) else { return Vec::new() };
    let span = u128::from(last.abs_diff(*first)).max(1);
    let due = |time: &i64| {
        let share = u128::from(time.abs_diff(*first)) * length.as_micros() / span;
        Duration::from_micros(u64::try_from(share).unwrap_or(u64::MAX))
    };
    times.iter().map(due).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generator::{generate, to_csv};

    const LENGTH: Duration = Duration::from_secs(26);

    #[test]
    fn a_log_is_split_by_order_and_keeps_its_order() {
        let csv = to_csv(&generate(7, 200));
        let log = Log::read(csv.as_slice(), LENGTH).unwrap();
        let mut seen = std::collections::HashMap::new();
        for (plant, lines) in log.plants.iter().enumerate() {
            assert!(lines.is_sorted_by_key(|line| (line.number, line.due)));
            for line in lines {
                assert!(line.due <= LENGTH);
                assert_eq!(*seen.entry(line.event.order_key.clone()).or_insert(plant), plant);
            }
        }
        assert_eq!(log.facts().len(), log.len());
        let last = log.plants.iter().flatten().map(|line| line.due).max();
        assert_eq!(last, Some(LENGTH));
    }

    #[test]
    fn a_short_log_is_refused() {
        let csv = to_csv(&generate(7, 3));
        assert!(matches!(Log::read(csv.as_slice(), LENGTH), Err(LogError::TooShort { .. })));
    }
}
