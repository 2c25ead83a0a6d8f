//! What happens when.

use std::time::Duration;

use bytes::Bytes;
use takt_protocol::event::Event;

use super::log::Line;
use crate::import::{COLUMNS, Report};

/// How long the log plays.
pub const LENGTH: Duration = Duration::from_secs(24);
/// How many of its last events an adapter that has restarted sends again.
pub const SENT_AGAIN: usize = 200;

const MUNICH: usize = 0;
const LYON: usize = 1;
const HOUR_US: i64 = 3_600_000_000;

/// What happens. Plants are numbers from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Act {
    /// The adapter of a plant restarts and sends its last [`SENT_AGAIN`] events again.
    RestartAdapter {
        /// The plant.
        plant: usize,
    },
    /// A plant is killed while it takes a burst.
    KillPlant {
        /// The plant.
        plant: usize,
    },
    /// The lines of some plants are cut; once they are mended, but thin, the hub is killed while it
    /// takes what has gathered.
    CutAndKillHub {
        /// The plants.
        plants: &'static [usize],
        /// For how long.
        cut: Duration,
    },
    /// The busiest hour of what a plant has had so far is sent to it again.
    SendHourAgain {
        /// The plant.
        plant: usize,
    },
    /// A corrected report is sent under its old id.
    Correct {
        /// The plant.
        plant: usize,
    },
}

/// The acts and when each begins, at the earliest: from the begin of the play.
pub fn acts() -> [(Duration, Act); 7] {
    let cut = Duration::from_secs;
    [
        (3_500, Act::RestartAdapter { plant: LYON }),
        (5_000, Act::KillPlant { plant: MUNICH }),
        (8_000, Act::CutAndKillHub { plants: &[MUNICH, LYON], cut: cut(3) }),
        (14_000, Act::KillPlant { plant: LYON }),
        (16_500, Act::SendHourAgain { plant: MUNICH }),
        (17_000, Act::Correct { plant: LYON }),
        (18_000, Act::CutAndKillHub { plants: &[MUNICH], cut: cut(2) }),
    ]
    .map(|(ms, act)| (Duration::from_millis(ms), act))
}

/// The reports of the hour that has most of them.
pub fn busiest_hour(lines: &[Line]) -> &[Line] {
    let hour = |line: &Line| line.event.time.map_or(0, |time| time.as_micros().div_euclid(HOUR_US));
    let same = |one: &Line, two: &Line| hour(one) == hour(two);
    lines.chunk_by(same).max_by_key(|lines| lines.len()).unwrap_or_default()
}

/// The report again, with other good pieces under its old identity. `None` where it has none.
pub fn corrected(event: &Event) -> Option<Event> {
    let text = std::str::from_utf8(&event.data).ok()?;
    let report = Report::from_data(&event.data).ok().filter(|report| report.good > 0)?;
    let with = |good: u32| format!("\"{}\":\"{good}\"", COLUMNS[5]);
    let data = text.replace(&with(report.good), &with(report.good - 1));
    (data != text).then(|| Event { data: Bytes::from(data), ..event.clone() })
}

#[cfg(test)]
mod tests {
    use super::super::log::Log;
    use super::*;
    use crate::generator::{generate, to_csv};

    #[test]
    fn acts_come_in_order_while_the_log_plays() {
        let acts = acts();
        assert!(acts.is_sorted_by_key(|(at, _)| *at));
        assert!(acts.iter().all(|(at, _)| *at < LENGTH));
    }

    #[test]
    fn a_corrected_report_has_its_old_identity_and_other_content() {
        let log = Log::read(to_csv(&generate(7, 200)).as_slice(), LENGTH).unwrap();
        let (old, new) = log.plants[0]
            .iter()
            .find_map(|line| Some((&line.event, corrected(&line.event)?)))
            .unwrap();
        assert_eq!((&old.dedup, &old.id), (&new.dedup, &new.id));
        let good = |event: &Event| Report::from_data(&event.data).unwrap().good;
        assert_eq!(good(old), good(&new) + 1);
    }

    #[test]
    fn the_busiest_hour_is_one_hour() {
        let log = Log::read(to_csv(&generate(7, 200)).as_slice(), LENGTH).unwrap();
        let hour = busiest_hour(&log.plants[0]);
        assert!(hour.len() > 1);
        let times = || hour.iter().map(|line| line.event.time.unwrap().as_micros());
        assert!(times().max().unwrap() - times().min().unwrap() < HOUR_US);
        assert!(busiest_hour(&[]).is_empty());
    }
}
