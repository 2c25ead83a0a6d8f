//! What was found, line by line, and what it comes to.

use std::io::BufRead;

use serde::{Deserialize, Serialize};

use crate::contender::Kind;
use crate::machine::{About, Limits};
use crate::run::Run;
use crate::stats::Spread;
use crate::workload::Workload;

/// One line of what is told, which is one JSON object.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Line {
    /// Where and when.
    About(About),
    /// A system that is not there.
    Skipped(Skipped),
    /// What the machine can do, in one round.
    Limits(Limits),
    /// One run.
    Run(Run),
}

/// A system that is not there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Skipped {
    /// Which one.
    pub contender: Kind,
    /// Why, and what to do.
    pub reason: String,
}

/// Why lines could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// A line could not be read at all.
    #[error("cannot read the results: {0}")]
    Io(#[from] std::io::Error),
    /// A line is none of ours.
    #[error("line {number}: {source}")]
    Line {
        /// From 1.
        number: usize,
        /// What is wrong with it.
        source: serde_json::Error,
    },
}

/// Everything that was told.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Results {
    /// Where and when.
    pub about: Option<About>,
    /// Systems that are not there.
    pub skipped: Vec<Skipped>,
    /// What the machine can do, by round.
    pub limits: Vec<Limits>,
    /// All runs.
    pub runs: Vec<Run>,
}

/// What the rounds of one workload against one system come to.
#[derive(Debug, Clone, PartialEq)]
pub struct Figures {
    /// Events a second.
    pub events_per_s: Spread,
    /// From a call to the acknowledgement of its events, in microseconds.
    pub p50_us: Spread,
    /// The same.
    pub p99_us: Spread,
    /// Processor time for an event, of both sides, in microseconds.
    pub cpu_us: Spread,
    /// Events a second by those of Takt in the same round; `None` without Takt.
    pub rate_ratio: Option<Spread>,
    /// Its median time to an acknowledgement by that of Takt in the same round.
    pub p50_ratio: Option<Spread>,
}

impl Results {
    /// Adds a line.
    pub fn add(&mut self, line: Line) {
        match line {
            Line::About(about) => self.about = Some(about),
            Line::Skipped(skipped) => self.skipped.push(skipped),
            Line::Limits(limits) => self.limits.push(limits),
            Line::Run(run) => self.runs.push(run),
        }
    }

    /// Reads lines as `--json` prints them.
    ///
    /// # Errors
    /// [`ReadError`] with the number of the line.
    pub fn read(lines: impl BufRead) -> Result<Self, ReadError> {
        let mut results = Self::default();
        for (index, line) in lines.lines().enumerate() {
            let number = index + 1;
            let line = serde_json::from_str(&line?);
            results.add(line.map_err(|source| ReadError::Line { number, source })?);
        }
        Ok(results)
    }

    /// What a workload against a system comes to; `None` where it was not run.
    pub fn figures(&self, kind: Kind, workload: Workload) -> Option<Figures> {
        let runs = || self.of(kind, workload);
        let ratio = |of: fn(&Run) -> f64| {
            let pair = |run: &Run| {
                let takt = self.of(Kind::Takt, workload).find(|takt| takt.round == run.round)?;
                (of(takt) > 0.0).then(|| of(run) / of(takt))
            };
            Spread::of(runs().filter_map(pair))
        };
        let of = |of: fn(&Run) -> f64| Spread::of(runs().map(of));
        Some(Figures {
            events_per_s: of(|run| run.events_per_s)?,
            p50_us: of(|run| micros(run.p50_us))?,
            p99_us: of(|run| micros(run.p99_us))?,
            cpu_us: of(|run| run.server_cpu_us + run.client_cpu_us)?,
            rate_ratio: ratio(|run| run.events_per_s),
            p50_ratio: ratio(|run| micros(run.p50_us)),
        })
    }

    /// How many rounds there are figures of.
    pub fn rounds(&self) -> u32 {
        self.runs.iter().map(|run| run.round).max().unwrap_or(0)
    }

