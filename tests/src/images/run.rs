//! The commands: many images, with progress, a line of JSON at the end, and how to replay what was
//! found.

use std::cell::RefCell;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, Once};
use std::time::{Duration, Instant};

use super::choices::Effort;
use super::recorded::{Recorded, STEPS, spread};
use super::recover::Counts;
use super::transactions;
use crate::simulate::cpu_time;

/// What a replay on the command line begins with.
pub(super) const COMMAND: &str = "cargo run --release -p takt-tests --";
/// How often progress is told.
const TELL_EVERY: Duration = Duration::from_secs(5);
/// How much is tried at each moment.
const EFFORT: Effort = Effort { sampled: 24, torn: 6, blocks: true };
/// How much is tried at each moment of redb's transactions.
const REDB_EFFORT: Effort = Effort { sampled: 8, torn: 2, blocks: true };
/// How many of those there are.
const TRANSACTIONS: u64 = 12;

/// What to cut.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// How many images, at least; the last moment is cut in full.
    #[arg(long, default_value_t = 50_000)]
    count: u64,
    /// The first seed.
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// Only this moment of the first seed.
    #[arg(long)]
    moment: Option<usize>,
    /// How many threads.
    #[arg(long, default_value_t = 2)]
    threads: usize,
    /// Ends with one line of JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Default)]
struct Sum {
    counts: Counts,
    moments: u64,
    exhaustive: u64,
    cpu: Duration,
    redb: transactions::Sum,
    violations: Vec<String>,
    told: Option<Instant>,
}

thread_local! {
    /// How to replay what this thread does, for a panic.
    static CASE: RefCell<String> = const { RefCell::new(String::new()) };
}

/// Says how to replay what this thread does next, should it panic.
pub(super) fn case(replay: String) {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            before(panic);
            CASE.with_borrow(|case| eprintln!("replay: {COMMAND} {case}"));
        }));
    });
    CASE.set(replay);
}

/// Gives numbers below `count` to `each` on some threads, until one says false.
pub(super) fn in_parallel(threads: usize, count: usize, each: &(dyn Fn(usize) -> bool + Sync)) {
    let (next, stop) = (AtomicUsize::new(0), AtomicBool::new(false));
    std::thread::scope(|scope| {
        for _ in 0..threads.max(1) {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= count || stop.load(Ordering::Relaxed) {
                        return;
                    }
                    if !each(number) {
                        stop.store(true, Ordering::Relaxed);
                    }
                }
            });
        }
    });
}

/// Cuts run after run.
///
/// # Panics
/// If the store does.
pub fn run(args: &Args) -> ExitCode {
    let (sum, started) = (Mutex::new(Sum::default()), Instant::now());
    for seed in args.from.. {
        case(format!("images --from {seed} --count 1"));
        let run = Recorded::new(seed, STEPS);
        let order = args.moment.map_or_else(|| spread(seed, run.moments()), |only| vec![only]);
        in_parallel(args.threads, order.len(), &|number| {
            let index = order[number];
            let replay = format!("images --from {seed} --moment {index}");
            case(replay.clone());
            let begun = cpu_time();
            let moment = run.cut(index, EFFORT);
            let cpu = cpu_time().saturating_sub(begun);
            let mut sum = sum.lock().expect("no thread has panicked");
            sum.counts += moment.counts;
            sum.moments += 1;
            sum.exhaustive += u64::from(moment.tried.exhaustive);
            sum.cpu += cpu;
            if let Some(violation) = moment.violation {
                eprintln!("{violation}\nreplay: {COMMAND} {replay}");
                sum.violations.push(violation);
            }
            sum.tell(started);
            sum.violations.is_empty() && sum.counts.images < args.count
        });
        let sum = sum.lock().expect("no thread has panicked");
        let done = sum.counts.images >= args.count || args.moment.is_some();
        if done || !sum.violations.is_empty() {
            break;
        }
    }
    let mut sum = sum.into_inner().expect("no thread has panicked");
    if args.moment.is_none() {
        case(format!("images --from {} --count 1", args.from));
        match transactions::cut(args.from, TRANSACTIONS, 1, REDB_EFFORT) {
            Ok(found) => sum.redb = found,
            Err(violation) => {
                eprintln!("{violation}\nreplay: {COMMAND} images --from {} --count 1", args.from);
                sum.violations.push(violation.to_string());
            }
        }
    }
    sum.print(args, started);
    if sum.violations.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

impl Sum {
    fn tell(&mut self, started: Instant) {
        let now = Instant::now();
        if self.told.is_none_or(|told| now - told > TELL_EVERY) {
            self.told = Some(now);
            let (images, moments) = (self.counts.images, self.moments);
            eprintln!("{images} images, {moments} moments, {} s", started.elapsed().as_secs());
        }
    }

    fn print(&self, args: &Args, started: Instant) {
        let counts = &self.counts;
        let cpu_ms = u64::try_from(self.cpu.as_millis()).unwrap_or(u64::MAX).max(1);
        let line = serde_json::json!({
            "images": counts.images,
            "recoveries": counts.recoveries,
            "crash_points": self.moments,
            "exhaustive_crash_points": self.exhaustive,
            "crashes_within_starts": counts.nested,
            "with": {
                "no_journal_yet": counts.empty,
                "cut_tail": counts.cut,
                "copied_commits": counts.copied,
                "runs": counts.runs,
                "side_files": counts.sides,
                "dropped_files": counts.dropped,
                "packs": counts.packs,
                "index": counts.indexes,
            },
            "lived_on": counts.lives,
            "listings_compared": counts.listings,
            "redb_images": self.redb.images,
            "redb_crash_points": self.redb.moments,
            "redb_not_made_yet": self.redb.unmade,
            "violations": self.violations.len(),
            "images_per_core_s": counts.images * 1_000 / cpu_ms,
            "seconds": started.elapsed().as_secs(),
        });
        let text = if args.json { line.to_string() } else { format!("{line:#}") };
        println!("{text}");
    }
}
