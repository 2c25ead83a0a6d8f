//! What the program is told.

use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;

use crate::contender::{Kind, Programs, ProgramsError};
use crate::rounds::Plan;
use crate::run::Settings;
use crate::workload::Workload;

/// Runs the same workloads against Takt, NATS JetStream and Redis Streams, each with a server of its
/// own on loopback, in rounds: every system once, then the next round.
#[derive(Debug, Clone, Parser)]
#[command(name = "takt-compare")]
pub struct Args {
    /// How often everything is run.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub rounds: u32,
    /// How long each run is measured.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=600))]
    pub seconds: u32,
    /// How long each runs before that.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(..=60))]
    pub warm_up: u32,
    /// Bytes of data in an event.
    #[arg(long, default_value_t = 256, value_parser = clap::value_parser!(u32).range(1..=262_144))]
    pub size: u32,
    /// Different order keys.
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u32).range(1..))]
    pub orders: u32,
    /// Which systems, with which settings; all if none is given.
    #[arg(long, value_enum, value_delimiter = ',')]
    pub only: Vec<Kind>,
    /// Which workloads; all if none is given.
    #[arg(long, value_enum, value_delimiter = ',')]
    pub workloads: Vec<Workload>,
    /// The directory for the data of all servers, on the disk that is of interest.
    #[arg(long)]
    pub dir: Option<PathBuf>,
    /// The program `takt`; the repository's release build, if none is given, or the one on the path.
    #[arg(long)]
    pub takt: Option<PathBuf>,
    /// The program `nats-server`.
    #[arg(long)]
    pub nats_server: Option<PathBuf>,
    /// The program `redis-server`.
    #[arg(long)]
    pub redis_server: Option<PathBuf>,
    /// Print one JSON object for each run on standard output, instead of tables at the end.
    #[arg(long)]
    pub json: bool,
    /// Write the tables to a file.
    #[arg(long)]
    pub markdown: Option<PathBuf>,
    /// Write a picture (SVG) to a file.
    #[arg(long)]
    pub plot: Option<PathBuf>,
    /// Run nothing, but take the results that `--json` has printed to a file.
    #[arg(long)]
    pub from: Option<PathBuf>,
}

impl Args {
    /// What is to be run.
    ///
    /// # Errors
    /// [`ProgramsError`].
    pub fn plan(&self) -> Result<Plan, ProgramsError> {
        let seconds = |seconds: u32| Duration::from_secs(seconds.into());
        let chosen = |kind: &Kind| self.only.is_empty() || self.only.contains(kind);
        let asked = |load: &Workload| self.workloads.is_empty() || self.workloads.contains(load);
        Ok(Plan {
            rounds: self.rounds,
            settings: Settings {
                warm_up: seconds(self.warm_up),
                measured: seconds(self.seconds),
                size: usize::try_from(self.size).expect("bounded above"),
                orders: self.orders,
            },
            kinds: Kind::ALL.into_iter().filter(chosen).collect(),
            workloads: Workload::ALL.into_iter().filter(asked).collect(),
            programs: Programs::find(
                self.takt.as_deref(),
                self.nats_server.as_deref(),
                self.redis_server.as_deref(),
            )?,
            dir: self.dir.clone().unwrap_or_else(std::env::temp_dir),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Args, clap::Error> {
        Args::try_parse_from(format!("takt-compare --takt /bin/sh {line}").split_whitespace())
    }

    #[test]
    fn everything_is_run_unless_something_is_chosen() {
        let plan = parse("").unwrap().plan().unwrap();
        assert_eq!((plan.rounds, plan.settings.measured.as_secs()), (5, 5));
        assert_eq!((plan.settings.size, plan.settings.orders), (256, 100_000));
        assert_eq!((plan.kinds.len(), plan.workloads.len()), (6, 3));
        let line = "--only redis-everysec,takt --workloads one-in-flight --rounds 2 --seconds 1";
        let plan = parse(line).unwrap().plan().unwrap();
        assert_eq!(plan.kinds, [Kind::Takt, Kind::RedisEverysec]);
        assert_eq!(plan.workloads, [Workload::OneInFlight]);
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        let lines = ["--rounds 0", "--seconds 0", "--seconds 601", "--size 0", "--orders 0"];
        for line in lines.iter().chain(&["--only kafka", "--workloads x"]) {
            assert!(parse(line).is_err(), "{line}");
        }
        let missing = parse("--nats-server /nowhere/x").unwrap().plan();
        assert!(matches!(missing, Err(ProgramsError::NotThere(_))));
    }
}