    /// The load average over all that was measured.
    pub fn load_average(&self) -> Option<Spread> {
        let limits = self.limits.iter().map(|limits| limits.load_average);
        Spread::of(limits.chain(self.runs.iter().map(|run| run.load_average)))
    }

    fn of(&self, kind: Kind, workload: Workload) -> impl Iterator<Item = &Run> {
        self.runs.iter().filter(move |run| run.contender == kind && run.workload == workload)
    }
}

/// A number of microseconds that fits exactly: below 10 minutes.
pub fn micros(us: u64) -> f64 {
    crate::stats::per(us, 1.0)
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use crate::machine::SyncedWrites;

    fn run(round: u32, contender: Kind, workload: Workload, rate: f64, p50_us: u64) -> Run {
        Run {
            round,
            contender,
            workload,
            acknowledged: 1_000,
            seconds: 1.0,
            events_per_s: rate,
            p50_us,
            p99_us: 3 * p50_us,
            server_cpu_us: 1.0,
            client_cpu_us: 0.5,
            load_average: f64::from(round),
        }
    }

    /// Three rounds of two systems, one of which is ten times slower than the other.
    pub fn example() -> Results {
        let mut results = Results::default();
        results.add(Line::About(About {
            date: "2026-11-23".to_owned(),
            commit: "abc".to_owned(),
            machine: "2 cores".to_owned(),
            versions: vec!["takt 0.1.0".to_owned()],
            command: "takt-compare".to_owned(),
            size: 256,
            orders: 100_000,
        }));
        let reason = Kind::RedisAlways.system().hint().to_owned();
        results.add(Line::Skipped(Skipped { contender: Kind::RedisAlways, reason }));
        for (round, rate) in [(1, 500_000.0), (2, 400_000.0), (3, 800_000.0)] {
            let writes = SyncedWrites { bytes: 4_096, mb_per_s: 4.0, p50_us: 900 };
            results.add(Line::Limits(Limits {
                round,
                synced_writes: vec![writes],
                quic_mb_per_s: 500.0,
                load_average: 0.5,
            }));
            for workload in Workload::ALL {
                results.add(Line::Run(run(round, Kind::Takt, workload, rate, 1_000)));
                let other = run(round, Kind::NatsDefault, workload, rate / 10.0, 250);
                results.add(Line::Run(other));
            }
        }
        results
    }

    #[test]
    fn ratios_are_taken_within_a_round() {
        let results = example();
        let figures = results.figures(Kind::NatsDefault, Workload::Batch).unwrap();
        assert!((figures.events_per_s.median - 50_000.0).abs() < 1e-6);
        let ratio = figures.rate_ratio.unwrap();
        // Over the rounds its own rate differs by a factor of two.
        assert!((ratio.low - 0.1).abs() < 1e-9 && (ratio.high - 0.1).abs() < 1e-9, "{ratio:?}");
        assert!((figures.p50_ratio.unwrap().median - 0.25).abs() < 1e-9);
        assert!((figures.cpu_us.high - 1.5).abs() < 1e-9);
        assert_eq!(results.figures(Kind::RedisDefault, Workload::Batch), None);
        assert_eq!(results.rounds(), 3);
        let load = results.load_average().unwrap();
        assert!((load.low - 0.5).abs() < 1e-9 && (load.high - 3.0).abs() < 1e-9);
    }

    #[test]
    fn what_was_printed_can_be_read_again() {
        let results = example();
        let mut text = String::new();
        let mut print = |line: &Line| {
            text += &serde_json::to_string(line).unwrap();
            text.push('\n');
        };
        print(&Line::About(results.about.clone().unwrap()));
        results.skipped.iter().for_each(|line| print(&Line::Skipped(line.clone())));
        results.limits.iter().for_each(|line| print(&Line::Limits(line.clone())));
        results.runs.iter().for_each(|line| print(&Line::Run(line.clone())));
        assert!(text.contains(r#""kind":"run""#) && text.contains(r#""contender":"nats-default""#));
        assert_eq!(Results::read(text.as_bytes()).unwrap(), results);
        let error = Results::read("{\"kind\":\"x\"}\n".as_bytes()).unwrap_err();
        assert!(error.to_string().starts_with("line 1: "), "{error}");
    }
}
