//! Living through many seeds: progress, and what it came to.
#![expect(clippy::cast_precision_loss, reason = "what is printed is rounded")]

use std::cell::Cell;
use std::collections::BTreeMap;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::sim::{Branch, Dropping, Fault, Lie, Outcome, Tally, run as live};

/// In so many seeds every fault and every way of a start must have been seen.
const TIER_SEEDS: u64 = 500;

/// What to live through.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// How many seeds.
    #[arg(long, default_value_t = 100)]
    seeds: u64,
    /// The first seed.
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// Ends after so many minutes, whatever is left.
    #[arg(long)]
    minutes: Option<u64>,
    /// How many threads; each lives through seeds of its own.
    #[arg(long, default_value_t = 2)]
    threads: usize,
    /// Prints everything that happens.
    #[arg(long)]
    verbose: bool,
    /// Goes on after a violation.
    #[arg(long)]
    keep_going: bool,
    /// Ends with one line of JSON.
    #[arg(long)]
    json: bool,
    /// Lives with a defect on purpose.
    #[cfg(takt_planted)]
    #[arg(long)]
    planted: Option<String>,
}

#[derive(Debug, Default)]
struct Sum {
    seeds: u64,
    invalid: u64,
    violations: u64,
    time_us: u64,
    events: u64,
    faults: Tally<Fault>,
    branches: Tally<Branch>,
    lies: Tally<Lie>,
    drops: Tally<Dropping>,
    speedups: Vec<f64>,
    cpu: Duration,
    reports: Vec<String>,
}

thread_local! {
    /// The seed that this thread lives through.
    static SEED: Cell<u64> = const { Cell::new(0) };
}

/// A panic is a find like any other: it says how to see it again.
fn name_seed_on_panic() {
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        let seed = SEED.get();
        eprintln!("seed {seed}: I1: a panic");
        eprintln!("{}", replay(seed));
        report(panic);
    }));
}

fn replay(seed: u64) -> String {
    format!(
        "replay: cargo run --release -p takt-tests -- simulate --seeds 1 --from {seed} --verbose"
    )
}

/// Lives through the seeds.
///
/// # Panics
/// If a thread of it panics.
pub fn run(args: &Args) -> ExitCode {
    let (next, stop, sum) = (AtomicU64::new(0), AtomicBool::new(false), Mutex::new(Sum::default()));
    name_seed_on_panic();
    #[cfg(takt_planted)]
    if let Some(name) = &args.planted {
        takt_protocol::planted::choose(name);
    }
    let started = Instant::now();
    let until = args.minutes.map(|minutes| started + Duration::from_mins(minutes));
    std::thread::scope(|scope| {
        for _ in 0..args.threads.max(1) {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    let late = until.is_some_and(|until| Instant::now() > until);
                    if number >= args.seeds || late || stop.load(Ordering::Relaxed) {
                        return;
                    }
                    let seed = args.from + number;
                    SEED.set(seed);
                    let begun = cpu_time();
                    let outcome = live(seed, args.verbose);
                    let cpu = cpu_time().saturating_sub(begun);
                    if !outcome.violations.is_empty() && !args.keep_going {
                        stop.store(true, Ordering::Relaxed);
                    }
                    let mut sum = sum.lock().expect("no thread has panicked");
                    sum.add(&outcome, cpu, args);
                    if sum.seeds.is_multiple_of(100) {
                        sum.progress(started);
                    }
                }
            });
        }
    });
    let mut sum = sum.into_inner().expect("no thread has panicked");
    sum.print(args);
    let failed = sum.violations > 0 || sum.proves_too_little();
    if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

