//! One run: a system that is started anew, one workload, and what came of it.

use std::path::Path;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use tokio::task::JoinSet;
use tokio::time::{sleep_until, timeout_at};

use crate::contender::{Contender, ContenderError, Kind, Nats, Programs, Redis, System, Takt};
use crate::event::EventMaker;
use crate::machine::{self, cpu_time};
use crate::stats::per;
use crate::workload::{Load, Span, Tally, Workload, produce};

/// How long what is in flight at the end may take.
const DRAIN: Duration = Duration::from_mins(3);

/// How a run goes, beside its workload.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// Before anything counts.
    pub warm_up: Duration,
    /// What counts.
    pub measured: Duration,
    /// Bytes of data in an event.
    pub size: usize,
    /// Different order keys.
    pub orders: u32,
}

/// What came of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Run {
    /// From 1.
    pub round: u32,
    /// The system.
    pub contender: Kind,
    /// What was asked of it.
    pub workload: Workload,
    /// All events that it acknowledged, which is also what it held at the end.
    pub acknowledged: u64,
    /// How long the server had for those of them that count.
    pub seconds: f64,
    /// Those that count, for each second of that time.
    pub events_per_s: f64,
    /// From a call to the acknowledgement of its events.
    pub p50_us: u64,
    /// The same.
    pub p99_us: u64,
    /// Processor time of the server for an event.
    pub server_cpu_us: f64,
    /// Of this program, for the system's client, the events and the measurement.
    pub client_cpu_us: f64,
    /// The machine's load average over a minute when the run began.
    pub load_average: f64,
}

/// Why there is no result.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The system failed.
    #[error("{}, {}: {source}", kind.title(), workload.title())]
    Contender {
        /// Which one.
        kind: Kind,
        /// With what.
        workload: Workload,
        /// What happened.
        source: ContenderError,
    },
    /// It does not hold what it acknowledged.
    #[error("{}: {acknowledged} events were acknowledged, but it holds {stored}", kind.title())]
    Lost {
        /// Which one.
        kind: Kind,
        /// Acknowledged as new.
        acknowledged: u64,
        /// What it says that it holds.
        stored: u64,
    },
    /// Something about this machine could not be measured.
    #[error(transparent)]
    Machine(#[from] machine::MachineError),
}

/// Runs one workload against one system, with its data in a directory below `dir` that is removed
/// afterwards.
///
/// # Errors
/// [`RunError`]; the system has ended then, too.
pub async fn run(
    (round, kind, workload): (u32, Kind, Workload),
    settings: Settings,
    programs: &Programs,
    dir: &Path,
) -> Result<Run, RunError> {
    let load_average = machine::load_average()?;
    let failed = |source| RunError::Contender { kind, workload, source };
    let dir = machine::empty_dir(dir)?;
    let load = workload.load();
    let (program, dir) = (programs, dir.path());
    let measured = match kind.system() {
        System::Takt => measure::<Takt>(kind, load, settings, program, dir).await,
        System::Nats => measure::<Nats>(kind, load, settings, program, dir).await,
        System::Redis => measure::<Redis>(kind, load, settings, program, dir).await,
    };
    let Measured { tally, stored, cpu, seconds } = measured.map_err(failed)?;
    let Tally { acknowledged, counted, ref latencies, .. } = tally;
    if stored != acknowledged {
        return Err(RunError::Lost { kind, acknowledged, stored });
    }
    let cpu_us = |time: Duration| time.as_secs_f64() * 1e6 / per(counted.max(1), 1.0);
    Ok(Run {
        round,
        contender: kind,
        workload,
        acknowledged,
        seconds,
        events_per_s: per(counted, seconds),
        p50_us: latencies.value_at_quantile(0.5),
        p99_us: latencies.value_at_quantile(0.99),
        server_cpu_us: cpu_us(cpu.server),
        client_cpu_us: cpu_us(cpu.client),
        load_average,
    })
}

struct Measured {
    tally: Tally,
    stored: u64,
    cpu: Cpu,
    seconds: f64,
}

/// Starts the system, loads it, counts what it holds, and ends it.
async fn measure<C: Contender>(
    kind: Kind,
    load: Load,
    settings: Settings,
    programs: &Programs,
    dir: &Path,
) -> Result<Measured, ContenderError> {
    let contender = C::start(kind, programs, dir).await?;
    let mut producers = Vec::new();
    for number in 0..load.producers {
        let maker = EventMaker::new(machine::random(), number, settings.orders, settings.size);
        producers.push((contender.producer().await?, maker));
    }
    let begin = Instant::now();
    let start = begin + settings.warm_up;
    let span = Span { begin, start, end: start + settings.measured };
    let mut tasks = JoinSet::new();
    for (producer, maker) in producers {
        tasks.spawn(produce(producer, maker, load, span));
    }
    let pid = contender.pid();
    let before = tokio::spawn(async move {
        sleep_until(span.start.into()).await;
        Cpu::read(pid)
    });
    let deadline = tokio::time::Instant::from_std(span.end + DRAIN);
    let mut tally = Tally::default();
    while !tasks.is_empty() {
        let next = timeout_at(deadline, tasks.join_next()).await;
        match next.map_err(|_| ContenderError::Stalled(DRAIN))? {
            Some(done) => tally.merge(&done.expect("a producer does not panic")?),
            None => break,
        }
    }
    let cpu = Cpu::read(pid).since(before.await.expect("reading times does not panic"));
    let stored = contender.stored().await?;
    contender.stop().await?;
    let seconds = tally.seconds(span);
    Ok(Measured { tally, stored, cpu, seconds })
}

/// Processor time of both sides.
#[derive(Debug, Clone, Copy)]
struct Cpu {
    server: Duration,
    client: Duration,
}

impl Cpu {
    /// So far. A server that has ended by itself has none: its run fails elsewhere.
    fn read(server: u32) -> Self {
        let of = |pid| cpu_time(pid).unwrap_or_default();
        Self { server: of(server), client: of(std::process::id()) }
    }

    fn since(self, before: Self) -> Self {
        Self {
            server: self.server.saturating_sub(before.server),
            client: self.client.saturating_sub(before.client),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contender::tests::programs;

    /// A whole run, of Takt alone: a second of each workload.
    #[tokio::test(flavor = "multi_thread")]
    async fn takt_holds_what_it_acknowledged() {
        let settings = Settings {
            warm_up: Duration::from_millis(100),
            measured: Duration::from_secs(1),
            size: 256,
            orders: 1_000,
        };
        let programs = programs();
        for workload in Workload::ALL {
            let dir = std::env::temp_dir();
            let case = (1, Kind::Takt, workload);
            let run = run(case, settings, &programs, &dir).await.unwrap();
            assert!(run.acknowledged > 0 && run.events_per_s > 0.0, "{run:?}");
            assert!(run.p50_us > 0 && run.p50_us <= run.p99_us && run.server_cpu_us > 0.0);
        }
    }
}
