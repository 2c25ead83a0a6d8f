//! An error of every call, once: whatever the disk refuses, nothing is acknowledged that is not
//! durable, a store that has failed takes nothing more, and the next start has all that counts.

use std::process::ExitCode;
use std::sync::Mutex;
use std::time::Instant;

use takt_reader::{Unpacked, read_unpacked};
use takt_storage::disk::sim::{Call, Fault, SimDisk};

use super::choices::by_chance;
use super::player::{self, Halt, Player};
use super::recover::{Counts, check_image, check_started};
use super::run::{COMMAND, case, in_parallel};
use super::script::{self, Step};
use super::{Violation, ensure, files};
use crate::events::Dice;

/// Steps of the run whose calls fail.
const STEPS: usize = 45;
/// Starts within which a node is up again behind one fault.
const STARTS_MAX: usize = 3;

/// What is to fail.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Only every so many calls of a kind.
    #[arg(long, default_value_t = 1)]
    every: u64,
    /// Only this case.
    #[arg(long)]
    only: Option<usize>,
    /// The seed of the run.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// How many threads.
    #[arg(long, default_value_t = 2)]
    threads: usize,
    /// Ends with one line of JSON.
    #[arg(long)]
    json: bool,
}

/// One call that fails.
#[derive(Debug, Clone, Copy)]
pub struct Case {
    call: Call,
    at: u64,
    fault: Fault,
}

/// What some cases came to.
#[derive(Debug, Default)]
pub struct Sum {
    /// Calls that failed.
    pub cases: u64,
    /// The store stopped.
    pub stopped: u64,
    /// It did not start at once.
    pub not_started: u64,
    /// It answered `Full` and went on.
    pub full: u64,
    /// It answered `Unreadable` and went on.
    pub unread: u64,
    /// It went on, as a job of the background or nothing depended on the call.
    pub went_on: u64,
    /// Images that only a start made readable for the independent reader.
    pub tidied: u64,
    /// What should not have been.
    pub violations: Vec<String>,
}

/// All faults of a run: an error of each call, no space where some is taken, and a short write.
pub fn cases(seed: u64, every: u64) -> Vec<Case> {
    let disk = SimDisk::new();
    let mut player = Player::closed(&disk, player::options(), seed << 16);
    player.start().expect("the disk works");
    for step in script::long(seed, STEPS) {
        player.play(step).expect("the disk works");
    }
    let mut cases = Vec::new();
    let every = usize::try_from(every.max(1)).unwrap_or(usize::MAX);
    for call in Call::ALL {
        let faults: &[Fault] = match call {
            Call::Write => &[Fault::Error, Fault::Full, Fault::Short],
            Call::Create | Call::Rename | Call::SetLen => &[Fault::Error, Fault::Full],
            Call::Open | Call::Remove | Call::List | Call::SyncDir | Call::Read | Call::Sync => {
                &[Fault::Error]
            }
        };
        for &fault in faults {
            let at = (0..disk.calls(call)).step_by(every);
            cases.extend(at.map(|at| Case { call, at, fault }));
        }
    }
    cases
}

/// Lives through one case.
pub fn fail(seed: u64, case: Case, sum: &mut Sum) {
    sum.cases += 1;
    if let Err(found) = live(seed, case, sum) {
        sum.violations.push(format!("seed {seed} {case:?}: {found}"));
    }
}

fn live(seed: u64, case: Case, sum: &mut Sum) -> Result<(), Violation> {
    let disk = SimDisk::new();
    disk.fail_call_at(case.call, case.at, case.fault);
    let mut dice = Dice::new(case.at);
    let mut player = Player::closed(&disk, player::options(), seed << 16);
    let (mut halted, mut full, mut unread) = (false, false, false);
    if player.start().is_err() {
        sum.not_started += 1;
        halted = true;
        restart(&mut player)?;
    }
    for step in script::long(seed, STEPS) {
        match player.play(step) {
            Ok(()) => {}
            Err(Halt::Full) => full = true,
            // Only a read that failed is a reason for that.
            Err(Halt::Unread) if case.call == Call::Read => unread = true,
            Err(halt) => {
                ensure(!halted, "D4", || format!("it stops a second time: {halt}"))?;
                halted = true;
                if matches!(halt, Halt::Open(_)) {
                    sum.not_started += 1;
                } else {
                    sum.stopped += 1;
                    refuses_all(&mut player)?;
                }
                at_this_moment(&player, case, &mut dice, sum)?;
                restart(&mut player)?;
            }
        }
    }
    sum.full += u64::from(full);
    sum.unread += u64::from(unread);
    sum.went_on += u64::from(!halted && !full && !unread);
    at_this_moment(&player, case, &mut dice, sum)?;
    player.stop().map_err(|halt| Violation::new("D4", format!("it does not stop: {halt}")))?;
    at_this_moment(&player, case, &mut dice, sum)
}