impl Sum {
    fn add(&mut self, outcome: &Outcome, cpu: Duration, args: &Args) {
        self.seeds += 1;
        self.time_us += outcome.time;
        self.events += outcome.events;
        self.faults.add(&outcome.faults);
        self.branches.add(&outcome.branches);
        self.lies.add(&outcome.lies);
        self.drops.add(&outcome.drops);
        self.cpu += cpu;
        let seconds = outcome.time as f64 / 1e6;
        self.speedups.push(seconds / cpu.as_secs_f64().max(1e-9));
        if args.verbose {
            eprintln!("{outcome:#?}");
        }
        if let Some(why) = &outcome.invalid {
            self.invalid += 1;
            if outcome.violations.is_empty() {
                self.reports.push(format!("seed {}: invalid: {why}", outcome.seed));
            }
        }
        for violation in &outcome.violations {
            self.violations += 1;
            let line =
                format!("seed {}: {}: {}", outcome.seed, violation.invariant, violation.what);
            eprintln!("{line}");
            self.reports.push(line);
        }
        if !outcome.violations.is_empty() {
            eprintln!("{}", replay(outcome.seed));
        }
    }

    /// Whether too many runs do not count, or in so many seeds something has never happened: then
    /// nothing is known of it.
    fn proves_too_little(&self) -> bool {
        let mut too_little = self.invalid * 100 > self.seeds;
        if self.seeds >= TIER_SEEDS {
            let faults = Fault::ALL.iter().map(|kind| (kind.text(), self.faults.of(*kind)));
            let branches = Branch::ALL.iter().map(|kind| (kind.text(), self.branches.of(*kind)));
            let lies = [Lie::Refused, Lie::Diverged];
            let lies = lies.iter().map(|kind| (kind.text(), self.lies.of(*kind)));
            let drops = Dropping::ALL.iter().map(|kind| (kind.text(), self.drops.of(*kind)));
            let all = faults.chain(branches).chain(lies).chain(drops);
            for (kind, _) in all.filter(|(_, count)| *count == 0) {
                eprintln!("{kind} has never happened in {} seeds", self.seeds);
                too_little = true;
            }
        }
        too_little
    }

    fn progress(&self, started: Instant) {
        eprintln!(
            "{} seeds, {:.0} simulated hours, {} events, {} violations, {} s",
            self.seeds,
            self.time_us as f64 / 3.6e9,
            self.events,
            self.violations,
            started.elapsed().as_secs()
        );
    }

    fn print(&mut self, args: &Args) {
        self.speedups.sort_by(f64::total_cmp);
        let median = self.speedups.get(self.speedups.len() / 2).copied().unwrap_or_default();
        let least = self.speedups.first().copied().unwrap_or_default();
        let rate = self.events as f64 / self.cpu.as_secs_f64().max(1e-9);
        for report in self.reports.iter().take(20) {
            println!("{report}");
        }
        let names = Fault::ALL.iter().map(|fault| (fault.text(), self.faults.of(*fault)));
        let faults: BTreeMap<_, _> = names.collect();
        let names = Branch::ALL.iter().map(|branch| (branch.text(), self.branches.of(*branch)));
        let branches: BTreeMap<_, _> = names.collect();
        let names = Lie::ALL.iter().map(|lie| (lie.text(), self.lies.of(*lie)));
        let lies: BTreeMap<_, _> = names.collect();
        let names = Dropping::ALL.iter().map(|why| (why.text(), self.drops.of(*why)));
        let drops: BTreeMap<_, _> = names.collect();
        if args.json {
            let line = serde_json::json!({
                "seeds": self.seeds,
                "invalid": self.invalid,
                "violations": self.violations,
                "simulated_hours": self.time_us as f64 / 3.6e9,
                "events": self.events,
                "faults": faults,
                "branches": branches,
                "lies": lies,
                "drops": drops,
                "events_per_core_s": rate,
                "speedup_median": median,
                "speedup_min": least,
            });
            println!("{line}");
            return;
        }
        println!("seeds             {}", self.seeds);
        println!("invalid           {}", self.invalid);
        println!("violations        {}", self.violations);
        println!("simulated hours   {:.1}", self.time_us as f64 / 3.6e9);
        println!("events            {}", self.events);
        println!("events/core-s     {rate:.0}");
        println!("speed-up          {median:.0} in the median, {least:.0} at least");
        println!("faults            {faults:?}");
        println!("starts            {branches:?}");
        println!("lies              {lies:?}");
        println!("drops             {drops:?}");
    }
}

/// What this thread has used of a processor.
pub(crate) fn cpu_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or_default())
}