/// A store that has failed answers nothing but that.
fn refuses_all(player: &mut Player) -> Result<(), Violation> {
    for step in [Step::Fresh, Step::SetCursor, Step::OpenProducer, Step::Mark, Step::Fresh] {
        let operations = player.disk.operations();
        let refused = player.play(step).is_err() || player.disk.operations() == operations;
        ensure(refused, "D4", || format!("it went on with {step:?} after it had failed"))?;
    }
    Ok(())
}

/// The fault was one: the node comes up again, on what the page cache shows.
fn restart(player: &mut Player) -> Result<(), Violation> {
    let mut said = String::new();
    for _ in 0..STARTS_MAX {
        match player.come_back() {
            Ok(()) => return Ok(()),
            Err(halt) => said = format!("{halt:?}"),
        }
    }
    Err(Violation::new("D4", format!("it does not start again: {said}")))
}

/// Whatever a power cut leaves now has all that was acknowledged.
fn at_this_moment(
    player: &Player,
    case: Case,
    dice: &mut Dice,
    sum: &mut Sum,
) -> Result<(), Violation> {
    let options = player::options();
    let page = player.book.page(u64::MAX);
    let none = player.disk.crash_image(&mut |_| false);
    let all = player.disk.crash_image(&mut |_| true);
    let some = by_chance(&player.disk, dice);
    let names_may_lie = player.disk.calls(Call::SyncDir) > case.at && case.call == Call::SyncDir;
    for image in [none, all, some] {
        let there = files(&image);
        let reads = || read_unpacked(&there, &Unpacked::of(&there)).is_ok();
        if names_may_lie && !reads() {
            sum.tidied += 1;
            check_started(&image, &options, page, dice)?;
        } else {
            check_image(&image, &options, page, dice, &mut Counts::default())?;
        }
    }
    Ok(())
}

/// Lives through all cases.
///
/// # Panics
/// If the store does.
pub fn run(args: &Args) -> ExitCode {
    let cases = cases(args.seed, args.every);
    let numbers: Vec<usize> = args.only.map_or_else(|| (0..cases.len()).collect(), |n| vec![n]);
    let (sum, started) = (Mutex::new(Sum::default()), Instant::now());
    in_parallel(args.threads, numbers.len(), &|index| {
        let (seed, every, only) = (args.seed, args.every, numbers[index]);
        let replay = format!("errors --seed {seed} --every {every} --only {only}");
        case(replay.clone());
        let mut found = Sum::default();
        fail(seed, cases[only], &mut found);
        for violation in &found.violations {
            eprintln!("{violation}\nreplay: {COMMAND} {replay}");
        }
        let mut sum = sum.lock().expect("no thread has panicked");
        sum.cases += found.cases;
        sum.stopped += found.stopped;
        sum.not_started += found.not_started;
        sum.full += found.full;
        sum.unread += found.unread;
        sum.went_on += found.went_on;
        sum.tidied += found.tidied;
        sum.violations.extend(found.violations);
        if sum.cases.is_multiple_of(500) {
            eprintln!("{} cases, {} s", sum.cases, started.elapsed().as_secs());
        }
        sum.violations.len() < 10
    });
    let sum = sum.into_inner().expect("no thread has panicked");
    let line = serde_json::json!({
        "cases": sum.cases,
        "stopped": sum.stopped,
        "not_started_at_once": sum.not_started,
        "answered_full": sum.full,
        "answered_unreadable": sum.unread,
        "went_on": sum.went_on,
        "images_tidied_by_a_start": sum.tidied,
        "violations": sum.violations.len(),
        "seconds": started.elapsed().as_secs(),
    });
    println!("{}", if args.json { line.to_string() } else { format!("{line:#}") });
    if sum.violations.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
